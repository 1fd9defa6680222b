//! Who the gateway is to a server, and where it finds things there: the settings of a vault, made ready.

use std::path::PathBuf;

use model::entity::VaultConfig;
use model::secret::{Secret, Wanted};
use plugin::outbound::Url;
use plugin::remember::{Digest, Parts};

/// Where Kubernetes puts the token of a service account.
const SERVICE_ACCOUNT: &str = "/run/secrets/kubernetes.io/serviceaccount/token";

/// A server, and how it gets to know the gateway.
#[derive(Clone)]
pub struct Account {
    pub server: Url,
    pub namespace: Option<String>,
    pub login: Login,
}

/// How a token is come by.
#[derive(Clone)]
pub enum Login {
    /// It is given.
    Token(Secret),
    /// By a role and what proves it.
    AppRole { path: String, role: Secret, proof: Proof, is_wrapped: bool },
    /// By the token of a service account.
    Kubernetes { path: String, role: String, file: PathBuf },
}

/// A secret id, or the token that wraps it.
#[derive(Clone)]
pub enum Proof {
    Given(Secret),
    File(PathBuf),
}

impl Account {
    /// The account that settings describe.
    ///
    /// # Errors
    /// What is lacking, or wrong.
    pub fn of(config: &VaultConfig) -> Result<Self, String> {
        let protocol = config.protocol.as_deref().unwrap_or("http");
        let host = config.host.as_deref().unwrap_or("127.0.0.1");
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let server = Url::parse(&format!("{protocol}://{host}:{}", config.port.unwrap_or(8200)));
        let server = server.map_err(|wrong| format!("the address of the vault {wrong}"))?;
        Ok(Self { server, namespace: config.namespace.clone(), login: login(config)? })
    }

    /// What tells it from others.
    pub fn key(&self) -> Digest {
        let mut parts = Parts::default();
        let server = self.server.to_string();
        parts.add(server.as_bytes());
        parts.add(self.namespace.as_deref().unwrap_or_default().as_bytes());
        match &self.login {
            Login::Token(token) => parts.add(token.reveal().as_bytes()),
            Login::AppRole { path, role, proof, is_wrapped } => {
                parts.add(path.as_bytes());
                parts.add(role.reveal().as_bytes());
                parts.add(&[u8::from(*is_wrapped)]);
                match proof {
                    Proof::Given(secret) => parts.add(secret.reveal().as_bytes()),
                    Proof::File(file) => parts.add(file.as_os_str().as_encoded_bytes()),
                }
            }
            Login::Kubernetes { path, role, file } => {
                parts.add(path.as_bytes());
                parts.add(role.as_bytes());
                parts.add(file.as_os_str().as_encoded_bytes());
            }
        }
        parts.digest()
    }
}

fn login(config: &VaultConfig) -> Result<Login, String> {
    let lacking = |what: &str| {
        format!(
            "the vault has no {what}: set it where it is declared, or by KONG_VAULT_HCV_{}",
            what.to_ascii_uppercase()
        )
    };
    let secret = |text: &Option<String>| text.as_deref().map(Secret::new);
    let path = |given: &Option<String>, usual: &str| trimmed(given.as_deref().unwrap_or(usual));
    match config.auth_method.as_deref() {
        Some("approle") => {
            let file = config.approle_secret_id_file.as_ref().map(|file| Proof::File(file.into()));
            let proof = secret(&config.approle_secret_id).map(Proof::Given).or(file);
            Ok(Login::AppRole {
                path: path(&config.approle_auth_path, "approle"),
                role: secret(&config.approle_role_id).ok_or_else(|| lacking("approle_role_id"))?,
                proof: proof.ok_or_else(|| lacking("approle_secret_id"))?,
                is_wrapped: config.approle_response_wrapping == Some(true),
            })
        }
        Some("kubernetes") => Ok(Login::Kubernetes {
            path: path(&config.kube_auth_path, "kubernetes"),
            role: config.kube_role.clone().unwrap_or_else(|| "default".to_owned()),
            file: config.kube_api_token_file.as_deref().unwrap_or(SERVICE_ACCOUNT).into(),
        }),
        _ => secret(&config.token).map(Login::Token).ok_or_else(|| lacking("token")),
    }
}

fn trimmed(path: &str) -> String {
    encoded(path.trim_matches('/'))
}

/// Where on the server a resource is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Behind `/v1/`.
    pub path: String,
    /// The engine keeps versions: what is meant is one level deeper in its answers.
    pub is_versioned: bool,
}

impl Place {
    /// Where what is wanted is.
    ///
    /// # Errors
    /// When it can be nowhere.
    pub fn of(wanted: &Wanted) -> Result<Self, String> {
        let Wanted { config, resource, version, .. } = wanted;
        let is_versioned = config.kv.as_deref() == Some("v2");
        if resource.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(format!("'{resource}' is no path of a secret"));
        }
        let mount = trimmed(config.mount.as_deref().unwrap_or("secret"));
        let resource = encoded(resource);
        let path = match (is_versioned, version) {
            (false, Some(_)) => {
                return Err("an engine of the version v1 keeps no versions: set kv to v2".to_owned());
            }
            (false, None) => format!("{mount}/{resource}"),
            (true, None) => format!("{mount}/data/{resource}"),
            (true, Some(version)) => format!("{mount}/data/{resource}?version={version}"),
        };
        Ok(Self { path, is_versioned })
    }
}

/// A path whose segments hold nothing that would end them (RFC 3986 3.3).
fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
