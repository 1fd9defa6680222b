//! Message heads and chunk framing, outgoing. Everything is appended to a buffer of the caller; nothing is
//! formatted through `std::fmt`, and nothing that could break out of its line is written.

mod reason;

use std::io::Write as _;
use std::net::IpAddr;

pub use reason::standard_reason;

use crate::grammar::{is_field_value, is_token};
use crate::message::{Headers, Known, Method, RequestHead, ResponseHead, Version};
use crate::target::is_target;

/// Appends a request line. A target with whitespace, a control byte or `#` is refused: nothing is written and
/// `false` returned.
#[must_use]
pub fn request_line(out: &mut Vec<u8>, method: &Method, target: &[u8], version: Version) -> bool {
    let accepted = is_target(target);
    if accepted {
        out.extend_from_slice(method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(target);
        out.extend_from_slice(if version == Version::Http10 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    }
    accepted
}

/// Appends an HTTP/1.1 status line. Without a reason, or with one holding control bytes, the standard one is
/// written. `status` is cut to three digits.
pub fn status_line(out: &mut Vec<u8>, status: u16, reason: Option<&[u8]>) {
    let reason = reason.filter(|reason| is_field_value(reason));
    if let (None, Some(line)) = (reason, reason::standard_line(status)) {
        out.extend_from_slice(line);
        return;
    }
    let digit = |power: u16| b'0' + (status / power % 10) as u8;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(100), digit(10), digit(1), b' ']);
    out.extend_from_slice(reason.unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// Appends a field. A name that is no token, or a value with a control byte, is refused: nothing is written
/// and `false` returned.
pub fn header(out: &mut Vec<u8>, name: &str, value: &[u8]) -> bool {
    is_token(name.as_bytes()) && is_field_value(value) && push_field(out, name, value)
}

/// Appends a field of a classified name; refuses values as [`header`] does, and `Known::Other`.
pub fn header_known(out: &mut Vec<u8>, known: Known, value: &[u8]) -> bool {
    known != Known::Other && is_field_value(value) && push_field(out, known.as_str(), value)
}

/// Appends a field whose value is a number; nothing for `Known::Other`.
pub fn header_number(out: &mut Vec<u8>, known: Known, number: u64) {
    header_known(out, known, itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a number in decimal.
pub fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends an address as text.
pub fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let (mut text, mut length) = ([b'.'; 16], 0);
            for octet in address.octets() {
                length = small_number(&mut text, length, octet) + 1;
            }
            out.extend_from_slice(&text[..length - 1]);
        }
        // Writing to a vector cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// Writes a number at a place of `text`, and tells where it ends.
fn small_number(text: &mut [u8; 16], mut place: usize, number: u8) -> usize {
    let mut digit = |digit: u8| {
        text[place] = b'0' + digit;
        place += 1;
    };
    if number >= 100 {
        digit(number / 100);
    }
    if number >= 10 {
        digit(number / 10 % 10);
    }
    digit(number % 10);
    place
}

/// Appends all fields of a section.
pub fn headers(out: &mut Vec<u8>, headers: &Headers) {
    headers.write_to(out);
}

/// Appends the empty line that ends a head.
pub fn end_of_head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends a whole request head as it stands; the framing fields are those in its headers. `false`, and
/// nothing written, when it has no target.
#[must_use]
pub fn request_head(out: &mut Vec<u8>, head: &RequestHead) -> bool {
    let accepted = request_line(out, &head.method, head.target(), head.version);
    if accepted {
        headers(out, &head.headers);
        end_of_head(out);
    }
    accepted
}

/// Appends a whole response head as it stands; the framing fields are those in its headers.
pub fn response_head(out: &mut Vec<u8>, head: &ResponseHead) {
    status_line(out, head.status, Some(head.reason()));
    headers(out, &head.headers);
    end_of_head(out);
}

/// Appends the line before a chunk of `length` bytes. Nothing for an empty chunk, which would end the body:
/// leave out [`chunk_end`] then, too.
pub fn chunk_head(out: &mut Vec<u8>, length: usize) {
    if length == 0 {
        return;
    }
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(length >> (place * 4)) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends what follows the bytes of a chunk.
pub fn chunk_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a chunked body, with its trailer section.
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&Headers>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        headers(out, trailers);
    }
    out.extend_from_slice(b"\r\n");
}

fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) -> bool {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_of_a_message() {
        let get = |target: &'static [u8]| {
            written(|out| assert!(request_line(out, &Method::Get, target, Version::Http11)))
        };
        assert_eq!(get(b"/a?b"), "GET /a?b HTTP/1.1\r\n");
        assert_eq!(written(|out| status_line(out, 404, None)), "HTTP/1.1 404 Not Found\r\n");
        assert_eq!(
            written(|out| status_line(out, 404, Some(b"Gone fishing"))),
            "HTTP/1.1 404 Gone fishing\r\n"
        );
        assert_eq!(written(|out| status_line(out, 299, None)), "HTTP/1.1 299 \r\n");
        assert_eq!(written(|out| status_line(out, 200, Some(b""))), "HTTP/1.1 200 \r\n");
        assert_eq!(written(|out| header_number(out, Known::ContentLength, 1234)), "Content-Length: 1234\r\n");
        assert_eq!(written(|out| number(out, u64::MAX)), u64::MAX.to_string());
    }

    #[test]
    fn nothing_breaks_out_of_its_line() {
        for target in [&b""[..], b"/ HTTP/1.1\r\nA: b", b"/a b", b"/\r", b"/\n", b"/\0", b"/#"] {
            let line = written(|out| assert!(!request_line(out, &Method::Get, target, Version::Http11)));
            assert_eq!(line, "", "{target:?}");
        }
        assert_eq!(written(|out| status_line(out, 200, Some(b"a\r\nB: c"))), "HTTP/1.1 200 OK\r\n");
        assert_eq!(written(|out| assert!(!header(out, "A", b"b\nC: d"))), "");
        assert_eq!(written(|out| assert!(!header(out, "A: b\r\nC", b"d"))), "");
        assert_eq!(written(|out| assert!(!header_known(out, Known::Vary, b"\r"))), "");
    }

    #[test]
    fn chunks() {
        for (length, line) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (4096, "1000\r\n"), (0, "")] {
            assert_eq!(written(|out| chunk_head(out, length)), line);
        }
        assert_eq!(written(|out| chunk_head(out, usize::MAX)), format!("{:x}\r\n", usize::MAX));
        assert_eq!(written(|out| last_chunk(out, None)), "0\r\n\r\n");
        let mut trailers = Headers::new();
        trailers.append("Grpc-Status", b"0");
        assert_eq!(written(|out| last_chunk(out, Some(&trailers))), "0\r\nGrpc-Status: 0\r\n\r\n");
    }
}
