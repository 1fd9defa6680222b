//! The settings that both tokens have.

use plugin::model::Map;
use plugin::record;

record! {
    /// A certificate that is shown to a server.
    pub struct ClientCertificate {
        /// The id of the entity of `certificates`.
        id: Option<String>;
    }
}

record! {
    /// Where a token is found, what becomes of it and who is asked about it.
    pub struct Settings {
        /// The header with the token: `Authorization` (behind `Bearer`), or one with nothing but the token. After a colon, another
        /// scheme. The token is always removed from the request. With an empty name, there is no such token.
        request_header: Option<String> = "Authorization";
        /// Whether requests without the token pass, too. One that is there must be good.
        optional: bool = false;
        /// Address of the JSON Web Key Set that the token's signature is checked with.
        jwks_uri: Option<String>;
        /// Username that the address of the keys wants (`Basic`).
        jwks_uri_client_username: Option<String>, [referenceable()];
        /// Password that the address of the keys wants.
        jwks_uri_client_password: Option<String>, [referenceable(), encrypted()];
        /// The certificate that is shown at the address of the keys, which must begin with `https://` then.
        jwks_uri_client_certificate: ClientCertificate;
        /// Seconds for which the keys are used before they are asked for again; with 0, an hour. An unknown key has them asked for
        /// at once.
        jwks_uri_rotate_period: f64 = 0, [between(0, 31536000)];
        /// Whether certificates of the servers that are asked are checked.
        endpoints_ssl_verify: bool = true;
        /// Whether the signature is checked.
        verify_signature: bool = true;
        /// Whether the introspection endpoint is asked about tokens that are no JSON Web Tokens.
        enable_introspection: bool = true;
        /// Address of the introspection endpoint (RFC 7662).
        introspection_endpoint: Option<String>;
        /// The `Authorization` header of the question.
        introspection_authorization: Option<String>, [referenceable(), encrypted(), header_value()];
        /// The certificate that is shown to the introspection endpoint, whose address must begin with `https://` then.
        introspection_client_certificate: ClientCertificate, [extension()];
        /// Further arguments of the question, encoded as in a form.
        introspection_body_args: Option<String>, [referenceable(), encrypted()];
        /// What the endpoint is told about the kind of the token (`token_type_hint`).
        introspection_hint: Option<String> = "access_token";
        /// Path of a member of the answer that holds a JSON Web Token, whose claims then take the answer's place.
        introspection_jwt_claim: Option<Vec<String>>;
        /// Milliseconds until there must be an answer; 5 seconds without it.
        introspection_timeout: Option<f64>, [between(1, 600000)];
        /// Whether answers are remembered, for a minute at most.
        cache_introspection: bool = true;
        /// Whether the rules for tokens are left out for what comes of an introspection.
        trust_introspection: bool = true;
        /// Whether the service gets a token that the gateway has signed.
        signing: bool = true;
        /// How it is signed.
        signing_algorithm: String = "RS256", [one_of(&["ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512", "PS256", "PS384", "PS512", "RS256", "RS512"])];
        /// The keys it is signed with: the entity of `key_sets` with that name, or else keys that the process makes for itself. An
        /// address of private keys begins with `http://` or `https://`.
        keyset: String = "kong";
        /// Username that the address of the keyset wants (`Basic`).
        keyset_client_username: Option<String>, [referenceable()];
        /// Password that the address of the keyset wants.
        keyset_client_password: Option<String>, [referenceable(), encrypted()];
        /// The certificate that is shown at the address of the keyset, which must begin with `https://` then.
        keyset_client_certificate: ClientCertificate;
        /// Seconds after which the keys are exchanged, or asked for again; with 0, they are not exchanged, and asked for every
        /// hour.
        keyset_rotate_period: f64 = 0, [between(0, 31536000)];
        /// The `iss` of the signed token. The former one becomes `original_iss`.
        issuer: String = "kong";
        /// The header that the signed token goes upstream in, after a colon its scheme. With an empty name, nothing is signed.
        upstream_header: Option<String> = "Authorization:Bearer";
        /// Seconds that the `exp` of the signed token is moved by; may be negative.
        upstream_leeway: f64 = 0;
        /// The header that the token goes upstream in as it came.
        original_upstream_header: Option<String>;
        /// Claims that the signed token does not get.
        remove_claims: Vec<String> = [];
        /// Claims that the signed token gets unless it has them.
        add_claims: Map<String> = {};
        /// Claims that the signed token gets in any case.
        set_claims: Map<String> = {};
    }
}

record! {
    /// What must be true of a token, or of an answer about one. Claims are found by paths, through nested objects.
    pub struct Verification {
        /// Path of the claim with the audience.
        audience_claim: Vec<String> = ["aud"];
        /// The audiences of which there must be one.
        audiences_allowed: Option<Vec<String>>;
        /// Whether the audience is checked.
        verify_audience: bool = true;
        /// Path of the claim with the issuer.
        issuer_claim: Vec<String> = ["iss"];
        /// The issuers that are accepted.
        issuers_allowed: Option<Vec<String>>;
        /// Whether the issuer is checked.
        verify_issuer: bool = true;
        /// Path of the claim with the subject.
        subject_claim: Vec<String> = ["sub"];
        /// The subjects that are accepted.
        subjects_allowed: Option<Vec<String>>;
        /// Whether the subject is checked.
        verify_subject: bool = true;
        /// Path of the claim with the end.
        expiry_claim: Vec<String> = ["exp"];
        /// Whether the end is checked.
        verify_expiry: bool = true;
        /// Path of the claim with the beginning.
        notbefore_claim: Vec<String> = ["nbf"];
        /// Whether the beginning is checked.
        verify_notbefore: bool = false;
        /// Seconds that clocks may differ.
        leeway: f64 = 0;
        /// Path of the claim with the scopes.
        scopes_claim: Vec<String> = ["scope"];
        /// The scopes that are required: all words of one of the entries.
        scopes_required: Option<Vec<String>>;
        /// Whether the scopes are checked.
        verify_scopes: bool = true;
        /// Paths of claims that must be there.
        required_claims: Option<Vec<Vec<String>>>;
        /// Paths of claims that are checked only if they are there.
        optional_claims: Option<Vec<Vec<String>>>;
        /// Path of the claim that names the consumer. If there is none by that name, the request is refused.
        consumer_claim: Option<Vec<String>>;
        /// What the claim may be of a consumer.
        consumer_by: Vec<String> = ["custom_id", "username"], [each(one_of(&["custom_id", "id", "username"]))];
    }
}
