//! What clients can make the gateway say.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "not every test uses all of the rig")]

mod rig;

use std::io::{Read, Write};
use std::path::Path;

use rig::{BINARY, Folder, Gateway, backend, configuration};

/// How a connection of HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const HEADERS: u8 = 1;
const ACK: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

#[test]
fn odd_frames_of_http_2_are_told_of_once_a_second_and_not_each_for_itself() {
    let folder = Folder::new("log");
    let file = folder.write("kong.yml", &configuration(backend(), "/"));
    let gateway = Gateway::start(Path::new(BINARY), &folder, |command| {
        command.arg(file).args(["--proxy-listen", "127.0.0.1:0 http2"]);
    });
    let pongs = frame(PING, ACK, 0, b"nobody's").repeat(50);
    let endless = [frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 0, 1, b"").repeat(50)].concat();
    for odd in [pongs, endless] {
        let mut client = gateway.client();
        client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b""), &odd].concat()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        // Its end may be a reset.
        let _ = client.read_to_end(&mut Vec::new());
    }
    let line = gateway.hear("a bound was reached");
    assert!(line.contains("http2_excess"), "{line}");
    assert!(!gateway.has_said("PING"));
}
