//! More connections than there are files for.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "not every test uses all of the rig")]

mod rig;

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rig::{BINARY, Folder, Gateway, Other, backend, eventually, fetch};

/// Files that the gateway may open.
const FILES: usize = 240;

/// A program that starts the gateway with few files.
fn with_few_files(folder: &Folder, files: usize) -> PathBuf {
    let script = format!("#!/bin/sh\nulimit -n {files}\nexec '{BINARY}' \"$@\"\n");
    let path = folder.write("gateway", &script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_flood_of_connections_leaves_files_for_services_and_for_the_admin_api() {
    let folder = Folder::new("open-files");
    let file = folder.write("kong.yml", &rig::configuration(backend(), "/"));
    let gateway = Gateway::start(&with_few_files(&folder, FILES), &folder, |command| {
        command.arg(&file).args(["--proxy-listen", "127.0.0.1:0"]);
    });
    assert!(gateway.has_said("at most 240 files may be open"));
    let flood: Vec<_> = (0..2 * FILES).map_while(|_| TcpStream::connect(&gateway.proxy[0]).ok()).collect();
    assert_eq!(flood.len(), 2 * FILES, "the test itself has files enough");
    let answer = fetch(&gateway.proxy[0], "/");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    let answer = fetch(&gateway.admin.to_string(), "/");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    drop(flood);
}

#[test]
fn a_gateway_that_would_have_no_files_for_connections_does_not_start_and_says_why() {
    let folder = Folder::new("no-files");
    let file = folder.write("kong.yml", &rig::configuration(backend(), "/"));
    let mut command = Command::new(with_few_files(&folder, 100));
    command.args(["run", "--workers", "16", "--proxy-listen", "127.0.0.1:0", "--admin-listen", "off"]);
    command.args(["--status-listen", "off"]).arg(&file).stderr(Stdio::piped());
    let mut gateway = Other(command.spawn().unwrap());
    eventually("it ends by itself", || matches!(gateway.0.try_wait(), Ok(Some(_))));
    let mut said = String::new();
    gateway.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(gateway.0.wait().unwrap().code(), Some(3), "{said}");
    for words in ["at most 100 files", "16 workers and 1 address", "ulimit -n", "--workers"] {
        assert!(said.contains(words), "{said}");
    }
}

/// How many files a process has open.
fn open(id: i32) -> usize {
    fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count)
}

#[test]
fn listeners_that_a_reload_adds_are_counted() {
    let folder = Folder::new("more-listeners");
    let file = folder.write("kong.yml", &rig::configuration(backend(), "/"));
    let listen = |more: usize| {
        let paths =
            (0..more).map(|number| format!(", unix:{}", folder.path(&format!("{number}.sock")).display()));
        folder.write("kong.conf", &format!("proxy_listen = 127.0.0.1:0{}\n", paths.collect::<String>()))
    };
    let conf = listen(0);
    let gateway = Gateway::start(&with_few_files(&folder, FILES), &folder, |command| {
        command.arg(&file).arg("--conf").arg(conf);
    });
    // Two workers with three files each and two for each address, two for the Admin API, and 48: 60, and of the rest a
    // quarter is not for connections.
    assert!(gateway.has_said("takes about 60: from about 135 connections"));
    listen(45);
    let line = gateway.hear("listeners not changed: the old ones stay");
    assert!(line.contains("takes about 240 with 2 workers and 46 addresses"), "{line}");
    assert!(fetch(&gateway.proxy[0], "/").starts_with("HTTP/1.1 200 "));
    listen(20);
    gateway.hear("takes about 140: from about 75 connections");
    gateway.hear("19.sock");
    let flood: Vec<_> = (0..2 * FILES).map_while(|_| TcpStream::connect(&gateway.proxy[0]).ok()).collect();
    // 215 are for connections and what was there before them; without those listeners it was 195.
    eventually("connections have their share", || open(gateway.id()) > 205);
    assert!(fetch(&gateway.admin.to_string(), "/").starts_with("HTTP/1.1 200 "));
    drop(flood);
}
