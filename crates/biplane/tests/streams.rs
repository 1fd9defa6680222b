//! Listeners of streams that come and go and are handed over, like those for requests.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "not every test uses all of the rig")]

mod rig;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use rig::{BINARY, Folder, Gateway, LIMIT, backend, connect, eventually, get};

/// A backend that sends every datagram back.
fn datagram_backend() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            // Whoever waits for it sees that it does not come.
            let _ = socket.send_to(&buffer[..count], from);
        }
    });
    address
}

fn configuration(of_bytes: SocketAddr, of_datagrams: SocketAddr) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: bytes\n  url: tcp://{of_bytes}\n  routes:\n  \
         - {{protocols: [tcp], destinations: [{{ip: 127.0.0.1}}]}}\n- name: datagrams\n  url: udp://{of_datagrams}\n  \
         routes:\n  - {{protocols: [udp], destinations: [{{ip: 127.0.0.1}}]}}\n"
    )
}

/// Whether a datagram comes back.
fn is_answered(socket: &UdpSocket, text: &[u8]) -> bool {
    let mut buffer = [0; 1024];
    socket.send(text).is_ok() && socket.recv(&mut buffer).is_ok_and(|count| &buffer[..count] == text)
}

#[test]
fn bytes_and_datagrams_at_one_port_are_handed_over_and_go_with_the_settings_file() {
    let folder = Folder::new("streams");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = format!("127.0.0.1:{port}");
    let conf = |streams: &str| format!("proxy_listen = 127.0.0.1:0\nstream_listen = {streams}\n");
    folder.write("kong.conf", &conf(&format!("{place}, {place} udp")));
    folder.write("kong.yml", &configuration(backend(), datagram_backend()));
    let gateway = Gateway::start(Path::new(BINARY), &folder, |command| {
        command.arg(folder.path("kong.yml")).arg("--conf").arg(folder.path("kong.conf"));
    });
    let mut old = connect(&place);
    assert!(get(&mut old, "/").unwrap().starts_with("HTTP/1.1 200 "));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.connect(&place).unwrap();
    assert!(is_answered(&client, b"before"));

    let first = gateway.id();
    assert!(gateway.upgrade().status.success());
    assert_ne!(gateway.id(), first);
    assert!(get(&mut old, "/").unwrap().starts_with("HTTP/1.1 200 "), "a session goes on");
    assert!(get(&mut connect(&place), "/").unwrap().starts_with("HTTP/1.1 200 "));
    assert!(is_answered(&client, b"after"));

    folder.write("kong.conf", &conf(&place));
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    // The kernel says so once nobody has the port any more.
    eventually("datagrams are refused", || !is_answered(&client, b"x"));
    assert!(get(&mut connect(&place), "/").unwrap().starts_with("HTTP/1.1 200 "));
    gateway.hear("listening stream tcp");
}
