//! A record's fields as rows of a Markdown table.

use model::schema::{Check, Element, Field, Kind, RecordSchema, Rule, Value};

/// The table of all fields, those of nested records under dotted names.
pub fn table(record: &RecordSchema, skip: &[&str]) -> String {
    let mut rows = String::from("| Field | Type | Default | Allowed | Meaning |\n|---|---|---|---|---|\n");
    add_rows(record, "", skip, &mut rows);
    rows
}

fn add_rows(record: &RecordSchema, prefix: &str, skip: &[&str], rows: &mut String) {
    for field in record.fields.iter().filter(|field| !skip.contains(&field.name)) {
        let name = format!("{prefix}{}", field.name);
        let cells = [
            format!("`{name}`"),
            type_name(&field.element),
            default(field),
            allowed(&field.element).join("; "),
            meaning(field),
        ];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        rows.push_str(&format!("| {} |\n", cells.join(" | ")));
        if let Some((inner, suffix)) = inner_record(&field.element) {
            add_rows(inner, &format!("{name}{suffix}."), &[], rows);
        }
    }
}

/// The record an element is or holds, and how the name goes on.
fn inner_record(element: &Element) -> Option<(&RecordSchema, &'static str)> {
    match &element.kind {
        Kind::Record(record) => Some((record, "")),
        Kind::Array(inner) | Kind::Set(inner) => inner_record(inner).map(|(record, _)| (record, "[]")),
        Kind::Map(_, inner) => inner_record(inner).map(|(record, _)| (record, ".*")),
        _ => None,
    }
}

fn type_name(element: &Element) -> String {
    match &element.kind {
        Kind::Array(inner) => format!("list of {}", plural(inner)),
        Kind::Set(inner) => format!("set of {}", plural(inner)),
        Kind::Map(_, inner) => format!("map of {}", plural(inner)),
        Kind::Foreign(collection) => format!("one of `{collection}`"),
        Kind::Uuid => "UUID".to_owned(),
        other => other.name().to_owned(),
    }
}

fn plural(element: &Element) -> String {
    match &element.kind {
        Kind::Array(_) | Kind::Set(_) | Kind::Map(..) => {
            let name = type_name(element);
            name.replacen("list", "lists", 1).replacen("set", "sets", 1).replacen("map", "maps", 1)
        }
        Kind::Any => "values".to_owned(),
        _ => format!("{}s", type_name(element)),
    }
}

fn default(field: &Field) -> String {
    match &field.default {
        Some(default) => format!("`{default}`"),
        None if matches!(field.element.kind, Kind::Record(_)) => String::new(),
        None if field.auto => "made up".to_owned(),
        None if field.required => "**required**".to_owned(),
        None => String::new(),
    }
}

fn meaning(field: &Field) -> String {
    let mut text = words(field.doc);
    if holds(&field.element, |element| element.encrypted) {
        text.push_str(" Secret.");
    }
    if holds(&field.element, |element| element.referenceable) {
        text.push_str(" May be a [reference](../secrets.md).");
    }
    if let Some(instead) = field.deprecated {
        text.push_str(&format!(" Deprecated: use `{instead}`."));
    }
    text
}

/// Whether something is so of an element, or of what a list or a map of such is made of.
fn holds(element: &Element, is_so: fn(&Element) -> bool) -> bool {
    let within = match &element.kind {
        Kind::Array(inner) | Kind::Set(inner) | Kind::Map(_, inner) => is_so(inner),
        _ => false,
    };
    is_so(element) || within
}

/// A text on one line.
pub fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What values are allowed beyond the type.
fn allowed(element: &Element) -> Vec<String> {
    let bounded = element.rules.iter().any(|rule| matches!(rule, Rule::Between(..)));
    let own = element.rules.iter().filter(|rule| !(bounded && matches!(rule, Rule::Fits(..))));
    let mut allowed: Vec<String> = own.filter_map(|rule| in_words(rule, &element.kind)).collect();
    let (keys, inner) = match &element.kind {
        Kind::Array(inner) | Kind::Set(inner) => (None, Some(inner)),
        Kind::Map(keys, inner) => (Some(keys), Some(inner)),
        _ => (None, None),
    };
    let prefixed = |prefix: &str, element: &Element| {
        allowed_of(element).into_iter().map(|text| format!("{prefix}: {text}")).collect::<Vec<_>>()
    };
    allowed.extend(keys.map(|keys| prefixed("each key", keys)).unwrap_or_default());
    allowed.extend(inner.map(|inner| prefixed("each", inner)).unwrap_or_default());
    allowed
}

fn allowed_of(element: &Element) -> Vec<String> {
    if matches!(element.kind, Kind::Record(_)) { Vec::new() } else { allowed(element) }
}

fn in_words(rule: &Rule, kind: &Kind) -> Option<String> {
    let unit = match kind {
        Kind::Array(_) | Kind::Set(_) | Kind::Map(..) => ["entry", "entries"],
        _ => ["character", "characters"],
    };
    let count = |count: usize| format!("{count} {}", unit[usize::from(count != 1)]);
    Some(match rule {
        Rule::OneOf(values) => quoted(values),
        Rule::NotOneOf(values) => format!("not {}", quoted(values)),
        Rule::Between(least, most) => format!("{least} to {most}"),
        Rule::GreaterThan(bound) => format!("more than {bound}"),
        Rule::Equals(value) => format!("`{value}`"),
        Rule::NotEquals(value) => format!("not `{value}`"),
        Rule::MinimumLength(length) => format!("at least {}", count(*length)),
        Rule::MaximumLength(length) => format!("at most {}", count(*length)),
        Rule::Length(length) => format!("exactly {}", count(*length)),
        Rule::StartsWith(prefix) => format!("begins with `{prefix}`"),
        Rule::Matches(pattern) => format!("matches `{pattern}`"),
        Rule::NotMatches(pattern) => format!("does not match `{pattern}`"),
        Rule::Contains(value) => format!("holds `{value}`"),
        Rule::Format(name, _) => format!("a {}", name.replace('_', " ")),
        Rule::Fits(least, most) if *most <= i64::from(u32::MAX) => format!("{least} to {most}"),
        Rule::Fits(0, _) => "0 or more".to_owned(),
        _ => return None,
    })
}

fn quoted(values: &[Value]) -> String {
    let shown = |value: &Value| match value {
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    };
    values.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// The rules over several fields, one line each. Those that only code can express are in the fields' descriptions.
pub fn checks(record: &RecordSchema) -> Vec<String> {
    record.checks.iter().filter_map(check_in_words).collect()
}

fn check_in_words(check: &Check) -> Option<String> {
    let names =
        |fields: &[&str]| fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ");
    Some(match check {
        Check::AtLeastOneOf(fields) => format!("At least one of {} is set.", names(fields)),
        Check::OnlyOneOf(fields) => format!("Exactly one of {} is set.", names(fields)),
        Check::MutuallyRequired(fields) => format!("All or none of {} are set.", names(fields)),
        Check::Distinct(fields) => format!("{} differ from each other.", names(fields)),
        Check::Conditional(condition) => {
            let deciding = clause(&condition.if_match)?.is;
            let then = clause(&condition.then_match)?.must;
            format!("If `{}` {deciding}, `{}` must {then}.", condition.if_field, condition.then_field)
        }
        _ => return None,
    })
}

/// A rule as the end of a sentence.
struct Clause {
    /// After the name of a field: "is `1`".
    is: String,
    /// After "must": "be `1`".
    must: String,
}

fn clause(rule: &Rule) -> Option<Clause> {
    let (is, must, rest) = match rule {
        Rule::Required => ("is", "be", "set".to_owned()),
        Rule::Equals(Value::Null) => ("is", "not be", "set".to_owned()),
        Rule::Equals(value) => ("is", "be", quoted(std::slice::from_ref(value))),
        Rule::OneOf(values) => ("is one of", "be one of", quoted(values)),
        Rule::NotOneOf(values) => ("is none of", "be none of", quoted(values)),
        Rule::Matches(pattern) => ("matches", "match", format!("`{pattern}`")),
        Rule::NotMatches(pattern) => ("does not match", "not match", format!("`{pattern}`")),
        Rule::Contains(value) => ("holds", "hold", quoted(std::slice::from_ref(value))),
        rule => ("is", "be", in_words(rule, &Kind::String)?),
    };
    Some(Clause { is: format!("{is} {rest}"), must: format!("{must} {rest}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Record;

    model::record! {
        /// Where it is kept.
        #[allow(dead_code)]
        struct Store {
            /// Port of the server.
            port: u16 = 6379, [between(0, 65535)];
        }
    }
    model::record! {
        /// A sample.
        #[allow(dead_code)]
        struct Sample {
            /// What is
            /// counted, `a|b`.
            by: String = "ip", [one_of(&["ip", "consumer"])];
            /// Names.
            names: Vec<String>, [len_min(1), each(header_name())];
            /// Where.
            store: Option<Store>;
            /// A password.
            password: Option<String>, [referenceable(), encrypted()];
        }
        checks: [conditional("by", equals("ip"), "store.port", required())]
        shorthands: [("port", "store.port")]
    }

    #[test]
    fn nested_fields_defaults_bounds_and_secrets_are_shown() {
        let table = table(&Sample::schema(), &[]);
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| `by` | string | `\"ip\"` | `ip`, `consumer` | What is counted, `a\\|b`. |",
                "| `names` | list of strings | **required** | at least 1 entry; each: a header name | Names. |",
                "| `store` | record |  |  | Where. |",
                "| `store.port` | integer | `6379` | 0 to 65535 | Port of the server. |",
                "| `password` | string |  |  | A password. Secret. May be a [reference](../secrets.md). |",
            ]
        );
        assert_eq!(checks(&Sample::schema()), ["If `by` is `ip`, `store.port` must be set."]);
    }
}
