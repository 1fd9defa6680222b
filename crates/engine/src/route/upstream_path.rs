//! The path sent upstream: the service's own, joined with what is left of the request's (kong.md 3.2, `v0`).

use model::path;

/// Appends the path that goes upstream to `out`. `path` is normalized, `matched_len` of its bytes matched the
/// route, and `strip` takes these off. Bytes that may not stand in a URI are percent-escaped; only then this
/// allocates.
pub fn upstream_path(
    out: &mut Vec<u8>,
    service_path: Option<&str>,
    path: &[u8],
    matched_len: usize,
    strip: bool,
) {
    let start = out.len();
    let base = service_path.filter(|path| !path.is_empty()).unwrap_or("/").as_bytes();
    if strip {
        join(out, base, without_dots(path.get(matched_len..).unwrap_or_default()), path);
    } else {
        prepend(out, base, path);
    }
    let mut escaped = Vec::new();
    path::escape(&out[start..], &mut escaped);
    if !escaped.is_empty() {
        out.truncate(start);
        out.append(&mut escaped);
    }
}

/// A prefix may end inside a segment and leave a dot segment that was none: it is dropped.
fn without_dots(rest: &[u8]) -> &[u8] {
    match rest {
        b"." | b".." => b"",
        [b'.', b'/', rest @ ..] | [b'.', b'.', b'/', rest @ ..] => rest,
        _ => rest,
    }
}

/// Exactly one `/` between `base` and `rest`; with no rest, one at the end only if the request ended with one.
fn join(out: &mut Vec<u8>, base: &[u8], rest: &[u8], request: &[u8]) {
    let stem = base.strip_suffix(b"/").unwrap_or(base);
    out.extend_from_slice(stem);
    let slash = if rest.is_empty() {
        stem.is_empty() || (request.ends_with(b"/") && (request.len() > 1 || base.ends_with(b"/")))
    } else {
        !rest.starts_with(b"/")
    };
    if slash {
        out.push(b'/');
    }
    out.extend_from_slice(rest);
}

/// The whole request path behind `base`; the root path adds nothing.
fn prepend(out: &mut Vec<u8>, base: &[u8], request: &[u8]) {
    out.extend_from_slice(base);
    if base.ends_with(b"/") {
        out.extend_from_slice(request.get(1..).unwrap_or_default());
    } else if request != b"/" {
        out.extend_from_slice(request);
    }
}
