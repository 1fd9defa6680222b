//! Where credentials stand because of this room: what callers bring, what browsers carry, and what the room tells.

use plugin::confidential::Places;
use plugin::web_session::cookie;

use super::config::Config;

/// Arguments of logins, of callers' own grants, and of addresses that browsers are sent to with tokens.
const ARGUMENTS: [&str; 10] = [
    "access_token",
    "client_secret",
    "code",
    "id_token",
    "id_token_hint",
    "logout_token",
    "password",
    "refresh_token",
    "response",
    "state",
];

/// Names these places.
pub(super) fn declare(config: &Config, places: &mut Places) {
    ARGUMENTS.iter().for_each(|name| places.argument(name));
    let Config { tokens, grants, login, sessions, claims, possession, .. } = config;
    for name in [&tokens.id_token_param_name, &grants.refresh_token_param_name].into_iter().flatten() {
        places.header(name);
        places.argument(name);
    }
    for name in [&tokens.bearer_token_cookie_name, &tokens.jwt_session_cookie].into_iter().flatten() {
        places.cookie(name);
    }
    let certificate = possession.proof_of_possession_mtls_from_header.as_ref();
    let headers = [
        Some(&claims.upstream_access_token_header),
        claims.upstream_id_token_header.as_ref(),
        claims.upstream_refresh_token_header.as_ref(),
        claims.downstream_access_token_header.as_ref(),
        claims.downstream_id_token_header.as_ref(),
        claims.downstream_refresh_token_header.as_ref(),
        tokens.bearer_token_header_name.as_ref(),
        certificate.map(|header| &header.certificate_header_name),
    ];
    headers.into_iter().flatten().for_each(|name| places.header(name));
    for name in [
        &login.authorization_cookie_name,
        &sessions.session_cookie_name,
        &sessions.session_remember_cookie_name,
    ] {
        cookie::names(name).for_each(|name| places.cookie(&name));
    }
}
