//! What the flags of a listener ask of the kernel, at a start, with the settings file, and over an upgrade.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "not every test uses all of the rig")]

mod rig;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;

use rig::{BINARY, Folder, Gateway, backend, connect, eventually, get};

/// Ticks of the kernel's tables in a second (USER_HZ).
const TICKS: u64 = 100;

fn start(folder: &Folder, config: &str, settings: &str) -> Gateway {
    folder.write("kong.yml", config);
    folder.write("kong.conf", settings);
    Gateway::start(Path::new(BINARY), folder, |command| {
        command.arg(folder.path("kong.yml")).arg("--conf").arg(folder.path("kong.conf"));
    })
}

/// A port that is free now, in both families.
fn free_port() -> u16 {
    TcpListener::bind("[::]:0")
        .or_else(|_| TcpListener::bind("0.0.0.0:0"))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A connection on which the gateway has answered.
fn served(port: u16) -> TcpStream {
    let mut client = connect(&format!("127.0.0.1:{port}"));
    assert!(get(&mut client, "/").unwrap().starts_with("HTTP/1.1 200 "));
    client
}

/// In how many seconds the kernel will ask the client of a connection whether it is there; none if it will not. The
/// second field of a line is the own address, the third the other's, the sixth says which timer runs (2: this one) and how long.
fn asked_in(client: &TcpStream) -> Option<u64> {
    let ports =
        [client.peer_addr().unwrap(), client.local_addr().unwrap()].map(|at| format!(":{:04X}", at.port()));
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let own =
        fields.into_iter().find(|fields| fields[1].ends_with(&ports[0]) && fields[2].ends_with(&ports[1]));
    let (timer, ticks) = own.unwrap()[5].split_once(':').unwrap();
    (timer == "02").then(|| u64::from_str_radix(ticks, 16).unwrap().div_ceil(TICKS))
}

#[test]
fn silent_clients_are_asked_whether_they_are_there_on_listeners_that_say_so() {
    let folder = Folder::new("keepalive");
    let [http, stream] = [free_port(), free_port()];
    let backend = backend();
    let config = format!(
        "_format_version: '3.0'\nservices:\n- {{name: one, url: 'http://{backend}', routes: [{{name: all, paths: [/]}}]}}\n\
         - {{name: bytes, url: 'tcp://{backend}', routes: [{{protocols: [tcp], destinations: [{{port: {stream}}}]}}]}}\n"
    );
    let settings = |flags: [&str; 2]| {
        format!(
            "proxy_listen = 127.0.0.1:{http} {}\nstream_listen = 127.0.0.1:{stream} {}\n",
            flags[0], flags[1]
        )
    };
    let gateway = start(&folder, &config, &settings(["so_keepalive=20m:30s:4", ""]));
    let first = served(http);
    assert!(
        asked_in(&first).is_some_and(|seconds| (600..=1200).contains(&seconds)),
        "{:?}",
        asked_in(&first)
    );
    assert_eq!(asked_in(&served(stream)), None);

    folder.write("kong.conf", &settings(["", "so_keepalive=40m::"]));
    eventually("the listeners have changed", || asked_in(&served(http)).is_none());
    let second = asked_in(&served(stream));
    assert!(second.is_some_and(|seconds| (1800..=2400).contains(&seconds)), "{second:?}");
    assert!(asked_in(&first).is_some(), "a connection stays as it came in");

    // The sockets are handed over as they are.
    assert!(gateway.upgrade().status.success());
    assert!(asked_in(&served(stream)).is_some());
}

/// Whether a request is answered that comes from the address of this machine in one family, or the other.
fn answered(port: u16) -> [bool; 2] {
    let at = |address: &str| TcpStream::connect(SocketAddr::new(address.parse().unwrap(), port));
    ["127.0.0.1", "::1"].map(|address| {
        at(address).is_ok_and(|mut client| get(&mut client, "/").is_some_and(|head| head.contains(" 200 ")))
    })
}

#[test]
fn one_listener_serves_both_families_where_it_says_so() {
    if UdpSocket::bind("[::1]:0").is_err() {
        // There are machines without IPv6.
        return;
    }
    let folder = Folder::new("families");
    let port = free_port();
    // Whoever comes by IPv4 has an address of IPv4.
    let config = format!(
        "{}    plugins: [{{name: ip-restriction, config: {{allow: [127.0.0.1, '::1']}}}}]\n",
        rig::configuration(backend(), "/")
    );
    let settings = |flag: &str| format!("proxy_listen = [::]:{port} {flag}\n");
    let gateway = start(&folder, &config, &settings("ipv6only=off"));
    assert_eq!(answered(port), [true, true]);
    let mut old = served(port);

    folder.write("kong.conf", &settings("ipv6only=on"));
    eventually("no client of IPv4 comes in", || answered(port) == [false, true]);
    assert!(get(&mut old, "/").unwrap().contains(" 200 "), "one that is there goes on");

    folder.write("kong.conf", &settings("ipv6only=off"));
    eventually("they do again", || answered(port) == [true, true]);
    // The new process has the same sockets, and takes others where it is told to.
    assert!(gateway.upgrade().status.success());
    assert_eq!(answered(port), [true, true]);

    // Two listeners take the place of one.
    folder.write("kong.conf", &format!("proxy_listen = 0.0.0.0:{port}, [::]:{port}\n"));
    gateway.hear(&format!("listening proxy http 0.0.0.0:{port}"));
    // A connection that the kernel gives to a socket in the moment of its end is lost.
    eventually("both come in", || answered(port) == [true, true]);
    let both = format!("proxy_listen = 0.0.0.0:{port}, [::]:{port} ipv6only=off\n");
    folder.write("kong.conf", &both);
    let line = gateway.hear("listeners not changed");
    assert!(line.contains(&format!("[::]:{port}")) && line.contains("in use"), "{line}");
    assert_eq!(answered(port), [true, true]);
}
