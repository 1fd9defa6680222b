//! What becomes of tokens: where they are found, how long they let in, and where.

use plugin::harness::Harness;
use serde_json::Value;

use super::{ALL, SHOP, assert_problem, call, code, document, harness, post, text, token};
use crate::oauth2::admin;

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
fn a_token_is_shown_and_revoked_by_hand() {
    let mut harness = harness("");
    let access = text(&token(&mut harness, &format!("grant_type=client_credentials&{SHOP}")), "access_token");
    let ask = |harness: &Harness, index: usize, text: &str| {
        let call = plugin::admin::Call { parameters: &[text], query: None, services: &harness.services };
        (admin::ENDPOINTS[index].handle)(&call)
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
