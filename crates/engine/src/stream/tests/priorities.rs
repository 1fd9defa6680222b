//! Kong's priorities of stream routes (kong.md 3.1), row by row.

use super::{Table, arrival};

/// The kind of a listener, an arrival there, and the name of its route.
type Case = (&'static str, &'static str, &'static str);

/// What is found among some routes.
const ROWS: &[(&str, &[Case])] = &[
    (
        "[{name: any, protocols: [tcp], sources: [{ip: 0.0.0.0/0}]},
          {name: port, protocols: [tcp], sources: [{port: 5000}]},
          {name: ip, protocols: [tcp], sources: [{ip: 10.0.0.1}]},
          {name: both, protocols: [tcp], sources: [{ip: 10.0.0.1, port: 5000}]}]",
        &[
            ("tcp", "10.0.0.1:5000 > 10.9.9.9:9000", "both"),
            ("tcp", "10.0.0.1:5001 > 10.9.9.9:9000", "ip"),
            ("tcp", "10.0.0.2:5000 > 10.9.9.9:9000", "port"),
            ("tcp", "10.0.0.2:5001 > 10.9.9.9:9000", "any"),
            ("tcp", "[2001:db8::1]:5001 > [2001:db8::2]:9000", "none"),
        ],
    ),
    (
        "[{name: cidr-port, protocols: [tcp], destinations: [{ip: 10.0.0.0/8, port: 9000}]},
          {name: ip, protocols: [tcp], destinations: [{ip: 10.9.9.9}]},
          {name: cidr, protocols: [tcp], destinations: [{ip: 10.0.0.0/8}]},
          {name: port, protocols: [tcp], destinations: [{port: 9000}]}]",
        &[
            ("tcp", "1.1.1.1:1 > 10.9.9.9:9000", "ip"),
            ("tcp", "1.1.1.1:1 > 10.9.9.8:9000", "cidr-port"),
            ("tcp", "1.1.1.1:1 > 10.9.9.8:9001", "cidr"),
            ("tcp", "1.1.1.1:1 > 11.0.0.1:9000", "port"),
        ],
    ),
    (
        "[{name: source, protocols: [tcp], sources: [{ip: 10.0.0.0/8}]},
          {name: destination, protocols: [tcp], destinations: [{ip: 10.9.9.9, port: 9000}]},
          {name: both, protocols: [tcp], sources: [{ip: 10.1.0.0/16}], destinations: [{port: 9000}]}]",
        &[
            ("tcp", "10.1.0.1:1 > 10.9.9.9:9000", "both"),
            ("tcp", "10.2.0.1:1 > 10.9.9.9:9000", "source"),
            ("tcp", "11.0.0.1:1 > 10.9.9.9:9000", "destination"),
        ],
    ),
    (
        "[{name: sni, protocols: [tls], snis: [a.test]},
          {name: source, protocols: [tls], sources: [{ip: 10.0.0.1, port: 1}]},
          {name: ends, protocols: [tls], sources: [{ip: 10.0.0.0/8}], destinations: [{port: 9000}]},
          {name: sni-and-source, protocols: [tls], snis: [b.test], sources: [{ip: 10.0.0.1}]}]",
        &[
            ("tls", "10.0.0.1:1 > 1.1.1.1:9443 a.test", "sni"),
            ("tls", "10.0.0.1:1 > 1.1.1.1:9443 b.test", "sni-and-source"),
            ("tls", "10.0.0.1:1 > 1.1.1.1:9443 c.test", "source"),
            ("tls", "10.0.0.1:1 > 1.1.1.1:9443", "source"),
            ("tls", "10.0.0.2:1 > 1.1.1.1:9000 a.test", "ends"),
            ("tls", "11.0.0.1:1 > 1.1.1.1:9443 c.test", "none"),
            ("tcp", "10.0.0.1:1 > 1.1.1.1:9443 a.test", "none"),
        ],
    ),
    (
        "[{name: exact, protocols: [tls], snis: [A.test., other.test], sources: [{port: 1}]},
          {name: suffix, protocols: [tls], snis: ['*.b.test'], sources: [{port: 1}]},
          {name: prefix, protocols: [tls], snis: ['c.*'], sources: [{port: 1}]},
          {name: passed, protocols: [tls_passthrough], snis: [d.test]}]",
        &[
            ("tls", "10.0.0.1:1 > 1.1.1.1:9443 a.test", "exact"),
            ("tls", "10.0.0.1:1 > 1.1.1.1:9443 other.test", "exact"),
            ("tls", "10.0.0.1:1 > 1.1.1.1:9443 x.y.b.test", "suffix"),
            ("tls", "10.0.0.1:1 > 1.1.1.1:9443 b.test", "none"),
            ("tls", "10.0.0.1:1 > 1.1.1.1:9443 c.d.e", "prefix"),
            ("tls", "10.0.0.1:1 > 1.1.1.1:9443 d.test", "passed"),
            ("peeked", "10.0.0.1:1 > 1.1.1.1:9000 d.test", "passed"),
            ("peeked", "10.0.0.1:1 > 1.1.1.1:9000 a.test", "none"),
            ("tcp", "10.0.0.1:1 > 1.1.1.1:9000 d.test", "none"),
        ],
    ),
    (
        "[{name: dns, protocols: [tcp, udp], destinations: [{port: 53}]},
          {name: mixed, protocols: [tcp, tls], snis: [a.test], destinations: [{port: 5432}]}]",
        &[
            ("tcp", "10.0.0.1:1 > 1.1.1.1:53", "dns"),
            ("udp", "10.0.0.1:1 > 1.1.1.1:53", "dns"),
            ("tls", "10.0.0.1:1 > 1.1.1.1:53 a.test", "none"),
            ("tls", "10.0.0.1:1 > 1.1.1.1:5432 a.test", "mixed"),
            ("tls", "10.0.0.1:1 > 1.1.1.1:5432 b.test", "none"),
            // Without TLS the server name is not asked for.
            ("tcp", "10.0.0.1:1 > 1.1.1.1:5432", "mixed"),
            ("udp", "10.0.0.1:1 > 1.1.1.1:5432", "none"),
        ],
    ),
    (
        "[{name: smaller, id: 11111111-1111-4111-8111-111111111111, protocols: [tcp], sources: [{port: 1}]},
          {name: larger, id: 22222222-2222-4222-8222-222222222222, protocols: [tcp], sources: [{port: 1}, {port: 2}]}]",
        &[("tcp", "10.0.0.1:1 > 1.1.1.1:9000", "larger")],
    ),
];

#[test]
fn the_route_is_the_one_that_kongs_priorities_name() {
    for (routes, cases) in ROWS {
        let table = Table::new(routes);
        for (kind, text, expected) in *cases {
            assert_eq!(table.at(kind, &arrival(text)), *expected, "{kind} {text} among {routes}");
        }
    }
}

#[test]
fn a_mapped_address_is_the_address_it_stands_for() {
    let table = Table::new("[{name: a, protocols: [tcp], sources: [{ip: '::ffff:10.0.0.1'}]}]");
    assert_eq!(table.at("tcp", &arrival("10.0.0.1:1 > 1.1.1.1:1")), "a");
    assert_eq!(table.at("tcp", &arrival("[::ffff:10.0.0.1]:1 > 1.1.1.1:1")), "a");
}

#[test]
fn clients_are_looked_at_only_where_tls_may_be_passed_through() {
    let looks = |route: &str, port: u16| Table::new(&format!("[{route}]")).routes.look_at(port);
    let passed = "{name: a, protocols: [tls_passthrough], snis: [a.test]";
    assert!(looks(&format!("{passed}}}"), 9000));
    assert!(looks(&format!("{passed}, destinations: [{{port: 9000}}, {{ip: 10.0.0.1}}]}}"), 1));
    assert!(looks(&format!("{passed}, destinations: [{{port: 9000}}]}}"), 9000));
    assert!(!looks(&format!("{passed}, destinations: [{{port: 9000}}]}}"), 9001));
    assert!(!looks("{name: a, protocols: [tls, tcp], destinations: [{port: 9000}]}", 9000));
}
