//! Whether a service is who it says it is.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::provider;

/// How certificates of a service are checked.
#[derive(Debug)]
pub enum Verifier {
    /// Any certificate will do, expired ones and those of others included. That the service holds its key is checked.
    Anyone,
    /// It must be for the server name, in its time, and lead to one of these authorities.
    Authorities {
        /// Who is believed.
        roots: Arc<RootCertStore>,
        /// Certificates that may stand between the service's own and the authority's.
        depth: Option<usize>,
    },
}

/// The chain is longer than `tls_verify_depth` allows.
#[derive(Debug)]
struct TooDeep(usize);

impl std::fmt::Display for TooDeep {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "more than {} certificates stand between it and its authority", self.0)
    }
}

impl std::error::Error for TooDeep {}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Self::Authorities { roots, depth } = self {
            let parsed = ParsedCertificate::try_from(own)?;
            let algorithms = provider().signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, roots, between, now, algorithms)?;
            verify_server_name(&parsed, name)?;
            if let Some(depth) = depth {
                check_depth(own, between, roots, now, *depth)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Looks for a path that is short enough. That there is one at all is known by then.
fn check_depth(
    own: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    roots: &RootCertStore,
    now: UnixTime,
    depth: usize,
) -> Result<(), Error> {
    let too_deep = || CertificateError::Other(OtherError(Arc::new(TooDeep(depth))));
    let short_enough = |path: &VerifiedPath<'_>| {
        let length = path.intermediate_certificates().count();
        if length <= depth { Ok(()) } else { Err(webpki::Error::MaximumPathDepthExceeded) }
    };
    let parsed = EndEntityCert::try_from(own).map_err(|_| CertificateError::BadEncoding)?;
    let algorithms = provider().signature_verification_algorithms.all;
    let usage = KeyUsage::server_auth();
    let path =
        parsed.verify_for_usage(algorithms, &roots.roots, between, now, usage, None, Some(&short_enough));
    path.map(drop).map_err(|_| too_deep().into())
}
