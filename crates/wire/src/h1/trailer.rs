//! The trailer section of a chunked body (RFC 9112 7.1.2): collected line by line, bounded, and cleansed of
//! fields that could change what the head already decided.

use super::reject::{BAD_NAME, BAD_VALUE, BARE_LINE_END, FOLDED};
use super::{Limit, Limits, Reject};
use crate::grammar::{is_field_value, is_token, trim_whitespace};
use crate::message::{Headers, Known};

const TOO_LARGE: Reject = Reject::over(431, "trailer section larger than max_trailer_bytes", Limit::Trailers);
const TOO_MANY: Reject = Reject::over(431, "more trailer fields than max_headers", Limit::Headers);

/// Reads a trailer section in whatever pieces it arrives.
#[derive(Clone, Debug, Default)]
pub(super) struct TrailerSection {
    /// The line under way.
    line: Vec<u8>,
    fields: Headers,

    bytes_left: usize,
    fields_left: usize,
}

impl TrailerSection {
    pub fn reset(&mut self, limits: &Limits) {
        self.line.clear();
        self.fields.clear();
        self.bytes_left = limits.max_trailer_bytes;
        self.fields_left = limits.max_headers;
    }

    pub fn fields(&self) -> &Headers {
        &self.fields
    }

    /// Reads on; tells how much of `input` was taken and whether the empty line at the end was met.
    pub fn read(&mut self, input: &[u8]) -> Result<(usize, bool), Reject> {
        let mut place = 0;
        while let Some(length) = memchr::memchr(b'\n', &input[place..]) {
            self.gather(&input[place..place + length])?;
            place += length + 1;
            let Some((b'\r', line)) = self.line.split_last() else { return Err(BARE_LINE_END) };
            if line.is_empty() {
                return Ok((place, true));
            }
            take_line(line, &mut self.fields)?;
            self.fields_left = self.fields_left.checked_sub(1).ok_or(TOO_MANY)?;
            self.line.clear();
        }
        self.gather(&input[place..])?;
        Ok((input.len(), false))
    }

    fn gather(&mut self, piece: &[u8]) -> Result<(), Reject> {
        self.bytes_left = self.bytes_left.checked_sub(piece.len()).ok_or(TOO_LARGE)?;
        self.line.extend_from_slice(piece);
        Ok(())
    }
}

fn take_line(line: &[u8], fields: &mut Headers) -> Result<(), Reject> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(FOLDED);
    }
    let colon = memchr::memchr(b':', line).ok_or(BAD_NAME)?;
    let (name, value) = (&line[..colon], trim_whitespace(&line[colon + 1..]));
    if !is_token(name) {
        return Err(BAD_NAME);
    }
    if !is_field_value(value) {
        return Err(BAD_VALUE);
    }
    if !is_forbidden(Known::classify(name))
        && let Ok(name) = std::str::from_utf8(name)
    {
        fields.append(name, value);
    }
    Ok(())
}

/// Fields for framing, routing, authentication, conditions and content handling come too late in a trailer
/// (RFC 9110 6.5.1), and so do those by which the gateway tells an upstream who is calling.
pub(crate) fn is_forbidden(known: Known) -> bool {
    !matches!(known, Known::Other | Known::Date | Known::ETag | Known::LastModified | Known::Server)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(section: &[u8], limits: &Limits) -> Result<Headers, Reject> {
        let mut whole = TrailerSection::default();
        whole.reset(limits);
        let outcome = whole.read(section);
        let mut split = TrailerSection::default();
        split.reset(limits);
        let bytewise =
            section.iter().map(|byte| split.read(&[*byte])).find(|step| !matches!(step, Ok((_, false))));
        match (outcome, bytewise) {
            (Err(one), Some(Err(other))) => assert_eq!(one, other),
            (Ok((consumed, true)), Some(Ok((1, true)))) => {
                assert_eq!((consumed, &whole.fields), (section.len(), &split.fields));
            }
            other => panic!("{section:?}: {other:?}"),
        }
        outcome.map(|_| whole.fields)
    }

    #[test]
    fn fields_are_kept_but_for_the_forbidden() {
        let section = b"Grpc-Status: 0\r\nContent-Length: 5\r\nHost: evil\r\nX-Sum:\t1 \r\nTransfer-Encoding: chunked\r\n\
            Authorization: x\r\nX-Consumer-ID: 1\r\nETag: \"a\"\r\n\r\n";
        let fields = read(section, &Limits::default()).unwrap();
        let kept: Vec<_> = fields.iter().collect();
        assert_eq!(kept, [("Grpc-Status", &b"0"[..]), ("X-Sum", b"1"), ("ETag", b"\"a\"")]);
        assert!(read(b"\r\n", &Limits::default()).unwrap().is_empty());
    }

    #[test]
    fn malformed_sections_are_refused() {
        let cases: [(&[u8], Reject); 8] = [
            (b"\n", BARE_LINE_END),
            (b"A: b\n\r\n", BARE_LINE_END),
            (b" A: b\r\n", FOLDED),
            (b"A: b\r\n\tc\r\n", FOLDED),
            (b"A : b\r\n", BAD_NAME),
            (b"A\r\n", BAD_NAME),
            (b": b\r\n", BAD_NAME),
            (b"A: b\rc\r\n", BAD_VALUE),
        ];
        for (section, reject) in cases {
            assert_eq!(read(section, &Limits::default()).err(), Some(reject), "{section:?}");
        }
    }

    #[test]
    fn a_section_is_bounded_in_bytes_and_fields() {
        let limits = Limits { max_trailer_bytes: 20, max_headers: 2, ..Limits::default() };
        assert_eq!(read(b"a: 1\r\nb: 2\r\n\r\n", &limits).unwrap().len(), 2);
        assert_eq!(read(b"a: 1\r\nb: 2\r\nc: 3\r\n\r\n", &limits).err(), Some(TOO_MANY));
        assert_eq!(read(b"a: 1\r\nb: 2222222222222222222\r\n\r\n", &limits).err(), Some(TOO_LARGE));
    }
}
