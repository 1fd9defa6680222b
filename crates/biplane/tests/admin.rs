//! Configurations by the Admin API, on a gateway that was started without one or with a file.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "not every test uses all of the rig")]

mod rig;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use rig::{BINARY, Folder, Gateway, connect, fetch};

const HASH_OF_NOTHING: &str = r#""configuration_hash":"00000000000000000000000000000000""#;

/// A gateway that was started with a file of this name, if any.
fn start(folder: &Folder, file: Option<&str>) -> Gateway {
    Gateway::start(Path::new(BINARY), folder, |command| {
        command.args(file.map(|file| folder.path(file))).args(["--proxy-listen", "127.0.0.1:0"]);
    })
}

fn post(gateway: &Gateway, media_type: &str, text: &str) -> String {
    let mut stream = connect(&gateway.admin.to_string());
    let length = text.len();
    let head = "POST /config HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\nContent-Type";
    write!(stream, "{head}: {media_type}\r\nContent-Length: {length}\r\n\r\n{text}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn without_a_configuration_a_gateway_is_not_ready_and_says_so() {
    let folder = Folder::new("empty");
    let gateway = start(&folder, None);
    let fetched = |path: &str| fetch(&gateway.admin.to_string(), path);
    let ready = fetched("/status/ready");
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert!(ready.contains("no configuration available (empty configuration present)"), "{ready}");
    assert!(fetched("/status").contains(HASH_OF_NOTHING));
    assert!(post(&gateway, "text/yaml", "_format_version: '3.0'").starts_with("HTTP/1.1 201 "));
    assert!(fetched("/status/ready").starts_with("HTTP/1.1 200 "), "what was posted is a configuration");
    assert!(!fetched("/status").contains(HASH_OF_NOTHING));
}

#[test]
fn what_is_posted_is_json_or_yaml_whatever_the_file_was() {
    let folder = Folder::new("posted");
    folder.write("kong.json", r#"{"_format_version": "3.0"}"#);
    folder.write("kong.yml", "_format_version: '3.0'");
    let yaml = "_format_version: '3.0'\nservices:\n- {name: one, host: a.test}";
    let json = r#"{"_format_version": "3.0", "consumers": [{"username": "a", "tags": ["\ud83d\ude00"]}]}"#;
    for file in ["kong.json", "kong.yml"] {
        let gateway = start(&folder, Some(file));
        let answer = post(&gateway, "text/yaml", yaml);
        assert!(answer.starts_with("HTTP/1.1 201 "), "{file}: {answer}");
        let answer = post(&gateway, "application/json", json);
        assert!(answer.starts_with("HTTP/1.1 201 "), "{file}: {answer}");
    }
}

/// The largest memory that a process has had, in KiB.
fn peak(process: i32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn the_answer_to_many_entities_takes_little_more_memory_than_its_text() {
    let folder = Folder::new("many");
    let gateway = start(&folder, None);
    let routes: String =
        (0..20_000).map(|route| format!("- {{name: r{route}, paths: [/p{route}]}}\n")).collect();
    let text = format!("_format_version: '3.0'\nroutes:\n{routes}");
    let answer = post(&gateway, "text/yaml", &text);
    assert!(answer.starts_with("HTTP/1.1 201 "), "{}", &answer[..200]);
    // With trees of all entities it was 180 MB.
    assert!(peak(gateway.id()) < 140 << 10, "{} KiB", peak(gateway.id()));
}
