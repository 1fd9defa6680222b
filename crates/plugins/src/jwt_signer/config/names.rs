//! What Kong calls the fields of both tokens.

/// Names within a record, and those in documents.
pub(super) type Names = &'static [(&'static str, &'static str)];

macro_rules! settings {
    ($token:literal) => {
        &[
            ("add_claims", concat!("add_", $token, "_claims")),
            ("cache_introspection", concat!("cache_", $token, "_introspection")),
            ("enable_introspection", concat!("enable_", $token, "_introspection")),
            ("endpoints_ssl_verify", concat!($token, "_endpoints_ssl_verify")),
            ("introspection_authorization", concat!($token, "_introspection_authorization")),
            ("introspection_body_args", concat!($token, "_introspection_body_args")),
            ("introspection_client_certificate", concat!($token, "_introspection_client_certificate")),
            ("introspection_endpoint", concat!($token, "_introspection_endpoint")),
            ("introspection_hint", concat!($token, "_introspection_hint")),
            ("introspection_jwt_claim", concat!($token, "_introspection_jwt_claim")),
            ("introspection_timeout", concat!($token, "_introspection_timeout")),
            ("issuer", concat!($token, "_issuer")),
            ("jwks_uri", concat!($token, "_jwks_uri")),
            ("jwks_uri_client_certificate", concat!($token, "_jwks_uri_client_certificate")),
            ("jwks_uri_client_password", concat!($token, "_jwks_uri_client_password")),
            ("jwks_uri_client_username", concat!($token, "_jwks_uri_client_username")),
            ("jwks_uri_rotate_period", concat!($token, "_jwks_uri_rotate_period")),
            ("keyset", concat!($token, "_keyset")),
            ("keyset_client_certificate", concat!($token, "_keyset_client_certificate")),
            ("keyset_client_password", concat!($token, "_keyset_client_password")),
            ("keyset_client_username", concat!($token, "_keyset_client_username")),
            ("keyset_rotate_period", concat!($token, "_keyset_rotate_period")),
            ("optional", concat!($token, "_optional")),
            ("original_upstream_header", concat!("original_", $token, "_upstream_header")),
            ("remove_claims", concat!("remove_", $token, "_claims")),
            ("request_header", concat!($token, "_request_header")),
            ("set_claims", concat!("set_", $token, "_claims")),
            ("signing", concat!($token, "_signing")),
            ("signing_algorithm", concat!($token, "_signing_algorithm")),
            ("trust_introspection", concat!("trust_", $token, "_introspection")),
            ("upstream_header", concat!($token, "_upstream_header")),
            ("upstream_leeway", concat!($token, "_upstream_leeway")),
            ("verify_signature", concat!("verify_", $token, "_signature")),
        ]
    };
}

macro_rules! verification {
    ($of:literal) => {
        &[
            ("audience_claim", concat!($of, "_audience_claim")),
            ("audiences_allowed", concat!($of, "_audiences_allowed")),
            ("consumer_by", concat!($of, "_consumer_by")),
            ("consumer_claim", concat!($of, "_consumer_claim")),
            ("expiry_claim", concat!($of, "_expiry_claim")),
            ("issuer_claim", concat!($of, "_issuer_claim")),
            ("issuers_allowed", concat!($of, "_issuers_allowed")),
            ("leeway", concat!($of, "_leeway")),
            ("notbefore_claim", concat!($of, "_notbefore_claim")),
            ("optional_claims", concat!($of, "_optional_claims")),
            ("required_claims", concat!($of, "_required_claims")),
            ("scopes_claim", concat!($of, "_scopes_claim")),
            ("scopes_required", concat!($of, "_scopes_required")),
            ("subject_claim", concat!($of, "_subject_claim")),
            ("subjects_allowed", concat!($of, "_subjects_allowed")),
            ("verify_audience", concat!("verify_", $of, "_audience")),
            ("verify_expiry", concat!("verify_", $of, "_expiry")),
            ("verify_issuer", concat!("verify_", $of, "_issuer")),
            ("verify_notbefore", concat!("verify_", $of, "_notbefore")),
            ("verify_scopes", concat!("verify_", $of, "_scopes")),
            ("verify_subject", concat!("verify_", $of, "_subject")),
        ]
    };
}

pub(super) const ACCESS: Names = settings!("access_token");
pub(super) const CHANNEL: Names = settings!("channel_token");
pub(super) const ACCESS_TOKEN: Names = verification!("access_token");
pub(super) const ACCESS_ANSWER: Names = verification!("access_token_introspection");
pub(super) const CHANNEL_TOKEN: Names = verification!("channel_token");
pub(super) const CHANNEL_ANSWER: Names = verification!("channel_token_introspection");
