//! What must hold for every start of a connection, hostile or not, when a ClientHello is looked for in it.

use wire::client_hello::{Peeked, peek};

/// Looks whole and byte by byte, demands one verdict within the bound, and only names that can be trusted as such.
pub fn hello(bytes: &[u8], max_bytes: usize) -> Peeked {
    let verdict = peek(bytes, max_bytes);
    let mut bytewise = (0..=bytes.len()).map(|end| peek(&bytes[..end], max_bytes));
    let first = bytewise.find(|verdict| *verdict != Peeked::Incomplete).unwrap_or(Peeked::Incomplete);
    assert_eq!(verdict, first, "whole and byte by byte differ: {}", bytes.escape_ascii());
    match &verdict {
        Peeked::Complete(hello) => {
            let is_plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
            if let Some(name) = &hello.server_name {
                assert!((1..=253).contains(&name.len()) && name.bytes().all(is_plain), "{name:?}");
                assert!(name.split('.').all(|label| (1..=63).contains(&label.len())), "{name:?}");
            }
            assert!(hello.protocols.iter().all(|protocol| (1..=255).contains(&protocol.len())));
        }
        Peeked::Incomplete => assert!(bytes.len() < max_bytes.max(1), "waits beyond the bound"),
        Peeked::NotTls | Peeked::Reject(_) => {}
    }
    verdict
}
