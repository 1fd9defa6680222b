//! A real `memcached` on the loopback interface or at a Unix socket, ended with the story.

use crate::redis::eventually;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running server; killed when dropped.
pub(crate) struct Server(Child);

impl Server {
    /// At a free port, which is told.
    pub(crate) fn at_port() -> Result<(Self, u16), String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        drop(listener);
        let server = Self::start(&["-l", "127.0.0.1", "-p", &port.to_string()])?;
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string());
        eventually(connect)?;
        Ok((server, port))
    }

    /// At the Unix socket `path`.
    pub(crate) fn at_socket(path: &Path) -> Result<Self, String> {
        let server = Self::start(&["-s", &path.to_string_lossy()])?;
        eventually(|| UnixStream::connect(path).map_err(|error| error.to_string()))?;
        Ok(server)
    }

    fn start(place: &[&str]) -> Result<Self, String> {
        // Only root has to say as whom it runs.
        let mut command = Command::new("memcached");
        command.args(["-u", "root", "-U", "0"]).args(place).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn();
        child.map(Self).map_err(|error| format!("memcached (Debian package of that name): {error}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
