//! Opens connections to upstreams.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::TcpStream;

use crate::tls::Wanted;
use crate::transport::Stream;

/// A connection on its way.
pub type Dialing = Opening<'static>;

/// A connection on its way, handshake included.
pub type Opening<'a> = Pin<Box<dyn Future<Output = io::Result<Stream>> + 'a>>;

/// Opens connections. The data plane dials TCP; tests dial pipes.
pub trait Dial {
    /// Starts to connect to `address`.
    fn dial(&self, address: SocketAddr) -> Dialing;
}

/// Connects to `address`, under TLS where that is `wanted`.
pub fn open<'a>(dial: &dyn Dial, address: SocketAddr, wanted: Option<Wanted<'a>>) -> Opening<'a> {
    let dialing = dial.dial(address);
    match wanted {
        None => dialing,
        Some(wanted) => Box::pin(async move { wanted.secure(dialing.await?).await }),
    }
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
