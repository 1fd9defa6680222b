//! What travels signed: requests for logins and their answers, and what the provider says of tokens and users.

use plugin::jose::Token;
use plugin::outbound::loopback::{Given, Loopback, Received};

use super::world::{World, argument, assert_unauthorized, behind};
use super::*;

#[test]
fn requests_for_logins_may_be_signed() {
    let jwk = key(P256, "client");
    for (fields, algorithm) in [
        (format!("client_jwk: [{jwk}],"), "ES256"),
        (String::new(), "HS256"),
        ("client_alg: [HS512],".to_owned(), "HS512"),
    ] {
        let mut world = World::new(&format!("{fields} require_signed_request_object: true"));
        let begun = world.begin("GET /page HTTP/1.1");
        assert_eq!(
            (begun.argument("client_id").as_deref(), begun.argument("scope").as_deref()),
            (Some("gateway"), Some("openid"))
        );
        assert_eq!(
            (begun.argument("state"), begun.argument("redirect_uri")),
            (None, None),
            "they are not for the browser"
        );
        let request = Token::without_verification(begun.argument("request").unwrap().as_bytes()).unwrap();
        assert_eq!(
            (request.header.algorithm.name(), request.header.kind.as_deref()),
            (algorithm, Some("oauth-authz-req+jwt"))
        );
        let said = |name: &str| request.claims[name].clone();
        assert_eq!(
            [said("iss"), said("aud"), said("exp")],
            [json!("gateway"), json!(world.provider.url("")), json!(NOW + 300)]
        );
        assert_eq!(
            [said("redirect_uri"), said("code_challenge_method")],
            [json!("http://gateway.test/page"), json!("S256")]
        );
        let state = said("state");
        world.give(said("nonce").as_str(), json!({}));
        let back =
            format!("GET /page?code=c&state={} HTTP/1.1\nCookie: {}", state.as_str().unwrap(), begun.cookie);
        assert_passes(&world.harness.send(&back));
    }
    let mut pushed =
        World::new("require_signed_request_object: true, require_pushed_authorization_requests: true");
    assert_eq!(pushed.begin("GET /page HTTP/1.1").arguments, "client_id=gateway&request_uri=urn%3Ax");
    let body = pushed.asked("/par").pop().unwrap().text();
    assert!(argument(&body, "request").is_some() && argument(&body, "state").is_none(), "{body}");
    let refusal = Subject(plugin::room::<OpenidConnect>()).refuses(
        "{issuer: 'http://issuer.test', client_id: [a], client_auth: [none], require_signed_request_object: true}",
    );
    assert!(refusal.contains("config.require_signed_request_object: needs a key"), "{refusal}");
}

#[test]
fn an_answer_to_a_login_is_signed_by_the_provider_where_that_is_wanted() {
    for mode in ["jwt", "query.jwt"] {
        let mut world = World::new(&format!("response_mode: {mode}"));
        let signer = key(P256, "one");
        let stranger = key(ED25519, "one");
        for (others, key, refusal) in [
            (json!({}), &signer, None),
            (json!({"aud": "other"}), &signer, Some("an answer to a login at another client")),
            (json!({"iss": "http://evil.test"}), &signer, Some("not an accepted issuer")),
            (json!({"exp": NOW}), &signer, Some("token expired")),
            (json!({"exp": null}), &signer, Some("no expiry")),
            (
                json!({"code": null, "error": "access_denied"}),
                &signer,
                Some("the provider did not log anybody in"),
            ),
            (json!({}), &stranger, Some("no suitable key")),
        ] {
            let begun = world.begin("GET /page?b=1 HTTP/1.1");
            assert_eq!(begun.argument("response_mode").as_deref(), Some(mode));
            world.give(begun.argument("nonce").as_deref(), json!({}));
            let state = begun.argument("state");
            let mut said = json!({"iss": world.provider.url(""), "aud": "gateway", "exp": NOW + 60, "code": "c", "state": state});
            for (name, value) in others.as_object().unwrap() {
                match value {
                    Value::Null => drop(said.as_object_mut().unwrap().remove(name)),
                    value => said[name] = value.clone(),
                }
            }
            let before = world.asked("/token").len();
            let back =
                format!("GET /page?b=1&response={} HTTP/1.1\nCookie: {}", sign(key, &said), begun.cookie);
            let outcome = world.harness.send(&back);
            match refusal {
                None => {
                    assert_passes(&outcome);
                    assert_eq!(outcome.upstream_query.as_deref(), Some("b=1"));
                }
                Some(reason) => {
                    assert_unauthorized(&outcome, reason);
                    assert_eq!(world.asked("/token").len(), before, "no code was tried");
                }
            }
        }
        let begun = world.begin("GET /page HTTP/1.1");
        world.give(begun.argument("nonce").as_deref(), json!({}));
        let plain = world.harness.send(&begun.back(""));
        assert_unauthorized(&plain, "this browser has no such login under way: begin again");
    }
}

#[test]
fn a_signed_answer_may_come_as_a_form() {
    let mut world = World::new("response_mode: form_post.jwt");
    let begun = world.begin("GET /page?b=1 HTTP/1.1");
    world.give(begun.argument("nonce").as_deref(), json!({}));
    let said = json!({"iss": world.provider.url(""), "aud": "gateway", "exp": NOW + 60, "code": "c",
        "state": begun.argument("state")});
    let form = "Content-Type: application/x-www-form-urlencoded";
    let signed = sign(&key(P256, "one"), &said);
    let back = format!("POST /page HTTP/1.1\nCookie: {}\n{form}\n\nresponse={signed}", begun.cookie);
    let outcome = world.harness.send(&back);
    assert_eq!((outcome.status, outcome.header("Location").as_deref()), (303, Some("/page?b=1")));
}

/// A provider that signs what it says of tokens and users, as these claims beside good ones say.
fn signing(others: Value) -> Loopback {
    Loopback::answering(move |asked: &Received| {
        let base = format!("http://{}", asked.header("Host").unwrap());
        let signed = |own: Value| {
            let mut all = json!({"iss": base, "aud": "gateway"});
            all.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
            all.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
            Given::answer(200, &[("Content-Type", "application/jwt")], &sign(&key(P256, "one"), &all))
        };
        match asked.target.split('?').next().unwrap() {
            "/.well-known/openid-configuration" => Given::json(
                &json!({"issuer": base, "jwks_uri": format!("{base}/keys"), "userinfo_endpoint": format!("{base}/me"),
                    "introspection_endpoint": format!("{base}/introspect")})
                .to_string(),
            ),
            "/keys" => Given::json(&json!({ "keys": [key(P256, "one")] }).to_string()),
            "/introspect" => signed(json!({"token_introspection": {"active": true, "sub": "bob", "exp": NOW + 100}})),
            "/me" => signed(json!({"sub": "alice"})),
            _ => Given::answer(404, &[], ""),
        }
    })
}

#[test]
fn the_provider_may_sign_what_it_says_of_tokens_and_users() {
    for (fields, path, accept, who, header) in [
        (
            "auth_methods: [introspection], introspection_accept: application/token-introspection+jwt, upstream_introspection_jwt_header: X-Signed",
            "/introspect",
            "application/token-introspection+jwt",
            "bob",
            "token_introspection",
        ),
        (
            "auth_methods: [userinfo], userinfo_accept: application/jwt, upstream_user_info_jwt_header: X-Signed",
            "/me",
            "application/jwt",
            "alice",
            "sub",
        ),
    ] {
        let provider = signing(json!({}));
        let mut harness = behind(&provider, fields);
        for _ in 0..2 {
            let outcome = harness.send(&(bearer("opaque") + "\nX-Signed: forged"));
            assert_passes(&outcome);
            assert_eq!(outcome.upstream_header("X-Credential-Identifier").as_deref(), Some(who));
            let signed = outcome.upstream_header("X-Signed").unwrap();
            assert!(
                Token::without_verification(signed.as_bytes()).unwrap().claims.contains_key(header),
                "{signed}"
            );
        }
        let asked: Vec<Received> = provider.seen().into_iter().filter(|asked| asked.target == path).collect();
        assert_eq!((asked.len(), asked[0].header("Accept").as_deref()), (1, Some(accept)));
        for others in [json!({"aud": "other"}), json!({"iss": "http://evil.test"}), json!({"exp": NOW})] {
            let outcome = behind(&signing(others.clone()), fields).send(&bearer("opaque"));
            assert_eq!(outcome.status, 401, "{path} {others}");
        }
    }
}
