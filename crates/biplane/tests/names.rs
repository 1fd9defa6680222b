//! SRV records as dnsmasq serves them.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "not every test uses all of the rig")]

mod rig;

use std::net::UdpSocket;
use std::path::Path;

use rig::{BINARY, Folder, Gateway, backend, connect, dnsmasq, eventually, get};

#[test]
fn a_host_with_srv_records_is_reached_at_their_port() {
    let folder = Folder::new("names");
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let records = format!(
        "host-record=node.test,127.0.0.1\nsrv-host=_orders._tcp.test,node.test,{},1,10\n\
         srv-host=_orders._tcp.test,node.test,9,2,10\n",
        backend().port()
    );
    let _server = dnsmasq(&folder, port, &records);
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
