//! How references to secrets are looked up, as the environment of the process says: `KONG_VAULT_...`, `KONG_SECRETS_INTERVAL`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use model::Record;
use model::entity::{VaultConfig, lacking_in_vault};
use model::schema::Kind;
use model::secret::HASHICORP;
use serde_json::{Map, Value};

use crate::settings::duration;

/// How the settings of a server of secrets begin.
const OF_SERVER: &str = "vault_hcv_";
/// What vaults of other kinds have.
const ELSEWHERE: [&str; 2] = ["prefix", "path"];

/// How references to secrets are looked up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Secrets {
    /// The folder of secrets where a vault names no other, if it is not the usual one.
    pub folder: Option<PathBuf>,
    /// Time between two look-ups where neither reference nor vault says; none of the default, zero is never.
    pub interval: Option<Duration>,
    /// Settings of vaults that are named by their kind.
    pub usual: Usual,
}

/// Settings by kind. They may hold secrets.
#[derive(Clone, Default, PartialEq)]
pub struct Usual(BTreeMap<&'static str, Map<String, Value>>);

impl std::fmt::Debug for Usual {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

impl Usual {
    /// The settings of a kind.
    pub fn of(&self, kind: &str) -> Value {
        self.0.get(kind).cloned().map_or(Value::Null, Value::Object)
    }

    fn set(&mut self, kind: &'static str, field: &str, value: Value) {
        self.0.entry(kind).or_default().insert(field.to_owned(), value);
    }
}

impl Secrets {
    /// Time between two look-ups; none is never.
    pub fn interval(&self) -> Option<Duration> {
        const USUAL: Duration = Duration::from_secs(60);
        Some(self.interval.unwrap_or(USUAL)).filter(|interval| !interval.is_zero())
    }

    /// Whether a setting is about secrets.
    pub fn concerns(name: &str) -> bool {
        name == "secrets_interval" || name.starts_with("vault_")
    }

    /// What settings of secrets are called.
    pub fn names() -> impl Iterator<Item = String> {
        let fields = VaultConfig::schema().fields.into_iter().map(|field| field.name);
        let of_servers = fields.filter(|field| !ELSEWHERE.contains(field));
        let plain = ["vault_file_path", "vault_env_prefix", "secrets_interval"].map(str::to_owned);
        plain.into_iter().chain(of_servers.map(|field| format!("{OF_SERVER}{field}")))
    }

    /// Applies one setting. None if it is not honoured, otherwise what is expected of it where it is wrong.
    pub fn apply(&mut self, name: &str, value: &str) -> Option<Result<(), &'static str>> {
        match name {
            "vault_file_path" if !value.starts_with('/') => return Some(Err("the full path of a folder")),
            "vault_file_path" => self.folder = Some(value.into()),
            "vault_env_prefix" => self.usual.set("env", "prefix", value.into()),
            "secrets_interval" => {
                let given = duration(value);
                self.interval = given.filter(|given| given.is_zero() || given.as_millis() >= 1000);
                if self.interval.is_none() {
                    return Some(Err("a time from 1s on, or 0 for never"));
                }
            }
            _ => return self.apply_usual(name.strip_prefix(OF_SERVER)?, value),
        }
        Some(Ok(()))
    }

    fn apply_usual(&mut self, name: &str, value: &str) -> Option<Result<(), &'static str>> {
        let schema = VaultConfig::schema();
        let field = schema.field(name).filter(|_| !ELSEWHERE.contains(&name))?;
        let (typed, expected) = match field.element.kind {
            Kind::Integer => (value.parse::<i64>().ok().map(Value::from), "a number"),
            Kind::Number => (value.parse::<f64>().ok().map(Value::from), "a number"),
            Kind::Boolean => (switch(value).map(Value::from), "'on' or 'off'"),
            _ => (Some(Value::from(value)), "a text"),
        };
        Some(typed.map(|value| self.usual.set(HASHICORP, name, value)).ok_or(expected))
    }

    /// What is wrong with all settings together.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (kind, config) in &self.usual.0 {
            let config = Value::Object(config.clone());
            let told = |field: &str, message: &str| {
                format!("KONG_VAULT_{}_{}: {message}", kind.to_ascii_uppercase(), field.to_ascii_uppercase())
            };
            if let Err(wrong) = VaultConfig::schema().check(&config) {
                problems.extend(wrong.iter().map(|wrong| told(&wrong.place.to_string(), &wrong.message)));
            }
            if *kind == HASHICORP {
                problems
                    .extend(lacking_in_vault(&config).iter().map(|(field, message)| told(field, message)));
            }
        }
        problems
    }
}

fn switch(value: &str) -> Option<bool> {
    match value {
        "on" | "true" => Some(true),
        "off" | "false" => Some(false),
        _ => None,
    }
}
