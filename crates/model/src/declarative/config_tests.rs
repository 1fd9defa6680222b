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

#[test]
fn a_consumer_with_a_key_takes_little_memory_once_it_is_loaded() {
    let load_many = |count: usize| {
        let mut text = "_format_version: '3.0'\nconsumers:\n".to_owned();
        for index in 0..count {
            text +=
                &format!("- {{username: user-{index:07}, keyauth_credentials: [{{key: key-{index:07}}}]}}\n");
        }
        let mut config = None;
        let held = allocation_counter::measure(|| config = Some(good(&text)));
        assert_eq!(config.unwrap().consumers.len(), count);
        held
    };
    // Just below where tables grow, as sixteen times more would be.
    let [few, many] = [896, 14_336].map(load_many);
    let each = |few: i64, many: i64| (many - few) / (14_336 - 896);
    let kept = each(few.bytes_current, many.bytes_current);
    assert!(kept <= 400, "{kept} bytes are kept");
    let peak = each(few.bytes_max as i64, many.bytes_max as i64);
    assert!(peak <= 1500, "{peak} bytes are in use while it is read");
}

#[test]
fn entities_are_found_by_what_names_them() {
    let config = good(
        "_format_version: '3.0'\nupstreams:\n- name: a.test\n  targets: [{target: 'h.test:1'}]\n\
         - name: b.test\n  targets: [{target: 'h.test:1'}, {target: 'h.test:2'}]\n\
         consumers: [{username: ada, keyauth_credentials: [{}, {key: k}]}]\n",
    );
    let [_, second, third] = [0, 1, 2].map(|index| config.entities("targets")[index].id);
    assert_eq!(
        config.find("targets", "h.test:1").unwrap().id,
        second,
        "the last of those with the same name"
    );
    assert_eq!(config.find("targets", "h.test:2").unwrap().id, third);
    assert_eq!(config.upstream("b.test").unwrap().id, config.upstreams[1].id);
    assert!(config.find("targets", "h.test").is_none() && config.find("nothing", "k").is_none());
    let [random, given] = [0, 1].map(|index| &config.entities("keyauth_credentials")[index]);
    let key = random.field("key");
    assert_eq!(key.as_str().unwrap().len(), 32);
    assert_eq!(config.find("keyauth_credentials", key.as_str().unwrap()).unwrap().id, random.id);
    assert_eq!(given.id, stable_id("keyauth_credentials", "keyauth_credentials:*:k"));
    assert!(given.refers_to("consumer", config.consumers[0].id) && !given.refers_to("key", given.id));
    assert!(given.field("ttl").is_null() && given.field("nothing").is_null());
    assert_eq!(given.field("id"), json!(given.id.to_string()));
}

#[test]
fn the_text_of_an_entity_is_what_its_set_fields_print() {
    let config = good(SEED_0);
    let mut texts = 0;
    for schema in config.schemas() {
        for entity in config.entities(schema.name) {
            let text = entity.to_text();
            assert_eq!(text, entity.set_fields().to_string());
            assert_eq!(config.entity_text(schema.name, entity.id), Some(text));
            texts += 1;
        }
    }
    assert!(texts > 10);
}
