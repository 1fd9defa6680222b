//! Keys in the places that key-auth looks at. The first byte picks one: the query, a header, or a body in one of three forms.

use super::{Room, holds, judge, room, with_field};
use plugin::harness::Outcome;

/// Pieces of queries and bodies with keys.
pub const TOKENS: &[&[u8]] = &[
    b"apikey",
    b"apikey=",
    b"apikey=the-right-key-of-ada",
    b"the-right-key",
    b"&",
    b"=",
    b"+",
    b"%",
    b"%00",
    b"%61",
    b"%2D",
    b"\xff",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"\\u0061",
    b"\\ud800",
    b":",
    b",",
    b"null",
    b"{\"apikey\":",
    b"\r\n",
    b"\r\n\r\n",
    b"--b",
    b"--b--",
    b"\r\n--b\r\n",
    b"Content-Disposition: form-data; name=\"apikey\"",
    b"name*=utf-8''apikey",
    b";",
];

const KEY: &str = "the-right-key-of-ada";

thread_local! {
    static KEYS: Room = room(&["key-auth"], "plugins: [{name: key-auth, config: {key_in_body: true, \
        hide_credentials: true}}]\nconsumers: [{username: ada, keyauth_credentials: [{key: the-right-key-of-ada}]}]");
}

/// A request with a key, or something else, in one place.
pub fn run(bytes: &[u8]) {
    let Some((pick, value)) = bytes.split_first() else { return };
    let Some(outcome) = KEYS.with(|keys| ask(keys, *pick, value)) else { return };
    // Escapes write the same key otherwise.
    let shown = holds(value, KEY) || value.iter().any(|byte| matches!(byte, b'%' | b'\\'));
    judge(&outcome, "ada", shown);
    if !outcome.answered {
        let left = match pick {
            b'q' => outcome.upstream_query.unwrap_or_default().into_bytes(),
            b'f' => outcome.upstream_body,
            _ => Vec::new(),
        };
        let is_key = |field: &[u8]| field.strip_prefix(b"apikey=") == Some(KEY.as_bytes());
        assert!(!left.split(|byte| *byte == b'&').any(is_key), "the key goes upstream");
        assert!(outcome.upstream_headers.get("apikey").is_none(), "the key goes upstream");
    }
}

fn ask(keys: &Room, pick: u8, value: &[u8]) -> Option<Outcome> {
    let content_type = match pick {
        b'q' => {
            let head = [b"GET /?", value, b" HTTP/1.1\r\nHost: gateway.test\r\n\r\n"].concat();
            return keys.borrow_mut().send_head(&head, b"");
        }
        b'f' => "application/x-www-form-urlencoded",
        b'j' => "application/json",
        b'm' => "multipart/form-data; boundary=b",
        _ => return with_field(keys, "apikey", value),
    };
    Some(keys.borrow_mut().send_bytes(&format!("POST / HTTP/1.1\nContent-Type: {content_type}"), value))
}
