//! Opens connections to upstreams.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::TcpStream;

use crate::transport::Stream;

/// A connection on its way.
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Stream>>>>;

/// Opens connections. The data plane dials TCP; tests dial pipes.
pub trait Dial {
    /// Starts to connect to `address`.
    fn dial(&self, address: SocketAddr) -> Dialing;
}

/// Dials TCP with Nagle's algorithm off.
pub struct Tcp;

impl Dial for Tcp {
    fn dial(&self, address: SocketAddr) -> Dialing {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        })
    }
}
