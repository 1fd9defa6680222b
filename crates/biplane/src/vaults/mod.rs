//! Where references to secrets are looked up: the environment of the process, and files.
//!
//! What is found is told to nobody but the configuration; refusals name the place and never a value.

mod files;
mod renewal;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use model::secret::{Secret, Vaults, Wanted};

pub use renewal::Renewal;

/// Folder of secrets where nobody names another: the one in which containers find theirs.
const USUAL_FOLDER: &str = "/run/secrets";

/// The vaults of a process.
pub struct ProcessVaults {
    variables: HashMap<String, Secret>,
    folder: PathBuf,
}

impl ProcessVaults {
    /// Secrets of this process: its environment, and files in `folder` where a vault names no other.
    pub fn of_process(folder: Option<&Path>) -> Self {
        let variables = std::env::vars_os();
        let texts =
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::new(texts, folder)
    }

    fn new(variables: impl Iterator<Item = (String, String)>, folder: Option<&Path>) -> Self {
        Self {
            variables: variables.map(|(name, value)| (name, Secret::new(value))).collect(),
            folder: folder.unwrap_or(Path::new(USUAL_FOLDER)).to_owned(),
        }
    }

    /// As Kong names variables: in capitals, with `_` for `-`, behind the vault's prefix (kong.md 1.8).
    fn variable(&self, prefix: Option<&str>, resource: &str) -> Result<Secret, String> {
        let name = format!("{}{resource}", prefix.unwrap_or_default()).replace('-', "_").to_ascii_uppercase();
        let value = self.variables.get(&name).cloned();
        value.ok_or_else(|| format!("the environment has no variable {name}"))
    }
}

impl Vaults for ProcessVaults {
    fn read(&self, wanted: &Wanted) -> Result<Secret, String> {
        let config = &wanted.config;
        match wanted.kind {
            "file" => {
                let folder = config.path.as_deref().map_or(self.folder.as_path(), Path::new);
                files::read(folder, &wanted.resource)
            }
            _ => self.variable(config.prefix.as_deref(), &wanted.resource),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Catalog;
    use model::declarative::load_with;

    use super::*;

    /// What a key by `reference` comes to: the key, or why there is none.
    fn key(vaults: &ProcessVaults, reference: &str) -> Result<String, String> {
        let text = format!(
            "{{_format_version: '3.0', key_sets: [{{name: s}}], vaults: [{{prefix: mine, name: env, config: {{prefix: my_}}}}], keys: [{{kid: k, jwk: '{reference}'}}]}}"
        );
        match load_with("kong.yml", &text, &Catalog::default(), vaults) {
            Ok(config) => Ok(config.keys[0].jwk.clone().unwrap_or_default()),
            Err(problems) => Err(problems[0].message.clone()),
        }
    }

    #[test]
    fn variables_have_the_names_that_kong_gives_them() {
        let variables = [("SIGNING_KEY", r#"{"kid":"k","n":1}"#), ("MY_SIGNING_KEY", r#"{"kid":"k","n":2}"#)];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let vaults = ProcessVaults::new(variables.into_iter(), None);
        assert_eq!(key(&vaults, "{vault://env/signing-key}").unwrap(), r#"{"kid":"k","n":1}"#);
        assert_eq!(key(&vaults, "{vault://mine/signing-key}").unwrap(), r#"{"kid":"k","n":2}"#);
        let missing = key(&vaults, "{vault://mine/other}").unwrap_err();
        assert!(missing.contains("the environment has no variable MY_OTHER"), "{missing}");
    }
}
