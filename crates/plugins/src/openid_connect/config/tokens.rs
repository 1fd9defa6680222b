//! Fields about who issues tokens, how they come, and what they must say.

use plugin::jose::NAMES;
use plugin::model::schema::Value;
use plugin::outbound::ProxyFields;
use plugin::record;

use super::nested::ClaimHeader;
use super::{CLIENT_AUTH, METHODS, rules};

record! {
    /// Who issues tokens, and how it is asked.
    pub struct Provider {
        ..proxies: ProxyFields;
        /// The provider: its issuer identifier, or the address of its discovery document. Where the address does not end
        /// in `/.well-known/openid-configuration`, that is added.
        issuer: String, [len_min(1), referenceable()];
        /// The `issuer` is only a name: no discovery document is asked for, and `issuers_allowed` and `jwks_endpoint` or
        /// `extra_jwks_uris` say what it would.
        using_pseudo_issuer: bool = false;
        /// Issuers whose tokens are accepted. Without it, the one that the discovery document names.
        issuers_allowed: Option<Vec<String>>;
        /// Address of the provider's keys, in place of the one that the discovery document names.
        jwks_endpoint: Option<String>, [custom_value(rules::address)];
        /// Addresses of further keys that sign tokens.
        extra_jwks_uris: Option<Vec<String>>, [each(custom_value(rules::address))];
        /// Fewest seconds between two requests for keys that are made because a token names an unknown one.
        rediscovery_lifetime: f64 = 30, [between(0, 31_536_000)];
        /// Names of headers sent with requests for the discovery document and the keys.
        discovery_headers_names: Option<Vec<String>>, [each(header_name())];
        /// Values of those headers, in the same order.
        discovery_headers_values: Option<Vec<String>>, [encrypted(), each(referenceable()), each(header_value())];
        /// Seconds that the discovery document and the provider's keys, and answers of introspection that do not say how
        /// long they hold, are used before they are asked for again.
        cache_ttl: f64 = 3600, [between(1, 31_536_000)];
        /// Most seconds that an answer about a token or a user is used, and a token got for credentials of a caller.
        cache_ttl_max: Option<f64>, [between(0, 31_536_000)];
        /// Fewest seconds that an answer about a token or a user is used, as long as the token is valid.
        cache_ttl_min: Option<f64>, [between(0, 31_536_000)];
        /// Seconds that an answer of introspection which says that a token is not valid is remembered; 10 where it is not
        /// given. Also for how long a provider that could not be asked for its description and keys is not asked again; a second
        /// where it is not given, and longer each time.
        cache_ttl_neg: Option<f64>, [between(0, 31_536_000)];
        /// Seconds beyond their time that answers about tokens and users are used while the provider is down, but not longer
        /// than the token is good.
        cache_ttl_resurrect: Option<f64>, [between(0, 31_536_000)];
        /// Milliseconds to wait for the provider.
        timeout: f64 = 10000, [timeout()];
        /// Compare the configuration with the discovery document: while that says that the provider has not what is asked of
        /// it here, such as a scope, a grant or an address, callers get 500, and the log says what it is.
        verify_parameters: bool = false;
        /// Check the provider's certificate by the authorities of `KONG_LUA_SSL_TRUSTED_CERTIFICATE`.
        ssl_verify: bool = true;
        /// Keep connections to the provider open between questions.
        keepalive: bool = true;
        /// Version of HTTP that the provider is spoken to in: 1.1 or 1.0.
        http_version: f64 = 1.1, [custom_value(only_http_1)];
    }
    checks: [custom_fields(rules::bounds_in_order)]
}

record! {
    /// How callers prove who they are.
    pub struct Tokens {
        /// How callers may prove who they are.
        auth_methods: Vec<String> = ["authorization_code", "bearer", "client_credentials", "introspection", "kong_oauth2", "password", "refresh_token", "session", "userinfo"], [each(one_of(METHODS))];
        /// Where a bearer token is looked for.
        bearer_token_param_type: Vec<String> = ["body", "header", "query"], [each(one_of(&["body", "cookie", "header", "query"]))];
        /// Cookie with the bearer token, where `bearer_token_param_type` has `cookie`.
        bearer_token_cookie_name: Option<String>;
        /// Header with the bearer token, in place of `Authorization`; the word `Bearer` before it is optional there.
        bearer_token_header_name: Option<String>, [len_min(1), header_name()];
        /// Header or argument with an ID token that callers may bring beside a bearer token, under which its claims count, too.
        /// It has to be one of the provider, for the gateway as a client, and about whoever has the bearer token.
        id_token_param_name: Option<String>;
        /// Where that ID token is looked for.
        id_token_param_type: Vec<String> = ["body", "header", "query"], [each(one_of(&["body", "header", "query"]))];
        /// Do not send on what the caller proved itself with. `upstream_access_token_header` may send the token
        /// nevertheless.
        hide_credentials: bool = true;
        /// Check the signatures of tokens. Without it anybody can make one: only for tokens that were checked before they
        /// came here.
        verify_signature: bool = true;
        /// Where signatures are not checked of what comes from the provider itself, as the answer to a question of the gateway:
        /// ID tokens and access tokens of these grants, and signed answers about users and tokens. Only for providers that
        /// are asked over TLS.
        ignore_signature: Vec<String> = [], [each(one_of(&["authorization_code", "client_credentials", "introspection", "password", "refresh_token", "session", "userinfo"]))];
        /// Accept tokens that are signed with a shared secret: one of `client_secret`.
        enable_hs_signatures: bool = false;
        /// Check the times of tokens and their issuer.
        verify_claims: bool = true;
        /// Seconds by which clocks may differ, where times of tokens are checked.
        leeway: f64 = 0, [between(0, 86_400)];
        /// Find out claims that a token, or an answer about one or its user, only points to (`_claim_names`, `_claim_sources`), where
        /// somebody looks at them. Asked are only the provider, and the servers of `extra_jwks_uris`, `jwks_endpoint` and
        /// `issuers_allowed`. Whose claims cannot be found out is refused.
        resolve_distributed_claims: bool = false;
        /// Domains of which the claim `hd` must be one.
        domains: Option<Vec<String>>;
        /// Remember tokens whose signature was right, so that checking one again is cheap, and tokens that the provider gave
        /// for a caller's password or client secret, for as long as they are good. Without it the provider is asked about
        /// these each time.
        cache_tokens: bool = true;
        /// Cookie that must have the value of the claim `jwt_session_claim` of a bearer token that is a JSON Web Token: who
        /// has the token alone is refused.
        jwt_session_cookie: Option<String>;
        /// The claim that is compared with that cookie.
        jwt_session_claim: String = "sid";
        /// Check the tokens of a session again at every request with the keys that the provider has now.
        reverify: bool = false;
        /// Whether `OPTIONS` requests need a token too. Browsers send none with a CORS preflight.
        run_on_preflight: bool = true;
        /// Id or username of a consumer that stands for callers who prove nothing. Without it they are refused.
        anonymous: Option<String>;
        /// Message for callers who prove nothing.
        unauthorized_error_message: String = "Unauthorized";
        /// Message for callers who may not do what they ask for.
        forbidden_error_message: String = "Forbidden";
        /// Tell callers why they are refused.
        display_errors: bool = false;
        /// Name the error code of RFC 6750 in the `WWW-Authenticate` header.
        expose_error_code: bool = true;
    }
}

record! {
    /// What tokens must say, and what becomes of it.
    pub struct Claims {
        /// Scopes of which one entry must be had; an entry may name several, separated by spaces, which must all be had.
        scopes_required: Option<Vec<String>>;
        /// Path of the claim with the scopes.
        scopes_claim: Vec<String> = ["scope"];
        /// Audiences, as in `scopes_required`.
        audience_required: Option<Vec<String>>;
        /// Path of the claim with the audiences.
        audience_claim: Vec<String> = ["aud"];
        /// Groups, as in `scopes_required`.
        groups_required: Option<Vec<String>>;
        /// Path of the claim with the groups.
        groups_claim: Vec<String> = ["groups"];
        /// Roles, as in `scopes_required`.
        roles_required: Option<Vec<String>>;
        /// Path of the claim with the roles.
        roles_claim: Vec<String> = ["roles"];
        /// Claims that a token must not have.
        claims_forbidden: Option<Vec<String>>;
        /// Paths of claims that name the consumer; the first that finds one counts. A caller without is refused.
        consumer_claims: Option<Vec<Vec<String>>>;
        /// What the claim may be of the consumer.
        consumer_by: Vec<String> = ["custom_id", "username"], [each(one_of(&["custom_id", "id", "username"]))];
        /// Consumers are found by their username whatever the case of its letters.
        by_username_ignore_case: bool = false;
        /// A caller for whom there is no consumer passes nevertheless.
        consumer_optional: bool = false;
        /// Path of the claim that identifies the caller, to limits for instance, where there is no consumer.
        credential_claim: Vec<String> = ["sub"];
        /// Path of the claim with the groups that the `acl` plugin sees.
        authenticated_groups_claim: Option<Vec<String>>;
        /// Path of the claim with names of consumer groups that the caller is in: plugins for them apply. A caller none of
        /// whose groups is one is refused.
        consumer_groups_claim: Option<Vec<String>>;
        /// Such a caller passes nevertheless.
        consumer_groups_optional: bool = false;
        /// Headers sent upstream, each with the path of the claim it takes its value from.
        upstream_headers: Option<Vec<ClaimHeader>>;
        /// Claims sent upstream, by their names.
        upstream_headers_claims: Option<Vec<String>>;
        /// Headers for those claims, in the same order.
        upstream_headers_names: Option<Vec<String>>, [each(header_name())];
        /// Header in which the token goes upstream; `:bearer` puts the word `Bearer` before it. Empty sends none.
        upstream_access_token_header: String = "authorization:bearer", [custom_value(rules::header)];
        /// Headers of responses, each with the path of the claim it takes its value from.
        downstream_headers: Option<Vec<ClaimHeader>>;
        /// Claims sent to the client, by their names.
        downstream_headers_claims: Option<Vec<String>>;
        /// Headers for those claims, in the same order.
        downstream_headers_names: Option<Vec<String>>, [each(header_name())];
        /// Header in which the client gets its token back; `:bearer` puts the word `Bearer` before it.
        downstream_access_token_header: Option<String>, [custom_value(rules::header)];
        /// Header in which the ID token goes upstream.
        upstream_id_token_header: Option<String>, [custom_value(rules::header)];
        /// Header in which the refresh token goes upstream.
        upstream_refresh_token_header: Option<String>, [custom_value(rules::header)];
        /// Header in which what the provider says about the user goes upstream, as JSON in Base64.
        upstream_user_info_header: Option<String>, [custom_value(rules::header)];
        /// Header in which the provider's answer about the token goes upstream, as JSON in Base64.
        upstream_introspection_header: Option<String>, [custom_value(rules::header)];
        /// Header in which what the provider says about the user goes upstream, as it has signed it (`userinfo_accept`).
        upstream_user_info_jwt_header: Option<String>, [custom_value(rules::header)];
        /// Header in which the provider's answer about the token goes upstream, as it has signed it (`introspection_accept`).
        upstream_introspection_jwt_header: Option<String>, [custom_value(rules::header)];
        /// Header in which the client gets what the provider says about the user, as it has signed it.
        downstream_user_info_jwt_header: Option<String>, [custom_value(rules::header)];
        /// Header in which the client gets the provider's answer about the token, as it has signed it.
        downstream_introspection_jwt_header: Option<String>, [custom_value(rules::header)];
        /// Header in which the client gets the ID token.
        downstream_id_token_header: Option<String>, [custom_value(rules::header)];
        /// Header in which the client gets the refresh token.
        downstream_refresh_token_header: Option<String>, [custom_value(rules::header)];
        /// Header in which the client gets what the provider says about the user, as JSON in Base64.
        downstream_user_info_header: Option<String>, [custom_value(rules::header)];
        /// Header in which the client gets the provider's answer about the token, as JSON in Base64.
        downstream_introspection_header: Option<String>, [custom_value(rules::header)];
        /// Header in which the public key goes upstream that the access token is signed with, as JSON in Base64. Of tokens
        /// whose signature was not checked here there is none.
        upstream_access_token_jwk_header: Option<String>, [custom_value(rules::header)];
        /// Header in which the public key goes upstream that the ID token is signed with.
        upstream_id_token_jwk_header: Option<String>, [custom_value(rules::header)];
        /// Header in which the client gets the public key that the access token is signed with.
        downstream_access_token_jwk_header: Option<String>, [custom_value(rules::header)];
        /// Header in which the client gets the public key that the ID token is signed with.
        downstream_id_token_jwk_header: Option<String>, [custom_value(rules::header)];
        /// Header in which the id of the session goes upstream.
        upstream_session_id_header: Option<String>, [custom_value(rules::bare_header)];
        /// Header in which the client gets the id of its session.
        downstream_session_id_header: Option<String>, [custom_value(rules::bare_header)];
    }
}

record! {
    /// How the provider is asked about tokens.
    pub struct Introspection {
        /// Header or argument, of the query or of a form, by which callers choose one of several clients: by its id, or by its
        /// place in `client_id`, from 1. Without it, those who log in or have a session stay with their client, and all
        /// others are for the first.
        client_arg: String = "client_id";
        /// The gateway's name at the provider. Of several, each is a client of its own: what stands at its place in
        /// `client_secret`, `client_auth`, `client_alg`, `client_jwk` and the lists of addresses belongs to it, or else what
        /// stands in the first.
        client_id: Option<Vec<String>>, [encrypted(), each(referenceable())];
        /// The gateway's secret at the provider.
        client_secret: Option<Vec<String>>, [encrypted(), each(referenceable())];
        /// How the gateway signs in to the provider; `client_secret_basic` without one.
        client_auth: Option<Vec<String>>, [each(one_of(CLIENT_AUTH))];
        /// How the gateway signs its assertions; HS256 with `client_secret_jwt`, and as its key says with `private_key_jwt`,
        /// without one.
        client_alg: Option<Vec<String>>, [each(one_of(NAMES))];
        /// Address where the provider is asked about tokens, in place of the one that the discovery document names.
        introspection_endpoint: Option<String>, [referenceable(), custom_value(rules::address)];
        /// How the gateway signs in there, in place of `client_auth`.
        introspection_endpoint_auth_method: Option<String>, [one_of(CLIENT_AUTH)];
        /// What the provider is told about the kind of token; empty tells nothing.
        introspection_hint: String = "access_token";
        /// Name of the argument with the token.
        introspection_token_param_name: String = "token";
        /// What kind of answer is asked for: JSON, or the same signed (RFC 9701).
        introspection_accept: String = "application/json", [one_of(&["application/json", "application/jwt", "application/token-introspection+jwt"])];
        /// A token is valid only if the answer says `active`.
        introspection_check_active: bool = true;
        /// Names of headers sent with the question.
        introspection_headers_names: Option<Vec<String>>, [each(header_name())];
        /// Values of those headers, in the same order.
        introspection_headers_values: Option<Vec<String>>, [encrypted(), each(referenceable()), each(header_value())];
        /// Headers of the caller that are sent with the question.
        introspection_headers_client: Option<Vec<String>>, [each(header_name())];
        /// Names of arguments sent with the question.
        introspection_post_args_names: Option<Vec<String>>;
        /// Values of those arguments, in the same order.
        introspection_post_args_values: Option<Vec<String>>, [encrypted(), each(referenceable())];
        /// Arguments of the caller, of the query or a form, that are sent with the question.
        introspection_post_args_client: Option<Vec<String>>;
        /// Headers of the caller that are sent as arguments, under their names.
        introspection_post_args_client_headers: Option<Vec<String>>, [each(header_name())];
        /// Ask about JSON Web Tokens, too, after their signature was found right.
        introspect_jwt_tokens: bool = false;
        /// Remember answers about tokens.
        cache_introspection: bool = true;
    }
}

/// Bounds of the time for which something is remembered, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    least: u64,
    most: u64,
}

impl Bounds {
    /// Those that the configuration sets.
    pub fn of(provider: &Provider) -> Self {
        let bound = |setting: Option<f64>, default: u64| setting.map_or(default, |seconds| seconds as u64);
        Self { least: bound(provider.cache_ttl_min, 0), most: bound(provider.cache_ttl_max, u64::MAX) }
    }

    /// The nearest time within them.
    pub fn hold(self, seconds: u64) -> u64 {
        seconds.max(self.least).min(self.most)
    }
}

/// Whether a setting is the older version of HTTP.
pub fn is_old(version: f64) -> bool {
    (version - 1.0).abs() < f64::EPSILON
}

fn only_http_1(version: &Value) -> Result<(), String> {
    let version = version.as_f64().unwrap_or(f64::NAN);
    if is_old(version) || (version - 1.1).abs() < f64::EPSILON {
        Ok(())
    } else {
        Err("the provider is spoken with in 1.1 or 1.0".to_owned())
    }
}
