//! Paths of requests and routes: normalization for matching, re-escaping for the upstream.
//!
//! The data plane calls these per request: a path that needs no change is returned as it came, untouched.

/// The normal form used for matching: percent triplets decoded unless they stand for a reserved character (those
/// keep their triplet, in capitals), dot segments removed, runs of `/` merged. `scratch` is overwritten when needed.
pub fn normalize<'a>(raw: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if is_normal(raw) {
        return raw;
    }
    scratch.clear();
    scratch.reserve(raw.len());
    decode_into(raw, scratch);
    resolve_segments(scratch);
    scratch
}

/// Percent-encodes every byte that may not stand in a URI; `%` itself is left alone. `scratch` is overwritten
/// when needed.
pub fn escape<'a>(path: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if all_may_stand(path) {
        return path;
    }
    scratch.clear();
    scratch.reserve(path.len() + 16);
    for byte in path {
        if may_stand(*byte) {
            scratch.push(*byte);
        } else {
            scratch.extend_from_slice(&[
                b'%',
                HEXADECIMAL[usize::from(byte >> 4)],
                HEXADECIMAL[usize::from(byte & 15)],
            ]);
        }
    }
    scratch
}

/// The normal form as text, for configuration: bytes that are not UTF-8 after decoding stay percent-encoded.
pub fn normalize_text(path: &str) -> String {
    let mut scratch = Vec::new();
    match str::from_utf8(normalize(path.as_bytes(), &mut scratch)) {
        Ok(text) => text.to_owned(),
        Err(_) => path.to_owned(),
    }
}

const HEXADECIMAL: [u8; 16] = *b"0123456789ABCDEF";

/// How many bytes the compiler makes one comparison of.
const LANES: usize = 16;

/// Whether normalization would change nothing, decided without writing: no `%`, no `//`, no segment that begins
/// with a dot (a cheap overestimate of dot segments).
fn is_normal(raw: &[u8]) -> bool {
    let is_bad = |byte: u8, next: u8| (byte == b'%') | ((byte == b'/') & ((next == b'/') | (next == b'.')));
    let has_bad = |lanes: &[u8; LANES + 1]| {
        (0..LANES).fold(false, |bad, lane| bad | is_bad(lanes[lane], lanes[lane + 1]))
    };
    let mut rest = raw;
    while let Some(lanes) = rest.first_chunk() {
        if has_bad(lanes) {
            return false;
        }
        rest = &rest[LANES..];
    }
    // Behind the last byte there is one that matters to none.
    let mut last = [0; LANES + 1];
    last[..rest.len()].copy_from_slice(rest);
    !has_bad(&last)
}

fn decode_into(raw: &[u8], decoded: &mut Vec<u8>) {
    let mut rest = raw;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let triplet = match tail {
            [high, low, ..] if *byte == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        let Some((high, low)) = triplet else {
            decoded.push(*byte);
            continue;
        };
        rest = &tail[2..];
        let value = high * 16 + low;
        if is_reserved(value) {
            decoded.extend_from_slice(&[b'%', HEXADECIMAL[usize::from(high)], HEXADECIMAL[usize::from(low)]]);
        } else {
            decoded.push(value);
        }
    }
}

/// Removes dot segments and empty segments in place.
fn resolve_segments(path: &mut Vec<u8>) {
    let absolute = path.first() == Some(&b'/');
    let length = path.len();
    let mut read = 0;
    let mut write = 0;
    while read < length {
        let start = read;
        while read < length && path[read] != b'/' {
            read += 1;
        }
        let last = read == length;
        match &path[start..read] {
            b"" => {
                if write == 0 && absolute && !last {
                    path[0] = b'/';
                    write = 1;
                }
            }
            b"." => {}
            b".." => write = parent(&path[..write], absolute),
            _ => {
                path.copy_within(start..read, write);
                write += read - start;
                if !last {
                    path[write] = b'/';
                    write += 1;
                }
            }
        }
        read += 1;
    }
    path.truncate(write);
}

/// The length of `path`, which ends with `/` or is empty, without its last segment.
fn parent(path: &[u8], absolute: bool) -> usize {
    let without_slash = &path[..path.len().saturating_sub(1)];
    match without_slash.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => slash + 1,
        None => usize::from(absolute),
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn is_reserved(byte: u8) -> bool {
    b"!*'();:@&=+$,/?%#[]".contains(&byte)
}

fn may_stand(byte: u8) -> bool {
    let is_mark = (byte == b'"') | (byte == b'<') | (byte == b'>') | (byte == b'\\');
    let is_mark = is_mark | (byte == b'^') | (byte == b'`') | (b'{'..=b'}').contains(&byte);
    !(is_mark | (byte <= b' ') | (byte >= 0x7f))
}

fn all_may_stand(path: &[u8]) -> bool {
    let (chunks, rest) = path.as_chunks::<LANES>();
    let mut last = [b'/'; LANES];
    last[..rest.len()].copy_from_slice(rest);
    chunks.iter().chain([&last]).all(|lanes| lanes.iter().fold(true, |stand, byte| stand & may_stand(*byte)))
}

#[cfg(test)]
mod tests {
    use super::{escape, is_normal, normalize};

    fn normalized(path: &str) -> String {
        String::from_utf8(normalize(path.as_bytes(), &mut Vec::new()).to_vec()).unwrap()
    }

    #[test]
    fn unreserved_triplets_are_decoded_and_reserved_ones_kept_in_capitals() {
        for (raw, expected) in [
            ("/a/%58", "/a/X"),
            ("/endel%2fst", "/endel%2Fst"),
            ("/endel%2Fst", "/endel%2Fst"),
            ("/a%20b", "/a b"),
            ("/%7euser", "/~user"),
            ("/100%25", "/100%25"),
            ("/a%", "/a%"),
            ("/a%4", "/a%4"),
            ("/a%zz", "/a%zz"),
            ("/%c3%bc", "/ü"),
        ] {
            assert_eq!(normalized(raw), expected, "{raw}");
        }
    }

    #[test]
    fn dot_segments_vanish_and_slashes_merge() {
        for (raw, expected) in [
            ("/", "/"),
            ("", ""),
            ("//", "/"),
            ("/a//b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/..", "/"),
            ("/../../x", "/x"),
            ("/a/%2e%2E/b", "/b"),
            ("/.hidden", "/.hidden"),
            ("/a..b/...", "/a..b/..."),
            ("///a///", "/a/"),
            ("/a/..//b/", "/b/"),
        ] {
            assert_eq!(normalized(raw), expected, "{raw}");
        }
    }

    #[test]
    fn a_normal_path_is_returned_without_touching_the_scratch() {
        let mut scratch = Vec::new();
        assert_eq!(normalize(b"/api/v1/users", &mut scratch), b"/api/v1/users");
        assert_eq!(escape(b"/api/v1/users%20", &mut scratch), b"/api/v1/users%20");
        assert_eq!(scratch.capacity(), 0);
    }

    #[test]
    fn bytes_that_may_not_stand_in_a_uri_are_escaped() {
        let mut scratch = Vec::new();
        assert_eq!(escape("/a b/ü\"<".as_bytes(), &mut scratch), b"/a%20b/%C3%BC%22%3C");
        assert_eq!(escape(b"/!#$&'()*+,/:;=?@[]-_.~%", &mut scratch), b"/!#$&'()*+,/:;=?@[]-_.~%");
    }

    #[test]
    fn it_does_not_matter_where_in_a_path_something_stands() {
        for length in 1..36 {
            for place in 0..length {
                let mut path = vec![b'a'; length];
                path[place] = b'%';
                assert!(!is_normal(&path), "{place} of {length}");
                for byte in 0..=255 {
                    path[place] = byte;
                    let stands = byte.is_ascii_alphanumeric() || b"!#$&'()*+,/:;=?@[]-_.~%".contains(&byte);
                    assert_eq!(
                        escape(&path, &mut Vec::new()) == path,
                        stands,
                        "{byte} at {place} of {length}"
                    );
                    assert_eq!(is_normal(&path), byte != b'%', "{byte} at {place} of {length}");
                }
                path[place] = b'/';
                for next in [b'/', b'.'] {
                    if place + 1 < length {
                        path[place + 1] = next;
                        assert!(!is_normal(&path), "{place} of {length}");
                    }
                }
            }
        }
    }

    #[test]
    fn normalizing_twice_changes_nothing_more() {
        for raw in ["/a/%2e/b//c/../d%2f", "/x/%2E%2e/%7e", "//.//..//z"] {
            assert_eq!(normalized(&normalized(raw)), normalized(raw), "{raw}");
        }
    }
}
