//! Tokens in the Admin API: seen and taken back by their text.

use std::sync::Arc;

use plugin::admin::{Answer, Call, Endpoint};
use serde_json::json;

use super::secret::hash;
use super::store::{Store, Token};
use super::{Opened, STORE};

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
    find(call, |_, token| {
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
    })
}

fn revoke(call: &Call<'_>) -> Answer {
    find(call, |store, token| {
        let written = store.write(vec![store.revoke(token)]);
        if written.blocking_recv().unwrap_or(false) {
            return Answer::no_content();
        }
        Answer::json(
            500,
            &json!({ "message": "the token is revoked until the process ends: it cannot be written" }),
        )
    })
}

fn find(call: &Call<'_>, then: impl FnOnce(&Store, &Token) -> Answer) -> Answer {
    let opened: Option<Arc<Opened>> = call.services.kept(STORE);
    let store = opened.as_ref().and_then(|opened| opened.0.as_ref().ok());
    let text = call.parameters.first().copied().unwrap_or_default();
    let now = call.services.clock.now_ms() / 1000;
    match store.and_then(|store| Some((store, store.find(&hash(text.as_bytes()), now)?))) {
        Some((store, token)) => then(store, &token),
        None => Answer::not_found(),
    }
}
