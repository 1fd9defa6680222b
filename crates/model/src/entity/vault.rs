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
        /// Seconds after which a secret is looked up again.
        ttl: Option<f64>, [extension(), between(1, 100_000_000)];
        /// Seconds after which a secret that was not found when it was looked up again is looked up once more.
        neg_ttl: Option<f64>, [extension(), between(1, 100_000_000)];
    }
}

crate::entity! {
    /// A store of secrets under a prefix that references use.
    pub struct Vault in "vaults" {
        /// The word that references begin with.
        prefix: String, [unique(), matches("^[a-z][a-z0-9-]*[a-z0-9]+$"), not_one_of(&KINDS)];
        /// The kind of vault: `env` reads environment variables, `file` files of a folder.
        name: String, [one_of(&KINDS)];
        /// What it is for.
        description: Option<String>;
        /// Settings of the kind.
        config: VaultConfig;
    }
    endpoint_key: "prefix"
    checks: [custom_fields(check_kind)]
}

/// Settings that are for one kind only are not given to another.
fn check_kind(vault: &Value, faults: &mut Faults) {
    let kind = vault["name"].as_str().unwrap_or_default();
    for (field, meant_for) in [("prefix", "env"), ("path", "file")] {
        if meant_for != kind && !vault["config"][field].is_null() {
            let message = format!("is a setting of vaults of the kind '{meant_for}'");
            faults.field(format!("config.{field}"), message);
        }
    }
}
