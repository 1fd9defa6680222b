//! Upgrades of a running gateway: what goes on, what is handed over, and what a new binary that does not start leaves.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "not every test uses all of the rig")]

mod rig;

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::signal::Signal;
use rig::{BINARY, Folder, Gateway, backend, configuration, connect, eventually, get, is_running};

/// Upgrades in a row.
const UPGRADES: usize = 10;

fn start(program: &Path, folder: &Folder, listen: &str) -> Gateway {
    Gateway::start(program, folder, |command| {
        command.arg(folder.path("kong.yml")).args(["--proxy-listen", listen]);
    })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The binary where it may be replaced by another one.
fn install(folder: &Folder) -> PathBuf {
    let program = folder.path("biplane");
    fs::hard_link(BINARY, &program).or_else(|_| fs::copy(BINARY, &program).map(drop)).unwrap();
    program
}

/// Puts a script in the place of the binary, as an installation does.
fn put_in_place(script: &str, program: &Path, folder: &Folder) {
    let beside = folder.write("script", script);
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&beside, program).unwrap();
}

/// One client after the other with one request each, or one client for as long as it is let.
fn load(address: &str, keeps_connection: bool, over: &AtomicBool, served: &AtomicU64) -> Result<(), String> {
    let mut kept = None;
    while !over.load(Ordering::Relaxed) {
        let mut stream = kept.take().unwrap_or_else(|| connect(address));
        let answer = get(&mut stream, "/");
        let head = answer.ok_or("a request was not answered")?;
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(head);
        }
        served.fetch_add(1, Ordering::Relaxed);
        let may_keep = keeps_connection && !head.to_ascii_lowercase().contains("connection: close");
        kept = may_keep.then_some(stream);
    }
    Ok(())
}

#[test]
fn ten_upgrades_in_a_row_lose_nothing() {
    let folder = Folder::new("ten");
    folder.write("kong.yml", &configuration(backend(), "/"));
    let gateway = start(Path::new(BINARY), &folder, "127.0.0.1:0");
    let (over, served) = (&AtomicBool::new(false), &AtomicU64::new(0));
    let address = &gateway.proxy[0];
    let mut before = vec![gateway.id()];
    let outcomes: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let clients: Vec<_> = [true, true, true, false, false]
            .map(|keeps| scope.spawn(move || load(address, keeps, over, served)))
            .into();
        for _ in 0..UPGRADES {
            let (so_far, output) = (served.load(Ordering::Relaxed), gateway.upgrade());
            assert!(output.status.success(), "{}", said(&output));
            assert!(!before.contains(&gateway.id()));
            before.push(gateway.id());
            eventually("requests go on", || {
                served.load(Ordering::Relaxed) > so_far + 20
                    || clients.iter().all(|client| client.is_finished())
            });
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(outcomes, vec![Ok(()); 5]);
    for id in &before[..UPGRADES] {
        eventually("each process ends that has handed over", || !is_running(*id));
    }
    assert!(is_running(before[UPGRADES]));
}

#[test]
fn a_connection_that_was_silent_gets_one_more_request_and_a_tunnel_goes_on_for_its_time() {
    let folder = Folder::new("silent");
    folder.write("kong.yml", &configuration(backend(), "/"));
    let gateway = start(Path::new(BINARY), &folder, "127.0.0.1:0");
    let mut silent = gateway.client();
    assert!(get(&mut silent, "/").unwrap().contains("keep-alive"));
    let mut tunnel = gateway.client();
    let opening = "GET / HTTP/1.1\r\nHost: x.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tunnel.write_all(opening.as_bytes()).unwrap();
    assert!(rig::read_head(&mut tunnel).unwrap().starts_with("HTTP/1.1 101 "));
    let before = gateway.id();
    assert!(gateway.upgrade().status.success());
    let mut echo = [0; 4];
    tunnel.write_all(b"ping").unwrap();
    tunnel.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"ping");
    let head = get(&mut silent, "/").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Connection: close"), "{head}");
    assert!(is_running(before), "a tunnel is open");
    let mut rest = Vec::new();
    tunnel.read_to_end(&mut rest).unwrap();
    eventually("the process ends when its time is over", || !is_running(before));
}

#[test]
fn a_binary_that_does_not_start_leaves_the_old_one_serving_and_says_why() {
    let folder = Folder::new("broken");
    let file = folder.write("kong.yml", &configuration(backend(), "/"));
    // The binary as it is installed: another one is put in its place.
    let program = install(&folder);
    let gateway = start(&program, &folder, "127.0.0.1:0");
    let before = gateway.id();

    put_in_place("#!/bin/sh\nexit 7\n", &program, &folder);
    let output = gateway.upgrade();
    assert_eq!(output.status.code(), Some(3));
    assert!(
        said(&output).contains("the new process ended before it was ready: exit status: 7"),
        "{}",
        said(&output)
    );

    fs::remove_file(&program).unwrap();
    assert!(said(&gateway.upgrade()).contains("No such file"), "a binary that is missing");

    install(&folder);
    fs::write(&file, "_format_version: '3.0'\nservices:\n- nam: x\n").unwrap();
    let output = gateway.upgrade();
    assert!(said(&output).contains("the configuration has problems: line 3: "), "{}", said(&output));

    assert_eq!(gateway.id(), before);
    assert!(get(&mut gateway.client(), "/").unwrap().starts_with("HTTP/1.1 200 "));
    fs::write(&file, configuration(backend(), "/")).unwrap();
    assert!(gateway.upgrade().status.success(), "the next one may go well");
    assert!(get(&mut gateway.client(), "/").unwrap().starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_configuration_that_was_posted_is_handed_over() {
    let folder = Folder::new("posted");
    folder.write("kong.yml", &configuration(backend(), "/file"));
    let gateway = start(Path::new(BINARY), &folder, "127.0.0.1:0");
    assert_eq!(post(gateway.admin, &configuration(backend(), "/posted")), 201);
    // Twice, because what was handed over has to be handed over once more.
    for _ in 0..2 {
        assert!(gateway.upgrade().status.success());
        for (path, status) in [("/posted", "HTTP/1.1 200 "), ("/file", "HTTP/1.1 404 ")] {
            assert!(get(&mut gateway.client(), path).unwrap().starts_with(status), "{path}");
        }
    }
}

#[test]
fn a_posted_configuration_that_is_refused_by_the_new_process_is_told_by_its_own_text() {
    let folder = Folder::new("refused");
    folder.write("kong.yml", &configuration(backend(), "/file"));
    let word = folder.write("word", "for now");
    let gateway = Gateway::start(Path::new(BINARY), &folder, |command| {
        command.arg(folder.path("kong.yml")).args(["--proxy-listen", "127.0.0.1:0"]);
        command.env("KONG_VAULT_FILE_PATH", folder.path(""));
    });
    let key = "consumers:\n- username: u\n  keyauth_credentials: [{key: '{vault://file/word}'}]\n";
    assert_eq!(post(gateway.admin, &(configuration(backend(), "/posted") + key)), 201);
    fs::remove_file(word).unwrap();
    assert_eq!(gateway.upgrade().status.code(), Some(3));
    let line = gateway.hear(": error: consumers[0].keyauth_credentials[0].key");
    assert!(line.starts_with("(posted):11:31: "), "{line}");
    assert!(
        get(&mut gateway.client(), "/posted").unwrap().starts_with("HTTP/1.1 200 "),
        "it is served still"
    );
}

fn post(admin: SocketAddr, configuration: &str) -> u16 {
    let mut stream = connect(&admin.to_string());
    let body = configuration.replace('\n', "\r\n");
    let length = body.len();
    write!(
        stream,
        "POST /config HTTP/1.1\r\nHost: admin\r\nContent-Type: text/yaml\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer[9..12].parse().unwrap()
}

#[test]
fn more_signals_and_a_stop_in_the_middle_leave_no_process_behind() {
    let folder = Folder::new("middle");
    folder.write("kong.yml", &configuration(backend(), "/"));
    // A new process that is never ready.
    let program = install(&folder);
    let gateway = start(&program, &folder, "127.0.0.1:0");
    put_in_place("#!/bin/sh\nexec sleep 60\n", &program, &folder);
    gateway.signal(Signal::SIGUSR2);
    let line = gateway.hear("the new process is starting");
    let successor = line.rsplit_once("process=").unwrap().1.trim().parse().unwrap();
    gateway.signal(Signal::SIGUSR2);
    gateway.hear("an upgrade is under way already");
    let id = gateway.id();
    gateway.signal(Signal::SIGTERM);
    eventually("both end", || !is_running(id) && !is_running(successor));
    assert!(!folder.path("biplane.pid").exists());
}
