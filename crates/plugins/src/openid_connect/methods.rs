//! Which of the ways to prove who one is are on.

use plugin::BuildError;

use super::client;
use super::config::Config;

/// All that the schema has, which is the default.
const ALL: usize = 9;
/// Those by which the gateway itself asks the provider for something, under a name of its own.
const WITH_CLIENT: [&str; 5] =
    ["authorization_code", "introspection", "password", "refresh_token", "session"];

/// The methods that are on.
pub(super) struct Methods {
    /// Nobody has chosen them.
    pub(super) is_default: bool,
    pub(super) authorization_code: bool,
    pub(super) bearer: bool,
    pub(super) client_credentials: bool,
    pub(super) introspection: bool,
    pub(super) password: bool,
    pub(super) refresh_token: bool,
    pub(super) session: bool,
    pub(super) user_info: bool,
}

impl Methods {
    /// The default lists all methods. There are then those that the rest of the configuration makes possible; a method that
    /// somebody has chosen has to be possible.
    pub(super) fn new(config: &Config) -> Result<Self, BuildError> {
        let listed = &config.tokens.auth_methods;
        let is_default = listed.len() == ALL;
        let has_client = client::id(config).is_some();
        let is_possible = |method: &str| {
            (has_client || !WITH_CLIENT.contains(&method)) && missing(config, method).is_none()
        };
        let has = |method: &str| {
            listed.iter().any(|listed| listed == method) && (!is_default || is_possible(method))
        };
        let asks_for_kongs = listed.iter().any(|listed| listed == "kong_oauth2");
        if asks_for_kongs && !is_default {
            let message = "'kong_oauth2' cannot be honoured: tokens of the plugin oauth2 are checked by that plugin; let \
                           both have an 'anonymous' consumer so that either is enough";
            return Err(BuildError::new("config.auth_methods", message));
        }
        let missing = listed.iter().find_map(|method| Some((method, missing(config, method)?)));
        if let Some((method, field)) = missing.filter(|_| !is_default) {
            let message = format!("'{method}' needs '{field}': a pseudo issuer does not say where it is");
            return Err(BuildError::new("config.auth_methods", message));
        }
        let methods = Self {
            is_default,
            authorization_code: has("authorization_code"),
            bearer: has("bearer"),
            client_credentials: has("client_credentials"),
            introspection: has("introspection"),
            password: has("password"),
            refresh_token: has("refresh_token"),
            session: has("session"),
            user_info: has("userinfo"),
        };
        match listed.is_empty() {
            true => Err(BuildError::new("config.auth_methods", "nobody could ever pass: list a method")),
            false => Ok(methods),
        }
    }
}

/// The first address that a method needs and that nobody says: a provider of which only the name is known has none.
fn missing(config: &Config, method: &str) -> Option<&'static str> {
    let (asking, grants, possession) = (&config.introspection, &config.grants, &config.possession);
    let can_ask = asking.introspection_endpoint.is_some() || possession.mtls_introspection_endpoint.is_some();
    let authorization = ("authorization_endpoint", config.login.authorization_endpoint.is_some());
    let token =
        ("token_endpoint", grants.token_endpoint.is_some() || possession.mtls_token_endpoint.is_some());
    let needed = match method {
        _ if !config.provider.using_pseudo_issuer => Vec::new(),
        "authorization_code" => vec![authorization, token],
        "password" | "client_credentials" | "refresh_token" => vec![token],
        "introspection" => vec![("introspection_endpoint", can_ask)],
        "userinfo" => vec![("userinfo_endpoint", grants.userinfo_endpoint.is_some())],
        _ => Vec::new(),
    };
    needed.into_iter().find(|(_, is_there)| !is_there).map(|(field, _)| field)
}
