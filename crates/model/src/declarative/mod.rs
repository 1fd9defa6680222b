//! Kong's declarative format: one document in, typed entities and their complete JSON out, or everything that is
//! wrong with it.

mod assemble;
mod collect;
mod config;
mod errors;
mod layout;
mod migrate;
mod prepare;
mod resolve;

use std::sync::Arc;

pub use config::{Config, Entity};
pub use errors::problems_to_kong;
use md5::{Digest, Md5};

use self::collect::Collector;
use self::layout::Layout;
use self::resolve::Resolver;
use crate::entity::EntitySchema;
use crate::node;
use crate::problem::{Problem, Problems};
use crate::schema::RecordSchema;

/// What plugins bring with them: their schemas and their entities.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// The plugins that may be used.
    pub plugins: Vec<PluginSchema>,
    /// Entities that plugins own, such as credentials.
    pub entities: Vec<EntitySchema>,
}

/// The description of a plugin.
#[derive(Debug, Clone)]
pub struct PluginSchema {
    /// The name that documents use.
    pub name: &'static str,
    /// Plugins of higher priority run first.
    pub priority: i64,
    /// Its settings.
    pub config: RecordSchema,
    /// What a row may be limited to.
    pub scopes: Scopes,
    /// The protocols it works on.
    pub protocols: &'static [&'static str],
}

/// What rows of a plugin may be limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    /// A service.
    pub service: bool,
    /// A route.
    pub route: bool,
    /// A consumer.
    pub consumer: bool,
    /// A group of consumers.
    pub consumer_group: bool,
}

impl Scopes {
    /// Anything.
    pub const ALL: Self = Self { service: true, route: true, consumer: true, consumer_group: true };
    /// Anything but consumers and their groups, as for plugins that find out who the consumer is.
    pub const NO_CONSUMER: Self = Self { service: true, route: true, consumer: false, consumer_group: false };
}

/// Reads a declarative document.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub fn load(file_name: &str, text: &str, catalog: &Catalog) -> Result<Config, Vec<Problem>> {
    let file: Arc<str> = Arc::from(file_name);
    let mut document = match node::parse(file_name, text) {
        Ok(document) => document,
        Err(problem) => return Err(vec![Problem { file, ..problem }]),
    };
    let layout = Layout::new(catalog);
    let mut problems = Problems { list: std::mem::take(&mut document.problems) };
    let header = prepare::prepare(&mut document.root, &layout, &mut problems);
    let mut collector = Collector::new(&layout, problems);
    collector.document(&document.root);
    let mut resolver = Resolver::new(&layout, collector);
    resolver.resolve();
    let (rows, mut problems) = resolver.finish();
    sort_by_place(&file, &mut problems);
    if !problems.is_usable() {
        errors::attach_owners(&document.root, &layout, &mut problems.list);
        return Err(problems.list);
    }
    Ok(assemble::assemble(&layout, rows, header, problems.list, digest(text)))
}

/// The digest that Kong shows as `configuration_hash`: MD5 of the text, 32 hexadecimal digits.
pub fn digest(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sort_by_place(file: &Arc<str>, problems: &mut Problems) {
    problems.list.sort_by_key(|problem| (problem.span.line, problem.span.column));
    problems.list.dedup();
    for problem in &mut problems.list {
        problem.file = Arc::clone(file);
    }
}

#[cfg(test)]
mod tests;
