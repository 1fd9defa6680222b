//! Lines of documents as they may be shown and logged: with what looks like a secret struck out.
//!
//! A line has no schema, so what is a secret is known by the name that stands before it. It is better to hide too much.

/// Endings of names of secrets.
const ENDINGS: [&str; 16] = [
    "secret",
    "password",
    "password_hash",
    "passphrase",
    "private_key",
    "provision_key",
    "access_key",
    "access_key_id",
    "authorization",
    "authorization_value",
    "headers_values",
    "introspection_headers",
    "args_values",
    "body_args",
    "account_json",
    "token",
];
/// Names of secrets that end like others.
const NAMES: [&str; 18] = [
    "key",
    "key_alt",
    "apikey",
    "api_key",
    "jwk",
    "secret_v1",
    "approle_role_id",
    "approle_secret_id",
    "d",
    "dp",
    "dq",
    "k",
    "oth",
    "p",
    "q",
    "qi",
    "r",
    "t",
];
/// Stands for a secret in configurations that are shown. It is refused wherever a secret belongs, so it is nothing that
/// anybody would have for one.
pub const MASK: &str = "(secret not shown by the Admin API)";
/// Stands in messages for a secret.
pub(crate) const UNTOLD: &str = "******";
/// A reference tells no secret.
const REFERENCE: &str = "{vault://";

/// Whether what is called so is a secret, as far as a name can tell.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    NAMES.contains(&name.as_str()) || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The characters of a line with the values of secrets struck out; each character keeps its place.
pub(crate) fn concealed(line: impl Iterator<Item = char>) -> Vec<char> {
    let mut line: Vec<char> = line.collect();
    let (mut at, mut open) = (0, 0_usize);
    while at < line.len() {
        match line[at] {
            '{' | '[' => open += 1,
            '}' | ']' => open = open.saturating_sub(1),
            first if is_of_name(first) => {
                let end = ending(&line, at, |character| !is_of_name(character));
                let name: String = line[at..end].iter().collect();
                at = match value_after(&line, end) {
                    Some(value) if is_secret_name(&name) => strike(&mut line, value, open > 0),
                    _ => end,
                };
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    line
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == '-'
}

/// The first place from `at` on where `ends` holds.
fn ending(line: &[char], at: usize, ends: impl Fn(char) -> bool) -> usize {
    line[at..].iter().position(|character| ends(*character)).map_or(line.len(), |length| at + length)
}

/// Where the value begins of a name that ends at `at`.
fn value_after(line: &[char], at: usize) -> Option<usize> {
    let is_at = |place: usize, wanted: &[char]| line.get(place).is_some_and(|found| wanted.contains(found));
    let quote = usize::from(is_at(at, &['"', '\'']));
    let colon = ending(line, at + quote, |character| character != ' ');
    is_at(colon, &[':']).then(|| ending(line, colon + 1, |character| character != ' '))
}

/// Strikes out the value that begins at `at`, within a list or record in one line where `within`. Where it ends.
fn strike(line: &mut [char], at: usize, within: bool) -> usize {
    let (start, end) = match line.get(at) {
        None => return at,
        Some(quote @ ('"' | '\'')) => (at + 1, closing(line, at + 1, *quote)),
        Some('[' | '{') => (at + 1, matching(line, at)),
        Some(_) if within => (at, ending(line, at, |character| matches!(character, ',' | '}' | ']'))),
        Some(_) => (at, line.len()),
    };
    let is_reference = line[start..end].iter().copied().take(REFERENCE.len()).eq(REFERENCE.chars());
    if !is_reference {
        strike_out(&mut line[start..end]);
    }
    end
}

/// Strikes characters out.
pub(crate) fn strike_out(line: &mut [char]) {
    line.iter_mut().filter(|character| **character != ' ').for_each(|character| *character = '*');
}

/// Where a quoted text ends.
fn closing(line: &[char], start: usize, quote: char) -> usize {
    let mut at = start;
    while at < line.len() && line[at] != quote {
        at += if quote == '"' && line[at] == '\\' { 2 } else { 1 };
    }
    at.min(line.len())
}

/// Where the bracket at `at` is closed.
fn matching(line: &[char], at: usize) -> usize {
    let mut open = 0_usize;
    for (place, character) in line.iter().enumerate().skip(at) {
        match character {
            '[' | '{' => open += 1,
            ']' | '}' if open == 1 => return place,
            ']' | '}' => open -= 1,
            _ => {}
        }
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        concealed(line.chars()).into_iter().collect()
    }

    #[test]
    fn values_of_secrets_are_struck_out_in_every_notation() {
        for (line, expected) in [
            ("  secret: open sesame # mine", "  secret: **** ****** * ****"),
            ("- {key: abc, ttl: 5}", "- {key: ***, ttl: 5}"),
            (
                r#"{"name":"x","client_secret":["a\"b","c"],"y":1}"#,
                r#"{"name":"x","client_secret":[**********],"y":1}"#,
            ),
            (r#"password: "a\"b", next: c"#, r#"password: "****", next: c"#),
            ("redis-password: 'a'", "redis-password: '*'"),
            ("secret: {a: b}", "secret: {** *}"),
            (r#"{"Password" : "x"}"#, r#"{"Password" : "*"}"#),
            ("secret:", "secret:"),
            ("secret: \"unclosed", "secret: \"********"),
            ("secret: \"odd\\", "secret: \"****"),
        ] {
            assert_eq!(shown(line), expected);
            assert_eq!(shown(line).chars().count(), line.chars().count(), "each character keeps its place");
        }
    }

    #[test]
    fn everything_else_is_shown() {
        for line in [
            "key_names: [apikey]",
            "secret_is_base64: true",
            "- name: key-auth",
            "secret: \"{vault://env/word}\"",
            "paths: [/token, /key]",
            "# the password",
        ] {
            assert_eq!(shown(line), line);
        }
    }

    #[test]
    fn no_line_is_too_odd() {
        for line in ["", ":", "key:", "key:]", "key: [", "key: ']", "]}]key: x", "k:k:k:k:"] {
            let _whatever = shown(line);
        }
    }
}
