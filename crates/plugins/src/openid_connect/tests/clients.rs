//! Several clients of one room, and consumer groups that a token names.

use super::world::{Begun, World, cookies};
use super::*;

const CLIENTS: &str = "client_id: [one, two], client_secret: [s1, s2], redirect_uri: ['http://gateway.test/page', 'http://gateway.test/two']";

fn client_of(begun: &Begun) -> (Option<String>, Option<String>) {
    (begun.argument("client_id"), begun.argument("redirect_uri"))
}

#[test]
fn callers_choose_one_of_several_clients() {
    let mut world = World::new(CLIENTS);
    let one = (Some("one".to_owned()), Some("http://gateway.test/page".to_owned()));
    let two = (Some("two".to_owned()), Some("http://gateway.test/two".to_owned()));
    for (request, wanted) in [
        ("GET /page HTTP/1.1", &one),
        ("GET /page?client_id=two HTTP/1.1", &two),
        ("GET /page?client_id=2 HTTP/1.1", &two),
        ("GET /page?client_id=one HTTP/1.1", &one),
        ("GET /page?client_id=three HTTP/1.1", &one),
        ("GET /page?client_id=0 HTTP/1.1", &one),
        ("GET /page HTTP/1.1\nclient_id: two", &two),
    ] {
        assert_eq!(client_of(&world.begin(request)), *wanted, "{request}");
    }
    let mut other = World::new(&format!("{CLIENTS}, client_arg: tenant"));
    assert_eq!(client_of(&other.begin("GET /page?client_id=two HTTP/1.1")), one);
    assert_eq!(client_of(&other.begin("GET /page?tenant=two HTTP/1.1")), two);
    let room = Subject(plugin::room::<OpenidConnect>());
    let many: Vec<String> = (0..33).map(|number| format!("c{number}")).collect();
    let config =
        format!("{{issuer: 'http://issuer.test', auth_methods: [bearer], client_id: [{}]}}", many.join(", "));
    assert!(room.refuses(&config).contains("client_id: has more than 32 clients"));
}

#[test]
fn people_stay_with_the_client_that_they_logged_in_at() {
    let mut world =
        World::new(&format!("{CLIENTS}, logout_query_arg: logout, backchannel_logout_uri_suffix: /ended"));
    let begun = world.begin("GET /page?client_id=two HTTP/1.1");
    world.give(begun.argument("nonce").as_deref(), json!({"aud": "two", "sid": "s"}));
    let outcome = world.harness.send(&begun.back(""));
    assert_passes(&outcome);
    let asked = world.asked("/token").pop().unwrap();
    // "two:s2".
    assert_eq!(asked.header("Authorization").as_deref(), Some("Basic dHdvOnMy"));
    let session = cookies(&outcome);
    assert_passes(&world.page(&session));
    let elsewhere = world.harness.send(&format!("GET /page?client_id=one HTTP/1.1\nCookie: {session}"));
    assert_eq!(elsewhere.status, 302, "it is no session of the other client");
    let event = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    let said =
        claims(json!({"iss": world.provider.url(""), "aud": "two", "events": event, "sid": "s", "jti": "1"}));
    let token = sign(&key(P256, "one"), &said);
    let form = "Content-Type: application/x-www-form-urlencoded";
    let told = world.harness.send(&format!("POST /a/ended HTTP/1.1\n{form}\n\nlogout_token={token}"));
    assert_eq!(told.status, 200);
    assert_eq!(world.page(&session).status, 302, "ended at the provider");
}

/// The room before `acl`, which lets the group `gold` pass.
fn before_acl(fields: &str) -> Harness {
    let document = format!(
        r#"
_format_version: "3.0"
plugins:
- name: openid-connect
  config: {{issuer: "{ISSUER}", auth_methods: [bearer], display_errors: true, {fields}}}
- {{name: acl, config: {{allow: [gold], include_consumer_groups: true}}}}
consumer_groups:
- {{name: gold}}
- {{name: silver}}
"#
    );
    // Rooms import no others; tests of how they meet take them from the list.
    let acl = crate::ROOMS.iter().find(|room| room.name() == "acl").unwrap();
    let rooms = [plugin::room::<OpenidConnect>(), *acl];
    let harness = Harness::chain(&rooms, &document).unwrap();
    publish(&harness, &[key(P256, "one")]);
    harness
}

#[test]
fn a_claim_names_consumer_groups() {
    let status = |fields: &str, others: Value| before_acl(fields).send(&bearer(&token(others))).status;
    let fields = "consumer_groups_claim: [tier]";
    assert_eq!(status(fields, json!({"tier": "gold"})), 200);
    assert_eq!(status(fields, json!({"tier": ["other", "gold"]})), 200);
    assert_eq!(status(fields, json!({"tier": "silver"})), 403, "another group: acl refuses");
    let none = before_acl(fields).send(&bearer(&token(json!({"tier": "other"}))));
    assert_forbidden(&none, "no consumer group");
    assert_forbidden(&before_acl(fields).send(&bearer(&token(json!({})))), "no consumer group");
    let nested = "consumer_groups_claim: [realm, tier]";
    assert_eq!(status(nested, json!({"realm": {"tier": "gold"}})), 200);
    assert_passes(&send(&format!("{fields}, consumer_groups_optional: true"), json!({})));
    assert_eq!(status("authenticated_groups_claim: [tier]", json!({"tier": "gold"})), 200);
    assert_eq!(status("authenticated_groups_claim: [tier]", json!({"tier": "silver"})), 403);
}
