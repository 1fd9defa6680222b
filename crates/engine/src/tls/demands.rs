//! In which handshakes clients are asked for a certificate. Compiled at reload.

use ahash::AHashSet;
use model::{Config, PluginRow};
use plugin::Definition;
use plugin::exchange::Demand;

/// Names up to this length are looked up; longer ones are no domain names.
const LONGEST_NAME: usize = 255;

/// What is demanded, by the server name that a client asks for.
#[derive(Debug, Default)]
pub struct Demands {
    /// In every handshake.
    everywhere: Demand,
    /// Names in whose handshakes more is demanded: a certificate is requested.
    names: Names,
}

/// Server names, as routes have them.
#[derive(Debug, Default)]
pub struct Names {
    exact: AHashSet<Box<[u8]>>,
    /// `*.example.com`, without the star.
    suffixes: AHashSet<Box<[u8]>>,
    /// `example.*`, without the star.
    prefixes: AHashSet<Box<[u8]>>,
}

impl Demands {
    /// What the operator demands everywhere, and what the plugins of `config` ask for.
    pub fn compile(config: &Config, definitions: &[&'static dyn Definition], everywhere: Demand) -> Self {
        let mut demands = Self { everywhere, ..Self::default() };
        for row in config.plugins.iter().filter(|row| row.enabled) {
            let definition = definitions.iter().find(|definition| definition.name() == row.name);
            if definition.is_some_and(|definition| definition.asks_for_certificate(row)) {
                demands.add(config, row);
            }
        }
        demands
    }

    /// The `snis` of the row's route; without a route, or one that has none, every name.
    fn add(&mut self, config: &Config, row: &PluginRow) {
        match names_of(config, row) {
            None => self.everywhere = self.everywhere.max(Demand::Request),
            Some(names) => names.iter().for_each(|name| self.names.add(name)),
        }
    }

    /// What is demanded of clients that ask for `name`. Allocates nothing.
    pub fn of(&self, name: Option<&[u8]>) -> Demand {
        match name {
            Some(name) if self.everywhere < Demand::Request && self.names.has(name) => Demand::Request,
            _ => self.everywhere,
        }
    }
}

/// The server names that a row of a plugin is for; none is all.
pub fn names_of<'a>(config: &'a Config, row: &PluginRow) -> Option<&'a [String]> {
    let route = row.route.and_then(|id| config.routes.iter().find(|route| route.id == id));
    route.and_then(|route| route.snis.as_deref()).filter(|names| !names.is_empty())
}

impl Names {
    /// A star stands for any number of labels, as it does where routes compare names.
    pub fn add(&mut self, name: &str) {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let (names, name) = match (name.strip_prefix('*'), name.strip_suffix('*')) {
            (Some(suffix), _) => (&mut self.suffixes, suffix),
            (_, Some(prefix)) => (&mut self.prefixes, prefix),
            _ => (&mut self.exact, &*name),
        };
        names.insert(name.as_bytes().into());
    }

    /// Whether a client's `name` is one of them. Allocates nothing.
    pub fn has(&self, name: &[u8]) -> bool {
        if self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty() {
            return false;
        }
        let mut buffer = [0; LONGEST_NAME];
        let name = name.strip_suffix(b".").unwrap_or(name);
        let Some(lower) = buffer.get_mut(..name.len()) else { return false };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let lower = &*lower;
        let mut dots = lower.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
        self.exact.contains(lower)
            || dots.any(|at| self.suffixes.contains(&lower[at..]) || self.prefixes.contains(&lower[..=at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demands(names: &[&str]) -> Demands {
        let mut demands = Demands::default();
        names.iter().for_each(|name| demands.names.add(name));
        demands
    }

    #[test]
    fn names_and_patterns_are_those_that_routes_compare_with() {
        let demands = demands(&["A.test", "*.b.test", "c.*", "d.test."]);
        for name in ["a.test", "A.TEST.", "x.b.test", "y.x.b.test", "c.org", "c.x.org", "d.test"] {
            assert_eq!(demands.of(Some(name.as_bytes())), Demand::Request, "{name}");
        }
        for name in ["b.test", "xb.test", "x.a.test", "cc.org", "c", "", &"a.".repeat(200)] {
            assert_eq!(demands.of(Some(name.as_bytes())), Demand::Nothing, "{name}");
        }
        assert_eq!(demands.of(None), Demand::Nothing);
    }

    #[test]
    fn what_is_demanded_everywhere_is_demanded_of_all_names() {
        for everywhere in [Demand::Request, Demand::Require] {
            let demands = Demands { everywhere, ..demands(&["a.test"]) };
            assert_eq!([demands.of(Some(b"a.test")), demands.of(None)], [everywhere; 2]);
        }
    }
}
