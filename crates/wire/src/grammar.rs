//! Byte classes of RFC 9110 section 5.6 shared by parser, printer and header edits. It never looks at meaning.

/// Bytes of a token: method and field names.
const TOKEN: [bool; 256] = class(b"!#$%&'*+-.^_`|~");

const fn class(marks: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < marks.len() {
        table[marks[index] as usize] = true;
        index += 1;
    }
    table
}

/// Whether `bytes` is a non-empty token (RFC 9110 5.6.2).
#[inline]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| TOKEN[byte as usize])
}

/// Whether `byte` may stand in a token.
#[inline]
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// Whether every byte of `bytes` may stand in a field value (RFC 9110 5.5): everything printable, SP, HTAB and
/// obs-text, so no CR, LF, NUL or other control.
#[inline]
pub fn is_field_value(bytes: &[u8]) -> bool {
    // Without an early end, so that the compiler can look at many bytes at a time.
    let allowed = |byte: u8| ((byte >= b' ') & (byte != 0x7f)) | (byte == b'\t');
    bytes.iter().fold(true, |all, &byte| all & allowed(byte))
}

/// `bytes` without optional whitespace (SP, HTAB) at both ends.
#[inline]
pub fn trim_whitespace(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Reads a non-empty run of decimal digits; `None` on anything else or on overflow.
#[inline]
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut number = 0u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_rfc_9110() {
        assert!(is_token(b"X-Request_Id.1~"));
        for bad in [&b""[..], b"a b", b"a:b", b"a(b", b"a\x00", b"\xc3\xa9", b"a/b", b"\"a\""] {
            assert!(!is_token(bad), "{bad:?}");
        }
    }

    #[test]
    fn field_values_hold_no_control_bytes_but_tab() {
        for byte in 0..=255u8 {
            let allowed = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
            assert_eq!(is_field_value(&[byte]), allowed, "{byte:#x}");
        }
    }

    #[test]
    fn decimals_are_digits_only_and_do_not_wrap() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"18446744073709551616", b"+1", b"-1", b"1 ", b"0x1", b"1,1"] {
            assert_eq!(decimal(bad), None, "{bad:?}");
        }
    }
}
