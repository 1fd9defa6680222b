//! The endpoint that gives out codes, and tokens without them. The service that knows the users asks it, not their browsers: it
//! is told where to send them.

use std::sync::Arc;

use plugin::{Access, Flow};
use serde_json::json;
use uuid::Uuid;

use super::Oauth2;
use super::config::Client;
use super::parameters::Parameters;
use super::reply::{Problem, Reply};
use super::secret::{self, hash};
use super::store::{Change, Code, Grant};

/// Seconds for which a code can be redeemed.
const CODE_SECONDS: u64 = 300;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Code,
    Token,
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
    changes: Vec<Change>,
}

pub(super) fn authorize(room: &Oauth2, cx: &mut Access<'_>) -> Flow {
    let parameters = Parameters::new(cx);
    let state = match parameters.find("state") {
        Ok(state) => state,
        Err(problem) => return room.answer(cx, Reply::problem(&problem, None)),
    };
    if let Err(problem) = room.may_authorize(cx, &parameters) {
        return room.answer(cx, Reply::problem(&problem, state));
    }
    let Back { client, uri, problem } = match redirect(room, &parameters) {
        Ok(found) => found,
        Err(problem) => return room.answer(cx, Reply::problem(&problem, state)),
    };
    let told = problem.map_or(Ok(()), Err).and_then(|()| grant(room, cx, &parameters, &client, &uri));
    let (status, mut told) = match told {
        Ok(told) => (200, told),
        Err(problem) => {
            let pairs = vec![("error", problem.error.to_owned()), ("error_description", problem.description)];
            (400, Told { pairs, in_fragment: false, changes: Vec::new() })
        }
    };
    told.pairs.extend(state.map(|state| ("state", state)));
    let uri = location(&uri, &told.pairs, told.in_fragment);
    let body = json!({ "redirect_uri": uri });
    room.answer(cx, Reply { status, body, challenge: None, changes: told.changes, undo: None })
}

/// Where the user of an application comes back to: the URI that was asked for, or the first one with a problem.
fn redirect(room: &Oauth2, parameters: &Parameters<'_>) -> Result<Back, Problem> {
    let client_id = parameters.find("client_id")?;
    let client = client_id.and_then(|id| room.clients.named(&id).cloned()).ok_or_else(Problem::client)?;
    let first = client.redirect_uris.first().cloned().ok_or_else(Problem::redirect)?;
    let (uri, problem) = match parameters.find("redirect_uri")? {
        None => (first, None),
        Some(uri) if client.redirect_uris.contains(&uri) => (uri, None),
        // Never to an address that is not the application's.
        Some(_) => (first, Some(Problem::redirect())),
    };
    Ok(Back { client, uri, problem })
}

fn grant(
    room: &Oauth2,
    cx: &Access<'_>,
    parameters: &Parameters<'_>,
    client: &Client,
    redirect_uri: &str,
) -> Result<Told, Problem> {
    let wanted = match parameters.find("response_type")?.as_deref() {
        Some("code") if room.grants.code => Wanted::Code,
        Some("token") if room.grants.implicit => Wanted::Token,
        _ => return Err(Problem::new("unsupported_response_type", "Invalid response_type".to_owned())),
    };
    let grant = Grant {
        family: Uuid::new_v4(),
        credential: client.id,
        service: room.service(cx),
        user: parameters.find("authenticated_userid")?,
        scope: room.scope(parameters)?,
    };
    if wanted == Wanted::Token {
        let issued = room.issue(cx, grant, None, false)?;
        return Ok(Told { pairs: issued.pairs(), in_fragment: true, changes: issued.changes });
    }
    let challenge = room.pkce.announced(parameters, client)?;
    let code = secret::make().ok_or_else(Problem::full)?;
    let known = Code {
        code: hash(code.as_bytes()),
        grant,
        redirect_uri: redirect_uri.to_owned(),
        challenge,
        gone: cx.record.started_ms / 1000 + CODE_SECONDS,
        used: false,
    };
    let change = room.store()?.add_code(known).map_err(|_| Problem::full())?;
    Ok(Told { pairs: vec![("code", code)], in_fragment: false, changes: vec![change] })
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
