#![doc = include_str!("doc.md")]

mod introspected;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::AHashMap;
use plugin::claims::WantedClaims;
use plugin::clock::Clock;
use plugin::confidential::Places;
use plugin::identity::{Anonymous, Caller, OwnFields};
use plugin::model::entity::Consumer;
use plugin::model::{Map, path, schema};
use plugin::outbound::{Call, Client, Settings, Url};
use plugin::remember::{self, Digest, KeyParts, Learned, Memory, Outcome};
use plugin::{
    Access, Build, BuildError, Exchange, Flow, Headers, Method, Phase, Phases, Plugin, Resume, Scopes, record,
};

use introspected::{Introspected, Known, header_name_of};
use tokens::Found;

#[cfg(test)]
mod tests;

record! {
    /// Asks an authorization server about the tokens of callers (RFC 7662).
    pub struct Config {
        /// The URL of the introspection endpoint.
        introspection_url: String;
        /// Value of the `Authorization` header by which the gateway proves itself there, such as `Basic ...`.
        authorization_value: String, [referenceable(), encrypted()];
        /// What the authorization server is told about the kind of the token, `access_token` for instance.
        token_type_hint: Option<String>;
        /// Seconds for which the word of the authorization server about an active token holds, though never beyond the end
        /// of the token. With 0 it is asked about every request.
        ttl: f64 = 30, [between(0, 86400)];
        /// Seconds for which its word about a token that is not active holds.
        negative_ttl: f64 = 5, [between(0, 86400), extension()];
        /// Seconds by which the clock of the authorization server may differ from the gateway's: a token that it calls active is
        /// good for so long after its `exp`.
        leeway: f64 = 0, [between(0, 86_400), extension()];
        /// Milliseconds until there must be an answer.
        timeout: i64 = 10000, [between(1, 600000)];
        /// Milliseconds after which an idle connection is not used again.
        keepalive: i64 = 60000, [between(0, 3600000)];
        /// Whether the token is taken out of the request before it goes upstream.
        hide_credentials: bool = true;
        /// Whether `OPTIONS` requests need a token too. Browsers send none with a CORS preflight.
        run_on_preflight: bool = true;
        /// Id or username of a consumer that stands for callers without a valid token. Without it they are refused.
        anonymous: String = "";
        /// How the consumer is found: the one whose username is the token's `username`, or the one whose `custom_id` is its
        /// `client_id`.
        consumer_by: String = "username", [one_of(&["username", "client_id"])];
        /// Whether the authorization server is told path and method of the request, in `X-Request-Path` and
        /// `X-Request-Http-Method`. Its word then holds for that path and method only.
        introspect_request: bool = false;
        /// Further headers for the authorization server.
        custom_introspection_headers: Map<String> = {}, [encrypted(), keys(header_name()), values(referenceable())];
        /// Members of its answer that the upstream gets as `X-Credential-` and their name, beside the usual ones.
        custom_claims_forward: Vec<String> = [], [each(custom_value(claim))];
    }
}

fn claim(value: &schema::Value) -> Result<(), String> {
    let name = value.as_str().unwrap_or_default();
    match Headers::new().set(&header_name_of(name), b"1") {
        true => Ok(()),
        false => Err(format!("'{name}' cannot be the end of a header's name")),
    }
}

/// The room, ready to run.
pub struct Oauth2Introspection(Arc<Room>);

struct Room {
    /// Which making of the room this is.
    edition: u64,
    clock: Clock,
    client: Arc<Client>,
    url: Url,
    call: Call,
    /// Begins the body of each question.
    form: Vec<u8>,
    /// What all keys begin with: another configuration, other answers.
    begin: KeyParts,
    tells_request: bool,
    known: Arc<Memory<Introspected>>,
    ttl: Duration,
    negative_ttl: Duration,
    leeway_ms: u64,
    hide: bool,
    run_on_preflight: bool,
    anonymous: Anonymous,
    by: By,
    consumers: Arc<Consumers>,
    forwarded: Box<[String]>,
    tells: OwnFields,
    wanted: Arc<WantedClaims>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Username,
    ClientId,
}

/// Consumers by what tokens say of them.
struct Consumers {
    by_username: AHashMap<String, Arc<Consumer>>,
    by_custom_id: AHashMap<String, Arc<Consumer>>,
}

impl Consumers {
    fn new(cx: &Build<'_>) -> Self {
        let all = || cx.config.consumers.iter();
        let named = |name: &Option<String>, one: &Arc<Consumer>| Some((name.clone()?, one.clone()));
        Self {
            by_username: all().filter_map(|one| named(&one.username, one)).collect(),
            by_custom_id: all().filter_map(|one| named(&one.custom_id, one)).collect(),
        }
    }
}

impl Plugin for Oauth2Introspection {
    const NAME: &'static str = "oauth2-introspection";
    const PRIORITY: i64 = 1700;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const DOC: &'static str = include_str!("doc.md");
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn credentials(_config: &Config, places: &mut Places) {
        places.argument(tokens::ARGUMENT);
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        static EDITIONS: AtomicU64 = AtomicU64::new(1);
        let milliseconds = |field: i64| Duration::from_millis(u64::try_from(field).unwrap_or(0));
        let timeout = milliseconds(config.timeout);
        let longest_idle = milliseconds(config.keepalive);
        let bounds = Settings { connect_timeout: timeout, timeout, longest_idle, ..Settings::default() };
        let client = Client::open(cx.services, bounds);
        let url = client.url(cx.services, &config.introspection_url);
        let url = url.map_err(|wrong| BuildError::new("config.introspection_url", wrong))?;
        let mut begin = KeyParts::default();
        begin.add(cx.row.config.to_string().as_bytes());
        Ok(Self(Arc::new(Room {
            edition: EDITIONS.fetch_add(1, Ordering::Relaxed),
            clock: cx.services.clock.clone(),
            client,
            url,
            call: call(&config)?,
            form: form(&config),
            begin,
            tells_request: config.introspect_request,
            known: Memory::open(cx.services, Self::NAME, &remember::Settings::default()),
            ttl: Duration::from_secs_f64(config.ttl),
            leeway_ms: (config.leeway * 1000.0) as u64,
            negative_ttl: Duration::from_secs_f64(config.negative_ttl),
            hide: config.hide_credentials,
            run_on_preflight: config.run_on_preflight,
            anonymous: Anonymous::resolve(Some(&config.anonymous), cx),
            by: if config.consumer_by == "username" { By::Username } else { By::ClientId },
            consumers: cx.shared(|cx| Ok(Consumers::new(cx)))?,
            tells: introspected::told(&config.custom_claims_forward),
            forwarded: config.custom_claims_forward.into(),
            wanted: cx.wanted_claims()?,
        })))
    }
}

/// The question without a token.
fn call(config: &Config) -> Result<Call, BuildError> {
    let mut call = Call::post("application/x-www-form-urlencoded", "").with("Accept", b"application/json");
    if !call.headers.set("Authorization", config.authorization_value.as_bytes()) {
        return Err(BuildError::new("config.authorization_value", "is no value of a header field"));
    }
    for (name, value) in config.custom_introspection_headers.iter() {
        if !call.headers.set(name, value.as_bytes()) {
            let field = format!("config.custom_introspection_headers.{name}");
            return Err(BuildError::new(field, "is no value of a header field"));
        }
    }
    Ok(call)
}

fn form(config: &Config) -> Vec<u8> {
    let mut form = Vec::new();
    if let Some(hint) = &config.token_type_hint {
        form.extend_from_slice(b"token_type_hint=");
        tokens::encode(hint.as_bytes(), &mut form);
        form.push(b'&');
    }
    form.extend_from_slice(b"token=");
    form
}

impl Phases for Oauth2Introspection {
    fn tells(&self) -> Option<&OwnFields> {
        Some(&self.0.tells)
    }

    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let room = &self.0;
        if !room.run_on_preflight && cx.request.method == Method::Options {
            return Flow::Next;
        }
        if room.anonymous.steps_back(cx) {
            return Flow::Next;
        }
        let token = match tokens::find(cx) {
            Found::Token(token) => token,
            Found::PerhapsInBody => return Flow::ReadBody,
            Found::Nothing => return room.refuse(cx, Refusal::Missing),
            Found::Several => return room.refuse(cx, Refusal::Invalid),
        };
        let key = room.key(cx, &token);
        if let Some(outcome) = room.known.look(&key) {
            return room.act(cx, &outcome);
        }
        let (room, call) = (room.clone(), room.question(cx, &token));
        Flow::wait(async move {
            let asking = room.clone();
            let outcome = room.known.fetch(key, async move { asking.ask(call).await }).await;
            let resume: Resume = Box::new(move |cx| room.act(cx, &outcome));
            resume
        })
    }
}

/// Why a caller is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Missing,
    Invalid,
}

impl Room {
    fn key(&self, exchange: &Exchange, token: &[u8]) -> Digest {
        let mut key = self.begin.clone();
        key.add(token);
        if self.tells_request {
            key.add(exchange.request.method.as_str().as_bytes());
            key.add(&exchange.normalized_path);
        }
        key.digest()
    }

    fn question(&self, exchange: &Exchange, token: &[u8]) -> Call {
        let (mut call, mut body) = (self.call.clone(), self.form.clone());
        tokens::encode(token, &mut body);
        call.body = body.into();
        if self.tells_request {
            let mut scratch = Vec::new();
            let path = path::escape(&exchange.normalized_path, &mut scratch);
            call.headers.set("X-Request-Path", path);
            call.headers.set("X-Request-Http-Method", exchange.request.method.as_str().as_bytes());
        }
        call
    }

    async fn ask(&self, call: Call) -> Result<Learned<Introspected>, String> {
        let answer = self.client.send(&self.url, &call).await;
        let answer = answer.map_err(|fault| format!("{}: {fault}", self.url.told()))?;
        match answer.status {
            200 => {}
            401 | 403 => {
                return Err(format!("{}: it does not accept config.authorization_value", self.url.told()));
            }
            status => return Err(format!("{}: it answers with {status}", self.url.told())),
        }
        let introspected = Introspected::read(&answer.body, &call.body, &self.forwarded);
        let introspected = introspected.map_err(|wrong| format!("{}: {wrong}", self.url.told()))?;
        // It is held as it came, and in headers.
        let (size, until_ms) = (answer.body.len() * 3, introspected.until_ms());
        Ok(match introspected.holds_at(self.clock.now_ms().saturating_sub(self.leeway_ms)) {
            Some(_) => Learned::new(introspected, self.ttl).until(until_ms.saturating_add(self.leeway_ms)),
            None => Learned::new(introspected, self.negative_ttl),
        }
        .holding(size))
    }

    fn act(&self, cx: &mut Access<'_>, outcome: &Outcome<Introspected>) -> Flow {
        let Ok(introspected) = outcome else {
            // Nobody is taken for somebody else because the server is down.
            return cx.answer(503).message("The authorization server does not answer");
        };
        if self.hide {
            tokens::hide(cx);
        }
        match introspected.holds_at(self.clock.now_ms().saturating_sub(self.leeway_ms)) {
            Some(known) => {
                self.admit(cx, known);
                Flow::Next
            }
            None => self.refuse(cx, Refusal::Invalid),
        }
    }

    fn admit(&self, cx: &mut Access<'_>, known: &Known) {
        let resolved = known.resolved(self.edition, || {
            let caller = Caller::authenticated(self.consumer(known), known.credential.clone());
            (caller, self.wanted.read(&known.json))
        });
        cx.authenticate(resolved.caller.clone());
        if let Some(claims) = &resolved.claims {
            cx.vouch_for_claims(claims.clone());
        }
        cx.headers().append_all(&known.headers);
    }

    fn consumer(&self, known: &Known) -> Option<Arc<Consumer>> {
        let found = match self.by {
            By::Username => self.consumers.by_username.get(known.username.as_deref()?),
            By::ClientId => self.consumers.by_custom_id.get(known.client_id.as_deref()?),
        };
        found.cloned()
    }

    fn refuse(&self, cx: &mut Access<'_>, refusal: Refusal) -> Flow {
        self.anonymous.or_refuse(cx, |cx| {
            let (challenge, body): (&str, &str) = match refusal {
                Refusal::Missing => (
                    r#"Bearer realm="service""#,
                    r#"{"error_description":"The access token is missing","error":"invalid_request"}"#,
                ),
                Refusal::Invalid => (
                    r#"Bearer realm="service" error="invalid_token" error_description="The access token is invalid or has expired""#,
                    r#"{"error_description":"The access token is invalid or has expired","error":"invalid_token"}"#,
                ),
            };
            let answer = cx.answer(401).header("WWW-Authenticate", challenge.as_bytes());
            answer.bytes("application/json; charset=utf-8", body.as_bytes())
        })
    }
}
