//! Policies that are evaluated in the gateway.

use std::fs;
use std::path::PathBuf;

use super::super::config::Rego;
use super::super::local::{Input, Pace, Policy, Trouble};
use super::*;

/// A configuration with `rego` and other fields.
fn config(rego: &Value, others: &Value) -> String {
    let mut config = json!({"opa_path": "/v1/data/example/allow", "rego": rego});
    config.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
    config.to_string()
}

fn with(policy: &str) -> Harness {
    SUBJECT.with(&config(&json!({ "policy": policy }), &json!({}))).in_real_time()
}

/// What is wrong with the only policy.
fn mistake(policy: &str) -> String {
    let config = config(&json!({ "policy": policy }), &json!({}));
    Harness::global(SUBJECT.0, &config).err().unwrap_or_else(|| "nothing".to_owned())
}

/// A folder of its own for a test, removed afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("biplane-opa-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const POLICY: &str = r#"package example

default allow := false

allow if {
    input.request.http.method == "GET"
    some role in data.roles[input.request.http.headers["x-user"]]
    role == "reader"
}

allow := {"allow": true, "headers": {"X-Roles": concat(",", data.roles.bob)}, "rule": "bob"} if {
    input.request.http.headers["x-user"] == "bob"
    input.request.http.querystring.tag[1] == "b"
    net.cidr_contains("127.0.0.0/8", input.client_ip)
    regex.match(`^/orders/\d+$`, input.request.http.path)
}

allow := {"allow": false, "status": 451, "message": ["no"]} if input.request.http.parsed_body.amount > 100
"#;

#[test]
fn a_policy_sees_the_same_input_and_its_results_mean_the_same() {
    let rego =
        json!({"policy": POLICY, "data": {"roles": {"alice": ["reader"], "bob": ["writer", "owner"]}}});
    let others = json!({"include_parsed_json_body_in_opa_input": true, "debug_header": "X-D"});
    let mut room = SUBJECT.with(&config(&rego, &others)).in_real_time();
    let mut send =
        |head: &str, body: &str| room.send(&format!("{head}\nContent-Type: application/json\n\n{body}"));
    assert!(!send("GET / HTTP/1.1\nX-User: alice", "").answered);
    let outcome = send("POST / HTTP/1.1\nX-User: alice", "");
    assert_eq!((outcome.status, outcome.json()), (403, json!({"message": "unauthorized"})));
    assert_eq!(outcome.header("X-D").as_deref(), Some("deny: /v1/data/example/allow"));
    let outcome = send("PUT /orders/7?tag=a&tag=b HTTP/1.1\nX-User: bob", "");
    assert_eq!(outcome.upstream_header("X-Roles").as_deref(), Some("writer,owner"));
    assert_eq!(outcome.header("X-D").as_deref(), Some("allow: bob"));
    let outcome = send("PUT / HTTP/1.1", "{\"amount\": 101}");
    assert_eq!((outcome.status, outcome.json()), (451, json!({"message": ["no"]})));
    let deepest = format!("{}1{}", "{\"amount\":".repeat(100), "}".repeat(100));
    assert_eq!(send("PUT / HTTP/1.1", &deepest).status, 451);
}

#[test]
fn a_rule_without_a_value_lets_nobody_pass() {
    let mut room = with("package example\nallow if input.request.http.method == \"GET\"");
    assert!(!room.send(GET).answered);
    let outcome = room.send("PUT / HTTP/1.1\n\n");
    assert_eq!((outcome.status, outcome.message.as_deref()), (500, Some("An unexpected error occurred")));
    // Two values for one rule are none.
    let conflict = "package example\nallow := true if input.client_ip\nallow := false if input.client_ip";
    assert_eq!(with(conflict).send(GET).status, 500);
}

#[test]
fn policies_and_data_come_from_files_too() {
    let folder = Folder::new();
    let rules = "package rules\n\nallowed contains name if some name in data.names";
    let rego = json!({
        "policy": "package example\nallow if input.request.http.headers[\"x-user\"] in data.rules.allowed",
        "files": [folder.file("rules.rego", rules)],
        "data_file": folder.file("data.json", r#"{"names": ["alice"]}"#),
    });
    let others = || json!({});
    let mut room = SUBJECT.with(&config(&rego, &others())).in_real_time();
    assert!(!room.send("GET / HTTP/1.1\nX-User: alice\n\n").answered);
    assert!(room.send("GET / HTTP/1.1\nX-User: bob\n\n").answered);
    let refuses = |rego: Value| SUBJECT.refuses(&config(&rego, &others()));
    let wrong = folder.file("wrong.rego", "package a\n\nb if {\n  1 +\n}\n");
    let refusal =
        refuses(json!({"policy": "package example\nallow := true", "files": [rego["files"][0], wrong]}));
    assert!(refusal.contains(&format!("config.rego.files[1]: {wrong}: line 5, column 1: ")), "{refusal}");
    let missing = folder.0.join("none.rego");
    let refusal = refuses(json!({ "files": [missing] }));
    assert!(refusal.contains("config.rego.files[0]") && refusal.contains("No such file"), "{refusal}");
    let list = folder.file("list.json", "[1]");
    let refusal = refuses(json!({"policy": "package example\nallow := true", "data_file": list}));
    assert!(refusal.contains("config.rego.data_file") && refusal.contains("expected a map"), "{refusal}");
    let twice = json!({"policy": "package example\nallow := true", "data": {"names": 1}, "data_file": rego["data_file"]});
    assert!(refuses(twice).contains("names is in config.rego.data, too"));
}

#[test]
fn a_policy_that_is_wrong_is_an_error_with_its_place() {
    let mut others = Vec::new();
    for (policy, told) in [
        ("package example\n\nallow if {\n  input.a ==\n}\n", "config.rego.policy: line 5, column 1: "),
        ("package example\n\nallow if no_such(input.a)\n", "config.rego.policy: line 3, column 10: "),
        ("package example\n\nallow if http.send({}).status == 200\n", "Unknown function: 'http.send'"),
        ("package example\n\nallow if x == 1\n", "line 3, column 10: "),
        ("allow := true\n", "config.rego.policy: line 1, column 1: "),
        ("package example\n\nallow { true }\n", "config.rego.policy: line 3, column 7: "),
        (
            "package example\n\nallowed := true\n",
            "config.opa_path: there is no rule data.example.allow: the policies are of data.example",
        ),
        (
            "package example\n\nallow if count(numbers.range(1, 10)) > 1\n",
            "numbers.range is not to be had here",
        ),
        (
            "package example\n\nallow if units.parse_bytes(input.a) > 1\n",
            "units.parse_bytes is not to be had",
        ),
    ] {
        let refusal = mistake(policy);
        if !refusal.contains(told) || refusal.lines().count() > 1 {
            others.push(format!("{policy}: {refusal}"));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
    // Nested without end.
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(
            "package example # [[[[\n\nallow if input.a != \"[[\\\"[[\"\nallow if count({open}`[[`{close}) > 0\n"
        )
    };
    assert_eq!(mistake(&nested(11)), "nothing");
    for levels in [12, 100_000] {
        let refusal = mistake(&nested(levels));
        assert!(
            refusal.contains("config.rego.policy: line 4, column 27: brackets are nested more than 12"),
            "{refusal}"
        );
    }
}

#[test]
fn rules_that_need_themselves_are_refused() {
    for (policy, told) in [
        (
            "allow if b\nb if allow",
            "data.example.allow needs itself: data.example.allow -> data.example.b -> data.example.allow",
        ),
        ("allow if f(1)\nf(x) if g(x)\ng(x) := 1 if f(x)", "data.example.f needs itself"),
        (
            "allow if count([1 | b]) > 0\nb if not c\nc := {x | some x in [1]; b}",
            "data.example.b needs itself",
        ),
        ("allow if data.example[input.request.http.method]", "recursion"),
        ("allow if b\nb if data[input.request.http.method].allow", "recursion"),
    ] {
        let refusal = mistake(&format!("package example\n{policy}\n"));
        assert!(refusal.contains(told), "{policy}\n{refusal}");
    }
    // Names that are found out by evaluating are fine where they cannot lead back.
    let rego = json!({
        "policy": "package example\nallow if data.table[input.request.http.method]\nother if data.example.allow",
        "data": {"table": {"GET": true}},
    });
    assert_eq!(SUBJECT.with(&config(&rego, &json!({}))).in_real_time().send(GET).status, 200);
    let chain = |length: usize| {
        let rules: String = (1..length).map(|number| format!("r{number} if r{}\n", number + 1)).collect();
        format!("package example\nallow if r1\n{rules}r{length} if input.client_ip\n")
    };
    assert_eq!(with(&chain(31)).send(GET).status, 200);
    let refusal = mistake(&chain(32));
    assert!(refusal.contains("chain of more than 32 rules"), "{refusal}");
}

#[test]
fn policies_of_old_are_taken_where_that_is_said() {
    let rego = json!({"policy": "package example\nallow { input.client_ip }", "version": "v0"});
    assert!(!SUBJECT.with(&config(&rego, &json!({}))).in_real_time().send(GET).answered);
}

#[test]
fn what_only_a_server_can_do_is_refused() {
    let refuses = |others: Value| {
        SUBJECT.refuses(&config(&json!({"policy": "package example\nallow := true"}), &others))
    };
    assert!(refuses(json!({"cache": {"ttl": 1}})).contains("decisions of an OPA server"));
    assert!(refuses(json!({"fail_open": true})).contains("there is none with `rego`"));
    for path in
        ["/v1/data/allow", "/v1/data/example/", "/v1/policies/a/b", "/v1/data/example/a-b", "/v1/data/1/a"]
    {
        let refusal = refuses(json!({ "opa_path": path }));
        assert!(refusal.contains("config.opa_path: with `rego` it names a package and a rule"), "{refusal}");
    }
    assert!(SUBJECT.refuses(&config(&json!({}), &json!({}))).contains("policy"));
}

/// A policy that looks at a million pairs.
const LONG: &str = "package example

allow if {
    count([1 | some a in data.list; some b in data.list; some c in data.list; a + b + c == 1]) > 1000000
}

default allow := false
";

fn long(timeout: f64) -> Value {
    json!({"policy": LONG, "timeout": timeout, "data": {"list": (0..100).collect::<Vec<_>>()}})
}

#[test]
fn an_evaluation_that_takes_long_is_ended_and_not_by_the_worker() {
    let mut fields = long(0.02);
    fields
        .as_object_mut()
        .unwrap()
        .extend([("files".to_owned(), json!([])), ("version".to_owned(), json!("v1"))]);
    let rego: Rego = plugin::model::schema::Record::from_value(&fields).unwrap();
    let policy = Policy::new(&rego, "/v1/data/example/allow").unwrap_or_else(|error| panic!("{error}"));
    let input = Input::read(b"{}").unwrap();
    assert!(!policy.is_slow());
    assert_eq!(policy.evaluate(&input, Pace::Quick), Err(Trouble::Late));
    assert!(policy.is_slow(), "the next ones are not tried by a worker");
    assert_eq!(policy.evaluate(&input, Pace::Full), Err(Trouble::Late));
    assert_eq!((0..100).filter(|_| policy.is_slow()).count(), 63, "and then it is tried again");
    assert_eq!(SUBJECT.with(&config(&long(0.02), &json!({}))).in_real_time().send(GET).status, 500);
}

#[test]
fn an_evaluation_that_takes_long_and_may_decides() {
    let shorter = LONG.replace("some c in data.list; ", "").replace(" + c ==", " ==").replace("1000000", "1");
    let mut rego = long(10.0);
    rego["policy"] = json!(shorter);
    let mut room = SUBJECT.with(&config(&rego, &json!({}))).in_real_time();
    assert_eq!(room.statuses(GET, 3), [200, 200, 200]);
}
