//! Settings of TLS from the environment, and the files they name.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use engine::{Authorities, Pair, TlsSettings, Trusted};
use plugin::exchange::Demand;

use crate::settings::{Environment, duration};

/// The variables read here.
pub const NAMES: [&str; 26] = [
    "ssl_cert",
    "ssl_cert_key",
    "ssl_protocols",
    "ssl_session_tickets",
    "ssl_handshake_timeout",
    "ssl_max_handshakes",
    "lua_ssl_trusted_certificate",
    "nginx_proxy_proxy_ssl_verify",
    "client_ssl",
    "client_ssl_cert",
    "client_ssl_cert_key",
    "ssl_cert_ocsp",
    "ssl_ocsp_folder",
    "ssl_verify_client",
    "ssl_client_ca",
    "ssl_verify_depth",
    "admin_ssl_cert",
    "admin_ssl_cert_key",
    "admin_ssl_verify_client",
    "admin_ssl_client_ca",
    "admin_ssl_verify_depth",
    "status_ssl_cert",
    "status_ssl_cert_key",
    "status_ssl_verify_client",
    "status_ssl_client_ca",
    "status_ssl_verify_depth",
];

/// The settings that `given` comes to, and everything that is wrong with it.
pub fn read(given: &Environment) -> (TlsSettings, Vec<String>) {
    let mut reading = Reading { given, problems: Vec::new() };
    let mut tls = TlsSettings::default();
    reading.parse("ssl_protocols", &mut tls.versions, |value| value.parse());
    reading.parse("ssl_session_tickets", &mut tls.session_tickets, switch);
    reading.parse("ssl_handshake_timeout", &mut tls.handshake_timeout, |value| {
        duration(value).ok_or_else(|| format!("'{value}' is not a time like 60, 60s, 500ms or 2m"))
    });
    reading.parse("ssl_max_handshakes", &mut tls.max_handshakes, |value| {
        value.parse().map_err(|_| format!("'{value}' is not a number"))
    });
    reading.parse("nginx_proxy_proxy_ssl_verify", &mut tls.verify_services, switch);
    reading.parse("lua_ssl_trusted_certificate", &mut tls.trusted, trusted);
    tls.default_certificates = reading.pairs("ssl_cert", "ssl_cert_key");
    reading.clients("", &mut tls);
    reading.staples(&mut tls);
    let mut client_ssl = false;
    reading.parse("client_ssl", &mut client_ssl, switch);
    if client_ssl {
        tls.client_certificate = reading.pairs("client_ssl_cert", "client_ssl_cert_key").into_iter().next();
        if tls.client_certificate.is_none() && reading.problems.is_empty() {
            reading.problems.push("KONG_CLIENT_SSL: it needs KONG_CLIENT_SSL_CERT and its key".to_owned());
        }
    }
    (tls, reading.problems)
}

/// The settings that the Admin API or the status listener has instead of those in `proxy`, and what is wrong with them.
/// It shows a certificate of its own and asks clients for theirs only by its own settings.
pub fn read_control(given: &Environment, proxy: &TlsSettings, listener: &str) -> (TlsSettings, Vec<String>) {
    let mut reading = Reading { given, problems: Vec::new() };
    let TlsSettings { versions, session_tickets, .. } = *proxy;
    let mut tls = TlsSettings { versions, session_tickets, ..TlsSettings::default() };
    let (certificate, key) = (format!("{listener}_ssl_cert"), format!("{listener}_ssl_cert_key"));
    tls.default_certificates = reading.pairs(&certificate, &key);
    reading.clients(&format!("{listener}_"), &mut tls);
    if tls.verify_client == Demand::Request {
        let name = named(&format!("{listener}_ssl_verify_client"));
        reading
            .problems
            .push(format!("{name}: nobody looks at what is merely requested here; write 'require' or 'off'"));
    }
    (tls, reading.problems)
}

/// Where responses of OCSP are, which may change while the gateway runs.
pub fn staples(tls: &TlsSettings) -> Vec<PathBuf> {
    tls.default_staples.iter().flatten().chain(&tls.staples).cloned().collect()
}

/// Versions that are asked for and that nobody should speak any more.
pub fn unspoken(given: &Environment) -> impl Iterator<Item = &str> {
    let versions = given.get("ssl_protocols").map_or("", String::as_str).split([' ', ',']);
    versions.filter(|version| matches!(*version, "SSLv2" | "SSLv3" | "TLSv1" | "TLSv1.1"))
}

struct Reading<'a> {
    given: &'a Environment,
    problems: Vec<String>,
}

impl Reading<'_> {
    fn parse<T>(&mut self, name: &str, place: &mut T, parse: impl FnOnce(&str) -> Result<T, String>) {
        let Some(value) = self.given.get(name) else { return };
        match parse(value.trim()) {
            Ok(parsed) => *place = parsed,
            Err(problem) => self.problems.push(format!("{}: {problem}", named(name))),
        }
    }

    /// What is demanded of clients, by settings whose names begin with `prefix`.
    fn clients(&mut self, prefix: &str, tls: &mut TlsSettings) {
        let demand = format!("{prefix}ssl_verify_client");
        self.parse(&demand, &mut tls.verify_client, |value| match value {
            "off" => Ok(Demand::Nothing),
            "request" => Ok(Demand::Request),
            "require" => Ok(Demand::Require),
            _ => Err(format!("'{value}' is not 'off', 'request' or 'require'")),
        });
        let authorities = format!("{prefix}ssl_client_ca");
        self.parse(&authorities, &mut tls.client_authorities, |value| {
            let read = |item: String| Authorities::read(&text(&item)?);
            let read = list(value).into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
            if read.is_empty() {
                return Err("it names no file".to_owned());
            }
            Ok(Some(Authorities::all(read)))
        });
        self.parse(&format!("{prefix}ssl_verify_depth"), &mut tls.verify_depth, |value| {
            let depth = value.parse().map_err(|_| format!("'{value}' is not a number"))?;
            Ok(Some(depth))
        });
        let believes = tls.client_authorities.is_some() || self.given.contains_key(&authorities);
        if tls.verify_client == Demand::Require && !believes {
            self.problems.push(format!("{}: 'require' needs {}", named(&demand), named(&authorities)));
        }
    }

    /// Where responses of OCSP are. The files may come later, and change.
    fn staples(&mut self, tls: &mut TlsSettings) {
        let certificates = list(self.given.get("ssl_cert").map_or("", String::as_str)).len();
        self.parse("ssl_cert_ocsp", &mut tls.default_staples, |value| {
            let files: Vec<_> = value.split(',').map(str::trim).collect();
            if files.len() > certificates {
                return Err("there are more of them than certificates in KONG_SSL_CERT".to_owned());
            }
            Ok(files.into_iter().map(|file| (!file.is_empty()).then(|| file.into())).collect())
        });
        self.parse("ssl_ocsp_folder", &mut tls.staples, |value| {
            if Path::new(value).is_dir() {
                Ok(Some(value.into()))
            } else {
                Err(format!("'{value}' is no folder"))
            }
        });
    }

    /// The pairs of two lists of files, one with certificates and one with their keys in the same order.
    fn pairs(&mut self, certificates: &str, keys: &str) -> Vec<Pair> {
        let items = |name: &str| list(self.given.get(name).map_or("", String::as_str));
        let (certificates_given, keys_given) = (items(certificates), items(keys));
        if certificates_given.len() != keys_given.len() {
            let (certificates, keys) = (named(certificates), named(keys));
            self.problems.push(format!("{certificates} and {keys}: each certificate needs its key"));
            return Vec::new();
        }
        let mut pairs = Vec::new();
        for (certificate, key) in certificates_given.iter().zip(&keys_given) {
            let read = text(certificate).map_err(|problem| format!("{}: {problem}", named(certificates)));
            let read = read.and_then(|certificate| {
                let key = text(key).map_err(|problem| format!("{}: {problem}", named(keys)))?;
                Pair::read(&certificate, &key).map_err(|wrong| format!("{}: {wrong}", named(certificates)))
            });
            match read {
                Ok(pair) => pairs.push(pair),
                Err(problem) => self.problems.push(problem),
            }
        }
        pairs
    }
}

/// The name of a variable, as it is written.
fn named(name: &str) -> String {
    format!("KONG_{}", name.to_ascii_uppercase())
}

fn switch(value: &str) -> Result<bool, String> {
    match value {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(format!("'{value}' is not 'on' or 'off'")),
    }
}

fn trusted(value: &str) -> Result<Vec<Trusted>, String> {
    let one = |item: String| match item.as_str() {
        "system" => Ok(Trusted::System),
        _ => Authorities::read(&text(&item)?).map(Trusted::Only),
    };
    list(value).into_iter().map(one).collect()
}

fn list(value: &str) -> Vec<String> {
    value.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

/// The text of a file in PEM form, or that text itself, as it is or in base64. No error repeats it: it may be a key.
fn text(item: &str) -> Result<String, String> {
    const BEGINNING: &str = "-----BEGIN";
    if item.contains(BEGINNING) {
        return Ok(item.to_owned());
    }
    let decoded = STANDARD.decode(item).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some(text) = decoded.filter(|text| text.contains(BEGINNING)) {
        return Ok(text);
    }
    let named = if may_be_a_key(item) { "what is no text in PEM form, as a file" } else { item };
    fs::read_to_string(item).map_err(|error| format!("cannot read {named}: {error}"))
}

/// Whether it looks like a piece of a key rather than like the name of a file: as long as the shortest, of nothing but base64.
fn may_be_a_key(item: &str) -> bool {
    const SHORTEST: usize = 40;
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_ \r\n\t".contains(&byte);
    item.len() >= SHORTEST && item.bytes().all(is_base64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn problems(variables: &[(&str, &str)]) -> Vec<String> {
        read(&environment(variables)).1
    }

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_wrong_value_is_reported_by_its_name() {
        for (name, value) in [
            ("ssl_protocols", "TLSv1.1"),
            ("ssl_session_tickets", "maybe"),
            ("ssl_handshake_timeout", "soon"),
            ("ssl_max_handshakes", "many"),
            ("ssl_cert", "/nowhere/a.crt"),
            ("client_ssl", "on"),
            ("ssl_verify_client", "maybe"),
            ("ssl_verify_client", "require"),
            ("ssl_client_ca", "/nowhere/ca.crt"),
            ("ssl_verify_depth", "deep"),
            ("ssl_cert_ocsp", "/nowhere/a.ocsp"),
            ("ssl_ocsp_folder", "/nowhere"),
            ("lua_ssl_trusted_certificate", "system,/nowhere/ca.crt"),
        ] {
            let found = problems(&[(name, value)]);
            assert_eq!(found.len(), 1, "{name}: {found:?}");
            assert!(found[0].starts_with(&format!("KONG_{}", name.to_ascii_uppercase())), "{found:?}");
        }
        for (name, value) in [
            ("verify_client", "require"),
            ("verify_client", "request"),
            ("client_ca", "/nowhere/ca.crt"),
            ("cert", "/nowhere"),
        ] {
            for listener in ["admin", "status"] {
                let name = format!("{listener}_ssl_{name}");
                let found =
                    read_control(&environment(&[(&name, value)]), &TlsSettings::default(), listener).1;
                assert_eq!(found.len(), 1, "{name}: {found:?}");
                assert!(found[0].starts_with(&named(&name)), "{found:?}");
            }
        }
        let both = [("ssl_cert", "/nowhere/a.crt"), ("ssl_cert_key", "/nowhere/a.key")];
        assert!(problems(&both)[0].contains("cannot read /nowhere/a.crt"));
        let broken = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----";
        let found = problems(&[("ssl_cert", broken), ("ssl_cert_key", broken)]);
        assert!(!found[0].contains("c2VjcmV0"), "{found:?}");
    }

    #[test]
    fn a_key_in_base64_is_taken_and_one_that_is_cut_off_is_not_told() {
        let pem = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
        assert_eq!(text(&STANDARD.encode(pem)).unwrap(), pem);
        let pieces =
            ["MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF", &STANDARD.encode(pem)[1..]];
        for piece in pieces {
            let found = problems(&[("ssl_cert", "/nowhere/a.crt"), ("ssl_cert_key", piece)]);
            assert!(found[0].starts_with("KONG_SSL_CERT"), "{found:?}");
            let found = text(piece).unwrap_err();
            assert!(
                found.starts_with("cannot read what is no text in PEM form") && !found.contains(piece),
                "{found}"
            );
        }
        assert!(
            text("/etc/ssl/private/a-folder-with-a-long-name/site.key").unwrap_err().contains("site.key")
        );
    }

    #[test]
    fn values_reach_the_settings() {
        let given = environment(&[
            ("ssl_protocols", "TLSv1.1 TLSv1.3"),
            ("ssl_handshake_timeout", "500ms"),
            ("ssl_max_handshakes", "7"),
            ("ssl_session_tickets", "off"),
            ("nginx_proxy_proxy_ssl_verify", "on"),
        ]);
        let (tls, problems) = read(&given);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!((tls.handshake_timeout, tls.max_handshakes), (Duration::from_millis(500), 7));
        assert!(!tls.session_tickets && tls.verify_services && !tls.versions.tls12());
        assert_eq!(unspoken(&given).collect::<Vec<_>>(), ["TLSv1.1"]);
    }
}
