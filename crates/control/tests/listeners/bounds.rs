//! What clients of a control listener may take: connections, time, and memory for heads.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use control::Bounds;

use crate::support::{Plane, parse};

/// Long enough for an answer that is not held back.
const SOON: Duration = Duration::from_millis(200);

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET /status HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
}

/// Whether an answer comes before the stream's time is over.
fn is_answered(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 64 * 1024]) {
        Ok(length) => length > 0,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn connections_beyond_the_bound_wait_until_another_one_ends() {
    let plane = Plane::within(Bounds { connections: 2, ..Bounds::default() });
    for address in [plane.admin(), plane.status()] {
        let [mut first, mut second] = [connect(address), connect(address)];
        for stream in [&mut first, &mut second] {
            ask(stream);
            assert!(is_answered(stream));
        }
        let mut third = connect(address);
        ask(&mut third);
        third.set_read_timeout(Some(SOON)).unwrap();
        assert!(!is_answered(&mut third), "{address}: a third connection is served");
        drop(first);
        third.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(is_answered(&mut third), "{address}");
    }
}

#[test]
fn a_client_that_does_not_finish_its_head_is_let_go() {
    let plane = Plane::within(Bounds { head_timeout: SOON, ..Bounds::default() });
    for address in [plane.admin(), plane.status()] {
        for begun in ["", "GET /status HTTP/1.1\r\nHost: a\r\nX-Slow"] {
            let mut stream = connect(address);
            stream.write_all(begun.as_bytes()).unwrap();
            assert_eq!(stream.read(&mut [0; 1024]).unwrap(), 0, "{address} after {begun:?}");
        }
    }
}

#[test]
fn heads_are_bounded() {
    let plane = Plane::start();
    let answer = |length: usize| {
        let (start, end) = ("GET /status HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: ", "\r\n\r\n");
        let filler = "x".repeat(length - start.len() - end.len());
        let mut stream = connect(plane.admin());
        stream.write_all(format!("{start}{filler}{end}").as_bytes()).unwrap();
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).unwrap();
        parse(&String::from_utf8(raw).unwrap()).status
    };
    assert_eq!(answer(64 * 1024), 200);
    assert_eq!(answer(64 * 1024 + 1), 431);
}
