//! Issuers on the loopback, a room that signs anew, and a service that checks what it gets.

use plugin::harness::{Harness, Outcome, START_MS, Subject};
use plugin::jose::{Algorithm, KeySet, Signer, Token};
use plugin::keyring;
use plugin::outbound::loopback::{Given, Loopback};
use plugin::query;
use serde_json::{Map, Value, json};

mod belief;

const SUBJECT: Subject = Subject(plugin::room::<super::JwtSigner>());
const NOW_S: u64 = START_MS / 1_000;
/// 32 bytes, for HS256.
const SECRET: &str = "c2VjcmV0IG9mIHRoaXJ0eS10d28gYnl0ZXMgZXhhY3Q";

/// An issuer with one key, which knows some opaque tokens.
struct Issuer {
    signer: Signer,
    server: Loopback,
}

impl Issuer {
    fn new() -> Self {
        let signer = Signer::generate(Algorithm::Es256, "theirs").unwrap();
        let secret = json!({"kty": "oct", "kid": "shared", "k": SECRET});
        let keys = json!({"keys": [signer.public_jwk().unwrap(), secret]}).to_string();
        let inner = signer.sign(&object(json!({"iss": "inner", "sub": "ada", "exp": NOW_S + 60}))).unwrap();
        let server = Loopback::answering(move |request| {
            if request.target == "/keys" {
                return Given::json(&keys);
            }
            let token = query::values(&request.body, "token").next().unwrap_or_default().into_owned();
            Given::json(&match &*String::from_utf8_lossy(&token) {
                "opaque" => json!({"active": true, "sub": "ada", "iss": "asked", "scope": "read write", "exp": NOW_S + 30}),
                "endless" => json!({"active": true, "sub": "ada"}),
                "wrapped" => json!({"active": true, "sub": "ada", "access_token": inner}),
                _ => json!({"active": false}),
            }
            .to_string())
        });
        Self { signer, server }
    }

    fn token(&self, claims: Value) -> String {
        let mut all = object(json!({"iss": "theirs", "sub": "ada", "aud": ["orders"], "exp": NOW_S + 100}));
        for (name, value) in object(claims) {
            if value.is_null() {
                all.remove(&name)
            } else {
                all.insert(name, value)
            };
        }
        self.signer.sign(&all).unwrap()
    }

    /// The room with the access token's keys, and `more`.
    fn room(&self, more: &str) -> Harness {
        self.room_with("ES256", more)
    }

    fn room_with(&self, algorithm: &str, more: &str) -> Harness {
        let keys = self.server.url("/keys");
        let document = format!(
            "_format_version: \"3.0\"\nplugins:\n- name: jwt-signer\n  config: {{access_token_jwks_uri: \"{keys}\", \
             access_token_signing_algorithm: {algorithm}, {more}}}\nconsumers:\n- {{username: ada, custom_id: a-1}}\n- {{username: bob}}\n\
             key_sets:\n- name: own\n  keys: [{{kid: one, jwk: '{}'}}]\n",
            json!({"kid": "one", "kty": "oct", "k": SECRET})
        );
        Harness::new(SUBJECT.0, &document).unwrap().in_real_time()
    }
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(members) = value else { panic!("{value} is no object") };
    members
}

fn send(room: &mut Harness, token: &str) -> Outcome {
    room.send(&format!("GET / HTTP/1.1\nAuthorization: Bearer {token}\nX-Consumer-Username: root\n\n"))
}

/// What the service makes of what it gets in `header`.
fn told(room: &Harness, outcome: &Outcome, header: &str) -> Value {
    assert!(!outcome.answered, "{}", String::from_utf8_lossy(&outcome.body));
    let value = outcome.upstream_header(header).unwrap();
    let token = value.strip_prefix("Bearer ").unwrap_or(&value);
    let keys = keyring::jwks(&room.services, None).to_string();
    Value::Object(
        Token::verify(token.as_bytes(), &KeySet::published(keys.as_bytes()).unwrap()).unwrap().claims,
    )
}

#[test]
fn a_token_of_the_issuer_becomes_one_of_the_gateway() {
    let issuer = Issuer::new();
    let mut room = issuer.room(
        "access_token_issuer: gateway, access_token_upstream_leeway: -40, remove_access_token_claims: [secret], \
         add_claims: {zone: internal, sub: nobody}, set_claims: {level: '7'}, set_access_token_claims: {level: '{\"of\": 8}'}",
    );
    let outcome = send(&mut room, &issuer.token(json!({"secret": 1, "name": "Ada"})));
    let expected = json!({"iss": "gateway", "original_iss": "theirs", "sub": "ada", "aud": ["orders"], "exp": NOW_S + 60,
        "name": "Ada", "zone": "internal", "level": {"of": 8}});
    assert_eq!(told(&room, &outcome, "Authorization"), expected);
    assert_eq!(outcome.upstream_header("X-Credential-Identifier").as_deref(), Some("ada"));
    assert_eq!(outcome.upstream_header("X-Consumer-Username"), None);
}

#[test]
fn no_trailer_passes_for_what_the_gateway_has_signed() {
    let issuer = Issuer::new();
    let room = issuer.room("original_access_token_upstream_header: X-Original");
    let mut room = room.trailing(&["Authorization", "x_original", "X-Consumer-Username", "X-Mine"]);
    assert_eq!(send(&mut room, &issuer.token(json!({}))).trailer_names(), ["X-Mine"]);
}

#[test]
fn a_known_token_costs_neither_check_nor_signature_until_its_end() {
    let issuer = Issuer::new();
    let mut room = issuer.room("");
    let token = issuer.token(json!({}));
    let signed = |outcome: &Outcome| outcome.upstream_header("Authorization").unwrap();
    // An ECDSA signature is another one each time.
    let first = signed(&send(&mut room, &token));
    assert_eq!(signed(&send(&mut room, &token)), first);
    for ring in keyring::rings(&room.services, "kong") {
        ring.exchange().unwrap();
    }
    let second = send(&mut room, &token);
    assert_ne!(signed(&second), first, "another key signs");
    told(&room, &second, "Authorization");
    room.clock.advance(100_000);
    assert_eq!(send(&mut room, &token).status, 401);
}

#[test]
fn what_is_wrong_with_a_token_decides_about_the_answer() {
    let issuer = Issuer::new();
    let rules = "realm: shop, access_token_issuers_allowed: [theirs], access_token_audiences_allowed: [orders], \
                 access_token_subjects_allowed: [ada, bob], access_token_required_claims: [[a, b]], \
                 access_token_scopes_required: ['read write', admin], verify_access_token_notbefore: true, access_token_leeway: 5";
    let mut room = issuer.room(rules);
    let good = json!({"a": {"b": 0}, "scope": "read write more", "nbf": NOW_S + 4, "exp": NOW_S - 4});
    let with = |change: Value| {
        let mut claims = object(good.clone());
        claims.extend(object(change));
        issuer.token(Value::Object(claims))
    };
    assert_eq!(send(&mut room, &with(json!({}))).status, 200);
    assert_eq!(send(&mut room, &with(json!({"scope": ["admin"]}))).status, 200);
    let wrong = [
        (json!({"iss": "others"}), 401),
        (json!({"aud": "others"}), 401),
        (json!({"aud": null}), 401),
        (json!({"sub": "eve"}), 401),
        (json!({"a": {"c": 0}}), 401),
        (json!({"nbf": NOW_S + 6}), 401),
        (json!({"exp": NOW_S - 5}), 401),
        (json!({"exp": null}), 401),
        (json!({"exp": "soon"}), 401),
        (json!({"scope": "read"}), 403),
        (json!({"scope": null}), 403),
    ];
    for (change, status) in wrong {
        let outcome = send(&mut room, &with(change.clone()));
        assert_eq!((outcome.answered, outcome.status), (true, status), "{change}");
        let error = if status == 401 { "invalid_token" } else { "insufficient_scope" };
        assert_eq!(
            outcome.header("WWW-Authenticate").unwrap(),
            format!("Bearer realm=\"shop\", error=\"{error}\"")
        );
    }
    let mut lenient = issuer.room(&format!("{rules}, access_token_optional_claims: [[exp], [aud], [scope]]"));
    for change in [json!({"aud": null}), json!({"exp": null}), json!({"scope": null})] {
        assert_eq!(send(&mut lenient, &with(change.clone())).status, 200, "{change}");
    }
    assert_eq!(send(&mut lenient, &with(json!({"aud": "others"}))).status, 401);
}

#[test]
fn nobody_elses_signature_is_believed() {
    let issuer = Issuer::new();
    let mut room = issuer.room("");
    let claims = object(json!({"sub": "ada", "exp": NOW_S + 100}));
    let stranger = Signer::generate(Algorithm::Es256, "theirs").unwrap().sign(&claims).unwrap();
    let secret = plugin::jose::from_base64url(SECRET).unwrap();
    let shared = Signer::with_secret(Algorithm::Hs256, &secret).unwrap().sign(&claims).unwrap();
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", issuer.token(json!({})).split('.').nth(1).unwrap());
    for token in [stranger.as_str(), &shared, &unsigned, "opaque", "a.b.c", ""] {
        let outcome = send(&mut room, token);
        assert_eq!((outcome.answered, outcome.status), (true, 401), "{token}");
    }
    let mut with_secrets = issuer.room("enable_hs_signatures: true");
    assert_eq!(send(&mut with_secrets, &shared).status, 200);
    assert_eq!(send(&mut with_secrets, &stranger).status, 401);
    let mut unchecked = issuer.room("verify_access_token_signature: false");
    assert_eq!(send(&mut unchecked, &stranger).status, 200);
}

#[test]
fn a_token_is_needed_and_one_is_enough() {
    let issuer = Issuer::new();
    let mut room = issuer.room("");
    let missing = room.send("GET / HTTP/1.1\n\n");
    assert_eq!((missing.status, missing.header("WWW-Authenticate").as_deref()), (401, Some("Bearer")));
    let token = issuer.token(json!({}));
    let twice = format!("GET / HTTP/1.1\nAuthorization: Bearer {token}\nAuthorization: Bearer {token}\n\n");
    assert_eq!(room.send(&twice).status, 401);
    let mut optional = issuer.room("access_token_optional: true");
    let without = optional.send("GET / HTTP/1.1\nX-Consumer-ID: 0\n\n");
    assert!(!without.answered && without.upstream_headers.get("X-Consumer-ID").is_none());
    assert_eq!(send(&mut optional, "bad").status, 401);
}

#[test]
fn an_opaque_token_is_asked_about_once_and_for_a_minute_at_most() {
    let issuer = Issuer::new();
    let url = issuer.server.url("/introspect");
    let more = format!(
        "access_token_introspection_endpoint: \"{url}\", access_token_introspection_authorization: Basic Zzpz, \
         access_token_introspection_body_args: 'a=1', access_token_introspection_scopes_required: [read], \
         access_token_introspection_optional_claims: [[scope]]"
    );
    let mut room = issuer.room(&more);
    let outcome = send(&mut room, "opaque");
    let said = told(&room, &outcome, "Authorization");
    assert_eq!(
        (&said["iss"], &said["original_iss"], &said["sub"]),
        (&json!("kong"), &json!("asked"), &json!("ada"))
    );
    let asked = issuer.server.last();
    assert_eq!(asked.text(), "token=opaque&token_type_hint=access_token&a=1");
    assert_eq!(asked.header("authorization").as_deref(), Some("Basic Zzpz"));
    let count = issuer.server.seen().len();
    assert_eq!(
        send(&mut room, "opaque").upstream_header("Authorization"),
        outcome.upstream_header("Authorization")
    );
    send(&mut room, "endless");
    assert_eq!(issuer.server.seen().len(), count + 1);
    room.clock.advance(60_000);
    assert_eq!(send(&mut room, "opaque").status, 401, "it has ended");
    assert_eq!(send(&mut room, "endless").status, 200);
    assert_eq!(issuer.server.seen().len(), count + 3);
    assert_eq!(send(&mut room, "unknown").status, 401);
}

#[test]
fn a_token_in_the_answer_takes_its_place() {
    let issuer = Issuer::new();
    let url = issuer.server.url("/introspect");
    let more = format!(
        "access_token_introspection_endpoint: \"{url}\", access_token_introspection_jwt_claim: [access_token], \
         cache_access_token_introspection: false"
    );
    let mut room = issuer.room(&more);
    let outcome = send(&mut room, "wrapped");
    assert_eq!(told(&room, &outcome, "Authorization")["original_iss"], "inner");
    let count = issuer.server.seen().len();
    send(&mut room, "wrapped");
    assert_eq!(issuer.server.seen().len(), count + 1, "nothing is remembered");
    let distrusting = ", trust_access_token_introspection: false, access_token_issuers_allowed: [theirs]";
    assert_eq!(send(&mut issuer.room(&format!("{more}{distrusting}")), "wrapped").status, 401);
}

#[test]
fn two_tokens_are_judged_apart_and_both_must_be_good() {
    let issuer = Issuer::new();
    let keys = issuer.server.url("/keys");
    let mut room = issuer.room(&format!(
        "channel_token_request_header: X-Channel, channel_token_jwks_uri: \"{keys}\", channel_token_upstream_header: X-Signed, \
         channel_token_signing_algorithm: EdDSA, channel_token_consumer_claim: [sub], original_channel_token_upstream_header: X-Original, \
         enable_instrumentation: true"
    ));
    let (access, channel) = (issuer.token(json!({})), issuer.token(json!({"sub": "bob", "via": "app"})));
    let mut both = |channel: &str| {
        room.send(&format!("GET / HTTP/1.1\nAuthorization: Bearer {access}\nX-Channel: {channel}\nX-Original: forged\nX-Signed: forged\n\n"))
    };
    let outcome = both(&channel);
    assert_eq!(outcome.upstream_header("X-Original").as_deref(), Some(&*channel));
    assert_eq!(outcome.upstream_header("X-Channel"), None);
    assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some("bob"));
    let refused = both("bad");
    assert_eq!(refused.status, 401);
    let told_log = ("jwt_signer_channel_token".to_owned(), "not a JSON Web Token".to_owned());
    assert!(refused.log_fields.contains(&told_log), "{:?}", refused.log_fields);
    let stranger = both(&issuer.token(json!({"sub": "eve"})));
    assert_eq!(stranger.status, 403, "there is no such consumer");
    assert_eq!(told(&room, &outcome, "Authorization")["sub"], "ada");
    assert_eq!(told(&room, &outcome, "X-Signed")["via"], "app");
}

#[test]
fn the_raw_token_goes_nowhere_when_nothing_is_signed() {
    let issuer = Issuer::new();
    let token = issuer.token(json!({}));
    for more in ["access_token_signing: false", "access_token_upstream_header: ''"] {
        let outcome = send(&mut issuer.room(more), &token);
        assert!(!outcome.answered);
        assert_eq!(outcome.upstream_header("Authorization"), None, "{more}");
    }
}

#[test]
fn keys_of_a_keyset_sign() {
    let issuer = Issuer::new();
    let token = issuer.token(json!({}));
    let mut room = issuer.room_with("HS256", "access_token_keyset: own");
    let outcome = send(&mut room, &token);
    let value = outcome.upstream_header("Authorization").unwrap();
    let keys = json!({"keys": [{"kty": "oct", "kid": "one", "k": SECRET}]}).to_string();
    let keys = KeySet::confidential(keys.as_bytes()).unwrap();
    assert!(Token::verify(value.strip_prefix("Bearer ").unwrap().as_bytes(), &keys).is_ok());
    assert!(!keyring::jwks(&room.services, None).to_string().contains(SECRET));
}

#[test]
fn a_configuration_that_could_accept_nothing_is_refused() {
    let refuses = |config: &str| SUBJECT.refuses(config);
    assert!(refuses("{}").contains("config.access_token_jwks_uri: no token could ever be accepted"));
    assert!(refuses("{access_token_request_header: ''}").contains("there is no token to verify"));
    let with = |more: &str| refuses(&format!("{{access_token_jwks_uri: 'http://127.0.0.1:1/keys', {more}}}"));
    let certificate =
        with("access_token_keyset_client_certificate: {id: 9b7bd04d-7d09-4d07-a2c5-bd8b0d3f3ed1}");
    assert!(certificate.contains("config.access_token_keyset_client_certificate"), "{certificate}");
    let unknown = with(
        "access_token_introspection_endpoint: 'https://127.0.0.1:1/', access_token_introspection_client_certificate: {id: 9b7bd04d-7d09-4d07-a2c5-bd8b0d3f3ed1}",
    );
    let expected = "config.access_token_introspection_client_certificate.id: names no certificate";
    assert!(unknown.contains(expected), "{unknown}");
    let plain = with("access_token_jwks_uri_client_certificate: {id: 9b7bd04d-7d09-4d07-a2c5-bd8b0d3f3ed1}");
    assert!(plain.contains("address begins with https://"), "{plain}");
    assert!(with("access_token_upstream_header: Host").contains("config.access_token_upstream_header"));
    assert!(with("access_token_signing_algorithm: HS256").contains("declare the secret"));
    assert!(with("channel_token_request_header: X-C").contains("config.channel_token_jwks_uri"));
    assert!(refuses("{access_token_jwks_uri: 'ftp://x'}").contains("config.access_token_jwks_uri"));
    let value = with("access_token_introspection_authorization: \"not-to-be-seen\\nX-Other: b\"");
    assert_eq!(value, "is no value of a header field");
}
