//! What of TLS outlives a reload: keys of tickets, sessions with services, the default certificate, the system's roots.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ahash::AHashMap;
use model::entity::Certificate;
use plugin::exchange::Demand;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{DistinguishedName, RootCertStore, ServerConfig};

use super::certificate::{Choice, Pair};
use super::clients::{Asking, Believed};
use super::fingerprint::{Fingerprint, Fingerprinter};
use super::provider;
use super::roots::Roots;
use super::settings::{TlsSettings, Versions};
use super::staple::{self, Staple};
use super::terminator::{self, Shown};
use super::tickets::{Domain, Tickets};
use super::trust::Trust;

/// The parts of TLS that outlive reloads.
pub struct Keeper {
    settings: TlsSettings,
    tickets: Tickets,
    default: Mutex<Defaults>,
    /// Who is believed about clients.
    believed: Arc<Believed>,
    /// By their text, so that certificates are read again only where something changed.
    certificates: Mutex<AHashMap<Fingerprint, Weak<Shown>>>,
    client_certificate: Option<Arc<Choice>>,
    trusted: Arc<Roots>,
    /// By what they come to, so that sessions and connections are kept where nothing changed.
    trusts: Mutex<AHashMap<Fingerprint, Weak<Trust>>>,
}

/// What is shown where no server name matches. Its files may change while the gateway runs.
#[derive(Clone)]
struct Defaults {
    pairs: Vec<Pair>,
    staples: Vec<Option<PathBuf>>,
    shown: Option<Arc<Shown>>,
}

impl Keeper {
    /// Makes the default certificate ready.
    ///
    /// # Errors
    /// When there is no randomness for keys.
    pub fn new(settings: TlsSettings) -> Result<Self, rustls::Error> {
        let client = settings.client_certificate.clone();
        let believed = Believed::new(settings.client_authorities.as_ref(), settings.verify_depth);
        let keeper = Self {
            tickets: Tickets::default(),
            default: Mutex::new(Defaults { pairs: Vec::new(), staples: Vec::new(), shown: None }),
            believed: Arc::new(believed),
            certificates: Mutex::default(),
            client_certificate: client.map(|pair| Arc::new(Choice::new(vec![pair]))),
            trusted: Arc::new(Roots::new(settings.trusted.clone())),
            trusts: Mutex::default(),
            settings,
        };
        keeper.renew(&keeper.settings)?;
        Ok(keeper)
    }

    /// Shows the default certificates of `settings` from the next snapshot on. Whether they are others than before.
    ///
    /// # Errors
    /// When there is no randomness for keys.
    pub fn renew(&self, settings: &TlsSettings) -> Result<bool, rustls::Error> {
        let pairs = settings.default_certificates.clone();
        let mut default = self.default.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = pairs.len() == default.pairs.len()
            && pairs.iter().zip(&default.pairs).all(|(one, other)| one.chain() == other.chain());
        if is_same && settings.default_staples == default.staples {
            return Ok(false);
        }
        let shown = if pairs.is_empty() { None } else { Some(Arc::new(self.shown(pairs.clone())?)) };
        *default = Defaults { pairs, staples: settings.default_staples.clone(), shown };
        Ok(true)
    }

    /// For checking a configuration: nothing outside the process is looked at.
    ///
    /// # Errors
    /// When there is no randomness for keys.
    pub fn for_check() -> Result<Self, rustls::Error> {
        Self::new(TlsSettings { trusted: Vec::new(), ..TlsSettings::default() })
    }

    /// Whether certificates of services are checked that do not say so themselves.
    pub fn verifies_services(&self) -> bool {
        self.settings.verify_services
    }

    /// What is shown where no server name matches.
    pub(super) fn default_shown(&self) -> Option<Arc<Shown>> {
        let default = self.default.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let files = default.staples.iter().zip(&default.pairs);
        let staples: Vec<_> =
            files.map(|(file, pair)| staple::read(file.as_deref()?, pair.chain().first()?)).collect();
        if staples.iter().all(Option::is_none) {
            return default.shown;
        }
        let mut digest = Fingerprinter::default();
        digest.add(b"the default certificates");
        default.pairs.iter().flat_map(Pair::chain).for_each(|certificate| digest.add(certificate));
        add_staples(&mut digest, &staples);
        let make = || self.shown(with_staples(&default.pairs, staples));
        // It has been made without them before, and differs in nothing that could fail.
        kept(&self.certificates, digest.finish(), make).ok().or(default.shown)
    }

    /// What is shown to services that have no certificate of their own set.
    pub(super) fn client_certificate(&self) -> Option<&Arc<Choice>> {
        self.client_certificate.as_ref()
    }

    /// What is demanded of clients in every handshake.
    pub(super) fn demand(&self) -> Demand {
        self.settings.verify_client
    }

    /// Who is believed about clients.
    pub(super) fn believed(&self) -> &Arc<Believed> {
        &self.believed
    }

    /// A certificate of a configuration, made ready to be shown: the one at hand, if it is the same text.
    ///
    /// # Errors
    /// The field that is wrong, and how.
    pub(super) fn certificate(
        &self,
        certificate: &Certificate,
    ) -> Result<Arc<Shown>, (&'static str, String)> {
        let staples = self.staples(certificate);
        let mut digest = Fingerprinter::default();
        add_staples(&mut digest, &staples);
        let second =
            [&certificate.cert_alt, &certificate.key_alt].map(|text| text.as_deref().unwrap_or_default());
        for text in [certificate.cert.as_str(), &certificate.key].iter().chain(&second) {
            digest.add(text.as_bytes());
        }
        let make = || {
            let pairs = with_staples(&terminator::read(certificate)?, staples);
            self.shown(pairs).map_err(|error| ("cert", error.to_string()))
        };
        kept(&self.certificates, digest.finish(), make)
    }

    /// What there is to be shown with the pairs of a certificate. The files are read at each reload.
    fn staples(&self, certificate: &Certificate) -> Vec<Option<Staple>> {
        let Some(folder) = &self.settings.staples else { return Vec::new() };
        let read = |ending: &str, pem: &str| {
            // Where this fails, the pair is refused.
            let own = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
            staple::read(&folder.join(format!("{}.{ending}", certificate.id)), &own)
        };
        let second = certificate.cert_alt.as_deref().and_then(|pem| read("alt.ocsp", pem));
        vec![read("ocsp", &certificate.cert), second]
    }

    /// Makes pairs ready to be shown to clients.
    fn shown(&self, pairs: Vec<Pair>) -> Result<Shown, rustls::Error> {
        let everywhere = self.demand();
        let mut demands = vec![everywhere, everywhere.max(Demand::Request)];
        demands.dedup();
        Shown::new(pairs, &demands, |choice, demand| {
            let authorities =
                if demand == Demand::Nothing { Vec::new() } else { self.believed.fingerprints() };
            self.server_config(choice, &Domain::of(demand, authorities))
        })
    }

    pub(super) fn server_config(
        &self,
        choice: Arc<Choice>,
        domain: &Domain,
    ) -> Result<ServerConfig, rustls::Error> {
        self.manner(domain)?.config(choice, self.believed.names())
    }

    /// How sessions of a domain are begun.
    fn manner(&self, domain: &Domain) -> Result<Manner, rustls::Error> {
        let tickets = self.settings.session_tickets.then(|| self.tickets.of(domain)).transpose()?;
        Ok(Manner {
            versions: self.settings.versions,
            demand: domain.demand(),
            believed: self.believed.clone(),
            tickets,
        })
    }

    /// The same for each demand under which clients are asked.
    ///
    /// # Errors
    /// When there is no randomness for keys.
    pub(super) fn manners(&self) -> Result<Vec<Manner>, rustls::Error> {
        let mut demands = vec![Demand::Request, self.demand().max(Demand::Request)];
        demands.dedup();
        let of = |demand| self.manner(&Domain::of(demand, self.believed.fingerprints()));
        demands.into_iter().map(of).collect()
    }

    /// The authorities that are believed about services which name none.
    pub(super) fn trusted(&self) -> &Arc<RootCertStore> {
        self.trusted.store()
    }

    /// The same, to be kept elsewhere.
    pub fn roots(&self) -> Arc<Roots> {
        self.trusted.clone()
    }

    /// The trust that comes to `fingerprint`: one in use, or a new one.
    pub(super) fn trust(
        &self,
        fingerprint: Fingerprint,
        make: impl FnOnce() -> Result<Trust, rustls::Error>,
    ) -> Result<Arc<Trust>, rustls::Error> {
        kept(&self.trusts, fingerprint, make)
    }
}

/// How sessions are begun with clients of whom the same is demanded.
pub(super) struct Manner {
    versions: Versions,
    pub(super) demand: Demand,
    believed: Arc<Believed>,
    tickets: Option<Arc<dyn ProducesTickets>>,
}

impl Manner {
    /// What rustls has to do where clients are told these names. Nothing is stored per session: a ticket holds it,
    /// encrypted, at the client.
    pub(super) fn config(
        &self,
        choice: Arc<Choice>,
        names: &Arc<[DistinguishedName]>,
    ) -> Result<ServerConfig, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(self.versions.supported())?;
        let builder = match Asking::of(self.demand, &self.believed, names) {
            Some(asking) => builder.with_client_cert_verifier(asking),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(choice);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if let Some(tickets) = &self.tickets {
            config.ticketer = tickets.clone();
        }
        // Each has its price, and clients open few connections at once.
        config.send_tls13_tickets = 1;
        Ok(config)
    }
}

/// Pairs with what is to be shown with each.
fn with_staples(pairs: &[Pair], staples: Vec<Option<Staple>>) -> Vec<Pair> {
    let staples = staples.into_iter().chain(std::iter::repeat(None));
    pairs.iter().zip(staples).map(|(pair, staple)| pair.with_staple(staple)).collect()
}

fn add_staples(digest: &mut Fingerprinter, staples: &[Option<Staple>]) {
    for staple in staples {
        digest.add(staple.as_ref().map(|staple| staple.response.as_slice()).unwrap_or_default());
    }
}

#[cfg(test)]
impl Keeper {
    /// Certificates that some snapshot still holds.
    pub fn kept_certificates(&self) -> usize {
        let known = self.certificates.lock().unwrap();
        known.values().filter(|one| one.strong_count() > 0).count()
    }
}

/// What somebody still holds under `fingerprint`, or a new one.
fn kept<T, E>(
    known: &Mutex<AHashMap<Fingerprint, Weak<T>>>,
    fingerprint: Fingerprint,
    make: impl FnOnce() -> Result<T, E>,
) -> Result<Arc<T>, E> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known.get(&fingerprint).and_then(Weak::upgrade) {
        return Ok(found);
    }
    let fresh = Arc::new(make()?);
    // Looked through only when it would have to grow: a configuration may have thousands.
    if known.len() == known.capacity() {
        known.retain(|_, one| one.strong_count() > 0);
    }
    known.insert(fingerprint, Arc::downgrade(&fresh));
    Ok(fresh)
}
