//! Which certificate is shown for which server name. Compiled at reload.

use std::sync::Arc;

use ahash::AHashMap;
use model::entity::Certificate;
use model::{Config, Problem, Uuid};
use rustls::ServerConfig;

use super::certificate::{Choice, Pair, Wrong};
use super::keeper::Keeper;
use super::offer::Offer;
use crate::unsupported::at;

/// The certificates of a configuration by server name.
pub struct Terminator {
    by_name: AHashMap<Box<str>, Arc<Shown>>,
    default: Option<Arc<Shown>>,
}

/// A certificate made ready to be shown: one configuration of rustls for each [`Offer`].
pub struct Shown(pub(super) [Arc<ServerConfig>; Offer::ALL.len()]);

impl Terminator {
    /// Makes the certificates of `config` ready. What cannot be used is added to `problems`.
    pub fn compile(config: &Config, keeper: &Keeper, pairs: &Pairs, problems: &mut Vec<Problem>) -> Self {
        let mut shown: AHashMap<Uuid, Arc<Shown>> = AHashMap::new();
        let mut by_name = AHashMap::new();
        for sni in &config.snis {
            let id = sni.certificate.0;
            let Some(pairs) = pairs.0.get(&id) else { continue };
            let ready = match shown.get(&id) {
                Some(ready) => ready.clone(),
                None => match keeper.shown(pairs.clone()) {
                    Ok(ready) => shown.entry(id).or_insert(Arc::new(ready)).clone(),
                    Err(error) => {
                        problems.push(at(config, "certificates", id, "cert", &error.to_string()));
                        continue;
                    }
                },
            };
            by_name.insert(normal(&sni.name).into_boxed_str(), ready);
        }
        Self { by_name, default: keeper.default_shown() }
    }

    /// What to finish a handshake with, for a client that asked for `name`.
    pub fn find(&self, name: Option<&str>, offer: Offer) -> Option<Arc<ServerConfig>> {
        let shown = name.and_then(|name| self.named(&normal(name)));
        let shown = shown.or_else(|| self.by_name.get("*")).or(self.default.as_ref())?;
        Some(shown.0[offer as usize].clone())
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

/// The certificates of a configuration that can be used, with their keys.
pub struct Pairs(AHashMap<Uuid, Vec<Pair>>);

impl Pairs {
    /// Reads all certificates of `config`. Those that cannot be used are added to `problems`.
    pub fn read(config: &Config, problems: &mut Vec<Problem>) -> Self {
        let mut found = AHashMap::new();
        for certificate in &config.certificates {
            match read(certificate) {
                Ok(pairs) => {
                    found.insert(certificate.id, pairs);
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
        self.0.get(&certificate).map(Vec::as_slice)
    }
}

fn read(certificate: &Certificate) -> Result<Vec<Pair>, (&'static str, String)> {
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
    /// Makes a choice among pairs ready, with `finish` settling what all offers have in common.
    pub(super) fn new(
        choice: &Arc<Choice>,
        finish: impl Fn(Arc<Choice>) -> Result<ServerConfig, rustls::Error>,
    ) -> Result<Self, rustls::Error> {
        let make = |offer: Offer| {
            let mut config = finish(choice.clone())?;
            config.alpn_protocols = offer.protocols();
            Ok::<_, rustls::Error>(Arc::new(config))
        };
        let [http1, http2, nothing] = Offer::ALL.map(make);
        Ok(Self([http1?, http2?, nothing?]))
    }
}
