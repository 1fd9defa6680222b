//! How far a request may still go: `Max-Forwards` of OPTIONS and TRACE (RFC 9110 7.6.2). Other methods never count.

use plugin::Exchange;
use wire::Method;

use crate::respond::Failure;

const MAX_FORWARDS: &str = "Max-Forwards";

/// Counts this hop. True when the request is to go no further and has been answered here.
///
/// # Errors
/// A number that is none, and a TRACE that ends here: what a request held is never told to others.
pub fn count(exchange: &mut Exchange) -> Result<bool, Failure> {
    let method = exchange.request.method;
    if !matches!(method, Method::Options | Method::Trace) {
        return Ok(false);
    }
    let Some(value) = exchange.request.headers.get(MAX_FORWARDS) else { return Ok(false) };
    match hops(value) {
        None => Err(Failure::malformed(400, "Max-Forwards is no number (RFC 9110 7.6.2)")),
        Some(0) if method == Method::Trace => Err(Failure::malformed(405, "TRACE is not answered here")),
        Some(0) => {
            exchange.reply.clear();
            exchange.reply.status = 200;
            Ok(true)
        }
        Some(left) => {
            exchange.request.headers.set(MAX_FORWARDS, (left - 1).to_string().as_bytes());
            Ok(false)
        }
    }
}

/// A number of hops; one beyond 64 bits is as good as the largest.
fn hops(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_digits_only_and_never_overflow() {
        assert_eq!(hops(b"0"), Some(0));
        assert_eq!(hops(b"007"), Some(7));
        assert_eq!(hops(b"99999999999999999999999"), Some(u64::MAX));
        for wrong in ["", "-1", "+1", "1, 2", "0x1", "1 "] {
            assert_eq!(hops(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
