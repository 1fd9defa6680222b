//! Fields about tokens that the gateway asks for itself and about logins, which cannot be honoured: each but its default is
//! refused by its name.

use plugin::record;

use super::nested::ClientKey;
use super::{CLIENT_AUTH, METHODS, only_defaults};

record! {
    /// Tokens that the gateway asks for itself. None of it is available in this version.
    #[allow(dead_code)]
    pub struct Grants {
        /// Audiences that tokens are asked for.
        audience: Option<Vec<String>>;
        /// Scopes that tokens are asked for.
        scopes: Vec<String> = ["openid"];
        /// Argument by which a caller chooses one of several clients.
        client_arg: String = "client_id";
        /// Where the caller's client credentials are looked for.
        client_credentials_param_type: Vec<String> = ["body", "header", "query"], [each(one_of(&["body", "header", "query"]))];
        /// Where the caller's name and password are looked for.
        password_param_type: Vec<String> = ["body", "header", "query"], [each(one_of(&["body", "header", "query"]))];
        /// Argument with the caller's refresh token.
        refresh_token_param_name: Option<String>;
        /// Where the caller's refresh token is looked for.
        refresh_token_param_type: Vec<String> = ["body", "header", "query"], [each(one_of(&["body", "header", "query"]))];
        /// Refresh tokens before they expire.
        refresh_tokens: bool = true;
        /// Argument with the caller's ID token.
        id_token_param_name: Option<String>;
        /// Where the caller's ID token is looked for.
        id_token_param_type: Vec<String> = ["body", "header", "query"], [each(one_of(&["body", "header", "query"]))];
        /// Private keys that the gateway signs its assertions with.
        client_jwk: Option<Vec<ClientKey>>;
        /// Grants whose tokens are not verified.
        ignore_signature: Vec<String> = [], [each(one_of(&["authorization_code", "client_credentials", "introspection", "password", "refresh_token", "session", "userinfo"]))];
        /// Address where tokens are asked for.
        token_endpoint: Option<String>;
        /// How the gateway signs in there.
        token_endpoint_auth_method: Option<String>, [one_of(CLIENT_AUTH)];
        /// Headers of the caller that are sent with requests for tokens.
        token_headers_client: Option<Vec<String>>;
        /// Grants whose answers' headers are sent to the client.
        token_headers_grants: Option<Vec<String>>, [each(one_of(&["authorization_code", "client_credentials", "password", "refresh_token"]))];
        /// Names of headers sent with requests for tokens.
        token_headers_names: Option<Vec<String>>;
        /// What stands before the names of headers that the client gets.
        token_headers_prefix: Option<String>;
        /// Headers of the provider's answer that the client gets.
        token_headers_replay: Option<Vec<String>>;
        /// Values of headers sent with requests for tokens.
        token_headers_values: Option<Vec<String>>;
        /// Arguments of the caller that are sent with requests for tokens.
        token_post_args_client: Option<Vec<String>>;
        /// Names of arguments sent with requests for tokens.
        token_post_args_names: Option<Vec<String>>;
        /// Values of arguments sent with requests for tokens.
        token_post_args_values: Option<Vec<String>>;
        /// Tokens are remembered by their scopes, too.
        token_cache_key_include_scope: bool = false;
        /// What tokens that were asked for are remembered by, beside what they were asked with.
        cache_tokens_salt: Option<String>;
        /// Seconds that an answer is used while the provider is down.
        cache_ttl_resurrect: Option<f64>;
        /// Address where tokens are revoked.
        revocation_endpoint: Option<String>;
        /// How the gateway signs in there.
        revocation_endpoint_auth_method: Option<String>, [one_of(CLIENT_AUTH)];
        /// Name of the argument with the token to revoke.
        revocation_token_param_name: String = "token";
        /// What kind of answer is asked for about users.
        userinfo_accept: String = "application/json", [one_of(&["application/json", "application/jwt"])];
        /// Address where the provider is asked about users.
        userinfo_endpoint: Option<String>;
        /// Headers of the caller sent with questions about users.
        userinfo_headers_client: Option<Vec<String>>;
        /// Names of headers sent with questions about users.
        userinfo_headers_names: Option<Vec<String>>;
        /// Values of headers sent with questions about users.
        userinfo_headers_values: Option<Vec<String>>;
        /// Arguments of the caller sent with questions about users.
        userinfo_query_args_client: Option<Vec<String>>;
        /// Names of arguments sent with questions about users.
        userinfo_query_args_names: Option<Vec<String>>;
        /// Values of arguments sent with questions about users.
        userinfo_query_args_values: Option<Vec<String>>;
        /// Look for claims in what the provider says about users, too.
        search_user_info: bool = false;
        /// Remember what the provider says about users.
        cache_user_info: bool = true;
        /// Ask others for claims that the token only points to.
        resolve_distributed_claims: bool = false;
        /// Address where tokens are exchanged.
        token_exchange_endpoint: Option<String>;
        /// Remember exchanged tokens.
        cache_token_exchange: bool = true;
    }
    checks: [custom_fields(only_defaults::<Grants>)]
}

record! {
    /// People who log in with a browser. None of it is available in this version.
    #[allow(dead_code)]
    pub struct Login {
        /// Domain of the cookie that a login is kept in while it goes on.
        authorization_cookie_domain: Option<String>;
        /// Scripts do not see that cookie.
        authorization_cookie_http_only: bool = true;
        /// Name of that cookie.
        authorization_cookie_name: String = "authorization";
        /// Path of that cookie.
        authorization_cookie_path: String = "/";
        /// Whether that cookie is sent with requests from other sites.
        authorization_cookie_same_site: String = "Default", [one_of(&["Default", "Lax", "None", "Strict"])];
        /// Whether that cookie is sent over TLS only.
        authorization_cookie_secure: Option<bool>;
        /// Address where people log in.
        authorization_endpoint: Option<String>;
        /// Arguments of the caller that are sent there.
        authorization_query_args_client: Option<Vec<String>>;
        /// Names of arguments sent there.
        authorization_query_args_names: Option<Vec<String>>;
        /// Values of arguments sent there.
        authorization_query_args_values: Option<Vec<String>>;
        /// Seconds that a login may take.
        authorization_rolling_timeout: f64 = 600;
        /// Address where people log out.
        end_session_endpoint: Option<String>;
        /// End the session of who may not do what they ask for.
        forbidden_destroy_session: bool = true;
        /// Where to send who may not do what they ask for.
        forbidden_redirect_uri: Option<Vec<String>>;
        /// End the session of who proves nothing.
        unauthorized_destroy_session: bool = true;
        /// Where to send who proves nothing.
        unauthorized_redirect_uri: Option<Vec<String>>;
        /// Where to send people after an unexpected failure.
        unexpected_redirect_uri: Option<Vec<String>>;
        /// What follows a login.
        login_action: String = "upstream", [one_of(&["redirect", "response", "upstream"])];
        /// Methods that `login_action` follows.
        login_methods: Vec<String> = ["authorization_code"], [each(one_of(METHODS))];
        /// How tokens are handed on after a login.
        login_redirect_mode: String = "fragment", [one_of(&["fragment", "query"])];
        /// Where to send people after a login.
        login_redirect_uri: Option<Vec<String>>;
        /// Tokens that are handed on after a login.
        login_tokens: Vec<String> = ["id_token"], [each(one_of(&["access_token", "id_token", "introspection", "refresh_token", "tokens"]))];
        /// Methods of requests that log out.
        logout_methods: Vec<String> = ["DELETE", "POST"], [each(one_of(&["DELETE", "GET", "POST"]))];
        /// Argument of the body that logs out.
        logout_post_arg: Option<String>;
        /// Argument of the query that logs out.
        logout_query_arg: Option<String>;
        /// Where to send people after a logout.
        logout_redirect_uri: Option<Vec<String>>;
        /// Revoke tokens at a logout.
        logout_revoke: bool = false;
        /// Revoke access tokens at a logout.
        logout_revoke_access_token: bool = true;
        /// Revoke refresh tokens at a logout.
        logout_revoke_refresh_token: bool = true;
        /// End of paths that log out.
        logout_uri_suffix: Option<String>;
        /// Seconds that a login at the provider may be old.
        max_age: Option<f64>;
        /// Keep the arguments of the query over a login.
        preserve_query_args: bool = false;
        /// Where the provider sends people back to.
        redirect_uri: Option<Vec<String>>;
        /// Use PKCE.
        require_proof_key_for_code_exchange: Option<bool>;
        /// Push authorization requests.
        require_pushed_authorization_requests: Option<bool>;
        /// Sign authorization requests.
        require_signed_request_object: Option<bool>;
        /// Address where authorization requests are pushed.
        pushed_authorization_request_endpoint: Option<String>;
        /// How the gateway signs in there.
        pushed_authorization_request_endpoint_auth_method: Option<String>, [one_of(CLIENT_AUTH)];
        /// How the provider hands over the answer to a login.
        response_mode: String = "query", [one_of(&["form_post", "form_post.jwt", "fragment", "fragment.jwt", "jwt", "query", "query.jwt"])];
        /// What kind of answer to a login is asked for.
        response_type: Vec<String> = ["code"];
        /// Verify the tokens of a session at every request.
        reverify: bool = false;
        /// Check the nonce of ID tokens.
        verify_nonce: bool = true;
        /// Check the settings against the discovery document.
        verify_parameters: bool = false;
    }
    checks: [custom_fields(only_defaults::<Login>)]
}
