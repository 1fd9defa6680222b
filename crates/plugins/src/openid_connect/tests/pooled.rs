//! What gateways with one Redis find out once for all of them. The Redis is a real one.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use plugin::outbound::loopback::{Given, Loopback};

use super::holders::{Holder, assert_unproven};
use super::world::{World, behind, cookies};
use super::*;

/// Longest time for its start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server, ended with its test.
struct Redis {
    child: Child,
    port: String,
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Redis {
    fn start() -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let text = port.to_string();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &text]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let server = Self { child, port: text };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not listen");
            std::thread::park_timeout(Duration::from_millis(10));
        }
        server
    }

    fn ask(&self, words: &[&str]) -> String {
        let output =
            Command::new("redis-cli").args(["--raw", "-p", &self.port]).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// All that it holds.
    fn all(&self) -> String {
        let keys = self.ask(&["KEYS", "*"]);
        keys.lines().map(|key| format!("{key} {}", self.ask(&["GET", key]))).collect()
    }

    /// The fields by which gateways remember these items together.
    fn cache(&self, items: &str) -> String {
        format!(
            "session_secret: s, cluster_cache_strategy: redis, cluster_cache_items: [{items}], \
             cluster_cache_redis: {{port: {}}}",
            self.port
        )
    }
}

fn introspecting(provider: &Loopback, fields: &str) -> Harness {
    let address = provider.url("/introspect");
    behind(provider, &format!("auth_methods: [introspection], introspection_endpoint: '{address}', {fields}"))
}

/// A gateway that gets tokens for passwords.
fn asking_for_tokens(provider: &Loopback, fields: &str) -> Harness {
    let address = provider.url("/token");
    behind(provider, &format!("auth_methods: [password], token_endpoint: '{address}', {fields}"))
}

/// Somebody with a password comes, and gets in.
fn bring_password(mut gateway: Harness) {
    assert_passes(&gateway.send("GET / HTTP/1.1\nAuthorization: Basic YTpi"));
}

fn asked_for_tokens(provider: &Loopback) -> usize {
    provider.seen().iter().filter(|asked| asked.target == "/token").count()
}

fn provider() -> Loopback {
    Loopback::answering(|asked| match (asked.target.as_str(), asked.text().contains("token=good")) {
        ("/introspect", true) => Given::json(r#"{"active":true,"sub":"bob","exp":9999999999}"#),
        ("/introspect", false) => Given::json(r#"{"active":false}"#),
        ("/token", _) => Given::json(r#"{"access_token":"theirs","token_type":"Bearer","expires_in":600}"#),
        _ => Given::answer(500, &[], ""),
    })
}

#[test]
fn what_one_gateway_is_told_about_a_token_the_other_knows() {
    let (redis, provider) = (Redis::start(), provider());
    let fields = redis.cache("introspection");
    let (mut one, mut other) = (introspecting(&provider, &fields), introspecting(&provider, &fields));
    for gateway in [&mut one, &mut other] {
        assert_passes(&gateway.send(&bearer("good token")));
        assert_eq!(gateway.send(&bearer("bad")).status, 401);
    }
    assert_eq!(provider.seen().len(), 2, "each was asked about once");
    let all = redis.all();
    assert!(all.contains("openid-connect:introspection:"), "{all}");
    for secret in ["good", "bob", "active"] {
        assert!(!all.contains(secret), "{all}");
    }
    let mut stranger = introspecting(&provider, &fields.replace("session_secret: s", "session_secret: t"));
    assert_passes(&stranger.send(&bearer("good token")));
    assert_eq!(provider.seen().len(), 3, "another secret opens nothing");
    // What was said of a bad token is as old there as here.
    let mut late = introspecting(&provider, &fields);
    late.clock.advance(10_000);
    assert_eq!(late.send(&bearer("bad")).status, 401);
    assert_eq!(provider.seen().len(), 4);
}

#[test]
fn what_gateways_only_remember_together_nobody_needs() {
    let (redis, provider) = (Redis::start(), provider());
    let fields = redis.cache("introspection, tokens");
    drop(redis);
    let mut harness = introspecting(&provider, &fields);
    assert_passes(&harness.send(&bearer("good token")));
    bring_password(asking_for_tokens(&provider, &fields));
    assert_eq!(asked_for_tokens(&provider), 1, "the provider was asked all the same");
}

#[test]
fn tokens_for_credentials_are_asked_for_once() {
    let (redis, provider) = (Redis::start(), provider());
    for _ in 0..2 {
        bring_password(asking_for_tokens(&provider, &redis.cache("tokens")));
    }
    assert_eq!(asked_for_tokens(&provider), 1);
    assert!(redis.all().contains("openid-connect:tokens:") && !redis.all().contains("theirs"));
    bring_password(asking_for_tokens(&provider, &redis.cache("introspection")));
    assert_eq!(asked_for_tokens(&provider), 2);
}

#[test]
fn a_refresh_token_of_a_session_is_used_by_one_gateway() {
    let redis = Redis::start();
    let in_redis = format!("session_storage: redis, redis: {{port: {}}}", redis.port);
    let in_cookies = format!(
        "cluster_cache_strategy: redis, cluster_cache_items: [tokens], cluster_cache_redis: {{port: {}}}",
        redis.port
    );
    for fields in [in_redis, in_cookies] {
        let fields = format!("leeway: 10, {fields}");
        let mut world = World::new(&fields);
        let mut other = World::gateway(&world.provider, &fields);
        let session = cookies(&world.log_in(json!({}), json!({"refresh_token": "r1"})));
        world.give_with(None, json!({}), json!({"access_token": "second", "refresh_token": "r2"}));
        [&world.harness, &other].iter().for_each(|harness| harness.clock.advance(90_000));
        for outcome in [world.page(&session), other.send(&format!("GET /page HTTP/1.1\nCookie: {session}"))] {
            assert_passes(&outcome);
            assert_eq!(
                outcome.upstream_header("Authorization").as_deref(),
                Some("Bearer second"),
                "{fields}"
            );
        }
        assert_eq!(world.asked("/token").len(), 2, "one login, and one use of the refresh token: {fields}");
    }
}

#[test]
fn a_session_that_gets_a_new_id_and_newer_tokens_at_once_goes_on() {
    let redis = Redis::start();
    let fields = format!(
        "leeway: 10, session_idling_timeout: 3600, session_storage: redis, redis: {{port: {}}}",
        redis.port
    );
    let mut world = World::new(&fields);
    let session = cookies(&world.log_in(json!({}), json!({"refresh_token": "r1"})));
    world.give_with(None, json!({}), json!({"access_token": "second", "refresh_token": "r2"}));
    world.harness.clock.advance(95_000);
    let renewed = world.page(&session);
    assert_passes(&renewed);
    world.harness.clock.advance(11_000);
    let newer = world.page(&cookies(&renewed));
    assert_passes(&newer);
    assert_eq!(newer.upstream_header("Authorization").as_deref(), Some("Bearer second"));
    assert_eq!(world.asked("/token").len(), 2, "one login, and one use of the refresh token");
}

/// A gateway with sessions in this Redis, and somebody who is logged in there.
fn logged_in(redis: &Redis, fields: &str) -> (World, String) {
    let fields = format!("session_storage: redis, redis: {{port: {}}}, {fields}", redis.port);
    let mut world = World::new(&fields);
    let session = cookies(&world.log_in(json!({}), json!({"expires_in": 36_000})));
    (world, session)
}

#[test]
fn a_session_that_is_used_in_its_last_seconds_goes_on() {
    let redis = Redis::start();
    let (mut world, session) = logged_in(&redis, "session_idling_timeout: 20");
    let key = redis.ask(&["KEYS", "*:session:*"]).trim().to_owned();
    redis.ask(&["PEXPIRE", &key, "5000"]);
    let left_ms = || redis.ask(&["PTTL", &key]).trim().parse::<i64>().unwrap();
    world.harness.clock.advance(15_000);
    assert_passes(&world.page(&session));
    assert!(left_ms() > 15_000, "{}", left_ms());
}

#[test]
fn a_session_is_remembered_when_the_first_one_is_over_but_still_there() {
    let redis = Redis::start();
    let (mut world, session) = logged_in(
        &redis,
        "session_remember: true, session_idling_timeout: 900, session_remember_rolling_timeout: 604800",
    );
    world.harness.clock.advance(901_000);
    assert_passes(&world.page(&session));
    assert_eq!(world.asked("/token").len(), 1, "nobody logs in anew");
}

#[test]
fn what_a_gateway_has_seen_used_it_knows_when_redis_does_not_any_more() {
    let redis = Redis::start();
    let fields = format!("proof_of_possession_dpop: strict, {}", redis.cache("introspection"));
    let (mut gateway, mut holder) = (harness(&fields).in_real_time(), Holder::new());
    let proof = holder.proof(json!({}), json!({}));
    assert_passes(&gateway.send(&holder.request(&proof)));
    redis.ask(&["FLUSHALL"]);
    assert_unproven(&gateway.send(&holder.request(&proof)), "a proof that has been used already");
}

#[test]
fn nobody_uses_a_refresh_token_when_it_cannot_be_known_whether_another_does() {
    let redis = Redis::start();
    let fields = format!("leeway: 10, session_storage: redis, redis: {{port: {}}}", redis.port);
    let mut world = World::new(&fields);
    let session = cookies(&world.log_in(json!({}), json!({"refresh_token": "r1"})));
    // Reading goes on, and nothing can be taken.
    redis.ask(&["ACL", "SETUSER", "default", "-eval", "-evalsha"]);
    world.harness.clock.advance(90_000);
    assert_passes(&world.page(&session));
    assert_eq!(world.asked("/token").len(), 1, "the token that is good still is used");
    world.harness.clock.advance(11_000);
    assert_eq!(world.page(&session).status, 500);
    assert_eq!(world.asked("/token").len(), 1);
}

#[test]
fn a_proof_is_good_at_one_gateway_alone() {
    let redis = Redis::start();
    let fields = format!("proof_of_possession_dpop: strict, {}", redis.cache("introspection"));
    let gateway = || harness(&fields).in_real_time();
    let (mut one, mut other, mut holder) = (gateway(), gateway(), Holder::new());
    let first = holder.proof(json!({}), json!({}));
    assert_passes(&one.send(&holder.request(&first)));
    assert_unproven(&other.send(&holder.request(&first)), "a proof that has been used already");
    assert_unproven(&one.send(&holder.request(&first)), "a proof that has been used already");
    let second = holder.proof(json!({}), json!({}));
    assert_passes(&other.send(&holder.request(&second)));
    drop(redis);
    assert_eq!(holder.send(&mut one, json!({})).status, 500, "nobody knows whether it was used");
}

#[test]
fn a_login_is_good_at_one_gateway_alone() {
    let redis = Redis::start();
    let fields = format!("session_storage: redis, redis: {{port: {}}}", redis.port);
    let mut world = World::new(&fields);
    let mut other = World::gateway(&world.provider, &fields);
    let begun = world.begin("GET /page HTTP/1.1");
    world.give(begun.argument("nonce").as_deref(), json!({}));
    assert_passes(&other.send(&begun.back("")));
    let again = world.harness.send(&begun.back(""));
    assert_eq!(again.json()["message"], "Unauthorized (the login has been used already)");
}
