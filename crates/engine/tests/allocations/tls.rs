//! The same under TLS. The client is a process of its own, which relays what it is sent: its allocations do not count.

use std::env;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::thread;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection, SignatureScheme,
    StreamOwned,
};

use super::{
    PLAIN, PLAIN_REQUEST, RESPONSE, Speech, authorized_request, exchange, gateway, per_repetition, upstream,
    with_chain,
};

/// Has this program be the relay between two addresses.
pub const RELAY: &str = "BIPLANE_ALLOCATIONS_RELAY";

/// What rustls allocates for a request and its answer: a buffer for each record.
const OF_RUSTLS: usize = 2;

pub fn plain_proxying_allocates_what_rustls_does() {
    holds(per_request(PLAIN, PLAIN_REQUEST), PLAIN_REQUEST);
}

pub fn a_chain_allocates_what_rustls_does() {
    let request = authorized_request();
    holds(with_chain(|document| per_request(document, request.as_bytes())), request.as_bytes());
}

/// Nothing is ours: a server that is nothing but rustls allocates as much.
fn holds(allocations: usize, request: &[u8]) {
    let theirs = of_rustls(request);
    assert!(allocations <= theirs && theirs <= OF_RUSTLS, "{allocations}, of which {theirs} are of rustls");
}

fn per_request(document: &str, request: &[u8]) -> usize {
    let gateway = gateway(&document.replace("UPSTREAM", &upstream().to_string()), Speech::Tls);
    let allocations = through_relay(gateway.addresses()[0], request);
    gateway.stop();
    allocations
}

fn through_relay(server: SocketAddr, request: &[u8]) -> usize {
    let near = TcpListener::bind("127.0.0.1:0").unwrap();
    let ways = format!("{} {server}", near.local_addr().unwrap());
    let _relay = Relay(Command::new(env::current_exe().unwrap()).env(RELAY, ways).spawn().unwrap());
    let (mut client, _) = near.accept().unwrap();
    client.set_nodelay(true).unwrap();
    per_repetition(|| exchange(&mut client, request, b"true}"))
}

/// Allocations per request of a server that is nothing but rustls.
fn of_rustls(request: &[u8]) -> usize {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate =
        CertificateParams::new(vec!["example.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        );
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        let mut buffer = [0; 4096];
        while let Ok(1..) = stream.read(&mut buffer) {
            stream.write_all(RESPONSE).unwrap();
            stream.flush().unwrap();
        }
    });
    through_relay(address, request)
}

/// The relay's process; it is over once the test is.
struct Relay(Child);

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Passes requests from one address, which are small, on to another under TLS, and answers back.
pub fn relay(ways: &str) -> ExitCode {
    // Whoever relied on it sees its connection end.
    if pass(ways).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn pass(ways: &str) -> io::Result<()> {
    let (near, far) = ways.split_once(' ').ok_or(io::ErrorKind::InvalidInput)?;
    let (mut near, far) = (TcpStream::connect(near)?, TcpStream::connect(far)?);
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let config = builder
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from("example.test").map_err(io::Error::other)?;
    let client = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut far = StreamOwned::new(client, far);
    let mut buffer = [0; 4096];
    loop {
        let count = near.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        far.write_all(&buffer[..count])?;
        far.flush()?;
        let mut filled = 0;
        while !buffer[..filled].ends_with(b"true}") {
            match far.read(&mut buffer[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        near.write_all(&buffer[..filled])?;
    }
}

/// Believes anybody: here, whom it speaks to is known.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
