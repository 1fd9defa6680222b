#![doc = include_str!("doc.md")]

use plugin::{Build, BuildError, Phase, Phases, Plugin, Scopes, record};

#[cfg(test)]
mod tests;

record! {
    /// Asks clients for a certificate in their handshakes.
    pub struct Config {
        /// What clients are asked for: `REQUEST` is a certificate that they may do without.
        tls_client_certificate: String = "REQUEST", [one_of(&["REQUEST"])];
    }
}

/// The room. All it does, it does by being there: handshakes ask for a certificate.
pub struct TlsHandshakeModifier;

impl Plugin for TlsHandshakeModifier {
    const NAME: &'static str = "tls-handshake-modifier";
    const PRIORITY: i64 = 997;
    const RUNS: &'static [Phase] = &[];
    const SCOPES: Scopes = Scopes { consumer: false, consumer_group: false, route: true, service: true };
    const PROTOCOLS: &'static [&'static str] = &["grpcs", "https"];
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn asks_for_certificate(config: &Config) -> bool {
        config.tls_client_certificate == "REQUEST"
    }

    fn build(_config: Config, _cx: &Build<'_>) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

impl Phases for TlsHandshakeModifier {}
