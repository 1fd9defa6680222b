//! Configurations that are well-formed and cannot be honoured.

use std::sync::Arc;

use model::Catalog;
use plugin::Services;
use plugin::clock::Clock;

use crate::{DnsSettings, Gateway, Resolver};

fn problems(document: &str) -> Vec<String> {
    let config = model::declarative::load("test.yml", document, &Catalog::default()).unwrap();
    let services = Services::new(1, Clock::default(), true);
    let resolver = Resolver::start(DnsSettings::default()).unwrap();
    let checked = Gateway::check(Arc::new(config), &[], &services, &resolver);
    checked
        .err()
        .unwrap_or_default()
        .iter()
        .map(|problem| format!("{}: {}", problem.place, problem.message))
        .collect()
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name_all_at_once() {
    let found = problems(
        "
_format_version: '3.0'
services:
- {name: other, protocol: tcp, host: 10.0.0.1, routes: [{name: r, paths: [/]}]}
- {name: tls, url: 'https://10.0.0.1'}
- {name: plain, url: 'http://10.0.0.1'}
upstreams:
- {name: balanced, hash_on: cookie, hash_on_cookie: c, hash_on_cookie_path: '/;'}
",
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("routes.protocols: ") && found[0].contains("over 'tcp'"), "{found:?}");
    assert!(found[1].starts_with("upstreams.hash_on_cookie_path: "), "{found:?}");
}

#[test]
fn a_disabled_service_may_ask_for_anything() {
    let document =
        "{_format_version: '3.0', services: [{name: tls, url: 'https://10.0.0.1', enabled: false}]}";
    assert_eq!(problems(document), [] as [&str; 0]);
}
