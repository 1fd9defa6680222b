//! Records (RFC 8446 5.1): where in them the first handshake message lies, in as many records as the client made of
//! it.

use super::{Reject, Stop};
use std::borrow::Cow;

const OTHER_RECORD: Reject = Reject::new("TLS record of another type within the ClientHello (RFC 8446 5.1)");
const OTHER_VERSION: Reject = Reject::new("TLS record of another major version (RFC 8446 5.1)");
const EMPTY_RECORD: Reject = Reject::new("empty TLS record (RFC 8446 5.1)");
const LONG_RECORD: Reject = Reject::new("TLS record longer than 16 KiB (RFC 8446 5.1)");
const OTHER_MESSAGE: Reject = Reject::new("TLS does not begin with a ClientHello (RFC 8446 4)");
const MORE_MESSAGES: Reject = Reject::new("bytes behind the ClientHello in its record (RFC 8446 5.1)");
const TOO_LONG: Reject = Reject::new("ClientHello longer than its bound");

/// The type of a record with handshake messages.
const HANDSHAKE: u8 = 22;
/// The major version of every TLS.
const MAJOR_VERSION: u8 = 3;
/// The type of a ClientHello.
const CLIENT_HELLO: u8 = 1;
/// Type, version and length of a record.
const RECORD_HEADER: usize = 5;
/// Type and length of a message.
const MESSAGE_HEADER: usize = 4;
/// The content of a record is never longer.
const MAX_RECORD: usize = 1 << 14;

/// The ClientHello at the start of `buf`, without its type and length.
pub(super) fn message(buf: &[u8], max_bytes: usize) -> Result<Cow<'_, [u8]>, Stop> {
    let first = record(buf, 0, max_bytes)?;
    let mut message = Cow::Borrowed(first.content);
    let mut last = first;
    loop {
        let left = left(&message, max_bytes)?;
        // Judged by what records announce, before it is there.
        if left.is_some_and(|left| last.missing > left) {
            return Err(Stop::Wrong(MORE_MESSAGES));
        }
        if last.missing > 0 {
            return Err(Stop::Incomplete);
        }
        if left == Some(0) {
            return Ok(without_header(message));
        }
        last = record(buf, last.end, max_bytes)?;
        message.to_mut().extend_from_slice(last.content);
    }
}

/// How much of the message is still to come, once its length is known.
fn left(message: &[u8], max_bytes: usize) -> Result<Option<usize>, Stop> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(Stop::Wrong(OTHER_MESSAGE));
    }
    let Some([_, high, middle, low]) = message.first_chunk::<MESSAGE_HEADER>() else { return Ok(None) };
    let length = MESSAGE_HEADER + u32::from_be_bytes([0, *high, *middle, *low]) as usize;
    if RECORD_HEADER + length > max_bytes {
        return Err(Stop::Wrong(TOO_LONG));
    }
    length.checked_sub(message.len()).map(Some).ok_or(Stop::Wrong(MORE_MESSAGES))
}

fn without_header(message: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match message {
        Cow::Borrowed(message) => Cow::Borrowed(&message[MESSAGE_HEADER..]),
        Cow::Owned(mut message) => {
            message.drain(..MESSAGE_HEADER);
            Cow::Owned(message)
        }
    }
}

/// One record, as far as it has arrived.
struct Record<'a> {
    content: &'a [u8],
    /// Bytes of the content that are still to come.
    missing: usize,
    /// Where the next record begins.
    end: usize,
}

fn record(buf: &[u8], start: usize, max_bytes: usize) -> Result<Record<'_>, Stop> {
    // One with the least content would already be too much.
    if start + RECORD_HEADER >= max_bytes {
        return Err(Stop::Wrong(TOO_LONG));
    }
    let otherwise = |reject| if start == 0 { Stop::NotTls } else { Stop::Wrong(reject) };
    let mut header = buf[start..].iter().copied();
    if header.next().ok_or(Stop::Incomplete)? != HANDSHAKE {
        return Err(otherwise(OTHER_RECORD));
    }
    if header.next().ok_or(Stop::Incomplete)? != MAJOR_VERSION {
        return Err(otherwise(OTHER_VERSION));
    }
    // The minor version is any: what is spoken is agreed upon elsewhere.
    let (_, Some(high), Some(low)) = (header.next(), header.next(), header.next()) else {
        return Err(Stop::Incomplete);
    };
    let (content, length) = (start + RECORD_HEADER, usize::from(u16::from_be_bytes([high, low])));
    let end = content + length;
    let refusal = match length {
        0 => Some(EMPTY_RECORD),
        _ if length > MAX_RECORD => Some(LONG_RECORD),
        _ if end > max_bytes => Some(TOO_LONG),
        _ => None,
    };
    if let Some(reject) = refusal {
        return Err(Stop::Wrong(reject));
    }
    let arrived = end.min(buf.len());
    Ok(Record { content: &buf[content..arrived], missing: end - arrived, end })
}
