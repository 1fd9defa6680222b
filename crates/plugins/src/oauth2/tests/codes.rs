//! What becomes of authorization codes: for whom, where to, how often, and with what proof.

use plugin::harness::Harness;

use super::{SHOP, assert_problem, authorize, call, code, harness, text, token, told};
use crate::oauth2::secret::challenge;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

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
