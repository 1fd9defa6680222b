//! Paths: what normalization leaves is normal, so that no two readers of it see different segments.

use model::path::{escape, normalize};

/// Pieces of paths.
pub const TOKENS: &[&[u8]] = &[
    b"/", b"//", b".", b"..", b"/./", b"/../", b"%2e", b"%2E%2e", b"%2f", b"%2F", b"%5c", b"\\", b"%25",
    b"%", b"%00", b"%c3%bc", b"%C0%AE", b"\xff", b"%7e", b";", b"?", b" ", b"a", b"%zz",
];

/// Normalizes and escapes.
pub fn run(bytes: &[u8]) {
    let (mut scratch, mut again) = (Vec::new(), Vec::new());
    let normal = normalize(bytes, &mut scratch).to_vec();
    if bytes.first() != Some(&b'/') {
        // Only absolute paths are promised anything: neither requests nor routes have others.
        return;
    }
    assert!(normal.len() <= bytes.len(), "longer than it was");
    assert_eq!(normal.first(), Some(&b'/'), "no longer absolute");
    let segments: Vec<&[u8]> = normal.split(|byte| *byte == b'/').collect();
    assert!(!segments.iter().any(|segment| matches!(*segment, b"." | b"..")), "a dot segment is left");
    assert!(!normal.windows(2).any(|pair| pair == b"//"), "an empty segment is left");
    // What the parser of requests lets through has no other triplets than whole ones.
    if has_sound_triplets(bytes) {
        assert!(has_sound_triplets(&normal), "a triplet was torn");
        assert_eq!(normalize(&normal, &mut again), normal, "not normal yet");
    }
    let escaped = escape(&normal, &mut again);
    assert!(
        escaped.iter().all(|byte| byte.is_ascii_graphic()),
        "a byte that may not stand in a request line"
    );
    assert_eq!(decoded(escaped), decoded(&normal), "escaping changed what is meant");
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    wire::target::percent_decode(path, &mut decoded);
    decoded
}

fn has_sound_triplets(path: &[u8]) -> bool {
    let mut rest = path.split(|byte| *byte == b'%').skip(1);
    rest.all(|tail| matches!(tail, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()))
}
