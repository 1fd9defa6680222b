//! The patient way through a head: line by line over new bytes only, when it did not arrive whole or is to be
//! refused. The verdict depends on the bytes alone, never on how they were split.

use super::reject::{BARE_LINE_END, FOLDED, HEAD_TOO_LARGE, LINE_TOO_LONG, TOO_MANY};
use super::{Limits, Reject};
use crate::message::Progress;

/// How the start line of a message is checked.
pub(super) struct StartLine {
    /// Longest start line, without its CRLF.
    pub max_bytes: usize,
    /// The refusal of a longer one.
    pub too_long: Reject,
    /// The check of a whole one, without its CRLF.
    pub check: fn(&[u8], &Limits) -> Result<(), Reject>,
}

/// Looks for the end of the head in `bytes`, going on where `progress` says. Tells the length of the head.
pub(super) fn find_end(
    bytes: &[u8],
    limits: &Limits,
    start_line: &StartLine,
    progress: &mut Progress,
) -> Result<Option<usize>, Reject> {
    while let Some(length) = memchr::memchr(b'\n', &bytes[progress.scanned..]) {
        let feed = progress.scanned + length;
        let line = &bytes[progress.line_start..feed];
        check_length(line.len().saturating_sub(1), feed + 1, limits, start_line, progress)?;
        let Some((b'\r', line)) = line.split_last() else { return Err(BARE_LINE_END) };
        progress.scanned = feed + 1;
        progress.line_start = feed + 1;
        if progress.lines == 0 {
            (start_line.check)(line, limits)?;
        } else if line.is_empty() {
            return Ok(Some(feed + 1));
        } else if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(FOLDED);
        } else if progress.lines > limits.max_headers.min(Limits::MAX_HEADERS) {
            return Err(TOO_MANY);
        }
        progress.lines += 1;
    }
    progress.scanned = bytes.len();
    // The last byte may be the CR of the line's end.
    let unfinished = (bytes.len() - progress.line_start).saturating_sub(1);
    check_length(unfinished, bytes.len(), limits, start_line, progress)?;
    Ok(None)
}

fn check_length(
    line_bytes: usize,
    head_bytes: usize,
    limits: &Limits,
    start_line: &StartLine,
    progress: &Progress,
) -> Result<(), Reject> {
    let (most, too_long) = match progress.lines {
        0 => (start_line.max_bytes, start_line.too_long),
        _ => (limits.max_line_bytes, LINE_TOO_LONG),
    };
    // Of two bounds that are passed, the one that was passed first counts, as for somebody who sends byte by byte. Behind the
    // longest line may be the first byte of its end.
    let last_byte = progress.line_start.saturating_add(most).saturating_add(1);
    if line_bytes > most && last_byte <= limits.max_head_bytes {
        return Err(too_long);
    }
    if head_bytes > limits.max_head_bytes { Err(HEAD_TOO_LARGE) } else { Ok(()) }
}
