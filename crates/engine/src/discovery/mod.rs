//! Targets that are listed elsewhere: in a registry, in a file. Kept up to date by one thread of its own.
//!
//! A request never asks for a list: balancers put a new roster in place when a list has changed, as they do for names.
//! A list outlives the reload of a configuration that still wants it. Whatever fails, the last good list stays.

mod archive;
mod consul;
mod directory;
mod file;
mod listing;
mod sought;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ahash::AHashMap;
use model::{Config, Problem, Uuid};
use rustls::ClientConfig;

use crate::dns::Resolver;
use crate::tls::Keeper;
use crate::unsupported::at;

pub(crate) use archive::Archive;
pub use archive::MAX_AGE;
pub(crate) use directory::Directory;
pub(crate) use listing::Listing;
use sought::Sought;

/// Most targets in a list.
const MOST_TARGETS: usize = 4096;

/// Where lists come from.
trait Source: Send {
    /// The list, as soon as it may be another than the last one that was given; the first time, at once.
    fn next(&mut self) -> Next<'_>;
}

/// A list on its way.
type Next<'a> = Pin<Box<dyn Future<Output = Result<Vec<Listed>, Trouble>> + Send + 'a>>;

/// A target in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    host: String,
    port: u16,
    weight: u16,
}

/// Why there is no list.
#[derive(Debug)]
struct Trouble {
    reason: String,
    again: Again,
}

/// When to ask a source again that has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Later, and later each time.
    Later,
    /// At once: it waits by itself until there is something new.
    AtOnce,
}

/// The lists of a configuration, by upstream.
pub(crate) type Listings = AHashMap<Uuid, Arc<Listing>>;

/// Whether sources are asked, or a configuration is only checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// They are.
    Serve,
    /// Nothing outside the process is touched.
    Check,
}

impl Trouble {
    /// To be tried again later.
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), again: Again::Later }
    }
}

/// The lists that `config` wants. What cannot be honoured is added to `problems`.
pub(crate) fn compile(
    config: &Config,
    resolver: &Resolver,
    keeper: &Keeper,
    purpose: Purpose,
    problems: &mut Vec<Problem>,
) -> Listings {
    let mut listings = Listings::new();
    for upstream in &config.upstreams {
        let Some(discovery) = &upstream.discovery else { continue };
        let tls = || keeper.roots().client_config(true).map_err(|error| error.to_string());
        let sought = Sought::of(discovery).and_then(|sought| Ok((sought.tools(purpose, tls)?, sought)));
        match sought {
            Ok((tools, sought)) => {
                let listing = match purpose {
                    Purpose::Serve => resolver.directory.listing(sought, tools),
                    Purpose::Check => Listing::new(&sought),
                };
                listings.insert(upstream.id, listing);
            }
            Err((field, message)) => {
                let field = format!("discovery.{field}");
                problems.push(at(config, "upstreams", upstream.id, &field, &message));
            }
        }
    }
    listings
}

/// What a source needs that is no part of what tells it from others.
#[derive(Clone, Default)]
struct Tools {
    /// How TLS is spoken, where it is.
    tls: Option<Arc<ClientConfig>>,
    /// The secret that the registry wants.
    token: Option<http::HeaderValue>,
}
