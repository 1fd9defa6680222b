//! Kong's declarative format: one document in, its entities out, typed and as they are shown, or everything that is
//! wrong with it.

mod advice;
mod assemble;
mod catalog;
mod collect;
mod config;
mod errors;
mod layout;
mod locate;
mod migrate;
mod prepare;
mod resolve;
mod revealed;
mod secrets;
mod shown;
mod transform;

use std::sync::Arc;

pub use catalog::{Catalog, PluginSchema, Scopes};
pub use config::{Config, Entity, Stored};
pub use errors::problems_to_kong;
pub use locate::locate;
use md5::{Digest, Md5};
pub use prepare::prepare_entity;

use self::collect::Collector;
use self::layout::Layout;
use self::prepare::Header;
use self::resolve::Resolver;
use self::secrets::Resolved;
use crate::courtesy;
use crate::node::{self, Node};
use crate::problem::{Problem, Problems};
use crate::secret::{NoVaults, Vaults};

/// Reads a declarative document that holds no reference to a secret.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub fn load(file_name: &str, text: &str, catalog: &Catalog) -> Result<Config, Vec<Problem>> {
    load_with(file_name, text, catalog, &NoVaults)
}

/// Reads a declarative document, and looks up in `vaults` what its references to secrets mean.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub fn load_with(
    file_name: &str,
    text: &str,
    catalog: &Catalog,
    vaults: &dyn Vaults,
) -> Result<Config, Vec<Problem>> {
    let file: Arc<str> = Arc::from(file_name);
    let layout = Layout::new(catalog);
    let mut problems = Problems::default();
    let (root, header) = match read(file_name, text, &layout, &mut problems) {
        Ok(read) => read,
        Err(problem) => return Err(vec![Problem { file, ..problem }]),
    };
    let mut collector = Collector::new(&layout, problems);
    collector.document(root);
    let mut resolver = Resolver::new(&layout, collector);
    resolver.resolve();
    let (mut rows, mut problems) = resolver.finish();
    if problems.is_usable() {
        transform::transform(&layout, &mut rows, &header, &mut problems);
        advice::advise(&layout, &rows, &mut problems);
    }
    // Nobody is asked for secrets on behalf of a document that is wrong anyway.
    let mut secrets = Resolved::default();
    if problems.is_usable() {
        secrets = secrets::resolve(&layout, &rows, vaults, &mut problems);
        revealed::finish(&layout, &mut rows, &mut secrets, &mut problems);
    }
    if problems.is_usable() {
        sort_by_place(&file, &mut problems);
        return Ok(assemble::assemble(&layout, rows, secrets, header, problems.list, digest(text)));
    }
    // Read once more, so that a document without errors need not stay in memory for this.
    if let Ok((root, _)) = read(file_name, text, &layout, &mut Problems::default()) {
        locate::finish(&root, &layout, &mut problems, file_name);
    }
    Err(problems.told())
}

/// The document in Kong's plain form, and what it says about itself.
fn read(
    file_name: &str,
    text: &str,
    layout: &Layout<'_>,
    problems: &mut Problems,
) -> Result<(Node, Header), Problem> {
    let mut document = node::parse(file_name, text)?;
    problems.extend(std::mem::take(&mut document.problems));
    let header = prepare::prepare(&mut document.root, layout, problems);
    Ok((document.root, header))
}

/// The configuration without any entity, with which a gateway starts that has no document.
pub fn empty(catalog: &Catalog) -> Config {
    let (layout, header) = (Layout::new(catalog), Header::default());
    let secrets = Resolved::default();
    assemble::assemble(&layout, Vec::new(), secrets, header, Vec::new(), "0".repeat(32))
}

/// The digest that Kong shows as `configuration_hash`: MD5 of the text, 32 hexadecimal digits.
pub fn digest(text: &str) -> String {
    let mut digest = Md5::new();
    for piece in courtesy::offering(25_000, text.as_bytes().chunks(16 * 1024)) {
        digest.update(piece);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sort_by_place(file: &Arc<str>, problems: &mut Problems) {
    problems.list.sort_by_key(|problem| (problem.span.line, problem.span.column));
    problems.list.dedup();
    for problem in &mut problems.list {
        problem.file = Arc::clone(file);
    }
}

#[cfg(test)]
mod advice_tests;
#[cfg(test)]
mod certificate_tests;
#[cfg(test)]
mod config_tests;
#[cfg(test)]
mod locate_tests;
#[cfg(test)]
mod secrets_tests;
#[cfg(test)]
mod shown_tests;
#[cfg(test)]
mod tests;
