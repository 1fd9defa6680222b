//! Query strings and `application/x-www-form-urlencoded` bodies, pair by pair, without allocation.

/// One `name=value` of a query, still encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// What stands before the first `=`.
    pub name: &'a [u8],
    /// What follows it; `None` when there is no `=`.
    pub value: Option<&'a [u8]>,
    /// The whole pair as received.
    pub raw: &'a [u8],
}

/// Iterates over the pairs of a query or form.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: Option<&'a [u8]>,
    left: usize,
}

/// The pairs of `query`, separated by `&`; empty ones are passed over and at most `limit` are given.
pub fn query_pairs(query: &[u8], limit: usize) -> Pairs<'_> {
    Pairs { rest: Some(query), left: limit }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        while self.left > 0 {
            let rest = self.rest?;
            let raw = match memchr::memchr(b'&', rest) {
                Some(end) => {
                    self.rest = Some(&rest[end + 1..]);
                    &rest[..end]
                }
                None => {
                    self.rest = None;
                    rest
                }
            };
            if !raw.is_empty() {
                self.left -= 1;
                return Some(Pair::new(raw));
            }
        }
        None
    }
}

impl<'a> Pair<'a> {
    fn new(raw: &'a [u8]) -> Pair<'a> {
        match memchr::memchr(b'=', raw) {
            Some(sign) => Pair { name: &raw[..sign], value: Some(&raw[sign + 1..]), raw },
            None => Pair { name: raw, value: None, raw },
        }
    }
}

/// Appends `input` to `out` with every `%XX` decoded; a malformed one stays as it is.
pub fn percent_decode(input: &[u8], out: &mut Vec<u8>) {
    let mut rest = input;
    while let Some(percent) = memchr::memchr(b'%', rest) {
        out.extend_from_slice(&rest[..percent]);
        rest = decode_triplet(&rest[percent..], out);
    }
    out.extend_from_slice(rest);
}

/// Appends `input` to `out` decoded as forms and queries are: `+` is a space, `%XX` a byte.
pub fn form_decode(input: &[u8], out: &mut Vec<u8>) {
    let mut rest = input;
    while let Some(mark) = memchr::memchr2(b'%', b'+', rest) {
        out.extend_from_slice(&rest[..mark]);
        if rest[mark] == b'+' {
            out.push(b' ');
            rest = &rest[mark + 1..];
        } else {
            rest = decode_triplet(&rest[mark..], out);
        }
    }
    out.extend_from_slice(rest);
}

/// Decodes the triplet at the start of `input`, or copies its `%`; gives back what follows.
fn decode_triplet<'a>(input: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let digit = |place: usize| input.get(place).and_then(|&byte| (byte as char).to_digit(16));
    match (digit(1), digit(2)) {
        (Some(high), Some(low)) => {
            out.push((high * 16 + low) as u8);
            &input[3..]
        }
        _ => {
            out.push(b'%');
            &input[1..]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_in_order_and_bounded() {
        let pairs = |query: &'static str, limit| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            query_pairs(query.as_bytes(), limit)
                .map(|pair| (text(pair.name), pair.value.map(text), text(pair.raw)))
                .collect::<Vec<_>>()
        };
        let pair = |name: &str, value: Option<&str>, raw: &str| {
            (name.to_owned(), value.map(str::to_owned), raw.to_owned())
        };
        assert_eq!(
            pairs("a=1&b&&c==&=d&", 10),
            [
                pair("a", Some("1"), "a=1"),
                pair("b", None, "b"),
                pair("c", Some("="), "c=="),
                pair("", Some("d"), "=d")
            ]
        );
        assert_eq!(pairs("a&b&c", 2).len(), 2);
        assert!(pairs("", 10).is_empty() && pairs("&&&", 10).is_empty());
    }

    #[test]
    fn decoding_keeps_what_is_malformed() {
        let decoded = |decode: fn(&[u8], &mut Vec<u8>), input: &str| {
            let mut out = Vec::new();
            decode(input.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(decoded(percent_decode, "a%20b+%41%2f%zz%4"), "a b+A/%zz%4");
        assert_eq!(decoded(form_decode, "a+b%2Bc%"), "a b+c%");
        assert_eq!(decoded(form_decode, "%+%"), "% %");
        assert_eq!(decoded(percent_decode, "plain"), "plain");
    }
}
