//! Routes: which requests go to which service.

use regex::Regex;
use serde_json::Value;

use super::service::PROTOCOLS;
use crate::path;
use crate::schema::{Faults, Fields, Map, Reference, Rule, Set, check_percent, last_line};

crate::record! {
    /// One end of a connection; at least one of both fields is set.
    pub struct Endpoint {
        /// An address or a CIDR range.
        ip: Option<String>, [ip_or_cidr()];
        /// A port.
        port: Option<u16>, [port()];
    }
    checks: [at_least_one_of(&["ip", "port"])]
}

crate::entity! {
    /// Which requests go to a service, and what happens to their path and host on the way.
    pub struct Route in "routes" {
        /// A name, unique among routes; other entities may refer to it.
        name: Option<String>, [unique(), utf8_name()];
        /// Where matching requests go; a route without one needs a plugin that answers.
        service: Option<Reference>, [to("services")];
        /// What clients may speak; all of one family.
        protocols: Set<String> = ["http", "https"], [len_min(1), each(one_of(&PROTOCOLS)), one_family()];
        /// What a plain-text request to a route that wants TLS is answered.
        https_redirect_status_code: u16 = 426, [one_of(&[426, 301, 302, 307, 308])];
        /// Whether the matched prefix is taken off the path.
        strip_path: bool = true;
        /// Whether the upstream sees the client's `Host`.
        preserve_host: bool = false;
        /// Whether a request body is read whole before it is sent on.
        request_buffering: bool = true;
        /// Whether a response body is read whole before it is sent on.
        response_buffering: bool = true;
        /// TLS server names, one of which must be asked for.
        snis: Option<Set<String>>, [each(server_name_pattern())];
        /// Where connections may come from.
        sources: Option<Set<Endpoint>>;
        /// Where connections may have been made to.
        destinations: Option<Set<Endpoint>>;
        /// Methods, one of which must be used.
        methods: Option<Set<String>>, [each(http_method())];
        /// Host names, one of which must be asked for; `*.example.com` and `example.*` are patterns.
        hosts: Option<Vec<String>>, [each(wildcard_host())];
        /// Prefixes, or regular expressions after a `~`, one of which the path must begin with.
        paths: Option<Vec<String>>, [each(Rule::Format("router_path", check_router_path))];
        /// Header names with the values of which one must be sent; `~*` begins a regular expression.
        headers: Option<Map<Vec<String>>>, [keys(header_name()), keys(Rule::Custom(refuse_host_header)), values(len_min(1)), values(each(Rule::Format("header_value", check_header_value)))];
        /// Which of several matching regular expressions wins; the largest does.
        regex_priority: i64 = 0;
        /// How the service's path and the rest of the request's are joined; only `v0` has an effect.
        path_handling: String = "v0", [one_of(&["v0", "v1"])];
    }
    endpoint_key: "name"
    checks: [custom_entity(check_protocols)]
}

/// Protocols that go together on one route.
const FAMILIES: [&[&str]; 5] =
    [&["http", "https"], &["tcp", "tls", "udp"], &["tls_passthrough"], &["grpc", "grpcs"], &["ws", "wss"]];

/// Every protocol belongs to the same family.
fn one_family() -> Rule {
    Rule::Custom(check_family)
}

fn check_family(protocols: &Value) -> Result<(), String> {
    let present = |family: &&&[&str]| has_any(protocols, family);
    let families: Vec<String> =
        FAMILIES.iter().filter(present).map(|family| format!("({})", quoted(family))).collect();
    if families.len() < 2 {
        return Ok(());
    }
    Err(format!("these sets are mutually exclusive: {}", families.join(", ")))
}

/// What each family of protocols needs and forbids.
fn check_protocols(route: &Fields<'_>, faults: &mut Faults) {
    let protocols = &route["protocols"];
    let tls = has_any(protocols, &["grpcs", "https", "tls", "tls_passthrough", "wss"]);
    if !tls && is_set(route, "snis") {
        faults.field(
            "snis",
            "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'",
        );
    }
    if has_any(protocols, FAMILIES[0]) {
        refuse(route, faults, &["sources", "destinations"], "'http' or 'https'");
        let shown = if tls { "'https'" } else { "'http'" };
        need_one(route, faults, &["methods", "hosts", "headers", "paths"], tls, shown);
    } else if has_any(protocols, FAMILIES[3]) {
        refuse(route, faults, &["methods", "sources", "destinations"], "'grpc' or 'grpcs'");
        if route["strip_path"] == Value::Bool(true) {
            faults.field("strip_path", "cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'");
        }
        let shown = if tls { "'grpcs'" } else { "'grpc'" };
        need_one(route, faults, &["hosts", "headers", "paths"], tls, shown);
    } else if has_any(protocols, FAMILIES[4]) {
        refuse(route, faults, &["methods", "sources", "destinations"], "'ws' or 'wss'");
        let shown = if tls { "'wss'" } else { "'ws'" };
        need_one(route, faults, &["hosts", "headers", "paths"], tls, shown);
    } else if has_any(protocols, FAMILIES[1]) {
        refuse(route, faults, &["methods", "hosts", "paths", "headers"], "'tcp', 'tls' or 'udp'");
        need_one(route, faults, &["sources", "destinations"], true, "'tcp', 'tls' or 'udp'");
    } else if has_any(protocols, FAMILIES[2]) {
        refuse(route, faults, &["methods", "hosts", "paths", "headers"], "'tls_passthrough'");
        if !is_set(route, "snis") {
            faults.record("must set snis when 'protocols' is 'tls_passthrough'");
        }
    }
}

fn refuse(route: &Fields<'_>, faults: &mut Faults, fields: &[&str], protocols: &str) {
    for field in fields.iter().filter(|field| is_set(route, field)) {
        faults.field(*field, format!("cannot set '{field}' when 'protocols' is {protocols}"));
    }
}

fn need_one(route: &Fields<'_>, faults: &mut Faults, fields: &[&str], snis: bool, protocols: &str) {
    if fields.iter().any(|field| is_set(route, field)) || (snis && is_set(route, "snis")) {
        return;
    }
    let mut fields = fields.to_vec();
    if snis {
        fields.push("snis");
    }
    faults.record(format!("must set one of {} when 'protocols' is {protocols}", quoted(&fields)));
}

fn has_any(protocols: &Value, names: &[&str]) -> bool {
    let mut present = protocols.as_array().into_iter().flatten().filter_map(Value::as_str);
    present.any(|protocol| names.contains(&protocol))
}

fn is_set(route: &Fields<'_>, field: &str) -> bool {
    match &route[field] {
        Value::Null => false,
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
        _ => true,
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}

fn check_router_path(text: &str) -> Result<(), String> {
    if is_plain(text) { Ok(()) } else { look_closely(text) }
}

fn look_closely(text: &str) -> Result<(), String> {
    if let Some(pattern) = text.strip_prefix('~') {
        if !pattern.starts_with('/') {
            return Err("should start with: / (fixed path) or ~/ (regex path)".to_owned());
        }
        return check_pattern(pattern);
    }
    if !text.starts_with('/') {
        return Err("should start with: / (fixed path) or ~/ (regex path)".to_owned());
    }
    if text.contains("//") {
        return Err("must not have empty segments".to_owned());
    }
    if text.chars().any(|character| character.is_ascii_control() || character == '\\') {
        return Err(format!(
            "invalid path: '{text}' (characters outside of the reserved list of RFC 3986 found)"
        ));
    }
    check_percent(text)?;
    let normal = path::normalize_text(text);
    if normal != text {
        return Err(format!("non-normalized path, consider use '{normal}' instead"));
    }
    Ok(())
}

/// Whether a path is right at a glance, as almost all are: only letters, digits and what never means anything else, so
/// that there is nothing to normalize.
fn is_plain(path: &str) -> bool {
    let mut last = b' ';
    path.starts_with('/')
        && path.bytes().all(|byte| {
            let empty = byte == b'/' && last == b'/';
            last = byte;
            !empty && (byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'~'))
        })
}

fn check_pattern(pattern: &str) -> Result<(), String> {
    match Regex::new(pattern) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("invalid regex: '{pattern}' ({})", last_line(&error))),
    }
}

fn check_header_value(text: &str) -> Result<(), String> {
    text.strip_prefix("~*").map_or(Ok(()), check_pattern)
}

fn refuse_host_header(name: &Value) -> Result<(), String> {
    if name.as_str().is_some_and(|name| name.eq_ignore_ascii_case("host")) {
        return Err(
            "cannot contain 'host' header, which must be specified in the 'hosts' attribute".to_owned()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{is_plain, look_closely};

    #[test]
    fn what_is_right_at_a_glance_is_right_when_looked_at_closely() {
        let alphabet =
            ["/", "a", "Z", "9", "-", "_", "~", ".", "%2", "%41", "\\", "{", " ", "\u{e9}", "//", "/.", ":"];
        let (mut plain, mut number) = (0, 1_u64);
        for _ in 0..20_000 {
            let mut text = if number & 7 == 0 { String::new() } else { "/".to_owned() };
            for _ in 0..number % 7 {
                number =
                    number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(alphabet[(number >> 33) as usize % alphabet.len()]);
            }
            number = number.wrapping_add(1);
            plain += u32::from(is_plain(&text));
            assert!(!is_plain(&text) || look_closely(&text).is_ok(), "{text}");
        }
        assert!(plain > 1000, "{plain}");
        assert!(is_plain("/") && is_plain("/team-1/a_b~c/"));
        for closely in ["", "a", "//", "/a//", "/a.b", "/%41", "~/a"] {
            assert!(!is_plain(closely), "{closely}");
        }
    }
}
