//! The Admin API as its clients see it: shapes, codes, headers.

use crate::support::Plane;
use serde_json::{Value, json};

#[test]
fn the_root_tells_clients_what_they_talk_to() {
    let plane = Plane::start();
    let answer = plane.get("/");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("server"), Some("kong/3.9.3"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    assert!(answer.header("x-kong-admin-latency").unwrap().parse::<u64>().is_ok());
    let root = answer.json();
    assert_eq!(root["tagline"], "Welcome to kong");
    assert_eq!(root["version"], "3.9.3");
    assert_eq!(root["node_id"], plane.services.node_id.to_string());
    assert_eq!(root["plugins"]["available_on_server"]["jwt"]["priority"], 1450);
    assert_eq!(root["plugins"]["enabled_in_cluster"], json!(["correlation-id"]));
    assert_eq!(root["configuration"]["database"], "off");
    assert_eq!(root["configuration"]["router_flavor"], "traditional_compatible");
    assert_eq!(root["configuration"]["proxy_listen"], "0.0.0.0:8000");
    assert!(!answer.body.contains("pg-hidden"), "{}", answer.body);
    assert_eq!(answer.json()["configuration"]["proxy_server"], "http://******@proxy.test:1/x");
}

#[test]
fn lists_come_in_pages_that_can_be_followed() {
    let plane = Plane::start();
    let mut seen = Vec::new();
    let mut next = "/services?size=1&tags=blue".to_owned();
    loop {
        let page = plane.get(&next).json();
        assert_eq!(page["data"].as_array().unwrap().len(), 1);
        seen.push(page["data"][0]["name"].as_str().unwrap().to_owned());
        match page["next"].as_str() {
            Some(link) => {
                assert!(link.starts_with("/services?offset="), "{link}");
                assert!(link.contains(page["offset"].as_str().unwrap()));
                link.clone_into(&mut next);
            }
            None => break assert!(page.get("offset").is_none()),
        }
    }
    assert_eq!(seen, ["one", "two"]);
}

#[test]
fn wrong_pages_are_refused_with_kongs_codes() {
    let plane = Plane::start();
    for (target, code, name) in [
        ("/services?size=0", 9, "invalid size"),
        ("/services?size=1001", 9, "invalid size"),
        ("/services?size=many", 9, "invalid size"),
        ("/services?offset=!!", 7, "invalid offset"),
        ("/services?tags=a,b/c", 11, "invalid options"),
    ] {
        let answer = plane.get(target);
        assert_eq!(answer.status, 400, "{target}");
        let body = answer.json();
        assert_eq!((&body["code"], &body["name"]), (&json!(code), &json!(name)), "{target}");
        assert!(body["message"].is_string());
    }
    assert_eq!(plane.get("/services?size=1000").status, 200);
}

#[test]
fn an_offset_survives_a_change_of_the_configuration() {
    let plane = Plane::start();
    let next = plane.get("/services?size=1").json()["next"].as_str().unwrap().to_owned();
    let changed = "{_format_version: '3.0', services: [{name: new, host: h}, {name: one, host: h}, {name: two, host: h}]}";
    assert_eq!(plane.post("/config", "text/yaml", changed).status, 201);
    // Services without an id have one by their name, so the page goes on where it was to.
    assert_eq!(plane.names(&next, "name"), ["two"]);
}

#[test]
fn tags_filter_lists_and_are_listed() {
    let plane = Plane::start();
    assert_eq!(plane.names("/services?tags=blue,round", "name"), ["one"]);
    assert_eq!(plane.names("/services?tags=round/none", "name"), ["one"]);
    assert_eq!(plane.names("/services?tags=none", "name"), Vec::<String>::new());
    assert_eq!(plane.names("/tags/blue", "entity_name"), ["services", "services", "routes"]);
    assert_eq!(plane.names("/tags", "tag").len(), 4);
}

#[test]
fn entities_are_found_by_id_and_by_key_alone_and_below_others() {
    let plane = Plane::start();
    let one = plane.get("/services/one").json();
    assert_eq!(
        (&one["host"], &one["path"], &one["retries"]),
        (&json!("one.test"), &json!("/base"), &json!(5))
    );
    assert_eq!(one["client_certificate"], Value::Null);
    let id = one["id"].as_str().unwrap();
    assert_eq!(plane.get(&format!("/services/{id}")).json(), one);
    assert_eq!(plane.get("/routes/first").json()["service"], json!({ "id": id }));
    for (target, field, expected) in [
        ("/services/one/routes", "name", vec!["first", "second"]),
        ("/services/two/routes", "name", vec![]),
        ("/services/one/plugins", "name", vec!["correlation-id"]),
        ("/consumers?custom_id=7", "username", vec!["bob"]),
        ("/consumers?custom_id=8", "username", vec![]),
        ("/key-auths", "key", vec!["k"]),
        ("/jwts", "secret", vec!["shown"]),
        ("/acls", "group", vec!["staff"]),
        ("/consumers/bob/key-auth", "key", vec!["k"]),
        ("/consumers/bob/jwt", "key", vec!["issuer"]),
        ("/consumers/bob/acls", "group", vec!["staff"]),
        ("/consumers/bob/consumer_groups", "name", vec!["gold"]),
        ("/consumer_groups/gold/consumers", "username", vec!["bob"]),
        ("/upstreams/u.test/targets", "target", vec!["10.0.0.1:80", "gone.test:8000"]),
        ("/upstreams/u.test/targets/all", "target", vec!["10.0.0.1:80", "gone.test:8000"]),
        ("/certificates", "id", vec![]),
    ] {
        assert_eq!(plane.names(target, field), expected, "{target}");
    }
    for (target, field, expected) in [
        ("/routes/first/service", "name", "one"),
        ("/services/one/routes/second", "name", "second"),
        ("/services/one/plugins/ids", "name", "correlation-id"),
        ("/key-auths/k/consumer", "username", "bob"),
        ("/consumers/bob/key-auth/k", "key", "k"),
        ("/upstreams/u.test/targets/gone.test", "target", "gone.test:8000"),
    ] {
        assert_eq!(plane.get(target).json()[field], expected, "{target}");
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let plane = Plane::start();
    for target in [
        "/nothing",
        "/services/none",
        "/services/none/routes",
        "/services/two/routes/first",
        "/services/one/nothing",
        "/consumers/bob/targets",
        "/targets",
        "/consumer_group_consumers",
        "/services/one/routes/first/more",
        "/tags/a/b",
        "//services",
    ] {
        let answer = plane.get(target);
        assert_eq!((answer.status, answer.body.as_str()), (404, r#"{"message":"Not found"}"#), "{target}");
    }
}

#[test]
fn nothing_can_be_written() {
    let plane = Plane::start();
    for (method, target, what) in [
        ("POST", "/services", "create 'services' entities"),
        ("POST", "/services/one/routes", "create 'routes' entities"),
        ("POST", "/consumers/bob/key-auth", "create 'keyauth_credentials' entities"),
        ("PUT", "/services/8a6a3ad5-9d4b-4cb8-9ee2-7e2f0b3b9c11", "create or update 'services' entities"),
        ("PUT", "/services/one", "create or update 'services' entities by 'name'"),
        ("PATCH", "/consumers/bob", "update 'consumers' entities by 'username'"),
        ("DELETE", "/routes/first", "remove 'routes' entities"),
        ("PATCH", "/routes/first/service", "update 'services' entities"),
    ] {
        let answer = plane.call(method, target);
        let message = format!("cannot {what} when not using a database");
        let expected = json!({ "code": 12, "name": "operation unsupported", "message": message });
        assert_eq!((answer.status, answer.json()), (405, expected), "{method} {target}");
    }
    let answer = plane.call("DELETE", "/status");
    assert_eq!((answer.status, answer.body.as_str()), (405, r#"{"message":"Method not allowed"}"#));
    assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(plane.call("PATCH", "/services").status, 405);
}

#[test]
fn options_and_head_have_no_body() {
    let plane = Plane::start();
    let options = plane.call("OPTIONS", "/services/one");
    assert_eq!((options.status, options.body.as_str()), (204, ""));
    assert_eq!(options.header("allow"), Some("DELETE, GET, HEAD, OPTIONS, PATCH, PUT"));
    assert_eq!(plane.call("OPTIONS", "/config").header("allow"), Some("GET, HEAD, OPTIONS, POST"));
    assert_eq!(plane.call("OPTIONS", "/nothing").status, 404);
    let (get, head) = (plane.get("/services/one"), plane.call("HEAD", "/services/one"));
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), get.header("content-length"));
}

#[test]
fn schemas_are_shown_in_kongs_form() {
    let plane = Plane::start();
    let jwt = plane.get("/schemas/plugins/jwt").json();
    let fields = jwt["fields"].as_array().unwrap();
    let field = |name: &str| fields.iter().find_map(|field| field.get(name)).cloned().unwrap_or_default();
    assert_eq!(field("consumer")["eq"], Value::Null);
    assert_eq!(field("service"), json!({ "type": "foreign", "reference": "services" }));
    assert_eq!(field("protocols")["type"], "set");
    let config = field("config");
    let claim = config["fields"].as_array().unwrap().iter().find_map(|field| field.get("key_claim_name"));
    assert_eq!(claim.unwrap()["default"], "iss");
    let service = plane.get("/schemas/services").json();
    assert_eq!(
        service["fields"].as_array().unwrap().iter().find_map(|field| field.get("retries")).unwrap()["default"],
        5
    );
    assert_eq!(plane.get("/schemas/keyauth_credentials").status, 200);
    assert_eq!(plane.get("/schemas/none").body, r#"{"message":"No entity named 'none'"}"#);
    let none = plane.get("/schemas/plugins/none");
    assert_eq!((none.status, none.body.as_str()), (404, r#"{"message":"No plugin named 'none'"}"#));
}

#[test]
fn single_entities_are_checked() {
    let plane = Plane::start();
    let validate = |entity: &str, body: &Value| {
        plane.post(&format!("/schemas/{entity}/validate"), "application/json", &body.to_string())
    };
    assert_eq!(
        validate("services", &json!({ "host": "h.test" })).body,
        r#"{"message":"schema validation successful"}"#
    );
    let answer = validate("services", &json!({ "name": "x" }));
    assert_eq!(answer.status, 400);
    let body = answer.json();
    assert_eq!((&body["code"], &body["name"]), (&json!(2), &json!("schema violation")));
    assert_eq!(body["message"], "schema violation (host: required field missing)");
    assert_eq!(body["fields"], json!({ "host": "required field missing" }));
    let answer = validate("services", &json!({ "host": "h.test", "port": -1, "retries": "x" })).json();
    assert!(answer["message"].as_str().unwrap().starts_with("2 schema violations ("), "{answer}");
    let plugin = json!({ "name": "rate-limiting", "config": { "minute": "x" } });
    let answer = validate("plugins", &plugin).json();
    assert_eq!(answer["fields"], json!({ "config": { "minute": "expected a number" } }));
    assert_eq!(validate("plugins", &json!({ "name": "key-auth" })).status, 200);
    assert_eq!(validate("plugins", &json!({ "name": "none" })).status, 400);
    assert_eq!(validate("plugins", &json!({})).json()["fields"]["name"], "required field missing");
    assert_eq!(validate("none", &json!({})).status, 404);
    assert_eq!(plane.post("/schemas/services/validate", "application/json", "[1]").status, 400);
    assert_eq!(plane.get("/schemas/services/validate").status, 405);
}

#[test]
fn single_entities_may_have_the_forms_that_configurations_may_have() {
    let plane = Plane::start();
    let form = "application/x-www-form-urlencoded";
    let url = |url: &str| plane.post("/schemas/services/validate", form, &format!("url={url}"));
    assert_eq!(url("http://a.test/base").body, r#"{"message":"schema validation successful"}"#);
    assert_eq!(url("http://").json()["fields"], json!({ "url": "missing host in url" }));
    for (entity, body) in [
        ("routes", json!({ "protocols": ["grpc"], "hosts": ["a.test"] })),
        ("upstreams", json!({ "name": "a.test", "algorithm": "least-connections", "hash_on": "header" })),
    ] {
        let answer =
            plane.post(&format!("/schemas/{entity}/validate"), "application/json", &body.to_string());
        assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    }
    let stripped = json!({ "protocols": ["grpc"], "hosts": ["a.test"], "strip_path": true }).to_string();
    assert_eq!(plane.post("/schemas/routes/validate", "application/json", &stripped).status, 400);
}

#[test]
fn single_entities_may_come_as_forms() {
    const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
    let plane = Plane::start();
    let validate = |entity: &str, content_type: &str, body: &str| {
        plane.post(&format!("/schemas/{entity}/validate"), content_type, body)
    };
    let right = "name=rate-limiting&config.minute=5&config.policy=local&protocols[]=http&protocols[]=https";
    assert_eq!(validate("plugins", FORM, right).status, 200);
    let wrong = validate("plugins", FORM, "name=rate-limiting&config.minute=many&config.hous=1").json();
    let fields = json!({ "config": { "minute": "expected a number", "hous": "unknown field" } });
    assert_eq!((&wrong["code"], &wrong["fields"]), (&json!(2), &fields));
    assert_eq!(validate("routes", FORM, "paths[]=/a&paths[]=/b&strip_path=false&service.id=").status, 400);
    assert_eq!(validate("routes", FORM, "paths=/a&strip_path=false&regex_priority=1&service=").status, 200);
    let parts = "--b\r\nContent-Disposition: form-data; name=\"host\"\r\n\r\nh.test\r\n\
                 --b\r\nContent-Disposition: form-data; name=\"port\"\r\n\r\n80\r\n--b--\r\n";
    assert_eq!(validate("services", "multipart/form-data; boundary=b", parts).status, 200);
    for (content_type, body, status, expected) in [
        (FORM, "a..b=1", 400, "Cannot parse form body: field 'a..b' has an empty name between dots"),
        (
            FORM,
            r#"{"host": "h"}"#,
            400,
            "Cannot parse form body: it is JSON; send it with Content-Type: application/json",
        ),
        (
            "multipart/form-data",
            "x",
            400,
            "Cannot parse form body: it is not well formed, or has too many parts",
        ),
        ("application/json", "host=h", 400, "Cannot parse JSON body: expected value at line 1 column 1"),
        ("application/json", "[]", 400, "Cannot parse JSON body: it is no object"),
        (
            "text/plain",
            "host=h",
            415,
            "Unsupported Media Type; send application/json, application/x-www-form-urlencoded or multipart/form-data",
        ),
    ] {
        let answer = validate("services", content_type, body);
        assert_eq!((answer.status, &answer.json()["message"]), (status, &json!(expected)), "{body}");
    }
}

#[test]
fn endpoints_and_plugins_are_listed() {
    let plane = Plane::start();
    let listed = plane.get("/endpoints").json();
    let listed: Vec<&str> = listed["data"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for path in [
        "/",
        "/services/{services}/routes",
        "/routes/{routes}/service",
        "/consumers/{consumers}/key-auth/{keyauth_credentials}",
        "/upstreams/{upstreams}/health",
        "/metrics",
        "/proxy-cache/{key}",
    ] {
        assert!(listed.contains(&path), "{path} is missing of {listed:?}");
    }
    assert!(!listed.contains(&"/targets"));
    let enabled = plane.get("/plugins/enabled").json();
    assert!(enabled["enabled_plugins"].as_array().unwrap().contains(&json!("jwt")));
}

#[test]
fn endpoints_of_plugins_are_served_by_method_and_pattern() {
    let plane = Plane::start();
    assert_eq!(plane.call("DELETE", "/proxy-cache").status, 204);
    assert_eq!(plane.get("/proxy-cache/none").status, 404);
    let answer = plane.get("/proxy-cache");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("DELETE, OPTIONS")));
    let metrics = plane.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
}

#[test]
fn web_pages_of_other_sites_are_kept_out() {
    let plane = Plane::start();
    for (method, site, mode, status) in [
        ("GET", "cross-site", "cors", 403),
        ("POST", "cross-site", "navigate", 403),
        ("OPTIONS", "cross-site", "cors", 403),
        ("GET", "cross-site", "navigate", 200),
        ("GET", "none", "navigate", 200),
    ] {
        let target =
            format!("/config HTTP/1.1\r\nSec-Fetch-Site: {site}\r\nSec-Fetch-Mode: {mode}\r\nX-Rest:");
        assert_eq!(plane.call(method, &target).status, status, "{method} {site} {mode}");
    }
}

#[test]
fn pages_of_other_origins_and_of_names_that_stand_for_this_machine_are_kept_out() {
    let plane = Plane::start();
    let asked = |fields: &str| plane.call("GET", &format!("/status HTTP/1.1\r\n{fields}\r\nX-Rest:"));
    let own = asked("Origin: http://admin.test");
    assert_eq!((own.status, own.header("access-control-allow-origin")), (200, Some("http://admin.test")));
    let other = asked("Origin: http://localhost:1");
    assert_eq!((other.status, other.header("access-control-allow-origin")), (403, Some("*")));
    // The name that all of these tests call it by.
    assert_eq!(asked("Accept-Language: de").status, 403);
}

#[test]
fn pages_that_the_settings_name_may_ask_as_they_wish() {
    let plane = Plane::start();
    let asked = |method: &str, origin: &str| {
        let fields =
            format!("Origin: {origin}\r\nAccess-Control-Request-Headers: kong-admin-token,content-type");
        plane.call(method, &format!("/services HTTP/1.1\r\n{fields}\r\nX-Rest:"))
    };
    let (credentials, names) = ("access-control-allow-credentials", "access-control-allow-headers");
    let named = asked("OPTIONS", "http://gui.test:8002");
    assert_eq!((named.status, named.header(credentials)), (204, Some("true")));
    assert_eq!(named.header(names), Some("kong-admin-token,content-type"));
    let answer = asked("GET", "http://gui.test:8002");
    assert_eq!((answer.status, answer.header(credentials)), (200, Some("true")));
    assert_eq!(asked("OPTIONS", "http://admin.test").header(credentials), None, "its own pages need none");
    let stranger = asked("OPTIONS", "http://other.test");
    assert_eq!((stranger.status, stranger.header(credentials), stranger.header(names)), (403, None, None));
    assert_eq!(plane.call("OPTIONS", "/services").header(names), Some("Content-Type"));
}
