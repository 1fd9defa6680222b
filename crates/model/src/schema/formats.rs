//! Named formats of strings, shared by entities and plugin configurations, with Kong's wordings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Rule;
use super::rules_list::constructors::between;
use crate::network;
use crate::pem::{Certificate, PrivateKey};

/// A header name: letters, digits, `_` and `-`.
pub fn header_name() -> Rule {
    Rule::Format("header_name", check_header_name)
}

/// The value of a header (RFC 9110 5.5). It may be a secret, so that it is not told.
pub fn header_value() -> Rule {
    Rule::Format("header_value", |text| {
        match text.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control()) {
            true => Ok(()),
            false => Err("is no value of a header field".to_owned()),
        }
    })
}

/// A host name or IP address without port.
pub fn host() -> Rule {
    Rule::Format("host", check_host)
}

/// A host name or IP address, with or without port.
pub fn host_with_optional_port() -> Rule {
    Rule::Format("host_with_optional_port", check_host_with_optional_port)
}

/// A host name, no address, no port.
pub fn host_name() -> Rule {
    Rule::Format("host_name", check_host_name)
}

/// A host name with at most one `*`, as its whole first or last label.
pub fn wildcard_host() -> Rule {
    Rule::Format("wildcard_host", check_wildcard_host)
}

/// An IP address.
pub fn ip() -> Rule {
    Rule::Format("ip", check_ip)
}

/// An IP address or a CIDR range.
pub fn ip_or_cidr() -> Rule {
    Rule::Format("ip_or_cidr", check_ip_or_cidr)
}

/// An absolute path.
pub fn path() -> Rule {
    Rule::Format("path", check_path)
}

/// An absolute path, and maybe a query behind it (RFC 3986 3.4).
pub fn path_and_query() -> Rule {
    Rule::Format("path", |text| {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        check_path(path)?;
        if query.bytes().all(|byte| byte == b'?' || is_path_character(byte)) {
            Ok(())
        } else {
            Err(strange_in_path(text))
        }
    })
}

/// An absolute URL.
pub fn url() -> Rule {
    Rule::Format("url", check_url)
}

/// A request method: capital letters.
pub fn http_method() -> Rule {
    Rule::Format("http_method", check_method)
}

/// An entity's name.
pub fn utf8_name() -> Rule {
    Rule::Format("utf8_name", check_name)
}

/// A tag.
pub fn tag() -> Rule {
    Rule::Format("tag", check_tag)
}

/// A regular expression of the `regex` crate.
pub fn regex() -> Rule {
    Rule::Format("regex", check_regex)
}

/// A server name of TLS, with at most one `*`; `*` alone stands for any.
pub fn server_name_pattern() -> Rule {
    Rule::Format("server_name_pattern", |text| match text {
        "*" => Ok(()),
        // No client sends one (RFC 6066 3).
        _ if text.parse::<IpAddr>().is_ok() => Err("must not be an IP".to_owned()),
        _ if text.contains(':') => Err("must not have a port".to_owned()),
        _ => check_wildcard_host(text),
    })
}

/// One or more certificates, PEM.
pub fn pem_certificate() -> Rule {
    Rule::Format("pem_certificate", |text| Certificate::all(text).map(drop))
}

/// Exactly one certificate, PEM.
pub fn pem_single_certificate() -> Rule {
    Rule::Format("pem_single_certificate", |text| match Certificate::all(text)?.len() {
        1 => Ok(()),
        _ => Err("please submit only one certificate at a time".to_owned()),
    })
}

/// A private key, PEM.
pub fn pem_key() -> Rule {
    Rule::Format("pem_key", |text| PrivateKey::first(text).map(drop))
}

/// A public key, PEM.
pub fn pem_public_key() -> Rule {
    Rule::Format("pem_public_key", |text| match count_blocks(text, "PUBLIC KEY") {
        0 => Err("could not load public key".to_owned()),
        _ => Ok(()),
    })
}

/// Complete PEM blocks whose label ends so (`PUBLIC KEY` also counts `RSA PUBLIC KEY`).
fn count_blocks(text: &str, label: &str) -> usize {
    let begins =
        text.lines().filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    let complete = |begin: &&str| begin.ends_with(label) && text.contains(&format!("-----END {begin}-----"));
    begins.filter(complete).count()
}

/// A UUID.
pub fn uuid() -> Rule {
    Rule::Format("uuid", |text| match uuid::Uuid::try_parse(text) {
        Ok(_) => Ok(()),
        Err(_) => Err("expected a valid UUID".to_owned()),
    })
}

/// A TCP or UDP port.
pub fn port() -> Rule {
    between(0, 65535)
}

/// Milliseconds, at least one.
pub fn timeout() -> Rule {
    between(0, 2_147_483_646)
}

fn check_header_name(text: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !text.is_empty() && text.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!("bad header name '{text}', allowed characters are A-Z, a-z, 0-9, '_', and '-'"))
}

/// Host and port of `host`, `host:port`, `1.2.3.4`, `[::1]`, `[::1]:80` or `::1`.
pub(crate) fn split_host_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        let host = &text[..address.len() + 2];
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(parse_port(port)?))),
            None if after.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match text.split_once(':') {
        None => Some((text, None)),
        Some((_, rest)) if rest.contains(':') => text.parse::<Ipv6Addr>().ok().map(|_| (text, None)),
        Some((host, port)) => Some((host, Some(parse_port(port)?))),
    }
}

fn parse_port(text: &str) -> Option<u16> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

pub(crate) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253 && text.split('.').all(label)
}

fn looks_numeric(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn is_host(text: &str) -> bool {
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok();
    }
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().is_ok();
    }
    if looks_numeric(text) { text.parse::<Ipv4Addr>().is_ok() } else { is_host_name(text) }
}

fn check_host(text: &str) -> Result<(), String> {
    match split_host_port(text) {
        Some((host, _)) if !is_host(host) => Err(format!("invalid value: {text}")),
        Some((_, None)) => Ok(()),
        Some((_, Some(_))) => Err("must not have a port".to_owned()),
        None => Err(format!("invalid value: {text}")),
    }
}

fn check_host_with_optional_port(text: &str) -> Result<(), String> {
    match split_host_port(text) {
        Some((host, _)) if is_host(host) => Ok(()),
        _ => Err(format!("invalid value: {text}")),
    }
}

fn check_host_name(text: &str) -> Result<(), String> {
    match split_host_port(text) {
        Some((host, port)) if is_host(host) => {
            if looks_numeric(host) || host.contains(':') {
                Err("Invalid name ('".to_owned() + text + "'); no ip addresses allowed")
            } else if port.is_some() {
                Err("Invalid name ('".to_owned() + text + "'); no port allowed")
            } else {
                Ok(())
            }
        }
        _ => Err(format!("Invalid name ('{text}'); must be a valid hostname")),
    }
}

fn check_wildcard_host(text: &str) -> Result<(), String> {
    let stars = text.matches('*').count();
    if stars > 1 {
        return Err("only one wildcard must be specified".to_owned());
    }
    if stars == 0 {
        return check_host_with_optional_port(text);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if port.is_some_and(|port| parse_port(port).is_none()) {
        return Err(format!("invalid value: {text}"));
    }
    match host.strip_prefix("*.").or_else(|| host.strip_suffix(".*")) {
        None => Err("wildcard must be leftmost or rightmost character".to_owned()),
        Some(rest) if is_host_name(rest) => Ok(()),
        Some(_) => Err(format!("invalid value: {text}")),
    }
}

fn check_ip(text: &str) -> Result<(), String> {
    text.parse::<IpAddr>().map(drop).map_err(|_| format!("not an ip address: {text}"))
}

fn check_ip_or_cidr(text: &str) -> Result<(), String> {
    network::parse(text).map(drop).ok_or_else(|| format!("invalid ip or cidr range: '{text}'"))
}

/// RFC 3986's characters of a path, percent-encoding included.
fn check_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err("should start with: /".to_owned());
    }
    if text.contains("//") {
        return Err("must not have empty segments".to_owned());
    }
    if !text.bytes().all(is_path_character) {
        return Err(strange_in_path(text));
    }
    check_percent(text)
}

fn is_path_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/.-_~:@!$&'()*+,;=%".contains(&byte)
}

fn strange_in_path(text: &str) -> String {
    format!("invalid path: '{text}' (characters outside of the reserved list of RFC 3986 found)")
}

/// Every `%` begins a triplet.
pub(crate) fn check_percent(text: &str) -> Result<(), String> {
    match bad_percent(text) {
        Some(triplet) => Err(format!("invalid url-encoded value: '{triplet}'")),
        None => Ok(()),
    }
}

/// The first `%` that no two hexadecimal digits follow, with what does follow.
fn bad_percent(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    for (index, _) in text.match_indices('%') {
        let hexadecimal = |offset: usize| bytes.get(index + offset).is_some_and(u8::is_ascii_hexdigit);
        if !(hexadecimal(1) && hexadecimal(2)) {
            return Some(text.get(index..(index + 3).min(text.len())).unwrap_or("%"));
        }
    }
    None
}

fn check_url(text: &str) -> Result<(), String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("missing scheme in url".to_owned());
    };
    let first = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if !first || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
        return Err("missing scheme in url".to_owned());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() || host.starts_with(':') {
        return Err("missing host in url".to_owned());
    }
    Ok(())
}

fn check_method(text: &str) -> Result<(), String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Ok(());
    }
    Err(format!("invalid value: {text}"))
}

fn check_name(text: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte) || !byte.is_ascii();
    if !text.is_empty() && text.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "invalid value '{text}': the only accepted ascii characters are alphanumerics or ., -, _, and ~"
    ))
}

fn check_tag(text: &str) -> Result<(), String> {
    let allowed = |byte: u8| {
        (byte == b' ' || byte.is_ascii_graphic() || !byte.is_ascii()) && byte != b',' && byte != b'/'
    };
    if !text.is_empty() && text.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "invalid tag '{text}': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"
    ))
}

fn check_regex(text: &str) -> Result<(), String> {
    match regex::Regex::new(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("not a valid regex: {text} ({})", last_line(&error))),
    }
}

/// The part of a regular expression's error that says what is wrong.
pub(crate) fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}
