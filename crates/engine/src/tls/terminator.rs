//! Which certificate is shown for which server name, and what is demanded of the client. Compiled at reload.

use std::sync::Arc;

use ahash::AHashMap;
use model::entity::Certificate;
use model::{Config, Problem, Uuid};
use plugin::Definition;
use plugin::exchange::Demand;
use rustls::ServerConfig;

use super::certificate::{Choice, Pair, Wrong};
use super::clients::Believed;
use super::demands::Demands;
use super::hints::Hints;
use super::keeper::Keeper;
use super::offer::Offer;
use crate::unsupported::at;

/// The certificates of a configuration by server name.
pub struct Terminator {
    by_name: AHashMap<Box<str>, Arc<Shown>>,
    default: Option<Arc<Shown>>,
    demands: Demands,
    hints: Hints,
    believed: Arc<Believed>,
    /// All of them, so that the next configuration finds those that stay.
    certificates: Certificates,
}

/// A certificate made ready to be shown.
pub struct Shown {
    pairs: Vec<Pair>,
    choice: Arc<Choice>,
    /// For each demand that there may be, one configuration of rustls for each [`Offer`].
    ready: Vec<(Demand, [Arc<ServerConfig>; Offer::ALL.len()])>,
}

/// How to finish a handshake.
pub struct Terms {
    /// What rustls has to do.
    pub config: Arc<ServerConfig>,
    /// Whether the client is asked for a certificate.
    pub demand: Demand,
    /// Who is believed about what it shows.
    pub believed: Arc<Believed>,
}

impl Terminator {
    /// Makes the certificates of `config` ready. What cannot be used is added to `problems`.
    pub fn compile(
        config: &Config,
        definitions: &[&'static dyn Definition],
        keeper: &Keeper,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let certificates = Certificates::read(config, keeper, problems);
        let mut by_name = AHashMap::new();
        for sni in &config.snis {
            if let Some(shown) = certificates.0.get(&sni.certificate.0) {
                by_name.insert(normal(&sni.name).into_boxed_str(), shown.clone());
            }
        }
        let demands = Demands::compile(config, definitions, keeper.demand());
        let hints = Hints::compile(config, definitions, keeper);
        let (default, believed) = (keeper.default_shown(), keeper.believed().clone());
        Self { by_name, default, demands, hints, believed, certificates }
    }

    /// How to finish a handshake with a client that asked for `name`.
    pub fn find(&self, name: Option<&str>, offer: Offer) -> Option<Terms> {
        let shown = name.and_then(|name| self.named(&normal(name)));
        let shown = shown.or_else(|| self.by_name.get("*")).or(self.default.as_ref())?;
        let demand = self.demand(name.map(str::as_bytes));
        let config = match self.hints.of(name.map(str::as_bytes), demand) {
            None => shown.config(demand, offer)?,
            Some(names) => self.hints.config(shown.choice.clone(), (demand, offer), &names)?,
        };
        Some(Terms { config, demand, believed: self.believed.clone() })
    }

    /// What is demanded in handshakes for `name`.
    pub fn demand(&self, name: Option<&[u8]>) -> Demand {
        self.demands.of(name)
    }

    /// The certificates of the configuration.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Exact, then `*.suffix`, then `prefix.*` (kong.md 1.7). The star stands for one label, as it does in certificates.
    fn named(&self, name: &str) -> Option<&Arc<Shown>> {
        self.by_name.get(name).or_else(|| {
            let (_, suffix) = name.split_once('.')?;
            let (prefix, _) = name.rsplit_once('.')?;
            let known = |pattern: String| self.by_name.get(pattern.as_str());
            known(format!("*.{suffix}")).or_else(|| known(format!("{prefix}.*")))
        })
    }
}

/// Names compare without case, and without the dot that ends a full domain name.
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The certificates of a configuration that can be used.
pub struct Certificates(AHashMap<Uuid, Arc<Shown>>);

impl Certificates {
    /// Reads all certificates of `config` that are not known yet. Those that cannot be used are added to `problems`.
    fn read(config: &Config, keeper: &Keeper, problems: &mut Vec<Problem>) -> Self {
        let mut found = AHashMap::new();
        for certificate in &config.certificates {
            match keeper.certificate(certificate) {
                Ok(shown) => {
                    found.insert(certificate.id, shown);
                }
                Err((field, message)) => {
                    problems.push(at(config, "certificates", certificate.id, field, &message));
                }
            }
        }
        Self(found)
    }

    /// The pairs of a certificate.
    pub fn of(&self, certificate: Uuid) -> Option<&[Pair]> {
        self.0.get(&certificate).map(|shown| shown.pairs.as_slice())
    }
}

/// The pairs of a certificate.
///
/// # Errors
/// The field that is wrong, and how.
pub fn read(certificate: &Certificate) -> Result<Vec<Pair>, (&'static str, String)> {
    let place = |wrong: Wrong, fields: (&'static str, &'static str)| match wrong {
        Wrong::Certificate(message) => (fields.0, message),
        Wrong::Key(message) => (fields.1, message),
    };
    let first =
        Pair::read(&certificate.cert, &certificate.key).map_err(|wrong| place(wrong, ("cert", "key")))?;
    let mut pairs = vec![first];
    if let (Some(cert), Some(key)) = (&certificate.cert_alt, &certificate.key_alt) {
        pairs.push(Pair::read(cert, key).map_err(|wrong| place(wrong, ("cert_alt", "key_alt")))?);
    }
    Ok(pairs)
}

impl Shown {
    /// Makes pairs ready for each of `demands`, with `finish` settling what all offers have in common.
    pub(super) fn new(
        pairs: Vec<Pair>,
        demands: &[Demand],
        finish: impl Fn(Arc<Choice>, Demand) -> Result<ServerConfig, rustls::Error>,
    ) -> Result<Self, rustls::Error> {
        let choice = Arc::new(Choice::new(pairs.clone()));
        let make = |demand: Demand, offer: Offer| {
            let mut config = finish(choice.clone(), demand)?;
            config.alpn_protocols = offer.protocols();
            Ok::<_, rustls::Error>(Arc::new(config))
        };
        let each = |demand: &Demand| {
            let [http1, http2, nothing] = Offer::ALL.map(|offer| make(*demand, offer));
            Ok((*demand, [http1?, http2?, nothing?]))
        };
        let ready = demands.iter().map(each).collect::<Result<_, rustls::Error>>()?;
        Ok(Self { pairs, choice, ready })
    }

    /// What rustls has to do, if it has been made ready for `demand`.
    pub(super) fn config(&self, demand: Demand, offer: Offer) -> Option<Arc<ServerConfig>> {
        let (_, ready) = self.ready.iter().find(|(made_for, _)| *made_for == demand)?;
        Some(ready[offer as usize].clone())
    }
}
