#![doc = include_str!("doc.md")]

mod credentials;

use plugin::confidential::Places;
use plugin::keys::{Fields, Gatekeeper};
use plugin::model::EntitySchema;
use plugin::model::entity::Entity;
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Scopes, record};

use credentials::{KeyAuthEncCredential, Keys};

#[cfg(test)]
mod tests;

record! {
    /// Lets callers in who know a key of which only a digest is kept.
    pub struct Config {
        ..fields: Fields;
    }
}

/// The room, ready to run.
pub struct KeyAuthEnc(Gatekeeper<Keys>);

impl Plugin for KeyAuthEnc {
    const NAME: &'static str = "key-auth-enc";
    const PRIORITY: i64 = 1250;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const PROTOCOLS: &'static [&'static str] = &["grpc", "grpcs", "http", "https", "ws", "wss"];
    const DOC: &'static str = include_str!("doc.md");
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn entities() -> Vec<EntitySchema> {
        vec![KeyAuthEncCredential::entity_schema()]
    }

    fn credentials(config: &Config, places: &mut Places) {
        config.fields.declare(places);
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        Ok(Self(Gatekeeper::new(config.fields, Self::NAME, cx.shared(Keys::new)?, cx)?))
    }
}

impl Phases for KeyAuthEnc {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        self.0.decide(cx)
    }
}
