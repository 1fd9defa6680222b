//! Certificates of clients: who is asked for one, and who is believed.

use std::sync::Arc;

use plugin::exchange::Demand;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::fingerprint::{Fingerprint, Fingerprinter};
use super::provider;
use super::settings::Authorities;

/// Certificates a client may send. Paths that are longer are not looked for anyway.
const MOST_CERTIFICATES: usize = 10;
/// Bytes of all of them: they stay in memory with the connection, and in the client's ticket.
const MOST_BYTES: usize = 32 << 10;

/// Who is believed about clients.
#[derive(Debug)]
pub struct Believed {
    roots: RootCertStore,
    /// The names of the authorities, which clients are told so that they can choose.
    names: Arc<[DistinguishedName]>,
    /// Certificates that may stand between the client's own and the authority's.
    depth: Option<usize>,
}

/// Why a client's certificate is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    Expired,
    NotYetValid,
    Unknown,
    TooDeep,
    OtherUse,
    Broken,
}

impl Believed {
    /// Believes `authorities`, and whoever they have signed for at most `depth` steps.
    pub fn new(authorities: Option<&Authorities>, depth: Option<usize>) -> Self {
        let mut roots = RootCertStore::empty();
        let found = authorities.map(|authorities| authorities.0.iter().cloned());
        roots.add_parsable_certificates(found.into_iter().flatten());
        let names = roots.subjects().into();
        Self { roots, names, depth }
    }

    /// The names of the authorities.
    pub fn names(&self) -> &Arc<[DistinguishedName]> {
        &self.names
    }

    /// A digest of each authority, and one of the depth.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        let digest = |parts: &[&[u8]]| {
            let mut digest = Fingerprinter::default();
            parts.iter().for_each(|part| digest.add(part));
            digest.finish()
        };
        let root = |root: &rustls::pki_types::TrustAnchor<'_>| {
            let constraints = root.name_constraints.as_deref().unwrap_or_default();
            digest(&[&root.subject, &root.subject_public_key_info, constraints])
        };
        let depth = digest(&[format!("{:?}", self.depth).as_bytes()]);
        self.roots.roots.iter().map(root).chain([depth]).collect()
    }

    /// What is to be thought now of a chain that a client has shown.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn check(&self, chain: &[CertificateDer<'_>]) -> Result<(), &'static str> {
        let (own, between) = chain.split_first().ok_or(Doubt::Broken.text())?;
        self.judge(own, between, UnixTime::now()).map_err(Doubt::text)
    }

    fn judge(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Doubt> {
        let short_enough = |path: &VerifiedPath<'_>| {
            let length = path.intermediate_certificates().count();
            let allowed = self.depth.is_none_or(|depth| length <= depth);
            if allowed { Ok(()) } else { Err(webpki::Error::MaximumPathDepthExceeded) }
        };
        let parsed = EndEntityCert::try_from(own).map_err(|_| Doubt::Broken)?;
        let algorithms = provider().signature_verification_algorithms.all;
        let usage = KeyUsage::client_auth();
        let path = parsed.verify_for_usage(
            algorithms,
            &self.roots.roots,
            between,
            now,
            usage,
            None,
            Some(&short_enough),
        );
        path.map(drop).map_err(|error| Doubt::from(&error))
    }
}

impl Doubt {
    fn text(self) -> &'static str {
        match self {
            Self::Expired => "certificate has expired",
            Self::NotYetValid => "certificate is not yet valid",
            Self::Unknown => "no trusted authority has signed the certificate",
            Self::TooDeep => "certificate chain too long",
            Self::OtherUse => "certificate is not meant for clients",
            Self::Broken => "certificate cannot be verified",
        }
    }
}

impl From<&webpki::Error> for Doubt {
    fn from(error: &webpki::Error) -> Self {
        match error {
            webpki::Error::CertExpired { .. } => Self::Expired,
            webpki::Error::CertNotValidYet { .. } => Self::NotYetValid,
            // The second is one that bears the name of an authority, and nothing more.
            webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => Self::Unknown,
            webpki::Error::MaximumPathDepthExceeded => Self::TooDeep,
            webpki::Error::RequiredEkuNotFoundContext(_) => Self::OtherUse,
            _ => Self::Broken,
        }
    }
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.text())
    }
}

impl std::error::Error for Doubt {}

impl From<Doubt> for Error {
    fn from(doubt: Doubt) -> Self {
        let error = match doubt {
            Doubt::Expired => CertificateError::Expired,
            Doubt::NotYetValid => CertificateError::NotValidYet,
            Doubt::Unknown => CertificateError::UnknownIssuer,
            other => CertificateError::Other(OtherError(Arc::new(other))),
        };
        error.into()
    }
}

/// Asks clients for a certificate.
#[derive(Debug)]
pub struct Asking {
    believed: Arc<Believed>,
    /// The names that clients are told.
    names: Arc<[DistinguishedName]>,
    /// There is no session without one that is believed.
    insists: bool,
}

impl Asking {
    /// What a demand comes to where clients are told these names; none if nothing is asked for.
    pub fn of(
        demand: Demand,
        believed: &Arc<Believed>,
        names: &Arc<[DistinguishedName]>,
    ) -> Option<Arc<Self>> {
        let insists = match demand {
            Demand::Nothing => return None,
            Demand::Request => false,
            Demand::Require => true,
        };
        Some(Arc::new(Self { believed: believed.clone(), names: names.clone(), insists }))
    }
}

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        self.insists
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
    }

    /// Where a certificate is merely asked for, it is judged when the handshake is done: so is one that comes back
    /// with a ticket, which is not asked about here.
    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes = own.len() + between.iter().map(|certificate| certificate.len()).sum::<usize>();
        if between.len() >= MOST_CERTIFICATES || bytes > MOST_BYTES {
            return Err(Doubt::TooDeep.into());
        }
        if self.insists {
            self.believed.judge(own, between, now)?;
        }
        Ok(ClientCertVerified::assertion())
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
