//! Tokens in the Admin API: seen and taken back by their text.

use std::sync::Arc;

use plugin::admin::{Answer, Call, Endpoint};
use serde_json::json;
use tokio::runtime::Handle;

use super::Opened;
use super::secret::hash;
use super::store::Token;
use super::tokens::{Tokens, Trouble};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: "GET",
        path: "/oauth2_tokens/{access_token}",
        on_status_listener: false,
        handle: show,
    },
    Endpoint {
        method: "DELETE",
        path: "/oauth2_tokens/{access_token}",
        on_status_listener: false,
        handle: revoke,
    },
];

fn show(call: &Call<'_>) -> Answer {
    match find(call) {
        Err(answer) => answer,
        Ok((_, token)) => {
            let grant = &token.grant;
            Answer::json(
                200,
                &json!({
                    "credential": { "id": grant.credential.to_string() },
                    "service": grant.service.map(|id| json!({ "id": id.to_string() })),
                    "authenticated_userid": grant.user,
                    "scope": grant.scope,
                    "created_at": token.created,
                    "token_type": "bearer",
                }),
            )
        }
    }
}

fn revoke(call: &Call<'_>) -> Answer {
    let (opened, token) = match find(call) {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let Ok(tokens) = &opened.0 else { return Answer::not_found() };
    let (revoked, message) = match tokens {
        Tokens::Own(store) => (
            store.write(vec![store.revoke(&token)]).blocking_recv().unwrap_or(false),
            "the token is revoked until the process ends: it cannot be written",
        ),
        Tokens::Shared(shared) => (
            settle(shared.revoke(shared.0.outside(), &token)).is_ok(),
            "the token may not be revoked: Redis does not answer",
        ),
    };
    if revoked { Answer::no_content() } else { Answer::json(500, &json!({ "message": message })) }
}

/// The token that the call names, with the place where it is.
fn find(call: &Call<'_>) -> Result<(Arc<Opened>, Arc<Token>), Answer> {
    let text = call.parameters.first().copied().unwrap_or_default();
    let now = call.services.clock.now_ms() / 1000;
    let mut outcome = Err(Answer::not_found());
    for (_, opened) in call.services.all_kept::<Opened>() {
        let found = match &opened.0 {
            Ok(Tokens::Own(store)) => Ok(store.find(&hash(text.as_bytes()), now)),
            Ok(Tokens::Shared(shared)) => settle(shared.find(shared.0.outside(), text, now)),
            Err(_) => Ok(None),
        };
        match found {
            Ok(Some(token)) => return Ok((opened, token)),
            Ok(None) => {}
            Err(_) => outcome = Err(Answer::json(503, &json!({ "message": "Redis does not answer" }))),
        }
    }
    outcome
}

/// Waits for Redis: calls have a thread of their own.
fn settle<T>(asking: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    Handle::try_current().map_or(Err(Trouble::Silent), |handle| handle.block_on(asking))
}
