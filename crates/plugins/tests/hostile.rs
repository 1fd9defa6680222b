//! What decides about requests is shown bytes that nobody expects, wherever it looks: it decides, and never panics.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;

use plugin::harness::{Dice, Harness};

/// Rules and expressions with conditions on all that clients can choose.
const RULES: &str = r#"
_format_version: "3.0"
consumers:
- {username: stranger}
- {username: app, jwt_secrets: [{key: app, secret: s}]}
plugins:
- name: jwt
  config: {anonymous: stranger, header_names: [authorization]}
- name: authorization
  config:
    public_paths: [/public/**]
    roles_from: {header: X-Roles, claims: [realm.roles, roles]}
    rules:
    - {when: "request.headers['x-a'].matches('^(a|b)*c$') && request.query.q.size() > 3"}
    - {paths: ["/a/{one}/**"], when: "int(parameters.one) > 7 || timestamp(request.query.t) > request.time"}
    - {when: "double(request.query.n) > 1.5 && uint(request.query.n) < uint(7)"}
    - {paths: [/h/**], effect: deny, when: "cidr('10.0.0.0/8').containsIP(request.headers['x-forwarded-for'])"}
    - {when: "duration(request.query.d) > duration('1h') && request.host.lowerAscii() == 'a'"}
    - {methods: [POST], when: "request.path.contains('..') || roles.exists(role, role.startsWith(request.query.r))"}
    permissions: {"POST /b/*": [admin]}
    default: deny
"#;

/// A policy in Rego with such conditions.
const POLICY: &str = r#"
_format_version: "3.0"
plugins:
- name: opa
  config:
    opa_path: /v1/data/example/allow
    include_body_in_opa_input: true
    include_parsed_json_body_in_opa_input: true
    include_consumer_in_opa_input: true
    include_uri_captures_in_opa_input: true
    include_claims_in_opa_input: [sub]
    rego:
      policy: |
        package example

        default allow := false

        allow if input.request.http.headers["x-a"] == input.request.http.querystring.q
        allow if to_number(input.request.http.querystring.n) > 7
        allow if regex.match(input.request.http.querystring.q, input.request.http.path)
        allow if glob.match(input.request.http.querystring.r, ["/"], input.request.http.path)
        allow if time.parse_rfc3339_ns(input.request.http.querystring.t) > 0
        allow if time.parse_duration_ns(input.request.http.querystring.d) > 0
        allow if base64url.decode(input.request.http.querystring.q) == "c"
        allow if json.unmarshal(input.request.http.body).a == 1
        allow if input.request.http.parsed_body.a[_].b == 1
        allow if net.cidr_contains(input.request.http.headers["x-forwarded-for"], input.client_ip)
        allow if semver.compare(input.request.http.querystring.n, "1.0.0") > 0
        allow if sprintf("%d %5s %v", [input.request.http.querystring.n, input.request.http.headers, input]) == "d"
        allow if substring(input.request.http.path, to_number(input.request.http.querystring.n), -1) == "e"
        allow if round(to_number(input.request.http.querystring.n)) * 3 % 7 == 1
"#;

/// What attacks are made of.
const TOKENS: [&[u8]; 34] = [
    b"1e999999999",
    b"-1e2000000000",
    b"99999999999999999999999999",
    b"1e400",
    b"-0",
    b"0x7f",
    b"(a*)*$",
    b"(?i){9999}",
    b"[",
    b"%00",
    b"%ff%fe",
    b"%F0%9F%98",
    b"&&&",
    b"==",
    b"{\"a\":",
    b"[[[[[[[[",
    b"null",
    b"\\ud800",
    b"9999-99-99T99:99:99Z",
    b"::/0",
    b"1.2.3-x",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"%",
    b"+",
    b"/a/9/",
    b"/../",
    b"%2e%2e/",
    b"Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJhcHAifQ.",
    b"admin,",
    b"]]]]",
    b"}",
    b"\"",
    b"h",
];

/// Some tokens in a row, with a byte of any kind here and there.
fn text(dice: &mut Dice) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..dice.index(5) {
        text.extend_from_slice(TOKENS[dice.index(TOKENS.len())]);
        if dice.index(4) == 0 {
            text.push(u8::try_from(dice.index(256)).unwrap());
        }
    }
    text
}

/// Sends what is hostile in every place, and tells the statuses that came of it.
fn attacked(document: &str) -> BTreeSet<u16> {
    let room = Harness::chain(plugins::ROOMS, document).unwrap_or_else(|problems| panic!("{problems}"));
    let (mut room, mut dice) = (room.in_real_time(), Dice::new(7));
    let outcomes = (0..1500).filter_map(|_| {
        let (head, body) = request(&mut dice);
        room.send_head(&head, &body)
    });
    let statuses: Vec<u16> = outcomes.map(|outcome| outcome.status).collect();
    assert!(statuses.len() > 1000, "most requests are taken: {}", statuses.len());
    statuses.into_iter().collect()
}

fn request(dice: &mut Dice) -> (Vec<u8>, Vec<u8>) {
    let mut target = text(dice);
    target.push(b'?');
    for name in ["q", "n", "t", "d", "r"] {
        target.extend_from_slice(format!("{name}=").as_bytes());
        target.extend(text(dice));
        target.push(b'&');
    }
    // What ends a request line or a field is left to the parser's own tests.
    target.retain(u8::is_ascii_graphic);
    let mut head =
        [b"POST /", &target[..], b" HTTP/1.1\r\nHost: a\r\nContent-Type: application/json"].concat();
    for name in ["X-A", "X-Roles", "Authorization", "X-Forwarded-For", "X-A"] {
        head.extend_from_slice(format!("\r\n{name}: ").as_bytes());
        head.extend(text(dice).into_iter().filter(|byte| *byte >= b' ' && *byte != 0x7f));
    }
    let body = [text(dice), text(dice), text(dice)].concat();
    head.extend_from_slice(format!("\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
    (head, body)
}

#[test]
fn rules_decide_whatever_is_sent() {
    assert_eq!(attacked(RULES), BTreeSet::from([200, 401]));
}

#[test]
fn a_policy_decides_whatever_is_sent() {
    let statuses = attacked(POLICY);
    assert!(statuses.is_superset(&BTreeSet::from([200, 403])), "{statuses:?}");
    assert!(statuses.is_subset(&BTreeSet::from([200, 403, 500])), "{statuses:?}");
}
