//! What `biplane run` says when it does not start, and that it says nothing else.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "not every test uses all of the rig")]

mod rig;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rig::{BINARY, Folder};

/// Runs the gateway, and ends it if it starts after all. Its exit code, and what it says.
fn run(arguments: &[&Path]) -> (Option<i32>, Vec<String>) {
    let mut process = Command::new(BINARY)
        .arg("run")
        .args(arguments)
        .args(["--proxy-listen", "off", "--admin-listen", "off", "--status-listen", "off"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok) {
        if line == "ready" {
            process.kill().unwrap();
        }
        said.push(line);
    }
    (process.wait().unwrap().code(), said)
}

#[test]
fn a_declarative_file_that_is_missing_is_all_there_is_to_say() {
    let folder = Folder::new("refusals");
    let settings = folder.write("kong.conf", "declarative_config = /nowhere/kong.yml\n");
    let named = run(&[Path::new("/nowhere/kong.yml")]);
    let by_settings = run(&[Path::new("--conf"), &settings]);
    for (code, said) in [named, by_settings] {
        let [error] = &said[..] else { panic!("{said:?}") };
        assert_eq!(code, Some(3), "{said:?}");
        assert!(error.starts_with("error: cannot read /nowhere/kong.yml: No such file"), "{said:?}");
        assert!(error.contains("name the declarative file as the argument of `biplane run`"), "{said:?}");
    }
}
