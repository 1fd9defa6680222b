//! Forms as Kong's users write them, and what nobody should write.

use serde_json::json;

use super::*;

fn read(body: &str) -> Result<Value, String> {
    form(query::pairs(body.as_bytes()), body.as_bytes())
}

fn schema(name: &str) -> RecordSchema {
    model::entity::core_schemas().into_iter().find(|schema| schema.name == name).unwrap().record
}

fn typed(entity: &str, body: &str) -> Value {
    Arguments::Form(read(body).unwrap()).typed(&schema(entity))
}

#[test]
fn names_with_dots_and_brackets_are_places() {
    for (body, expected) in [
        ("config.limit=10&config.period=seconds", json!({"config": {"limit": "10", "period": "seconds"}})),
        ("paths[]=/a&paths[]=/b", json!({"paths": ["/a", "/b"]})),
        ("paths=/a&paths=/b", json!({"paths": ["/a", "/b"]})),
        ("paths[2]=/b&paths[1]=/a", json!({"paths": ["/a", "/b"]})),
        ("paths%5B%5D=%2Fa+b", json!({"paths": ["/a b"]})),
        ("paths=/a&paths[]=/b", json!({"paths": ["/a", "/b"]})),
        ("a[1].x=1&a[1].y=2&a[2].x=3", json!({"a": [{"x": "1", "y": "2"}, {"x": "3"}]})),
        ("a[1][2]=x&a[1][1]=y", json!({"a": [["y", "x"]]})),
        ("headers.x-test[]=1", json!({"headers": {"x-test": ["1"]}})),
        ("a[b]=1&[]=2", json!({"a[b]": "1", "[]": "2"})),
        ("a&b=", json!({"a": "", "b": ""})),
        ("", json!({})),
    ] {
        assert_eq!(read(body), Ok(expected), "{body}");
    }
}

#[test]
fn texts_get_the_types_of_the_schema() {
    assert_eq!(
        typed("services", "host=1&port=8080&enabled=false&tags=a&path=&retries=many"),
        json!({"host": "1", "port": 8080, "enabled": false, "tags": ["a"], "path": null, "retries": "many"})
    );
    assert_eq!(
        typed("routes", "paths=/a&service.id=7&headers.x-a=1&strip_path=yes&nonsense=1"),
        json!({"paths": ["/a"], "service": {"id": "7"}, "headers": {"x-a": ["1"]}, "strip_path": "yes",
               "nonsense": "1"})
    );
    let upstream = typed("upstreams", "healthchecks.active.healthy.http_statuses[]=200&slots=1e2");
    assert_eq!(upstream["healthchecks"]["active"]["healthy"]["http_statuses"], json!([200]));
    assert_eq!(upstream["slots"], json!(100.0));
    let plugin =
        plugins::catalog().plugins.into_iter().find(|plugin| plugin.name == "rate-limiting").unwrap();
    let config = Arguments::Form(json!({"minute": "5", "redis_port": "7000", "hide_client_headers": "true"}));
    assert_eq!(
        config.typed(&plugin.config),
        json!({"minute": 5, "redis_port": 7000, "hide_client_headers": true})
    );
}

#[test]
fn json_keeps_the_types_it_has() {
    let given = Arguments::Json(json!({"port": "8080", "path": ""}));
    assert_eq!(given.typed(&schema("services")), json!({"port": "8080", "path": ""}));
}

#[test]
fn what_is_not_a_form_is_told() {
    let deep = vec!["a"; MOST_STEPS + 1].join(".");
    let many = "a=1&".repeat(MOST_FIELDS + 1);
    for (body, expected) in [
        ("a=1&a.b=2", "field 'a.b' is below another one that has a value of its own"),
        ("a.b=2&a=1", "field 'a' has a value, and others below it"),
        ("a.b=2&a[]=1", "field 'a[]' has a value, and others below it"),
        (".a=1", "field '.a' has an empty name between dots"),
        ("a..b=1", "field 'a..b' has an empty name between dots"),
        ("=1", "field '' has an empty name between dots"),
        ("a[99999999999999999999999]=1", "has too large a number in brackets"),
        ("a[18446744073709551615]=1&a[]=2", "stands behind an element with too large a number"),
        ("a=%ff", "field 'a' is not UTF-8"),
        ("%ff=a", "is not UTF-8"),
        (&format!("{deep}=1"), "has more than 32 parts"),
        (&format!("a{}=1", "[]".repeat(40)), "has more than 32 parts"),
        (&many, "it has more than 1000 fields"),
        (r#"{"name": "x"}"#, "it is JSON; send it with Content-Type: application/json"),
    ] {
        let problem = read(body).unwrap_err();
        assert!(problem.ends_with(expected), "{body}: {problem}");
    }
}

#[test]
fn whatever_is_sent_is_an_object_or_refused_and_nothing_panics() {
    let seeds = ["config.a[1].b=1&config.a[]=2&c[3][]=x", "paths[]=/a&paths=/b&d.e.f=%41+", "a=1&a=2&b[]=3"];
    let (routes, plugins) = (schema("routes"), schema("plugins"));
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..5000 {
        let mut bytes = seeds[round % seeds.len()].as_bytes().to_vec();
        for _ in 0..=random(6) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes.insert(at, b".[]=&%+09a"[random(10)]),
                2 if bytes.len() > 8 => drop(bytes.remove(at)),
                _ => bytes.extend_from_within(at..),
            }
        }
        if let Ok(value) = form(query::pairs(&bytes), &bytes) {
            assert!(Arguments::Form(value.clone()).typed(&routes).is_object());
            assert!(Arguments::Form(value).typed(&plugins).is_object());
        }
        let body =
            [b"--b\r\ncontent-disposition: form-data; name=\"", &bytes[..], b"\"\r\n\r\n1\r\n--b--"].concat();
        if let Some(parts) = multipart::Form::parse(b"multipart/form-data; boundary=b", &body) {
            let _ = form(parts.fields(), &body);
        }
    }
}
