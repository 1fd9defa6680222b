//! Random tables and requests: the index must answer as the plain list does.

use model::entity::Route;
use model::serde_json::{Value, json};
use plugin::exchange::Captures;
use plugin::harness::Dice;

use super::oracle::Oracle;
use super::{Found, Request, compile, route};

const HOSTS: &[&str] = &[
    "x", "a.x", "b.x", "B.a.x", "*.x", "*.a.x", "*.A.X", "a.*", "b.*", "a.b.*", "x:80", "a.x:81", "*.x:81",
    "*.x:8000", "a.*:80", "x.", "*.b.a.x",
];
const ASKED_HOSTS: &[&str] = &[
    "x", "a.x", "A.X", "b.x", "b.a.x", "c.b.a.x", ".x", "a.", "a.b.c", "b.c:80", "x:80", "x:81", "a.x:81",
    "a.x:80", "q.x:81", "x.", "ax", "nothing", "a.b.", "a",
];
const PATHS: &[&str] = &[
    "/", "/a", "/b", "/a/", "/a/b", "/ab", "/ab/", "/a/b/a", "/a/ba", "/b/a", "/abab", "/a/a", "/1", "/b/1/",
];
const REGEXES: &[&str] = &[
    "~/a",
    "~/(a|b)",
    r"~/a/\d+",
    "~/[ab]+",
    "~/(?<x>a)?b",
    "~/a.*b",
    "~/.*",
    "~/a$",
    "~(?i)/AB",
    "~/(a|ab)(/b)?",
    r"~/(?<n>\d)/(?<m>\w+)",
    "~/a|/b/",
    "~/(a/)*b",
    "~/[a&&b]",
    "~/(?:a|b|ab|ba|/|1)*$",
    "~/(?-u:.)b",
    "~",
];
const HEADERS: &[(&str, &str)] = &[
    ("x-a", "1"),
    ("x-a", "2"),
    ("X_A", "One"),
    ("x-b", "1"),
    ("x-b", "~*^o"),
    ("x_b", r"~*\D$"),
    ("y", "1"),
];
const SENT_HEADERS: &[(&str, &str)] = &[
    ("X-A", "1"),
    ("x_a", "2"),
    ("X-a", "ONE"),
    ("x-b", "1"),
    ("X-B", "One"),
    ("y", "1"),
    ("Y", "2"),
    ("z", "1"),
];
const SNIS: &[&str] = &["s.x", "*.x", "t.*", "s.x.", "t.x", "u", "v", "w", "q", "r", "p", "S.y"];
const ASKED_SNIS: &[&str] = &["s.x", "t.x", "T.Y", "u", "v", "nothing", "s.y", "x"];

/// What chance makes of a route and of a request.
struct Chance(Dice);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0.index(bound)
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn some<'a>(&mut self, from: &[&'a str], most: usize) -> Vec<&'a str> {
        (0..=self.below(most)).map(|_| self.pick(from)).collect()
    }
}

/// How often each field is given, in percent.
#[derive(Clone, Copy)]
struct Mix {
    routes: usize,
    hosts: usize,
    paths: usize,
    regexes: usize,
    methods: usize,
    headers: usize,
    snis: usize,
}

fn random_fields(chance: &mut Chance, mix: Mix) -> Value {
    let mut fields = json!({ "regex_priority": chance.below(3) });
    if chance.percent(mix.hosts) {
        fields["hosts"] = json!(chance.some(HOSTS, 3));
    }
    if chance.percent(mix.paths) {
        let mut paths = chance.some(PATHS, 3);
        if chance.percent(mix.regexes) {
            paths.extend(chance.some(REGEXES, 2));
            let keep = 1 + chance.below(paths.len());
            paths = paths.split_off(paths.len() - keep);
        }
        fields["paths"] = json!(paths);
    }
    if chance.percent(mix.methods) {
        fields["methods"] = json!(chance.some(&["GET", "POST", "PURGE"], 2));
    }
    if chance.percent(mix.headers) {
        let mut headers = json!({});
        for _ in 0..=chance.below(2) {
            let (name, value) = chance.pick(HEADERS);
            headers[name] = json!([value, chance.pick(&["3", "4", "1"])]);
        }
        fields["headers"] = headers;
    }
    if chance.percent(mix.snis) {
        fields["snis"] = json!(chance.some(SNIS, 2));
    }
    fields
}

fn random_table(chance: &mut Chance, mix: Mix) -> Vec<Route> {
    let count = 1 + chance.below(mix.routes);
    let mut ids: Vec<u128> = (1..=count as u128).collect();
    for place in 1..count {
        ids.swap(place, chance.below(place + 1));
    }
    ids.into_iter().map(|id| route(id, &random_fields(chance, mix))).collect()
}

fn random_request(chance: &mut Chance) -> Request {
    let path = if chance.percent(50) {
        chance.pick(PATHS).to_owned() + chance.pick(&["", "", "b", "/1", "/", "/a/b"])
    } else {
        let pieces = (0..chance.below(6)).map(|_| chance.pick(&["a", "b", "/", "1", "ab", "é"]));
        format!("/{}", pieces.collect::<String>())
    };
    let host = if chance.percent(10) { "" } else { chance.pick(ASKED_HOSTS) };
    let mut request = Request::get(host, &path).method(chance.pick(&["GET", "GET", "POST", "PURGE", "PUT"]));
    request.listen_port = chance.pick(&[8000, 80, 81]);
    for _ in 0..chance.below(4) {
        let (name, value) = chance.pick(SENT_HEADERS);
        request = request.header(name, value);
    }
    if chance.percent(50) {
        request = request.tls(if chance.percent(20) { "" } else { chance.pick(ASKED_SNIS) });
    }
    request
}

/// Compares the router with the oracle and tells how many requests found a route.
fn compare(seed: u64, tables: usize, mix: Mix) -> usize {
    let mut chance = Chance(Dice::new(seed));
    let mut hits = 0;
    let (mut captures, mut expected_captures) = (Captures::default(), Captures::default());
    for table in 0..tables {
        let routes = random_table(&mut chance, mix);
        let router = compile(&routes);
        let oracle = Oracle::new(&routes);
        for _ in 0..60 {
            let request = random_request(&mut chance);
            let found = request.find(&router, &mut captures);
            let expected = oracle.find(&request, &mut expected_captures);
            let shown = || {
                let route = |found: Option<Found>| found.map(|found| &routes[found.ordinal]);
                let (got, wanted) = (route(found), route(expected));
                format!("table {table} of seed {seed}: {request:?}\ngot {got:#?}\nwanted {wanted:#?}")
            };
            assert_eq!(found, expected, "{}", shown());
            assert_eq!(captures.groups, expected_captures.groups, "{}", shown());
            assert_eq!(captures.text, expected_captures.text, "{}", shown());
            hits += usize::from(found.is_some());
        }
    }
    hits
}

#[test]
fn tables_of_all_fields() {
    let mix = Mix { routes: 24, hosts: 50, paths: 70, regexes: 25, methods: 30, headers: 30, snis: 25 };
    let hits = compare(1, 150, mix);
    assert!(hits > 4_500, "the comparison is worth little if {hits} of 9000 requests find a route");
}

#[test]
fn tables_of_hosts_and_prefixes() {
    let mix = Mix { routes: 40, hosts: 80, paths: 90, regexes: 0, methods: 10, headers: 0, snis: 0 };
    assert!(compare(2, 300, mix) > 9_000);
}

#[test]
fn tables_of_regular_expressions() {
    let mix = Mix { routes: 10, hosts: 20, paths: 100, regexes: 90, methods: 10, headers: 0, snis: 0 };
    assert!(compare(3, 150, mix) > 4_500);
}

#[test]
fn crowded_leaves_of_headers_and_server_names() {
    let mix = Mix { routes: 60, hosts: 10, paths: 20, regexes: 0, methods: 20, headers: 60, snis: 60 };
    assert!(compare(4, 150, mix) > 4_500);
}

#[test]
fn crowded_leaves_of_regular_expressions() {
    let mix = Mix { routes: 40, hosts: 5, paths: 100, regexes: 100, methods: 30, headers: 10, snis: 10 };
    assert!(compare(5, 60, mix) > 1_800);
}
