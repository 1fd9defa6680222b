//! A place in bytes of which more may follow: every step tells whether the bytes are wrong or only too few.

use super::Reject;

/// Why reading cannot go on.
pub(super) enum Stop {
    /// The bytes end here, so far in order.
    Incomplete,
    /// No more bytes could make this right.
    Wrong(Reject),
}

/// Bytes and a place in them.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    /// Bytes passed.
    pub place: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, place: 0 }
    }

    /// Passes the next byte.
    pub fn octet(&mut self) -> Result<u8, Stop> {
        let octet = *self.bytes.get(self.place).ok_or(Stop::Incomplete)?;
        self.place += 1;
        Ok(octet)
    }

    /// The byte at `place`, if it is there.
    pub fn peek(&self, place: usize) -> Option<u8> {
        self.bytes.get(place).copied()
    }

    /// Passes exactly `text`.
    pub fn literal(&mut self, text: &[u8], otherwise: Reject) -> Result<(), Stop> {
        for wanted in text {
            if self.octet()? != *wanted {
                return Err(Stop::Wrong(otherwise));
            }
        }
        Ok(())
    }

    /// Passes `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        let taken = self.bytes[self.place..].get(..count).ok_or(Stop::Incomplete)?;
        self.place += count;
        Ok(taken)
    }

    /// Passes the bytes that `belongs` is true for, at most `most`, up to one for which it is not.
    pub fn run(&mut self, most: usize, belongs: fn(u8) -> bool, otherwise: Reject) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.place..];
        let end = rest.iter().position(|byte| !belongs(*byte));
        let length = end.unwrap_or(rest.len());
        if length > most {
            return Err(Stop::Wrong(otherwise));
        }
        if end.is_none() {
            return Err(Stop::Incomplete);
        }
        self.place += length;
        Ok(&rest[..length])
    }
}
