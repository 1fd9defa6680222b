//! The endpoint that gives out tokens.

use std::sync::Arc;

use plugin::{Access, Flow};
use uuid::Uuid;

use super::Oauth2;
use super::config::Client;
use super::issue::Issued;
use super::parameters::{Parameters, Proof};
use super::reply::{Problem, Reply};
use super::secret::{self, hash};
use super::store::{Change, Code, Grant, Redeemed, Refresh};

/// What came of a request: a token, or a problem with what has to be written because of it.
type Outcome = Result<Issued, (Problem, Vec<Change>)>;

pub(super) fn token(room: &Oauth2, cx: &mut Access<'_>) -> Flow {
    let parameters = Parameters::new(cx);
    let state = parameters.find("state").ok().flatten();
    let reply = match exchange(room, cx, &parameters) {
        Ok(issued) => issued.reply(state),
        Err((problem, changes)) => Reply { changes, ..Reply::problem(&problem, state) },
    };
    room.answer(cx, reply)
}

fn exchange(room: &Oauth2, cx: &Access<'_>, parameters: &Parameters<'_>) -> Outcome {
    let plain = |problem| (problem, Vec::new());
    room.needs_tls(cx).map_err(plain)?;
    let grant_type = parameters.find("grant_type").map_err(plain)?;
    let enabled = match grant_type.as_deref() {
        Some("authorization_code") => room.grants.code,
        Some("refresh_token") => true,
        Some("client_credentials") => room.grants.client,
        Some("password") => room.grants.password,
        _ => false,
    };
    if !enabled {
        return Err(plain(Problem::new("unsupported_grant_type", "Invalid grant_type".to_owned())));
    }
    let client = authenticated(room, cx, parameters).map_err(plain)?;
    match grant_type.as_deref() {
        Some("authorization_code") => redeem(room, cx, parameters, &client),
        Some("refresh_token") => refresh(room, cx, parameters, &client),
        Some("password") => password(room, cx, parameters, &client).map_err(plain),
        _ => for_itself(room, cx, parameters, &client).map_err(plain),
    }
}

/// The application, which has proved that it is the one.
fn authenticated(
    room: &Oauth2,
    cx: &Access<'_>,
    parameters: &Parameters<'_>,
) -> Result<Arc<Client>, Problem> {
    let proof = Proof::of(parameters, &cx.request.headers, &room.auth_header)?;
    let refused = || Problem { basic: proof.in_header, ..Problem::client() };
    let client = proof.client_id.as_deref().and_then(|id| room.clients.named(id)).ok_or_else(refused)?;
    match &proof.client_secret {
        Some(_) if client.public => {
            let message = "client_secret is disallowed for public clients";
            return Err(Problem::new("invalid_request", message.to_owned()));
        }
        None if client.public => {}
        Some(given) if secret::is(given.as_bytes(), &client.secret) => {}
        _ => return Err(refused()),
    }
    let wanted = parameters.find("redirect_uri")?;
    match wanted {
        Some(uri) if !client.redirect_uris.contains(&uri) => Err(Problem::redirect()),
        _ => Ok(client.clone()),
    }
}

fn redeem(room: &Oauth2, cx: &Access<'_>, parameters: &Parameters<'_>, client: &Client) -> Outcome {
    let plain = |problem| (problem, Vec::new());
    let store = room.store().map_err(plain)?;
    let invalid = || Problem::new("invalid_request", "Invalid code".to_owned());
    let now = cx.record.started_ms / 1000;
    let code = parameters.find("code").map_err(plain)?.ok_or_else(|| plain(invalid()))?;
    let code = hash(code.as_bytes());
    // A code is spent only by who it was made for: others must not be able to make it useless.
    let known = store.look_at(&code, now).ok_or_else(|| plain(invalid()))?;
    if known.grant.credential != client.id || known.grant.service != room.service(cx) {
        return Err(plain(invalid()));
    }
    check_redirect(parameters, client, &known).map_err(plain)?;
    room.pkce.proved(parameters, client, &known).map_err(plain)?;
    let issued = room.make(cx, known.grant, None, true).map_err(plain)?;
    // The code is spent and its token there in one step: whoever comes second finds what there is to be revoked.
    match store.redeem(&code, issued.token.clone(), now) {
        Redeemed::Unknown => Err(plain(invalid())),
        Redeemed::Full => Err(plain(Problem::full())),
        Redeemed::Again(changes) => Err((invalid(), changes)),
        Redeemed::Good(changes) => Ok(Issued { changes, ..issued }),
    }
}

/// The user came back to where this redirect URI says (RFC 6749 4.1.3). The first one is meant where none is named.
fn check_redirect(parameters: &Parameters<'_>, client: &Client, code: &Code) -> Result<(), Problem> {
    let named = parameters.find("redirect_uri")?;
    let meant = named.as_ref().or(client.redirect_uris.first());
    if meant == Some(&code.redirect_uri) { Ok(()) } else { Err(Problem::redirect()) }
}

fn refresh(room: &Oauth2, cx: &Access<'_>, parameters: &Parameters<'_>, client: &Client) -> Outcome {
    let plain = |problem| (problem, Vec::new());
    let store = room.store().map_err(plain)?;
    let invalid = || Problem::new("invalid_request", "Invalid refresh_token".to_owned());
    let now = cx.record.started_ms / 1000;
    let text = parameters.find("refresh_token").map_err(plain)?.ok_or_else(|| plain(invalid()))?;
    match store.refresh(&hash(text.as_bytes()), now) {
        Refresh::Unknown => Err(plain(invalid())),
        Refresh::Spent(changes) => Err((invalid(), changes)),
        Refresh::Good(token) if token.grant.credential != client.id => Err(plain(Problem::client())),
        Refresh::Good(token) if token.grant.service != room.service(cx) => Err(plain(invalid())),
        Refresh::Good(token) => {
            let same = room.reuse_refresh_token.then_some(text);
            room.issue_again(cx, &token, same).map_err(plain)
        }
    }
}

fn password(
    room: &Oauth2,
    cx: &Access<'_>,
    parameters: &Parameters<'_>,
    client: &Client,
) -> Result<Issued, Problem> {
    room.check_provision(parameters)?;
    let user = room.user(parameters)?;
    grant(room, cx, parameters, client, Some(user), true)
}

fn for_itself(
    room: &Oauth2,
    cx: &Access<'_>,
    parameters: &Parameters<'_>,
    client: &Client,
) -> Result<Issued, Problem> {
    if client.public {
        let message = "public clients get no tokens for themselves";
        return Err(Problem::new("unauthorized_client", message.to_owned()));
    }
    let user = match parameters.find("authenticated_userid")? {
        Some(_) => {
            room.check_provision(parameters)?;
            Some(room.user(parameters)?)
        }
        None => None,
    };
    grant(room, cx, parameters, client, user, false)
}

fn grant(
    room: &Oauth2,
    cx: &Access<'_>,
    parameters: &Parameters<'_>,
    client: &Client,
    user: Option<String>,
    refreshable: bool,
) -> Result<Issued, Problem> {
    let grant = Grant {
        family: Uuid::new_v4(),
        credential: client.id,
        service: room.service(cx),
        user,
        scope: room.scope(parameters)?,
    };
    room.issue(cx, grant, None, refreshable)
}
