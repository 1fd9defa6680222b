//! What single texts of the configuration have to be, and which fields go together.

use plugin::Headers;
use plugin::authorization::TokenField;
use plugin::model::schema::{Faults, Value};
use plugin::outbound::Url;

/// Lists of which the entries at the same places belong together.
const TOGETHER: [[&str; 2]; 10] = [
    ["authorization_query_args_names", "authorization_query_args_values"],
    ["discovery_headers_names", "discovery_headers_values"],
    ["downstream_headers_claims", "downstream_headers_names"],
    ["introspection_headers_names", "introspection_headers_values"],
    ["introspection_post_args_names", "introspection_post_args_values"],
    ["token_headers_names", "token_headers_values"],
    ["token_post_args_names", "token_post_args_values"],
    ["upstream_headers_claims", "upstream_headers_names"],
    ["userinfo_headers_names", "userinfo_headers_values"],
    ["userinfo_query_args_names", "userinfo_query_args_values"],
];

/// An absolute URL.
pub fn address(value: &Value) -> Result<(), String> {
    Url::parse(text(value)).map(drop)
}

/// Where a provider sends people back to (RFC 6749 3.1.2).
pub fn redirection(value: &Value) -> Result<(), String> {
    address(value)?;
    match text(value).contains('#') {
        true => Err("has a '#': what comes behind it stays in the browser".to_owned()),
        false => destination(value),
    }
}

/// Where people are sent: an absolute URL, or a path of this gateway. Behind a `#`, what a page is told does not reach its server: it
/// may stand here.
pub fn destination(value: &Value) -> Result<(), String> {
    let text = text(value);
    let bare = text.split('#').next().unwrap_or_default();
    if !bare.starts_with('/') {
        Url::parse(bare)?;
    }
    match text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err("has a character that has to be percent-encoded".to_owned()),
    }
}

/// The name of a header in which something is told, and whether the word `Bearer` goes before that.
pub fn told_header(setting: &str) -> (&str, bool) {
    setting.strip_suffix(":bearer").map_or((setting, false), |name| (name, true))
}

/// Such a header; empty tells nothing.
pub fn header(value: &Value) -> Result<(), String> {
    let setting = text(value);
    check_name(setting, told_header(setting).0)
}

/// The same without the word.
pub fn bare_header(value: &Value) -> Result<(), String> {
    check_name(text(value), text(value))
}

fn check_name(setting: &str, name: &str) -> Result<(), String> {
    match setting.is_empty() || !name.contains(':') && TokenField::parse(name).is_ok() {
        true => Ok(()),
        false => Err(format!("'{setting}' cannot be the name of a header that tells something")),
    }
}

/// What may stand before the name of a header.
pub fn header_prefix(value: &Value) -> Result<(), String> {
    let name = format!("{}x", text(value));
    match Headers::new().set(&name, b"x") {
        true => Ok(()),
        false => Err("cannot be the beginning of a header's name".to_owned()),
    }
}

/// Refuses lists that have not as many entries as those they belong to.
pub fn lists_go_together(config: &Value, faults: &mut Faults) {
    let length = |name: &str| config[name].as_array().map_or(0, Vec::len);
    for [one, other] in TOGETHER.into_iter().filter(|[one, other]| length(one) != length(other)) {
        let field = if config[other].is_null() { one } else { other };
        faults.field(field, format!("'{one}' and '{other}' need the same number of entries"));
    }
}

/// Refuses bounds between which there is nothing.
pub fn bounds_in_order(config: &Value, faults: &mut Faults) {
    let bound = |name: &str| config[name].as_f64();
    if let (Some(least), Some(most)) = (bound("cache_ttl_min"), bound("cache_ttl_max"))
        && least > most
    {
        faults.field("cache_ttl_min", format!("is more than 'cache_ttl_max', {most}"));
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
