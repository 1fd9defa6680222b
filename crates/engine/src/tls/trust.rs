//! Trust in services: whom the gateway believes about one, and what it shows of itself.

use std::io;
use std::sync::Arc;

use model::entity::{Service, Upstream};
use model::schema::Reference;
use model::{Config, Problem};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::certificate::{Choice, certificates};
use super::fingerprint::{Fingerprint, Fingerprinter};
use super::keeper::Keeper;
use super::offer::{HTTP2, Offer};
use super::provider;
use super::settings::Versions;
use super::stream::Secure;
use super::terminator::Certificates;
use super::verify::Verifier;
use crate::transport::Stream;
use crate::unsupported::at;

/// Sessions kept for resumption per trust; each is of one server name.
const KEPT_SESSIONS: usize = 256;

/// How a service is reached under TLS.
pub struct Trust {
    config: Arc<ClientConfig>,
    /// The same for connections that have to speak HTTP/1.1, where the service has a choice.
    http1: Option<Arc<ClientConfig>>,
    fingerprint: Fingerprint,
}

/// As what a connection was opened. It serves only requests that want the same.
pub struct Identity {
    fingerprint: Fingerprint,
    name: Box<str>,
}

/// What a request wants a connection to be opened as.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    trust: &'a Trust,
    name: &'a str,
    /// Only HTTP/1.1 is of use.
    http1: bool,
}

impl Trust {
    /// The trust that `service` asks for; none in cleartext. What cannot be used is added to `problems`.
    pub fn compile(
        config: &Config,
        service: &Service,
        keeper: &Keeper,
        certificates: &Certificates,
        problems: &mut Vec<Problem>,
    ) -> Option<Arc<Self>> {
        let protocols = match service.protocol.as_str() {
            "https" if service.http2 == Some(true) => Offer::Http2.protocols(),
            "https" | "tls" | "wss" => Vec::new(),
            "grpcs" => vec![HTTP2.to_vec()],
            _ => return None,
        };
        let shown = client_certificate(config, service, keeper, certificates);
        let made = verifier(config, service, keeper).and_then(|verifier| {
            let fingerprint = fingerprint(&verifier, shown.as_deref(), &protocols);
            let made = keeper.trust(fingerprint, || Self::new(verifier, shown, protocols, fingerprint));
            made.map_err(|error| ("protocol", error.to_string()))
        });
        match made {
            Ok(trust) => Some(trust),
            Err((field, message)) => {
                problems.push(at(config, "services", service.id, field, &message));
                None
            }
        }
    }

    /// The trust of those who ask the targets of `upstream` for their health: of gRPC, or of HTTP.
    ///
    /// # Errors
    /// When TLS cannot be used.
    pub fn of_probes(
        upstream: &Upstream,
        grpc: bool,
        keeper: &Keeper,
        certificates: &Certificates,
    ) -> Result<Arc<Self>, rustls::Error> {
        let verifier = match upstream.healthchecks.active.https_verify_certificate {
            true => Verifier::Authorities { roots: keeper.trusted().clone(), depth: None },
            false => Verifier::Anyone,
        };
        let protocols = if grpc { vec![HTTP2.to_vec()] } else { Vec::new() };
        let shown = shown(upstream.client_certificate.as_ref(), keeper, certificates);
        let fingerprint = fingerprint(&verifier, shown.as_deref(), &protocols);
        keeper.trust(fingerprint, || Self::new(verifier, shown, protocols, fingerprint))
    }

    fn new(
        verifier: Verifier,
        shown: Option<Arc<Choice>>,
        protocols: Vec<Vec<u8>>,
        fingerprint: Fingerprint,
    ) -> Result<Self, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(Versions::Both.supported())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match shown {
            Some(choice) => builder.with_client_cert_resolver(choice),
            None => builder.with_no_client_auth(),
        };
        let chooses = protocols.len() > 1;
        config.alpn_protocols = protocols;
        config.resumption = Resumption::in_memory_sessions(KEPT_SESSIONS);
        let http1 = chooses.then(|| {
            let mut config = config.clone();
            config.alpn_protocols = Offer::Http1.protocols();
            // A session is of one protocol.
            config.resumption = Resumption::in_memory_sessions(KEPT_SESSIONS);
            Arc::new(config)
        });
        Ok(Self { config: Arc::new(config), http1, fingerprint })
    }

    /// What a request wants that sends `host`, which may have a port (kong.md 3.2). None if that is no server name.
    pub fn wanted<'a>(&'a self, host: &'a [u8]) -> Option<Wanted<'a>> {
        let (host, _) = crate::route::split_host(host);
        let name = std::str::from_utf8(host).ok()?;
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        Some(Wanted { trust: self, name: name.strip_suffix('.').unwrap_or(name), http1: false })
    }
}

impl Identity {
    /// Whether a connection that was opened as `identity`, or in cleartext, is just what is `wanted`.
    pub fn serves(identity: Option<&Self>, wanted: Option<&Wanted<'_>>) -> bool {
        match (wanted, identity) {
            (None, None) => true,
            (Some(wanted), Some(identity)) => wanted.is(identity),
            _ => false,
        }
    }
}

impl Wanted<'_> {
    /// The same, for a request that needs HTTP/1.1 whatever the service would choose.
    pub fn over_http1(self) -> Self {
        Self { http1: true, ..self }
    }

    /// The server name.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Whether a connection that was opened as `identity` may serve.
    pub fn is(&self, identity: &Identity) -> bool {
        identity.fingerprint == self.trust.fingerprint && identity.name.eq_ignore_ascii_case(self.name)
    }

    /// As what a connection is opened for this.
    pub fn identity(&self) -> Identity {
        Identity { fingerprint: self.trust.fingerprint, name: self.name.into() }
    }

    /// Whether any service can be asked for by that name.
    pub fn is_possible(&self) -> bool {
        ServerName::try_from(self.name).is_ok()
    }

    /// Carries the handshake out on a fresh connection.
    ///
    /// # Errors
    /// Why the service cannot be trusted, or did not want to talk.
    pub async fn secure(self, stream: Stream) -> io::Result<Stream> {
        let name = ServerName::try_from(self.name.to_owned());
        let name =
            name.map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the host is no server name"))?;
        let config = self.trust.http1.as_ref().filter(|_| self.http1).unwrap_or(&self.trust.config);
        let stream = TlsConnector::from(config.clone()).connect(name, stream).await.map_err(explain)?;
        let identity = self.identity();
        Ok(Stream::Tls(Box::new(Secure::to_service(stream, identity))))
    }
}

/// The common reasons in plain words, the others in those of rustls. None of them holds a secret.
fn explain(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(rustls::Error::InvalidCertificate(reason)) = inner else { return error };
    let text = match reason {
        CertificateError::UnknownIssuer => "its certificate is of no authority that is trusted",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet"
        }
        CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its certificate has not been signed by the authority it names"
        }
        _ => return error,
    };
    io::Error::new(error.kind(), text)
}

/// The service's own certificate, else its upstream's, else the gateway's.
fn client_certificate(
    config: &Config,
    service: &Service,
    keeper: &Keeper,
    certificates: &Certificates,
) -> Option<Arc<Choice>> {
    let upstream = config.upstream(&service.host).and_then(|upstream| upstream.client_certificate.as_ref());
    shown(service.client_certificate.as_ref().or(upstream), keeper, certificates)
}

/// The certificate that is named, else the gateway's.
fn shown(reference: Option<&Reference>, keeper: &Keeper, certificates: &Certificates) -> Option<Arc<Choice>> {
    match reference {
        // One that cannot be read is a problem of its own by now.
        Some(reference) => {
            let pairs = certificates.of(reference.0)?.to_vec();
            Some(Arc::new(Choice::new(pairs)))
        }
        None => keeper.client_certificate().cloned(),
    }
}

fn verifier(config: &Config, service: &Service, keeper: &Keeper) -> Result<Verifier, (&'static str, String)> {
    if !service.tls_verify.unwrap_or(keeper.verifies_services()) {
        return Ok(Verifier::Anyone);
    }
    let roots = match service.ca_certificates.as_deref() {
        None | Some([]) => keeper.trusted().clone(),
        Some(named) => Arc::new(authorities(config, named).map_err(|message| ("ca_certificates", message))?),
    };
    let depth = service.tls_verify_depth.and_then(|depth| usize::try_from(depth).ok());
    Ok(Verifier::Authorities { roots, depth })
}

fn authorities(config: &Config, named: &[model::Uuid]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for id in named {
        let authority = config.ca_certificates.iter().find(|authority| authority.id == *id);
        let authority = authority.ok_or_else(|| format!("there is no CA certificate with the id {id}"))?;
        for certificate in certificates(&authority.cert)? {
            store
                .add(certificate)
                .map_err(|error| format!("the CA certificate {id} cannot be used: {error}"))?;
        }
    }
    Ok(store)
}

/// A digest of all that tells one trust from another.
fn fingerprint(verifier: &Verifier, shown: Option<&Choice>, protocols: &[Vec<u8>]) -> Fingerprint {
    let mut digest = Fingerprinter::default();
    let mut add = |part: &[u8]| digest.add(part);
    match verifier {
        Verifier::Anyone => add(b"anyone"),
        Verifier::Authorities { roots, depth } => {
            add(b"authorities");
            add(format!("{depth:?}").as_bytes());
            add(&(roots.roots.len() as u64).to_le_bytes());
            for root in &roots.roots {
                add(&root.subject);
                add(&root.subject_public_key_info);
                add(root.name_constraints.as_deref().unwrap_or_default());
            }
        }
    }
    for pair in shown.map(Choice::pairs).unwrap_or_default() {
        add(b"pair");
        pair.chain().iter().for_each(|certificate| add(certificate));
    }
    for protocol in protocols {
        add(b"protocol");
        add(protocol);
    }
    digest.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_why_a_service_is_not_believed_is_told_in_plain_words() {
        let told = |reason| explain(io::Error::other(rustls::Error::InvalidCertificate(reason))).to_string();
        assert!(told(CertificateError::UnknownIssuer).contains("no authority that is trusted"));
        assert_eq!(told(CertificateError::Expired), "its certificate has expired");
        assert!(told(CertificateError::NotValidForName).contains("NotValidForName"), "as rustls has it");
        assert_eq!(explain(io::ErrorKind::ConnectionReset.into()).kind(), io::ErrorKind::ConnectionReset);
    }
}
