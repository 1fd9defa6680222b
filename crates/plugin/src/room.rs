//! What a plugin declares about itself, and the erased form the gateway works with.

use std::marker::PhantomData;
use std::sync::Arc;

use model::schema::{Record, RecordSchema};
use model::{EntitySchema, PluginRow, PluginSchema};

pub use model::Scopes;

use crate::admin::Endpoint;
use crate::build::{Build, BuildError};
use crate::confidential::Places;
use crate::flow::Flow;
use crate::identity::OwnFields;
use crate::sessions::{Admission, Session, SessionRecord};
use crate::views::{Access, BodyFilter, HeaderFilter, Log, Rewrite};

/// The phases of a request, in order, and those of a session on layer 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Before routing; only globally configured instances run.
    Rewrite,
    /// After routing, before the upstream; may answer or wait.
    Access,
    /// The response head is known, whoever made it.
    HeaderFilter,
    /// The response body passes.
    BodyFilter,
    /// The response is finished, or given up.
    Log,
    /// A session on layer 4 is about to begin: its route is known, and nothing has been sent to anybody.
    Session,
    /// A session on layer 4 has ended.
    SessionLog,
}

impl Phase {
    /// The phases of a request.
    pub const OF_REQUESTS: [Self; 5] =
        [Self::Rewrite, Self::Access, Self::HeaderFilter, Self::BodyFilter, Self::Log];
}

/// What a room does. Only the phases named in [`Plugin::RUNS`] are called.
pub trait Phases: Send + Sync + 'static {
    /// Before routing.
    fn rewrite(&self, _cx: &mut Rewrite<'_>) {}
    /// Decide about the request.
    fn access(&self, _cx: &mut Access<'_>) -> Flow {
        Flow::Next
    }
    /// Change the response head.
    fn header_filter(&self, _cx: &mut HeaderFilter<'_>) {}
    /// Watch or replace the response body (see [`BodyMode`](crate::BodyMode)).
    fn body_filter(&self, _cx: &mut BodyFilter<'_>) {}
    /// Report what happened. Must not block.
    fn log(&self, _cx: &Log<'_>) {}
    /// The fields of its own by which a room that authenticates tells the upstream more of the caller. What clients send in
    /// them is gone before it looks, whatever it does then.
    fn tells(&self) -> Option<&OwnFields> {
        None
    }
    /// Decide about a session on layer 4, at once.
    fn admit(&self, _session: &Session) -> Admission {
        Admission::Pass
    }
    /// Report what a session on layer 4 was. Must not block.
    fn log_session(&self, _session: &Session, _record: &SessionRecord<'_>) {}
}

/// What a room is: its facts, its configuration, and how to make it ready to run.
pub trait Plugin: Phases + Sized {
    /// Kong's name of the plugin.
    const NAME: &'static str;
    /// Execution priority, higher first (kong.md 1.10).
    const PRIORITY: i64;
    /// The phases it takes part in.
    const RUNS: &'static [Phase];
    /// What it may be attached to besides the whole gateway.
    const SCOPES: Scopes;
    /// Protocols it runs on, unless the configuration names some of them.
    const PROTOCOLS: &'static [&'static str] = &["grpc", "grpcs", "http", "https"];
    /// Protocols of layer 4 that it runs on where the configuration names them.
    const STREAMS: &'static [&'static str] = &[];
    /// The user's page, in Markdown: `include_str!("doc.md")`.
    const DOC: &'static str;
    /// Endpoints it adds to the Admin API.
    const ENDPOINTS: &'static [Endpoint] = &[];
    /// Whether it finds out who is calling. What clients claim about that is then gone before it looks, whatever comes of
    /// that look (kong.md 3.4); a room that calls [`Access::authenticate`] has to say so.
    const AUTHENTICATES: bool = false;

    /// The configuration as written.
    type Config: Record;

    /// Entities it owns, credentials for instance.
    #[must_use]
    fn entities() -> Vec<EntitySchema> {
        Vec::new()
    }

    /// Whether clients are asked for a certificate: in handshakes for the `snis` of the instance's route, or in every
    /// handshake where it has no such route. What they show is in [`Tls`](crate::exchange::Tls).
    #[must_use]
    fn asks_for_certificate(_config: &Self::Config) -> bool {
        false
    }

    /// The ids of the `ca_certificates` whose names clients are told in these handshakes, so that they can choose what to
    /// show. Where nobody names any, clients are told the names of those that the operator's settings believe.
    #[must_use]
    fn tells_authorities(_config: &Self::Config) -> &[String] {
        &[]
    }

    /// Names the places in which requests and responses carry credentials because of this configuration, tokens that it
    /// adds among them. Logs leave these out.
    fn credentials(_config: &Self::Config, _places: &mut Places) {}

    /// Names the places in which requests and responses carry what is a secret because it was written as a reference, which
    /// `written` has where `config` has the secret. Logs leave these out, too.
    fn secrets(_config: &Self::Config, _written: &Self::Config, _places: &mut Places) {}

    /// Makes the room ready to run; all checking beyond the schema ends here.
    ///
    /// # Errors
    /// What is wrong with the configuration, by field.
    fn build(config: Self::Config, cx: &Build<'_>) -> Result<Self, BuildError>;
}

/// The erased form of a [`Plugin`], as the rest of the gateway sees it.
pub trait Definition: Send + Sync {
    /// See [`Plugin::NAME`].
    fn name(&self) -> &'static str;
    /// See [`Plugin::PRIORITY`].
    fn priority(&self) -> i64;
    /// See [`Plugin::RUNS`].
    fn runs(&self) -> &'static [Phase];
    /// See [`Plugin::DOC`].
    fn doc(&self) -> &'static str;
    /// See [`Plugin::ENDPOINTS`].
    fn endpoints(&self) -> &'static [Endpoint];
    /// See [`Plugin::AUTHENTICATES`].
    fn authenticates(&self) -> bool;
    /// The schema of its configuration, with scopes and protocols.
    fn schema(&self) -> PluginSchema;
    /// See [`Plugin::entities`].
    fn entities(&self) -> Vec<EntitySchema>;
    /// See [`Plugin::asks_for_certificate`].
    fn asks_for_certificate(&self, row: &PluginRow) -> bool;
    /// See [`Plugin::tells_authorities`].
    fn tells_authorities(&self, row: &PluginRow) -> Vec<String>;
    /// Builds an instance from a row of the configuration.
    ///
    /// # Errors
    /// What is wrong with the configuration, by field.
    fn build(&self, row: &PluginRow, cx: &Build<'_>) -> Result<Arc<dyn Phases>, BuildError>;
}

struct Entry<P>(PhantomData<fn() -> P>);

/// A room that finds out who is calling, behind what clients claim about that.
struct Authenticating<P>(P);

impl<P: Phases> Phases for Authenticating<P> {
    fn rewrite(&self, cx: &mut Rewrite<'_>) {
        self.0.rewrite(cx);
    }

    fn access(&self, cx: &mut Access<'_>) -> Flow {
        cx.disbelieve(self.0.tells());
        self.0.access(cx)
    }

    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        self.0.header_filter(cx);
    }

    fn body_filter(&self, cx: &mut BodyFilter<'_>) {
        self.0.body_filter(cx);
    }

    fn log(&self, cx: &Log<'_>) {
        self.0.log(cx);
    }
}

/// The list entry of a plugin.
#[must_use]
pub const fn room<P: Plugin>() -> &'static dyn Definition {
    const { &Entry::<P>(PhantomData) }
}

impl<P: Plugin> Definition for Entry<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn priority(&self) -> i64 {
        P::PRIORITY
    }

    fn runs(&self) -> &'static [Phase] {
        P::RUNS
    }

    fn doc(&self) -> &'static str {
        P::DOC
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        P::ENDPOINTS
    }

    fn authenticates(&self) -> bool {
        P::AUTHENTICATES
    }

    fn schema(&self) -> PluginSchema {
        let config: RecordSchema = P::Config::schema();
        PluginSchema {
            name: P::NAME,
            priority: P::PRIORITY,
            config,
            scopes: P::SCOPES,
            protocols: P::PROTOCOLS,
            streams: P::STREAMS,
        }
    }

    fn entities(&self) -> Vec<EntitySchema> {
        P::entities()
    }

    fn asks_for_certificate(&self, row: &PluginRow) -> bool {
        // A configuration that cannot be read is reported when the instance is built.
        P::Config::from_value(&row.config).is_ok_and(|config| P::asks_for_certificate(&config))
    }

    fn tells_authorities(&self, row: &PluginRow) -> Vec<String> {
        let config = P::Config::from_value(&row.config);
        config.map_or_else(|_| Vec::new(), |config| P::tells_authorities(&config).to_vec())
    }

    fn build(&self, row: &PluginRow, cx: &Build<'_>) -> Result<Arc<dyn Phases>, BuildError> {
        let config = P::Config::from_value(&row.config)
            .map_err(|problem| BuildError::new("config", problem.to_string()))?;
        let shown = row.has_secrets.then(|| cx.config.entity("plugins", row.id)).flatten();
        let written = shown.and_then(|entity| P::Config::from_value(entity.value.get("config")?).ok());
        cx.confidential().declare(|places| {
            P::credentials(&config, places);
            written.iter().for_each(|written| P::secrets(&config, written, places));
        });
        let room = P::build(config, cx)?;
        Ok(if P::AUTHENTICATES { Arc::new(Authenticating(room)) } else { Arc::new(room) })
    }
}
