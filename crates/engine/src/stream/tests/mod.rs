//! Which route a connection belongs to: tables of Kong's priorities, and the index against a plain list.

mod priorities;
mod property;

use std::net::SocketAddr;

use model::{Catalog, Config};
use plugin::Services;
use plugin::clock::Clock;

use super::draft::Arrival;
use super::routes::{Found, Routes};
use super::visit::Rooms;

/// Routes as a document has them, compiled.
struct Table {
    config: Config,
    routes: Routes,
}

impl Table {
    /// Compiles `routes`, a list in YAML or JSON.
    fn new(routes: &str) -> Self {
        let document = format!("{{_format_version: '3.0', routes: {routes}}}");
        let config = model::declarative::load("test.yml", &document, &Catalog::default());
        let config = config.unwrap_or_else(|problems| panic!("{routes}: {:?}", problems[0].message));
        let mut problems = Vec::new();
        let services = Services::new(1, Clock::default(), true);
        let numbered = config.routes.iter().map(AsRef::as_ref).enumerate();
        let routes = Routes::compile(&config, numbered, |_| Rooms::default(), &services, &mut problems);
        assert!(problems.is_empty(), "{:?}", problems[0].message);
        Self { config, routes }
    }

    fn name(&self, found: Option<Found>) -> &str {
        found.map_or("none", |found| self.config.routes[found.ordinal].name.as_deref().unwrap())
    }

    /// The route at a listener of `kind`.
    fn at(&self, kind: &str, arrival: &Arrival<'_>) -> &str {
        let routes = &self.routes;
        self.name(match kind {
            "tcp" => routes.clear(arrival),
            "tls" => routes.secure(arrival),
            "peeked" => routes.passthrough(arrival),
            _ => routes.datagram(arrival),
        })
    }
}

/// An arrival written `SOURCE > DESTINATION`, with ` NAME` behind it under TLS.
fn arrival(text: &str) -> Arrival<'_> {
    let (source, rest) = text.split_once(" > ").unwrap();
    let (destination, name) = rest.split_once(' ').map_or((rest, None), |(to, name)| (to, Some(name)));
    let end = |text: &str| text.parse::<SocketAddr>().unwrap();
    Arrival { source: end(source), destination: end(destination), name }
}
