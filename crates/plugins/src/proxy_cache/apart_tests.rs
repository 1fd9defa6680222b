//! Who does not get whose response.

use plugin::harness::Harness;
use plugin::harness::certificates::{authority, client_params, handshake, signed};

use super::ProxyCache;

const TENANT: &str = "X-Tenant: ";

fn chain(rooms: &[&'static dyn plugin::Definition], plugins: &str) -> Harness {
    let document = format!(
        "_format_version: '3.0'\nservices:\n- {{name: own, url: 'http://own.test', routes: [{{name: r, paths: [/]}}]}}\n\
         - {{name: other, url: 'http://other.test/base'}}\nupstreams:\n- {{name: one, targets: [{{target: '10.0.0.1:80'}}]}}\n\
         - {{name: two, targets: [{{target: '10.0.0.2:80'}}]}}\nplugins:\n{plugins}\n\
         - {{name: proxy-cache, service: own, config: {{strategy: memory}}}}\n"
    );
    Harness::chain(rooms, &document).unwrap_or_else(|problems| panic!("{problems}"))
}

fn room() -> &'static dyn plugin::Definition {
    plugin::room::<ProxyCache>()
}

/// `X-Cache-Status` of a GET with these fields.
fn status(gateway: &mut Harness, fields: &str) -> String {
    let outcome = gateway.send(&format!("GET /orders HTTP/1.1\n{fields}\n\n"));
    outcome.header("X-Cache-Status").unwrap_or_default()
}

#[test]
fn requests_that_go_to_different_places_share_nothing() {
    let by_header = plugin::room::<crate::route_by_header::RouteByHeader>();
    let split = plugin::room::<crate::traffic_split::TrafficSplit>();
    let transformed = plugin::room::<crate::request_transformer::RequestTransformer>();
    for (before, plugins) in [
        (
            by_header,
            "- {name: route-by-header, service: own, config: {rules: [{condition: {X-Tenant: a}, upstream_name: one}, \
             {condition: {X-Tenant: b}, upstream_name: two}]}}",
        ),
        (
            split,
            "- {name: traffic-split, service: own, config: {services: [{weight: 1}], matches: [{on: header, name: X-Tenant, \
             values: [b], service: other}]}}",
        ),
        (
            transformed,
            "- {name: request-transformer, service: own, config: {replace: {uri: '/of/$(headers.x_tenant)'}}}",
        ),
        (
            transformed,
            "- {name: request-transformer, service: own, config: {replace: {headers: ['Host:$(headers.x_tenant).test']}}}",
        ),
    ] {
        let mut gateway = chain(&[before, room()], plugins);
        let found = ["a", "b", "a", "b"].map(|tenant| status(&mut gateway, &format!("{TENANT}{tenant}")));
        assert_eq!(found, ["Miss", "Miss", "Hit", "Hit"], "{plugins}");
    }
}

#[test]
fn what_only_a_room_knows_of_the_caller_keeps_responses_apart() {
    let rooms = [plugin::room::<crate::tls_metadata_headers::TlsMetadataHeaders>(), room()];
    let plugins = "- {name: tls-metadata-headers, config: {inject_client_cert_details: true}}";
    let mut gateway = chain(&rooms, plugins);
    let authority = authority("ca.test");
    let [alice, bob] = ["alice", "bob"].map(|name| signed(&client_params(name, &[]), &authority));
    let found = [Some(&alice), Some(&bob), None, Some(&alice), Some(&bob)].map(|shown| {
        gateway.tls = Some(handshake(shown.map(|shown| &**shown.der())));
        status(&mut gateway, "X-Other: 1")
    });
    assert_eq!(found, ["Miss", "Miss", "Miss", "Hit", "Hit"]);
}

#[test]
fn tokens_made_anew_for_the_service_keep_nobody_from_what_is_stored() {
    let document = "_format_version: '3.0'\nconsumers: [{username: a, keyauth_credentials: [{key: k}]}]\nplugins:\n- {name: key-auth}\n\
        - {name: upstream-jwt, config: {reuse: 0, algorithm: ES256}}\n- {name: proxy-cache, config: {strategy: memory}}\n";
    let rooms = [
        plugin::room::<crate::key_auth::KeyAuth>(),
        plugin::room::<crate::upstream_jwt::UpstreamJwt>(),
        room(),
    ];
    let mut gateway = Harness::chain(&rooms, document).unwrap();
    let mut asked = || {
        gateway.clock.advance(2_000);
        status(&mut gateway, "apikey: k")
    };
    assert_eq!([asked(), asked()], ["Miss", "Hit"]);
}

#[test]
fn the_response_of_a_canary_is_for_nobody_else() {
    let rooms = [room(), plugin::room::<crate::canary::Canary>()];
    for place in ["upstream_host: new.test", "upstream_uri: /v2"] {
        let plugins = format!(
            "- {{name: canary, service: own, config: {{percentage: 0, canary_by_header_name: X-Canary, {place}}}}}"
        );
        let mut gateway = chain(&rooms, &plugins);
        let found =
            ["always", "never", "always"].map(|wish| status(&mut gateway, &format!("X-Canary: {wish}")));
        assert_eq!(found, ["Bypass", "Miss", "Hit"], "{place}");
    }
}

#[test]
fn the_response_of_a_fallback_is_not_kept_for_later() {
    let rooms = [room(), plugin::room::<crate::circuit_breaker::CircuitBreaker>()];
    let plugins = "- {name: circuit-breaker, service: own, config: {consecutive_failures: 1, open: {seconds: 10}, fallback: \
                   {type: service, service: other}}}";
    let mut gateway = chain(&rooms, plugins);
    gateway.upstream.status = 500;
    assert_eq!(status(&mut gateway, "X-Other: 1"), "Bypass");
    gateway.upstream.status = 200;
    let degraded = gateway.send("GET /orders HTTP/1.1\n\n");
    assert_eq!((degraded.status, degraded.sent_to.as_deref()), (200, Some("other")));
    assert_eq!(degraded.header("X-Cache-Status").as_deref(), Some("Bypass"));
    gateway.clock.advance(10_000);
    let found = [(); 2].map(|()| status(&mut gateway, "X-Other: 1"));
    assert_eq!(found, ["Miss", "Hit"], "the service's own is, once it is back");
}
