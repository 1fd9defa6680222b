#![doc = include_str!("doc.md")]

mod archive;
mod config;
mod data;
mod logout;

use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;
use plugin::claims::WantedClaims;
use plugin::confidential::Places;
use plugin::groups::KnownGroups;
use plugin::identity::{Caller, Credential, OwnFields};
use plugin::lru::Lru;
use plugin::model::entity::Consumer;
use plugin::web_session::local::Local;
use plugin::web_session::{Opened, Property, Sessions, Storage, cookie};
use plugin::{
    Access, Build, BuildError, Flow, HeaderFilter, Headers, Phase, Phases, Plugin, Resume, Scopes, Source,
    embedded,
};
use serde_json::json;
use uuid::Uuid;

use config::Config;
use data::Data;
use logout::Logout;

#[cfg(test)]
mod tests;

/// Callers made ready per worker.
const MOST_CALLERS: usize = 4096;
/// What a client is told whose logout may not outlive the process.
const UNWRITTEN: &str = "The end of the session could not be written";
/// Under which name the sessions of the process are kept.
const STORE: &str = "web sessions";
/// The file of their database, beside that of usage.
const FILE: &str = "sessions.db";

/// The room, ready to run.
pub struct Session {
    sessions: Sessions,
    logout: Logout,
    hides: bool,
    request_properties: Vec<Property>,
    tells: OwnFields,
    response_properties: Vec<Property>,
    consumers: Arc<Consumers>,
    consumer_groups: KnownGroups,
    wanted: Arc<WantedClaims>,
    /// By worker: nobody else takes the lock.
    callers: Box<[Mutex<Callers>]>,
}

/// Callers by consumer and credential.
type Callers = Lru<(Uuid, Uuid), Caller>;

/// All consumers of a snapshot.
struct Consumers(AHashMap<Uuid, Arc<Consumer>>);

/// What `access` found, for `header_filter`.
enum Found {
    /// A session, and whose it is.
    Session(Opened, Data),
    /// A session of somebody who is no consumer any more.
    Orphan(Opened),
}

impl Plugin for Session {
    const NAME: &'static str = "session";
    const PRIORITY: i64 = 1900;
    const RUNS: &'static [Phase] = &[Phase::Access, Phase::HeaderFilter];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const DOC: &'static str = include_str!("doc.md");
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn credentials(config: &Config, places: &mut Places) {
        for name in [&config.cookie_name, &config.remember_cookie_name] {
            cookie::names(name).for_each(|name| places.cookie(&name));
        }
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let properties = |names: &Option<Vec<String>>| -> Vec<Property> {
            names.iter().flatten().filter_map(|name| Property::named(name)).collect()
        };
        let request_properties = properties(&config.request_headers);
        Ok(Self {
            sessions: Sessions::new(&config.settings(storage(&config, cx)?), "config.", cx)?,
            tells: OwnFields::new(request_properties.iter().map(|property| property.field())),
            hides: config.hide_credentials,
            request_properties,
            response_properties: properties(&config.response_headers),
            logout: Logout::new(&config),
            consumers: cx.shared(|cx| {
                let consumers = cx.config.consumers.iter();
                Ok(Consumers(consumers.map(|consumer| (consumer.id, consumer.clone())).collect()))
            })?,
            consumer_groups: KnownGroups::new(cx),
            wanted: cx.wanted_claims()?,
            callers: (0..cx.services.workers).map(|_| Mutex::default()).collect(),
        })
    }
}

/// Where sessions are: with `kong`, in a database beside that of usage, or in memory alone where there is none.
fn storage(config: &Config, cx: &Build<'_>) -> Result<Storage, BuildError> {
    if config.storage != "kong" {
        return Ok(Storage::Cookie);
    }
    let file =
        embedded::file(cx.services, FILE).filter(|file| !cx.services.dry_run && !embedded::is_memory(file));
    if let Some(known) = cx.services.kept::<Local>(STORE) {
        return Ok(Storage::Local(known));
    }
    let opened = file.map_or_else(|| Ok(Local::default()), |file| archive::open(&file, &cx.services.clock));
    let opened = opened
        .map_err(|error| BuildError::new("config.storage", format!("sessions cannot be kept: {error}")))?;
    let local = cx.services.keep(STORE, || opened);
    cx.services.finish_at_end(&local);
    Ok(Storage::Local(local))
}

impl Phases for Session {
    fn tells(&self) -> Option<&OwnFields> {
        Some(&self.tells)
    }

    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let opened = self.sessions.open(cx);
        if opened.is_some() && self.logout.needs_body(cx) {
            return Flow::ReadBody;
        }
        if self.hides {
            self.sessions.hide(cx.headers());
        }
        let Some(opened) = opened else { return Flow::Next };
        if self.logout.is_wanted(cx) {
            return self.log_out(cx, &opened);
        }
        let Some(data) = self.restore(cx, opened.data()) else {
            cx.remember(Some(Found::Orphan(opened)));
            return Flow::Next;
        };
        let now = cx.record.started_ms / 1000;
        self.sessions.tell(&opened, &self.request_properties, now, cx.headers());
        cx.remember(Some(Found::Session(opened, data)));
        Flow::Next
    }

    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        let found = cx.state::<Option<Found>>().and_then(Option::take);
        let Some(data) = Data::of(cx, &self.wanted) else {
            if let Some(Found::Orphan(opened)) = &found {
                let mut withdrawn = Headers::new();
                let _written_later = self.sessions.end(opened, cx, &mut withdrawn);
                withdrawn.iter().for_each(|(name, value)| {
                    cx.headers().append(name, value);
                });
            }
            return;
        };
        let opened = match found {
            Some(Found::Session(opened, before)) if before == data => Some(opened),
            Some(Found::Session(other, _) | Found::Orphan(other)) => {
                let _written_later = self.sessions.discard(&other, cx);
                self.begin(cx, &data)
            }
            None => self.begin(cx, &data),
        };
        let Some(opened) = opened else { return };
        match self.sessions.save(&opened, cx) {
            Ok(()) => {
                let now = cx.record.started_ms / 1000;
                self.sessions.tell(&opened, &self.response_properties, now, cx.headers());
            }
            Err(error) => tracing::debug!(error, "a session is not kept"),
        }
    }
}

impl Session {
    /// Ends a session, and answers once it cannot come back.
    fn log_out(&self, cx: &mut Access<'_>, opened: &Opened) -> Flow {
        let mut withdrawn = Headers::new();
        let forgotten = self.sessions.end(opened, cx, &mut withdrawn);
        if forgotten.is_settled() {
            return cx.answer(200).headers(&withdrawn).empty();
        }
        Flow::wait(async move {
            let is_written = forgotten.settle().await;
            let resume: Resume = Box::new(move |cx| match is_written {
                true => cx.answer(200).headers(&withdrawn).empty(),
                // It comes back when the gateway is started anew.
                false => cx.answer(500).headers(&withdrawn).json(&json!({"message": UNWRITTEN})),
            });
            resume
        })
    }

    /// The request is that of whomever the session is about, with all that was found out about them. None if that is nobody, or
    /// if a claim is wanted now that nobody looked at when the session began: a rule on it would not hold.
    fn restore(&self, cx: &mut Access<'_>, session: &[u8]) -> Option<Data> {
        let data = Data::read(session)?;
        let claims = self.wanted.recall(&data.claims).ok()?;
        cx.authenticate(self.caller(cx.worker.index, &data)?);
        if !data.groups.is_empty() {
            cx.vouch_for_groups(data.groups.clone().into());
        }
        if !data.consumer_groups.is_empty() {
            let names = data.consumer_groups.iter().map(|name| &**name);
            cx.vouch_for_consumer_groups(Arc::new(self.consumer_groups.named(names)));
        }
        if let Some(claims) = claims {
            cx.vouch_for_claims(claims);
        }
        Some(data)
    }

    /// Whom the session says that its request comes from; none if that is no consumer.
    fn caller(&self, worker: usize, data: &Data) -> Option<Arc<Caller>> {
        let key = (Uuid::from_bytes(data.consumer), Uuid::from_bytes(data.credential));
        let mut callers = self.callers.get(worker)?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(caller) = callers.find(&key) {
            return Some(caller);
        }
        let consumer = self.consumers.0.get(&key.0)?.clone();
        let caller = Caller::authenticated(Some(consumer), Credential::of(key.1));
        callers.put(key, caller.clone(), 1, MOST_CALLERS);
        Some(caller)
    }

    /// A session for whoever other plugins have let in. Who is refused, by whichever plugin, gets none.
    fn begin(&self, cx: &HeaderFilter<'_>, data: &Data) -> Option<Opened> {
        if cx.source == Source::Gateway && cx.response.status >= 400 {
            return None;
        }
        let consumer = cx.identity.consumer()?;
        let id = consumer.id.to_string();
        let subject = consumer.username.as_deref().or(consumer.custom_id.as_deref()).unwrap_or(&id);
        self.sessions.begin(cx, subject, serde_json::to_vec(data).ok()?)
    }
}
