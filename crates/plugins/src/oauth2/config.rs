//! What can be configured, and the applications that may ask for tokens.

use std::sync::Arc;

use plugin::identity::{Caller, Credential};
use plugin::lockout::Protection;
use plugin::model::courtesy::Table;
use plugin::model::schema::Value;
use plugin::model::{self, Reference};
use plugin::redis::fields::SocketRedis;
use plugin::{Build, BuildError, record};
use uuid::Uuid;

use super::secret::{Hash, hash};

record! {
    /// An authorization server, and the guard that asks for its tokens.
    pub struct Config {
        /// The scopes that may be asked for. What is asked for is ignored without it.
        scopes: Option<Vec<String>>;
        /// Whether a scope must be asked for. Needs `scopes`.
        mandatory_scope: bool = false;
        /// What the service that knows the users proves itself with: a long random text. Grants that name a user are refused
        /// without it.
        provision_key: Option<String>, [referenceable(), encrypted()];
        /// Seconds after which an access token ends; 0 for never.
        token_expiration: f64 = 7200, [between(0, 100_000_000)];
        /// Whether codes are given out (RFC 6749 4.1).
        enable_authorization_code: bool = false;
        /// Whether tokens are given out without a code (RFC 6749 4.2). Not for new applications (RFC 9700 2.1.2).
        enable_implicit_grant: bool = false;
        /// Whether applications get tokens for themselves (RFC 6749 4.4).
        enable_client_credentials: bool = false;
        /// Whether applications get tokens for users whose passwords they have (RFC 6749 4.3).
        enable_password_grant: bool = false;
        /// Whether the token is taken out of the request before it goes upstream.
        hide_credentials: bool = true;
        /// Whether a request counts as one over TLS when a trusted proxy in front says so (`X-Forwarded-Proto`).
        accept_http_if_already_terminated: bool = false;
        /// Id or username of a consumer that stands for callers without a valid token. Without it they are refused.
        anonymous: Option<String>;
        /// Whether tokens are good for all services whose plugin says so, and not only for the one they were made for.
        global_credentials: bool = false;
        /// The header that holds the token.
        auth_header_name: String = "authorization", [header_name()];
        /// Seconds after which a refresh token ends; 0 for never.
        refresh_token_ttl: f64 = 1_209_600, [between(0, 100_000_000)];
        /// Whether a refresh token stays the same when it is used.
        reuse_refresh_token: bool = false;
        /// Whether a refresh token outlives that it is used: the same as `reuse_refresh_token`.
        persistent_refresh_token: bool = false;
        /// Whether codes need a proof that who redeems them has asked for them (RFC 7636): those of all applications
        /// (`strict`), of public ones (`lax`), or none. A proof that was announced is always asked for.
        pkce: String = "lax", [one_of(&["none", "lax", "strict"])];
        /// Protection space named in the `WWW-Authenticate` header of a refusal.
        realm: Option<String>, [matches(r#"^[^"\\[:cntrl:]]*$"#)];
        /// Where tokens and codes are kept: by this gateway, in a database beside that of usage (`embedded`), or in Redis,
        /// for all gateways that use the same one (`redis`).
        token_storage: String = "embedded", [one_of(&["embedded", "redis"]), extension()];
        /// The Redis server, with `token_storage: redis`. It should not evict keys (`maxmemory-policy noeviction`): a token
        /// that it drops is good no more.
        redis: SocketRedis, [extension()];
        /// What happens to who fails again and again to prove itself: an application by its secret, or the service that knows
        /// the users by `provision_key`, which counts by its address alone.
        brute_force_protection: Protection, [extension()];
    }
}

impl Config {
    /// What the schema cannot say.
    pub(super) fn check(&self) -> Result<(), BuildError> {
        let grants = self.enable_authorization_code
            || self.enable_implicit_grant
            || self.enable_client_credentials
            || self.enable_password_grant;
        if !grants {
            let message = "at least one of these fields must be true: enable_authorization_code, \
                           enable_implicit_grant, enable_client_credentials, enable_password_grant";
            return Err(BuildError::new("config.enable_authorization_code", message));
        }
        if self.mandatory_scope && self.scopes.as_ref().is_none_or(Vec::is_empty) {
            return Err(BuildError::new("config.scopes", "required where mandatory_scope is true"));
        }
        Ok(())
    }
}

model::entity! {
    /// An application that may ask for tokens.
    pub struct Oauth2Credential in "oauth2_credentials" {
        /// Whose application it is.
        consumer: Reference, [to("consumers")];
        /// Its name.
        name: String;
        /// By what it names itself. Made up at random when left out.
        client_id: String, [auto(), unique()];
        /// By what it proves itself. Made up at random when left out.
        client_secret: String, [auto(), referenceable(), encrypted()];
        /// Whether the secret is kept as a hash. It always is in memory; in the file it stands as it is.
        hash_secret: bool = false;
        /// Where its users may come back to, exactly.
        redirect_uris: Option<Vec<String>>, [each(custom_value(redirect_uri))];
        /// Whether it can keep a secret (`confidential`) or runs where anybody can look (`public`).
        client_type: String = "confidential", [one_of(&["confidential", "public"])];
    }
    admin: ("oauth2", "oauth2")
    endpoint_key: "client_id"
    cache_key: ["client_id"]
}

fn redirect_uri(value: &Value) -> Result<(), String> {
    let uri = value.as_str().unwrap_or_default();
    if uri.contains('#') {
        return Err(format!("fragment not allowed in '{uri}'"));
    }
    let parts = uri.split_once("://");
    let valid = parts.is_some_and(|(scheme, rest)| {
        let named = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
        named && !rest.is_empty() && !rest.starts_with('/') && uri.bytes().all(|byte| byte.is_ascii_graphic())
    });
    if valid { Ok(()) } else { Err(format!("cannot parse '{uri}'")) }
}

/// An application, ready to be asked for.
pub(super) struct Client {
    pub(super) id: Uuid,
    pub(super) caller: Arc<Caller>,
    pub(super) secret: Hash,
    pub(super) redirect_uris: Vec<String>,
    pub(super) public: bool,
}

/// All applications of a snapshot.
pub(super) struct Clients {
    by_client_id: Table<Box<str>, Arc<Client>>,
    by_id: Table<Uuid, Arc<Client>>,
}

impl Clients {
    pub(super) fn new(cx: &Build<'_>) -> Result<Self, BuildError> {
        let mut clients = Self { by_client_id: Table::default(), by_id: Table::default() };
        for row in cx.entities::<Oauth2Credential>()? {
            let Some(consumer) = cx.consumer(row.consumer.0) else { continue };
            if row.hash_secret && row.client_secret.starts_with('$') {
                let message = format!(
                    "the secret of {} is a hash, which cannot be compared here: write the secret itself",
                    row.client_id
                );
                return Err(BuildError::new("oauth2_credentials.client_secret", message));
            }
            let credential = Credential { id: row.id, identifier: row.client_id.as_str().into() };
            let client = Arc::new(Client {
                id: row.id,
                caller: Caller::authenticated(Some(consumer), credential),
                secret: hash(row.client_secret.as_bytes()),
                redirect_uris: row.redirect_uris.unwrap_or_default(),
                public: row.client_type == "public",
            });
            clients.by_id.insert(row.id, client.clone());
            clients.by_client_id.insert(row.client_id.into(), client);
        }
        Ok(clients)
    }

    pub(super) fn named(&self, client_id: &str) -> Option<&Arc<Client>> {
        self.by_client_id.get(client_id)
    }

    pub(super) fn find(&self, id: Uuid) -> Option<&Arc<Client>> {
        self.by_id.get(&id)
    }
}
