//! What a loaded configuration holds, and in which form it is kept.

use serde_json::{Value, json};

use super::load;
use super::tests::{SEED_0, catalog, good};
use crate::Set;
use crate::entity::stable_id;

#[test]
fn entities_are_complete_as_the_admin_api_shows_them() {
    let config = good(
        "_format_version: '3.0'\nservices: [{name: a, url: 'https://h.test/base', tags: [x], routes: [{name: r, paths: [/]}]}]\n",
    );
    let mut service = config.entities("services")[0].complete().value;
    let created = service["created_at"].as_u64().unwrap();
    assert!(created > 1_700_000_000 && service["created_at"] == service["updated_at"]);
    service["created_at"] = Value::Null;
    service["updated_at"] = Value::Null;
    assert_eq!(
        service,
        json!({"id": stable_id("services", "a").to_string(), "name": "a", "retries": 5, "protocol": "https", "host": "h.test",
            "port": 443, "path": "/base", "connect_timeout": 60000, "write_timeout": 60000, "read_timeout": 60000,
            "client_certificate": null, "tls_verify": null, "tls_verify_depth": null, "ca_certificates": null,
            "enabled": true, "created_at": null, "updated_at": null, "tags": ["x"]})
    );
    let route = config.entities("routes")[0].complete().value;
    assert_eq!(route["service"], json!({"id": config.services[0].id.to_string()}));
    assert_eq!((&route["methods"], &route["protocols"]), (&Value::Null, &json!(["http", "https"])));
    assert_eq!(config.services[0].tags, Some(Set(vec!["x".to_owned()])));
    assert_eq!(config.service(config.services[0].id).unwrap().host, "h.test");
    assert_eq!(config.find("routes", "r").unwrap().id, config.routes[0].id);
}

#[test]
fn fields_that_kong_lacks_are_shown_where_they_are_set_and_in_no_schema_of_kongs_form() {
    let config = good(
        "_format_version: '3.0'\nservices: [{name: a, url: 'https://h.test', http2: false, proxy_protocol: v2}, \
         {name: b, url: 'http://h.test', http2: null}]\n",
    );
    let [first, second] = [0, 1].map(|index| config.entities("services")[index].complete().value);
    assert_eq!((&first["http2"], &first["proxy_protocol"]), (&json!(false), &json!("v2")));
    assert_eq!((second.get("http2"), second.get("proxy_protocol")), (None, None));
    let schema = config.schema("services").unwrap().record.to_kong_json().to_string();
    assert!(schema.contains("tls_verify") && !schema.contains("http2") && !schema.contains("proxy_protocol"));
    let config = good(
        "_format_version: '3.0'\nupstreams: [{name: a.test, slow_start: 2.5, algorithm: sticky-sessions, \
         sticky_sessions_cookie: c, sticky_sessions_cookie_path: /p}, {name: b.test, slow_start: null}]\n",
    );
    let [first, second] = [0, 1].map(|index| config.entities("upstreams")[index].complete().value);
    assert_eq!((&first["slow_start"], &first["sticky_sessions_cookie"]), (&json!(2.5), &json!("c")));
    assert_eq!(first["sticky_sessions_cookie_path"], "/p");
    let schema = config.schema("upstreams").unwrap().record.to_kong_json();
    let names =
        schema["fields"].as_array().unwrap().iter().flat_map(|field| field.as_object().unwrap().keys());
    let names: Vec<_> = names.map(String::as_str).collect();
    for name in ["slow_start", "sticky_sessions_cookie", "sticky_sessions_cookie_path"] {
        assert!(second.get(name).is_none() && !names.contains(&name), "{name}");
    }
    assert!(names.contains(&"slots"));
}

#[test]
fn whatever_a_document_may_hold_can_be_kept() {
    let mut deepest = 0;
    for depth in 110..140 {
        let value = format!("{}1.5e-7{}", "[".repeat(depth), "]".repeat(depth));
        let text = format!(
            r#"{{"_format_version": "3.0", "plugins": [{{"name": "cors", "config": {{"origins": {value}}}}}]}}"#
        );
        let Ok(config) = load("kong.json", &text, &catalog()) else { break };
        let row = config.entity("plugins", config.plugins[0].id).unwrap();
        assert_eq!(row.value["config"], config.plugins[0].config, "{depth}");
        assert_eq!(row.value["config"]["origins"].to_string(), value);
        deepest = depth;
    }
    assert!(deepest > 115, "{deepest}");
    assert!(good(SEED_0).entities("plugins").iter().all(|row| row.set_fields().get("consumer").is_none()));
}
