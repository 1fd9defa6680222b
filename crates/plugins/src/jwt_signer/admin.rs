//! The gateway's keys in the Admin API, at Kong's paths. Services may read them at the status listener, too.

use plugin::admin::{Answer, Call, Endpoint};
use plugin::keyring;
use serde_json::json;

const SET: &str = "/jwt-signer/jwks/{keyset}";

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "GET", path: "/jwt-signer/jwks", on_status_listener: true, handle: list },
    Endpoint { method: "GET", path: SET, on_status_listener: true, handle: show },
    Endpoint { method: "DELETE", path: SET, on_status_listener: false, handle: replace },
    Endpoint {
        method: "POST",
        path: "/jwt-signer/jwks/{keyset}/rotate",
        on_status_listener: false,
        handle: keyring::rotate,
    },
];

fn list(call: &Call<'_>) -> Answer {
    let sets = keyring::sets(call.services).into_iter().map(|name| {
        let keys = keyring::jwks(call.services, Some(&name))["keys"].take();
        json!({ "name": name, "keys": keys })
    });
    Answer::json(200, &json!({ "data": sets.collect::<Vec<_>>(), "next": null }))
}

fn show(call: &Call<'_>) -> Answer {
    keyring::answer(call, call.parameters.first().copied())
}

/// What the keys have signed is good no more.
fn replace(call: &Call<'_>) -> Answer {
    let answer = keyring::renew(call);
    if answer.status == 200 { Answer::no_content() } else { answer }
}
