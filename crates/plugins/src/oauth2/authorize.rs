//! The endpoint that gives out codes, and tokens without them. The service that knows the users asks it, not their browsers: it
//! is told where to send them.

use std::sync::Arc;

use plugin::{Access, Flow, Resume};
use serde_json::json;
use uuid::Uuid;

use super::Server;
use super::config::Client;
use super::issue::{Moment, Refreshing};
use super::parameters::Parameters;
use super::reply::{Problem, Reply, send};
use super::secret::{self, hash};
use super::store::{Code, Grant};

/// Seconds for which a code can be redeemed.
const CODE_SECONDS: u64 = 300;

/// What is asked for.
enum Wanted {
    Code { grant: Grant, challenge: Option<String> },
    Token(Grant),
}

/// An application, and where its user comes back to.
struct Back {
    client: Arc<Client>,
    uri: String,
    problem: Option<Problem>,
}

/// What is told to the application, by way of its redirect URI.
struct Told {
    pairs: Vec<(&'static str, String)>,
    in_fragment: bool,
}

pub(super) fn authorize(server: &Arc<Server>, cx: &mut Access<'_>) -> Flow {
    let parameters = Parameters::new(cx);
    let state = match parameters.find("state") {
        Ok(state) => state,
        Err(problem) => return send(cx, &Reply::problem(&problem, None)),
    };
    if let Err(problem) = server.needs_tls(cx) {
        return send(cx, &Reply::problem(&problem, state));
    }
    let own = server.clone();
    server.with_provision(cx, move |cx, provisioned| match provisioned {
        Ok(()) => consented(&own, cx, state),
        Err(problem) => send(cx, &Reply::problem(&problem, state)),
    })
}

/// The same, asked by who knows the users.
fn consented(server: &Arc<Server>, cx: &mut Access<'_>, state: Option<String>) -> Flow {
    let parameters = Parameters::new(cx);
    if let Err(problem) = server.user(&parameters) {
        return send(cx, &Reply::problem(&problem, state));
    }
    let Back { client, uri, problem } = match redirect(server, &parameters) {
        Ok(found) => found,
        Err(problem) => return send(cx, &Reply::problem(&problem, state)),
    };
    let wanted = problem.map_or(Ok(()), Err).and_then(|()| wanted(server, cx, &parameters, &client));
    let moment = Moment { worker: cx.worker.index, now: cx.record.started_ms / 1000 };
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(problem) => return send(cx, &reply(Err(problem), state, &uri)),
    };
    let server = server.clone();
    Flow::wait(async move {
        let reply = reply(give(&server, moment, wanted, &uri).await, state, &uri);
        let resume: Resume = Box::new(move |cx| send(cx, &reply));
        resume
    })
}

/// The address that the browser is to be sent to.
fn reply(told: Result<Told, Problem>, state: Option<String>, uri: &str) -> Reply {
    let (status, mut told) = match told {
        Ok(told) => (200, told),
        Err(problem) => {
            let pairs = vec![("error", problem.error.to_owned()), ("error_description", problem.description)];
            (problem.status, Told { pairs, in_fragment: false })
        }
    };
    told.pairs.extend(state.map(|state| ("state", state)));
    let body = json!({ "redirect_uri": location(uri, &told.pairs, told.in_fragment) });
    Reply { status, body, challenge: None }
}

/// Where the user of an application comes back to: the URI that was asked for, or the first one with a problem.
fn redirect(server: &Server, parameters: &Parameters<'_>) -> Result<Back, Problem> {
    let client_id = parameters.find("client_id")?;
    let client = client_id.and_then(|id| server.clients.named(&id).cloned()).ok_or_else(Problem::client)?;
    let first = client.redirect_uris.first().cloned().ok_or_else(Problem::redirect)?;
    let (uri, problem) = match parameters.find("redirect_uri")? {
        None => (first, None),
        Some(uri) if client.redirect_uris.contains(&uri) => (uri, None),
        // Never to an address that is not the application's.
        Some(_) => (first, Some(Problem::redirect())),
    };
    Ok(Back { client, uri, problem })
}

fn wanted(
    server: &Server,
    cx: &Access<'_>,
    parameters: &Parameters<'_>,
    client: &Client,
) -> Result<Wanted, Problem> {
    let is_code = match parameters.find("response_type")?.as_deref() {
        Some("code") if server.grants.code => true,
        Some("token") if server.grants.implicit => false,
        _ => return Err(Problem::new("unsupported_response_type", "Invalid response_type".to_owned())),
    };
    let grant = Grant {
        family: Uuid::new_v4(),
        credential: client.id,
        service: server.service(cx),
        user: parameters.find("authenticated_userid")?,
        scope: server.scope(parameters)?,
    };
    match is_code {
        true => Ok(Wanted::Code { grant, challenge: server.pkce.announced(parameters, client)? }),
        false => Ok(Wanted::Token(grant)),
    }
}

async fn give(server: &Server, moment: Moment, wanted: Wanted, uri: &str) -> Result<Told, Problem> {
    let (grant, challenge) = match wanted {
        Wanted::Code { grant, challenge } => (grant, challenge),
        Wanted::Token(grant) => {
            let issued = server.issue(moment, grant, None, Refreshing::None).await?;
            return Ok(Told { pairs: issued.pairs(), in_fragment: true });
        }
    };
    let code = secret::make(&grant.family).ok_or_else(Problem::full)?;
    let known = Code {
        code: hash(code.as_bytes()),
        grant,
        redirect_uri: uri.to_owned(),
        challenge,
        gone: moment.now + CODE_SECONDS,
        used: false,
    };
    server.tokens()?.add_code(moment.worker, known, moment.now).await?;
    Ok(Told { pairs: vec![("code", code)], in_fragment: false })
}

/// The URI with these arguments behind those it has.
fn location(uri: &str, pairs: &[(&'static str, String)], in_fragment: bool) -> String {
    let mut location = uri.to_owned();
    location.push(match (in_fragment, uri.contains('?')) {
        (true, _) => '#',
        (false, true) => '&',
        (false, false) => '?',
    });
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            location.push('&');
        }
        location.push_str(name);
        location.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                location.push(char::from(byte));
            } else {
                location.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    location
}
