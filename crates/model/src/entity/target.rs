//! Targets: the addresses behind an upstream.

use crate::schema::Reference;
use crate::schema::rules::split_host_port;

crate::entity! {
    /// One address behind an upstream.
    pub struct Target in "targets" {
        /// The upstream it belongs to.
        upstream: Reference, [to("upstreams")];
        /// Host name or address, with port; 8000 when left out.
        target: String, [host_with_optional_port()];
        /// Its share of the requests, relative to the others; 0 sends it none.
        weight: u16 = 100, [between(0, 65535)];
    }
    endpoint_key: "target"
    cache_key: ["upstream", "target"]
    times: f64
}

/// Kong's default port of a target.
const DEFAULT_PORT: u16 = 8000;

/// The form in which targets are kept and compared: `host:port`, IPv6 in brackets.
pub(crate) fn normal_form(target: &str) -> Option<String> {
    let (host, port) = split_host_port(target)?;
    let port = port.unwrap_or(DEFAULT_PORT);
    if host.contains(':') && !host.starts_with('[') {
        return Some(format!("[{host}]:{port}"));
    }
    Some(format!("{host}:{port}"))
}
