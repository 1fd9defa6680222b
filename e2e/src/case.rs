//! The shape of a case file. Unknown keys are errors: a misspelt expectation must never pass.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

mod answer;
mod step;

pub(crate) use answer::{Answer, lines};
pub(crate) use step::{Condition, Listener, LogLine, Step, Tls};

/// A case: a configuration, what to send, what to expect.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Case {
    /// The declarative configuration as text.
    pub config: Option<String>,
    /// Or a file under `e2e/`, taken byte for byte.
    pub config_file: Option<String>,
    /// What stands in that file, and what is written in its place.
    pub config_replacements: BTreeMap<String, String>,
    /// Further files in the case's own folder.
    pub files: BTreeMap<String, String>,
    /// The name the configuration is written under.
    pub config_name: Option<String>,
    pub env: BTreeMap<String, String>,
    pub args: Vec<String>,
    /// Key pairs made at run time, by name: the kind.
    pub keys: BTreeMap<String, String>,
    pub tokens: BTreeMap<String, TokenSpec>,
    /// Who signs certificates, by name.
    pub authorities: Vec<String>,
    /// Certificates made at run time, by name.
    pub certificates: BTreeMap<String, CertificateSpec>,
    /// An upstream under TLS.
    pub secure_upstream: Option<SecureUpstream>,
    /// Host names the gateway resolves to an upstream of the case listening on this port.
    pub hosts: BTreeMap<String, u16>,
    /// Configurations for `biplane check`.
    pub checks: Vec<Check>,
    /// The gateway must end at its start instead of serving.
    pub refuses: Option<Refusal>,
    /// Requests and other acts, in order; each is a [`Step`].
    pub steps: Vec<Value>,
}

/// A certificate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateSpec {
    pub names: Vec<String>,
    /// The name of an authority.
    pub by: String,
    /// An RSA key instead of an elliptic one.
    #[serde(default)]
    pub rsa: bool,
    /// Its time is over.
    #[serde(default)]
    pub expired: bool,
    /// The URL of a responder of OCSP that it names.
    pub responder: Option<String>,
}

/// An upstream under TLS.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecureUpstream {
    /// The name of the certificate it shows.
    pub shows: String,
    /// The name of an authority: clients must show a certificate of it.
    pub clients: Option<String>,
}

/// A signed JWT.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenSpec {
    pub alg: String,
    /// The shared secret of an HS algorithm.
    #[serde(default)]
    pub secret: String,
    /// The name of a key in `keys` for the others.
    #[serde(default)]
    pub key: String,
    /// More header members, or other values for `alg` and `typ`.
    #[serde(default)]
    pub header: Map<String, Value>,
    #[serde(default)]
    pub claims: Map<String, Value>,
}

/// One run of `biplane check`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Check {
    pub note: String,
    pub config: String,
    pub config_name: Option<String>,
    pub exit: i32,
    /// Texts the output must hold; `~` begins a regular expression.
    pub says: Vec<String>,
    pub lacks: Vec<String>,
}

/// How a start fails.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refusal {
    pub exit: i32,
    /// Texts the output must hold.
    #[serde(default)]
    pub says: Vec<String>,
}

impl Case {
    /// Reads a case and checks the shape of every step.
    pub fn parse(text: &str) -> Result<Case, String> {
        let value: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let case: Case = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if case.steps.is_empty() && case.checks.is_empty() && case.refuses.is_none() {
            return Err("a case needs steps, checks or refuses".to_owned());
        }
        for (index, step) in case.steps.iter().enumerate() {
            let step: Step = serde_json::from_value(step.clone())
                .map_err(|error| format!("step {}: {error}", index + 1))?;
            step.verify().map_err(|error| format!("step {}: {error}", index + 1))?;
            crate::judge::verify(&step).map_err(|error| format!("step {}: {error}", index + 1))?;
        }
        Ok(case)
    }

    /// Whether only a gateway started by the runner can take this case.
    pub fn needs_own_process(&self) -> bool {
        let acts = [
            "write_config",
            "write",
            "replace",
            "signal",
            "restart",
            "stderr",
            "exit",
            "connect",
            "log",
            "datagram",
        ];
        let local = |step: &Value| {
            acts.iter().any(|key| step.get(key).is_some()) || step.get("to").is_some_and(|to| to == "status")
        };
        !self.env.is_empty()
            || !self.args.is_empty()
            || !self.hosts.is_empty()
            || !self.files.is_empty()
            || !self.checks.is_empty()
            || self.refuses.is_some()
            || self.steps.iter().any(local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_file_has_the_right_shape() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
        let files = crate::find_cases(&folder).unwrap();
        assert!(files.len() > 100, "only {} cases under {}", files.len(), folder.display());
        let broken: Vec<String> = files
            .iter()
            .filter_map(|file| {
                let error = Case::parse(&std::fs::read_to_string(file).unwrap()).err()?;
                Some(format!("{}: {error}", file.display()))
            })
            .collect();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }

    #[test]
    fn a_step_that_expects_nothing_or_misspells_something_is_refused() {
        let parse = |steps: &str| Case::parse(&format!("config: x\nsteps:\n{steps}")).map(|_| ());
        assert!(parse("- {request: GET /, reply: 200}").is_ok());
        assert!(parse("- {request: GET /}").unwrap_err().contains("expects nothing"));
        assert!(parse("- {request: GET /, repyl: 200}").unwrap_err().contains("repyl"));
        assert!(parse("- {note: nothing}").unwrap_err().contains("does nothing"));
    }
}
