//! What the room asks for. What handshakes make of it is tested where they are made.

use plugin::harness::Harness;
use plugin::model::{self, Catalog};

use super::TlsHandshakeModifier;

const DOCUMENT: &str = "_format_version: '3.0'\nplugins: [{name: tls-handshake-modifier, config: {}}]";

#[test]
fn it_asks_for_certificates_and_does_nothing_else() {
    let room = plugin::room::<TlsHandshakeModifier>();
    let catalog = Catalog { plugins: vec![room.schema()], entities: Vec::new() };
    let config = model::declarative::load("kong.yml", DOCUMENT, &catalog).unwrap();
    assert!(room.asks_for_certificate(&config.plugins[0]));
    assert!(room.runs().is_empty());
}

#[test]
fn nothing_but_a_request_can_be_asked_for() {
    let refusal =
        Harness::global(plugin::room::<TlsHandshakeModifier>(), "{tls_client_certificate: REQUIRE}");
    assert!(refusal.err().is_some_and(|text| text.contains("REQUEST")));
}
