//! What the flags of a listener ask of the kernel, at a start, with the settings file, and over an upgrade.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "not every test uses all of the rig")]

mod rig;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::Signal;
use rig::{BINARY, Folder, Gateway, LIMIT, backend, connect, eventually, get, is_running};

/// Ticks of the kernel's tables in a second (USER_HZ).
const TICKS: u64 = 100;
/// Times that listeners change back and forth.
const CHANGES: usize = 5;
/// What a connection takes at most that need not wait for anybody.
const HASTE: Duration = Duration::from_millis(50);

fn start(folder: &Folder, config: &str, settings: &str) -> Gateway {
    start_with(folder, config, settings, |_| {})
}

fn start_with(folder: &Folder, config: &str, settings: &str, prepare: impl FnOnce(&mut Command)) -> Gateway {
    folder.write("kong.yml", config);
    folder.write("kong.conf", settings);
    Gateway::start(Path::new(BINARY), folder, |command| {
        command.arg(folder.path("kong.yml")).arg("--conf").arg(folder.path("kong.conf"));
        prepare(command);
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
    assert_eq!(answered(port), [true, true]);
    let both = format!("proxy_listen = 0.0.0.0:{port}, [::]:{port} ipv6only=off\n");
    folder.write("kong.conf", &both);
    let line = gateway.hear("listeners not changed");
    assert!(line.contains(&format!("[::]:{port}")) && line.contains("in use"), "{line}");
    assert_eq!(answered(port), [true, true]);
}

/// Sends requests on one connection after the other until `over`; how many were answered, or why one was not.
fn come_and_go(at: SocketAddr, over: &AtomicBool) -> Result<u32, String> {
    let mut answered = 0;
    while !over.load(Ordering::Relaxed) {
        let mut client = TcpStream::connect(at).map_err(|error| format!("{at}: {error}"))?;
        client.set_read_timeout(Some(LIMIT)).unwrap();
        get(&mut client, "/").ok_or_else(|| format!("{at}: no answer after {answered} others"))?;
        answered += 1;
    }
    Ok(answered)
}

#[test]
fn sockets_that_take_the_place_of_others_lose_nobody_who_connects_meanwhile() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return;
    }
    let folder = Folder::new("replaced");
    let port = free_port();
    let [one, two, of_v6] =
        [format!("[::]:{port} ipv6only=off"), format!("0.0.0.0:{port}, [::]:{port}"), format!("[::]:{port}")];
    let write = |listen: &str| folder.write("kong.conf", &format!("proxy_listen = {listen}\n"));
    let gateway = start(&folder, &rig::configuration(backend(), "/"), &format!("proxy_listen = {one}\n"));
    for (there, back, families) in [(&two, &one, ["127.0.0.1", "::1"]), (&of_v6, &one, ["::1", "::1"])] {
        let over = &AtomicBool::new(false);
        let clients = [families, families].concat();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let clients = clients.iter().map(|family| {
                let at = SocketAddr::new(family.parse().unwrap(), port);
                scope.spawn(move || come_and_go(at, over))
            });
            let clients: Vec<_> = clients.collect();
            for _ in 0..CHANGES {
                for listen in [there, back] {
                    write(listen);
                    gateway.hear(&format!("listening proxy http [::]:{port}"));
                }
            }
            over.store(true, Ordering::Relaxed);
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        assert!(
            outcomes.iter().all(|outcome| outcome.as_ref().is_ok_and(|count| *count > 0)),
            "{outcomes:?}"
        );
    }
}

/// Whether nothing of a process runs.
fn is_halted(id: i32) -> bool {
    let state = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
    let mut threads = fs::read_dir(format!("/proc/{id}/task")).unwrap().flatten().map(state);
    threads.all(|text| text.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T')))
}

/// How many connections wait to be accepted at a port while nobody does: the second half of the fifth field of a line,
/// of those whose fourth says that the socket listens (0A).
fn waiting(port: u16) -> u64 {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let fields: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let own =
        fields.iter().filter(|fields| fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == "0A");
    own.map(|fields| u64::from_str_radix(fields[4].split_once(':').unwrap().1, 16).unwrap()).sum()
}

/// How many connections the kernel holds for a gateway that does not get to accept them.
fn held(gateway: &Gateway, port: u16) -> u64 {
    let id = gateway.id();
    gateway.signal(Signal::SIGSTOP);
    eventually("it stands still", || is_halted(id));
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let clients: Vec<_> = (0..12).map(|_| TcpStream::connect_timeout(&at, HASTE)).collect();
    let held = waiting(port);
    gateway.signal(Signal::SIGCONT);
    drop(clients);
    held
}

#[test]
fn sockets_of_the_admin_api_that_were_there_before_are_as_their_flags_say() {
    let folder = Folder::new("given");
    let [admin, status] = [free_port(), free_port()];
    let settings = |admin_flags: &str, status_flags: &str| {
        format!(
            "proxy_listen = 127.0.0.1:0\nadmin_listen = 127.0.0.1:{admin} {admin_flags}\n\
             status_listen = 127.0.0.1:{status} {status_flags}\n"
        )
    };
    // As a service manager would have opened them.
    let sockets = [admin, status].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let mappings = sockets.into_iter().zip(3..);
    let mappings =
        mappings.map(|(socket, child_fd)| FdMapping { parent_fd: socket.into(), child_fd }).collect();
    let gateway = start_with(&folder, &rig::configuration(backend(), "/"), &settings("", ""), |command| {
        command.env_remove("KONG_ADMIN_LISTEN").env_remove("KONG_STATUS_LISTEN");
        command.env("LISTEN_FDS", "2").fd_mappings(mappings).unwrap();
    });
    for port in [admin, status] {
        assert_eq!((asked_in(&administered(port)), held(&gateway, port)), (None, 12));
    }
    folder.write("kong.conf", &settings("so_keepalive=20m::", "backlog=3"));
    assert!(gateway.upgrade().status.success());
    let asked = asked_in(&administered(admin));
    assert!(asked.is_some_and(|seconds| (600..=1200).contains(&seconds)), "{asked:?}");
    // The kernel lets one more wait.
    assert_eq!((asked_in(&administered(status)), held(&gateway, status)), (None, 4));
}

#[test]
fn the_admin_api_takes_other_families_after_an_upgrade_while_the_process_before_has_clients() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return;
    }
    let folder = Folder::new("admin-families");
    let port = free_port();
    let settings = |flag: &str| format!("proxy_listen = 127.0.0.1:0\nadmin_listen = [::]:{port} {flag}\n");
    let config = rig::configuration(backend(), "/");
    let gateway = start_with(&folder, &config, &settings("ipv6only=off"), |command| {
        command.env_remove("KONG_ADMIN_LISTEN").env("KONG_NGINX_MAIN_WORKER_SHUTDOWN_TIMEOUT", "60s");
    });
    assert_eq!(answered(port), [true, true]);
    let mut silent = gateway.client();
    assert!(get(&mut silent, "/").is_some());
    let before = gateway.id();
    folder.write("kong.conf", &settings(""));
    assert!(gateway.upgrade().status.success());
    assert_eq!(answered(port), [true, true], "who says nothing wants no other sockets");
    folder.write("kong.conf", &settings("ipv6only=on"));
    assert!(gateway.upgrade().status.success());
    eventually("the sockets before are gone", || TcpStream::connect(("127.0.0.1", port)).is_err());
    assert_eq!(answered(port), [false, true]);
    assert!(is_running(before));
}

/// A connection that is served by the Admin API.
fn administered(port: u16) -> TcpStream {
    let mut client = connect(&format!("127.0.0.1:{port}"));
    assert!(get(&mut client, "/status").is_some());
    client
}
