//! What is counted for whom, what it costs, and how it is read.

use plugin::admin::Call;
use plugin::harness::{Harness, Outcome};
use serde_json::{Value, json};

use super::*;

const ROOM: &dyn plugin::Definition = plugin::room::<Usage>();
const DAY_MS: u64 = 86_400_000;

fn document(consumers: &str, config: &str) -> String {
    format!(
        "_format_version: \"3.0\"\nroutes: [{{name: search, paths: [/search]}}]\nconsumers: {consumers}\nplugins:\n\
         - {{name: usage, config: {config}}}\n- {{name: key-auth, config: {{anonymous: stranger}}}}\n"
    )
}

fn harness(config: &str) -> Harness {
    let consumers = "[{username: ann, keyauth_credentials: [{key: ann}]}, {custom_id: '7', keyauth_credentials: \
                     [{key: bob}]}, {username: stranger}]";
    harness_of(&document(consumers, config))
}

fn harness_of(document: &str) -> Harness {
    Harness::chain(&[plugin::room::<crate::key_auth::KeyAuth>(), ROOM], document).unwrap()
}

fn ask(harness: &mut Harness, key: &str) -> Outcome {
    harness.send(&format!("GET /search HTTP/1.1\napikey: {key}\n\n"))
}

fn read(harness: &Harness, query: &str) -> (u16, String, Vec<(&'static str, String)>) {
    let call = Call { parameters: &[], query: Some(query), services: &harness.services };
    let answer = (report::ENDPOINTS[0].handle)(&call);
    (answer.status, String::from_utf8(answer.body).unwrap(), answer.headers)
}

fn data(harness: &Harness, query: &str) -> Value {
    let (status, body, _) = read(harness, query);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["data"].take()
}

/// The members of each row that are called so.
fn pick(rows: &Value, names: &[&str]) -> Value {
    let pick_row =
        |row: &Value| names.iter().map(|name| row.pointer(name).cloned().unwrap_or_default()).collect();
    rows.as_array().unwrap().iter().map(pick_row).collect::<Vec<Value>>().into()
}

#[test]
fn requests_are_counted_by_consumer_route_and_day() {
    let mut harness = harness("{}");
    for (key, status, times) in
        [("ann", 200, 3), ("bob", 200, 1), ("ann", 404, 1), ("ann", 502, 2), ("", 200, 1)]
    {
        harness.upstream.status = status;
        (0..times).for_each(|_| drop(ask(&mut harness, key)));
    }
    let rows = data(&harness, "group_by=consumer");
    let mut found = pick(&rows, &["/consumer/name", "/requests", "/errors", "/server_errors", "/cost"]);
    found.as_array_mut().unwrap().sort_by_key(Value::to_string);
    assert_eq!(found, json!([["7", 1, 0, 0, 1.0], ["ann", 6, 3, 2, 3.0], ["stranger", 1, 0, 0, 1.0]]));
    let rows = data(&harness, "consumer=ann");
    assert_eq!(rows[0]["response_bytes"], json!(6 * harness.upstream.body.len()));
    assert_eq!(pick(&rows, &["/day", "/route/name"]), json!([["2026-01-01", "search"]]));
    let id = rows[0]["consumer"]["id"].as_str().unwrap();
    assert_eq!(data(&harness, &format!("consumer={id}&route=search")), rows);
    assert_eq!(data(&harness, "consumer="), json!([]), "nobody asked without being one");
    assert_eq!(pick(&data(&harness, "group_by="), &["/requests", "/day"]), json!([[8, null]]));
}

#[test]
fn a_day_ends_at_midnight_in_utc() {
    let mut harness = harness("{}");
    harness.clock.advance(DAY_MS - 1);
    ask(&mut harness, "ann");
    harness.clock.advance(1);
    (0..2).for_each(|_| drop(ask(&mut harness, "ann")));
    let days = |query: &str| pick(&data(&harness, query), &["/day", "/requests"]);
    assert_eq!(days("group_by=day"), json!([["2026-01-01", 1], ["2026-01-02", 2]]));
    assert_eq!(days("from=2026-01-02"), json!([["2026-01-02", 2]]));
    assert_eq!(days("to=2026-01-01"), json!([["2026-01-01", 1]]));
    assert_eq!(days("from=2026-01-01&to=2026-01-02&group_by=route"), json!([[null, 3]]));
}

#[test]
fn a_reload_goes_on_counting() {
    let mut harness = harness("{}");
    ask(&mut harness, "ann");
    harness
        .reload(&document(
            "[{username: ann, keyauth_credentials: [{key: ann}]}, {username: stranger}]",
            "{cost: 0.125}",
        ))
        .unwrap();
    ask(&mut harness, "ann");
    assert_eq!(pick(&data(&harness, ""), &["/requests", "/cost"]), json!([[2, 1.125]]));
}

#[test]
fn names_are_those_of_the_last_day() {
    let named = |name: &str| {
        let id = "0d3cf2e4-5b1a-4c8e-9f1d-6a7b8c9d0e1f";
        let consumers = format!(
            "[{{id: {id}, username: {name}, keyauth_credentials: [{{key: k}}]}}, {{username: stranger}}]"
        );
        document(&consumers, "{}")
    };
    let mut harness = harness_of(&named("zed"));
    for name in ["zed", "abe", "mia"] {
        harness.reload(&named(name)).unwrap();
        ask(&mut harness, "k");
        harness.clock.advance(DAY_MS);
    }
    let names = |query: &str| pick(&data(&harness, query), &["/consumer/name", "/requests"]);
    assert_eq!(names("group_by=consumer"), json!([["mia", 3]]));
    assert_eq!(names("group_by=consumer&to=2026-01-02"), json!([["abe", 2]]));
    assert_eq!(names("consumer=zed"), json!([["zed", 1]]), "the name of that day");
}

#[test]
fn a_service_may_say_what_a_request_costs() {
    let mut harness = harness("{cost: 2, cost_header: X-Usage-Cost}");
    let mut ask_for = |status, cost: &str| {
        harness.upstream.status = status;
        harness.upstream.headers = vec![("X-Usage-Cost", cost.to_owned())];
        let outcome = ask(&mut harness, "ann");
        assert_eq!(outcome.header("X-Usage-Cost"), None, "not for the client");
    };
    ask_for(200, "12.3456");
    ask_for(500, " 7 ");
    ask_for(200, "0");
    let costs = |harness: &Harness| pick(&data(harness, "group_by="), &["/cost"]);
    assert_eq!(costs(&harness), json!([[19.346]]));
    for refused in ["", "-1", "1000001", "nan", "inf", "a lot"] {
        harness.upstream.headers = vec![("X-Usage-Cost", refused.to_owned())];
        harness.upstream.status = 200;
        ask(&mut harness, "ann");
    }
    assert_eq!(costs(&harness), json!([[19.346 + 12.0]]), "what is no cost is the fixed one");
    let mut refused = 0;
    harness.services.figures.each(|family, values| {
        refused += if family.name == "usage_costs_refused_total" { values[0].1 } else { 0 };
    });
    assert_eq!(refused, 6);
}

#[test]
fn only_the_service_is_charged_for_and_its_errors_where_that_is_wanted() {
    let cost = |config: &str, status| {
        let mut harness = harness(config);
        harness.upstream.status = status;
        ask(&mut harness, "ann");
        pick(&data(&harness, "group_by="), &["/cost"])[0][0].as_f64().unwrap()
    };
    assert_eq!((cost("{}", 302), cost("{}", 404)), (1.0, 0.0));
    assert_eq!(cost("{charge_errors: true}", 404), 1.0);
    // The gateway itself answers, with a header that only a service may have.
    let document = document("[{username: stranger}]", "{charge_errors: true, cost_header: X-Usage-Cost}")
        + "- {name: request-termination, config: {status_code: 200}}\n";
    let rooms = [
        plugin::room::<crate::key_auth::KeyAuth>(),
        ROOM,
        plugin::room::<crate::request_termination::RequestTermination>(),
    ];
    let mut harness = Harness::chain(&rooms, &document).unwrap();
    assert!(harness.send("GET /search HTTP/1.1\n\n").answered);
    assert_eq!(pick(&data(&harness, "group_by="), &["/requests", "/cost"]), json!([[1, 0.0]]));
}

#[test]
fn costs_have_three_decimals() {
    for (cost, accepted) in [
        ("0", true),
        ("0.001", true),
        ("1000000", true),
        ("0.0001", false),
        ("-1", false),
        ("1000001", false),
    ] {
        assert_eq!(Harness::global(ROOM, &format!("{{cost: {cost}}}")).is_ok(), accepted, "{cost}");
    }
}

#[test]
fn csv_survives_hostile_names() {
    let names = ["=HYPERLINK(1)", "a \"b\", c", "one\ntwo", "@x", "-1", "x,y", "plain"];
    let consumers: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(number, name)| json!({ "username": name, "keyauth_credentials": [{ "key": number.to_string() }] }))
        .chain([json!({ "username": "stranger" })])
        .collect();
    let mut harness = harness_of(&document(&json!(consumers).to_string(), "{cost: 0.25}"));
    (0..names.len()).for_each(|number| drop(ask(&mut harness, &number.to_string())));
    let (status, text, _) = read(&harness, "format=csv&group_by=consumer");
    assert_eq!(status, 200);
    let mut lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(
        lines.remove(0),
        "consumer_id,consumer,requests,errors,server_errors,request_bytes,response_bytes,cost"
    );
    let mut ends: Vec<&str> = lines.iter().map(|line| &line[37..line.rfind(",1,0,0,").unwrap()]).collect();
    ends.sort_unstable();
    assert_eq!(
        ends,
        ["\"a \"\"b\"\", c\"", "\"one\ntwo\"", "\"x,y\"", "'-1", "'=HYPERLINK(1)", "'@x", "plain"]
    );
    assert!(lines.iter().all(|line| line.ends_with(",0.250")), "{text}");
    let rows = data(&harness, "group_by=consumer");
    let in_json = pick(&rows, &["/consumer/name"]);
    assert!(in_json.as_array().unwrap().contains(&json!(["=HYPERLINK(1)"])), "JSON shows names as they are");
}

#[test]
fn pages_neither_skip_nor_repeat_while_counting_goes_on() {
    let consumers: Vec<Value> = (0..25)
        .map(|number| json!({ "username": format!("c{number}"), "keyauth_credentials": [{ "key": format!("k{number}") }] }))
        .chain([json!({ "username": "stranger" })])
        .collect();
    let mut harness = harness_of(&document(&json!(consumers).to_string(), "{}"));
    for form in ["json", "csv"] {
        (0..25).for_each(|number| drop(ask(&mut harness, &format!("k{number}"))));
        let (mut path, mut seen) =
            (Some(format!("/usage?size=10&group_by=day,consumer&to=2026-01-09&format={form}")), Vec::new());
        while let Some(next) = path {
            (0..25).for_each(|number| drop(ask(&mut harness, &format!("k{number}"))));
            let (status, body, headers) = read(&harness, next.strip_prefix("/usage?").unwrap());
            assert_eq!(status, 200, "{body}");
            if form == "csv" {
                seen.extend(
                    body.split_terminator("\r\n")
                        .skip(1)
                        .map(|line| line.split(',').nth(2).unwrap().to_owned()),
                );
                path = headers.first().map(|(_, link)| link[1..link.find('>').unwrap()].to_owned());
            } else {
                let page: Value = serde_json::from_str(&body).unwrap();
                seen.extend(
                    page["data"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|row| row["consumer"]["name"].as_str().unwrap().to_owned()),
                );
                path = page["next"].as_str().map(str::to_owned);
            }
        }
        assert_eq!(seen.len(), 25, "{form}");
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 25, "{form}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let harness = harness("{}");
    for (query, message) in [
        ("user=ann", "unknown argument 'user'"),
        ("size=0", "size: '0' is no number from 1 to 10000"),
        ("size=10001", "size"),
        ("from=2026-02-31", "from: '2026-02-31' is no day"),
        ("to=yesterday", "to: 'yesterday' is no day"),
        ("to=2026-1-1", "to"),
        ("group_by=day,service", "group_by: 'service' is none of day, consumer and route"),
        ("format=xml", "format: 'xml' is neither json nor csv"),
        ("offset=%21", "offset: not one of a page before"),
        ("group_by=day&offset=YSxi", "offset: not that of a page with this group_by"),
        ("size=1&size=2", "'size' is given twice"),
        ("consumer='%20OR%201=1", ""),
    ] {
        let (status, body, _) = read(&harness, query);
        let expected = if message.is_empty() { (200, "[]") } else { (400, message) };
        assert!(status == expected.0 && body.contains(expected.1), "{query}: {status} {body}");
    }
}

#[test]
fn without_a_database_the_configuration_is_refused() {
    let services = plugin::Services::new(1, plugin::clock::Clock::default(), false);
    let config = plugin::model::declarative::load(
        "kong.yml",
        &document("[{username: stranger}]", "{}"),
        &crate::catalog(),
    )
    .unwrap();
    let shared = plugin::build::Shared::default();
    let row = &config.plugins[0];
    let cx = Build { config: &config, row, routes: &[], services: &services, shared: &shared };
    let error = ROOM.build(row, &cx).err().unwrap();
    assert!(error.message.contains("set KONG_USAGE_DATABASE"), "{error}");
    let call = Call { parameters: &[], query: None, services: &services };
    assert_eq!((report::ENDPOINTS[0].handle)(&call).status, 404);
}
