//! Tokens that are bound to a certificate, a key or a cookie, and thieves who have nothing but the token.

use aws_lc_rs::digest::{SHA256, digest};
use plugin::harness::certificates::handshake;
use plugin::jose::thumbprint;
use plugin::outbound::loopback::{Given, Loopback};

use super::*;

/// Another pair of RFC 7517 A.2's curve: that of RFC 7515 A.3 has a token of its own in these tests.
const DPOP_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}"#;

fn hash(bytes: &[u8]) -> String {
    to_base64url(digest(&SHA256, bytes).as_ref())
}

fn with_certificate(harness: &mut Harness, certificate: Option<&[u8]>) {
    harness.tls = Some(handshake(certificate));
}

#[test]
fn a_token_of_a_certificate_is_good_for_who_shows_it() {
    let bound = bearer(&token(json!({"cnf": {"x5t#S256": hash(b"own")}})));
    let free = bearer(&token(json!({})));
    for (demand, certificate, request, refusal) in [
        ("strict", Some(&b"own"[..]), &bound, None),
        ("strict", Some(b"other"), &bound, Some("a token of another certificate")),
        ("strict", None, &bound, Some("a token of another certificate")),
        ("strict", Some(b"own"), &free, Some("a token that is bound to no certificate")),
        ("optional", Some(b"own"), &bound, None),
        ("optional", Some(b"other"), &bound, Some("a token of another certificate")),
        ("optional", None, &free, None),
        ("off", Some(b"other"), &bound, None),
    ] {
        let mut harness = harness(&format!("proof_of_possession_mtls: {demand}"));
        with_certificate(&mut harness, certificate);
        // The second time the token is remembered, and nothing else is.
        for _ in 0..2 {
            let outcome = harness.send(request);
            match refusal {
                None => assert_passes(&outcome),
                Some(reason) => assert_refused(&outcome, reason),
            }
        }
    }
    let mut cleartext = harness("proof_of_possession_mtls: strict");
    assert_refused(&cleartext.send(&bound), "a token of another certificate");
}

#[test]
fn a_bound_token_stays_bound_where_the_provider_is_asked_about_it() {
    let provider = Loopback::answering(|_| Given::json(r#"{"active":true,"sub":"alice","exp":9999999999}"#));
    let config = format!(
        "{{issuer: '{ISSUER}', auth_methods: [bearer, introspection], introspect_jwt_tokens: true, client_id: [g], \
         client_secret: [s], proof_of_possession_mtls: optional, introspection_endpoint: '{}'}}",
        provider.url("/introspect")
    );
    let mut harness = Subject(plugin::room::<OpenidConnect>()).with(&config).in_real_time();
    publish(&harness, &[key(P256, "one")]);
    let bound = bearer(&token(json!({"cnf": {"x5t#S256": hash(b"own")}})));
    for (certificate, is_good) in [(None, false), (Some(&b"other"[..]), false), (Some(b"own"), true)] {
        with_certificate(&mut harness, certificate);
        for _ in 0..2 {
            assert_eq!(harness.send(&bound).status == 200, is_good, "{certificate:?}");
        }
    }
}

/// A client that holds a key, with a token of it.
pub(super) struct Holder {
    key: Value,
    token: String,
    number: u32,
}

impl Holder {
    pub(super) fn new() -> Self {
        let key: Value = serde_json::from_str(DPOP_KEY).unwrap();
        let token = token(json!({"cnf": {"jkt": thumbprint(&key).unwrap()}}));
        Self { key, token, number: 0 }
    }

    fn public(&self) -> Value {
        let mut public = self.key.clone();
        public.as_object_mut().unwrap().remove("d");
        public
    }

    /// A proof with these claims and this header in place of good ones.
    pub(super) fn proof(&mut self, claims: Value, header: Value) -> String {
        self.number += 1;
        let own = json!({"jti": format!("proof {}", self.number), "htm": "GET", "iat": NOW,
            "htu": "http://gateway.test/page", "ath": hash(self.token.as_bytes())});
        let mut all: Value = json!({"alg": "ES256", "typ": "dpop+jwt", "jwk": self.public()});
        merge(&mut all, header);
        let mut said = own;
        merge(&mut said, claims);
        let text = format!(
            "{}.{}",
            to_base64url(all.to_string().as_bytes()),
            to_base64url(said.to_string().as_bytes())
        );
        let signature =
            aws_pair(&self.key).sign(&aws_lc_rs::rand::SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", to_base64url(signature.as_ref()))
    }

    pub(super) fn request(&self, proof: &str) -> String {
        format!("GET /page?a=1 HTTP/1.1\nAuthorization: DPoP {}\nDPoP: {proof}", self.token)
    }

    pub(super) fn send(&mut self, harness: &mut Harness, claims: Value) -> Outcome {
        let proof = self.proof(claims, json!({}));
        harness.send(&self.request(&proof))
    }
}

/// Members of `other` in place of those of `one`; null leaves one out.
fn merge(one: &mut Value, other: Value) {
    let other: Map<String, Value> = serde_json::from_value(other).unwrap();
    for (name, value) in other {
        match value {
            Value::Null => drop(one.as_object_mut().unwrap().remove(&name)),
            value => one[name] = value,
        }
    }
}

#[track_caller]
pub(super) fn assert_unproven(outcome: &Outcome, reason: &str) {
    assert_eq!(
        (outcome.status, outcome.json()["message"].as_str()),
        (401, Some(format!("Unauthorized ({reason})").as_str()))
    );
    let challenge = outcome.header("WWW-Authenticate").unwrap();
    assert!(
        challenge.starts_with("DPoP realm=\"issuer.test\", error=\"invalid_dpop_proof\", algs=\"RS256 "),
        "{challenge}"
    );
}

#[test]
fn a_proof_is_for_one_request_with_one_token() {
    let mut harness = harness("proof_of_possession_dpop: strict, dpop_proof_lifetime: 60");
    let mut holder = Holder::new();
    let outcome = holder.send(&mut harness, json!({}));
    assert_passes(&outcome);
    assert_eq!(outcome.upstream_header("DPoP"), None, "the proof is the gateway's alone");
    assert_passes(&holder.send(&mut harness, json!({"htu": "HTTP://Gateway.test:80/%70age?b=2#c"})));
    assert_passes(&holder.send(&mut harness, json!({"iat": NOW - 60})));
    for (claims, reason) in [
        (json!({"htm": "POST"}), "a proof for another method"),
        (json!({"htm": null}), "a proof for another method"),
        (json!({"htu": "http://gateway.test/other"}), "a proof for another address"),
        (json!({"htu": "https://gateway.test/page"}), "a proof for another address"),
        (json!({"htu": "http://evil.test/page"}), "a proof for another address"),
        (json!({"htu": "/page"}), "a proof for another address"),
        (json!({"ath": null}), "a proof for another token"),
        (json!({"ath": hash(b"another")}), "a proof for another token"),
        (json!({"iat": NOW - 61}), "a proof of another time"),
        (json!({"iat": NOW + 11}), "a proof of another time"),
        (json!({"iat": null}), "no iat"),
        (json!({"jti": null}), "no jti"),
        (json!({"jti": ""}), "no jti"),
    ] {
        assert_unproven(&holder.send(&mut harness, claims), reason);
    }
    assert_unproven(
        &holder.send(&mut harness, json!({"jti": "proof 1"})),
        "a proof that has been used already",
    );
}

#[test]
fn a_proof_is_signed_with_the_key_of_the_token() {
    let mut harness = harness("proof_of_possession_dpop: strict");
    let mut holder = Holder::new();
    let (own, mut secret) = (holder.public(), holder.key.clone());
    secret["d"] = "x".into();
    let oct = json!({"kty": "oct", "k": "YQ"});
    for (header, reason) in [
        (json!({"typ": "JWT"}), "a malformed proof"),
        (json!({"typ": null}), "a malformed proof"),
        (json!({"alg": "none"}), "a malformed proof"),
        (json!({"alg": "HS256"}), "a malformed proof"),
        (json!({"jwk": null}), "a malformed proof"),
        (json!({"jwk": secret}), "a malformed proof"),
        (json!({"jwk": oct}), "a malformed proof"),
    ] {
        let proof = holder.proof(json!({}), header);
        assert_unproven(&harness.send(&holder.request(&proof)), reason);
    }
    let other: Value = serde_json::from_str(P256).unwrap();
    let mut stranger = Holder { key: other, token: holder.token.clone(), number: 100 };
    let outcome = stranger.send(&mut harness, json!({}));
    assert_eq!(
        (outcome.status, outcome.json()["message"].as_str()),
        (401, Some("Unauthorized (a token of another key)"))
    );
    let forged = stranger.proof(json!({}), json!({ "jwk": own }));
    assert_unproven(&harness.send(&holder.request(&forged)), "a proof that is not signed with its key");
    let (one, two) = (holder.proof(json!({}), json!({})), holder.proof(json!({}), json!({})));
    let both = format!("{}\nDPoP: {two}", holder.request(&one));
    assert_unproven(&harness.send(&both), "more than one proof");
    let none = format!("GET /page HTTP/1.1\nAuthorization: DPoP {}", holder.token);
    assert_unproven(&harness.send(&none), "no proof");
    for text in ["", "a.b.c", "x", "e30.e30."] {
        assert_eq!(harness.send(&holder.request(text)).status, 401, "{text}");
    }
}

#[test]
fn a_bound_token_is_no_bearer_token() {
    let mut holder = Holder::new();
    let proof = holder.proof(json!({}), json!({}));
    let as_bearer = format!("GET /page HTTP/1.1\nAuthorization: Bearer {}\nDPoP: {proof}", holder.token);
    let in_query = format!("GET /page?access_token={} HTTP/1.1\nDPoP: {proof}", holder.token);
    for demand in ["optional", "strict"] {
        let mut harness = harness(&format!("proof_of_possession_dpop: {demand}"));
        for request in [&as_bearer, &in_query] {
            let reason = "Unauthorized (a token that is bound to a key, brought as a bearer token)";
            assert_eq!(harness.send(request).json()["message"], reason, "{demand}");
        }
        let free = token(json!({}));
        assert_eq!(!harness.send(&bearer(&free)).answered, demand == "optional");
        let unbound = format!("GET /page HTTP/1.1\nAuthorization: DPoP {free}\nDPoP: {proof}");
        assert_eq!(harness.send(&unbound).status, 401);
        assert_passes(&holder.send(&mut harness, json!({})));
    }
    assert_passes(&harness("").send(&as_bearer));
    assert_eq!(harness("").send(&holder.request(&proof)).status, 401, "nobody asked for proofs");
    let challenge = |demand: &str| {
        let outcome = harness(&format!("proof_of_possession_dpop: {demand}")).send(GET);
        outcome.header("WWW-Authenticate").unwrap()
    };
    assert!(challenge("strict").starts_with("DPoP realm=\"issuer.test\", algs="), "{}", challenge("strict"));
    assert!(challenge("optional").ends_with(", Bearer realm=\"issuer.test\""), "{}", challenge("optional"));
}

#[test]
fn a_proof_has_a_nonce_of_the_gateway_where_that_is_wanted() {
    let mut harness =
        harness("proof_of_possession_dpop: strict, dpop_use_nonce: true, session_secret: s, leeway: 3600");
    let mut holder = Holder::new();
    let outcome = holder.send(&mut harness, json!({}));
    let challenge = outcome.header("WWW-Authenticate").unwrap();
    assert!(outcome.status == 401 && challenge.contains("error=\"use_dpop_nonce\""), "{challenge}");
    let nonce = outcome.header("DPoP-Nonce").unwrap();
    let good = holder.send(&mut harness, json!({ "nonce": nonce }));
    assert_passes(&good);
    assert_eq!(good.header("DPoP-Nonce"), None, "the one at hand is good for a while");
    assert_eq!(holder.send(&mut harness, json!({"nonce": "mine"})).status, 401);
    harness.clock.advance(200_000);
    let late = holder.send(&mut harness, json!({ "nonce": nonce }));
    assert_passes(&late);
    let newer = late.header("DPoP-Nonce").unwrap();
    harness.clock.advance(101_000);
    assert_eq!(holder.send(&mut harness, json!({ "nonce": nonce })).status, 401, "it has ended");
    assert_passes(&holder.send(&mut harness, json!({ "nonce": newer })));
}

#[test]
fn a_token_comes_with_the_cookie_of_its_session() {
    let mut harness = harness("jwt_session_cookie: sid");
    let bound = bearer(&token(json!({"sid": "s1"})));
    assert_passes(&harness.send(&format!("{bound}\nCookie: a=b; sid=s1")));
    for request in [
        bound.clone(),
        format!("{bound}\nCookie: sid=s2"),
        format!("{}\nCookie: sid=", bearer(&token(json!({})))),
    ] {
        assert_refused(&harness.send(&request), "a token of another session");
    }
    let mut named = super::harness("jwt_session_cookie: sid, jwt_session_claim: sub");
    assert_passes(&named.send(&format!("{bound}\nCookie: sid=alice")));
}
