//! Dependencies between our crates point one way only.

use super::Finding;
use super::source::Tree;

/// Which of our crates each may depend on.
const ARROWS: [(&str, &[&str]); 7] = [
    ("wire", &[]),
    ("model", &[]),
    ("plugin", &["wire", "model"]),
    ("plugins", &["plugin"]),
    ("engine", &["wire", "model", "plugin"]),
    ("control", &["model", "plugin"]),
    ("biplane", &["wire", "model", "plugin", "plugins", "engine", "control"]),
];

/// Dependencies that are not among the arrows, and crates that nobody has drawn arrows for.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, manifest) in &tree.manifests {
        let path = format!("crates/{name}/Cargo.toml");
        let Some((_, allowed)) = ARROWS.iter().find(|(krate, _)| krate == name) else {
            let message = "a crate without arrows: say in ARCHITECTURE.md which import it forbids".to_owned();
            findings.push(Finding { path, line: 0, message });
            continue;
        };
        for (line, dependency) in dependencies(manifest) {
            let ours = ARROWS.iter().any(|(krate, _)| *krate == dependency);
            if ours && !allowed.contains(&dependency) {
                let message = format!("'{name}' may not depend on '{dependency}'");
                findings.push(Finding { path: path.clone(), line: line + 1, message });
            }
        }
    }
    findings
}

/// Line and name of what stands under `[dependencies]`; tests may use more.
fn dependencies(manifest: &str) -> Vec<(usize, &str)> {
    let mut within = false;
    let mut found = Vec::new();
    for (line, text) in manifest.lines().enumerate() {
        let text = text.trim();
        if let Some(table) = text.strip_prefix('[') {
            let name = table.trim_end_matches(']');
            within =
                name == "dependencies" || (name.starts_with("target.") && name.ends_with(".dependencies"));
            found.extend(name.strip_prefix("dependencies.").map(|name| (line, name)));
        } else if within && !text.starts_with('#') {
            let end = text.find(['.', ' ', '=']).unwrap_or(text.len());
            found.extend((end > 0).then(|| (line, &text[..end])));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_that_points_the_wrong_way_is_found() {
        let found = |name: &str, manifest: &str| {
            let path = format!("crates/{name}/Cargo.toml");
            check(&Tree::of(&[(&path, manifest)])).into_iter().map(|finding| finding.line).collect::<Vec<_>>()
        };
        assert_eq!(found("engine", "[dependencies]\nwire.workspace = true\nplugins.workspace = true\n"), [3]);
        assert_eq!(found("control", "[dependencies]\nengine = { path = \"../engine\" }\n"), [2]);
        assert_eq!(found("plugins", "[dependencies.model]\nworkspace = true\n"), [1]);
        assert_eq!(
            found("plugins", "[dependencies]\nplugin.workspace = true\nserde.workspace = true\n"),
            [0; 0]
        );
        assert_eq!(found("control", "[dev-dependencies]\nplugins.workspace = true\n"), [0; 0]);
        assert_eq!(found("helpers", "[dependencies]\n"), [0]);
    }
}
