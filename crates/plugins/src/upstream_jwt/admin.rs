//! Where services find the keys.

use plugin::admin::{Answer, Call, Endpoint};
use plugin::keyring;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "GET", path: "/.well-known/jwks.json", on_status_listener: true, handle: all },
    Endpoint { method: "GET", path: "/upstream-jwt/jwks/{keyset}", on_status_listener: true, handle: of_set },
    Endpoint {
        method: "POST",
        path: "/upstream-jwt/jwks/{keyset}/rotate",
        on_status_listener: false,
        handle: keyring::rotate,
    },
];

fn all(call: &Call<'_>) -> Answer {
    keyring::answer(call, None)
}

fn of_set(call: &Call<'_>) -> Answer {
    keyring::answer(call, call.parameters.first().copied())
}
