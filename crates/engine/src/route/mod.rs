//! The router: which route a request belongs to, by the rules of Kong's `traditional_compatible` flavor.
//!
//! Routes are split into sub-routes of one path length each and put in the order of their priority once, at
//! reload. A request then looks its host and its path up in an index and tests only what lies there, so its cost
//! does not grow with the number of routes. Everything here is pure: no I/O, no clock, no state.

mod condition;
mod draft;
mod forest;
mod host;
mod keyed;
mod leaf;
mod pattern;
mod rank;
mod search;
mod upstream_path;

#[cfg(test)]
mod tests;

use model::courtesy::{free, offering, worked};
use model::entity::Route;
use plugin::exchange::Captures;
use wire::{Headers, Method};

use draft::Rule;
use forest::Forest;
use host::Hosts;
use leaf::Leaf;
use pattern::Build;
use search::Search;

pub use condition::{given, server_name};
pub use host::HostName;
pub use upstream_path::upstream_path;
/// Host and port of a `Host` value; brackets of an IPv6 address stay with the host.
pub use wire::target::split_host_port as split_host;

/// What a request is routed by.
pub struct Lookup<'a> {
    /// The method.
    pub method: &'a Method,
    /// The `Host` value as it came, port included.
    pub host: Option<&'a [u8]>,
    /// The port the connection came in on; counts where `host` names none.
    pub listen_port: u16,
    /// The normalized path without query.
    pub path: &'a [u8],
    /// The request headers.
    pub headers: &'a Headers,
    /// The request came over TLS, here or at a trusted proxy in front.
    pub https: bool,
    /// The server name of the TLS handshake.
    pub sni: Option<&'a str>,
}

/// The route of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The number that `compile` was given with the route.
    pub ordinal: usize,
    /// Bytes of the path that matched: a prefix, or what a regular expression matched; 0 without paths.
    pub matched_len: usize,
    /// The route has paths.
    pub by_path: bool,
}

/// All routes, ready to be asked.
pub struct Router {
    /// Sub-routes, best first: the index of one is its standing.
    rules: Vec<Rule>,
    /// Where the hosts lead.
    hosts: Hosts,
    /// The trees of host names and of paths.
    forest: Forest,
    /// What lies at the end of a path.
    leaves: Vec<Leaf>,
}

impl Router {
    /// Compiles HTTP routes; each comes with the number it is to be found by.
    ///
    /// # Errors
    /// The number of a route whose regular expression does not compile, and why.
    pub fn compile<'a>(routes: impl Iterator<Item = (usize, &'a Route)>) -> Result<Router, (usize, String)> {
        let routes: Vec<_> = routes.collect();
        let build = Build::for_number(routes.iter().map(|(_, route)| draft::pattern_count(route)).sum());
        let mut drafts = Vec::new();
        for (ordinal, route) in offering(2_000, routes.into_iter()) {
            draft::split(ordinal, route, build, &mut drafts).map_err(|reason| (ordinal, reason))?;
        }
        drafts.sort_by(|one, other| {
            worked(50);
            other.rank.cmp(&one.rank)
        });
        let mut forest = Forest::default();
        let mut leaves = leaf::Planter::new(&drafts, &mut forest);
        let hosts = Hosts::build(&drafts, &mut leaves);
        let leaves = leaves.into_leaves();
        let rules = offering(200, drafts.into_iter()).map(|draft| draft.rule).collect();
        Ok(Router { rules, hosts, forest, leaves })
    }

    /// Frees the router, letting others have the core meanwhile.
    pub fn free(self) {
        free(self.rules);
        free(self.leaves);
    }

    /// The route of a request; `captures` is filled when a regular expression matched the path, else emptied.
    pub fn find(&self, lookup: &Lookup<'_>, captures: &mut Captures) -> Option<Found> {
        let mut search = Search::new(self, lookup, captures);
        search.run();
        search.finish()
    }
}
