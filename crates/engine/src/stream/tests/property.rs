//! Every mixture of fields: the index must answer as a list does that is asked one route after the other.

use std::net::{IpAddr, SocketAddr};

use model::entity::{Endpoint, Route};
use model::serde_json::{Value, json};

use super::super::draft::Arrival;
use super::Table;

const ENDS: &[&str] = &[
    "[]",
    "[{ip: 10.0.0.1}]",
    "[{port: 1}]",
    "[{ip: 10.0.0.0/30}]",
    "[{ip: 10.0.0.2, port: 1}]",
    "[{ip: 10.0.0.2/31, port: 2}]",
    "[{ip: 10.0.0.1}, {port: 2}]",
    "[{ip: 10.0.0.3}, {ip: 10.0.0.0/8}]",
];
const NAMES: &[&str] =
    &["[]", "[a.b.test]", "['*.test']", "['*.b.test', c.test]", "['a.*']", "[a.b.test, 'c.*']"];
const ASKED: &[Option<&str>] =
    &[None, Some("a.b.test"), Some("c.test"), Some("a.x"), Some("x.b.test"), Some("a"), Some("test")];

/// Routes with all mixtures, of which every `step`-th is taken.
fn table(step: usize) -> Table {
    let mut routes = Vec::new();
    for sources in ENDS {
        for destinations in ENDS {
            for names in NAMES {
                let number = routes.len();
                // A number that goes up and down, so that ids do not follow the order.
                let id = format!("00000000-0000-4000-8000-{:012}", number * 7919 % 1009);
                routes.push(format!(
                    "{{name: r{number}, id: {id}, protocols: [tls], sources: {sources}, destinations: {destinations}, snis: {names}}}"
                ));
            }
        }
    }
    // One without any field is none.
    let routes: Vec<String> = routes.into_iter().skip(1).step_by(step).collect();
    Table::new(&format!("[{}]", routes.join(",\n")))
}

/// Kong's number for a route (kong.md 3.1), and its id.
fn standing(route: &Route) -> (u64, model::Uuid) {
    let weight = |ends: &[Endpoint]| {
        ends.iter().fold(0_u64, |bits, end| {
            let address = match end.ip.as_deref() {
                Some(range) if range.contains('/') => 1,
                Some(_) => 8,
                None => 0,
            };
            bits | address | if end.port.is_some() { 4 } else { 0 }
        })
    };
    let (sources, destinations) =
        (route.sources.as_deref().unwrap_or_default(), route.destinations.as_deref().unwrap_or_default());
    let named = route.snis.as_deref().is_some_and(|names| !names.is_empty());
    let special = named || !sources.is_empty() && !destinations.is_empty();
    (u64::from(special) << 61 | weight(sources) << 4 | weight(destinations), route.id)
}

fn accepts(route: &Route, arrival: &Arrival<'_>) -> bool {
    let holds = |ends: Option<&[Endpoint]>, end: SocketAddr| {
        let ends = ends.unwrap_or_default();
        ends.is_empty() || ends.iter().any(|one| is_within(one, end))
    };
    let names = route.snis.as_deref().unwrap_or_default();
    holds(route.sources.as_deref(), arrival.source)
        && holds(route.destinations.as_deref(), arrival.destination)
        && (names.is_empty() || arrival.name.is_some_and(|asked| names.iter().any(|name| fits(name, asked))))
}

fn is_within(one: &Endpoint, end: SocketAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(_) => panic!("the table has none"),
    };
    let address = one.ip.as_deref().is_none_or(|text| {
        let (base, width) = text.split_once('/').unwrap_or((text, "32"));
        let shift = 32 - width.parse::<u32>().unwrap();
        bits(base.parse().unwrap()) >> shift == bits(end.ip()) >> shift
    });
    address && one.port.is_none_or(|port| port == end.port())
}

fn fits(name: &str, asked: &str) -> bool {
    match (name.strip_prefix('*'), name.strip_suffix('*')) {
        (Some(suffix), _) => asked.ends_with(suffix),
        (_, Some(prefix)) => asked.starts_with(prefix),
        _ => asked == name,
    }
}

/// Compares for every mixture of ends and names, and tells how many found a route.
fn compare(table: &Table) -> usize {
    let ends: Vec<SocketAddr> = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:2", "10.0.0.9:3", "11.0.0.1:2"]
        .iter()
        .map(|end| end.parse().unwrap())
        .collect();
    let mut hits = 0;
    for (source, destination) in ends.iter().flat_map(|source| ends.iter().map(move |end| (*source, *end))) {
        for name in ASKED {
            let arrival = Arrival { source, destination, name: *name };
            let fitting = table.config.routes.iter().filter(|route| accepts(route, &arrival));
            let expected = fitting.max_by_key(|route| standing(route));
            let expected = expected.map_or("none", |route| route.name.as_deref().unwrap());
            assert_eq!(table.at("tls", &arrival), expected, "{arrival:?}");
            hits += usize::from(expected != "none");
        }
    }
    hits
}

#[test]
fn the_index_answers_as_a_list_does() {
    for step in [1, 2, 3, 7, 11, 29, 53] {
        let hits = compare(&table(step));
        assert!(hits > 20, "the comparison is worth little if {hits} of 175 find a route");
    }
}

#[test]
fn many_routes_of_one_kind_are_told_apart_by_lookup() {
    let routes: Vec<Value> = (1..=2000_u16)
        .map(|number| {
            let snis = [format!("h{number}.test")];
            json!({"name": format!("r{number}"), "protocols": ["tls"], "snis": snis})
        })
        .collect();
    let table = Table::new(&Value::from(routes).to_string());
    let (source, destination) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
    for number in [1, 1000, 2000] {
        let name = format!("h{number}.test");
        let arrival = Arrival { source, destination, name: Some(&name) };
        assert_eq!(table.at("tls", &arrival), format!("r{number}"));
    }
    assert_eq!(table.routes.looked_at(&Arrival { source, destination, name: Some("h77.test") }), 1);
}
