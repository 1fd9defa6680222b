#![doc = include_str!("doc.md")]

mod body;
mod credentials;

use std::borrow::Cow;
use std::sync::Arc;

use plugin::identity::Anonymous;
use plugin::model::EntitySchema;
use plugin::model::entity::Entity;
use plugin::principals::Principals;
use plugin::{Access, Build, BuildError, Flow, Method, Phase, Phases, Plugin, Scopes, query, record};

use body::Form;
use credentials::Keys;

#[cfg(test)]
mod tests;

record! {
    /// Lets callers in who know a key.
    pub struct Config {
        /// Names under which a key is looked for: of a header, a query argument or a field of the body. The first name
        /// that has a value decides.
        key_names: Vec<String> = ["apikey"], [each(header_name()), len_min(1)];
        /// Whether the key is taken out of the request before it goes upstream.
        hide_credentials: bool = true;
        /// Id or username of a consumer that stands for callers without a valid key. Without it they are refused.
        anonymous: Option<String>;
        /// Whether headers are searched.
        key_in_header: bool = true;
        /// Whether the query is searched.
        key_in_query: bool = true;
        /// Whether form, multipart and JSON bodies are searched. They are then held in memory.
        key_in_body: bool = false;
        /// Whether `OPTIONS` requests need a key too. Browsers send none with a CORS preflight.
        run_on_preflight: bool = true;
        /// Protection space named in the `WWW-Authenticate` header of a refusal.
        realm: Option<String>, [matches(r#"^[^"\\[:cntrl:]]*$"#)];
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
pub struct KeyAuth {
    names: Vec<String>,
    in_header: bool,
    in_query: bool,
    in_body: bool,
    hide: bool,
    run_on_preflight: bool,
    challenge: String,
    anonymous: Anonymous,
    keys: Arc<Keys>,
}

/// Why a caller is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Missing,
    Duplicate,
    Unknown,
}

/// What a search came to: a key under one of the names, or a reason to refuse.
type Found<'a> = Result<(usize, Cow<'a, [u8]>), Refusal>;

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

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        if config.identity_realms.is_some_and(|realms| !realms.is_empty()) {
            let message = "realms of a hosted control plane are not available; remove the field";
            return Err(BuildError::new("config.identity_realms", message));
        }
        config.principals.refuse()?;
        if !(config.key_in_header || config.key_in_query || config.key_in_body) {
            let message = "no key could ever be found: enable key_in_header, key_in_query or key_in_body";
            return Err(BuildError::new("config.key_in_header", message));
        }
        Ok(Self {
            names: config.key_names,
            in_header: config.key_in_header,
            in_query: config.key_in_query,
            in_body: config.key_in_body,
            hide: config.hide_credentials,
            run_on_preflight: config.run_on_preflight,
            challenge: config
                .realm
                .map_or_else(|| "Key".to_owned(), |realm| format!("Key realm=\"{realm}\"")),
            anonymous: Anonymous::resolve(config.anonymous.as_deref(), cx),
            keys: cx.shared(Keys::new)?,
        })
    }
}

impl Phases for KeyAuth {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        if !self.run_on_preflight && cx.request.method == Method::Options {
            return Flow::Next;
        }
        if self.anonymous.steps_back(cx) {
            return Flow::Next;
        }
        let form = if self.in_body { Form::of(&cx.request.headers) } else { None };
        if form.is_some() && cx.body().is_none() {
            return Flow::ReadBody;
        }
        match self.authenticate(cx, form.as_ref()) {
            Ok(()) => Flow::Next,
            Err(refusal) => self.anonymous.or_refuse(cx, |cx| self.refuse(cx, refusal)),
        }
    }
}

impl KeyAuth {
    fn authenticate(&self, cx: &mut Access<'_>, form: Option<&Form>) -> Result<(), Refusal> {
        let (name, key) = self.find(cx, form)?;
        let known = self.keys.find(&key, cx.record.started_ms);
        // A wrong key is hidden as well: the anonymous consumer may still let the request pass.
        let caller = known.map(|known| known.caller.clone());
        if self.hide {
            self.hide(cx, &self.names[name], form);
        }
        cx.authenticate(caller.ok_or(Refusal::Unknown)?);
        Ok(())
    }

    /// The key under the first name that has one: in a header, else the query, else the body.
    fn find<'a>(&self, cx: &'a Access<'_>, form: Option<&Form>) -> Found<'a> {
        for (index, name) in self.names.iter().enumerate() {
            let mut key = None;
            if self.in_header {
                key = single(cx.request.headers.all(name).map(Cow::Borrowed))?;
            }
            if key.is_none() && self.in_query {
                key = single(query::values(cx.request.query().unwrap_or_default(), name))?;
            }
            if let (None, Some(form), Some(body)) = (&key, form, cx.body()) {
                key = form.find(body, name)?;
            }
            match key {
                None => {}
                Some(empty) if empty.is_empty() => return Err(Refusal::Missing),
                Some(key) => return Ok((index, key)),
            }
        }
        Err(Refusal::Missing)
    }

    /// Takes whatever stands under `name` out of all places that are searched.
    fn hide(&self, cx: &mut Access<'_>, name: &str, form: Option<&Form>) {
        cx.headers().remove(name);
        if let Some(rest) = query::without(&cx.upstream.query, name) {
            cx.set_upstream_query((!rest.is_empty()).then_some(&rest));
        }
        if let Some(rest) = form.and_then(|form| form.without(cx.body()?, name)) {
            cx.set_body(rest);
        }
    }

    fn refuse(&self, cx: &mut Access<'_>, refusal: Refusal) -> Flow {
        let message = match refusal {
            Refusal::Missing => "No API key found in request",
            Refusal::Duplicate => "Duplicate API key found",
            Refusal::Unknown => "Unauthorized",
        };
        cx.answer(401).header("WWW-Authenticate", self.challenge.as_bytes()).message(message)
    }
}

/// The only one of several values.
fn single<T>(mut values: impl Iterator<Item = T>) -> Result<Option<T>, Refusal> {
    let first = values.next();
    if values.next().is_some() { Err(Refusal::Duplicate) } else { Ok(first) }
}
