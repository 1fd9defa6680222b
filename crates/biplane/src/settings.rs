//! Settings from the environment of a DB-less Kong deployment (`KONG_*`), and what of it is not honoured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::{Settings, TlsSettings};
use model::misspelt;
use plugin::identity::IdentityHeaders;
use plugin::usage;

use crate::tls;
use crate::vaults::{LookedUp, Secrets, Takes};
use crate::zero;

mod table;
mod values;

use values::Given;
pub use values::duration;

/// `KONG_*` variables, without the prefix, in lower case.
pub type Environment = BTreeMap<String, String>;

/// Variables that have their effect elsewhere: on the command line, or none is needed here.
const ELSEWHERE: [&str; 15] = [
    "conf",
    "pid_file",
    "declarative_config",
    "proxy_listen",
    "stream_listen",
    "admin_listen",
    "status_listen",
    "nginx_worker_processes",
    "database",
    "router_flavor",
    "log_level",
    "prefix",
    "admin_gui_url",
    "admin_gui_api_url",
    "admin_api_uri",
];

/// What the environment came to.
#[derive(Debug)]
pub struct FromEnvironment {
    /// The settings of the data plane.
    pub settings: Settings,
    /// TLS of the Admin API.
    pub admin_tls: TlsSettings,
    /// TLS of the status listener.
    pub status_tls: TlsSettings,
    /// Name servers, where given.
    pub dns_servers: Vec<std::net::SocketAddr>,
    /// Which kinds of records names are asked for.
    pub dns_order: engine::DnsOrder,
    /// The folder in which lists of discovered targets outlive the process, if they do.
    pub discovery_folder: Option<PathBuf>,
    /// How old such a list may become, if not as old as it likes.
    pub discovery_max_age: Option<Duration>,
    /// Where usage is kept, if anywhere.
    pub usage: Option<usage::Settings>,
    /// Where secrets are looked up, and how often.
    pub secrets: Secrets,
    /// What the headers are called that tell upstreams who calls.
    pub identity_headers: IdentityHeaders,
    /// Everything that was given, for `GET /`.
    pub given: Environment,
    /// What was given and is not honoured.
    pub warnings: Vec<String>,
}

/// Reads the process's environment.
///
/// # Errors
/// Everything that is wrong, one line each.
pub fn from_environment(
    variables: impl Iterator<Item = (String, String)>,
) -> Result<FromEnvironment, String> {
    let variables: Vec<_> = variables.collect();
    read(given_by(&variables), &variables)
}

/// The settings among variables.
fn given_by(variables: &[(String, String)]) -> Environment {
    let named = |(name, value): &(String, String)| {
        Some((name.strip_prefix("KONG_")?.to_ascii_lowercase(), value.clone()))
    };
    variables.iter().filter_map(named).collect()
}

/// Reads what was given; `variables` are for references to secrets.
fn read(given: Environment, variables: &[(String, String)]) -> Result<FromEnvironment, String> {
    let looked_up = LookedUp::new(&given, variables, takes);
    let values = &looked_up.values;
    let mut reading = Reading::default();
    let mut problems = Vec::new();
    let mut warnings = reading.apply_all(values, &mut problems);
    let [admin_tls, status_tls] = reading.read_tls(values, &mut problems);
    problems.extend(zero::settle(&mut reading.settings));
    problems.extend(reading.secrets.problems());
    warnings.extend(unhonoured_values(values));
    let told = |messages: Vec<String>| messages.into_iter().map(|message| looked_up.told(message));
    let problems = [looked_up.problems.clone(), told(problems).collect()].concat();
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    let warnings = told(warnings).collect();
    let usage = reading.usage(values);
    let discovery_folder = place(values, "discovery_folder", "discovery");
    let discovery_max_age = reading.discovery_max_age.unwrap_or(engine::DISCOVERY_MAX_AGE);
    let discovery_max_age = Some(discovery_max_age).filter(|age| !age.is_zero());
    let Reading { settings, servers: dns_servers, order: dns_order, secrets, identity_headers, .. } = reading;
    Ok(FromEnvironment {
        settings,
        admin_tls,
        status_tls,
        dns_servers,
        dns_order,
        discovery_folder,
        discovery_max_age,
        usage,
        secrets,
        identity_headers,
        given,
        warnings,
    })
}

/// Reads only how secrets are looked up, and whose servers are believed.
///
/// # Errors
/// Everything that is wrong, one line each.
pub fn about_secrets(
    variables: impl Iterator<Item = (String, String)>,
) -> Result<(Secrets, TlsSettings), String> {
    let variables: Vec<_> = variables.collect();
    let mut given = given_by(&variables);
    given.retain(|name, _| Secrets::concerns(name) || name == "lua_ssl_trusted_certificate");
    let FromEnvironment { secrets, settings, .. } = read(given, &variables)?;
    Ok((secrets, settings.tls))
}

/// Whether a setting takes references to secrets.
fn takes(name: &str) -> Takes {
    match name {
        // References themselves are looked up by them.
        "vault_env_prefix" | "vault_file_path" => Takes::Itself,
        _ if ELSEWHERE.contains(&name) => Takes::Itself,
        _ if known().any(|known| known == name) => Takes::References,
        _ => Takes::Nothing,
    }
}

/// What settings are called that have an effect.
fn known() -> impl Iterator<Item = String> {
    let applied = table::SETTINGS.iter().map(|(name, _)| *name);
    let named = applied.chain(tls::NAMES).chain(ELSEWHERE);
    named.map(str::to_owned).chain(Secrets::names())
}

/// That a setting has no effect, and which one may have been meant.
fn unhonoured(name: &str) -> String {
    let told = format!("KONG_{} is not honoured", name.to_ascii_uppercase());
    let known: Vec<_> = known().collect();
    match misspelt(name, known.iter().map(String::as_str)) {
        Some(meant) => format!("{told}; did you mean KONG_{}?", meant.to_ascii_uppercase()),
        None => told,
    }
}

/// Where something is kept: as a setting of its own says, else under `usual` in the gateway's folder, if there is one.
fn place(given: &Environment, setting: &str, usual: &str) -> Option<PathBuf> {
    let in_prefix = || given.get("prefix").map(|prefix| Path::new(prefix).join(usual));
    given.get(setting).map(Into::into).or_else(in_prefix)
}

fn unhonoured_values(given: &Environment) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(database) = given.get("database").filter(|database| *database != "off") {
        warnings
            .push(format!("KONG_DATABASE={database} is not honoured: the configuration comes from a file"));
    }
    let flavor = given.get("router_flavor").filter(|flavor| *flavor != "traditional_compatible");
    if let Some(flavor) = flavor {
        warnings.push(format!("KONG_ROUTER_FLAVOR={flavor} is not honoured: traditional_compatible is used"));
    }
    for version in tls::unspoken(given) {
        warnings
            .push(format!("KONG_SSL_PROTOCOLS: {version} is not honoured: TLSv1.2 and TLSv1.3 are spoken"));
    }
    warnings
}

/// What settings have come to so far.
#[derive(Default)]
struct Reading {
    settings: Settings,
    servers: Vec<std::net::SocketAddr>,
    order: engine::DnsOrder,
    /// Zero is none.
    discovery_max_age: Option<Duration>,
    usage_interval: Option<Duration>,
    usage_retention_days: Option<u32>,
    secrets: Secrets,
    identity_headers: IdentityHeaders,
}

impl Reading {
    /// Applies what was given. What of it is not honoured.
    fn apply_all(&mut self, values: &Environment, problems: &mut Vec<String>) -> Vec<String> {
        let elsewhere = |name: &str| ELSEWHERE.contains(&name) || tls::NAMES.contains(&name);
        let mut warnings = Vec::new();
        for (name, value) in values {
            let given = Given { name, value, problems: &mut *problems };
            if !elsewhere(name) && !self.apply(given) {
                warnings.push(unhonoured(name));
            }
        }
        warnings
    }

    /// Applies one setting. Whether it is one that is honoured.
    fn apply(&mut self, mut given: Given<'_>) -> bool {
        if let Some((_, apply)) = table::SETTINGS.iter().find(|(name, _)| *name == given.name) {
            apply(self, given);
            return true;
        }
        match self.secrets.apply(given.name, given.value) {
            None => return false,
            Some(Ok(())) => {}
            Some(Err(expected)) => given.is_not(expected),
        }
        true
    }

    /// Reads the settings of TLS: those of the data plane, and, apart, of the Admin API and the status listener.
    fn read_tls(&mut self, values: &Environment, problems: &mut Vec<String>) -> [TlsSettings; 2] {
        let (tls, wrong) = tls::read(values);
        problems.extend(wrong);
        let control = ["admin", "status"].map(|listener| {
            let (tls, wrong) = tls::read_control(values, &tls, listener);
            problems.extend(wrong);
            tls
        });
        self.settings.tls = tls;
        control
    }

    fn usage(&self, given: &Environment) -> Option<usage::Settings> {
        let usual = usage::Settings::at(place(given, "usage_database", "usage.db")?);
        let retention_days =
            self.usage_retention_days.map_or(usual.retention_days, |days| (days > 0).then_some(days));
        Some(usage::Settings {
            interval: self.usage_interval.unwrap_or(usual.interval),
            retention_days,
            ..usual
        })
    }
}

#[cfg(test)]
mod tests;
