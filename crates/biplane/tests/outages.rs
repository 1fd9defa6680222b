//! Registries and name servers that die while requests come: what could be served is served, and all recovers by itself.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "not every test uses all of the rig")]

mod rig;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rig::{
    BINARY, Folder, Gateway, Other, backend, connect, dnsmasq, dnsmasq_somewhere, eventually, fetch, get,
};

/// Clients who ask all the while.
const CLIENTS: usize = 4;

/// Runs `story` while clients ask. How many requests they made, all of which were answered 200.
fn under_load(proxy: &str, story: impl FnOnce()) -> usize {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ask = || {
            let (mut stream, mut asked) = (connect(proxy), 0);
            while !over.load(Ordering::Relaxed) {
                let head = get(&mut stream, "/").expect("an answer");
                assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                asked += 1;
            }
            asked
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(story));
        over.store(true, Ordering::Relaxed);
        let asked = clients.into_iter().map(|client| client.join().unwrap()).sum();
        told.unwrap();
        asked
    })
}

/// The stand-in for Consul: see `rig/consul.py`.
fn consul(folder: &Folder, port: u16) -> (Other, u16) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/consul.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(port.to_string()).arg(folder.path("instances.json")).stdout(Stdio::piped());
    let mut child = command.spawn().expect("python3 is installed");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (Other(child), line.trim().parse().expect("it tells its port"))
}

fn instances(folder: &Folder, backends: &[SocketAddr]) {
    let instance = |address: &SocketAddr| {
        format!(
            r#"{{"Node":{{"Address":"127.0.0.1"}},"Service":{{"Address":"","Port":{}}}}}"#,
            address.port()
        )
    };
    let list: Vec<String> = backends.iter().map(instance).collect();
    folder.write("instances.json", &format!("[{}]", list.join(",")));
}

/// A configuration whose targets are in Consul at `port`.
fn discovering(port: u16) -> String {
    format!(
        "_format_version: '3.0'\nplugins: [{{name: prometheus}}]\nservices:\n- name: one\n  host: orders\n  routes:\n  \
         - {{name: all, paths: ['/']}}\nupstreams:\n- name: orders\n  discovery: {{source: consul, service: orders, \
         address: 'http://127.0.0.1:{port}'}}\n"
    )
}

#[test]
fn consul_is_killed_while_requests_come() {
    let folder = Folder::new("consul");
    let [first, second] = [backend(), backend()];
    instances(&folder, &[first]);
    let (mut registry, port) = consul(&folder, 0);
    let file = folder.write("kong.yml", &discovering(port));
    let gateway = Gateway::start(Path::new(BINARY), &folder, |command| {
        command.arg(file).args(["--proxy-listen", "127.0.0.1:0"]);
    });
    let admin = gateway.admin.to_string();
    let lists = |address: SocketAddr| {
        let health = fetch(&admin, "/upstreams/orders/health");
        health.contains(&format!("\"target\":\"{address}\""))
    };
    let asked = under_load(&gateway.proxy[0], || {
        assert!(lists(first), "it was listed before the first request");
        instances(&folder, &[first, second]);
        eventually("a change is taken", || lists(second));
        registry.kill();
        gateway.hear("targets are not listed; the last list is kept");
        assert!(fetch(&admin, "/status").contains("\"up\":false"), "{}", fetch(&admin, "/status"));
        let metrics = fetch(&admin, "/metrics");
        for line in ["biplane_discovery_up", "biplane_discovery_targets"] {
            let value = if line.ends_with("up") { 0 } else { 2 };
            let line = format!("{line}{{upstream=\"orders\",source=\"consul\"}} {value}\n");
            assert!(metrics.contains(&line), "{line}: {metrics}");
        }
        assert!(lists(first) && lists(second), "what was known is used");
        instances(&folder, &[second]);
        registry = consul(&folder, port).0;
        gateway.hear("targets are listed again");
        assert!(fetch(&admin, "/status").contains("\"up\":true"));
        eventually("what changed meanwhile is taken", || !lists(first) && lists(second));
    });
    assert!(asked > 0);
}

#[test]
fn a_gateway_starts_while_its_registry_is_away() {
    let folder = Folder::new("consul-away");
    let [first, second] = [backend(), backend()];
    instances(&folder, &[first]);
    let (mut registry, port) = consul(&folder, 0);
    let file = folder.write("kong.yml", &discovering(port));
    let start = || {
        Gateway::start(Path::new(BINARY), &folder, |command| {
            command.arg(&file).args(["--proxy-listen", "127.0.0.1:0"]);
            command.env("KONG_PREFIX", folder.path(""));
        })
    };
    let gateway = start();
    let kept = || std::fs::read_dir(folder.path("discovery")).is_ok_and(|mut files| files.next().is_some());
    eventually("the list is kept", kept);
    drop(gateway);
    registry.kill();
    let gateway = start();
    let admin = gateway.admin.to_string();
    assert!(gateway.has_said("targets are those of the last run until they are listed"));
    let asked = under_load(&gateway.proxy[0], || {
        let status = fetch(&admin, "/status");
        assert!(status.contains("\"up\":false") && status.contains("\"restored\":true"), "{status}");
        let metrics = fetch(&admin, "/metrics");
        for (figure, value) in [("up", 0), ("restored", 1), ("targets", 1)] {
            let line =
                format!("biplane_discovery_{figure}{{upstream=\"orders\",source=\"consul\"}} {value}\n");
            assert!(metrics.contains(&line), "{line}: {metrics}");
        }
        instances(&folder, &[second]);
        registry = consul(&folder, port).0;
        gateway.hear("targets are listed again");
        let lists = |address: SocketAddr| {
            fetch(&admin, "/upstreams/orders/health").contains(&format!("\"target\":\"{address}\""))
        };
        eventually("what changed meanwhile is taken", || !lists(first) && lists(second));
        assert!(fetch(&admin, "/status").contains("\"restored\":false"));
    });
    assert!(asked > 0);
    drop(gateway);
    registry.kill();
    let gateway = Gateway::start(Path::new(BINARY), &folder, |command| {
        command.arg(&file).args(["--proxy-listen", "127.0.0.1:0"]);
        command.env("KONG_PREFIX", folder.path("")).env("KONG_DISCOVERY_MAX_AGE", "1ms");
    });
    assert!(gateway.has_said("targets of the last run are too old to be used"));
    let status = fetch(&gateway.admin.to_string(), "/status");
    assert!(status.contains("\"expired\":true") && status.contains("\"targets\":0"), "{status}");
}

#[test]
fn dnsmasq_is_killed_while_requests_come() {
    let folder = Folder::new("dnsmasq");
    let service = backend().port();
    let records = format!(
        "local-ttl=1\nhost-record=plain.test,127.0.0.1\nhost-record=node.test,127.0.0.1\n\
         srv-host=_orders._tcp.test,node.test,{service},1,10\n"
    );
    let (mut server, port) = dnsmasq_somewhere(&folder, &records);
    let file = folder.write(
        "kong.yml",
        &format!(
            "_format_version: '3.0'\nplugins: [{{name: prometheus}}]\nservices:\n- name: one\n  host: orders\n  routes:\n  \
             - {{name: all, paths: ['/']}}\nupstreams:\n- name: orders\n  targets:\n  - target: plain.test:{service}\n  \
             - target: _orders._tcp.test:1\n"
        ),
    );
    let gateway = Gateway::start(Path::new(BINARY), &folder, |command| {
        command.arg(file).args(["--proxy-listen", "127.0.0.1:0"]);
        command.env("KONG_DNS_RESOLVER", format!("127.0.0.1:{port}"));
    });
    let admin = gateway.admin.to_string();
    let names = |state: &str, count: usize| {
        fetch(&admin, "/metrics").contains(&format!("biplane_dns_names{{state=\"{state}\"}} {count}\n"))
    };
    eventually("both names resolve", || names("resolved", 2));
    let asked = under_load(&gateway.proxy[0], || {
        server.kill();
        eventually("both names are stale", || names("stale", 2));
        server = dnsmasq(&folder, port, &records);
        eventually("both names resolve again", || names("resolved", 2));
    });
    assert!(asked > 0);
}
