//! What follows where somebody has proved who they are: the request goes on, the browser is sent elsewhere, or the answer is
//! what the provider has given. Tokens go nowhere but to where the configuration says.

use std::sync::Arc;

use plugin::web_session::Opened;
use plugin::{Access, BuildError, Flow, Method, query};
use serde_json::Value;

use super::super::client;
use super::super::granted::TokenSet;
use super::super::http::{Pairs, form_of};
use super::super::introspection::Introspection;
use super::super::of_client::OfClient;
use super::super::refusal::Refusal;
use super::super::verify::Verification;
use super::super::{Inner, Setup};
use super::arrival::{Arrived, OF_ANSWERS};
use super::pending::Pending;
use super::{is_signed, with_arguments};

/// What the provider's answer about the access token is called.
const INTROSPECTION: &str = "introspection";

/// What follows.
pub(in super::super) struct Action {
    kind: Kind,
    /// The methods that it follows.
    methods: Vec<String>,
    uri: Option<String>,
    in_fragment: bool,
    tokens: Vec<String>,
    keeps_query: bool,
    expects_signed: bool,
    /// Asked about access tokens, where that is handed over as well.
    introspection: Option<Arc<Introspection>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Upstream,
    Redirect,
    Response,
}

impl Action {
    /// `introspection` is how the provider is asked about the tokens of callers, if it is.
    pub(in super::super) fn new(
        setup: &Setup<'_>,
        introspection: Option<&Arc<Introspection>>,
    ) -> Result<Self, BuildError> {
        let login = &setup.config.login;
        let kind = match login.login_action.as_str() {
            "redirect" => Kind::Redirect,
            "response" => Kind::Response,
            _ => Kind::Upstream,
        };
        let uri = client::first(&login.login_redirect_uri);
        let wants_introspection =
            hands_over(kind, uri.as_ref()) && login.login_tokens.iter().any(|name| name == INTROSPECTION);
        let introspection = match introspection {
            _ if !wants_introspection => None,
            Some(introspection) => Some(introspection.clone()),
            None => {
                client::needed_id(setup.config, "login_tokens")?;
                Some(Arc::new(Introspection::new(setup)?))
            }
        };
        Ok(Self {
            kind,
            methods: login.login_methods.clone(),
            uri,
            in_fragment: login.login_redirect_mode == "fragment",
            tokens: login.login_tokens.clone(),
            keeps_query: login.preserve_query_args,
            expects_signed: is_signed(&login.response_mode),
            introspection,
        })
    }

    /// Whether somebody who came by `method` is handed anything.
    pub(in super::super) fn hands_over(&self, method: &str) -> bool {
        hands_over(self.kind(method), self.uri.as_ref())
    }

    /// What somebody is handed who came by `method` and has these tokens.
    pub(in super::super) async fn handed(
        &self,
        verification: &Verification,
        method: &str,
        tokens: &TokenSet,
        asked_with: OfClient,
        now_ms: u64,
    ) -> Result<Value, Refusal> {
        if !self.hands_over(method) {
            return Ok(Value::Null);
        }
        let has = |name: &str| self.tokens.iter().any(|listed| listed == name);
        let mut handed = tokens.answer.as_object().cloned().unwrap_or_default();
        handed.retain(|name, _| has("tokens") || name != INTROSPECTION && has(name));
        if let Some(introspection) = &self.introspection {
            let said = introspection.said_of(verification, &tokens.access, asked_with, now_ms).await?;
            handed.insert(INTROSPECTION.to_owned(), Value::Object(said));
        }
        Ok(Value::Object(handed))
    }

    /// What somebody gets who has logged in.
    pub(super) fn answer(
        &self,
        inner: &Inner,
        cx: &mut Access<'_>,
        arrived: &Arrived,
        session: Option<&Opened>,
    ) -> Flow {
        let is_posted = cx.request.method == Method::Post;
        match self.kind("authorization_code") {
            Kind::Upstream if !is_posted => {
                self.show_upstream(cx, &arrived.pending);
                inner.go_on(cx, &arrived.admission, session);
                Flow::Next
            }
            // The upstream gets no request that was only meant for the gateway.
            Kind::Upstream => see_other(cx, &arrived.pending.target),
            Kind::Redirect => see_other(cx, &self.redirection(&arrived.pending.target, &arrived.handed)),
            Kind::Response => hand_over(cx, &arrived.handed),
        }
    }

    /// What follows where a caller has come by `method` without a login and is to be handed this; none if the request goes on.
    pub(in super::super) fn after(&self, cx: &mut Access<'_>, method: &str, handed: &Value) -> Option<Flow> {
        match self.kind(method) {
            Kind::Response => Some(hand_over(cx, handed)),
            // Without another address, the caller would be sent to where it is.
            Kind::Redirect if self.uri.is_some() => Some(see_other(cx, &self.redirection("/", handed))),
            Kind::Redirect | Kind::Upstream => None,
        }
    }

    fn kind(&self, method: &str) -> Kind {
        match self.methods.iter().any(|listed| listed == method) {
            true => self.kind,
            false => Kind::Upstream,
        }
    }

    /// The upstream sees the request without what the provider has added.
    fn show_upstream(&self, cx: &mut Access<'_>, pending: &Pending) {
        if self.keeps_query {
            let before = pending.target.split_once('?').map(|(_, query)| query.as_bytes().to_vec());
            return cx.set_upstream_query(before.as_deref());
        }
        let mut rest = cx.upstream.query.clone();
        let signed = self.expects_signed.then_some("response");
        for name in OF_ANSWERS.into_iter().chain(signed) {
            rest = query::without(&rest, name).unwrap_or(rest);
        }
        cx.set_upstream_query((!rest.is_empty()).then_some(&rest));
    }

    /// Where the browser goes.
    fn redirection(&self, target: &str, handed: &Value) -> String {
        let (path, asked) = target.split_once('?').unwrap_or((target, ""));
        let Some(uri) = &self.uri else {
            return if self.keeps_query { target.to_owned() } else { path.to_owned() };
        };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let tokens: Pairs = handed
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect();
        let uri = match self.keeps_query && !asked.is_empty() {
            true => format!("{uri}{}{asked}", if uri.contains('?') { '&' } else { '?' }),
            false => uri.clone(),
        };
        match self.in_fragment && !tokens.is_empty() {
            true => format!("{}#{}", uri.split('#').next().unwrap_or_default(), form_of(&tokens)),
            false => with_arguments(&uri, &tokens),
        }
    }
}

/// Whether this is answered with tokens, or sends them on.
fn hands_over(kind: Kind, uri: Option<&String>) -> bool {
    kind == Kind::Response || kind == Kind::Redirect && uri.is_some()
}

fn hand_over(cx: &mut Access<'_>, handed: &Value) -> Flow {
    cx.answer(200).header("Cache-Control", b"no-store").json(handed)
}

/// Has the browser ask for another address, by GET.
fn see_other(cx: &mut Access<'_>, location: &str) -> Flow {
    let status = if cx.request.method == Method::Post { 303 } else { 302 };
    cx.answer(status).header("Location", location.as_bytes()).header("Cache-Control", b"no-store").empty()
}
