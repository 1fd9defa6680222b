//! Tests of the module `schema`.

use serde_json::{Value, json};

use super::{Map, Record, Set};
use crate::record;

record! {
    /// Where counters are kept.
    pub struct Redis {
        /// Host.
        host: Option<String>;
        /// Port.
        port: u16 = 6379, [port()];
    }
}

record! {
    /// What the fake plugin takes.
    pub struct Config {
        /// Requests per minute.
        minute: Option<f64>, [gt(0.0)];
        /// What is counted.
        limit_by: String = "consumer", [one_of(&["consumer", "ip"])];
        /// Names.
        key_names: Vec<String> = ["apikey"], [each(header_name())];
        /// Nested.
        redis: Redis;
        /// Secret.
        secret: Option<String>, [referenceable(), encrypted(), len_min(4)];
        /// Kind.
        #[rename = "type"]
        kind: Option<String>;
        /// Reserved word.
        r#ref: Option<String>;
        /// Status.
        status: i64 = 429, [between(100, 599)];
        /// Headers.
        headers: Option<Map<Vec<String>>>, [keys(header_name())];
        /// Methods.
        methods: Option<Set<String>>, [each(http_method())];
        /// Small number.
        tiny: Option<u8>;
        /// Negative default.
        offset: i64 = (-1);
        /// Anything.
        extra: Value;
    }
    checks: [
        mutually_required(&["type", "ref"]),
        conditional("limit_by", equals("ip"), "redis.host", required()),
    ]
    shorthands: [("redis_host", "redis.host"), ("redis_port", "redis.port")]
}

fn faults(value: &Value) -> Vec<String> {
    match Config::schema().check(value) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .iter()
            .filter(|problem| problem.severity == crate::Severity::Error)
            .map(|problem| format!("{}: {}", problem.place, problem.message))
            .collect(),
    }
}

#[test]
fn an_empty_record_takes_all_defaults() {
    let value = Config::schema().check(&json!({})).unwrap();
    assert_eq!(
        value,
        json!({"minute": null, "limit_by": "consumer", "key_names": ["apikey"],
            "redis": {"host": null, "port": 6379}, "secret": null, "type": null, "ref": null, "status": 429,
            "headers": null, "methods": null, "tiny": null, "offset": -1, "extra": null})
    );
    let config = Config::from_value(&value).unwrap();
    assert_eq!((config.status, config.redis.port, config.offset), (429, 6379, -1));
    assert_eq!((config.limit_by.as_str(), config.key_names), ("consumer", vec!["apikey".to_owned()]));
}

#[test]
fn a_full_record_reads_into_its_types() {
    let full = json!({"minute": 5, "redis": {"host": "r"}, "secret": "long enough", "type": "t", "ref": "r",
        "headers": {"x-b": ["1"], "x-a": []}, "methods": ["GET"], "tiny": 7, "extra": {"any": [1]}});
    let config = Config::from_value(&Config::schema().check(&full).unwrap()).unwrap();
    assert_eq!((config.minute, config.tiny, config.redis.host.as_deref()), (Some(5.0), Some(7), Some("r")));
    assert_eq!((config.kind.as_deref(), config.r#ref.as_deref()), (Some("t"), Some("r")));
    assert_eq!(config.headers.unwrap()[0], ("x-b".to_owned(), vec!["1".to_owned()]));
    assert_eq!(config.methods, Some(Set(vec!["GET".to_owned()])));
    assert_eq!((config.secret.as_deref(), config.extra), (Some("long enough"), json!({"any": [1]})));
}

#[test]
fn an_explicit_null_means_the_default() {
    let value = Config::schema().check(&json!({"limit_by": null, "status": null})).unwrap();
    assert_eq!((&value["limit_by"], &value["status"]), (&json!("consumer"), &json!(429)));
}

#[test]
fn every_fault_is_reported_with_its_place() {
    let found = faults(
        &json!({"minute": 0, "limit_by": "ipp", "key_names": ["a b"], "redis": {"port": 70000, "x": 1},
        "status": 1.5, "headers": {"a b": ["x"]}, "methods": ["get"], "tiny": 300, "secret": "abc", "kind": "x"}),
    );
    assert_eq!(
        found,
        [
            "kind: unknown field",
            "minute: value must be greater than 0",
            "limit_by: expected one of: consumer, ip",
            "key_names[0]: bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'",
            "redis.x: unknown field",
            "redis.port: value should be between 0 and 65535",
            "secret: length must be at least 4",
            "status: expected an integer",
            "headers.a b: bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'",
            "methods[0]: invalid value: get",
            "tiny: value should be between 0 and 255",
        ]
    );
}

#[test]
fn wrong_types_are_named_as_kong_names_them() {
    let found = faults(&json!({"minute": "5", "limit_by": 5, "key_names": {}, "redis": [], "methods": "GET",
        "headers": [], "status": true}));
    let messages: Vec<&str> = found.iter().map(|fault| fault.split(": ").nth(1).unwrap()).collect();
    assert_eq!(
        messages,
        [
            "expected a number",
            "expected a string",
            "expected an array",
            "expected a record",
            "expected an integer",
            "expected a map",
            "expected a set"
        ]
    );
}

#[test]
fn cross_field_checks_speak_of_the_record_and_the_field() {
    assert_eq!(faults(&json!({"type": "x"})), [": all or none of these fields must be set: 'type', 'ref'"]);
    assert_eq!(
        faults(&json!({"limit_by": "ip"})),
        [
            "redis.host: required field missing",
            ": failed conditional validation given value of field 'limit_by'"
        ]
    );
    assert!(faults(&json!({"limit_by": "ip", "redis": {"host": "r"}})).is_empty());
}

#[test]
fn older_spellings_fill_the_field_they_stand_for() {
    let value = Config::schema().check(&json!({"redis_host": "r", "redis": {"port": 1}})).unwrap();
    assert_eq!(value["redis"], json!({"host": "r", "port": 1}));
    let found = faults(&json!({"redis_host": "a", "redis": {"host": "b"}}));
    assert!(
        found[0].contains("both deprecated and new field are used but their values mismatch"),
        "{found:?}"
    );
}

#[test]
fn vault_references_escape_the_rules_only_where_allowed() {
    assert!(faults(&json!({"secret": "{vault://env/x}"})).is_empty());
    assert_eq!(faults(&json!({"limit_by": "{vault://env/x}"})), ["limit_by: expected one of: consumer, ip"]);
}

#[test]
fn a_whole_float_is_an_integer_and_integers_stay_integers() {
    let value = Config::schema().check(&json!({"status": 200.0, "minute": 5})).unwrap();
    assert_eq!(
        (value["status"].to_string(), value["minute"].to_string()),
        ("200".to_owned(), "5".to_owned())
    );
}

#[test]
fn misspelt_names_and_values_get_a_suggestion() {
    let problems = Config::schema().check(&json!({"limitby": "ip", "limit_by": "ipp"})).unwrap_err();
    let suggestions: Vec<_> = problems.iter().filter_map(|problem| problem.suggestion.as_deref()).collect();
    assert_eq!(suggestions, ["did you mean 'limit_by'?", "did you mean 'ip'?"]);
}

#[test]
fn kong_json_lists_fields_in_order_with_their_attributes() {
    let printed = Config::schema().to_kong_json();
    assert_eq!(
        printed["fields"][1],
        json!({"limit_by": {"type": "string", "one_of": ["consumer", "ip"], "required": true, "default": "consumer",
            "description": "What is counted."}})
    );
    assert_eq!(printed["fields"][3]["redis"]["fields"][1]["port"]["between"], json!([0, 65535]));
    assert_eq!(printed["fields"][4]["secret"]["encrypted"], json!(true));
    assert_eq!(printed["entity_checks"][0], json!({"mutually_required": ["type", "ref"]}));
    assert_eq!(printed["fields"][8]["headers"]["values"]["elements"], json!({"type": "string"}));
}

#[test]
fn json_schema_says_what_editors_need() {
    let schema = Config::schema().to_json_schema();
    assert_eq!(schema["additionalProperties"], json!(false));
    assert_eq!(schema["required"], json!([]));
    let properties = &schema["properties"];
    assert_eq!(properties["limit_by"]["enum"], json!(["consumer", "ip", null]));
    assert_eq!(properties["redis"]["properties"]["port"]["maximum"], json!(65535));
    assert_eq!(properties["redis_host"]["deprecated"], json!(true));
    assert_eq!(properties["key_names"]["items"], json!({"type": "string"}));
    assert_eq!(properties["minute"]["type"], json!(["number", "null"]));
}

record! {
    /// Where a condition looks at an unset field.
    pub struct Conditional {
        /// Decides.
        mode: Option<String>;
        /// Is bound.
        target: Option<String>;
    }
    checks: [conditional("mode", not_equals("off"), "target", required())]
}

#[test]
fn a_condition_on_an_unset_field_does_not_hold() {
    let valid = |value: &Value| match Conditional::schema().check(value) {
        Ok(value) => {
            Conditional::from_value(&value).is_ok_and(|read| read.mode.is_none() || read.target.is_none())
        }
        Err(_) => false,
    };
    assert!(valid(&json!({})) && valid(&json!({"mode": "off"})));
    assert!(!valid(&json!({"mode": "on"})));
}
