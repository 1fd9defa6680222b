//! Fields about people who log in with a browser, and about the sessions they get.

use plugin::model::schema::{Faults, Value};
use plugin::record;
use plugin::web_session::shared::Shared;
use plugin::web_session::{Bond, Remembering, Settings, Storage, Timeouts, cookie};

use super::nested::SessionRedis;
use super::{CLIENT_AUTH, METHODS, rules};

record! {
    /// People who log in with a browser.
    pub struct Login {
        /// Address where people log in, in place of the one that the discovery document names.
        authorization_endpoint: Option<String>, [custom_value(rules::address)];
        /// Address where requests for logins are pushed (RFC 9126), in place of the one that the discovery document names.
        pushed_authorization_request_endpoint: Option<String>, [custom_value(rules::address)];
        /// How the gateway signs in there, in place of `client_auth`.
        pushed_authorization_request_endpoint_auth_method: Option<String>, [one_of(CLIENT_AUTH)];
        /// Push requests for logins to the provider (RFC 9126), so that browsers carry nothing but a reference. Without it,
        /// this is done where the discovery document demands it.
        require_pushed_authorization_requests: Option<bool>;
        /// Sign requests for logins (RFC 9101): with the key of `client_jwk`, or else with the secret. Without it, this is done
        /// where the discovery document demands it.
        require_signed_request_object: Option<bool>;
        /// Use PKCE with S256 (RFC 7636). It is used unless this is false.
        require_proof_key_for_code_exchange: Option<bool>;
        /// Where the provider sends people back to: an absolute URL, without a `#`, that leads to a route of this plugin. Without
        /// it, the address that was asked for, which has to be registered at the provider.
        redirect_uri: Option<Vec<String>>, [each(custom_value(rules::redirection))];
        /// How the provider hands over the answer to a login. `form_post` is a request from another site: browsers send the
        /// cookie of the login with it only over TLS and with `authorization_cookie_same_site: None`. With `jwt`, `query.jwt`
        /// and `form_post.jwt` the answer is signed by the provider, and no other is accepted.
        response_mode: String = "query", [one_of(&["form_post", "form_post.jwt", "fragment", "fragment.jwt", "jwt", "query", "query.jwt"])];
        /// What kind of answer to a login is asked for: `code` alone.
        response_type: Vec<String> = ["code"];
        /// Seconds that a login at the provider may be old when somebody is sent there; who logged in longer ago has to do so
        /// again, and with 0 everybody.
        max_age: Option<f64>, [custom_value(seconds)];
        /// Check that ID tokens were made for the login that they come with.
        verify_nonce: bool = true;
        /// Names of arguments sent with requests for logins.
        authorization_query_args_names: Option<Vec<String>>;
        /// Values of those arguments, in the same order.
        authorization_query_args_values: Option<Vec<String>>, [encrypted(), each(referenceable())];
        /// Arguments of the caller's query that are sent with requests for logins.
        authorization_query_args_client: Option<Vec<String>>;
        /// Seconds that a login may take.
        authorization_rolling_timeout: f64 = 600, [custom_value(seconds)];
        /// Name of the cookie that a login is kept in while it goes on.
        authorization_cookie_name: String = "authorization";
        /// Path for which browsers send that cookie.
        authorization_cookie_path: String = "/";
        /// Domain for which browsers send that cookie, with all hosts below it. The host of the request alone without it.
        authorization_cookie_domain: Option<String>;
        /// Whether browsers send that cookie with requests that other sites cause. `Default` leaves that to them. With `Strict`,
        /// logins end only where the provider and the gateway are of the same site.
        authorization_cookie_same_site: String = "Default", [one_of(&["Default", "Lax", "None", "Strict"])];
        /// Whether scripts in the browser do not see that cookie.
        authorization_cookie_http_only: bool = true;
        /// Whether browsers send that cookie over TLS only. Without it, they do where the login began over TLS.
        authorization_cookie_secure: Option<bool>;
        /// What follows a login: the request goes `upstream`, the browser is sent elsewhere (`redirect`), or gets the tokens
        /// as JSON (`response`).
        login_action: String = "upstream", [one_of(&["redirect", "response", "upstream"])];
        /// The methods that it follows: beside `authorization_code` those of callers with credentials, with a token, and with a
        /// session.
        login_methods: Vec<String> = ["authorization_code"], [each(one_of(METHODS))];
        /// Where to send people after a login with the action `redirect`. Without it, where they wanted
        /// to go.
        login_redirect_uri: Option<Vec<String>>, [each(custom_value(rules::destination))];
        /// How tokens are handed on with the action `redirect`: behind the `#` of `login_redirect_uri`, which servers do not
        /// see, or in its query.
        login_redirect_mode: String = "fragment", [one_of(&["fragment", "query"])];
        /// Tokens that are handed on with the actions `redirect` (only to a `login_redirect_uri`) and `response`. `tokens` is
        /// the whole answer of the token endpoint, `introspection` what the provider says of the access token when it is asked.
        login_tokens: Vec<String> = ["id_token"], [each(one_of(&["access_token", "id_token", "introspection", "refresh_token", "tokens"]))];
        /// After a login, the query is again the one that was asked for at first.
        preserve_query_args: bool = false;
        /// Where to send who proves nothing, in place of a 401.
        unauthorized_redirect_uri: Option<Vec<String>>, [each(custom_value(rules::destination))];
        /// Where to send who may not do what they ask for, in place of a 403.
        forbidden_redirect_uri: Option<Vec<String>>, [each(custom_value(rules::destination))];
        /// Where to send people when the provider cannot be asked, in place of a 500.
        unexpected_redirect_uri: Option<Vec<String>>, [each(custom_value(rules::destination))];
        /// End the session of who proves nothing any more.
        unauthorized_destroy_session: bool = true;
        /// End the session of who may not do what they ask for.
        forbidden_destroy_session: bool = true;
        /// Methods of requests that log out.
        logout_methods: Vec<String> = ["DELETE", "POST"], [each(one_of(&["DELETE", "GET", "POST"]))];
        /// End of paths that log out.
        logout_uri_suffix: Option<String>;
        /// Argument of the query that logs out.
        logout_query_arg: Option<String>;
        /// Argument of a form in the body that logs out.
        logout_post_arg: Option<String>;
        /// Where people come to after a logout.
        logout_redirect_uri: Option<Vec<String>>, [each(custom_value(rules::destination))];
        /// Revoke tokens at the provider at a logout.
        logout_revoke: bool = false;
        /// Revoke access tokens at a logout, where `logout_revoke` is set.
        logout_revoke_access_token: bool = true;
        /// Revoke refresh tokens at a logout, where `logout_revoke` is set.
        logout_revoke_refresh_token: bool = true;
        /// Address at the provider to which people are sent to log out there, too, in place of the one that the discovery
        /// document names.
        end_session_endpoint: Option<String>, [custom_value(rules::address)];
        /// End of paths to which the provider posts that somebody has logged out there (OpenID Connect Back-Channel Logout).
        /// Sessions of that login end with it, at all gateways that share them.
        backchannel_logout_uri_suffix: Option<String>, [extension(), len_min(1)];
    }
    checks: [custom_fields(only_what_a_server_can_see)]
}

record! {
    /// Sessions of people who logged in.
    pub struct Sessions {
        /// What the cookies are encrypted and signed with: a long random text, the same for all gateways that should know
        /// each other's sessions. Without it, sessions and logins end with the process.
        session_secret: Option<String>, [referenceable(), encrypted()];
        /// Where sessions are kept: in their cookies (`cookie`), or encrypted in the Redis server of `redis` (`redis`) or in the
        /// memcached of `session_memcached_host` (`memcached`, or `memcache`), where a logout ends them for whoever has a copy of
        /// the cookie, at all gateways.
        session_storage: String = "cookie", [one_of(&["cookie", "memcache", "memcached", "redis"])];
        /// The Redis server with sessions, with `session_storage: redis`.
        redis: SessionRedis;
        /// Whether the ids of sessions are hashed in keys. They always are.
        session_hash_storage_key: bool = false;
        /// Whom sessions are for. A session of one audience is none of another.
        session_audience: String = "default";
        /// Seconds without a request after which a session ends; 0 for never.
        session_idling_timeout: f64 = 900, [custom_value(seconds)];
        /// Seconds after which a session gets a new id, at the next request in time, or else ends; 0 for never.
        session_rolling_timeout: f64 = 3600, [custom_value(seconds)];
        /// Seconds after which a session ends whatever happens; 0 for never.
        session_absolute_timeout: f64 = 86400, [custom_value(seconds)];
        /// Name of the session's cookie.
        session_cookie_name: String = "session";
        /// Path for which browsers send it.
        session_cookie_path: String = "/";
        /// Domain for which browsers send it, with all hosts below it. The host of the request alone without it.
        session_cookie_domain: Option<String>;
        /// Whether browsers send it with requests that other sites cause. `Default` leaves that to them. With `Strict`, who
        /// comes from another site has to log in again.
        session_cookie_same_site: String = "Lax", [one_of(&["Default", "Lax", "None", "Strict"])];
        /// Whether scripts in the browser do not see it.
        session_cookie_http_only: bool = true;
        /// Whether browsers send it over TLS only. Without it, they do where the session began over TLS.
        session_cookie_secure: Option<bool>;
        /// Whether a second cookie outlives the browser, by which a session begins again.
        session_remember: bool = false;
        /// Name of that cookie.
        session_remember_cookie_name: String = "remember";
        /// Seconds without a session after which a browser is forgotten; 0 for never.
        session_remember_rolling_timeout: f64 = 604800, [custom_value(seconds)];
        /// Seconds after which a browser is forgotten whatever happens; 0 for never.
        session_remember_absolute_timeout: f64 = 2592000, [custom_value(seconds)];
        /// What the upstream is told of the session, in `Session-...` headers.
        session_request_headers: Option<Vec<String>>, [each(one_of(&["absolute-timeout", "audience", "id", "idling-timeout", "rolling-timeout", "subject", "timeout"]))];
        /// What clients are told of their session, in `Session-...` headers.
        session_response_headers: Option<Vec<String>>, [each(one_of(&["absolute-timeout", "audience", "id", "idling-timeout", "rolling-timeout", "subject", "timeout"]))];
        /// What a session must not be taken away from: the client's address, the scheme, the browser.
        session_bind: Option<Vec<String>>, [each(one_of(&["ip", "scheme", "user-agent"]))];
        /// Whether sessions that share a cookie must be of the same subject. They always are: a cookie holds one session.
        session_enforce_same_subject: bool = false;
        /// Whether only a hash of the subject is told in those headers.
        session_hash_subject: bool = false;
        /// Methods that begin no session. Only logins (`authorization_code`) begin one in any case.
        disable_session: Option<Vec<String>>, [each(one_of(METHODS))];
    }
}

/// Seconds that a session that gateways share goes on under its old id when it has got a new one, for requests under way.
const STALE_S: u64 = 10;
/// The longest time, in seconds: a hundred years.
const LONGEST: f64 = 3_155_760_000.0;

fn seconds(value: &Value) -> Result<(), String> {
    let number = value.as_f64().unwrap_or(-1.0);
    if (0.0..=LONGEST).contains(&number) {
        return Ok(());
    }
    Err(format!("expected a number of seconds from 0 to {LONGEST}"))
}

/// What comes behind a `#` stays in the browser, and tokens do not travel through it.
fn only_what_a_server_can_see(config: &Value, faults: &mut Faults) {
    if config["response_mode"].as_str().is_some_and(|mode| mode.starts_with("fragment")) {
        faults.field(
            "response_mode",
            "what comes behind a '#' stays in the browser: use 'query' or 'form_post'",
        );
    }
    if config["response_type"].as_array().is_some_and(|types| types.iter().any(|kind| kind != "code")) {
        faults.field("response_type", "only 'code' is available: tokens do not travel through browsers");
    }
}

/// Cookies take no attribute for `Default`.
fn same_site(setting: &str) -> Option<String> {
    (setting != "Default").then(|| setting.to_owned())
}

impl Login {
    /// The cookie of logins under way, for requests over TLS or in cleartext.
    pub fn cookie(&self, over_tls: bool) -> cookie::Settings {
        cookie::Settings {
            name: self.authorization_cookie_name.clone(),
            path: Some(self.authorization_cookie_path.clone()),
            domain: self.authorization_cookie_domain.clone(),
            same_site: same_site(&self.authorization_cookie_same_site),
            http_only: self.authorization_cookie_http_only,
            secure: self.authorization_cookie_secure.unwrap_or(over_tls),
        }
    }
}

impl Sessions {
    /// The same as the contract has it, for requests over TLS or in cleartext. `shared` is where sessions are, if not in
    /// their cookies.
    pub fn settings(&self, over_tls: bool, shared: Option<&Shared>, lists: bool) -> Settings {
        Settings {
            lists,
            secret: self.session_secret.clone(),
            audience: self.session_audience.clone(),
            cookie: self.cookie(over_tls),
            timeouts: Timeouts {
                idling: self.session_idling_timeout as u64,
                rolling: self.session_rolling_timeout as u64,
                absolute: self.session_absolute_timeout as u64,
            },
            remember: self.session_remember.then(|| Remembering {
                cookie_name: self.session_remember_cookie_name.clone(),
                timeouts: Timeouts {
                    idling: 0,
                    rolling: self.session_remember_rolling_timeout as u64,
                    absolute: self.session_remember_absolute_timeout as u64,
                },
            }),
            storage: shared.map_or(Storage::Cookie, |shared| Storage::Shared(shared.clone())),
            stale_ttl: STALE_S,
            bind: self.bonds(),
            hash_subject: self.session_hash_subject,
        }
    }

    fn cookie(&self, over_tls: bool) -> cookie::Settings {
        cookie::Settings {
            name: self.session_cookie_name.clone(),
            path: Some(self.session_cookie_path.clone()),
            domain: self.session_cookie_domain.clone(),
            same_site: same_site(&self.session_cookie_same_site),
            http_only: self.session_cookie_http_only,
            secure: self.session_cookie_secure.unwrap_or(over_tls),
        }
    }

    fn bonds(&self) -> Vec<Bond> {
        let bond = |name: &String| match name.as_str() {
            "ip" => Bond::Ip,
            "scheme" => Bond::Scheme,
            _ => Bond::UserAgent,
        };
        self.session_bind.iter().flatten().map(bond).collect()
    }
}
