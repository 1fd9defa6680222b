//! Certificates with their keys, and the choice between two of different key types.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureAlgorithm, SignatureScheme};

use super::provider;
use super::staple::Staple;

/// A certificate chain with its private key, of which nothing is ever printed.
#[derive(Clone)]
pub struct Pair {
    pub(super) plain: Arc<CertifiedKey>,
    /// The same with a response of OCSP, and until when that holds.
    stapled: Option<(Arc<CertifiedKey>, SystemTime)>,
}

/// Which half of a pair is wrong, and how.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The certificate.
    Certificate(String),
    /// The key, or that it belongs to another certificate.
    Key(String),
}

impl Pair {
    /// Reads a chain and a key in PEM form.
    ///
    /// # Errors
    /// Which of them is wrong, and how.
    pub fn read(certificate: &str, key: &str) -> Result<Self, Wrong> {
        let chain = certificates(certificate).map_err(Wrong::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| Wrong::Key(key_problem(key, &error)))?;
        let key = provider().key_provider.load_private_key(key);
        // The text of the error is ours: whatever a parser quotes of a key stays unsaid.
        let key = key.map_err(|_| {
            Wrong::Key("invalid key: it is damaged or of a kind that TLS cannot use".to_owned())
        })?;
        let pair = CertifiedKey::new(chain, key);
        match pair.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(Self { plain: Arc::new(pair), stapled: None })
            }
            Err(Error::InconsistentKeys(_)) => Err(Wrong::Key("certificate does not match key".to_owned())),
            Err(error) => Err(Wrong::Certificate(format!("invalid certificate: {error}"))),
        }
    }

    /// The chain as it goes over the wire, the own certificate first.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.plain.cert
    }

    /// The same pair, shown with `staple` as long as that holds.
    pub(super) fn with_staple(&self, staple: Option<Staple>) -> Self {
        let stapled = staple.map(|Staple { response, until }| {
            let CertifiedKey { cert, key, .. } = &*self.plain;
            (Arc::new(CertifiedKey { cert: cert.clone(), key: key.clone(), ocsp: Some(response) }), until)
        });
        Self { plain: self.plain.clone(), stapled }
    }

    /// What is shown to a client now.
    fn shown(&self) -> &Arc<CertifiedKey> {
        match &self.stapled {
            Some((stapled, until)) if SystemTime::now() < *until => stapled,
            _ => &self.plain,
        }
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Pair(..)")
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(message) | Self::Key(message) => out.write_str(message),
        }
    }
}

/// Every certificate of a text, at least one.
pub(super) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err("invalid certificate: no PEM block 'CERTIFICATE' found".to_owned())
        }
        Ok(found) => Ok(found),
        Err(error) => Err(format!("invalid certificate: {error}")),
    }
}

fn key_problem(text: &str, error: &pem::Error) -> String {
    match error {
        _ if text.contains("ENCRYPTED") => {
            "invalid key: it is encrypted; write it without a passphrase".to_owned()
        }
        pem::Error::NoItemsFound => "invalid key: no PEM block 'PRIVATE KEY' found".to_owned(),
        _ => "invalid key: its PEM block is damaged".to_owned(),
    }
}

/// Pairs of different key types for the same names. Each client is shown the cheapest that it can check.
pub struct Choice(Vec<Pair>);

impl Choice {
    /// A choice among `pairs`.
    pub fn new(mut pairs: Vec<Pair>) -> Self {
        // Signing with RSA takes many times as long.
        pairs.sort_by_key(|pair| pair.plain.key.algorithm() == SignatureAlgorithm::RSA);
        Self(pairs)
    }

    /// The pairs, best first.
    pub fn pairs(&self) -> &[Pair] {
        &self.0
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // The schemes are those that the client's cipher suites allow: rustls has left out the others.
        let fits = |pair: &&Pair| pair.plain.key.choose_scheme(hello.signature_schemes()).is_some();
        // Where none fits the handshake fails, and says why.
        self.0.iter().find(fits).or(self.0.first()).map(|pair| pair.shown().clone())
    }
}

impl ResolvesClientCert for Choice {
    fn resolve(&self, _authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let fits = |pair: &&Pair| pair.plain.key.choose_scheme(schemes).is_some();
        self.0.iter().find(fits).map(|pair| pair.plain.clone())
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Choice({} pairs)", self.0.len())
    }
}

#[cfg(test)]
impl Pair {
    /// Shows this pair to everybody, for servers of tests.
    pub fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(Choice::new(vec![self.clone()]))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_response_is_shown_as_long_as_it_holds() {
        let made = rcgen::generate_simple_self_signed(["x.test".to_owned()]).unwrap();
        let pair = Pair::read(&made.cert.pem(), &made.signing_key.serialize_pem()).unwrap();
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        let shown = |until| pair.with_staple(Some(Staple { response: vec![1], until })).shown().ocsp.clone();
        assert_eq!([shown(now + hour), shown(now - hour)], [Some(vec![1]), None]);
        assert_eq!(pair.with_staple(None).shown().ocsp, None);
    }
}
