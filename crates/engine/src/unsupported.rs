//! What a configuration may ask for that this version cannot honour, told by name rather than ignored.

use std::sync::Arc;

use model::entity::Upstream;
use model::problem::Step;
use model::{Config, Place, Problem};
use uuid::Uuid;

use crate::balance;
use crate::stream::demands;

/// Everything in `config` that cannot be honoured whatever its plugins say.
pub fn unsupported(config: &Config) -> Vec<Problem> {
    let mut problems = demands::problems(config);
    problems.extend(upstreams(config));
    problems
}

/// A problem with a field of an entity, at the place of the entity in its document.
pub fn at(config: &Config, collection: &str, id: Uuid, field: &str, message: &str) -> Problem {
    let span = config.entity(collection, id).map(|entity| entity.span).unwrap_or_default();
    let place = Place(vec![Step::Field(collection.to_owned()), Step::Field(field.to_owned())]);
    Problem::new(place, span, message.to_owned())
}

fn upstreams(config: &Config) -> Vec<Problem> {
    let refused = |upstream: &Arc<Upstream>| {
        let found = balance::unsupported(upstream).into_iter();
        let problem =
            |(field, message): (&str, String)| at(config, "upstreams", upstream.id, field, &message);
        found.map(problem).collect::<Vec<_>>()
    };
    config.upstreams.iter().flat_map(refused).collect()
}
