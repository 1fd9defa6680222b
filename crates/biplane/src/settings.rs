//! Settings from the environment of a DB-less Kong deployment (`KONG_*`), and what of it is not honoured.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::{Settings, TlsSettings};
use plugin::identity::IdentityHeaders;
use plugin::usage;

use crate::tls;
use crate::vaults::{LookedUp, Secrets, Takes};
use crate::zero;

mod values;

pub use values::duration;

/// `KONG_*` variables, without the prefix, in lower case.
pub type Environment = BTreeMap<String, String>;

/// Variables that have their effect elsewhere: on the command line, or none is needed here.
const ELSEWHERE: [&str; 16] = [
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
    "dns_resolver",
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
    let mut warnings = reading.apply_all(values);
    let [admin_tls, status_tls] = reading.read_tls(values);
    reading.problems.extend(zero::settle(&mut reading.settings));
    reading.problems.extend(reading.secrets.problems());
    warnings.extend(unhonoured_values(values));
    let told = |messages: Vec<String>| messages.into_iter().map(|message| looked_up.told(message));
    let problems = [looked_up.problems.clone(), told(reading.problems).collect()].concat();
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    reading.problems = Vec::new();
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
    let is_honoured = || Reading::default().apply(name, "") || tls::NAMES.contains(&name);
    match name {
        // References themselves are looked up by them.
        "vault_env_prefix" | "vault_file_path" => Takes::Itself,
        _ if is_honoured() => Takes::References,
        _ if ELSEWHERE.contains(&name) => Takes::Itself,
        _ => Takes::Nothing,
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
    problems: Vec<String>,
}

/// Times between two writes of usage: longer ones lose too much, shorter ones write for nothing.
const USAGE_INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

impl Reading {
    /// Applies what was given. What of it is not honoured.
    fn apply_all(&mut self, values: &Environment) -> Vec<String> {
        let elsewhere = |name: &str| ELSEWHERE.contains(&name) || tls::NAMES.contains(&name);
        let mut warnings = Vec::new();
        for (name, value) in values {
            if !self.apply(name, value) && !elsewhere(name) {
                warnings.push(format!("KONG_{} is not honoured", name.to_ascii_uppercase()));
            }
        }
        warnings
    }

    /// Reads the settings of TLS: those of the data plane, and, apart, of the Admin API and the status listener.
    fn read_tls(&mut self, values: &Environment) -> [TlsSettings; 2] {
        let (tls, wrong) = tls::read(values);
        self.problems.extend(wrong);
        let control = ["admin", "status"].map(|listener| {
            let (tls, wrong) = tls::read_control(values, &tls, listener);
            self.problems.extend(wrong);
            tls
        });
        self.settings.tls = tls;
        control
    }

    /// Applies one variable. Whether it is one that is honoured.
    fn apply(&mut self, name: &str, value: &str) -> bool {
        let mut settings = std::mem::take(&mut self.settings);
        let honoured = self.apply_to(&mut settings, name, value);
        self.settings = settings;
        honoured
    }

    fn apply_to(&mut self, settings: &mut Settings, name: &str, value: &str) -> bool {
        match name {
            "trusted_ips" => settings.trusted_networks = self.list(name, value),
            "real_ip_header" => settings.real_ip_header = value.to_owned(),
            "real_ip_recursive" => self.switch(name, value, &mut settings.real_ip_recursive),
            "headers" => self.value(name, value, &mut settings.response_headers),
            "headers_upstream" => settings.request_id_upstream = value != "off",
            "allow_debug_header" => self.switch(name, value, &mut settings.allow_debug_header),
            "error_default_type" => settings.error_default_type = value.to_owned(),
            "upstream_keepalive_pool_size" => self.value(name, value, &mut settings.upstream_pool_size),
            "upstream_keepalive_max_requests" => self.value(name, value, &mut settings.upstream_max_requests),
            "upstream_keepalive_idle_timeout" => {
                self.seconds(name, value, &mut settings.upstream_idle_timeout);
            }
            "nginx_http_client_max_body_size" | "client_max_body_size" => {
                self.size(name, value, &mut settings.max_body_bytes);
            }
            "nginx_http_client_header_timeout" => self.seconds(name, value, &mut settings.head_timeout),
            "nginx_http_client_body_timeout" => self.seconds(name, value, &mut settings.body_timeout),
            "nginx_http_send_timeout" => self.seconds(name, value, &mut settings.send_timeout),
            "nginx_http_keepalive_timeout" => self.seconds(name, value, &mut settings.idle_timeout),
            "nginx_http_keepalive_requests" => {
                self.value(name, value, &mut settings.max_requests_per_connection);
            }
            "nginx_http_http2_max_concurrent_streams" => {
                self.value(name, value, &mut settings.http2.max_streams);
            }
            "nginx_proxy_proxy_ignore_client_abort" => {
                self.switch(name, value, &mut settings.ignore_client_abort);
            }
            "nginx_events_worker_connections" if value == "auto" => {}
            "nginx_events_worker_connections" => self.value(name, value, &mut settings.max_connections),
            "nginx_main_worker_shutdown_timeout" => self.seconds(name, value, &mut settings.drain_timeout),
            "dns_resolver" => self.servers(name, value),
            "dns_order" => match value.parse() {
                Ok(order) => self.order = order,
                Err(()) => self.wrong(name, value, "an order of LAST, SRV, A, AAAA (after A) and CNAME"),
            },
            "discovery_folder" if value.is_empty() => self.wrong(name, value, "the path of a folder"),
            "discovery_folder" => {}
            "discovery_max_age" => {
                self.discovery_max_age = duration(value);
                if self.discovery_max_age.is_none() {
                    self.wrong(name, value, "a time such as 24h, or 0 for any age");
                }
            }
            _ => return self.apply_own(settings, name, value) || self.apply_usage(name, value),
        }
        true
    }

    /// Settings of the database of usage.
    fn apply_usage(&mut self, name: &str, value: &str) -> bool {
        match name {
            "usage_database" if value.is_empty() => self.wrong(name, value, "the path of a file"),
            "usage_database" => {}
            "usage_flush_interval" => {
                self.usage_interval = duration(value).filter(|given| USAGE_INTERVALS.contains(given));
                if self.usage_interval.is_none() {
                    self.wrong(name, value, "a time from 100ms to 1h");
                }
            }
            "usage_retention_days" => {
                let mut days = 0;
                self.value(name, value, &mut days);
                self.usage_retention_days = Some(days);
            }
            _ => return self.apply_secrets(name, value),
        }
        true
    }

    /// Settings of secrets by reference.
    fn apply_secrets(&mut self, name: &str, value: &str) -> bool {
        match self.secrets.apply(name, value) {
            None => return false,
            Some(Ok(())) => {}
            Some(Err(expected)) => self.wrong(name, value, expected),
        }
        true
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

    /// Settings that Kong does not have; they follow its way of naming.
    fn apply_own(&mut self, settings: &mut Settings, name: &str, value: &str) -> bool {
        match name {
            "max_head_size" => self.size(name, value, &mut settings.request_limits.max_head_bytes),
            "max_header_count" => self.value(name, value, &mut settings.request_limits.max_headers),
            "max_line_size" => self.size(name, value, &mut settings.request_limits.max_line_bytes),
            "max_uri_size" => self.size(name, value, &mut settings.request_limits.max_target_bytes),
            "request_buffer_size" => self.size(name, value, &mut settings.request_buffer_bytes),
            "response_buffer_size" => self.size(name, value, &mut settings.response_buffer_bytes),
            "min_body_rate" => self.rate(name, value, &mut settings.min_body_rate),
            "min_send_rate" => self.rate(name, value, &mut settings.min_send_rate),
            "min_rate_grace" => self.seconds(name, value, &mut settings.min_rate_grace),
            "plugin_timeout" => self.seconds(name, value, &mut settings.plugin_timeout),
            "max_connections_per_address" => {
                self.value(name, value, &mut settings.max_connections_per_address);
            }
            "max_udp_sessions" => self.value(name, value, &mut settings.max_udp_sessions),
            "max_resident_size" => self.size(name, value, &mut settings.max_resident_bytes),
            "tunnel_timeout" => self.seconds(name, value, &mut settings.tunnel_timeout),
            "identity_headers" => match value.parse() {
                Ok(names) => self.identity_headers = names,
                Err(problem) => self.problems.push(format!("KONG_IDENTITY_HEADERS: {problem}")),
            },
            _ => return self.apply_http2(&mut settings.http2, name, value),
        }
        true
    }

    /// Bounds of HTTP/2 connections.
    fn apply_http2(&mut self, http2: &mut engine::settings::Http2, name: &str, value: &str) -> bool {
        match name {
            "nginx_http_http2_max_concurrent_streams" => self.value(name, value, &mut http2.max_streams),
            "http2_stream_window_size" => self.window(name, value, &mut http2.stream_window_bytes),
            "http2_connection_window_size" => self.window(name, value, &mut http2.connection_window_bytes),
            "http2_max_header_list_size" => self.window(name, value, &mut http2.max_header_list_bytes),
            "http2_send_buffer_size" => self.size(name, value, &mut http2.send_buffer_bytes),
            "http2_max_control_frames" => self.value(name, value, &mut http2.max_control_frames),
            "http2_max_reset_streams" => self.value(name, value, &mut http2.max_reset_streams),
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests;
