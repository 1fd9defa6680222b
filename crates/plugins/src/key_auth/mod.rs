#![doc = include_str!("doc.md")]

mod credentials;

use plugin::confidential::Places;
use plugin::keys::{Fields, Gatekeeper};
use plugin::model::EntitySchema;
use plugin::model::entity::Entity;
use plugin::principals::Principals;
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Scopes, record};

use credentials::Keys;

#[cfg(test)]
mod tests;

record! {
    /// Lets callers in who know a key.
    pub struct Config {
        ..fields: Fields;
        /// Realms of a hosted control plane in which keys are looked up. Not available: leave it empty.
        identity_realms: Option<Vec<IdentityRealm>>;
        /// Principals of a hosted directory. Not available: leave it disabled.
        principals: Principals;
    }
}

record! {
    /// A realm of a hosted control plane.
    pub struct IdentityRealm {
        /// Whether the realm is the control plane's own (`cp`) or one named by `id`.
        scope: String = "cp", [one_of(&["cp", "realm"])];
        /// Id of the realm.
        id: Option<String>;
        /// Region of the realm.
        region: Option<String>;
    }
}

/// The room, ready to run.
pub struct KeyAuth(Gatekeeper<Keys>);

impl Plugin for KeyAuth {
    const NAME: &'static str = "key-auth";
    const PRIORITY: i64 = 1250;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const PROTOCOLS: &'static [&'static str] = &["grpc", "grpcs", "http", "https", "ws", "wss"];
    const DOC: &'static str = include_str!("doc.md");
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn entities() -> Vec<EntitySchema> {
        vec![credentials::KeyAuthCredential::entity_schema()]
    }

    fn credentials(config: &Config, places: &mut Places) {
        config.fields.declare(places);
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        if config.identity_realms.is_some_and(|realms| !realms.is_empty()) {
            let message = "realms of a hosted control plane are not available; remove the field";
            return Err(BuildError::new("config.identity_realms", message));
        }
        config.principals.refuse()?;
        Ok(Self(Gatekeeper::new(config.fields, Self::NAME, cx.shared(Keys::new)?, cx)?))
    }
}

impl Phases for KeyAuth {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        self.0.decide(cx)
    }
}
