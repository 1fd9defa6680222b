//! Vaults: where `{vault://...}` references look secrets up.

use serde_json::Value;

use crate::schema::Faults;
use crate::secret::KINDS;

crate::record! {
    /// Settings of a vault. Each is for the kinds that its text names; those about times are for all.
    pub struct VaultConfig {
        /// `env`: what the names of variables begin with.
        prefix: Option<String>, [matches("^[A-Za-z_][A-Za-z0-9_-]*$")];
        /// `file`: the folder in which each file is a secret.
        path: Option<String>, [extension(), starts_with("/")];
        /// `hcv`: whether the server is reached by `https` or `http`, which is what counts without it.
        protocol: Option<String>, [extension(), one_of(&["http", "https"])];
        /// `hcv`: name or address of the server; 127.0.0.1 without it.
        host: Option<String>, [extension(), len_min(1), custom_value(is_host)];
        /// `hcv`: its port; 8200 without it.
        port: Option<u16>, [extension(), between(1, 65535)];
        /// `hcv`: where the engine that holds the secrets is mounted; `secret` without it.
        mount: Option<String>, [extension(), len_min(1)];
        /// `hcv`: version of that engine, KV; `v1` without it.
        kv: Option<String>, [extension(), one_of(&["v1", "v2"])];
        /// `hcv`: the namespace of everything that is asked for.
        namespace: Option<String>, [extension(), len_min(1), custom_value(is_header)];
        /// `hcv`: how the gateway shows who it is: `token`, which is what counts without it, `approle` or `kubernetes`.
        auth_method: Option<String>, [extension(), one_of(&["token", "approle", "kubernetes"])];
        /// `hcv` with `token`: the token.
        token: Option<String>, [extension(), referenceable(), encrypted(), len_min(1), custom_value(is_header)];
        /// `hcv` with `approle`: where the method is mounted; `approle` without it.
        approle_auth_path: Option<String>, [extension(), len_min(1)];
        /// `hcv` with `approle`: the role.
        approle_role_id: Option<String>, [extension(), referenceable(), encrypted(), len_min(1)];
        /// `hcv` with `approle`: what proves the role.
        approle_secret_id: Option<String>, [extension(), referenceable(), encrypted(), len_min(1)];
        /// `hcv` with `approle`: the file that holds what proves the role. It is read whenever the gateway logs in.
        approle_secret_id_file: Option<String>, [extension(), starts_with("/")];
        /// `hcv` with `approle`: whether what is given is a token that wraps the secret id, and can be unwrapped once.
        approle_response_wrapping: Option<bool>, [extension()];
        /// `hcv` with `kubernetes`: where the method is mounted; `kubernetes` without it.
        kube_auth_path: Option<String>, [extension(), len_min(1)];
        /// `hcv` with `kubernetes`: the role; `default` without it.
        kube_role: Option<String>, [extension(), len_min(1)];
        /// `hcv` with `kubernetes`: the file that holds the token of the service account; where Kubernetes puts it without
        /// it.
        kube_api_token_file: Option<String>, [extension(), starts_with("/")];
        /// Whether secrets are base64, and what they encode is meant. It has to be text.
        base64_decode: Option<bool>, [extension()];
        /// Seconds after which a secret is looked up again.
        ttl: Option<f64>, [extension(), between(1, 100_000_000)];
        /// Seconds after which a secret that was not found when it was looked up again is looked up once more.
        neg_ttl: Option<f64>, [extension(), between(1, 100_000_000)];
        /// `hcv`: seconds, behind `ttl`, for which what was last found stands in for a secret when a configuration is loaded
        /// and the server does not answer; 100,000,000 without it.
        resurrect_ttl: Option<f64>, [extension(), between(0, 100_000_000)];
    }
}

crate::entity! {
    /// A store of secrets under a prefix that references use.
    pub struct Vault in "vaults" {
        /// The word that references begin with.
        prefix: String, [unique(), matches("^[a-z][a-z0-9-]*[a-z0-9]+$"), not_one_of(&KINDS)];
        /// The kind of vault: `env` reads environment variables, `file` files of a folder, `hcv` asks HashiCorp Vault or
        /// OpenBao.
        name: String, [one_of(&KINDS)];
        /// What it is for.
        description: Option<String>;
        /// Settings of the kind.
        config: VaultConfig;
    }
    endpoint_key: "prefix"
    checks: [custom_fields(check_kind)]
}

/// Settings that are for one kind only, with the kind.
const MEANT_FOR: [(&str, &str); 19] = [
    ("prefix", "env"),
    ("path", "file"),
    ("protocol", "hcv"),
    ("host", "hcv"),
    ("port", "hcv"),
    ("mount", "hcv"),
    ("kv", "hcv"),
    ("namespace", "hcv"),
    ("auth_method", "hcv"),
    ("token", "hcv"),
    ("approle_auth_path", "hcv"),
    ("approle_role_id", "hcv"),
    ("approle_secret_id", "hcv"),
    ("approle_secret_id_file", "hcv"),
    ("approle_response_wrapping", "hcv"),
    ("kube_auth_path", "hcv"),
    ("kube_role", "hcv"),
    ("kube_api_token_file", "hcv"),
    ("resurrect_ttl", "hcv"),
];

/// Settings that are for one kind only are not given to another, and those that one needs are there.
fn check_kind(vault: &Value, faults: &mut Faults) {
    let kind = vault["name"].as_str().unwrap_or_default();
    for (field, meant_for) in MEANT_FOR {
        if meant_for != kind && !vault["config"][field].is_null() {
            let message = format!("is a setting of vaults of the kind '{meant_for}'");
            faults.field(format!("config.{field}"), message);
        }
    }
    if kind == "hcv" {
        for (field, message) in lacking(&vault["config"]) {
            faults.field(format!("config.{field}"), message);
        }
    }
}

/// What is lacking in the settings of a vault of the kind `hcv`, or too much: the field, and why.
#[must_use]
pub fn lacking(config: &Value) -> Vec<(&'static str, String)> {
    let given = |field: &str| !config[field].is_null();
    let method = config["auth_method"].as_str().unwrap_or("token");
    let mut found = Vec::new();
    match method {
        "token" if !given("token") => {
            found.push((
                "token",
                "is required with auth_method 'token', or another method is chosen".to_owned(),
            ));
        }
        "approle" if !given("approle_role_id") => {
            found.push(("approle_role_id", "is required with auth_method 'approle'".to_owned()));
        }
        _ => {}
    }
    let proofs = ["approle_secret_id", "approle_secret_id_file"].map(given);
    if method == "approle" && proofs[0] == proofs[1] {
        let message = "exactly one of approle_secret_id and approle_secret_id_file is required with auth_method 'approle'";
        found.push(("approle_secret_id", message.to_owned()));
    }
    found
}

/// A host that a URL can hold.
fn is_host(value: &Value) -> Result<(), String> {
    let host = value.as_str().unwrap_or_default();
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.bytes().all(of_name) { Ok(()) } else { Err("is neither a host name nor an address".to_owned()) }
}

/// A text that a header can hold.
fn is_header(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("holds a blank, or what is not ASCII".to_owned())
    }
}
