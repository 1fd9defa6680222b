//! A control plane on loopback over a source in memory, and a client of a few lines.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use control::{Bounds, Control, Listening, Running, Source, Unserved, serve};
use model::Config;
use plugin::Services;
use plugin::clock::Clock;
use plugin::services::{DiscoveryReport, SourceReport, TargetHealth};
use serde_json::{Value, json};

/// A configuration with something of most kinds.
pub const DOCUMENT: &str = r#"
_format_version: "3.0"
services:
- name: one
  url: http://one.test/base
  tags: [blue, round]
  routes:
  - {name: first, paths: [/first], tags: [blue]}
  - {name: second, paths: [/second]}
  plugins:
  - {name: correlation-id, instance_name: ids}
- {name: two, url: "http://two.test", tags: [blue]}
- {name: three, url: "http://three.test"}
upstreams:
- {name: u.test, targets: [{target: "10.0.0.1:80"}, {target: "gone.test", weight: 7}]}
- {name: other.test, targets: [{target: gone.test}]}
consumers:
- username: bob
  custom_id: "7"
  keyauth_credentials: [{key: k}]
  jwt_secrets: [{key: issuer, secret: shown}]
  acls: [{group: staff}]
  groups: [{name: gold}]
consumer_groups:
- {name: gold}
"#;

/// A gate that tests close to hold a load.
#[derive(Default)]
pub struct Gate {
    closed: Mutex<bool>,
    waiting: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    pub fn set_closed(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.changed.notify_all();
    }

    fn pass(&self) {
        *self.waiting.lock().unwrap() += 1;
        self.changed.notify_all();
        let closed = self.closed.lock().unwrap();
        drop(self.changed.wait_while(closed, |closed| *closed).unwrap());
    }

    /// Returns once somebody stands before the gate.
    pub fn await_somebody(&self) {
        let waiting = self.waiting.lock().unwrap();
        let (waiting, late) = self
            .changed
            .wait_timeout_while(waiting, Duration::from_secs(20), |waiting| *waiting == 0)
            .unwrap();
        assert!(!late.timed_out(), "nobody came, {waiting} waiting");
    }
}

struct Memory {
    served: Mutex<Arc<Config>>,
    gate: Arc<Gate>,
}

impl Source for Memory {
    fn config(&self) -> Arc<Config> {
        self.served.lock().unwrap().clone()
    }

    fn apply(&self, text: &str) -> Result<Arc<Config>, Unserved> {
        assert!(!text.contains("fall-over"), "told to");
        if text.contains("too-early") {
            return Err(Unserved::Busy("not now"));
        }
        self.gate.pass();
        let config = Arc::new(model::declarative::load("config", text, &plugins::catalog())?);
        *self.served.lock().unwrap() = config.clone();
        Ok(config)
    }

    fn is_ready(&self) -> Result<(), String> {
        if self.config().services.is_empty() { Err("no configuration available".to_owned()) } else { Ok(()) }
    }
}

/// A running control plane.
pub struct Plane {
    pub running: Running,
    pub gate: Arc<Gate>,
    pub services: Arc<Services>,
    /// What the health of targets was set to.
    pub orders: Mutex<Receiver<String>>,
}

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Plane {
    pub fn start() -> Self {
        Self::within(Bounds::default())
    }

    /// A plane whose clients may take no more than this.
    pub fn within(bounds: Bounds) -> Self {
        let free = || TcpListener::bind(("127.0.0.1", 0)).unwrap();
        Self::start_on(free().into(), free().into(), bounds)
    }

    /// A plane with these listeners.
    pub fn start_on(admin: Listening, status: Listening, bounds: Bounds) -> Self {
        let services = Services::new(1, Clock::default(), true);
        services.report_health(|| {
            let health = |upstream: &str, target: &str, address: &str, state| TargetHealth {
                upstream: upstream.to_owned(),
                target: target.to_owned(),
                address: address.to_owned(),
                state,
                discovered: (target == "listed.test:80").then_some(7),
            };
            vec![
                health("u.test", "10.0.0.1:80", "10.0.0.1:80", "healthchecks_off"),
                health("u.test", "gone.test:8000", "", "dns_error"),
                health("u.test", "listed.test:80", "10.0.0.3:80", "healthchecks_off"),
                health("other.test", "gone.test:8000", "10.0.0.2:8000", "healthy"),
            ]
        });
        services.report_discovery(|| {
            let (age, trouble) = (Some(Duration::from_secs(70)), Some("no answer in time".to_owned()));
            let upstream = "u.test".to_owned();
            let (source, restored) = ("consul", true);
            let source = SourceReport {
                upstream,
                source,
                up: false,
                targets: 1,
                age,
                restored,
                expired: false,
                trouble,
            };
            DiscoveryReport { sources: vec![source], ..DiscoveryReport::default() }
        });
        let (told, orders) = std::sync::mpsc::channel();
        services.steer_health(move |order| match order.address {
            Some("10.0.0.9:80") => Err("the target has no such address, or no weight"),
            address => {
                let words = [order.upstream, order.target, address.unwrap_or("all")].join(" ");
                told.send(format!("{words} {}", order.healthy)).map_err(|_| "nobody listens")
            }
        });
        let gate = Arc::new(Gate::default());
        let config = Arc::new(model::declarative::load("config", DOCUMENT, &plugins::catalog()).unwrap());
        let source = Memory { served: Mutex::new(config), gate: gate.clone() };
        let control = Arc::new(Control {
            services: services.clone(),
            definitions: plugins::ROOMS,
            catalog: plugins::catalog(),
            source: Box::new(source),
            settings_shown: json!({ "proxy_listen": "0.0.0.0:8000", "pg_password": "pg-hidden", "proxy_server": "http://u:p@proxy.test:1/x", "admin_gui_url": "http://gui.test:8002" }),
            kong_version: "3.9.3",
        });
        let running = serve(control, vec![admin], vec![status], bounds).unwrap();
        Self { running, gate, services, orders: Mutex::new(orders) }
    }

    pub fn admin(&self) -> SocketAddr {
        self.running.admin_addresses()[0]
    }

    pub fn status(&self) -> SocketAddr {
        self.running.status_addresses()[0]
    }

    /// A call of the Admin API without a body.
    pub fn call(&self, method: &str, target: &str) -> Answer {
        send(self.admin(), method, target, "", b"")
    }

    pub fn get(&self, target: &str) -> Answer {
        self.call("GET", target)
    }

    pub fn post(&self, target: &str, content_type: &str, body: &str) -> Answer {
        send(self.admin(), "POST", target, content_type, body.as_bytes())
    }

    /// The names (or what stands for them) of a list.
    pub fn names(&self, target: &str, field: &str) -> Vec<String> {
        let answer = self.get(target);
        assert_eq!(answer.status, 200, "{target}: {}", answer.body);
        let body = answer.json();
        let data = body["data"].as_array().unwrap_or_else(|| panic!("{target}: {body}"));
        data.iter().map(|entity| entity[field].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// One request on a connection of its own.
pub fn send(address: SocketAddr, method: &str, target: &str, content_type: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: admin.test\r\nConnection: close\r\n");
    if !content_type.is_empty() {
        head += &format!("Content-Type: {content_type}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).unwrap();
    parse(&String::from_utf8(raw).unwrap())
}

pub fn parse(raw: &str) -> Answer {
    let (head, body) = raw.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {raw:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status,
        headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
        body: body.to_owned(),
    }
}
