#![doc = include_str!("doc.md")]

mod admission;
mod backchannel;
mod beside;
mod claims;
mod client;
mod clients;
mod confidential;
mod config;
mod credentials;
mod distributed;
mod exchange;
mod granted;
mod http;
mod id_token;
mod introspection;
mod judging;
mod login;
mod logout;
mod marks;
mod methods;
mod of_client;
mod once;
mod parameters;
mod pool;
mod possession;
mod proofs;
mod provenance;
mod provider;
mod question;
mod refusal;
mod revocation;
mod session;
mod session_told;
mod shared_marks;
mod sources;
mod token_exchange;
mod told;
mod user_info;
mod verify;

use std::sync::Arc;

use plugin::confidential::Places as ConfidentialPlaces;
use plugin::identity::{Anonymous, OwnFields};
use plugin::lockout::Guard;
use plugin::model::Record;
use plugin::web_session::Opened;
use plugin::{Access, Build, BuildError, Flow, HeaderFilter, Method, Phase, Phases, Plugin, Scopes};

use admission::{Admission, Rules};
use beside::{BesideSource, Companion};
use clients::Clients;
pub use config::Config;
use config::Places;
use credentials::Credentials;
use exchange::TokenEndpoint;
use http::Http;
use introspection::Introspection;
use login::{Action, Arrival, Login};
use logout::Logout;
use methods::Methods;
use parameters::Parameters;
use possession::Possession;
use provider::Provider;
use refusal::{Refusal, Telling};
use session::{Ending, PeopleSessions};
use sources::{Search, Sources};
use token_exchange::TokenExchange;
use user_info::UserInfo;
use verify::{Outcome, Verification};

#[cfg(test)]
mod tests;

/// Methods by which callers bring a token.
const BROUGHT: [&str; 3] = ["bearer", "introspection", "userinfo"];

/// The room. See the module documentation.
pub struct OpenidConnect(Clients);

/// What the parts of the room are made with.
struct Setup<'a> {
    config: &'a Config,
    http: &'a Arc<Http>,
    /// The same, but the gateway shows its certificate.
    shown: Option<&'a Arc<Http>>,
    provider: &'a Provider,
    places: &'a Places,
    /// Which of the clients.
    number: usize,
    cx: &'a Build<'a>,
}

impl Setup<'_> {
    /// What tells the settings in the fields of `R`, with this client of this provider and the way to it, from all others.
    fn fingerprint<R: Record>(&self) -> String {
        let (fields, asked) = (self.cx.fingerprint::<R>(), self.cx.fingerprint::<config::Provider>());
        format!("{} {} {fields:?} {asked:?}", self.config.provider.issuer, self.number)
    }
}

/// The room for one client of the provider.
struct Inner {
    /// Which of the clients.
    number: usize,
    client: Option<String>,
    run_on_preflight: bool,
    hides: bool,
    tells: OwnFields,
    anonymous: Anonymous,
    sources: Sources,
    beside: Option<BesideSource>,
    parameters: Option<Parameters>,
    possession: Possession,
    /// Whether more becomes of a token that is good than that its request goes on.
    looks_at_tokens: bool,
    telling: Telling,
    verification: Verification,
    introspection: Option<Arc<Introspection>>,
    user_info: Option<Arc<UserInfo>>,
    judges_by_user_info: bool,
    tokens: TokenEndpoint,
    token_exchange: Option<TokenExchange>,
    credentials: Option<Credentials>,
    guard: Option<Arc<Guard>>,
    login: Option<Login>,
    action: Action,
    sessions: Option<PeopleSessions>,
    logout: Option<Logout>,
}

impl Plugin for OpenidConnect {
    const NAME: &'static str = "openid-connect";
    const PRIORITY: i64 = 1050;
    const RUNS: &'static [Phase] = &[Phase::Access, Phase::HeaderFilter];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const DOC: &'static str = include_str!("doc.md");
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn asks_for_certificate(config: &Config) -> bool {
        let possession = &config.possession;
        possession.proof_of_possession_mtls != "off"
            && possession.proof_of_possession_mtls_from_header.is_none()
    }

    fn credentials(config: &Config, places: &mut ConfidentialPlaces) {
        confidential::declare(config, places);
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        Clients::new(&config, cx).map(Self)
    }
}

impl Phases for OpenidConnect {
    fn tells(&self) -> Option<&OwnFields> {
        Some(&self.0.numbered(0).tells)
    }

    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let Some(inner) = self.0.of(cx) else { return Flow::ReadBody };
        if !inner.run_on_preflight && cx.request.method == Method::Options {
            return Flow::Next;
        }
        if inner.anonymous.steps_back(cx) {
            return Flow::Next;
        }
        inner.fits_provider(cx).unwrap_or_else(|| inner.admit(cx))
    }

    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        if let Some(ending) = write_cookies(cx)
            && let Some(sessions) = &self.0.numbered(ending.client).sessions
        {
            sessions.finish(cx, &ending);
        }
    }
}

impl Inner {
    fn new(config: &Config, number: usize, cx: &Build<'_>) -> Result<Self, BuildError> {
        let methods = Methods::new(config)?;
        let http = Arc::new(Http::new(&config.provider, None, config.provider.ssl_verify, cx.services)?);
        let (certificate, verify) =
            (client::certificate(config, cx)?, config.possession.tls_client_auth_ssl_verify);
        let shown = certificate.map(|shown| Http::new(&config.provider, Some(shown), verify, cx.services));
        let shown = shown.transpose()?.map(Arc::new);
        let provider = provider::provider(&config.provider, &http, cx)?;
        let places = Places::new(config, cx)?;
        let setup = Setup {
            config,
            http: &http,
            shown: shown.as_ref(),
            provider: &provider,
            places: &places,
            number,
            cx,
        };
        let tokens = TokenEndpoint::new(&setup)?;
        let possession = Possession::new(config, &places, cx)?;
        let when = |is_on: bool| is_on.then_some(&setup);
        let introspection = when(methods.introspection).map(Introspection::new).transpose()?.map(Arc::new);
        let searches = config.grants.search_user_info;
        let user_info = when(methods.user_info || searches).map(UserInfo::new).transpose()?.map(Arc::new);
        let searched = user_info.clone().filter(|_| searches);
        let action = Action::new(&setup, introspection.as_ref())?;
        Ok(Self {
            number,
            client: client::id(config),
            run_on_preflight: config.tokens.run_on_preflight,
            hides: config.tokens.hide_credentials,
            tells: told::own_fields(config),
            anonymous: Anonymous::resolve(config.tokens.anonymous.as_deref(), cx),
            sources: Sources::new(config),
            beside: BesideSource::new(config)?,
            parameters: Parameters::new(&setup, &methods)?,
            looks_at_tokens: possession.is_on()
                || config.tokens.jwt_session_cookie.is_some()
                || BROUGHT.iter().any(|method| action.hands_over(method)),
            possession,
            telling: Telling::new(config),
            introspection,
            user_info,
            judges_by_user_info: methods.user_info,
            credentials: Credentials::new(config, &methods),
            guard: config.brute_force_protection.guard(cx, OpenidConnect::NAME)?,
            login: when(methods.authorization_code).map(|setup| Login::new(setup, &tokens)).transpose()?,
            action,
            sessions: when(methods.session).map(|_| PeopleSessions::new(config, &places, cx)).transpose()?,
            logout: when(methods.session).map(Logout::new).transpose()?,
            verification: Verification::new(&setup, methods.bearer, Rules::new(config, cx)?, searched)?,
            token_exchange: {
                let fields = config.grants.token_exchange.as_ref();
                fields.map(|fields| TokenExchange::new(&setup, fields)).transpose()?
            },
            tokens,
        })
    }

    /// Finds out who comes.
    fn admit(self: &Arc<Self>, cx: &mut Access<'_>) -> Flow {
        match self.sessions.is_none() && self.login.is_none() {
            true => self.without_session(cx),
            false => self.browser(cx),
        }
    }

    fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// What browsers do: they come back from a login, log out, or have a session.
    fn browser(self: &Arc<Self>, cx: &mut Access<'_>) -> Flow {
        if let Some(flow) = self.hear_of_logout(cx).or_else(|| self.read_session(cx)) {
            return flow;
        }
        self.browse(cx)
    }

    /// The same once the session of the request is at hand.
    fn browse(self: &Arc<Self>, cx: &mut Access<'_>) -> Flow {
        let arrival = self.login.as_ref().map_or(Arrival::None, |login| login.arrival(cx));
        match (arrival, &self.login) {
            (Arrival::NeedsBody, _) => return Flow::ReadBody,
            (Arrival::Answered(answered), Some(login)) => return login.end(self, cx, *answered),
            (Arrival::Unknown, _)
                if self.sessions.as_ref().is_none_or(|sessions| sessions.find(cx).is_none()) =>
            {
                let refusal = Refusal::Invalid("this browser has no such login under way: begin again");
                return self.conclude(cx, Err(refusal));
            }
            _ => {}
        }
        if let Some(flow) = self.log_out(cx) {
            return flow;
        }
        self.resume_session(cx).unwrap_or_else(|| self.without_session(cx))
    }

    /// Callers without a session: they bring a token or credentials, or are asked to log in.
    fn without_session(self: &Arc<Self>, cx: &mut Access<'_>) -> Flow {
        let token = match self.sources.find(cx) {
            Ok(Search::Found(token)) => token,
            Ok(Search::NeedsBody) => return Flow::ReadBody,
            Err(Refusal::Missing) => return self.without_token(cx),
            Err(refusal) => return self.conclude(cx, Err(refusal)),
        };
        if let Some(flow) = self.exchange_token(cx, &token) {
            return flow;
        }
        let known = match self.companion(cx, &token) {
            Companion::Flow(flow) => return flow,
            Companion::Judged(outcome) => Some(outcome),
            Companion::None => self.judge(cx, &token),
        };
        match known {
            Some(outcome) if !self.looks_at_tokens => self.conclude(cx, outcome),
            Some(outcome) => {
                let token = token.into_owned();
                self.conclude_held(cx, &token, outcome)
            }
            None => {
                let (token, worker, now_ms) = (token.into_owned(), cx.worker.index, cx.record.started_ms);
                self.clone().wait(token, worker, now_ms, self.asked_with(cx))
            }
        }
    }

    fn without_token(self: &Arc<Self>, cx: &mut Access<'_>) -> Flow {
        let brought = self.credentials.as_ref().map(|credentials| credentials.find(cx));
        match (brought, &self.login) {
            (Some(credentials::Search::NeedsBody), _) => Flow::ReadBody,
            (Some(credentials::Search::Found(brought)), _) => self.judge_credentials(cx, brought),
            (_, Some(login)) => login.begin(self, cx),
            _ => self.conclude(cx, Err(Refusal::Missing)),
        }
    }

    fn conclude(&self, cx: &mut Access<'_>, outcome: Outcome) -> Flow {
        let refusal = match outcome {
            Ok(admission) => {
                self.go_on(cx, &admission, None);
                return Flow::Next;
            }
            Err(refusal) => refusal,
        };
        self.clean(cx, None);
        match refusal {
            Refusal::Forbidden(_) => self.telling.refuse(cx, &refusal),
            _ => self.anonymous.or_refuse(cx, |cx| self.telling.refuse(cx, &refusal)),
        }
    }

    /// Lets the request pass.
    fn go_on(&self, cx: &mut Access<'_>, admission: &Admission, session: Option<&Opened>) {
        self.clean(cx, session);
        admission.apply(cx);
    }

    /// Takes out of the request what only this room may say, and what the caller has proved itself with. What it fails with
    /// is hidden as well: the anonymous consumer may still let the request pass.
    fn clean(&self, cx: &mut Access<'_>, session: Option<&Opened>) {
        self.verification.rules.clear(cx);
        self.sources.hide(cx);
        if let Some(beside) = &self.beside {
            beside.hide(cx);
        }
        if self.hides {
            self.possession.hide(cx);
        }
        if let Some(sessions) = &self.sessions {
            sessions.tell(cx, session);
            if self.hides {
                sessions.hide(cx.headers());
            }
        }
        if let Some(login) = self.login.as_ref().filter(|_| self.hides) {
            login.hide(cx.headers());
        }
    }
}

/// Writes the cookies that `access` has left, and tells what is left to do.
fn write_cookies(cx: &mut HeaderFilter<'_>) -> Option<Ending> {
    let ending = cx.state::<Option<Ending>>()?.take()?;
    for (name, value) in ending.lines.iter() {
        cx.headers().append(name, value);
    }
    Some(ending)
}

/// Names with their values, from two lists of a configuration, which are of the same length.
fn pairs(names: &Option<Vec<String>>, values: &Option<Vec<String>>) -> http::Pairs {
    names.iter().flatten().cloned().zip(values.iter().flatten().cloned()).collect()
}
