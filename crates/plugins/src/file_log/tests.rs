//! What the file-log room does, seen from outside: requests in, outcomes out.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use plugin::exchange::{Demand, Tls, Try};
use plugin::harness::Harness;
use plugin::sessions::{SessionEnd, SessionRecord};
use serde_json::Value;

use super::FileLog;

/// A folder of its own for a test, removed afterwards.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("file-log-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn room() -> &'static dyn plugin::Definition {
    plugin::room::<FileLog>()
}

fn lines(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_request_is_one_line_with_kongs_keys() {
    let folder = Folder::new();
    let path = folder.path("new/access.log");
    let mut gateway = Harness::global(room(), &format!("{{path: {path}}}")).unwrap();
    gateway.send("GET /orders?a=b%20c HTTP/1.1\nAuthorization: Bearer secret\nX-Odd: \"\\\u{e9}\n\n");
    gateway.send("POST /orders HTTP/1.1\n\nhello");
    gateway.services.flush();
    let lines = lines(&path);
    assert_eq!(lines.len(), 2);
    let request = &lines[0]["request"];
    assert_eq!((request["method"].as_str(), request["uri"].as_str()), (Some("GET"), Some("/orders?a=b%20c")));
    assert_eq!(request["querystring"]["a"], "b c");
    assert_eq!(request["headers"]["authorization"], "REDACTED");
    assert_eq!(request["headers"]["x-odd"], "\"\\\u{e9}");
    assert_eq!(lines[0]["response"]["status"], 200);
    assert_eq!((&lines[0]["source"], &lines[0]["client_ip"]), (&"upstream".into(), &"127.0.0.1".into()));
    assert_eq!(lines[1]["request"]["method"], "POST");
}

#[test]
fn each_session_is_one_line_with_kongs_keys() {
    let folder = Folder::new();
    let path = folder.path("sessions.log");
    let document = format!(
        "_format_version: '3.0'\nservices:\n- {{name: db, url: 'tcp://db:1', routes: [{{name: db, protocols: [tls], snis: [a]}}]}}\n\
         plugins:\n- {{name: file-log, protocols: [tls], config: {{path: {path}}}}}\n"
    );
    let harness = Harness::new(room(), &document).unwrap();
    let (mut session, _held) = harness.begin_session().unwrap();
    session.tls = Some(Tls {
        server_name: None,
        version: "TLSv1.3",
        cipher: "TLS_AES_128_GCM_SHA256",
        demand: Demand::Nothing,
        certificate: None,
    });
    let target = "192.0.2.1:1".parse().unwrap();
    let mut attempt = Try { address: target, started_ms: 7, balancer_us: 0, failed: None, trouble: None };
    attempt.started_ms += session.started_ms;
    harness.end_session(
        &session,
        &SessionRecord {
            end: SessionEnd::Carried,
            received: 12,
            sent: 34,
            tries: &[attempt],
            finished: session.started + Duration::from_millis(1500),
        },
    );
    harness.services.flush();
    let [line] = <[Value; 1]>::try_from(lines(&path)).unwrap();
    let expected = serde_json::json!({
        "session": {"tls": {"version": "TLSv1.3", "cipher": "TLS_AES_128_GCM_SHA256", "client_verify": "NONE"},
            "received": 12, "sent": 34, "status": 200, "server_port": session.listener.port()},
        "upstream": {"received": 34, "sent": 12},
        "latencies": {"kong": 7, "session": 1500},
        "client_ip": "127.0.0.1",
        "started_at": session.started_ms,
        "workspace_name": "default",
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(line[key], *value, "{key}");
    }
    assert_eq!((&line["tries"][0]["ip"], &line["tries"][0]["port"]), (&"192.0.2.1".into(), &1.into()));
    assert!(line["route"]["id"].is_string() && line["service"]["id"].is_string(), "{line}");
    assert!(line.get("request").is_none() && line.get("source").is_none(), "{line}");
}

#[test]
fn checking_a_configuration_touches_nothing() {
    let folder = Folder::new();
    let path = folder.path("new/access.log");
    let document =
        format!("_format_version: \"3.0\"\nplugins:\n- name: file-log\n  config: {{path: {path}}}\n");
    let catalog = plugin::model::Catalog { plugins: vec![room().schema()], entities: Vec::new() };
    let config = plugin::model::declarative::load("kong.yml", &document, &catalog).unwrap();
    let services = plugin::Services::new(1, plugin::clock::Clock::default(), true);
    let shared = plugin::build::Shared::default();
    let cx = plugin::Build {
        config: &config,
        row: &config.plugins[0],
        routes: &[],
        services: &services,
        shared: &shared,
    };
    assert!(room().build(&config.plugins[0], &cx).is_ok());
    assert!(!fs::exists(folder.path("new")).unwrap());
}

#[test]
fn lua_and_strange_paths_are_refused() {
    let error = |config: &str| Harness::global(room(), config).map(drop).unwrap_err();
    assert!(error("{path: /tmp/x, custom_fields_by_lua: {a: return 1}}").contains("does not run Lua"));
    assert!(error("{path: /tmp/a*b}").contains("not a valid filename"));
    assert!(error("{}").contains("required field missing"));
}

#[test]
fn a_file_that_cannot_be_opened_stops_neither_traffic_nor_the_next_reload() {
    let folder = Folder::new();
    fs::write(folder.path("file"), "").unwrap();
    let path = folder.path("file/access.log");
    let mut gateway = Harness::global(room(), &format!("{{path: {path}}}")).unwrap();
    assert_eq!(gateway.send("GET / HTTP/1.1\n\n").status, 200);
    gateway.services.flush();
    assert_eq!(gateway.services.dropped_log_lines(), 1);
}
