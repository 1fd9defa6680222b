//! Where a secret is compared with what a caller brings, that takes as long however much of it is right. No test sees when it
//! does not, so it is counted here.

use super::Finding;
use super::source::Tree;

/// What compares in constant time.
const COMPARISON: &str = "verify_slices_are_equal(";

/// The files that compare secrets, and how often.
const PLACES: [(&str, usize); 7] = [
    ("crates/plugins/src/basic_auth/hash.rs", 2),
    ("crates/plugins/src/hmac_auth/digest.rs", 1),
    ("crates/plugins/src/hmac_auth/signature.rs", 1),
    ("crates/plugins/src/oauth2/secret.rs", 1),
    ("crates/plugins/src/openid_connect/possession.rs", 1),
    ("crates/plugins/src/openid_connect/proofs.rs", 1),
    ("crates/plugins/src/openid_connect/sources.rs", 1),
];

/// Comparisons that are gone, and those that are not listed.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let sources = tree.sources.iter().filter(|source| source.path.starts_with("crates/"));
    let counted = sources.map(|source| {
        let code = source.masks.code.lines().enumerate().filter(|(line, _)| !source.is_test(*line));
        (source, code.map(|(_, text)| text.matches(COMPARISON).count()).sum::<usize>())
    });
    let differing = counted.filter_map(|(source, found)| {
        let listed = PLACES.iter().find(|(path, _)| *path == source.path).map_or(0, |(_, count)| *count);
        let message = format!(
            "{found} comparisons in constant time, {listed} in xtask/src/tidy/comparisons.rs: secrets are compared in no \
             other way"
        );
        (found != listed).then(|| source.finding_of_file(message))
    });
    differing.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_that_is_made_in_another_way_is_found() {
        let (path, _) = PLACES[3];
        let found = |path: &str, text: &str| check(&Tree::of(&[(path, text)])).len();
        assert_eq!(found(path, "fn is() { verify_slices_are_equal(a, b).is_ok() }\n"), 0);
        assert_eq!(found(path, "fn is() { a == b }\n"), 1);
        assert_eq!(found(path, "// verify_slices_are_equal(a, b)\nfn is() { a == b }\n"), 1);
        assert_eq!(found("crates/plugins/src/new.rs", "fn is() { verify_slices_are_equal(a, b); }\n"), 1);
        assert_eq!(found("crates/plugins/src/new.rs", "fn is() { a == b }\n"), 0);
    }
}
