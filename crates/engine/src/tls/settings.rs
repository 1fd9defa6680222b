//! What an operator sets about TLS.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use plugin::exchange::Demand;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedProtocolVersion};

use super::certificate::{Pair, certificates};

/// Settings of TLS; they do not change while the gateway runs.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// Shown where no server name matches: one pair, or several of different key types.
    pub default_certificates: Vec<Pair>,
    /// Versions spoken with clients.
    pub versions: Versions,
    /// Clients may resume a session by a ticket.
    pub session_tickets: bool,
    /// Time a client has for the whole handshake.
    pub handshake_timeout: Duration,
    /// Handshakes one worker has under way at a time.
    pub max_handshakes: usize,
    /// Who is believed about services that name no authorities of their own.
    pub trusted: Vec<Trusted>,
    /// Whether certificates of services are checked that do not say so themselves.
    pub verify_services: bool,
    /// Shown to services that ask and have no certificate of their own set.
    pub client_certificate: Option<Pair>,
    /// Files with responses of OCSP for the default certificates, in their order.
    pub default_staples: Vec<Option<PathBuf>>,
    /// The folder of those for certificates of the configuration: `ID.ocsp`, and `ID.alt.ocsp` for the second pair.
    pub staples: Option<PathBuf>,
    /// What is demanded of clients in every handshake.
    pub verify_client: Demand,
    /// Who is believed about clients.
    pub client_authorities: Option<Authorities>,
    /// Certificates that may stand between a client's own and its authority's.
    pub verify_depth: Option<usize>,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            default_certificates: Vec::new(),
            versions: Versions::Both,
            session_tickets: true,
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 1024,
            trusted: vec![Trusted::System],
            verify_services: false,
            client_certificate: None,
            default_staples: Vec::new(),
            staples: None,
            verify_client: Demand::Nothing,
            client_authorities: None,
            verify_depth: None,
        }
    }
}

/// Who is believed.
#[derive(Debug, Clone)]
pub enum Trusted {
    /// The authorities of the system.
    System,
    /// These.
    Only(Authorities),
}

/// Certificates of authorities.
#[derive(Debug, Clone)]
pub struct Authorities(pub(super) Vec<CertificateDer<'static>>);

impl Authorities {
    /// Reads certificates in PEM form.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(text: &str) -> Result<Self, String> {
        let found = certificates(text)?;
        let mut store = RootCertStore::empty();
        for certificate in &found {
            store.add(certificate.clone()).map_err(|error| format!("invalid certificate: {error}"))?;
        }
        Ok(Self(found))
    }

    /// Those of several texts together.
    #[must_use]
    pub fn all(lists: Vec<Self>) -> Self {
        Self(lists.into_iter().flat_map(|list| list.0).collect())
    }
}

/// Versions of TLS. There is always at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// 1.2 only.
    Tls12,
    /// 1.3 only.
    Tls13,
    /// 1.2 and 1.3.
    Both,
}

impl Versions {
    /// TLS 1.2 is spoken.
    pub fn tls12(self) -> bool {
        self != Self::Tls13
    }

    /// TLS 1.3 is spoken.
    pub fn tls13(self) -> bool {
        self != Self::Tls12
    }

    pub(super) fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Self::Tls13 => &BOTH[..1],
            Self::Tls12 => &BOTH[1..],
            Self::Both => &BOTH,
        }
    }
}

impl FromStr for Versions {
    type Err = String;

    /// Reads Kong's `ssl_protocols`. Versions that nobody should speak any more are passed over.
    fn from_str(list: &str) -> Result<Self, String> {
        let (mut tls12, mut tls13) = (false, false);
        for name in list.split([' ', ',']).filter(|name| !name.is_empty()) {
            match name {
                "TLSv1.2" => tls12 = true,
                "TLSv1.3" => tls13 = true,
                "TLSv1" | "TLSv1.1" | "SSLv2" | "SSLv3" => {}
                _ => return Err(format!("'{name}' is not a version of TLS")),
            }
        }
        match (tls12, tls13) {
            (true, true) => Ok(Self::Both),
            (true, false) => Ok(Self::Tls12),
            (false, true) => Ok(Self::Tls13),
            (false, false) => Err(format!("'{list}' names neither TLSv1.2 nor TLSv1.3")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_kongs_list_without_the_broken_ones() {
        assert_eq!("TLSv1.1 TLSv1.2 TLSv1.3".parse(), Ok(Versions::Both));
        assert_eq!("TLSv1.3".parse(), Ok(Versions::Tls13));
        assert_eq!("TLSv1.2".parse(), Ok(Versions::Tls12));
        assert!("TLSv1.1".parse::<Versions>().is_err());
        assert!("TLSv1.4 TLSv1.3".parse::<Versions>().is_err());
    }
}
