//! The handshake with a client: bounded in time, in number, and in what it may take from running requests.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use plugin::exchange::{ClientCertificate, Demand, Tls};
use rustls::server::Acceptor;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConnection};
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::offer::{HTTP2, Offer};
use super::stream::Secure;
use super::terminator::Terms;
use crate::session::Local;
use crate::transport::Stream;

/// The handshakes a worker has under way.
pub struct Handshakes {
    pending: Cell<usize>,
    /// Whose turn it is to sign. Signing takes as long as many requests do.
    turn: Semaphore,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self { pending: Cell::new(0), turn: Semaphore::new(1) }
    }
}

impl Handshakes {
    /// A place for one more, unless there are as many already as there may be.
    pub fn begin(local: &Rc<Local>) -> Option<Pending> {
        if !Self::have_room(local) {
            return None;
        }
        let pending = &local.handshakes.pending;
        pending.set(pending.get() + 1);
        Some(Pending(local.clone()))
    }

    /// Whether there is a place for one more.
    pub fn have_room(local: &Local) -> bool {
        let bound = local.settings.tls.max_handshakes;
        let room = local.handshakes.pending.get() < bound;
        if !room {
            tracing::debug!(bound, "a connection was refused: ssl_max_handshakes");
        }
        room
    }
}

/// A handshake under way.
pub struct Pending(Rc<Local>);

impl Drop for Pending {
    fn drop(&mut self) {
        let pending = &self.0.handshakes.pending;
        pending.set(pending.get() - 1);
    }
}

/// A session with a client.
pub struct Accepted {
    /// What is said in it.
    pub stream: Stream,
    /// What is known of it.
    pub known: Tls,
    /// The client speaks HTTP/2.
    pub http2: bool,
}

/// Carries a handshake out, with a certificate of the newest snapshot.
///
/// # Errors
/// Why there is no session: the client is not heard of in time, breaks off, speaks no TLS we know, or has not shown
/// what is demanded.
pub async fn accept(pending: Pending, stream: Stream, offer: Offer) -> io::Result<Accepted> {
    let local = pending.0.clone();
    let limit = local.settings.tls.handshake_timeout;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long");
    let shaken = tokio::time::timeout(limit, shake_hands(&local, stream, offer)).await;
    let (stream, terms) = shaken.map_err(late)??;
    let session = stream.get_ref().1;
    let known = known(session, &terms)?;
    let http2 = session.alpn_protocol() == Some(HTTP2);
    Ok(Accepted { stream: Stream::Tls(Box::new(Secure::to_client(stream))), known, http2 })
}

/// What there is to know of a session. A resumed one holds the certificate that the client has shown before; its time
/// may have passed since.
fn known(session: &ServerConnection, terms: &Terms) -> io::Result<Tls> {
    let insists = terms.demand == Demand::Require;
    // Otherwise it has just been checked.
    let unchecked = !insists || session.handshake_kind() == Some(HandshakeKind::Resumed);
    let shown = session.peer_certificates().filter(|chain| !chain.is_empty());
    let certificate = shown.map(|chain| ClientCertificate {
        chain: chain.iter().map(|one| one.as_ref().into()).collect(),
        verified: if unchecked { terms.believed.check(chain) } else { Ok(()) },
    });
    let believed = certificate.as_ref().is_some_and(|certificate| certificate.verified.is_ok());
    if insists && !believed {
        return Err(io::Error::other("the certificate that the client has once shown is no longer believed"));
    }
    Ok(Tls {
        server_name: session.server_name().map(Into::into),
        version: session.protocol_version().map_or("", version),
        cipher: session.negotiated_cipher_suite().map_or("", |suite| cipher(suite.suite())),
        demand: terms.demand,
        certificate,
    })
}

async fn shake_hands(local: &Local, stream: Stream, offer: Offer) -> io::Result<(TlsStream<Stream>, Terms)> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let terms = local.snapshot().terminator.find(start.client_hello().server_name(), offer);
    let terms = terms.ok_or_else(|| io::Error::other("there is no certificate to show"))?;
    let turn = local.handshakes.turn.acquire().await;
    let rest = start.into_stream(terms.config.clone());
    // Between two signatures every request that can go on does.
    tokio::task::yield_now().await;
    drop(turn);
    Ok((rest.await?, terms))
}

fn version(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => "",
    }
}

/// The name that log lines of Kong have, which is OpenSSL's.
fn cipher(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "",
    }
}
