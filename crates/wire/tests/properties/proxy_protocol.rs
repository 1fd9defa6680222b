//! What must hold for every start of a connection, hostile or not, when it is read as a PROXY protocol header.

use wire::proxy_protocol::{DEFAULT_MAX_BYTES, Origin, Parsed, parse, write_v1, write_v2};

/// Parses whole and byte by byte, demands one verdict, within the bounds, and that printing it is stable.
pub fn header(bytes: &[u8], max_bytes: usize) -> Parsed {
    let verdict = parse(bytes, max_bytes);
    let mut bytewise = (0..=bytes.len()).map(|end| parse(&bytes[..end], max_bytes));
    let first = bytewise.find(|verdict| *verdict != Parsed::Incomplete).unwrap_or(Parsed::Incomplete);
    assert_eq!(verdict, first, "whole and byte by byte differ: {}", bytes.escape_ascii());
    match verdict {
        Parsed::Complete { consumed, origin } => {
            assert!(consumed <= bytes.len() && consumed <= max_bytes.max(107));
            assert_eq!(parse(&bytes[..consumed], max_bytes), verdict);
            assert_stable(&origin);
        }
        Parsed::Incomplete => assert!(bytes.len() < max_bytes.max(107), "waits beyond the bound"),
        Parsed::Reject(_) => {}
    }
    verdict
}

/// What is printed is read as what was meant, as far as each version can say it.
pub fn assert_stable(origin: &Origin) {
    let mut printed = Vec::new();
    write_v2(&mut printed, origin);
    let consumed = printed.len();
    assert_eq!(parse(&printed, DEFAULT_MAX_BYTES), Parsed::Complete { consumed, origin: *origin });
    printed.clear();
    write_v1(&mut printed, origin);
    let consumed = printed.len();
    assert!(consumed <= 107);
    let told = if *origin == Origin::Local { Origin::Unknown } else { *origin };
    assert_eq!(parse(&printed, DEFAULT_MAX_BYTES), Parsed::Complete { consumed, origin: told });
}
