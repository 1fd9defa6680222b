//! Listeners that come and go while the gateway runs, at ports, at paths, and from a service manager.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "not every test uses all of the rig")]

mod rig;

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::Signal;
use rig::{BINARY, Folder, Gateway, backend, configuration, connect, eventually, get};

fn start(folder: &Folder) -> Gateway {
    folder.write("kong.yml", &configuration(backend(), "/"));
    Gateway::start(Path::new(BINARY), folder, |command| {
        command.arg(folder.path("kong.yml")).arg("--conf").arg(folder.path("kong.conf"));
    })
}

/// A port that is free now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_listener_comes_and_goes_with_the_settings_file_and_connections_stay() {
    let folder = Folder::new("listeners");
    let (first, second) = (free_port(), free_port());
    folder.write("kong.conf", &format!("proxy_listen = 127.0.0.1:{first}\n"));
    let gateway = start(&folder);
    let mut old = gateway.client();
    assert!(get(&mut old, "/").unwrap().starts_with("HTTP/1.1 200 "));

    folder.write("kong.conf", &format!("proxy_listen = 127.0.0.1:{first}, 127.0.0.1:{second} # both\n"));
    gateway.hear(&format!("listening proxy http 127.0.0.1:{second}"));
    let mut new = connect(&format!("127.0.0.1:{second}"));
    assert!(get(&mut new, "/").unwrap().starts_with("HTTP/1.1 200 "));
    assert!(get(&mut old, "/").unwrap().starts_with("HTTP/1.1 200 "));

    folder.write("kong.conf", &format!("proxy_listen = 127.0.0.1:{second}\n"));
    eventually("the first port is closed", || TcpStream::connect(("127.0.0.1", first)).is_err());
    assert!(get(&mut old, "/").unwrap().starts_with("HTTP/1.1 200 "), "its connection goes on");
    assert!(get(&mut new, "/").unwrap().starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_port_that_is_taken_changes_nothing_and_is_named() {
    let folder = Folder::new("taken");
    folder.write("kong.conf", "proxy_listen = 127.0.0.1:0\n");
    let gateway = start(&folder);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    folder.write("kong.conf", &format!("proxy_listen = {address}\n"));
    let line = gateway.hear("listeners not changed");
    assert!(line.contains(&address.to_string()) && line.contains("in use"), "{line}");
    assert!(get(&mut gateway.client(), "/").unwrap().starts_with("HTTP/1.1 200 "));
    // Other settings wait.
    folder.write("kong.conf", "proxy_listen = 127.0.0.1:0\nheaders = off\n");
    let line = gateway.hear("hold from the next start or upgrade on");
    assert!(line.contains("headers"), "{line}");
}

#[test]
fn clients_come_in_at_a_path_and_it_goes_with_the_gateway() {
    let folder = Folder::new("path");
    let path = folder.path("proxy.sock");
    folder.write("kong.conf", &format!("proxy_listen = unix:{}\n", path.display()));
    let gateway = start(&folder);
    assert_eq!(gateway.proxy, [format!("unix:{}", path.display())]);
    let mut client = UnixStream::connect(&path).unwrap();
    for _ in 0..2 {
        assert!(get(&mut client, "/").unwrap().starts_with("HTTP/1.1 200 "));
    }
    // A second one elsewhere, and an upgrade, by which the same sockets stay.
    let second = folder.path("second.sock");
    let both = format!("proxy_listen = unix:{}, unix:{}\n", path.display(), second.display());
    folder.write("kong.conf", &both);
    gateway.hear("second.sock");
    assert!(gateway.upgrade().status.success());
    for path in [&path, &second] {
        let mut client = UnixStream::connect(path).unwrap();
        assert!(get(&mut client, "/").unwrap().starts_with("HTTP/1.1 200 "));
    }
    folder.write("kong.conf", &format!("proxy_listen = unix:{}\n", path.display()));
    eventually("the second socket is gone", || !second.exists());
    gateway.signal(Signal::SIGTERM);
    eventually("the first socket is gone", || !path.exists());
}

#[test]
fn sockets_of_a_service_manager_are_served_and_it_is_told() {
    let folder = Folder::new("manager");
    folder.write("kong.yml", &configuration(backend(), "/"));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    // A client may come before the gateway does.
    let mut early = connect(&address);
    let manager = UnixDatagram::bind(folder.path("notify")).unwrap();
    manager.set_read_timeout(Some(rig::LIMIT)).unwrap();
    let gateway = Gateway::start(Path::new(BINARY), &folder, |command| {
        command.arg(folder.path("kong.yml")).args(["--proxy-listen", &address]);
        command.env("LISTEN_FDS", "1").env("NOTIFY_SOCKET", folder.path("notify"));
        command.fd_mappings(vec![FdMapping { parent_fd: socket.into(), child_fd: 3 }]).unwrap();
    });
    assert!(get(&mut early, "/").unwrap().starts_with("HTTP/1.1 200 "));
    let told = || {
        let mut message = [0; 512];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let first = gateway.id();
    assert_eq!(told(), format!("MAINPID={first}\nREADY=1\n"));
    gateway.signal(Signal::SIGHUP);
    assert!(told().starts_with("RELOADING=1\n"));
    assert_eq!(told(), format!("MAINPID={first}\nREADY=1\n"));
    assert!(gateway.upgrade().status.success());
    assert_eq!(told(), format!("MAINPID={}\nREADY=1\n", gateway.id()));
    assert!(get(&mut gateway.client(), "/").unwrap().starts_with("HTTP/1.1 200 "));
    gateway.signal(Signal::SIGTERM);
    assert_eq!(told(), "STOPPING=1\n");
}
