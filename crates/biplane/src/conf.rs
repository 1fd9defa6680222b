//! Settings from a file in the form of Kong's `kong.conf`: lines of `name = value`, comments behind `#`.

use std::path::Path;

use crate::settings::Environment;

/// Reads a file.
///
/// # Errors
/// Why it cannot be read, or every line of it that is no setting, with its place.
pub fn read(path: &Path) -> Result<Environment, String> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    parse(&name, &text)
}

fn parse(name: &str, text: &str) -> Result<Environment, String> {
    let mut given = Environment::new();
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = without_comment(line);
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        match line.split_once('=') {
            Some((setting, value)) if is_name(setting.trim()) => {
                given.insert(setting.trim().to_ascii_lowercase(), unquoted(value.trim()).to_owned());
            }
            _ => {
                // Not with its text: it may be a piece of a key.
                problems.push(format!("{name}:{}:1: no setting; write one as name = value", index + 1));
            }
        }
    }
    if problems.is_empty() { Ok(given) } else { Err(problems.join("\n")) }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The line up to the comment. `\#` is a character like any other.
fn without_comment(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '#' => break,
            '\\' if letters.peek() == Some(&'#') => {
                letters.next();
                kept.push('#');
            }
            other => kept.push(other),
        }
    }
    kept
}

fn unquoted(value: &str) -> &str {
    let quoted = |mark: char| value.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
    quoted('"').or_else(|| quoted('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_quotes_and_blanks_are_not_part_of_a_value() {
        let text = "# a comment\n\nproxy_listen = 0.0.0.0:8000 reuseport, [::]:8443 ssl   # two\nheaders=off\n\
                    ssl_cert = \"/etc/a b.pem\"\nerror_default_type = x\\#y\n";
        let given = parse("kong.conf", text).unwrap();
        let value = |name: &str| given[name].as_str();
        assert_eq!(value("proxy_listen"), "0.0.0.0:8000 reuseport, [::]:8443 ssl");
        assert_eq!((value("headers"), value("ssl_cert")), ("off", "/etc/a b.pem"));
        assert_eq!((value("error_default_type"), given.len()), ("x#y", 4));
    }

    #[test]
    fn every_wrong_line_is_named_with_its_place() {
        let problems = parse("kong.conf", "headers = off\nworkers\nproxy listen = 1\n").unwrap_err();
        let lines: Vec<_> = problems.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("kong.conf:2:1: no setting"));
        assert!(lines[1].starts_with("kong.conf:3:1: "));
    }

    #[test]
    fn a_key_in_a_wrong_place_is_not_told() {
        let text =
            "ssl_cert_key = -----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN/Bgkq=\nvault_hcv_token hvs.xxx\n";
        let problems = parse("kong.conf", text).unwrap_err();
        assert!(!problems.contains("MIIE") && !problems.contains("hvs"), "{problems}");
    }
}
