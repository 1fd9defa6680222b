//! `biplane check`: what it says, where, and how it ends; and that it accepts the examples.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const WRONG: &str = r#"_format_version: "3.0"
services:
- name: one
  url: http://localhost
  retrys: 3
- name: two
  host: h.test
  port: 99999
plugins:
- name: rate-limit
"#;
const RIGHT: &str = "_format_version: \"3.0\"\nservices:\n- {name: one, url: \"http://localhost\"}\n";
/// `redis_host` has moved.
const OLD: &str = r#"_format_version: "3.0"
plugins:
- name: rate-limiting
  config: {minute: 5, policy: local, redis_host: unused.test}
"#;

/// A folder for one test's files.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("check-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn check(arguments: &[&str]) -> Output {
    let secrets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/secrets/files");
    Command::new(env!("CARGO_BIN_EXE_biplane"))
        .arg("check")
        .args(arguments)
        .env("KONG_VAULT_FILE_PATH", secrets)
        .env("DEMO_REDIS", r#"{"host": "redis.test"}"#)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn every_problem_is_shown_with_its_place_and_a_suggestion() {
    let folder = Folder::new("every");
    let file = folder.file("kong.yml", WRONG);
    let output = check(&[&file]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty());
    for expected in [
        format!("{file}:5:3: error: services[0].retrys: unknown field"),
        "5 |   retrys: 3\n".to_owned(),
        "^^^^^^".to_owned(),
        "help: did you mean 'retries'?".to_owned(),
        format!("{file}:8:9: error: services[1].port: value should be between 0 and 65535"),
        format!("{file}:10:"),
        "rate-limiting".to_owned(),
        format!("{file}: 3 errors\n"),
    ] {
        assert!(said.contains(&expected), "{expected:?} is missing of:\n{said}");
    }
}

#[test]
fn all_files_are_checked_and_the_worst_decides() {
    let folder = Folder::new("all");
    let (right, wrong) = (folder.file("right.yml", RIGHT), folder.file("wrong.yml", WRONG));
    let output = check(&[&wrong, &right]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("{right}: ok; 1 service, 0 routes, 0 plugins")));
    let missing = folder.0.join("none.yml").display().to_string();
    let output = check(&[&missing, &right]);
    assert_eq!(output.status.code(), Some(3));
    let said = stderr(&output);
    assert!(said.contains(&format!("cannot read {missing}")) && said.contains("right.yml: ok"), "{said}");
    assert_eq!(check(&[&right]).status.code(), Some(0));
}

#[test]
fn warnings_are_shown_and_do_not_fail() {
    let folder = Folder::new("warnings");
    let file = folder.file("kong.yml", OLD);
    let output = check(&[&file]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains(&format!("{file}:4:")) && said.contains("warning: "), "{said}");
    assert!(said.contains("ok, 1 warning"), "{said}");
}

#[test]
fn programs_get_json_on_standard_output() {
    let folder = Folder::new("json");
    let (right, wrong) = (folder.file("right.yml", RIGHT), folder.file("wrong.yml", WRONG));
    let output = check(&["--json", &right, &wrong]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(1), ""));
    let problems: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(problems.as_array().unwrap().len(), 3);
    let first = &problems[0];
    assert_eq!((&first["file"], &first["line"]), (&Value::from(wrong.as_str()), &Value::from(5)));
    assert_eq!(first["path"], "services[0].retrys");
    assert_eq!(first["suggestion"], "did you mean 'retries'?");
    let output = check(&["--json", &right]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"[]\n".as_slice()));
}

#[test]
fn secrets_are_looked_up_where_a_file_of_settings_says() {
    let folder = Folder::new("conf");
    folder.file("word", "a key");
    let conf = folder.file("kong.conf", &format!("vault_file_path = {}\n", folder.0.display()));
    let file = folder.file(
        "kong.yml",
        "{_format_version: '3.0', consumers: [{username: u, keyauth_credentials: [{key: '{vault://file/word}'}]}]}\n",
    );
    let with = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_biplane"));
        command.arg("check").args(arguments).arg(&file).env_remove("KONG_VAULT_FILE_PATH").output().unwrap()
    };
    assert_eq!(with(&[]).status.code(), Some(1), "there is no such secret in the usual folder");
    let output = with(&["--conf", &conf]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let missing = with(&["--conf", "/nowhere/kong.conf"]);
    assert_eq!(missing.status.code(), Some(2), "{}", stderr(&missing));
}

#[test]
fn what_only_the_data_plane_can_tell_is_told_too() {
    let folder = Folder::new("engine");
    let file = folder.file(
        "kong.yml",
        "_format_version: \"3.0\"\nplugins:\n- name: rate-limiting\n  config: {minute: 5, hour: 3, policy: local}\n",
    );
    let output = check(&[&file]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains("The limit for hour(3.0) cannot be lower than the limit for minute(5.0)"),
        "{said}"
    );
}

#[test]
fn every_example_is_accepted_without_a_warning_and_listed() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let readme = std::fs::read_to_string(examples.join("README.md")).unwrap();
    let mut folders = 0;
    let folders_in = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|entry| entry.is_dir()).collect::<Vec<_>>()
    };
    // The counterparts of samples have a folder each.
    let (seeds, others): (Vec<_>, _) =
        folders_in(&examples).into_iter().partition(|folder| folder.ends_with("seeds"));
    for folder in seeds.iter().flat_map(|folder| folders_in(folder)).chain(others) {
        let name = folder.strip_prefix(&examples).unwrap().to_string_lossy().into_owned();
        assert!(readme.contains(&format!("]({name}")), "{name} is not in README.md");
        let file = folder.join("kong.yml");
        if name == "systemd" {
            assert!(!file.exists(), "it has units only");
            continue;
        }
        folders += 1;
        let output = check(&[&file.display().to_string()]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(!said.contains("warning"), "{said}");
    }
    assert!(folders >= 7, "{folders}");
}
