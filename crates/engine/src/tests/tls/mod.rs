//! TLS over pipes, with certificates made on the spot.

pub mod authority;
mod clients;
mod farewells;
mod handshakes;
mod held;
mod modern;
mod names;
mod protocols;
mod resumption;
mod rotation;
pub mod services;
mod shared;
mod streams;
mod trust;
mod versions;

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion};
use tokio::io::DuplexStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::lab::{GET, Lab, OK, Peer};
use crate::settings::Settings;
use crate::tls::{Pair, TlsSettings};
use authority::Issued;

/// A client that believes anybody, so that a test can look at whom it was shown.
#[derive(Debug)]
struct Credulous {
    schemes: Vec<SignatureScheme>,
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// Settings with a default certificate.
fn settings(default: &Issued) -> Settings {
    let tls = TlsSettings { default_certificates: vec![pair(default)], ..TlsSettings::default() };
    Settings { tls, ..Settings::default() }
}

fn pair(issued: &Issued) -> Pair {
    Pair::read(&issued.certificate, &issued.key).unwrap()
}

/// A client of all versions and algorithms.
fn client_config() -> ClientConfig {
    client_of(provider(), rustls::ALL_VERSIONS, None)
}

/// A client that speaks `versions`, with the signatures `schemes` if given.
fn client_of(
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
    schemes: Option<&[SignatureScheme]>,
) -> ClientConfig {
    let all = provider.signature_verification_algorithms.supported_schemes();
    let schemes = schemes.map_or(all, <[_]>::to_vec);
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous { schemes }))
        .with_no_client_auth()
}

/// Carries a client's handshake out.
async fn connect(
    pipe: DuplexStream,
    config: ClientConfig,
    name: &str,
) -> std::io::Result<Peer<TlsStream<DuplexStream>>> {
    connect_with(pipe, &Arc::new(config), name).await
}

async fn connect_with(
    pipe: DuplexStream,
    config: &Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<Peer<TlsStream<DuplexStream>>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(config.clone()).connect(name, pipe).await.map(Peer)
}

/// The certificate a client has been shown for `name`.
async fn shown(lab: &Lab, config: ClientConfig, name: &str) -> CertificateDer<'static> {
    let client = connect(lab.tls_client(), config, name).await.unwrap();
    client.0.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// Answers the next request of a client that has just sent it.
async fn answer(lab: &Lab) -> (Peer, String) {
    let mut upstream = lab.upstream().await;
    let head = upstream.head().await;
    upstream.send(OK).await;
    (upstream, head)
}

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
