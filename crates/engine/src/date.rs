//! The text of the `Date` field, made once a second (RFC 9110 6.6.1).

use std::cell::{Cell, RefCell};
use std::time::{Duration, UNIX_EPOCH};

/// One worker's copy of the date's text.
#[derive(Default)]
pub struct DateCache {
    second: Cell<u64>,
    text: RefCell<Vec<u8>>,
}

impl DateCache {
    /// Appends the date for `now_ms`, milliseconds since the epoch, to `out`.
    pub fn write(&self, now_ms: u64, out: &mut Vec<u8>) {
        let second = now_ms / 1000;
        if self.second.get() != second || self.text.borrow().is_empty() {
            self.second.set(second);
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            *self.text.borrow_mut() = date.into_bytes();
        }
        out.extend_from_slice(&self.text.borrow());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_follows_the_clock() {
        let cache = DateCache::default();
        let mut out = Vec::new();
        cache.write(784_111_777_000, &mut out);
        assert_eq!(out, b"Sun, 06 Nov 1994 08:49:37 GMT");
        out.clear();
        cache.write(784_111_778_999, &mut out);
        assert_eq!(out, b"Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
