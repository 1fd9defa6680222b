//! The endpoint that gives out tokens.

use std::sync::Arc;

use plugin::lockout::Outcome;
use plugin::{Access, Flow, Resume};
use uuid::Uuid;

use super::Server;
use super::config::Client;
use super::issue::{Issued, Moment, Refreshing};
use super::parameters::{Parameters, Proof};
use super::reply::{Problem, Reply, lock_out, send};
use super::secret;
use super::store::{Code, Grant};
use super::tokens::{Redeemed, Refreshed};

/// What an application asks for, once it has proved that it is the one.
struct Asked {
    client: Arc<Client>,
    /// The service that tokens are for; none for all.
    service: Option<Uuid>,
    moment: Moment,
    wish: Wish,
}

/// What it brings.
enum Wish {
    Redeem { code: String, redirect_uri: Option<String>, verifier: Option<String> },
    Refresh(String),
    Grant { user: Option<String>, scope: Option<String>, refreshing: Refreshing },
}

pub(super) fn token(server: &Arc<Server>, cx: &mut Access<'_>) -> Flow {
    let parameters = Parameters::new(cx);
    let state = parameters.find("state").ok().flatten();
    let proof = match proof(server, cx, &parameters) {
        Ok(proof) => proof,
        Err(problem) => return send(cx, &Reply::problem(&problem, state)),
    };
    let client = authenticated(server, &proof);
    // Who brings no secret guesses none.
    let guessed = proof.client_secret.and(proof.client_id);
    let Some((guard, id)) = server.guard.as_ref().zip(guessed) else {
        return grant(server, cx, client, state);
    };
    let own = server.clone();
    guard.settle(
        cx,
        |guard, cx| guard.attempt(id.as_bytes(), cx.client.ip, cx.steady_ms()),
        Outcome::of(&client),
        move |cx, said| match said {
            Ok(()) => grant(&own, cx, client, state),
            Err(locked_out) => lock_out(cx, locked_out),
        },
    )
}

/// By what the application proves itself, where it asks for something that is given.
fn proof(server: &Server, cx: &Access<'_>, parameters: &Parameters<'_>) -> Result<Proof, Problem> {
    server.needs_tls(cx)?;
    let enabled = match parameters.find("grant_type")?.as_deref() {
        Some("authorization_code") => server.grants.code,
        Some("refresh_token") => true,
        Some("client_credentials") => server.grants.client,
        Some("password") => server.grants.password,
        _ => false,
    };
    if !enabled {
        return Err(Problem::new("unsupported_grant_type", "Invalid grant_type".to_owned()));
    }
    Proof::of(parameters, &cx.request.headers, &server.auth_header)
}

/// The application, which has proved that it is the one. Nothing tells one that nobody has from one with another secret, or
/// with none, time included.
fn authenticated(server: &Server, proof: &Proof) -> Result<Arc<Client>, Problem> {
    let client = proof.client_id.as_deref().and_then(|id| server.clients.named(id));
    let expected = client.map_or(&[0; 32], |client| &client.secret);
    let proven = proof.client_secret.as_ref().map(|given| secret::is(given.as_bytes(), expected));
    match (client, proven) {
        (Some(client), Some(true)) if !client.public => Ok(client.clone()),
        (Some(client), None) if client.public => Ok(client.clone()),
        _ => Err(Problem { basic: proof.in_header, ..Problem::client() }),
    }
}

/// Gives the application what it asks for; on behalf of a user only to who knows the users.
fn grant(
    server: &Arc<Server>,
    cx: &mut Access<'_>,
    client: Result<Arc<Client>, Problem>,
    state: Option<String>,
) -> Flow {
    let client = match client.and_then(|client| comes_back(&Parameters::new(cx), client)) {
        Ok(client) => client,
        Err(problem) => return send(cx, &Reply::problem(&problem, state)),
    };
    let parameters = Parameters::new(cx);
    let names_user = match parameters.find("grant_type").ok().flatten().as_deref() {
        Some("password") => true,
        Some("client_credentials") => {
            !client.public && !matches!(parameters.find("authenticated_userid"), Ok(None))
        }
        _ => false,
    };
    if !names_user {
        let asked = ask(server, cx, client);
        return answer(server, cx, asked, state);
    }
    let own = server.clone();
    server.with_provision(cx, move |cx, provisioned| {
        let asked = provisioned.and_then(|()| ask(&own, cx, client));
        answer(&own, cx, asked, state)
    })
}

fn answer(
    server: &Arc<Server>,
    cx: &mut Access<'_>,
    asked: Result<Asked, Problem>,
    state: Option<String>,
) -> Flow {
    let asked = match asked {
        Ok(asked) => asked,
        Err(problem) => return send(cx, &Reply::problem(&problem, state)),
    };
    let server = server.clone();
    Flow::wait(async move {
        let reply = match fulfil(&server, asked).await {
            Ok(issued) => issued.reply(state),
            Err(problem) => Reply::problem(&problem, state),
        };
        let resume: Resume = Box::new(move |cx| send(cx, &reply));
        resume
    })
}

/// The application, if the address that it names is one of its own.
fn comes_back(parameters: &Parameters<'_>, client: Arc<Client>) -> Result<Arc<Client>, Problem> {
    match parameters.find("redirect_uri")? {
        Some(uri) if !client.redirect_uris.contains(&uri) => Err(Problem::redirect()),
        _ => Ok(client),
    }
}

fn ask(server: &Server, cx: &Access<'_>, client: Arc<Client>) -> Result<Asked, Problem> {
    let parameters = &Parameters::new(cx);
    let wish = match parameters.find("grant_type")?.as_deref() {
        Some("authorization_code") => redemption(parameters)?,
        Some("refresh_token") => {
            Wish::Refresh(parameters.find("refresh_token")?.ok_or_else(|| invalid("refresh_token"))?)
        }
        Some("password") => password(server, parameters)?,
        _ => for_itself(server, parameters, &client)?,
    };
    let moment = Moment { worker: cx.worker.index, now: cx.record.started_ms / 1000 };
    Ok(Asked { client, service: server.service(cx), moment, wish })
}

fn redemption(parameters: &Parameters<'_>) -> Result<Wish, Problem> {
    Ok(Wish::Redeem {
        code: parameters.find("code")?.ok_or_else(|| invalid("code"))?,
        redirect_uri: parameters.find("redirect_uri")?,
        verifier: parameters.find("code_verifier")?,
    })
}

fn password(server: &Server, parameters: &Parameters<'_>) -> Result<Wish, Problem> {
    let user = Some(server.user(parameters)?);
    Ok(Wish::Grant { user, scope: server.scope(parameters)?, refreshing: Refreshing::New })
}

fn for_itself(server: &Server, parameters: &Parameters<'_>, client: &Client) -> Result<Wish, Problem> {
    if client.public {
        let message = "public clients get no tokens for themselves";
        return Err(Problem::new("unauthorized_client", message.to_owned()));
    }
    let user = match parameters.find("authenticated_userid")? {
        Some(_) => Some(server.user(parameters)?),
        None => None,
    };
    Ok(Wish::Grant { user, scope: server.scope(parameters)?, refreshing: Refreshing::None })
}

async fn fulfil(server: &Server, asked: Asked) -> Result<Issued, Problem> {
    let Asked { client, service, moment, wish } = asked;
    match wish {
        Wish::Redeem { code, redirect_uri, verifier } => {
            let known = server.tokens()?.look_at(moment.worker, &code, moment.now).await?;
            let known = known.ok_or_else(|| invalid("code"))?;
            // A code is spent only by who it was made for: others must not be able to make it useless.
            if known.grant.credential != client.id || known.grant.service != service {
                return Err(invalid("code"));
            }
            check_redirect(redirect_uri.as_ref(), &client, &known)?;
            server.pkce.proved(verifier.as_deref(), &client, &known)?;
            redeem(server, moment, known).await
        }
        Wish::Refresh(text) => refresh(server, moment, text, &client, service).await,
        Wish::Grant { user, scope, refreshing } => {
            let grant = Grant { family: Uuid::new_v4(), credential: client.id, service, user, scope };
            server.issue(moment, grant, None, refreshing).await
        }
    }
}

/// The code is spent and its token there in one step: whoever comes second finds what there is to be revoked.
async fn redeem(server: &Server, moment: Moment, code: Code) -> Result<Issued, Problem> {
    let issued = server.make(moment.now, code.grant, Refreshing::New)?;
    let token = issued.token.clone();
    match server.tokens()?.redeem(moment.worker, &code.code, token, moment.now).await? {
        Redeemed::Good => Ok(issued),
        Redeemed::Again | Redeemed::Unknown => Err(invalid("code")),
    }
}

/// The user came back to where this redirect URI says (RFC 6749 4.1.3). The first one is meant where none is named.
fn check_redirect(named: Option<&String>, client: &Client, code: &Code) -> Result<(), Problem> {
    let meant = named.or(client.redirect_uris.first());
    if meant == Some(&code.redirect_uri) { Ok(()) } else { Err(Problem::redirect()) }
}

async fn refresh(
    server: &Server,
    moment: Moment,
    text: String,
    client: &Client,
    service: Option<Uuid>,
) -> Result<Issued, Problem> {
    let old = match server.tokens()?.refresh(moment.worker, &text, moment.now).await? {
        Refreshed::Good(token) => token,
        Refreshed::Spent | Refreshed::Unknown => return Err(invalid("refresh_token")),
    };
    if old.grant.credential != client.id {
        return Err(Problem::client());
    }
    if old.grant.service != service {
        return Err(invalid("refresh_token"));
    }
    let refreshing = if server.keeps_refresh_token { Refreshing::Same(text) } else { Refreshing::New };
    server.issue(moment, old.grant.clone(), Some(&old), refreshing).await
}

fn invalid(what: &str) -> Problem {
    Problem::new("invalid_request", format!("Invalid {what}"))
}
