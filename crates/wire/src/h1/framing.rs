//! What the fields of a head say about body and connection, gathered while they pass (RFC 9112 6 and 9).

use super::reject::{BARE_LINE_END, LINE_TOO_LONG};
use super::{Limits, Reject};
use crate::grammar::{decimal, trim_whitespace};
use crate::media;
use crate::message::{Headers, Known, Upgrade, Version};

const MALFORMED_LENGTH: Reject = Reject::bad("malformed Content-Length (RFC 9112 6.3)");
const REPEATED_LENGTH: Reject = Reject::bad("repeated Content-Length (RFC 9112 6.3)");
const LENGTH_AND_CODING: Reject = Reject::bad("Content-Length with Transfer-Encoding (RFC 9112 6.3)");
const NOT_CHUNKED_LAST: Reject = Reject::bad("Transfer-Encoding does not end in one chunked (RFC 9112 6.3)");
const REPEATED_CODING: Reject = Reject::bad("repeated Transfer-Encoding (RFC 9112 6.1)");
const UNKNOWN_CODING: Reject = Reject::new(501, "transfer coding other than chunked (RFC 9112 6.1)");
const CODING_IN_HTTP_10: Reject = Reject::bad("Transfer-Encoding in an HTTP/1.0 message (RFC 9112 6.1)");
const UNPLACED: Reject = Reject::new(431, "field name longer than 64 KiB or head longer than 16 MiB");

/// The fields that decide how a message is framed and what becomes of its connection.
#[derive(Default)]
pub(super) struct Framing {
    pub content_length: Option<u64>,
    pub chunked: bool,
    pub host_count: usize,
    pub upgrade: Option<Upgrade>,
    pub expect_continue: bool,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
}

/// Copies the parsed fields into `headers` and gathers the framing. `block` is the header section with the
/// empty line that ends it; every slice of `fields` lies in it.
#[inline]
pub(super) fn take_fields(
    block: &[u8],
    fields: &[httparse::Header<'_>],
    limits: &Limits,
    headers: &mut Headers,
) -> Result<Framing, Reject> {
    let Some(lines) = block.strip_suffix(b"\r\n") else { return Err(BARE_LINE_END) };
    headers.begin_parsed(lines, fields.len()).ok_or(UNPLACED)?;
    let mut framing = Framing::default();
    for (index, field) in fields.iter().enumerate() {
        let start = place(block, field.name.as_bytes());
        let line_end = fields.get(index + 1).map_or(lines.len(), |next| place(block, next.name.as_bytes()));
        // httparse takes a bare LF for a line end; two parties may not read it alike.
        if !lines[..line_end].ends_with(b"\r\n") {
            return Err(BARE_LINE_END);
        }
        if line_end - 2 - start > limits.max_line_bytes {
            return Err(LINE_TOO_LONG);
        }
        let value_start = place(block, field.value);
        let known =
            headers.push_parsed(start, field.name.as_bytes(), value_start, field.value).ok_or(UNPLACED)?;
        framing.note(known, field.value)?;
    }
    Ok(framing)
}

/// Where `part`, a slice of `block`, begins in it.
#[inline]
fn place(block: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().wrapping_sub(block.as_ptr().addr())
}

impl Framing {
    #[inline]
    fn note(&mut self, known: Known, value: &[u8]) -> Result<(), Reject> {
        match known {
            Known::ContentLength => self.note_length(value)?,
            Known::TransferEncoding => self.note_coding(value)?,
            Known::Connection => self.note_connection(value),
            Known::Host => self.host_count += 1,
            Known::Upgrade => self.note_upgrade(value),
            Known::Expect => self.expect_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
        Ok(())
    }

    fn note_length(&mut self, value: &[u8]) -> Result<(), Reject> {
        let length = decimal(value).ok_or(MALFORMED_LENGTH)?;
        match self.content_length.replace(length) {
            None => Ok(()),
            Some(_) => Err(REPEATED_LENGTH),
        }
    }

    fn note_coding(&mut self, value: &[u8]) -> Result<(), Reject> {
        if self.chunked {
            return Err(REPEATED_CODING);
        }
        if value.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
            return Ok(());
        }
        let is_chunked = |coding: &&[u8]| trim_whitespace(coding).eq_ignore_ascii_case(b"chunked");
        let mut codings = value.split(|&byte| byte == b',');
        let ends_chunked = codings.next_back().is_some_and(|last| is_chunked(&last));
        let names_another = codings.clone().any(|coding| !trim_whitespace(coding).is_empty());
        if ends_chunked && names_another && !codings.any(|coding| is_chunked(&coding)) {
            return Err(UNKNOWN_CODING);
        }
        Err(NOT_CHUNKED_LAST)
    }

    fn note_connection(&mut self, value: &[u8]) {
        // What nearly every message says, before lists are looked at.
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
            return;
        }
        for option in media::list(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.connection_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }

    fn note_upgrade(&mut self, value: &[u8]) {
        if let (None, Some(protocol)) = (self.upgrade, media::list(value).next()) {
            let websocket = protocol.eq_ignore_ascii_case(b"websocket");
            self.upgrade = Some(if websocket { Upgrade::WebSocket } else { Upgrade::Other });
        }
    }

    /// Refuses what no message may combine.
    #[inline]
    pub fn check(&self, version: Version) -> Result<(), Reject> {
        if self.chunked && self.content_length.is_some() {
            return Err(LENGTH_AND_CODING);
        }
        if self.chunked && version == Version::Http10 { Err(CODING_IN_HTTP_10) } else { Ok(()) }
    }

    /// Whether the sender lets the connection live on (RFC 9112 9.3).
    #[inline]
    pub fn persists(&self, version: Version) -> bool {
        !self.close && (version != Version::Http10 || self.keep_alive)
    }

    /// The change of protocol asked for or announced; HTTP/1.0 knows none (RFC 9110 7.8).
    #[inline]
    pub fn upgrade(&self, version: Version) -> Option<Upgrade> {
        self.upgrade.filter(|_| self.connection_upgrade && version == Version::Http11)
    }
}
