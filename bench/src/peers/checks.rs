//! Gateways that find out who is asking, or what they may do, in one way: the file that makes them, and what the clients
//! send.

mod tokens;

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::configuration::{envoy_token_check, envoy_with, one_service};
use crate::load::{self, ISSUER};
use crate::site::Site;
pub use tokens::Algorithm;
use tokens::Signer;

/// A way to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// key-auth, with one consumer and with a million.
    Key,
    KeyOfMany,
    /// jwt.
    Token(Algorithm, Tokens),
    /// Envoy's jwt_authn, which remembers as many tokens.
    EnvoyToken(Algorithm, Tokens),
    /// oauth2-introspection, whose answer is remembered.
    Introspection,
    /// openid-connect with bearer tokens, a token that is remembered.
    OpenId,
    /// forward-auth, whose decision is remembered.
    Forward,
    /// authorization, with so many rules, the last of which lets requests pass.
    Rules(usize),
    /// opa, with a server whose decision is remembered.
    OpaServer,
    /// opa, with a policy that the gateway evaluates.
    Rego,
    /// The same with the policy of `examples/opa`, and key-auth, as there.
    RegoExample,
}

/// Which tokens clients have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    /// One, again and again.
    Known,
    /// More than are remembered.
    New,
}

/// Consumers of [`Check::KeyOfMany`].
pub const MANY_CONSUMERS: usize = 1_000_000;
/// Keys that clients have, spread over all consumers.
const KEYS: usize = 10_000;
/// Tokens of [`Tokens::New`]: five for each that a worker remembers.
const TOKENS: usize = 20_000;
/// The example with a policy in Rego, and the service that it names.
const EXAMPLE: &str = include_str!("../../../examples/opa/kong.yml");
const EXAMPLE_SERVICE: &str = "http://127.0.0.1:9001";
/// What may not be remembered shorter than the bench runs.
const LONG_SECONDS: u32 = 3600;

impl Check {
    /// The name in the tables.
    pub fn label(self) -> &'static str {
        use Algorithm::{Es256, Hs256, Rs256};
        use Tokens::{Known, New};
        match self {
            Self::Key => "Biplane, key-auth, 1 consumer",
            Self::KeyOfMany => "Biplane, key-auth, 1,000,000 consumers",
            Self::Token(Hs256, Known) => "Biplane, jwt, HS256",
            Self::Token(Rs256, Known) => "Biplane, jwt, RS256",
            Self::Token(Es256, Known) => "Biplane, jwt, ES256",
            Self::Token(Hs256, New) => "Biplane, jwt, HS256, each token new",
            Self::Token(Rs256, New) => "Biplane, jwt, RS256, each token new",
            Self::Token(Es256, New) => "Biplane, jwt, ES256, each token new",
            Self::EnvoyToken(Hs256, Known) => "Envoy, jwt_authn, HS256",
            Self::EnvoyToken(Rs256, Known) => "Envoy, jwt_authn, RS256",
            Self::EnvoyToken(Es256, Known) => "Envoy, jwt_authn, ES256",
            Self::EnvoyToken(Hs256, New) => "Envoy, jwt_authn, HS256, each token new",
            Self::EnvoyToken(Rs256, New) => "Envoy, jwt_authn, RS256, each token new",
            Self::EnvoyToken(Es256, New) => "Envoy, jwt_authn, ES256, each token new",
            Self::Introspection => "Biplane, oauth2-introspection, remembered",
            Self::OpenId => "Biplane, openid-connect, bearer, remembered",
            Self::Forward => "Biplane, forward-auth, remembered",
            Self::Rules(1) => "Biplane, authorization, 1 rule",
            Self::Rules(_) => "Biplane, authorization, 500 rules",
            Self::OpaServer => "Biplane, opa, a server, remembered",
            Self::Rego => "Biplane, opa, a policy in the gateway",
            Self::RegoExample => "Biplane, key-auth and the policy of examples/opa",
        }
    }

    /// The most microseconds that it may add, where there is a budget.
    pub fn budget(self) -> Option<f64> {
        match self {
            Self::Key | Self::KeyOfMany => Some(0.4),
            Self::Token(_, Tokens::Known) => Some(0.5),
            Self::Rules(_) => Some(1.0),
            _ => None,
        }
    }

    /// What a request without credentials is answered, which shows that the check is made. Two of the servers that are
    /// asked let everybody pass; that they are asked shows in what the first requests take.
    pub fn refusal(self) -> u16 {
        match self {
            Self::Forward | Self::OpaServer => 200,
            Self::Rego => 403,
            _ => 401,
        }
    }

    /// What requests ask for.
    pub fn path(self) -> &'static str {
        if self == Self::RegoExample { "/orders/alice" } else { load::PATH }
    }

    /// The file: one service with one route, as for the bare proxy, and the check. What clients send is written to the
    /// file [`lines_of`] the folder, a line for each request.
    pub fn file(self, folder: &Path, site: &Site) -> io::Result<String> {
        let (text, lines) = match self {
            Self::Token(algorithm, tokens) => token(algorithm, tokens, site.backend())?,
            Self::OpenId => open_id(site)?,
            Self::RegoExample => {
                let text = EXAMPLE.replace(EXAMPLE_SERVICE, &format!("http://{}", site.backend()));
                (text, vec!["apikey: alices-key".to_owned()])
            }
            _ => self.simple(site)?,
        };
        write_lines(folder, &lines)?;
        Ok(text)
    }

    /// Those that take a configuration of one plugin, and consumers at most.
    fn simple(self, site: &Site) -> io::Result<(String, Vec<String>)> {
        let backend = site.backend();
        let (plugin, config, consumers) = match self {
            Self::Key => ("key-auth", json!({}), keyed(1)),
            Self::KeyOfMany => ("key-auth", json!({}), keyed(MANY_CONSUMERS)),
            Self::Rules(count) => ("authorization", rules(count), json!([])),
            Self::Rego => {
                ("opa", json!({"opa_path": "/v1/data/bench/allow", "rego": {"policy": POLICY}}), json!([]))
            }
            Self::Introspection => {
                let url = site.publish("introspection", &json!({"active": true, "sub": "bench"}))?;
                let config = json!({"introspection_url": url, "authorization_value": "Basic YmVuY2g6YmVuY2g=", "ttl": LONG_SECONDS});
                ("oauth2-introspection", config, json!([]))
            }
            Self::Forward => {
                let url = site.publish("decision", &json!({}))?;
                ("forward-auth", json!({"url": url, "cache": {"ttl": LONG_SECONDS}}), json!([]))
            }
            _ => {
                let url = site.publish("allow", &json!({"result": true}))?;
                let (ip, port) = (backend.ip().to_string(), backend.port());
                let path = url.strip_prefix(&format!("http://{backend}")).unwrap_or_default();
                let config = json!({"opa_host": ip, "opa_port": port, "opa_path": path, "cache": {"ttl": LONG_SECONDS, "by": ["method", "path", "header:x-tenant"]}});
                ("opa", config, json!([]))
            }
        };
        let lines = match self {
            Self::Key => key_lines(1),
            Self::KeyOfMany => key_lines(MANY_CONSUMERS),
            Self::Introspection | Self::Forward => {
                vec!["Authorization: Bearer 0b79bab50daca910b000d4f1a2b675d6".to_owned()]
            }
            _ => vec!["X-Tenant: acme".to_owned()],
        };
        Ok((document(backend, plugin, &config, &consumers), lines))
    }
}

/// Envoy's file, for tokens of one algorithm, and what clients send to it.
pub fn envoy_file(
    algorithm: Algorithm,
    tokens: Tokens,
    folder: &Path,
    own: SocketAddr,
    backend: SocketAddr,
) -> io::Result<String> {
    let signer = Signer::new(algorithm)?;
    write_lines(folder, &signer.lines(ISSUER, tokens.count())?)?;
    let filter = envoy_token_check(&signer.key_set().to_string(), Some(TOKENS / 5));
    Ok(envoy_with(own, backend, vec![filter], &[], json!({})))
}

impl Tokens {
    fn count(self) -> usize {
        match self {
            Self::Known => 1,
            Self::New => TOKENS,
        }
    }
}

/// Where the lines stand that clients send.
pub fn lines_of(folder: &Path) -> PathBuf {
    folder.join("lines")
}

fn write_lines(folder: &Path, lines: &[String]) -> io::Result<()> {
    let mut file = io::BufWriter::new(fs::File::create(lines_of(folder))?);
    lines.iter().try_for_each(|line| writeln!(file, "{line}"))?;
    file.flush()
}

fn document(backend: SocketAddr, plugin: &str, config: &Value, consumers: &Value) -> String {
    let mut service = one_service(backend);
    service["plugins"] = json!([{"name": plugin, "config": config}]);
    json!({"_format_version": "3.0", "services": [service], "consumers": consumers}).to_string()
}

fn keyed(count: usize) -> Value {
    let consumer = |index| json!({"username": format!("user-{index:07}"), "keyauth_credentials": [{"key": format!("key-{index:07}")}]});
    (0..count).map(consumer).collect()
}

fn key_lines(count: usize) -> Vec<String> {
    // A step that shares no factor with the number of consumers visits them out of order, none twice.
    (0..KEYS.min(count)).map(|index| format!("apikey: key-{:07}", index * 99_991 % count)).collect()
}

/// The same decision as that of [`rules`].
const POLICY: &str = r#"package bench

default allow := false

allow if {
    input.request.http.method == "GET"
    input.request.http.headers["x-tenant"] == "acme"
}
"#;

/// Rules for other paths, with all kinds of conditions, and the one that decides.
fn rules(count: usize) -> Value {
    let other = |number: usize| {
        json!({"name": format!("other {number}"), "paths": [format!("/other/{number}/{{user}}/**")],
        "methods": ["GET"], "roles": [format!("role {number}")], "when": "parameters.user == claims.sub"})
    };
    let decisive =
        json!({"name": "tenant", "methods": ["GET"], "when": "request.headers['x-tenant'] == 'acme'"});
    let rules: Vec<Value> = (1..count).map(other).chain([decisive]).collect();
    json!({"rules": rules})
}

fn token(algorithm: Algorithm, tokens: Tokens, backend: SocketAddr) -> io::Result<(String, Vec<String>)> {
    let signer = Signer::new(algorithm)?;
    let consumers = json!([{"username": "bench", "jwt_secrets": [signer.credential(ISSUER)]}]);
    Ok((document(backend, "jwt", &json!({}), &consumers), signer.lines(ISSUER, tokens.count())?))
}

/// A provider that publishes its document and its keys, and whose tokens clients bring.
fn open_id(site: &Site) -> io::Result<(String, Vec<String>)> {
    let signer = Signer::new(Algorithm::Rs256)?;
    let keys = site.publish("openid/keys", &signer.key_set())?;
    let issuer = keys.trim_end_matches("/keys").to_owned();
    let endpoint = |name: &str| format!("{issuer}/{name}");
    let discovery = json!({
        "issuer": issuer, "jwks_uri": keys,
        "authorization_endpoint": endpoint("authorize"), "token_endpoint": endpoint("token"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    });
    site.publish("openid/.well-known/openid-configuration", &discovery)?;
    let config = json!({"issuer": issuer, "auth_methods": ["bearer"]});
    Ok((document(site.backend(), "openid-connect", &config, &json!([])), signer.lines(&issuer, 1)?))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn new_tokens_are_more_than_are_remembered_and_a_known_one_is_the_only_one() {
        assert_eq!((Tokens::New.count(), Tokens::Known.count()), (20_000, 1));
    }

    #[test]
    fn the_example_names_the_service_that_is_put_in_its_place() {
        assert!(EXAMPLE.contains(EXAMPLE_SERVICE) && EXAMPLE.contains("alices-key"));
    }

    #[test]
    fn the_last_of_the_rules_is_the_one_that_decides() {
        let rules = rules(500);
        let rules = rules["rules"].as_array().unwrap();
        assert_eq!((rules.len(), &rules[499]["name"]), (500, &json!("tenant")));
    }

    #[test]
    fn keys_are_those_of_consumers() {
        let lines = key_lines(MANY_CONSUMERS);
        assert_eq!(lines.iter().collect::<HashSet<_>>().len(), KEYS);
        assert_eq!(key_lines(1), ["apikey: key-0000000"]);
        assert_eq!(keyed(1)[0]["keyauth_credentials"][0]["key"], "key-0000000");
    }
}
