//! Policies that are evaluated in the gateway.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plugin::aside::Aside;

use super::super::config::Rego;
use super::super::local::{Input, Pace, Policy, Trouble, patiently};
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
fn an_evaluation_that_had_to_wait_for_a_processor_is_begun_again() {
    let limit = Duration::from_millis(100);
    let (busy_ms, attempts) = (Cell::new(0), RefCell::new(Vec::new()));
    let trial = |spent_ms: u64, good: usize| {
        busy_ms.set(0);
        attempts.borrow_mut().clear();
        let result = patiently(
            limit,
            || Some(Duration::from_millis(busy_ms.get())),
            |limit| {
                attempts.borrow_mut().push(limit.as_millis());
                busy_ms.set(busy_ms.get() + spent_ms);
                if attempts.borrow().len() == good { Ok(json!(true)) } else { Err(Trouble::Late) }
            },
        );
        (result, attempts.borrow().clone())
    };
    assert_eq!(trial(1, 3), (Ok(json!(true)), vec![100, 198, 196]));
    assert_eq!(trial(99, 3), (Err(Trouble::Late), vec![100]), "it had its time");
    assert_eq!(trial(30, 0), (Err(Trouble::Late), vec![100, 140, 80]), "it had its time, in parts");
    assert_eq!(trial(0, 0), (Err(Trouble::Late), vec![100, 200, 200, 200, 200, 200]), "there is an end");
    let unknown = patiently(limit, || None, |_| Err(Trouble::Late));
    assert_eq!(unknown, Err(Trouble::Late));
}

#[test]
fn who_gets_a_processor_after_all_does_not_keep_it_for_long() {
    let limit = Duration::from_micros(500);
    // How much of its time each attempt has the processor, in percent, until nobody else is there.
    for shares in [vec![], vec![0], vec![10, 20], vec![74], vec![0, 0, 0, 0, 0], vec![74, 1]] {
        let (busy, mut shares) = (Cell::new(Duration::ZERO), shares.into_iter());
        let attempt = |time: Duration| {
            busy.set(busy.get() + time * shares.next().unwrap_or(100) / 100);
            Err(Trouble::Late)
        };
        assert_eq!(patiently(limit, || Some(busy.get()), attempt), Err(Trouble::Late));
        assert!(busy.get() <= limit * 2, "{:?}", busy.get());
    }
}

#[test]
fn a_policy_that_does_not_take_long_decides_though_nobody_beside_the_traffic_can() {
    let policy = LONG.replace(
        "allow if {",
        "allow if input.request.http.method == \"GET\"\nallow if {\n    input.request.http.method == \"PUT\"",
    );
    let mut rego = long(0.02);
    rego["policy"] = json!(policy);
    let mut room = SUBJECT.with(&config(&rego, &json!({}))).in_real_time();
    let aside = room.services.keep(<super::super::Opa as plugin::Plugin>::NAME, || Aside::new("policies"));
    let put = "PUT / HTTP/1.1\n\n";
    assert_eq!(room.send(put).status, 500, "now evaluations are done beside the traffic");
    // All threads there are busy, and as many wait as may.
    let ((free, busy), (begin, begun)) = (channel::<()>(), channel());
    let busy = Arc::new(Mutex::new(busy));
    let occupy = || {
        let (busy, begin) = (busy.clone(), begin.clone());
        aside.send(move || {
            let _test_has_ended = begin.send(());
            let _test_has_ended = busy.lock().map(|busy| busy.recv());
        })
    };
    for _ in 0..Aside::threads() {
        occupy().unwrap();
        begun.recv().unwrap();
    }
    while occupy().is_ok() {}
    assert_eq!(room.statuses(GET, 10), [200; 10]);
    assert_eq!(room.send(put).status, 500, "what takes long does not");
    drop(free);
}

#[test]
fn an_evaluation_that_takes_long_and_may_decides() {
    let shorter = LONG.replace("some c in data.list; ", "").replace(" + c ==", " ==").replace("1000000", "1");
    let mut rego = long(10.0);
    rego["policy"] = json!(shorter);
    let mut room = SUBJECT.with(&config(&rego, &json!({}))).in_real_time();
    assert_eq!(room.statuses(GET, 3), [200, 200, 200]);
}

/// A policy whose decisions are remembered for ten seconds, by what `by` says.
fn remembering(policy: &str, by: &Value) -> String {
    let others =
        json!({"cache": {"ttl": 10, "refusal_ttl": 5, "by": by}, "include_claims_in_opa_input": ["sub"]});
    config(
        &json!({"policy": format!("package example\n{policy}\n"), "data": {"roles": {"a": ["reader"]}}}),
        &others,
    )
}

/// How often decisions were looked up with success and without.
fn counted(room: &Harness) -> Vec<u64> {
    let mut counted = Vec::new();
    for name in ["remembered_hits_total", "remembered_misses_total"] {
        room.services.figures.each(|family, figures| {
            if family.name == name {
                counted.extend(
                    figures.iter().filter(|(labels, _)| labels[0] == "rego").map(|(_, count)| *count),
                );
            }
        });
    }
    counted
}

#[test]
fn decisions_hold_for_requests_that_are_alike_in_all_that_the_policy_looks_at() {
    let policy = "default allow := false\nallow := {\"allow\": true, \"headers\": {\"X-Role\": \"r\"}} if {
        input.request.http.method == \"GET\"\nis_reader(input.request.http.headers[\"x-user\"])\n}
        is_reader(user) if \"reader\" in data.roles[user]";
    let mut room = SUBJECT.with(&remembering(policy, &json!(["method", "header:X-User"]))).in_real_time();
    let mut send = |method: &str, user: &str, counts: [u64; 2]| {
        let outcome = room.send(&format!("{method} / HTTP/1.1\nX-User: {user}\nX-Other: {counts:?}\n\n"));
        assert_eq!(counted(&room), counts, "{method} {user}");
        (outcome.status, outcome.upstream_header("X-Role"))
    };
    assert_eq!(send("GET", "a", [0, 1]), (200, Some("r".to_owned())));
    assert_eq!(send("GET", "a", [1, 1]), (200, Some("r".to_owned())));
    assert_eq!(send("GET", "b", [1, 2]).0, 403);
    assert_eq!(send("GET", "b", [2, 2]).0, 403);
    assert_eq!(send("PUT", "a", [2, 3]).0, 403);
    room.clock.advance(5_000);
    let mut send = |user: &str| _ = room.send(&format!("GET / HTTP/1.1\nX-User: {user}\n\n"));
    send("a");
    send("b");
    assert_eq!(counted(&room), [3, 4], "a refusal holds for its own time");
}

#[test]
fn a_decision_is_made_anew_after_a_reload_and_where_there_was_none() {
    let document =
        |config: &str| format!("_format_version: '3.0'\nplugins:\n- {{name: opa, config: {config}}}\n");
    let policy = "allow if input.request.http.method == \"GET\"";
    let config = remembering(policy, &json!(["input"]));
    let mut room = SUBJECT.with(&config).in_real_time();
    assert_eq!(room.statuses(GET, 2), [200, 200]);
    room.reload(&document(&config)).unwrap();
    assert_eq!(room.statuses(GET, 1), [200]);
    assert_eq!(counted(&room), [1, 2], "data and files may be others");
    // The rule has no value: that is no decision.
    assert_eq!(room.statuses("PUT / HTTP/1.1\n\n", 2), [500, 500]);
    assert_eq!(counted(&room), [1, 4]);
}

#[test]
fn whatever_a_policy_looks_at_must_be_what_requests_have_in_common() {
    let refusal = |policy: &str, by: Value| {
        Harness::global(SUBJECT.0, &remembering(policy, &by)).err().unwrap_or_else(|| "nothing".to_owned())
    };
    for (policy, by) in [
        ("allow if input.request.http.method == \"GET\"", json!(["method"])),
        ("allow if input.request.http[\"scheme\"] == \"https\"", json!(["scheme"])),
        ("allow if startswith(input.request.http.host, \"a\")", json!(["host"])),
        ("allow if count(split(input.request.http.path, \"/\")) > 1", json!(["path"])),
        ("allow if input.request.http.querystring.a[_] == \"1\"", json!(["query"])),
        ("allow if net.cidr_contains(\"10.0.0.0/8\", input.client_ip)", json!(["ip"])),
        ("allow if input.consumer.username == \"alice\"", json!(["consumer"])),
        ("allow if some claim, value in input.claims\nother if input.claims.sub", json!(["claims"])),
        (
            "allow if input.request.http.headers[\"x-a\"] == input.request.http.method",
            json!(["header:X-A", "method"]),
        ),
        ("allow if count(data.roles) > 0", json!(["method"])),
        ("allow if input == {}", json!(["input"])),
        ("allow if f(input)\nf(x) if x.client_ip", json!(["method", "input"])),
    ] {
        assert_eq!(refusal(policy, by), "nothing", "{policy}");
    }
    let (all, mut others) = ("the policies look at input: name", Vec::new());
    for (policy, told) in [
        ("allow if input.request.http.headers[\"x-b\"]", "look at input.request.http.headers.x-b: name"),
        ("allow if input.request.http.headers[data.name]", "look at input.request.http.headers: name"),
        ("allow if input.request.http.port == \"1\"", "input.request.http.port"),
        ("allow if input.request.http.tls.version", "input.request.http.tls.version"),
        ("allow if input.route.id", "input.route.id"),
        ("allow if not other\nother if input.client_ip == \"1\"", "input.client_ip"),
        ("default allow := false\nallow if true\nallow if input.client_ip", "input.client_ip"),
        ("allow if true\nelse := false if input.client_ip", "input.client_ip"),
        ("allow if f(1)\nf(x) := y if y := input.client_ip", "input.client_ip"),
        ("allow if data.roles[input.client_ip2] == 1", "input.client_ip2"),
        ("allow if input[data.name]", all),
        ("allow if input == {}", all),
        ("allow if x := input\nother if true", all),
        ("allow if f(input)\nf(x) if x.client_ip", all),
        ("allow if count(input) > 1", all),
        ("allow if some name, value in input", all),
        ("allow if [1 | input[_]]", all),
        ("allow if {\"a\": input}.a", all),
        ("allow if [input][0]", all),
        ("allow if {input}", all),
        ("allow if every part in input { part }", all),
        ("allow := input", all),
        ("allow contains input", all),
        ("allow[input.request.http.method] := input", all),
    ] {
        let refusal = refusal(policy, json!(["method", "header:x-a"]));
        if !(refusal.contains("config.cache.by: ") && refusal.contains(told)) {
            others.push(format!("{policy}: {refusal}"));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}

#[test]
fn what_depends_on_more_than_the_request_is_not_remembered() {
    let policy = "allow if time.now_ns() > 0";
    let refusal = Harness::global(SUBJECT.0, &remembering(policy, &json!(["input"]))).err().unwrap();
    assert!(refusal.contains("config.cache: the policies call time.now_ns"), "{refusal}");
    assert_eq!(mistake(&format!("package example\n{policy}")), "nothing");
}
