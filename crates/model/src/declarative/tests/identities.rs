//! What entities are called, and how they refer to each other.

use serde_json::json;
use uuid::Uuid;

use super::{bad, faults, good};
use crate::Reference;
use crate::declarative::Config;
use crate::entity::stable_id;

#[test]
fn references_resolve_by_name_and_by_id() {
    let id = "7fca84d6-7d37-4a74-a7b0-93e576089a41";
    let config = good(&format!(
        "_format_version: '3.0'\nservices: [{{name: a, id: {id}, host: h}}]\nroutes:\n- {{name: r1, service: a, paths: [/1]}}\n- {{name: r2, service: {id}, paths: [/2]}}\n- {{name: r3, service: {{id: {id}}}, paths: [/3]}}\n- {{name: r4, paths: [/4]}}\n"
    ));
    let services: Vec<_> =
        config.routes.iter().map(|route| route.service.map(|Reference(id)| id.to_string())).collect();
    assert_eq!(services, [Some(id.to_owned()), Some(id.to_owned()), Some(id.to_owned()), None]);
}

#[test]
fn a_reference_to_nothing_is_named_with_its_nearest_neighbour() {
    let text = "services: [{name: users, host: h}]\nroutes:\n- name: r\n  service: user\n  paths: [/]\n";
    assert_eq!(
        faults(text),
        ["5:12 routes[0].service: invalid reference 'service: user' (no such entry in 'services')"]
    );
    let problems = bad(&format!("_format_version: '3.0'\n{text}"));
    assert_eq!(problems[0].suggestion.as_deref(), Some("did you mean 'users'?"));
    let named =
        faults("services: [{name: a, host: h}]\nroutes: [{name: r, service: {name: a}, paths: [/]}]\n");
    assert_eq!(named, ["3:30 routes[0].service: expected a string"]);
}

#[test]
fn a_nested_child_may_not_name_its_parent() {
    let text = "services:\n- name: a\n  host: h\n  routes:\n  - name: r\n    service: a\n    paths: [/]\n";
    assert_eq!(faults(text), ["7:14 services[0].routes[0].service: value must be null"]);
}

#[test]
fn names_and_scopes_are_unique() {
    let text =
        "services:\n- {name: x, host: h}\n- {name: x, host: i}\nplugins:\n- {name: jwt}\n- {name: jwt}\n";
    let found = faults(text);
    assert_eq!(
        found[0],
        "4:10 services[1]: uniqueness violation: 'services' entity with name set to 'x' already declared"
    );
    let id = stable_id("plugins", "plugins:*:jwt:::");
    assert_eq!(
        found[1],
        format!(
            "7:10 plugins[1]: uniqueness violation: 'plugins' entity with primary key set to '{id}' already declared"
        )
    );
    assert_eq!(found.len(), 2);
}

#[test]
fn explicit_ids_do_not_hide_a_repeated_scope() {
    let text = "plugins:\n- {name: jwt, id: 7fca84d6-7d37-4a74-a7b0-93e576089a41}\n- {name: jwt, id: 7fca84d6-7d37-4a74-a7b0-93e576089a42}\n";
    assert!(faults(text)[0].contains("uniqueness violation: 'plugins' entity"), "{:?}", faults(text));
}

#[test]
fn ids_follow_from_names_and_keys() {
    let config = good(
        "_format_version: '3.0'\nservices:\n- name: a\n  host: h\n  routes: [{name: r, paths: [/]}]\n  plugins: [{name: jwt}]\nconsumers:\n- username: u\n  keyauth_credentials: [{key: k}]\n  acls: [{group: g}]\nupstreams: [{name: u.test, targets: [{target: t.test}]}]\n",
    );
    let root = Uuid::parse_str("fd02801f-0957-4a15-a55a-c8d9606f30b5").unwrap();
    let id = |collection: &str, key: &str| {
        Uuid::new_v5(&Uuid::new_v5(&root, collection.as_bytes()), key.as_bytes())
    };
    let service = id("services", "a");
    assert_eq!(config.services[0].id, service);
    assert_eq!(config.routes[0].id, id("routes", "r"));
    assert_eq!(config.plugins[0].id, id("plugins", &format!("plugins:*:jwt::{service}:")));
    let consumer = id("consumers", "u");
    assert_eq!(
        config.entities("keyauth_credentials")[0].id,
        id("keyauth_credentials", "keyauth_credentials:*:k")
    );
    assert_eq!(config.entities("acls")[0].id, id("acls", &format!("acls:*:{consumer}:g")));
    let upstream = id("upstreams", "u.test");
    assert_eq!(config.targets[0].id, id("targets", &format!("targets:*:{upstream}:t.test:8000")));
    assert_eq!(config.targets[0].target, "t.test:8000");
}

#[test]
fn unnamed_entities_get_random_ids_and_absent_keys_are_made_up() {
    let text = "_format_version: '3.0'\nservices: [{host: h}]\nconsumers: [{username: u, keyauth_credentials: [{}]}]\n";
    let (one, two) = (good(text), good(text));
    assert_ne!(one.services[0].id, two.services[0].id);
    let key = |config: &Config| config.entities("keyauth_credentials")[0].set_fields()["key"].clone();
    assert_ne!(key(&one), key(&two));
    assert_eq!(key(&one).as_str().map(str::len), Some(32));
}

#[test]
fn a_membership_has_an_id_of_its_own() {
    let id = "11111111-2222-4333-8444-555555555555";
    for fields in ["{id: ID, consumer: c, consumer_group: g}", "{consumer_group: g, consumer: c, id: ID}"] {
        let membership = fields.replace("ID", id);
        let config = good(&format!(
            "_format_version: '3.0'\nconsumers: [{{username: c}}]\nconsumer_groups: [{{name: g}}]\nconsumer_group_consumers: [{membership}]"
        ));
        let membership = &config.consumer_group_consumers[0];
        assert_eq!(
            (membership.id.to_string(), membership.consumer_group.0),
            (id.to_owned(), config.consumer_groups[0].id)
        );
    }
}

#[test]
fn references_may_point_forwards() {
    let id = "7fca84d6-7d37-4a74-a7b0-93e576089a41";
    let config = good(&format!(
        "_format_version: '3.0'\nplugins: [{{name: cors, route: r}}]\nroutes: [{{name: r, service: s, paths: [/]}}]\nservices: [{{name: s, host: h, protocol: https, client_certificate: {id}}}]\ncertificates: [{{id: {id}, cert: {}, key: {}}}]\n",
        json!(include_str!("../../../testdata/certificates/ec.crt")),
        json!(include_str!("../../../testdata/certificates/ec.key")),
    ));
    assert_eq!(
        config.services[0].client_certificate.map(|Reference(id)| id),
        Some(config.certificates[0].id)
    );
    assert_eq!(config.plugins[0].route, Some(config.routes[0].id));
}
