//! The few forms of DER (X.690) in which keys are handed to the cryptography library.

/// An integer without sign.
pub(super) fn integer(bytes: &[u8], out: &mut Vec<u8>) {
    let first = bytes.iter().position(|&byte| byte != 0).unwrap_or(bytes.len());
    let digits = &bytes[first..];
    // A leading one would be read as a sign, and nothing at all is zero.
    let padding = digits.first().is_none_or(|&byte| byte >= 0x80);
    out.push(0x02);
    length(digits.len() + usize::from(padding), out);
    if padding {
        out.push(0);
    }
    out.extend_from_slice(digits);
}

/// A sequence with that content.
pub(super) fn sequence(content: &[u8]) -> Vec<u8> {
    let mut out = vec![0x30];
    length(content.len(), &mut out);
    out.extend_from_slice(content);
    out
}

fn length(length: usize, out: &mut Vec<u8>) {
    if length < 0x80 {
        out.push(length as u8);
        return;
    }
    let bytes = length.to_be_bytes();
    let first = bytes.iter().position(|&byte| byte != 0).unwrap_or(bytes.len());
    out.push(0x80 | (bytes.len() - first) as u8);
    out.extend_from_slice(&bytes[first..]);
}
