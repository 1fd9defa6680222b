//! Pieces of JSON, appended to bytes.

use std::io::Write;

use uuid::Uuid;
use wire::h1::encode;

pub(super) fn member(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    string(out, value);
}

pub(super) fn uuid(out: &mut Vec<u8>, id: Uuid) {
    let mut text = Uuid::encode_buffer();
    out.push(b'"');
    out.extend_from_slice(id.hyphenated().encode_lower(&mut text).as_bytes());
    out.push(b'"');
}

pub(super) fn number(out: &mut Vec<u8>, value: u64) {
    encode::number(out, value);
}

/// Appends a JSON string; bytes that are not UTF-8 become U+FFFD.
pub fn string(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    escaped(out, value);
    out.push(b'"');
}

pub(super) fn escaped(out: &mut Vec<u8>, value: &[u8]) {
    // Without an early end, so that the compiler can look at many bytes at a time.
    let special = |byte: &u8| !(0x20..0x7f).contains(byte) | (*byte == b'"') | (*byte == b'\\');
    if !value.iter().fold(false, |found, byte| found | special(byte)) {
        out.extend_from_slice(value);
        return;
    }
    for chunk in value.utf8_chunks() {
        for letter in chunk.valid().chars() {
            escape_letter(out, letter);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn escape_letter(out: &mut Vec<u8>, letter: char) {
    match letter {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        control if u32::from(control) < 0x20 => {
            // Writing to a vector cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(control));
        }
        other => {
            let mut bytes = [0; 4];
            out.extend_from_slice(other.encode_utf8(&mut bytes).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_valid_json_whatever_the_bytes() {
        for bytes in [&b"plain"[..], b"q\"uote\\", b"\x00\x1f\n\t", b"\xff\xfe ok", "é😀".as_bytes()] {
            let mut out = Vec::new();
            string(&mut out, bytes);
            let back: String = serde_json::from_slice(&out).unwrap();
            assert_eq!(back, String::from_utf8_lossy(bytes));
        }
    }
}
