//! The source tree as the rules see it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::Finding;
use super::lexer::{self, Masks};

/// Folders of Rust sources.
const FOLDERS: [&str; 5] = ["crates", "xtask", "bench", "e2e", "fuzz"];
/// Folders that hold no sources of ours.
const SKIPPED: [&str; 3] = ["target", "corpus", "artifacts"];
/// The page that lists the settings.
pub const SETTINGS_PAGE: &str = "docs/settings.md";
/// The page that tells where things are.
pub const MAP_PAGE: &str = "ARCHITECTURE.md";

/// Everything that is looked at.
#[derive(Debug, Default)]
pub struct Tree {
    /// Rust sources, in the order of their paths.
    pub sources: Vec<Source>,
    /// Manifests of the crates, by the crate's folder name.
    pub manifests: BTreeMap<String, String>,
    /// The page that lists the settings.
    pub settings_page: String,
    /// The page that tells where things are.
    pub map_page: String,
}

/// One Rust source.
#[derive(Debug)]
pub struct Source {
    /// Path from the root, with slashes.
    pub path: String,
    /// The text by kind.
    pub masks: Masks,
    /// The text.
    pub text: String,
    /// For each line, whether it is compiled for tests only.
    pub tests: Vec<bool>,
}

impl Tree {
    /// Reads the tree under `root`.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut texts = Vec::new();
        for folder in FOLDERS {
            read_folder(root, folder, &mut texts)?;
        }
        texts.sort();
        tree.sources = texts.into_iter().map(|(path, text)| Source::new(path, text)).collect();
        tree.mark_test_modules();
        tree.settings_page = fs::read_to_string(root.join(SETTINGS_PAGE))?;
        tree.map_page = fs::read_to_string(root.join(MAP_PAGE))?;
        for entry in fs::read_dir(root.join("crates"))? {
            let entry = entry?;
            let manifest = fs::read_to_string(entry.path().join("Cargo.toml"))?;
            tree.manifests.insert(entry.file_name().to_string_lossy().into_owned(), manifest);
        }
        Ok(tree)
    }

    /// A tree of these files, for tests of rules.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            match path.strip_prefix("crates/").and_then(|path| path.strip_suffix("/Cargo.toml")) {
                Some(name) => drop(tree.manifests.insert(name.to_owned(), (*text).to_owned())),
                None if *path == SETTINGS_PAGE => (*text).clone_into(&mut tree.settings_page),
                None if *path == MAP_PAGE => (*text).clone_into(&mut tree.map_page),
                None => tree.sources.push(Source::new((*path).to_owned(), (*text).to_owned())),
            }
        }
        tree.mark_test_modules();
        tree
    }

    /// Modules declared for tests only are tests as a whole.
    fn mark_test_modules(&mut self) {
        let modules: Vec<String> = self.sources.iter().flat_map(Source::test_modules).collect();
        for source in &mut self.sources {
            let inside = |module: &String| {
                let rest = source.path.strip_prefix(module.as_str());
                rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            };
            if modules.iter().any(inside) {
                source.tests.fill(true);
            }
        }
    }
}

impl Source {
    fn new(path: String, text: String) -> Self {
        let masks = lexer::masks(&text);
        let whole = path.contains("/tests/") || path.contains("/benches/");
        let mut source = Self { tests: vec![whole; text.lines().count()], path, masks, text };
        for (start, end) in source.test_items() {
            let last = source.tests.len().saturating_sub(1);
            source.tests[start.min(last)..=end.min(last)].fill(true);
        }
        source
    }

    /// A finding at a line counted from 0.
    pub fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line: line + 1, message: message.into() }
    }

    /// A finding about the file as a whole.
    pub fn finding_of_file(&self, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line: 0, message: message.into() }
    }

    /// Whether a line, counted from 0, is compiled for tests only.
    pub fn is_test(&self, line: usize) -> bool {
        self.tests.get(line).copied().unwrap_or(false)
    }

    /// First and last lines of items under `#[cfg(test)]`.
    fn test_items(&self) -> Vec<(usize, usize)> {
        let code = &self.masks.code;
        let starts = code.match_indices("#[cfg(test)]").map(|(start, _)| start);
        starts
            .map(|start| {
                let end = item_end(&code[start..]).map_or(code.len(), |length| start + length);
                (line_of(code, start), line_of(code, end))
            })
            .collect()
    }

    /// Paths, without `.rs`, of modules declared under `#[cfg(test)]`.
    fn test_modules(&self) -> Vec<String> {
        let code = &self.masks.code;
        let folder = match self.path.rsplit_once('/') {
            Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder,
            _ => self.path.strip_suffix(".rs").unwrap_or(&self.path),
        };
        let after = code.match_indices("#[cfg(test)]").map(|(start, marker)| &code[start + marker.len()..]);
        after
            .filter_map(|rest| {
                let rest = rest.trim_start();
                let rest = rest.strip_prefix("pub ").or(rest.strip_prefix("pub(crate) ")).unwrap_or(rest);
                let (name, _) = rest.strip_prefix("mod ")?.split_once(';')?;
                let is_name = !name.is_empty() && name.bytes().all(lexer::is_word);
                is_name.then(|| format!("{folder}/{name}"))
            })
            .collect()
    }
}

/// The line, from 0, of a position.
pub fn line_of(text: &str, position: usize) -> usize {
    text.as_bytes()[..position.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

/// Where the item at the beginning ends: behind its `;`, or behind the brace that closes its first one.
pub fn item_end(code: &str) -> Option<usize> {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (index, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => others += 1,
            b')' | b']' => others = others.saturating_sub(1),
            b'{' => braces += 1,
            b'}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 && others == 0 {
                    return Some(index);
                }
            }
            b';' if braces == 0 && others == 0 => return Some(index),
            _ => {}
        }
    }
    None
}

fn read_folder(root: &Path, folder: &str, texts: &mut Vec<(String, String)>) -> io::Result<()> {
    if !root.join(folder).is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{folder}/{name}");
        if entry.file_type()?.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                read_folder(root, &path, texts)?;
            }
        } else if name.ends_with(".rs") {
            texts.push((path, fs::read_to_string(entry.path())?));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_items_and_test_modules_are_told_from_the_rest() {
        let tree = Tree::of(&[
            (
                "crates/a/src/lib.rs",
                "fn f() {}\n#[cfg(test)]\nmod tests {\n  fn g() {}\n}\nfn h() {}\n#[cfg(test)]\nmod lab;\n",
            ),
            ("crates/a/src/lab.rs", "fn g() {}\n"),
            ("crates/a/src/lab/inner.rs", "fn g() {}\n"),
            ("crates/a/src/labour.rs", "fn g() {}\n"),
        ]);
        let whole: Vec<bool> = tree.sources.iter().map(|source| source.is_test(0)).collect();
        assert_eq!(whole, [false, true, true, false]);
        assert_eq!(tree.sources[0].tests[..6], [false, true, true, true, true, false]);
    }
}
