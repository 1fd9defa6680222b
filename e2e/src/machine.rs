//! What a case asks of the machine it runs on.

use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// A bound port nobody listens on, for as long as the socket lives.
pub(crate) fn closed_port() -> std::io::Result<(Socket, u16)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let port = socket.local_addr()?.as_socket().map_or(0, |address| address.port());
    Ok((socket, port))
}

/// Whether this user can make files in `folder`, or make the folder.
pub(crate) fn is_writable(folder: &Path) -> bool {
    let probe = folder.join(format!(".biplane-e2e-{}", std::process::id()));
    let writable = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&probe, "")).is_ok();
    std::fs::remove_file(&probe).ok();
    writable
}
