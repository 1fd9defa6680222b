//! Usage outlives processes: those that are killed, those that stop, and those that hand over to another one.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "not every test uses all of the rig")]

mod rig;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::signal::Signal;
use rig::{BINARY, Folder, Gateway, backend, configuration, connect, eventually, get, is_running};
use rusqlite::{Connection, OpenFlags};

/// Clients that ask at the same time.
const CLIENTS: u64 = 4;

fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    let text = configuration(backend(), "/") + "plugins:\n- name: usage\n";
    folder.write("kong.yml", &text);
    folder
}

fn start(folder: &Folder, interval: &str) -> Gateway {
    Gateway::start(Path::new(BINARY), folder, |command| {
        command.arg(folder.path("kong.yml")).args(["--proxy-listen", "127.0.0.1:0"]);
        command.env("KONG_USAGE_DATABASE", folder.path("usage.db"));
        command.env("KONG_USAGE_FLUSH_INTERVAL", interval);
    })
}

/// What the Admin API says has been counted. It has everything written before it answers.
fn counted(gateway: &Gateway) -> u64 {
    let mut stream = connect(&gateway.admin.to_string());
    write!(stream, "GET /usage?group_by= HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["data"].as_array().unwrap().iter().map(|row| row["requests"].as_u64().unwrap()).sum()
}

/// What is in the file, read past the gateway, which does not hear of it. Nothing while there is no file.
fn stored(folder: &Folder) -> u64 {
    let read = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let connection = Connection::open_with_flags(folder.path("usage.db"), flags)?;
        connection.query_row("SELECT sum(requests) FROM usage", [], |row| row.get::<_, Option<i64>>(0))
    };
    let sum: rusqlite::Result<Option<i64>> = read();
    sum.ok().flatten().unwrap_or_default().cast_unsigned()
}

fn ask(gateway: &Gateway, times: u64) {
    let mut client = gateway.client();
    for _ in 0..times {
        assert!(get(&mut client, "/").unwrap().starts_with("HTTP/1.1 200 "));
    }
}

fn kill(gateway: &Gateway) {
    let id = gateway.id();
    gateway.signal(Signal::SIGKILL);
    eventually("a process that is killed ends", || !is_running(id));
}

#[test]
fn a_process_that_is_killed_loses_what_came_after_the_last_write_and_nothing_else() {
    let folder = folder("usage-killed");
    let gateway = start(&folder, "1h");
    ask(&gateway, 100);
    // A request is counted when its client has been answered, so a moment later.
    eventually("what came is counted", || counted(&gateway) == 100);
    ask(&gateway, 30);
    kill(&gateway);
    drop(gateway);
    let gateway = start(&folder, "1h");
    assert_eq!(counted(&gateway), 100);
    ask(&gateway, 7);
    drop(gateway);
    assert_eq!(stored(&folder), 107, "the end writes what is left");
    folder.write("kong.yml", &configuration(backend(), "/"));
    let gateway = start(&folder, "1h");
    assert_eq!(counted(&gateway), 107, "to be read without the plugin, too");
}

#[test]
fn kills_under_load_count_nothing_twice() {
    let folder = folder("usage-load");
    let mut answered = 0;
    for round in 1..=3 {
        let gateway = start(&folder, "100ms");
        let before = stored(&folder);
        assert!(before <= answered, "round {round}: {before} of {answered}");
        let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| load(&gateway.proxy[0], &over, &served));
            }
            eventually("usage is written in intervals", || stored(&folder) > before + 200);
            gateway.signal(Signal::SIGKILL);
            over.store(true, Ordering::Relaxed);
        });
        let written = stored(&folder);
        kill(&gateway);
        drop(gateway);
        // Of each client one request may have been counted whose answer it has not read.
        answered += served.into_inner() + CLIENTS;
        assert!((before + 200..=answered).contains(&written), "round {round}: {written} of {answered}");
        assert_eq!(stored(&folder), written);
    }
}

/// Asks until it is over, or nobody answers.
fn load(address: &str, over: &AtomicBool, served: &AtomicU64) {
    let mut client = connect(address);
    while !over.load(Ordering::Relaxed) {
        match get(&mut client, "/") {
            Some(head) if head.contains("Connection: close") => client = connect(address),
            Some(_) => {}
            None => return,
        }
        served.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_upgrade_loses_no_count_and_counts_none_twice() {
    let folder = folder("usage-upgrade");
    let gateway = start(&folder, "100ms");
    let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut before = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| load(&gateway.proxy[0], &over, &served));
        }
        for _ in 0..3 {
            let so_far = served.load(Ordering::Relaxed);
            before.push(gateway.id());
            assert!(gateway.upgrade().status.success());
            eventually("requests go on", || served.load(Ordering::Relaxed) > so_far + 50);
        }
        over.store(true, Ordering::Relaxed);
    });
    for id in before {
        eventually("each process ends that has handed over", || !is_running(id));
    }
    let served = served.into_inner();
    eventually("all is written that was served", || stored(&folder) >= served);
    drop(gateway);
    assert_eq!(stored(&folder), served);
}
