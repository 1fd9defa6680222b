//! What an upstream may ask for that is not built yet, so that a check can refuse it by name.

use model::entity::Upstream;

/// The settings of `upstream` that would not be honoured: the path of the field within the upstream, and why not.
#[must_use]
pub fn unsupported(upstream: &Upstream) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let paths = [
        ("hash_on_cookie_path", Some(&upstream.hash_on_cookie_path)),
        ("sticky_sessions_cookie_path", upstream.sticky_sessions_cookie_path.as_ref()),
    ];
    for (field, _) in paths.into_iter().filter(|(_, path)| path.is_some_and(|path| path.contains(';'))) {
        found.push((field, "a path with a semicolon cannot stand in a cookie".to_owned()));
    }
    found
}
