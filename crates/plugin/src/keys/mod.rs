//! Callers who know a key: the part that is the same for all rooms that let callers in by one, however keys are kept.
//!
//! A room takes in [`Fields`], says what a key stands for ([`Keys`]), and leaves requests to a [`Gatekeeper`].

mod body;

use std::borrow::Cow;
use std::sync::Arc;

use model::record;
use wire::Method;

use crate::authorization::challenge;
use crate::build::{Build, BuildError};
use crate::confidential::Places;
use crate::flow::Flow;
use crate::identity::{Anonymous, Caller};
use crate::lockout::{Counting, Guard, LockedOut, Outcome, Rules};
use crate::query;
use crate::views::Access;
use body::Form;

record! {
    /// How callers are known by a key.
    pub struct Fields {
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
        /// What happens to who sends one wrong key after the other.
        brute_force_protection: Protection, [extension()];
    }
}

record! {
    /// What happens to who sends one wrong key after the other.
    pub struct Protection {
        ..counting: Counting;
        /// Wrong keys from a client's address after which it has to wait.
        failures: i64 = 30, [between(1, 100_000), extension()];
        /// Seconds in which they count.
        window: i64 = 60, [between(1, 86400), extension()];
    }
}

impl Fields {
    /// Names where keys stand. One at a place that is not searched is as good as any other.
    pub fn declare(&self, places: &mut Places) {
        for name in &self.key_names {
            places.header(name);
            places.argument(name);
        }
    }
}

/// The keys of a configuration.
pub trait Keys: Send + Sync + 'static {
    /// Whom `key` belongs to, if it works at `now_ms`.
    fn find(&self, key: &[u8], now_ms: u64) -> Option<&Arc<Caller>>;
}

/// When a key stops working that does so `ttl` seconds after it was made, in milliseconds since 1970. Without a `ttl` it
/// works forever.
#[must_use]
pub fn expiry_ms(created_at: i64, ttl: Option<i64>) -> u64 {
    let Some(ttl) = ttl else { return u64::MAX };
    u64::try_from(created_at.saturating_add(ttl)).unwrap_or(0).saturating_mul(1000)
}

/// Decides by a key who gets in.
pub struct Gatekeeper<K>(Arc<Gate<K>>);

struct Gate<K> {
    names: Vec<String>,
    in_header: bool,
    in_query: bool,
    in_body: bool,
    hide: bool,
    run_on_preflight: bool,
    challenge: String,
    anonymous: Anonymous,
    guard: Option<Arc<Guard>>,
    keys: Arc<K>,
}

/// Why a caller is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Missing,
    Duplicate,
    Unknown,
    LockedOut(LockedOut),
}

/// What a search came to: a key under one of the names, or a reason to refuse.
type Found<'a> = Result<(usize, Cow<'a, [u8]>), Refusal>;

impl<K: Keys> Gatekeeper<K> {
    /// Makes ready what the fields of `plugin` say.
    ///
    /// # Errors
    /// That a key could be nowhere.
    pub fn new(fields: Fields, plugin: &str, keys: Arc<K>, cx: &Build<'_>) -> Result<Self, BuildError> {
        if !(fields.key_in_header || fields.key_in_query || fields.key_in_body) {
            let message = "no key could ever be found: enable key_in_header, key_in_query or key_in_body";
            return Err(BuildError::new("config.key_in_header", message));
        }
        let Protection { failures, window, counting } = &fields.brute_force_protection;
        let guard = counting.guard(cx, plugin, Rules::of(*failures, *window))?;
        Ok(Self(Arc::new(Gate {
            names: fields.key_names,
            in_header: fields.key_in_header,
            in_query: fields.key_in_query,
            in_body: fields.key_in_body,
            hide: fields.hide_credentials,
            run_on_preflight: fields.run_on_preflight,
            challenge: challenge("Key", fields.realm.as_deref()),
            anonymous: Anonymous::resolve(fields.anonymous.as_deref(), cx),
            guard,
            keys,
        })))
    }

    /// Lets the caller in or refuses it, in the phase `access`.
    pub fn decide(&self, cx: &mut Access<'_>) -> Flow {
        let gate = &self.0;
        if !gate.run_on_preflight && cx.request.method == Method::Options {
            return Flow::Next;
        }
        if gate.anonymous.steps_back(cx) {
            return Flow::Next;
        }
        let form = if gate.in_body { Form::of(&cx.request.headers) } else { None };
        if form.is_some() && cx.body().is_none() {
            return Flow::ReadBody;
        }
        gate.authenticate(cx, form.as_ref())
    }
}

impl<K: Keys> Gate<K> {
    fn authenticate(self: &Arc<Self>, cx: &mut Access<'_>, form: Option<&Form>) -> Flow {
        let (name, caller) = match self.find(cx, form) {
            Ok((name, key)) => (name, self.keys.find(&key, cx.record.started_ms).cloned()),
            Err(refusal) => return self.end(cx, Err(refusal)),
        };
        // A wrong key is hidden as well: the anonymous consumer may still let the request pass.
        if self.hide {
            self.hide(cx, &self.names[name], form);
        }
        let caller = caller.ok_or(Refusal::Unknown);
        let Some(guard) = &self.guard else { return self.end(cx, caller) };
        let gate = self.clone();
        // Every guess is of another key: only who guesses can be counted.
        let attempt = |guard: &Guard, cx: &Access<'_>| guard.attempt_of(cx.client.ip, cx.steady_ms());
        guard.settle(cx, attempt, Outcome::of(&caller), move |cx, said| {
            gate.end(cx, said.map_err(Refusal::LockedOut).and(caller))
        })
    }

    fn end(&self, cx: &mut Access<'_>, outcome: Result<Arc<Caller>, Refusal>) -> Flow {
        self.anonymous.admit(cx, outcome, |cx, refusal| self.refuse(cx, refusal))
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
            Refusal::LockedOut(locked_out) => return locked_out.answer(cx),
        };
        cx.answer(401).header("WWW-Authenticate", self.challenge.as_bytes()).message(message)
    }
}

/// The only one of several values.
fn single<T>(mut values: impl Iterator<Item = T>) -> Result<Option<T>, Refusal> {
    let first = values.next();
    if values.next().is_some() { Err(Refusal::Duplicate) } else { Ok(first) }
}
