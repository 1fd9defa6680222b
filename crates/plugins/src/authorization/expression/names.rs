//! The names that expressions know, and what they stand for.

use super::node::{Fact, Kind};

/// Facts that are found by names which only an expression knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Claims,
    Headers,
    Query,
    Parameters,
}

/// What expressions begin with.
pub(super) const ROOTS: [&str; 10] = [
    "request",
    "client",
    "consumer",
    "claims",
    "roles",
    "scopes",
    "authenticated",
    "parameters",
    "route",
    "service",
];

/// An example of a part of `root`.
pub(super) fn part_of(root: &str) -> &'static str {
    match root {
        "request" => "request.method",
        "client" => "client.ip",
        "consumer" => "consumer.username",
        "claims" => "claims.sub",
        "route" => "route.name",
        "service" => "service.name",
        _ => "parameters.id",
    }
}

/// A name, what it stands for, and the kind of that.
type Part = (&'static str, Fact, Kind);

const REQUEST: [Part; 5] = [
    ("method", Fact::Method, Kind::Text),
    ("path", Fact::Path, Kind::Text),
    ("host", Fact::Host, Kind::Text),
    ("scheme", Fact::Scheme, Kind::Text),
    ("time", Fact::Time, Kind::Moment),
];
const CONSUMER: [Part; 5] = [
    ("id", Fact::ConsumerId, Kind::Text),
    ("username", Fact::Username, Kind::Text),
    ("custom_id", Fact::CustomId, Kind::Text),
    ("tags", Fact::Tags, Kind::List),
    ("groups", Fact::Groups, Kind::List),
];
const CLIENT: [Part; 1] = [("ip", Fact::ClientAddress, Kind::Text)];
const ROUTE: [Part; 1] = [("name", Fact::RouteName, Kind::Text)];
const SERVICE: [Part; 1] = [("name", Fact::ServiceName, Kind::Text)];

/// The parts of `root` that are known by name.
pub(super) fn parts_of(root: &str) -> &'static [Part] {
    match root {
        "request" => &REQUEST,
        "consumer" => &CONSUMER,
        "client" => &CLIENT,
        "route" => &ROUTE,
        "service" => &SERVICE,
        _ => &[],
    }
}
