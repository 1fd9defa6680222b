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

/// The two integers without sign of a sequence that has no others, as RFC 8017 A.1.1 writes a public key.
pub(super) fn two_integers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (content, rest) = element(der, 0x30)?;
    let (first, content) = element(content, 0x02)?;
    let (second, content) = element(content, 0x02)?;
    (rest.is_empty() && content.is_empty()).then(|| (without_zeros(first), without_zeros(second)))
}

/// The content of the element with that tag that `der` begins with, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (_, rest) = der.split_first().filter(|(first, _)| **first == tag)?;
    let (&length, rest) = rest.split_first()?;
    if length < 0x80 {
        return rest.split_at_checked(usize::from(length));
    }
    let (bytes, rest) =
        rest.split_at_checked(usize::from(length & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
    let length = bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
    rest.split_at_checked(length)
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let first = number.iter().position(|&byte| byte != 0).unwrap_or(number.len());
    &number[first..]
}
