//! Who guesses: failures at one gateway are failures at all of them, to the last one, and each gateway counts by itself
//! while Redis is away.

use super::server::Server;
use super::{Client, Lab, expect, told};
use crate::gateway::Gateway;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::thread;

/// Guesses that are made at once.
const GUESSES: usize = 24;
/// Failures that are borne, in a window that does not end within the story.
const FAILURES: usize = 3;

fn gateway(lab: &Lab, name: &str, port: u16) -> Result<Gateway, String> {
    let guard = format!(
        "brute_force_protection: {{strategy: redis, failures: {FAILURES}, window: 86400, redis: {{host: 127.0.0.1, port: \
         {port}}}}}"
    );
    let route = |plugin: &str| {
        format!(
            "- {{name: {plugin}, paths: [/{plugin}], plugins: [{{name: {plugin}, config: {{{guard}}}}}]}}\n"
        )
    };
    let text = format!(
        "_format_version: \"3.0\"\nplugins:\n- {{name: request-termination, config: {{status_code: 200}}}}\n\
         routes:\n{}{}consumers:\n- username: bob\n  keyauth_credentials: [{{key: right}}]\n  basicauth_credentials:\n  \
         - {{username: ada, password: right}}\n  - {{username: eve, password: right}}\n  \
         - {{username: bob, password: right}}\n  - {{username: joe, password: right}}\n  \
         - {{username: slow, password_hash: \"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\"}}\n",
        route("basic-auth"),
        route("key-auth"),
    );
    lab.start(name, &text, &[])
}

fn login(gateway: &Gateway, username: &str, password: &str) -> Result<u16, String> {
    let login = STANDARD.encode(format!("{username}:{password}"));
    Ok(Client::of(gateway)?.ask("basic-auth", &format!("Authorization: Basic {login}"))?.status())
}

fn key(gateway: &Gateway, key: &str) -> Result<u16, String> {
    Ok(Client::of(gateway)?.ask("key-auth", &format!("apikey: {key}"))?.status())
}

/// Guesses alternate between gateways, or come at once; then Redis goes.
pub(super) fn of_two_gateways(lab: &Lab) -> Result<(), String> {
    let mut redis = Server::start(lab.folder(), "")?;
    let (one, other) = (gateway(lab, "one.yml", redis.port)?, gateway(lab, "other.yml", redis.port)?);
    let stories = alternate(&one, &other).and_then(|()| at_once(&one, &other)).and_then(|()| {
        redis.kill();
        without_redis(&one, &other)
    });
    told(&one, told(&other, stories))
}

fn alternate(one: &Gateway, other: &Gateway) -> Result<(), String> {
    for (username, right) in [("ada", "right"), ("slow", "U*U"), ("nobody", "right")] {
        let failures = [login(one, username, "a")?, login(other, username, "b")?, login(one, username, "c")?];
        expect(username, failures, [401; FAILURES])?;
        let late = [login(one, username, right)?, login(other, username, right)?];
        expect(&format!("{username}, too late"), late, [429, 429])?;
    }
    for round in 0..2 {
        let failures = [login(one, "eve", "a")?, login(other, "eve", "b")?];
        expect(&format!("eve, round {round}"), failures, [401, 401])?;
        expect("a right password clears them", login(one, "eve", "right")?, 200)?;
    }
    let failures = [key(one, "a")?, key(other, "b")?, key(one, "c")?];
    expect("keys", failures, [401; FAILURES])?;
    expect("a key, too late", [key(one, "right")?, key(other, "right")?], [429, 429])
}

/// However many come at the same time, through whatever gateway: no more of them learn that they are wrong.
fn at_once(one: &Gateway, other: &Gateway) -> Result<(), String> {
    let statuses: Result<Vec<u16>, String> = thread::scope(|scope| {
        let guesses: Vec<_> = (0..GUESSES)
            .map(|guess| {
                let gateway = [one, other][guess % 2];
                scope.spawn(move || login(gateway, "joe", &guess.to_string()))
            })
            .collect();
        guesses.into_iter().map(|guess| guess.join().unwrap_or(Err("it panicked".to_owned()))).collect()
    });
    let statuses = statuses?;
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    expect("at once", [count(401), count(429)], [FAILURES, GUESSES - FAILURES])
}

fn without_redis(one: &Gateway, other: &Gateway) -> Result<(), String> {
    for _ in 0..FAILURES {
        expect("a guess without Redis", login(one, "bob", "wrong")?, 401)?;
    }
    expect("this gateway has counted", login(one, "bob", "right")?, 429)?;
    expect("the other one knows nothing of it", login(other, "bob", "right")?, 200)
}
