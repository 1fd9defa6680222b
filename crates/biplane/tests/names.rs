//! SRV records as dnsmasq serves them.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "not every test uses all of the rig")]

mod rig;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use rig::{BINARY, Folder, Gateway, backend, connect, dnsmasq_somewhere, eventually, get, read_head};

/// A backend that serves one host only, and answers 421 to requests for others.
fn backend_of(host: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                while let Some(head) = read_head(&mut stream) {
                    let own = head.contains(&format!("Host: {host}:{}\r\n", address.port()));
                    let status = if own { "200 OK" } else { "421 Misdirected Request" };
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_target_sees_the_host_of_its_srv_record_where_the_upstream_says_so() {
    let folder = Folder::new("srv-names");
    let records = format!(
        "host-record=node.test,127.0.0.1\nsrv-host=_orders._tcp.test,node.test,{},1,10\n",
        backend_of("node.test").port()
    );
    let (_server, port) = dnsmasq_somewhere(&folder, &records);
    for (use_srv_name, status) in [(true, "200"), (false, "421")] {
        let document = format!(
            "_format_version: '3.0'\nservices:\n- name: one\n  host: orders\n  routes:\n  - {{name: all, paths: ['/']}}\n\
             upstreams:\n- name: orders\n  use_srv_name: {use_srv_name}\n  targets: [{{target: '_orders._tcp.test:9'}}]\n"
        );
        let file = folder.write("kong.yml", &document);
        let gateway = Gateway::start(Path::new(BINARY), &folder, |command| {
            command.arg(file).args(["--proxy-listen", "127.0.0.1:0"]);
            command.env("KONG_DNS_RESOLVER", format!("127.0.0.1:{port}"));
        });
        eventually("the target answers", || {
            let head = get(&mut connect(&gateway.proxy[0]), "/");
            head.is_some_and(|head| head.starts_with(&format!("HTTP/1.1 {status} ")))
        });
    }
}

#[test]
fn a_host_with_srv_records_is_reached_at_their_port() {
    let folder = Folder::new("names");
    let records = format!(
        "host-record=node.test,127.0.0.1\nsrv-host=_orders._tcp.test,node.test,{},1,10\n\
         srv-host=_orders._tcp.test,node.test,9,2,10\n",
        backend().port()
    );
    let (_server, port) = dnsmasq_somewhere(&folder, &records);
    let file = folder.write(
        "kong.yml",
        "_format_version: '3.0'\nservices:\n- name: one\n  host: _orders._tcp.test\n  port: 9\n  routes:\n  \
         - {name: all, paths: ['/']}\n",
    );
    let gateway = Gateway::start(Path::new(BINARY), &folder, |command| {
        command.arg(file).args(["--proxy-listen", "127.0.0.1:0"]);
        command.env("KONG_DNS_RESOLVER", format!("127.0.0.1:{port}"));
    });
    eventually("the service is reached", || {
        get(&mut connect(&gateway.proxy[0]), "/").is_some_and(|head| head.starts_with("HTTP/1.1 200 "))
    });
}
