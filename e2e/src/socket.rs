//! A connection of a case, in cleartext or under TLS. The TLS is rustls, as it is in the gateway; what is written and
//! expected is the case's own.

use crate::certificates::Secure;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, Connection, ServerConfig, ServerConnection};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

/// A connection as both ends of a case use it.
#[derive(Debug)]
pub(crate) struct Socket {
    tcp: TcpStream,
    tls: Option<Box<Connection>>,
}

/// What a handshake came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The server name that was asked for.
    pub name: Option<String>,
    /// The other side's certificate.
    pub certificate: Option<CertificateDer<'static>>,
}

impl Socket {
    /// Cleartext.
    pub fn clear(tcp: TcpStream) -> Self {
        Socket { tcp, tls: None }
    }

    /// The client's side of TLS.
    pub fn connect(tcp: TcpStream, secure: &Secure) -> io::Result<Self> {
        let name = secure.name.as_deref().unwrap_or("localhost").to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let client = ClientConnection::new(secure.config.clone(), name).map_err(io::Error::other)?;
        Socket { tcp, tls: Some(Box::new(client.into())) }.shaken()
    }

    /// The server's side of TLS.
    pub fn accept(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let server = ServerConnection::new(config).map_err(io::Error::other)?;
        Socket { tcp, tls: Some(Box::new(server.into())) }.shaken()
    }

    fn shaken(mut self) -> io::Result<Self> {
        if let Some(tls) = &mut self.tls {
            while tls.is_handshaking() {
                tls.complete_io(&mut self.tcp)?;
            }
        }
        Ok(self)
    }

    /// What the handshake came to; nothing in cleartext.
    pub fn known(&self) -> Option<Known> {
        let tls = self.tls.as_deref()?;
        let name = match tls {
            Connection::Server(server) => server.server_name().map(str::to_owned),
            Connection::Client(_) => None,
        };
        let certificate = tls.peer_certificates().and_then(<[_]>::first).map(|one| one.clone().into_owned());
        Some(Known { name, certificate })
    }

    /// Has the end of the connection be a reset.
    pub fn reset_when_dropped(&self) -> io::Result<()> {
        SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO))
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            send(tls, &mut self.tcp)?;
        }
        self.tcp.shutdown(Shutdown::Write)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.tcp.read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tls.read_tls(&mut self.tcp)?;
                    tls.process_new_packets().map_err(io::Error::other)?;
                }
                outcome => return outcome,
            }
        }
    }
}

impl Write for Socket {
    /// Under TLS, what was taken has been sent: there is nothing to flush.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.tcp.write(bytes) };
        let taken = tls.writer().write(bytes)?;
        send(tls, &mut self.tcp)?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

fn send(tls: &mut Connection, tcp: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(tcp)?;
    }
    Ok(())
}
