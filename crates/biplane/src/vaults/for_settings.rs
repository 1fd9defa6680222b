//! References to secrets in the settings of the process (`KONG_...`, `kong.conf`): looked up whenever these are read, in the
//! environment and in files. What is shown of settings are the references.

use std::collections::BTreeMap;
use std::path::Path;

use model::secret::{Found, SecretReference, is_reference, meaning, without_secrets};
use serde_json::{Value, json};

use super::near::Near;
use crate::settings::Environment;

/// The kinds of vaults that need no settings which might be references themselves.
const KINDS: [&str; 2] = ["env", "file"];
const BEGINNING: &str = "{vault://";

/// Whether a setting takes references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    References,
    /// Its value is needed before they can be looked up, or is not for them to say.
    Itself,
    /// Nobody looks at it.
    Nothing,
}

/// Settings, with secrets in place of references. Those whose references stand for nothing are not among them.
pub struct LookedUp {
    pub values: Environment,
    /// What is wrong, with the names of the settings.
    pub problems: Vec<String>,
    /// The settings that refer to secrets, as they are given.
    referring: BTreeMap<String, String>,
    found: Vec<Found>,
}

impl LookedUp {
    /// Looks up what `given` refers to, with these variables of the process.
    pub fn new(given: &Environment, variables: &[(String, String)], takes: impl Fn(&str) -> Takes) -> Self {
        let folder = given.get("vault_file_path").map(Path::new);
        let near = Near::new(variables.iter().cloned(), folder);
        let prefix = given.get("vault_env_prefix").map_or(Value::Null, |prefix| json!({ "prefix": prefix }));
        let mut all = Self {
            values: Environment::new(),
            problems: Vec::new(),
            referring: BTreeMap::new(),
            found: Vec::new(),
        };
        for (name, value) in given {
            let looked_up = match takes(name) {
                _ if !refers(value) => Ok(value.clone()),
                Takes::Nothing => Ok(value.clone()),
                Takes::Itself => Err("takes no reference to a secret; write the value itself".to_owned()),
                Takes::References => {
                    all.referring.insert(name.clone(), value.trim().to_owned());
                    all.with_secrets(value, &near, &prefix)
                }
            };
            match looked_up {
                Ok(value) => _ = all.values.insert(name.clone(), value),
                Err(problem) => all.problems.push(format!("{}: {problem}", named(name))),
            }
        }
        all
    }

    /// A message about settings that says nothing about secrets, not even in part.
    pub fn told(&self, message: String) -> String {
        let continues =
            |rest: &str| rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
        let about = |name: &str| message.strip_prefix(&named(name)).is_some_and(|rest| !continues(rest));
        match self.referring.iter().find(|(name, _)| about(name)) {
            Some((name, given)) => {
                format!("{}: what {given} stands for is not a value that this setting takes", named(name))
            }
            None => without_secrets(&self.found, message),
        }
    }

    fn with_secrets(&mut self, value: &str, near: &Near, prefix: &Value) -> Result<String, String> {
        let mut items = Vec::new();
        for item in items_of(value) {
            if !is_reference(item) {
                items.push(item.to_owned());
                continue;
            }
            let wrong = |reason: String| format!("{item} stands for nothing: {reason}");
            let found = look_up(item, near, prefix).map_err(wrong)?;
            items.push(found.value.reveal().to_owned());
            self.found.push(found);
        }
        Ok(items.join(","))
    }
}

fn look_up(reference: &str, near: &Near, prefix: &Value) -> Result<Found, String> {
    let parsed = SecretReference::parse(reference)?;
    let kind = KINDS.into_iter().find(|kind| *kind == parsed.vault).ok_or_else(|| {
        format!("settings refer to the vaults {} alone, not to '{}'", KINDS.join(" and "), parsed.vault)
    })?;
    let usual = if kind == "env" { prefix.clone() } else { Value::Null };
    let wanted = parsed.wanted(kind, usual)?;
    let value = meaning(&wanted, parsed.key.as_deref(), near.read(&wanted)?)?;
    if refers(value.reveal()) {
        return Err("what is there is a reference itself".to_owned());
    }
    Ok(Found { reference: reference.to_owned(), wanted, key: parsed.key, value })
}

/// The items of a value: a reference alone, or those of a list.
fn items_of(value: &str) -> Vec<&str> {
    let value = value.trim();
    let is_one = is_reference(value) && value.matches(BEGINNING).count() == 1;
    if is_one { vec![value] } else { value.split(',').map(str::trim).collect() }
}

fn refers(value: &str) -> bool {
    items_of(value).into_iter().any(is_reference)
}

/// The name of a variable, as it is written.
fn named(name: &str) -> String {
    format!("KONG_{}", name.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::from_environment;

    const VARIABLES: [(&str, &str); 5] = [
        ("SIZE", "7"),
        ("NETS", "10.0.0.0/8"),
        ("WRONG", "  hidden , other "),
        ("ALL", r#"{"size":"9"}"#),
        ("CIRCLE", "{vault://env/size}"),
    ];

    fn read(name: &str, value: &str) -> Result<crate::settings::FromEnvironment, String> {
        let given = VARIABLES.into_iter().chain([(name, value)]);
        from_environment(given.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    #[test]
    fn a_setting_is_what_its_reference_stands_for_and_shown_as_it_is_given() {
        for (reference, size) in
            [("{vault://env/size}", 7), (" {vault://env/all/size} ", 9), ("{vault://env/ize?prefix=s}", 7)]
        {
            let read = read("KONG_UPSTREAM_KEEPALIVE_POOL_SIZE", reference).unwrap();
            assert_eq!(read.settings.upstream_pool_size, size);
            assert_eq!(read.given["upstream_keepalive_pool_size"], reference);
        }
        let read = read("KONG_TRUSTED_IPS", "192.0.2.0/24, {vault://env/nets}").unwrap();
        assert_eq!(read.settings.trusted_networks.len(), 2, "an item of a list may be one");
    }

    #[test]
    fn a_secret_is_a_file_too_and_settings_of_vaults_refer_to_it() {
        let folder = std::env::temp_dir().join(format!("biplane-settings-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("token"), "hidden\n").unwrap();
        let given = [
            ("KONG_VAULT_FILE_PATH", folder.to_str().unwrap()),
            ("KONG_VAULT_HCV_TOKEN", "{vault://file/token}"),
            ("KONG_VAULT_HCV_HOST", "{vault://env/host}"),
            ("KONG_PLUGIN_TIMEOUT", "{vault://env/none}"),
            ("VAULT_ADDRESS_HOST", "vault.test"),
            ("KONG_VAULT_ENV_PREFIX", "VAULT_ADDRESS_"),
        ];
        let given = || given.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let about_secrets = crate::settings::about_secrets(given());
        let all = from_environment(given());
        std::fs::remove_dir_all(&folder).unwrap();
        let (secrets, _) = about_secrets.unwrap();
        assert_eq!(secrets.usual.of("hcv"), json!({"token": "hidden", "host": "vault.test"}));
        let problem = all.unwrap_err();
        let told = "KONG_PLUGIN_TIMEOUT: {vault://env/none} stands for nothing: \
                    the environment has no variable VAULT_ADDRESS_NONE";
        assert_eq!(problem, told);
    }

    #[test]
    fn what_is_wrong_is_told_by_the_name_of_the_setting_and_never_what_is_secret() {
        for (name, value, told) in [
            ("KONG_TRUSTED_IPS", "{vault://env/wrong}", "what {vault://env/wrong} stands for is not a value"),
            ("KONG_UPSTREAM_KEEPALIVE_POOL_SIZE", "{vault://env/wrong}", "stands for is not a value"),
            ("KONG_SSL_CERT", "{vault://env/wrong}", "stands for is not a value"),
            ("KONG_SSL_OCSP_FOLDER", "{vault://env/wrong}", "stands for is not a value"),
            ("KONG_VAULT_HCV_PORT", "{vault://env/wrong}", "stands for is not a value"),
            (
                "KONG_HEADERS",
                "{vault://env/none}",
                "{vault://env/none} stands for nothing: the environment has",
            ),
            ("KONG_HEADERS", "{vault://file/../x}", "does not name a file in"),
            ("KONG_HEADERS", "{vault://hcv/a/b}", "the vaults env and file alone, not to 'hcv'"),
            ("KONG_HEADERS", "{vault://env/circle}", "a reference itself"),
            ("KONG_HEADERS", "{vault://env/size#2}", "has no versions"),
            ("KONG_HEADERS", "{vault://env}", "names nothing"),
            ("KONG_PROXY_LISTEN", "{vault://env/size}", "takes no reference to a secret"),
            ("KONG_LOG_LEVEL", "{vault://env/size}", "takes no reference to a secret"),
            ("KONG_VAULT_ENV_PREFIX", "{vault://env/size}", "takes no reference to a secret"),
        ] {
            let problem = read(name, value).unwrap_err();
            assert!(problem.starts_with(&format!("{name}: ")) && problem.contains(told), "{problem}");
            assert!(!problem.contains("hidden") && !problem.contains("other"), "{problem}");
        }
    }

    #[test]
    fn what_nobody_looks_at_is_not_looked_up() {
        let read = read("KONG_PG_PASSWORD", "{vault://aws/nowhere}").unwrap();
        assert_eq!(read.warnings, ["KONG_PG_PASSWORD is not honoured"]);
    }
}
