//! Where references to secrets are looked up: the environment of the process, files, and servers that keep them.
//!
//! What is found is told to nobody but the configuration; refusals name the place and never a value.

mod files;
mod for_settings;
mod hashicorp;
mod near;
mod renewal;
mod settings;

use engine::TlsSettings;
use model::secret::{Found, HASHICORP, Secret, Vaults, Wanted};
use plugin::figures::Figures;
use serde_json::Value;

pub use for_settings::{LookedUp, Takes};
use hashicorp::{HashiCorp, StandIn};
use near::Near;
pub use renewal::Renewal;
pub use settings::Secrets;
use settings::Usual;

/// The vaults of a process.
pub struct ProcessVaults {
    near: Near,
    usual: Usual,
    servers: HashiCorp,
}

/// The same, but nothing stands in for what cannot be read now.
pub struct Unaided<'a>(pub &'a ProcessVaults);

impl ProcessVaults {
    /// Secrets of this process: its environment, files, and those of servers that are reached with the settings of TLS.
    pub fn of_process(secrets: &Secrets, tls: &TlsSettings) -> Self {
        let variables = std::env::vars_os();
        let texts =
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::new(texts, secrets, tls)
    }

    fn new(variables: impl Iterator<Item = (String, String)>, secrets: &Secrets, tls: &TlsSettings) -> Self {
        Self {
            near: Near::new(variables, secrets.folder.as_deref()),
            usual: secrets.usual.clone(),
            servers: HashiCorp::new(tls.clone()),
        }
    }

    /// Keeps the servers of `found`, the secrets in use, willing to answer.
    pub fn keep_up(&self, found: &[Found]) {
        self.servers.keep_up(found);
    }

    /// Shows the metrics of what is remembered of servers.
    pub fn show_in(&self, figures: &Figures) {
        self.servers.show_in(figures);
    }

    fn read_all(&self, wanted: &[&Wanted], stand_in: StandIn) -> Vec<Result<Secret, String>> {
        let (of_servers, near): (Vec<usize>, Vec<usize>) =
            (0..wanted.len()).partition(|index| wanted[*index].kind == HASHICORP);
        let asked: Vec<&Wanted> = of_servers.iter().map(|index| wanted[*index]).collect();
        let mut outcomes: Vec<(usize, Result<Secret, String>)> =
            of_servers.into_iter().zip(self.servers.read(&asked, stand_in)).collect();
        outcomes.extend(near.into_iter().map(|index| (index, self.near.read(wanted[index]))));
        outcomes.sort_unstable_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }
}

impl Vaults for ProcessVaults {
    fn usual(&self, kind: &str) -> Value {
        self.usual.of(kind)
    }

    fn read(&self, wanted: &[&Wanted]) -> Vec<Result<Secret, String>> {
        self.read_all(wanted, StandIn::Allowed)
    }
}

impl Vaults for Unaided<'_> {
    fn usual(&self, kind: &str) -> Value {
        self.0.usual(kind)
    }

    fn read(&self, wanted: &[&Wanted]) -> Vec<Result<Secret, String>> {
        self.0.read_all(wanted, StandIn::Never)
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
        let mut secrets = Secrets::default();
        let new = |secrets: &Secrets| {
            ProcessVaults::new(variables.clone().into_iter(), secrets, &TlsSettings::default())
        };
        let vaults = new(&secrets);
        assert_eq!(key(&vaults, "{vault://env/signing-key}").unwrap(), r#"{"kid":"k","n":1}"#);
        assert_eq!(key(&vaults, "{vault://mine/signing-key}").unwrap(), r#"{"kid":"k","n":2}"#);
        let missing = key(&vaults, "{vault://mine/other}").unwrap_err();
        assert!(missing.contains("the environment has no variable MY_OTHER"), "{missing}");
        secrets.apply("vault_env_prefix", "my_").unwrap().unwrap();
        assert_eq!(key(&new(&secrets), "{vault://env/signing-key}").unwrap(), r#"{"kid":"k","n":2}"#);
    }
}
