//! What expressions come to.

use plugin::harness::{Dice, Harness};

use crate::authorization::tests::{decided, gateway};

/// What an expression comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Result {
    True,
    False,
    Failure,
}

/// A gateway that shows what the expression comes to.
pub(super) fn asking(expression: &str) -> Harness {
    let rules = serde_json::json!([
        {"name": "true", "when": expression},
        {"name": "failure", "effect": "deny", "when": expression},
    ]);
    gateway(&serde_json::json!({"rules": rules, "default": "allow"}).to_string())
}

pub(super) fn ask(gateway: &mut Harness, request: &str) -> Result {
    match decided(&gateway.send(request)).0.as_str() {
        "allow: true" => Result::True,
        "allow: default" => Result::False,
        "deny: failure" => Result::Failure,
        other => panic!("{other:?}"),
    }
}

const REQUEST: &str = "POST /a%2Fb/%C3%A4;x?q=1&q=2&one=a%20b&empty HTTP/1.1\nHost: API.Example.com:8443\napikey: ann\n\
    X-Twice: a\nX-Twice: b\nX-Bytes: \u{e4}\ntoken: {\"sub\":\"u1\",\"level\":7,\"big\":18446744073709551615,\"half\":0.5,\
    \"roles\":[\"user\",\"ops\"],\"scope\":\"r w\",\"on\":true,\"nothing\":null,\"realm\":{\"roles\":[\"k\"],\"n\":[1,2,3]},\
    \"a.b\":\"dot\",\"at\":\"2026-01-01T00:00:00Z\",\"iat\":1767225600}";

#[track_caller]
fn assert_all(expected: Result, expressions: &[&str]) {
    for expression in expressions {
        let found = ask(&mut asking(expression), REQUEST);
        assert_eq!(found, expected, "{expression}");
    }
}

#[test]
fn facts_are_those_of_the_request() {
    assert_all(
        Result::True,
        &[
            "request.method == 'POST' && request.scheme == 'http' && request.host == 'api.example.com'",
            "request.path == '/a%2Fb/ä;x'",
            "request.query.one == 'a b' && request.query['one'] == 'a b' && request.query.empty == ''",
            "'q' in request.query && has(request.query.one) && !('none' in request.query)",
            "request.headers['x-twice'] == 'a, b' && request.headers['X-TWICE'] == 'a, b'",
            "has(request.headers.host) && !has(request.headers.none)",
            "request.headers.host == 'API.Example.com:8443'",
            "request.time == timestamp('2026-01-01T00:00:00Z')",
            "client.ip == '127.0.0.1' && cidr('127.0.0.0/8').containsIP(client.ip)",
            "!cidr('10.0.0.0/8').containsIP(client.ip) && !cidr('::/0').containsIP(client.ip)",
            "cidr('2001:db8::/32').containsIP('2001:db8::1') && cidr('0.0.0.0/0').containsIP('1.2.3.4')",
            "authenticated && consumer.username == 'ann' && consumer.custom_id == '17'",
            "size(consumer.id) == 36 && 'berlin' in consumer.tags && consumer.groups == ['finance']",
            "'finance' in roles && 'user' in roles && !('root' in roles) && 'r' in scopes && !('x' in scopes)",
            "roles.exists(role, role.startsWith('fin')) && size(roles) == 3 && scopes == ['r', 'w']",
            "'sub' in claims && claims['a.b'] == 'dot' && !('none' in claims) && has(claims.nothing)",
            "claims.sub == 'u1' && claims.level == 7 && claims.on && claims.nothing == null",
            "claims.realm.roles[0] == 'k' && 'roles' in claims.realm && claims.realm['n'][2] == 3",
            "has(claims.realm.roles) && !has(claims.realm.none)",
            "route.name == 'api' && service.name == 'payments'",
        ],
    );
    assert_all(
        Result::Failure,
        &[
            "request.query.q == '1'",
            "request.query.none == ''",
            "request.headers.none == ''",
            "claims.none == 1",
            "claims.realm.none == 1",
            "claims.sub.none == 1",
            "has(claims.none.more)",
            "claims.realm.roles[1] == 'k'",
            "claims.realm.roles[-1] == 'k'",
            "cidr('10.0.0.0/8').containsIP(claims.sub)",
        ],
    );
}

#[test]
fn without_a_caller_there_is_nothing_about_one() {
    let ask = |expression: &str| ask(&mut asking(expression), "GET / HTTP/1.1");
    assert_eq!(
        ask("!authenticated && roles == [] && !has(claims.sub) && consumer.groups == []"),
        Result::True
    );
    assert_eq!(ask("claims.sub == 'u1'"), Result::Failure);
    // The anonymous consumer is one.
    assert_eq!(ask("consumer.username == 'nobody' && !has(consumer.custom_id)"), Result::True);
    assert_eq!(ask("request.headers.none == 'x' || true"), Result::True);
}

#[test]
fn operators_do_what_the_specification_says() {
    assert_all(
        Result::True,
        &[
            "1 + 2 * 3 == 7 && (1 + 2) * 3 == 9 && 7 % 4 == 3 && -7 / 2 == -3 && 7.0 / 2.0 == 3.5",
            "1 == 1.0 && 1u == 1 && 2 > 1.5 && 1 < 1.5 && claims.level == 7.0 && claims.half < 1",
            "9007199254740993 > 9007199254740992.0 && claims.big == 18446744073709551615u",
            "claims.big > 9223372036854775807 && -9223372036854775808 < 0 && 0xff == 255",
            "'a' + 'b' == 'ab' && 'a' < 'b' && 'abc' <= 'abc' && 'ä' == '\\u00e4' && r'\\d' == '\\\\d'",
            "'''it's\n''' == \"it's\\n\" && '\\x41\\102' == 'AB'",
            "'b' in ['a', 'b'] && 1.0 in [1, 2] && !('1' in [1, 2]) && claims.sub in ['u1', request.path]",
            "[1, 2] == [1.0, 2.0] && [] == [] && [[1]] != [[2]] && [1] != [1, 2]",
            "claims.level > 5 ? claims.on : claims.none",
            "'1' != claims.level && !(claims.level == null) && claims.nothing != 0",
            "true || claims.none == 1",
            "claims.none == 1 || true",
            "!(claims.none == 1 && false)",
            "!(false && claims.none == 1)",
            "false || false || claims.on && true",
            "claims.realm == claims.realm",
        ],
    );
    assert_all(
        Result::Failure,
        &[
            "claims.none == 1 || false",
            "claims.none == 1 && true",
            "!(claims.none == 1)",
            "9223372036854775807 + 1 > 0",
            "1 / (claims.level - 7) == 0",
            "0u - 1u == 0u",
            "claims.level + 0.5 > 1.0",
            "claims.sub > 1",
            "claims.level && true",
            "claims.sub ? true : true",
            "1 in claims.level",
        ],
    );
}

#[test]
fn macros_ask_about_elements() {
    assert_all(
        Result::True,
        &[
            "claims.roles.exists(one, one == 'ops') && !claims.roles.exists(one, one == 'x')",
            "claims.roles.all(one, size(one) > 2) && !claims.roles.all(one, one == 'ops')",
            "claims.roles.exists_one(one, one == 'ops') && !claims.roles.exists_one(one, true)",
            "[].all(one, false) && ![].exists(one, true)",
            "claims.realm.n.all(n, claims.realm.n.exists(m, m == n))",
            "claims.realm.n.exists(n, claims.realm.n.all(m, m <= n) && n == 3)",
            "claims.realm.exists(name, name == 'roles')",
            "[1, 'a'].exists(one, one == 'a') && [1, 'a'].exists(one, one > 0)",
            "['a', 1].exists(one, one > 0)",
            "!['a', 0].all(one, one > 0)",
            "['a', 'b'].exists(claims, claims == 'b')",
        ],
    );
    assert_all(
        Result::Failure,
        &[
            "['a', 1].exists(one, one > 1)",
            "['a', 1].all(one, one > 0)",
            "['a', 1].exists_one(one, one > 0)",
            "claims.sub.exists(one, true)",
        ],
    );
}

#[test]
fn macros_make_lists() {
    assert_all(
        Result::True,
        &[
            "claims.roles.filter(one, one != 'ops') == ['user'] && claims.roles.filter(one, false) == []",
            "claims.realm.n.map(n, n * 2) == [2, 4, 6] && claims.realm.n.map(n, n > 1, string(n)) == ['2', '3']",
            "claims.realm.filter(name, name != 'n') == ['roles'] && claims.realm.map(name, size(name)).all(n, n > 0)",
            "claims.realm.n.map(n, claims.realm.n.filter(m, m < n).size()) == [0, 1, 2]",
            "claims.realm.n.filter(n, n > 1).map(n, n + 1).exists(n, n == 4) && [].map(one, one / 0) == []",
            "size(claims.roles.map(role, role + '-' + claims.sub).filter(name, name.endsWith('s-u1'))) == 1",
            "claims.roles + ['x'] == ['user', 'ops', 'x'] && size([] + claims.realm.n + [[]]) == 4",
        ],
    );
    assert_all(
        Result::Failure,
        &[
            "['a', 1].filter(one, one > 0) == [1]",
            "[1, 0].map(n, 1 / n) == [1]",
            "claims.roles.filter(one, one) == []",
            "claims.roles.map(one, claims.none) == []",
            "claims.sub.map(one, one) == []",
            "claims.roles + claims.sub == []",
        ],
    );
}

#[test]
fn functions_for_texts_and_conversions() {
    assert_all(
        Result::True,
        &[
            "claims.sub.startsWith('u') && claims.sub.endsWith('1') && 'abc'.contains('b') && !'abc'.contains('x')",
            "claims.sub.matches('^u[0-9]$') && 'abc'.matches('b') && matches('abc', '^a') && !'abc'.matches('^b')",
            "'aBÄ'.lowerAscii() == 'abÄ' && 'aBä'.upperAscii() == 'ABä' && 'ä'.size() == 1",
            "size('') == 0 && size([1, 2]) == 2 && size(claims.realm) == 2",
            "int('12') == 12 && int(3.9) == 3 && int(-3.9) == -3 && uint(7) == 7u && double('0.5') == 0.5",
            "string(7) == '7' && string(true) == 'true' && string(claims.sub) == 'u1' && int(7u) == 7",
        ],
    );
    assert_all(
        Result::Failure,
        &[
            "int('x') == 1",
            "uint(-1) == 1u",
            "int(claims.big) > 0",
            "int(1e20) > 0",
            "string(claims.roles) == ''",
        ],
    );
}

#[test]
fn times_and_the_calendar() {
    assert_all(
        Result::True,
        &[
            "request.time - timestamp('2025-12-31T22:30:00Z') == duration('1h30m')",
            "timestamp('2026-01-01T02:00:00+02:00') == request.time && timestamp(claims.at) == request.time",
            "timestamp(claims.iat) == request.time && int(request.time) == claims.iat",
            "request.time + duration('24h') > timestamp('2026-01-01T23:59:59.999Z')",
            "request.time.getFullYear() == 2026 && request.time.getMonth() == 0 && request.time.getDate() == 1",
            "request.time.getDayOfMonth() == 0 && request.time.getDayOfYear() == 0",
            "request.time.getDayOfWeek() == 4 && request.time.getHours() == 0",
            "request.time.getHours('+09:30') == 9 && request.time.getMinutes('+09:30') == 30",
            "request.time.getFullYear('-00:01') == 2025 && request.time.getDayOfYear('-00:01') == 364",
            "timestamp('2024-02-29T12:34:56.789Z').getDayOfYear() == 59 && timestamp('2024-12-31T00:00:00Z').getDayOfYear() == 365",
            "timestamp('2024-02-29T12:34:56.789Z').getMilliseconds() == 789 && timestamp('1969-12-31T23:59:59Z').getSeconds() == 59",
            "timestamp('2000-03-01T00:00:00Z').getDayOfWeek() == 3 && timestamp('1900-03-01T00:00:00Z').getMonth() == 2",
            "duration('90m').getHours() == 1 && duration('90m').getMinutes() == 90 && duration('-1.5s') < duration('0')",
            "duration('1h') + duration('1m') == duration('61m') && -duration('1s') == duration('-1s')",
        ],
    );
    assert_all(
        Result::Failure,
        &[
            "timestamp(claims.sub) < request.time",
            "timestamp(claims.big) < request.time",
            "timestamp(9223372036854775807) < request.time",
            "request.time + duration('80000000h') > request.time",
            "request.time.getHours(claims.sub) == 0",
        ],
    );
}

#[test]
fn parts_of_the_path_have_names() {
    let config = r#"{default: allow, rules: [{name: own, effect: require,
        paths: ["/users/{user}/**", "/v2/{tenant}/users/{user}"], when: "parameters.user == claims.sub"}]}"#;
    let mut gateway = gateway(config);
    let mut ask = |path: &str, sub: &str| {
        gateway.send(&format!("GET {path} HTTP/1.1\ntoken: {{\"sub\":\"{sub}\"}}")).status
    };
    assert_eq!(
        [ask("/users/u1", "u1"), ask("/users/u1/orders/7", "u1"), ask("/v2/acme/users/u1", "u1")],
        [200; 3]
    );
    assert_eq!([ask("/users/u2", "u1"), ask("/v2/u1/users/acme", "u1"), ask("/users/u2/u1", "u1")], [403; 3]);
    assert_eq!(ask("/v2/u1/u1", "x"), 200);
}

#[test]
fn the_effort_is_bounded() {
    let nested = "claims.n.all(a, claims.n.all(b, claims.n.all(c, a + b + c > 0)))";
    let long = "claims.text.matches('(a|aa)+$')";
    let list = vec!["1"; 200].join(",");
    let lists = "claims.n.map(a, claims.n.map(b, claims.n.map(c, c))) == []";
    let doubled = format!("['a']{} == []", ".map(x, x + x)".repeat(40));
    let joined = format!("claims.n{} != []", ".map(x, x)".repeat(40));
    let cases = [(nested, false), (long, true), ("claims.n.all(a, a == 1)", true), (lists, false)];
    for (expression, enough) in cases.into_iter().chain([(&*doubled, false), (&*joined, true)]) {
        let mut gateway = asking(expression);
        let text = "a".repeat(2000);
        let request = format!("GET / HTTP/1.1\ntoken: {{\"n\":[{list}],\"text\":\"{text}\"}}");
        let expected = if enough { Result::True } else { Result::Failure };
        assert_eq!(ask(&mut gateway, &request), expected, "{expression}");
    }
}

#[test]
fn hostile_values_do_no_harm() {
    let expressions = "request.path.matches('^/[a-z]+$') || request.query.q.startsWith('x') || request.headers.x == 'y' || \
        claims.a[0] == claims.b || claims.a.exists(x, x.c == 1) || timestamp(claims.b) < request.time";
    let mut gateway = asking(expressions);
    let mut dice = Dice::new(11);
    for _ in 0..3000 {
        let mut next = |below: usize| dice.index(below);
        let pieces = [
            "/", "a", "%7F", "%FF", "..", "*", "%2f", ";", "'", "%C3", "//", "?q=x&q", "&q=%2", "\u{e4}",
            "{x}", "\"",
        ];
        let json = [
            "[1]",
            "{\"c\":1}",
            "[[]]",
            "null",
            "\"0000-00-00T00:00:00Z\"",
            "\"2026-13-01T99:99:99+99:99\"",
            "-9223372036854775808",
            "1e308",
            "\"\\u0000\"",
        ];
        let path: String = (0..next(8)).map(|_| pieces[next(pieces.len() - 5)]).collect();
        let (a, b) = (json[next(json.len())], json[next(json.len())]);
        let header: String = (0..next(4)).map(|_| pieces[next(pieces.len())]).collect();
        let request = format!("GET /{path} HTTP/1.1\nx: {header}\ntoken: {{\"a\":[{a}],\"b\":{b}}}");
        ask(&mut gateway, &request);
    }
}
