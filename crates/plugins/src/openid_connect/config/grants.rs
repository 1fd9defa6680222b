//! Fields about tokens that the gateway asks for itself.

use plugin::record;

use super::nested::{ClientKey, TokenExchange};
use super::{CLIENT_AUTH, rules};

record! {
    /// Tokens that the gateway asks for itself.
    pub struct Grants {
        /// Scopes that tokens are asked for.
        scopes: Vec<String> = ["openid"];
        /// Audiences that tokens are asked for.
        audience: Option<Vec<String>>;
        /// Where the caller's name and password are looked for: in `Authorization: Basic`, or as the arguments `username` and
        /// `password`.
        password_param_type: Vec<String> = ["body", "header", "query"], [each(one_of(&["body", "header", "query"]))];
        /// Where the caller's client credentials are looked for: in `Authorization: Basic`, or as the arguments `client_id`
        /// and `client_secret`.
        client_credentials_param_type: Vec<String> = ["body", "header", "query"], [each(one_of(&["body", "header", "query"]))];
        /// Header or argument with the caller's refresh token. Without it none is looked for.
        refresh_token_param_name: Option<String>;
        /// Where the caller's refresh token is looked for.
        refresh_token_param_type: Vec<String> = ["body", "header", "query"], [each(one_of(&["body", "header", "query"]))];
        /// Get a new access token for a session when the old one ends, where there is a refresh token.
        refresh_tokens: bool = true;
        /// Private keys that the gateway signs its assertions with, where it signs in with `private_key_jwt`.
        client_jwk: Option<Vec<ClientKey>>;
        /// Address where tokens are asked for, in place of the one that the discovery document names.
        token_endpoint: Option<String>, [custom_value(rules::address)];
        /// How the gateway signs in there, in place of `client_auth`.
        token_endpoint_auth_method: Option<String>, [one_of(CLIENT_AUTH)];
        /// Names of headers sent with requests for tokens.
        token_headers_names: Option<Vec<String>>, [each(header_name())];
        /// Values of those headers, in the same order.
        token_headers_values: Option<Vec<String>>, [encrypted(), each(referenceable()), each(header_value())];
        /// Names of arguments sent with requests for tokens.
        token_post_args_names: Option<Vec<String>>;
        /// Values of those arguments, in the same order.
        token_post_args_values: Option<Vec<String>>, [encrypted(), each(referenceable())];
        /// Headers of the caller that are sent with requests for tokens.
        token_headers_client: Option<Vec<String>>, [each(header_name())];
        /// Arguments of the caller, of the query, of a form, or as a header, that are sent with requests for tokens in place
        /// of those of the configuration, such as `scope`. What makes the grant itself they do not replace.
        token_post_args_client: Option<Vec<String>>;
        /// Headers of the provider's answer that the client gets.
        token_headers_replay: Option<Vec<String>>, [each(header_name())];
        /// What stands before their names then.
        token_headers_prefix: Option<String>, [custom_value(rules::header_prefix)];
        /// Grants at which the client gets them.
        token_headers_grants: Option<Vec<String>>, [each(one_of(&["authorization_code", "client_credentials", "password", "refresh_token"]))];
        /// Tokens that were asked for with other scopes are others. They always are.
        token_cache_key_include_scope: bool = false;
        /// Tokens of other issuers, or for other audiences, that are exchanged for tokens of the provider (RFC 8693). The
        /// gateway signs in for that as at the token endpoint.
        token_exchange: Option<TokenExchange>;
        /// Address where tokens are exchanged, in place of that of tokens.
        token_exchange_endpoint: Option<String>, [custom_value(rules::address)];
        /// Remember exchanged tokens.
        cache_token_exchange: bool = true;
        /// Address where tokens are revoked, in place of the one that the discovery document names.
        revocation_endpoint: Option<String>, [custom_value(rules::address)];
        /// How the gateway signs in there, in place of `client_auth`.
        revocation_endpoint_auth_method: Option<String>, [one_of(CLIENT_AUTH)];
        /// Name of the argument with the token to revoke.
        revocation_token_param_name: String = "token";
        /// Address where the provider is asked about users, in place of the one that the discovery document names.
        userinfo_endpoint: Option<String>, [custom_value(rules::address)];
        /// Names of headers sent with questions about users.
        userinfo_headers_names: Option<Vec<String>>, [each(header_name())];
        /// Values of those headers, in the same order.
        userinfo_headers_values: Option<Vec<String>>, [encrypted(), each(referenceable()), each(header_value())];
        /// What kind of answer is asked for: JSON, or the same signed.
        userinfo_accept: String = "application/json", [one_of(&["application/json", "application/jwt"])];
        /// Headers of the caller sent with questions about users.
        userinfo_headers_client: Option<Vec<String>>, [each(header_name())];
        /// Names of arguments sent with questions about users.
        userinfo_query_args_names: Option<Vec<String>>;
        /// Values of those arguments, in the same order.
        userinfo_query_args_values: Option<Vec<String>>, [encrypted(), each(referenceable())];
        /// Arguments of the caller, of the query or a form, sent with questions about users.
        userinfo_query_args_client: Option<Vec<String>>;
        /// Ask the provider about users, and look for claims there, too, however they come.
        search_user_info: bool = false;
        /// Remember what the provider says about users.
        cache_user_info: bool = true;
        /// What tokens got for credentials of callers are remembered by, beside those.
        cache_tokens_salt: Option<String>;
    }
}
