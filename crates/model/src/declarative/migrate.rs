//! Paths of the formats 1.1 and 2.1, where a regular expression had no mark: which is one is guessed.

use crate::path::normalize_text;

/// A path as format 3.0 writes it.
pub(super) fn migrate_path(path: &str) -> String {
    if path.starts_with('~') {
        return path.to_owned();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~/%".contains(&byte);
    if path.bytes().all(plain) { normalize_text(path) } else { format!("~{}", decode_in_regex(path)) }
}

/// Decodes triplets of unreserved characters, escaped where a regular expression would read them as an operator.
fn decode_in_regex(pattern: &str) -> String {
    let mut decoded = String::with_capacity(pattern.len() + 1);
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        rest = after;
        let value = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value.map(char::from).filter(|_| after.as_bytes().first() != Some(&b'+')) {
            Some(character)
                if character.is_ascii_alphanumeric() || "-._~ \"<>\\^`{|}".contains(character) =>
            {
                decoded.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
                rest = &after[2..];
            }
            Some(_) => {
                decoded.push('%');
                decoded.push_str(&after[..2].to_ascii_uppercase());
                rest = &after[2..];
            }
            None => decoded.push('%'),
        }
    }
    decoded + rest
}

#[cfg(test)]
mod tests {
    use super::migrate_path;

    #[test]
    fn only_paths_with_operators_become_regular_expressions() {
        for (old, new) in [
            ("/plain/path-1_2~3", "/plain/path-1_2~3"),
            ("/a/%58", "/a/X"),
            ("/a%2fb", "/a%2Fb"),
            ("/users/\\d+", "~/users/\\d+"),
            ("/a b", "~/a b"),
            ("/x%2e(y)", "~/x\\.(y)"),
            ("/x%41(y)", "~/xA(y)"),
            ("/x%2f(y)", "~/x%2F(y)"),
            ("/x%zz(y)", "~/x%zz(y)"),
            ("~/already", "~/already"),
        ] {
            assert_eq!(migrate_path(old), new, "{old}");
        }
    }
}
