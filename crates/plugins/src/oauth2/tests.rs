//! What the oauth2 room does, seen from outside.

use plugin::harness::{Harness, Outcome};
use plugin::{Scheme, query};
use serde_json::Value;

use super::Oauth2;
use super::secret::challenge;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
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
fn a_token_is_found_and_hidden_in_every_place() {
    let mut harness = harness("");
    let access = text(&token(&mut harness, &format!("grant_type=client_credentials&{SHOP}")), "access_token");
    let outcome = harness.send(&format!("GET /x?a=1&access_token={access}&b=2 HTTP/1.1"));
    assert_eq!(outcome.upstream_query.as_deref(), Some("a=1&b=2"));
    let outcome = post(&mut harness, "/x", &format!("a=1&access_token={access}"));
    assert_eq!((outcome.answered, outcome.upstream_body), (false, b"a=1".to_vec()));
    let json = format!(
        "POST /x HTTP/1.1\nContent-Type: application/json\n\n{{\"a\":1,\"access_token\":\"{access}\"}}"
    );
    assert_eq!(harness.send(&json).upstream_body, b"{\"a\":1}");
    let outcome = harness.send(&format!("GET /x HTTP/1.1\nAuthorization: token {access}"));
    assert!(!outcome.answered);
    let twice = format!("GET /x HTTP/1.1\nAuthorization: Bearer {access}\nAuthorization: Bearer another");
    assert_problem(&harness.send(&twice), 401, "invalid_token");
    let two_places =
        |other: &str| format!("GET /x?a=1&access_token={other} HTTP/1.1\nAuthorization: Bearer {access}");
    assert_problem(&harness.send(&two_places("another")), 401, "invalid_token");
    let outcome = harness.send(&two_places(&access));
    assert_eq!((outcome.answered, outcome.upstream_query.as_deref()), (false, Some("a=1")));
    assert_problem(
        &harness.send(&format!("GET /x HTTP/1.1\nAuthorization: Basic {access}")),
        401,
        "invalid_token",
    );
    assert_problem(
        &harness.send(&format!("GET /x?access_token={access}&access_token={access} HTTP/1.1")),
        401,
        "invalid_token",
    );
}

#[test]
fn a_token_ends() {
    let mut harness = harness(", token_expiration: 60");
    let code = code(&mut harness, "");
    // With a refresh token, which lasts longer, and without.
    let tokens = ["client_credentials".to_owned(), format!("authorization_code&code={code}")]
        .map(|grant| text(&token(&mut harness, &format!("grant_type={grant}&{SHOP}")), "access_token"));
    harness.clock.advance(60_000);
    tokens.iter().for_each(|access| assert!(!call(&mut harness, access).answered));
    harness.clock.advance(1_000);
    tokens.iter().for_each(|access| assert_problem(&call(&mut harness, access), 401, "invalid_token"));
}

#[test]
fn a_code_that_is_used_twice_revokes_what_came_of_it() {
    let mut harness = harness("");
    let code = code(&mut harness, "");
    let form = format!("grant_type=authorization_code&code={code}&{SHOP}");
    let first = token(&mut harness, &form);
    let access = text(&first, "access_token");
    assert!(!call(&mut harness, &access).answered);
    assert_problem(&token(&mut harness, &form), 400, "invalid_request");
    assert_problem(&call(&mut harness, &access), 401, "invalid_token");
    let refresh = format!("grant_type=refresh_token&refresh_token={}&{SHOP}", text(&first, "refresh_token"));
    assert_problem(&token(&mut harness, &refresh), 400, "invalid_request");
}

#[test]
fn a_code_is_for_who_asked_for_it_for_five_minutes() {
    let mut harness = harness("");
    let code_text = code(&mut harness, "");
    let stolen = format!("grant_type=authorization_code&code={code_text}&client_id=evil&client_secret=e");
    assert_problem(&token(&mut harness, &stolen), 400, "invalid_request");
    let own = format!("grant_type=authorization_code&code={code_text}&{SHOP}");
    assert_eq!(token(&mut harness, &own).status, 200, "another application does not spend it");
    let late = code(&mut harness, "");
    harness.clock.advance(300_000);
    assert_problem(
        &token(&mut harness, &format!("grant_type=authorization_code&code={late}&{SHOP}")),
        400,
        "invalid_request",
    );
}

#[test]
fn a_redirect_uri_is_the_applications_own_to_the_letter() {
    let mut harness = harness("");
    for uri in [
        "https://evil.test/",
        "https://shop.test/back/",
        "https://shop.test/back?x",
        "https://shop.test/BACK",
        "https://shop.test/back%23",
    ] {
        let outcome =
            authorize(&mut harness, &format!("client_id=shop&response_type=code&redirect_uri={uri}"));
        assert_eq!(outcome.status, 400, "{uri}");
        assert!(
            text(&outcome, "redirect_uri").starts_with("https://shop.test/back?error=invalid_request"),
            "{uri}"
        );
        assert_eq!(told(&outcome, "code"), None);
    }
    let other = code(&mut harness, "&redirect_uri=https://shop.test/other?a=b");
    let form = format!("grant_type=authorization_code&code={other}&{SHOP}");
    assert_problem(&token(&mut harness, &form), 400, "invalid_request");
    assert_problem(
        &token(&mut harness, &format!("{form}&redirect_uri=https://shop.test/back")),
        400,
        "invalid_request",
    );
    assert_eq!(token(&mut harness, &format!("{form}&redirect_uri=https://shop.test/other?a=b")).status, 200);
}

#[test]
fn a_proof_that_was_announced_is_always_asked_for() {
    for pkce in ["none", "lax", "strict"] {
        let mut harness = harness(&format!(", pkce: {pkce}"));
        let announced =
            format!("&code_challenge={}&code_challenge_method=S256", challenge(VERIFIER.as_bytes()));
        let code_text = code(&mut harness, &announced);
        let form = format!("grant_type=authorization_code&code={code_text}&{SHOP}");
        assert_problem(&token(&mut harness, &form), 400, "invalid_request");
        assert_problem(&token(&mut harness, &format!("{form}&code_verifier=short")), 400, "invalid_request");
        let wrong = "x".repeat(43);
        assert_problem(&token(&mut harness, &format!("{form}&code_verifier={wrong}")), 400, "invalid_grant");
        assert_eq!(token(&mut harness, &format!("{form}&code_verifier={VERIFIER}")).status, 200, "{pkce}");
    }
    assert_eq!(challenge(VERIFIER.as_bytes()), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "RFC 7636 B");
}

#[test]
fn a_proof_cannot_be_talked_away() {
    let mut lax = harness("");
    let asked = |harness: &mut Harness, client: &str, more: &str| {
        let outcome = authorize(harness, &format!("client_id={client}&response_type=code{more}"));
        told(&outcome, "error")
    };
    assert_eq!(asked(&mut lax, "app", "").as_deref(), Some("invalid_request"), "a public client needs one");
    assert_eq!(asked(&mut lax, "shop", ""), None);
    assert_eq!(asked(&mut harness(", pkce: strict"), "shop", "").as_deref(), Some("invalid_request"));
    assert_eq!(asked(&mut harness(", pkce: none"), "app", ""), None);
    for bad in
        ["&code_challenge=x", "&code_challenge=x&code_challenge_method=plain", "&code_challenge_method=S256"]
    {
        assert_eq!(asked(&mut lax, "shop", bad).as_deref(), Some("invalid_request"), "{bad}");
    }
    // The challenge was taken out of the request for the code; who asked for it still sends the verifier.
    let code_text = code(&mut lax, "");
    let form = format!("grant_type=authorization_code&code={code_text}&{SHOP}&code_verifier={VERIFIER}");
    assert_problem(&token(&mut lax, &form), 400, "invalid_grant");
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
    assert_problem(
        &token(&mut harness, &format!("{grant}&client_id=app&client_secret=x")),
        400,
        "invalid_request",
    );
    assert_problem(&token(&mut harness, &format!("{grant}&{SHOP}&client_id=evil")), 400, "invalid_request");
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
fn a_refresh_token_is_replaced_and_a_copy_revokes() {
    let mut harness = harness("");
    let code_text = code(&mut harness, "");
    let first = token(&mut harness, &format!("grant_type=authorization_code&code={code_text}&{SHOP}"));
    let form = |refresh: &str| format!("grant_type=refresh_token&refresh_token={refresh}&{SHOP}");
    let stolen = form(&text(&first, "refresh_token")).replace(SHOP, "client_id=evil&client_secret=e");
    assert_problem(&token(&mut harness, &stolen), 400, "invalid_client");
    let second = token(&mut harness, &form(&text(&first, "refresh_token")));
    assert_eq!(second.status, 200);
    assert_ne!(text(&second, "refresh_token"), text(&first, "refresh_token"));
    assert_problem(&call(&mut harness, &text(&first, "access_token")), 401, "invalid_token");
    assert!(!call(&mut harness, &text(&second, "access_token")).answered);
    assert_problem(&token(&mut harness, &form(&text(&first, "refresh_token"))), 400, "invalid_request");
    assert_problem(&call(&mut harness, &text(&second, "access_token")), 401, "invalid_token");
    assert_problem(&token(&mut harness, &form(&text(&second, "refresh_token"))), 400, "invalid_request");
}

#[test]
fn a_refresh_token_may_stay_and_ends() {
    for field in ["reuse_refresh_token", "persistent_refresh_token"] {
        may_stay_and_ends(&mut harness(&format!(", {field}: true, refresh_token_ttl: 10000")));
    }
}

fn may_stay_and_ends(harness: &mut Harness) {
    let form = format!("grant_type=password&{SHOP}&provision_key=pk&authenticated_userid=u");
    let first = token(harness, &form);
    let refresh = text(&first, "refresh_token");
    let again = format!("grant_type=refresh_token&refresh_token={refresh}&{SHOP}");
    for _ in 0..3 {
        harness.clock.advance(8_000_000);
        assert_eq!(text(&token(harness, &again), "refresh_token"), refresh);
    }
    harness.clock.advance(10_000_000);
    assert_problem(&token(harness, &again), 400, "invalid_request");
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
fn a_token_is_for_its_service() {
    let mut harness = harness("");
    let form = format!("grant_type=client_credentials&{SHOP}");
    let access = text(&token(&mut harness, &form), "access_token");
    let elsewhere = document(ALL).replace("name: orders", "name: other");
    harness.reload(&elsewhere).unwrap();
    assert_problem(&call(&mut harness, &access), 401, "invalid_token");
    harness.reload(&elsewhere.replace(ALL, &format!("{ALL}, global_credentials: true"))).unwrap();
    assert_problem(&call(&mut harness, &access), 401, "invalid_token");
    let global = text(&token(&mut harness, &form), "access_token");
    harness.reload(&document(&format!("{ALL}, global_credentials: true"))).unwrap();
    assert!(!call(&mut harness, &global).answered);
    assert!(!call(&mut harness, &access).answered, "a reload keeps tokens");
    harness.reload(&document(ALL)).unwrap();
    assert_problem(&call(&mut harness, &global), 401, "invalid_token");
    harness.reload(&document(ALL).replace("client_id: shop", "client_id: gone")).unwrap();
    assert_problem(&call(&mut harness, &access), 401, "invalid_token");
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
    let mut state = 5_u64;
    let mut noise = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
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

#[test]
fn a_token_is_shown_and_revoked_by_hand() {
    let mut harness = harness("");
    let access = text(&token(&mut harness, &format!("grant_type=client_credentials&{SHOP}")), "access_token");
    let ask = |harness: &Harness, index: usize, text: &str| {
        let call = plugin::admin::Call { parameters: &[text], query: None, services: &harness.services };
        (super::admin::ENDPOINTS[index].handle)(&call)
    };
    let shown = ask(&harness, 0, &access);
    assert_eq!(shown.status, 200);
    assert!(!String::from_utf8_lossy(&shown.body).contains(&access));
    assert_eq!(ask(&harness, 0, "wrong").status, 404);
    assert_eq!(ask(&harness, 1, &access).status, 204);
    assert_problem(&call(&mut harness, &access), 401, "invalid_token");
    assert_eq!(ask(&harness, 1, &access).status, 404);
    let body: Value = serde_json::from_slice(&shown.body).unwrap();
    assert_eq!((&body["token_type"], &body["scope"]), (&"bearer".into(), &Value::Null));
}
