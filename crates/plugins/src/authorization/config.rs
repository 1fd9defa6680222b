//! What can be set.

use std::collections::BTreeMap;

use ahash::AHashSet;
use plugin::claims::WantedClaims;
use plugin::model::Value;
use plugin::model::schema::Faults;
use plugin::{Method, record};

use super::expression::{Condition, Names};
use super::paths::{Pattern, name_parameters};
use super::vocabulary::Vocabulary;

/// Longest expression, in bytes.
const LONGEST_EXPRESSION: usize = 4096;

record! {
    /// A rule. It is for requests with one of its methods and paths, and its conditions must hold together.
    pub struct Rule {
        /// Its name in logs, metrics and the debug header; its place, as `rules[0]`, where it is not given.
        name: Option<String>, [matches("^[!-~]([ -~]{0,62}[!-~])?$")];
        /// What it does. `allow`: the request may go on if the conditions hold. `deny`: it may not if they hold. `require`: it
        /// may not unless they hold, and the next rules decide if they do.
        effect: String = "allow", [one_of(&["allow", "deny", "require"])];
        /// The methods it is for; any if they are not given.
        methods: Option<Vec<String>>, [len_min(1), each(matches("^[A-Z]{1,32}$"))];
        /// Patterns of the paths it is for; any if they are not given. `*` and `{name}` stand for one segment, `*` at the end
        /// for one or more, `**` at the end for any number.
        paths: Option<Vec<String>>, [len_min(1), each(custom_value(check_pattern))];
        /// Condition: the caller has one of these roles.
        roles: Option<Vec<String>>, [len_min(1), each(len_min(1))];
        /// Condition: the caller's token has all of these scopes.
        scopes: Option<Vec<String>>, [len_min(1), each(len_min(1))];
        /// Condition: each of these claims of the caller's token has, or holds, one of the values. Dots in a name lead into
        /// objects.
        claims: Option<BTreeMap<String, Vec<String>>>, [keys(len_min(1)), values(len_min(1))];
        /// Condition: an expression in CEL that is true.
        when: Option<String>, [len_min(1), len_max(LONGEST_EXPRESSION)];
    }
    checks: [custom_fields(check_expression)]
}

record! {
    /// Where a caller's roles come from.
    pub struct RoleSources {
        /// Whether the consumer's groups are roles: consumer groups, and those of `acls`.
        consumer_groups: bool = true;
        /// Whether groups that an authentication plugin vouches for are roles.
        authenticated_groups: bool = true;
        /// Claims of the caller's token that are a role or a list of roles. Dots lead into objects, as in `realm_access.roles`,
        /// where there is no claim of the whole name.
        claims: Vec<String> = ["roles"], [each(len_min(1))];
        /// A request header with roles between commas. Clients can send it: name one only where another plugin, or a proxy in
        /// front, sets or removes it.
        header: Option<String>, [header_name()];
    }
}

record! {
    /// Where the scopes of a caller's token come from.
    pub struct ScopeSources {
        /// Claims that are a list of scopes, or scopes between spaces (RFC 8693 4.2). Dots lead into objects.
        claims: Vec<String> = ["scope", "scp"], [each(len_min(1))];
    }
}

record! {
    /// Decides what callers may do: by roles, scopes, claims and expressions, for paths and methods.
    pub struct Config {
        /// Patterns of paths that everybody may ask for, before any rule.
        public_paths: Vec<String> = [], [each(custom_value(check_pattern))];
        /// Rules, in order: the first that decides counts.
        rules: Vec<Rule> = [], [len_max(4096)];
        /// Roles by pattern of path, with methods before it if it is not for all, as in `GET,HEAD /reports/*`: who has none of
        /// the roles is refused. Looked at after the rules; the pattern that says most counts, whatever the order.
        permissions: Option<BTreeMap<String, Vec<String>>>, [keys(custom_value(check_permission)), values(len_min(1))];
        /// What becomes of a request that nothing decides about: `deny`, `allow`, or `authenticated`, which allows callers who
        /// are known.
        default: String = "deny", [one_of(&["deny", "allow", "authenticated"])];
        /// Where roles come from.
        roles_from: RoleSources;
        /// Where scopes come from.
        scopes_from: ScopeSources;
        /// Message for a known caller who may not.
        message: String = "You cannot consume this service";
        /// `WWW-Authenticate` for a caller who is not known.
        challenge: String = "Bearer", [matches("^[!-~]([ -~]*[!-~])?$")];
        /// A response header that names the rule that decided. For looking for mistakes: it tells callers about the rules.
        debug_header: Option<String>, [header_name()];
    }
    checks: [custom_fields(check_names)]
}

/// What decides about paths that everybody may ask for, and where nothing else does.
pub(super) const PUBLIC: &str = "public_paths";
pub(super) const DEFAULT: &str = "default";

fn check_pattern(pattern: &Value) -> Result<(), String> {
    Pattern::parse(pattern.as_str().unwrap_or_default()).map(|_| ())
}

fn check_permission(key: &Value) -> Result<(), String> {
    permission(key.as_str().unwrap_or_default()).map(|_| ())
}

/// The pattern and the methods, none for any, of the key of a permission.
///
/// # Errors
/// What is wrong with it.
pub(super) fn permission(key: &str) -> Result<(Pattern, Vec<Method>), String> {
    let Some((methods, path)) = key.split_once(' ') else { return Ok((Pattern::parse(key)?, Vec::new())) };
    let methods: Option<Vec<Method>> = methods.split(',').map(method).collect();
    let methods = methods.ok_or_else(|| format!("{key:?}: methods are written as in `GET,HEAD /path`"))?;
    Ok((Pattern::parse(path)?, methods))
}

/// A method by its name, which is in capitals.
pub(super) fn method(name: &str) -> Option<Method> {
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase());
    Method::from_bytes(name.as_bytes()).filter(|_| is_name)
}

/// Checks the expression of a rule, so that what is wrong with it is told with its place in the document.
fn check_expression(rule: &Value, faults: &mut Faults) {
    let Some(text) = rule["when"].as_str() else { return };
    let paths = rule["paths"].as_array().into_iter().flatten().filter_map(Value::as_str);
    // A pattern that is wrong is told by itself.
    let Ok(mut patterns) = paths.map(Pattern::parse).collect::<Result<Vec<_>, _>>() else { return };
    let parameters = name_parameters(&mut patterns);
    let (mut roles, mut scopes) = (Vocabulary::default(), Vocabulary::default());
    let wanted = WantedClaims::default();
    let mut names =
        Names { wanted: &wanted, roles: &mut roles, scopes: &mut scopes, parameters: &parameters };
    if let Err(message) = Condition::new(text, &mut names) {
        faults.field("when", message);
    }
}

/// Checks that logs and metrics can tell rules by their names.
fn check_names(config: &Value, faults: &mut Faults) {
    let mut known: AHashSet<&str> = AHashSet::from([PUBLIC, DEFAULT]);
    known.extend(
        config["permissions"]
            .as_object()
            .into_iter()
            .flat_map(|permissions| permissions.keys())
            .map(String::as_str),
    );
    for (number, rule) in config["rules"].as_array().into_iter().flatten().enumerate() {
        let Some(name) = rule["name"].as_str() else { continue };
        if !known.insert(name) || name.starts_with("rules[") {
            let message = format!("{name:?} means another rule: logs and metrics tell rules by their names");
            faults.field(format!("rules[{number}].name"), message);
        }
    }
}
