//! Opens connections to upstreams.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use tokio::net::TcpStream;

use crate::descriptors::Descriptors;
use crate::tls::Wanted;
use crate::transport::Stream;
use crate::upstream::destination::Destination;

/// A connection on its way.
pub type Dialing = Opening<'static>;

/// A connection on its way, handshake included.
pub type Opening<'a> = Pin<Box<dyn Future<Output = io::Result<Stream>> + 'a>>;

/// Opens connections. The data plane dials TCP; tests dial pipes.
pub trait Dial {
    /// Starts to connect to `address`.
    fn dial(&self, address: SocketAddr) -> Dialing;

    /// Takes note of the files that connections take.
    fn descriptors(&self) -> Rc<Descriptors> {
        Rc::default()
    }
}

/// Connects to `destination`, and tells it of its client, under TLS where that is `wanted`.
pub fn open<'a>(dial: &dyn Dial, destination: &'a Destination, wanted: Option<Wanted<'a>>) -> Opening<'a> {
    let dialing = dial.dial(destination.address);
    let announced = destination.announced.as_deref();
    if announced.is_none() && wanted.is_none() {
        return dialing;
    }
    Box::pin(async move {
        let mut stream = dialing.await?;
        if let Some(announced) = announced {
            announced.write(&mut stream).await?;
        }
        match wanted {
            Some(wanted) => wanted.secure(stream).await,
            None => Ok(stream),
        }
    })
}

/// Dials TCP with Nagle's algorithm off.
pub struct Tcp(pub Rc<Descriptors>);

impl Dial for Tcp {
    fn descriptors(&self) -> Rc<Descriptors> {
        self.0.clone()
    }

    fn dial(&self, address: SocketAddr) -> Dialing {
        let descriptors = self.0.clone();
        Box::pin(async move {
            let stream = descriptors.note(TcpStream::connect(address).await)?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        })
    }
}
