//! What the oauth2 room does, seen from outside.

use super::Oauth2;
use plugin::harness::{Dice, Harness, Outcome};
use plugin::{Scheme, query};

mod codes;
mod tokens;

const ALL: &str = "enable_authorization_code: true, enable_implicit_grant: true, \
                   enable_client_credentials: true, enable_password_grant: true, provision_key: pk";

fn document(config: &str) -> String {
    format!(
        r#"
_format_version: "3.0"
services:
- name: orders
  url: http://orders.test
  routes: [{{name: orders, paths: [/]}}]
plugins:
- {{name: oauth2, config: {{{config}}}}}
consumers:
- username: ada
  oauth2_credentials:
  - name: shop
    client_id: shop
    client_secret: s3cret
    redirect_uris: ["https://shop.test/back", "https://shop.test/other?a=b"]
  - {{name: app, client_id: app, client_type: public, redirect_uris: ["https://app.test/"]}}
- username: eve
  oauth2_credentials:
  - {{name: evil, client_id: evil, client_secret: e, redirect_uris: ["https://evil.test/"]}}
- username: nobody
"#
    )
}

fn harness(more: &str) -> Harness {
    let mut harness = Harness::new(plugin::room::<Oauth2>(), &document(&format!("{ALL}{more}"))).unwrap();
    harness.scheme = Scheme::Https;
    harness
}

fn post(harness: &mut Harness, path: &str, form: &str) -> Outcome {
    harness.send(&format!("POST {path} HTTP/1.1\nContent-Type: application/x-www-form-urlencoded\n\n{form}"))
}

fn token(harness: &mut Harness, form: &str) -> Outcome {
    post(harness, "/oauth2/token", form)
}

const SHOP: &str = "client_id=shop&client_secret=s3cret";

fn authorize(harness: &mut Harness, form: &str) -> Outcome {
    post(harness, "/oauth2/authorize", &format!("provision_key=pk&authenticated_userid=u1&{form}"))
}

/// An argument of the URI that an answer sends the browser to.
fn told(outcome: &Outcome, name: &str) -> Option<String> {
    let uri = outcome.json()["redirect_uri"].as_str().map(str::to_owned)?;
    let (_, arguments) = uri.split_once(['?', '#'])?;
    query::values(arguments.as_bytes(), name)
        .next()
        .map(|value| String::from_utf8(value.into_owned()).unwrap())
}

fn code(harness: &mut Harness, more: &str) -> String {
    let outcome = authorize(harness, &format!("client_id=shop&response_type=code{more}"));
    assert_eq!(outcome.status, 200, "{}", outcome.json());
    told(&outcome, "code").unwrap()
}

fn text(outcome: &Outcome, member: &str) -> String {
    outcome.json()[member].as_str().unwrap_or_else(|| panic!("{}", outcome.json())).to_owned()
}

fn call(harness: &mut Harness, access: &str) -> Outcome {
    harness.send(&format!("GET /x HTTP/1.1\nAuthorization: Bearer {access}\nX-Authenticated-UserId: forged"))
}

#[track_caller]
fn assert_problem(outcome: &Outcome, status: u16, error: &str) {
    let body = outcome.json();
    assert_eq!(
        (outcome.answered, outcome.status, body["error"].as_str()),
        (true, status, Some(error)),
        "{body}"
    );
    assert!(body["access_token"].is_null());
}

#[test]
fn a_code_becomes_a_token_that_lets_in() {
    let mut harness = harness(", scopes: [read, write]");
    let outcome = authorize(
        &mut harness,
        "client_id=shop&response_type=code&scope=write%20read&state=a%26b&redirect_uri=https://shop.test/other?a=b",
    );
    assert_eq!(outcome.header("Cache-Control").as_deref(), Some("no-store"));
    assert!(text(&outcome, "redirect_uri").starts_with("https://shop.test/other?a=b&code="));
    assert_eq!(told(&outcome, "state").as_deref(), Some("a&b"));
    let code = told(&outcome, "code").unwrap();
    let form = format!(
        "grant_type=authorization_code&code={code}&{SHOP}&redirect_uri=https://shop.test/other?a=b&state=x"
    );
    let outcome = token(&mut harness, &form);
    assert_eq!(outcome.status, 200, "{}", outcome.json());
    let body = outcome.json();
    assert_eq!(
        (&body["token_type"], &body["expires_in"], &body["state"]),
        (&"bearer".into(), &7200.into(), &"x".into())
    );
    let access = text(&outcome, "access_token");
    assert_eq!((access.len(), text(&outcome, "refresh_token").len()), (32, 32));
    let outcome = call(&mut harness, &access);
    assert!(!outcome.answered, "{}", outcome.json());
    let expected = [
        ("X-Consumer-Username", "ada"),
        ("X-Credential-Identifier", "shop"),
        ("X-Authenticated-Scope", "write read"),
        ("X-Authenticated-UserId", "u1"),
    ];
    for (field, value) in expected {
        assert_eq!(outcome.upstream_header(field).as_deref(), Some(value), "{field}");
    }
    assert_eq!(outcome.upstream_header("Authorization"), None);
}

#[test]
fn who_has_no_token_is_refused() {
    let mut with_realm = harness(", realm: r");
    let outcome = with_realm.send("GET /x HTTP/1.1");
    assert_problem(&outcome, 401, "invalid_request");
    assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some("Bearer realm=\"r\""));
    let outcome = call(&mut harness(""), "wrong");
    assert_problem(&outcome, 401, "invalid_token");
    let expected =
        "Bearer error=\"invalid_token\", error_description=\"The access token is invalid or has expired\"";
    assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some(expected));
    let outcome = call(&mut harness(", anonymous: nobody"), "wrong");
    assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some("nobody"));
    assert_eq!(outcome.upstream_header("X-Authenticated-UserId"), None, "nobody says so");
}

#[test]
fn an_application_proves_itself() {
    let mut harness = harness("");
    let grant = "grant_type=client_credentials";
    for wrong in [
        "client_id=shop&client_secret=S3cret",
        "client_id=shop",
        "client_id=none&client_secret=x",
        "client_id=shop&client_secret=",
        "",
    ] {
        assert_problem(&token(&mut harness, &format!("{grant}&{wrong}")), 400, "invalid_client");
    }
    let basic = |text: &str| {
        format!(
            "POST /oauth2/token HTTP/1.1\nContent-Type: application/x-www-form-urlencoded\nAuthorization: Basic {text}\n\n{grant}"
        )
    };
    assert_eq!(harness.send(&basic("c2hvcDpzM2NyZXQ=")).status, 200, "shop:s3cret");
    let outcome = harness.send(&basic("c2hvcDp4"));
    assert_problem(&outcome, 401, "invalid_client");
    assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some("Basic realm=\"OAuth2.0\""));
    assert_problem(&harness.send(&basic("!")), 401, "invalid_client");
    let mixed = format!("{}&client_id=evil", basic("c2hvcDpzM2NyZXQ="));
    assert_problem(&harness.send(&mixed), 400, "invalid_request");
    assert_problem(&token(&mut harness, &format!("{grant}&client_id=app")), 400, "unauthorized_client");
    let told = |outcome: &Outcome| (outcome.status, outcome.json(), outcome.headers.clone());
    for secret in ["&client_secret=x", ""] {
        let unknown = token(&mut harness, &format!("{grant}&client_id=none{secret}"));
        let known = token(&mut harness, &format!("{grant}&client_id=shop{secret}"));
        assert_eq!(told(&known), told(&unknown));
    }
    let unknown = token(&mut harness, &format!("{grant}&client_id=none&client_secret=x"));
    let public = token(&mut harness, &format!("{grant}&client_id=app&client_secret=x"));
    assert_eq!(told(&public), told(&unknown), "nor is it told that an application is public");
    assert_problem(&token(&mut harness, &format!("{grant}&{SHOP}&client_id=evil")), 400, "invalid_request");
}

#[test]
fn who_guesses_has_to_wait() {
    let guard = ", brute_force_protection: {strategy: memory, failures: 3, window: 60}";
    let (grant, guess) = ("grant_type=client_credentials", "client_secret=x");
    for client in ["shop", "none", "app"] {
        let mut harness = harness(guard);
        for _ in 0..3 {
            let outcome = token(&mut harness, &format!("{grant}&client_id={client}&{guess}"));
            assert_problem(&outcome, 400, "invalid_client");
        }
        let late = token(&mut harness, &format!("{grant}&client_id={client}&client_secret=s3cret"));
        assert_problem(&late, 429, "temporarily_unavailable");
        assert_eq!(late.header("Retry-After").as_deref(), Some("80"));
        let evil = format!("{grant}&client_id=evil&client_secret=e");
        assert_eq!(token(&mut harness, &evil).status, 200, "another application");
        harness.clock.advance(80_000);
        let status = token(&mut harness, &format!("{grant}&{SHOP}")).status;
        assert_eq!(status, 200);
    }
    let mut harness = harness(guard);
    let password = format!("grant_type=password&{SHOP}&authenticated_userid=u");
    for guess in ["a", "b", "c"] {
        let outcome = token(&mut harness, &format!("{password}&provision_key={guess}"));
        assert_problem(&outcome, 400, "invalid_provision_key");
        assert_eq!(token(&mut harness, &format!("{grant}&{SHOP}")).status, 200, "no user is named");
    }
    assert_problem(
        &token(&mut harness, &format!("{password}&provision_key=pk")),
        429,
        "temporarily_unavailable",
    );
    let late = authorize(&mut harness, "client_id=shop&response_type=code");
    assert_problem(&late, 429, "temporarily_unavailable");
    harness.peer.set_ip([127, 0, 0, 2].into());
    assert_eq!(token(&mut harness, &format!("{password}&provision_key=pk")).status, 200, "another address");
}

#[test]
fn users_are_named_by_who_has_the_provision_key_alone() {
    let mut harness = harness("");
    let refused = post(
        &mut harness,
        "/oauth2/authorize",
        "provision_key=x&authenticated_userid=u&client_id=shop&response_type=code",
    );
    assert_problem(&refused, 400, "invalid_provision_key");
    let password = format!("grant_type=password&{SHOP}");
    assert_problem(&token(&mut harness, &password), 400, "invalid_provision_key");
    assert_problem(
        &token(&mut harness, &format!("{password}&provision_key=pk")),
        400,
        "invalid_authenticated_userid",
    );
    assert_problem(
        &token(&mut harness, &format!("{password}&provision_key=pk&authenticated_userid=%20")),
        400,
        "invalid_authenticated_userid",
    );
    assert_problem(
        &token(&mut harness, &format!("{password}&provision_key=pk&authenticated_userid=a%0d%0ab")),
        400,
        "invalid_authenticated_userid",
    );
    let outcome = token(&mut harness, &format!("{password}&provision_key=pk&authenticated_userid=u7"));
    let access = text(&outcome, "access_token");
    assert_eq!(call(&mut harness, &access).upstream_header("X-Authenticated-UserId").as_deref(), Some("u7"));
    let own = format!("grant_type=client_credentials&{SHOP}&authenticated_userid=u");
    assert_problem(&token(&mut harness, &own), 400, "invalid_provision_key");
    let mut keyless =
        Harness::new(plugin::room::<Oauth2>(), &document("enable_password_grant: true")).unwrap();
    keyless.scheme = Scheme::Https;
    assert_problem(
        &token(&mut keyless, &format!("{password}&provision_key=&authenticated_userid=u")),
        400,
        "invalid_provision_key",
    );
}

#[test]
fn a_token_without_a_code_comes_in_the_fragment() {
    let mut harness = harness("");
    let outcome = authorize(&mut harness, "client_id=app&response_type=token&state=s");
    assert!(text(&outcome, "redirect_uri").starts_with("https://app.test/#access_token="));
    assert_eq!(told(&outcome, "refresh_token"), None);
    let access = told(&outcome, "access_token").unwrap();
    assert!(!call(&mut harness, &access).answered);
}

#[test]
fn grants_that_are_off_are_not_given() {
    let mut harness = Harness::new(
        plugin::room::<Oauth2>(),
        &document("enable_client_credentials: true, provision_key: pk"),
    )
    .unwrap();
    harness.scheme = Scheme::Https;
    for grant in ["password", "authorization_code", "other", ""] {
        assert_problem(
            &token(&mut harness, &format!("grant_type={grant}&{SHOP}")),
            400,
            "unsupported_grant_type",
        );
    }
    for kind in ["code", "token", ""] {
        let outcome = authorize(&mut harness, &format!("client_id=shop&response_type={kind}"));
        assert_eq!(told(&outcome, "error").as_deref(), Some("unsupported_response_type"));
    }
}

#[test]
fn scopes_are_those_that_are_known() {
    let mut harness = harness(", scopes: [read, write], mandatory_scope: true");
    let form = format!("grant_type=client_credentials&{SHOP}");
    for bad in ["", "&scope=", "&scope=%20", "&scope=admin", "&scope=read%20admin", "&scope=rea"] {
        assert_problem(&token(&mut harness, &format!("{form}{bad}")), 400, "invalid_scope");
    }
    assert_eq!(token(&mut harness, &format!("{form}&scope=read")).status, 200);
}

#[test]
fn the_endpoints_want_post_and_tls() {
    let mut harness = harness("");
    assert_problem(&harness.send("GET /oauth2/token HTTP/1.1"), 405, "invalid_method");
    assert_problem(&harness.send("GET /a/oauth2/authorize HTTP/1.1"), 405, "invalid_method");
    harness.scheme = Scheme::Http;
    assert_problem(
        &token(&mut harness, &format!("grant_type=client_credentials&{SHOP}")),
        400,
        "access_denied",
    );
    assert_problem(&authorize(&mut harness, "client_id=shop&response_type=code"), 400, "access_denied");
}

#[test]
fn parameters_may_be_json_and_never_twice() {
    let mut harness = harness("");
    let json = r#"{"grant_type":"client_credentials","client_id":"shop","client_secret":"s3cret"}"#;
    let request = format!("POST /oauth2/token HTTP/1.1\nContent-Type: application/json\n\n{json}");
    assert_eq!(harness.send(&request).status, 200);
    assert_problem(
        &token(&mut harness, &format!("grant_type=password&grant_type=client_credentials&{SHOP}")),
        400,
        "invalid_request",
    );
    let twice = json.replace("{", r#"{"client_id":"evil","#);
    assert_problem(&harness.send(&request.replace(json, &twice)), 400, "invalid_request");
}

#[test]
fn whatever_comes_to_the_endpoints_is_survived() {
    let mut harness = harness("");
    let words = [
        "grant_type",
        "=",
        "&",
        "code",
        "%",
        "%0",
        "password",
        "client_id",
        "shop",
        "{",
        "\"",
        ":",
        "\u{e9}",
        "+",
        "redirect_uri",
        "state",
        "[",
        "Basic ",
        "Og==",
    ];
    let names =
        ["grant_type", "client_id", "client_secret", "code", "refresh_token", "response_type", "scope"];
    let values = ["1", "null", "[]", "{}", "\"shop\"", "\"password\"", "\"\\u0000\"", "\"\\ud800\"", "1e999"];
    let mut dice = Dice::new(5);
    let mut noise = |bound: usize| dice.index(bound);
    for _ in 0..3000 {
        let mut body: String = (0..noise(14)).map(|_| words[noise(words.len())]).collect();
        if noise(2) == 0 {
            let mut member = || format!("\"{}\":{}", names[noise(names.len())], values[noise(values.len())]);
            body = format!("{{{},{}}}", member(), member());
        }
        let kind = ["application/json", "application/x-www-form-urlencoded", "text/plain"][noise(3)];
        let path = ["/oauth2/token", "/oauth2/authorize", "/x"][noise(3)];
        let head = format!(
            "POST {path} HTTP/1.1\nContent-Type: {kind}\nAuthorization: {}\n\n",
            words[noise(12)].replace('\u{e9}', "e")
        );
        let outcome = harness.send_bytes(&head, body.as_bytes());
        assert!(outcome.answered && outcome.status >= 400, "{head}{body}");
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let refusal =
        |config: &str| Harness::new(plugin::room::<Oauth2>(), &document(config)).err().unwrap_or_default();
    assert!(refusal("provision_key: x").contains("at least one of these fields must be true"));
    assert!(refusal(&format!("{ALL}, mandatory_scope: true")).contains("config.scopes"));
    let redis = format!("{ALL}, token_storage: redis, redis: {{database: -1}}");
    assert!(refusal(&redis).contains("config.redis.database"));
    let with = |from: &str, to: &str| {
        Harness::new(plugin::room::<Oauth2>(), &document(ALL).replace(from, to)).err().unwrap_or_default()
    };
    assert!(with("https://evil.test/", "https://evil.test/#x").contains("fragment not allowed"));
    assert!(with("https://evil.test/", "evil").contains("cannot parse"));
    assert!(
        with("client_secret: e,", "client_secret: $pbkdf2$x, hash_secret: true,")
            .contains("write the secret itself")
    );
}
