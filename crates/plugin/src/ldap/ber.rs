//! The part of BER (X.690) that LDAP needs (RFC 4511 5.1): elements of definite length with one byte of tag.

/// Tags of the universal class.
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// Appends an element.
pub(super) fn push(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    match u8::try_from(content.len()) {
        Ok(length) if length < 0x80 => out.push(length),
        _ => {
            let bytes = (content.len() as u64).to_be_bytes();
            let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
            out.push(0x80 | (bytes.len() - start) as u8);
            out.extend_from_slice(&bytes[start..]);
        }
    }
    out.extend_from_slice(content);
}

/// Appends a number that is not negative.
pub(super) fn push_number(out: &mut Vec<u8>, tag: u8, number: u32) {
    // A first byte of zero where the number would look negative.
    let bytes = u64::from(number).to_be_bytes();
    let start = bytes.windows(2).position(|pair| pair[0] != 0 || pair[1] >= 0x80).unwrap_or(bytes.len() - 1);
    push(out, tag, &bytes[start..]);
}

/// The bytes of a head that are known, read: the tag, the length of the head and of the content. None where more bytes are
/// needed; the error is a head that is none, or of more than `most` bytes of content.
pub(super) fn head(bytes: &[u8], most: usize) -> Result<Option<(u8, usize, usize)>, &'static str> {
    let [tag, first, rest @ ..] = bytes else { return Ok(None) };
    let count = usize::from(first & 0x7f);
    let length = match (first & 0x80, count) {
        (0, length) => length,
        (_, 1..=4) => {
            let Some(bytes) = rest.get(..count) else { return Ok(None) };
            bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte))
        }
        _ => return Err("a length of no known form"),
    };
    if length > most {
        return Err("an element that is too long");
    }
    Ok(Some((*tag, if first & 0x80 == 0 { 2 } else { 2 + count }, length)))
}

/// Elements one after the other. Ends at the first thing that is none.
#[derive(Clone, Copy)]
pub(super) struct Elements<'b>(pub &'b [u8]);

impl<'b> Elements<'b> {
    /// The content of the next element, which must have the tag.
    pub fn expect(&mut self, tag: u8) -> Option<&'b [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// The next element as a number that is not negative.
    pub fn number(&mut self, tag: u8) -> Option<u32> {
        let content = self.expect(tag).filter(|content| (1..=5).contains(&content.len()))?;
        let number = content.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        u32::try_from(number).ok().filter(|_| content[0] < 0x80)
    }
}

impl<'b> Iterator for Elements<'b> {
    type Item = (u8, &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, start, length) = head(self.0, self.0.len()).ok()??;
        let content = self.0.get(start..start + length)?;
        self.0 = &self.0[start + length..];
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let mut out = Vec::new();
            push(&mut out, OCTETS, &vec![7; length]);
            push(&mut out, 1, &[0xff]);
            let mut elements = Elements(&out);
            assert_eq!(elements.expect(OCTETS).map(<[u8]>::len), Some(length));
            assert_eq!(elements.next(), Some((1, &[0xff][..])));
            assert_eq!(elements.next(), None);
        }
        for number in [0, 1, 127, 128, 255, 256, 0x7fff, 0x8000, u32::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, INTEGER, number);
            assert_eq!(Elements(&out).number(INTEGER), Some(number));
        }
    }

    #[test]
    fn what_is_no_element_is_none() {
        for bad in [
            &[][..],
            &[4],
            &[4, 1],
            &[4, 0x80],
            &[4, 0x85, 0, 0, 0, 0, 1, 1],
            &[4, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[4, 0x82, 1],
        ] {
            assert_eq!(Elements(bad).next(), None, "{bad:?}");
        }
        assert_eq!(Elements(&[2, 1, 0xff]).number(INTEGER), None, "negative");
        assert_eq!(Elements(&[2, 0]).number(INTEGER), None);
        assert_eq!(head(&[0x30, 0x82, 1], 1000), Ok(None), "more is needed");
        assert!(head(&[0x30, 0x82, 4, 0], 1000).is_err());
    }
}
