//! Where a proxy runs, and what the configurations of others say about that.

use std::net::SocketAddr;
use std::path::Path;

use super::configuration::{NGINX_LOG_OFF, NGINX_PROXIES, nginx_with};

/// Where a proxy runs.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub folder: &'a Path,
    pub own: SocketAddr,
    /// The address of a second listener, or the same.
    pub other: SocketAddr,
}

impl Place<'_> {
    /// nginx that listens for HTTP/2 where it has another listener for HTTP/1.1, or calls to pass on.
    pub fn nginx(&self, backend: SocketAddr, workers: usize, location: &str) -> String {
        let Place { folder, own, other } = *self;
        let listen = if other != own {
            format!("listen {own} http2; listen {other};")
        } else if location.starts_with("grpc_pass") {
            format!("listen {own} http2;")
        } else {
            format!("listen {own};")
        };
        nginx_with(folder, backend, NGINX_LOG_OFF, workers, &listen, location)
    }

    pub fn nginx_tls(&self, backend: SocketAddr) -> String {
        let Place { folder, own, other } = *self;
        let files = folder.display();
        let listen = format!(
            "listen {own} ssl; listen {other};
        ssl_certificate {files}/certificate.pem;
        ssl_certificate_key {files}/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:bench:10m;"
        );
        let (log, location) = (NGINX_LOG_OFF, NGINX_PROXIES);
        nginx_with(folder, backend, log, 1, &listen, location)
    }

    pub fn haproxy_tls(&self) -> String {
        let Place { folder, own, other } = *self;
        format!("bind {own} ssl crt {}/both.pem\n    bind {other}", folder.display())
    }
}
