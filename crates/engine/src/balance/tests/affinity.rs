//! Clients find back to their targets: by the keys of consistent hashing, and by cookies.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::serde_json::{Value, json};
use plugin::clock::Clock;
use plugin::exchange::Client;
use plugin::identity::{Caller, Credential};
use plugin::services::Worker;
use plugin::{Exchange, Services};
use tokio::time::{Instant, advance};
use wire::h1::{Limits, Parsed, parse_request};

use super::load;
use super::world::{World, address, client, is_about};
use crate::balance::Asker;

/// A request for `target` with these header lines.
fn request(target: &str, headers: &str) -> Exchange {
    let worker = Rc::new(Worker::new(0, Services::new(1, Clock::default(), true)));
    let mut exchange = Exchange::new(worker, Client { ip: client(1), ..Client::default() });
    let head = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{headers}\r\n");
    let parsed = parse_request(head.as_bytes(), &Limits::default(), &mut exchange.request);
    assert!(matches!(parsed, Parsed::Complete { .. }), "{head}");
    exchange.normalized_path = exchange.request.path().to_vec();
    exchange
}

fn header(value: &str) -> Exchange {
    request("/", &format!("X-Key: {value}\r\n"))
}

fn by_header() -> Value {
    json!({"hash_on": "header", "hash_on_header": "X-Key"})
}

const MANY: [u64; 8] = [1; 8];

/// The targets of requests that differ in their key only.
fn targets<'a>(world: &World, requests: impl IntoIterator<Item = Exchange> + 'a) -> BTreeSet<usize> {
    requests.into_iter().map(|exchange| world.target_of(&exchange).0).collect()
}

#[test]
fn every_key_decides_and_nothing_else_does() {
    type Make = fn(usize) -> Exchange;
    let keys: [(Value, Make); 6] = [
        (by_header(), |key| header(&key.to_string())),
        (json!({"hash_on": "cookie", "hash_on_cookie": "c"}), |key| {
            request("/", &format!("Cookie: a=b; c={key}\r\n"))
        }),
        (json!({"hash_on": "path"}), |key| request(&format!("/{key}"), "")),
        (json!({"hash_on": "query_arg", "hash_on_query_arg": "q"}), |key| {
            request(&format!("/?a=1&q={key}"), "")
        }),
        (json!({"hash_on": "ip"}), |key| {
            let mut exchange = request("/", "");
            exchange.client.ip = client(u32::try_from(key).unwrap());
            exchange
        }),
        (json!({"hash_on": "uri_capture", "hash_on_uri_capture": "who"}), |key| {
            let mut exchange = request("/", "");
            exchange.captures.text = format!("/{key}").into_bytes();
            exchange.captures.groups = vec![None, Some(1..exchange.captures.text.len())];
            exchange.captures.names = Some(Arc::from([None, Some("who".into())]));
            exchange
        }),
    ];
    for (upstream, make) in keys {
        let world = World::new(upstream.clone(), &MANY);
        for key in [3, 40, 500] {
            let same = (0..20).map(|number: usize| {
                let mut exchange = make(key);
                exchange.request.headers.append("X-Other", number.to_string().as_bytes());
                exchange
            });
            assert_eq!(targets(&world, same).len(), 1, "{upstream}");
        }
        assert_eq!(targets(&world, (0..200).map(make)).len(), 8, "{upstream}");
    }
}

#[test]
fn the_consumer_is_the_key_or_else_the_credential() {
    let world = World::new(json!({"hash_on": "consumer"}), &MANY);
    let config = (0..40).map(|number| json!({"username": format!("u{number}")})).collect::<Vec<_>>();
    let consumers = load(json!({"consumers": config})).consumers.clone();
    let target = |consumer: Option<usize>, credential: u128| {
        let mut exchange = request("/", "");
        let id = uuid::Uuid::from_u128(credential);
        let credential = Credential { id, identifier: "i".into() };
        let consumer = consumer.map(|number| consumers[number].clone());
        exchange.identity.caller = Some(Caller::authenticated(consumer, credential));
        world.target_of(&exchange).0
    };
    let by_credential: BTreeSet<_> = (0..40).map(|credential| target(Some(7), credential)).collect();
    assert_eq!(by_credential.len(), 1, "whichever credential a consumer uses");
    assert!((0..40).map(|number| target(Some(number), 1)).collect::<BTreeSet<_>>().len() > 4);
    assert!((0..40).map(|credential| target(None, credential)).collect::<BTreeSet<_>>().len() > 4);
}

#[test]
fn without_its_key_a_request_goes_by_the_fallback_and_without_that_where_all_such_go() {
    let fallback = json!({
        "hash_on": "header", "hash_on_header": "X-Key",
        "hash_fallback": "query_arg", "hash_fallback_query_arg": "q",
    });
    let world = World::new(fallback, &MANY);
    let with = |number: usize| request(&format!("/?q={number}"), "X-Key: same\r\n");
    assert_eq!(targets(&world, (0..40).map(with)).len(), 1, "the key comes first");
    assert!(targets(&world, (0..40).map(|number| request(&format!("/?q={number}"), ""))).len() > 4);
    assert_eq!(targets(&world, (0..40).map(|number| request(&format!("/{number}"), ""))).len(), 1);
    let one = |world: &World, exchange| world.target_of(&exchange).0;
    assert_eq!(
        one(&world, request("/?q=5", "")),
        one(&world, header("5")),
        "the same value, the same target"
    );
}

#[test]
fn several_values_of_an_argument_count_sorted() {
    let world = World::new(json!({"hash_on": "query_arg", "hash_on_query_arg": "q"}), &MANY);
    let orders = ["/?q=b&q=a&q=c", "/?q=a&x=y&q=b&q=c", "/?q=c&q=%62&q=a", "/?q=a,b,c"];
    assert_eq!(targets(&world, orders.map(|target| request(target, ""))).len(), 1);
    let others = (0..40).map(|number| request(&format!("/?q=a&q={number}"), ""));
    assert!(targets(&world, others).len() > 4);
}

#[test]
fn a_capture_may_be_named_by_its_number() {
    let world = World::new(json!({"hash_on": "uri_capture", "hash_on_uri_capture": "1"}), &MANY);
    let captured = |number: usize| {
        let mut exchange = request("/", "");
        exchange.captures.text = format!("/{number}").into_bytes();
        exchange.captures.groups = vec![None, Some(1..exchange.captures.text.len())];
        exchange
    };
    assert!(targets(&world, (0..40).map(captured)).len() > 4);
}

#[test]
fn keys_spread_by_weight() {
    for weights in [&[1, 1, 1][..], &[100, 50, 50], &[1, 2, 3, 4]] {
        let world = World::new(json!({"hash_on": "ip", "slots": 65536}), weights);
        let shares = world.shares_of(world.by_client(50_000).into_iter());
        let sum: u64 = weights.iter().sum();
        for (share, weight) in shares.iter().zip(weights) {
            let expected = 50_000.0 * *weight as f64 / sum as f64;
            assert!(is_about(*share, expected, 0.05), "{weights:?}: {shares:?}");
        }
    }
}

#[test]
fn when_a_target_goes_only_its_keys_move_and_when_one_comes_only_to_it() {
    let weights = [10, 20, 30, 40];
    for upstream in [json!({"hash_on": "ip"}), json!({"hash_on": "ip", "slots": 1000})] {
        let mut world = World::new(upstream, &weights);
        let before = world.by_client(20_000);
        for leaving in 0..4 {
            let mut left = weights;
            left[leaving] = 0;
            world.set_targets(&left);
            let after = world.by_client(20_000);
            let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
            assert!(moved.clone().all(|(before, _)| *before == leaving));
            assert_eq!(moved.count(), before.iter().filter(|target| **target == leaving).count());
            world.set_targets(&weights);
            assert_eq!(world.by_client(20_000), before, "and back");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_had_moves_only_its_own_keys_and_a_slow_start_only_takes_its_own() {
    let mut world = World::new(json!({"hash_on": "ip", "slow_start": 100}), &[1, 1, 1]);
    advance(Duration::from_secs(1000)).await;
    let before = world.by_client(3000);
    world.standing(1).set_available(false, Instant::now());
    let without = world.by_client(3000);
    assert!(before.iter().zip(&without).all(|(before, after)| before == after || *before == 1));
    assert!(!without.contains(&1));
    world.standing(1).set_available(true, Instant::now());
    let mut had = 0;
    for (seconds, weight) in [(0, 0.1), (20, 0.2), (50, 0.5), (100, 1.0)] {
        let expected = 3000.0 * weight / (2.0 + weight);
        let age = world.standing(1).age(Instant::now());
        advance(Duration::from_secs(seconds) - age).await;
        let now = world.by_client(3000);
        assert!(
            now.iter()
                .zip(&before)
                .zip(&without)
                .all(|((now, before), without)| { now == without || (now == before && *before == 1) })
        );
        let has = now.iter().filter(|target| **target == 1).count();
        assert!(has >= had && is_about(has, expected, 0.15), "{has} after {seconds} s");
        had = has;
    }
    assert_eq!(world.by_client(3000), before);
    world.set_targets(&[1, 1, 1, 1]);
    let grown = world.by_client(3000);
    assert!(before.iter().zip(&grown).all(|(before, after)| before == after || *after == 3));
}

#[test]
fn retries_of_a_key_go_the_same_way_every_time() {
    let world = World::new(by_header(), &MANY);
    let exchange = header("a");
    let asker = Asker { client: client(1), exchange: Some(&exchange) };
    let way = || {
        let mut tried = Vec::new();
        for _ in 0..8 {
            let peer = world.pick_for(&asker, &tried, &mut Vec::new()).unwrap().peer;
            tried.push(peer.address);
        }
        tried
    };
    assert_eq!(way(), way());
    assert_eq!(way().into_iter().collect::<BTreeSet<_>>().len(), 8);
}

#[test]
fn a_cookie_to_hash_on_is_made_up_when_absent_and_leads_back() {
    let upstream = json!({"hash_on": "cookie", "hash_on_cookie": "sid", "hash_on_cookie_path": "/shop"});
    let world = World::new(upstream, &MANY);
    for _ in 0..20 {
        let (target, set) = world.target_of(&request("/", "Cookie: other=1\r\n"));
        let (cookie, attributes) = set.split_once(';').unwrap();
        assert_eq!(attributes, " Path=/shop; SameSite=Lax; HttpOnly");
        let value = cookie.strip_prefix("sid=").unwrap();
        assert!(uuid::Uuid::parse_str(value).is_ok(), "{value}");
        let (again, set) = world.target_of(&request("/", &format!("Cookie: {cookie}\r\n")));
        assert_eq!((again, set.as_str()), (target, ""), "and is not set again");
    }
}

#[test]
fn a_cookie_that_was_made_up_stays_the_same_over_retries() {
    let world =
        World::new(json!({"hash_on": "ip", "hash_fallback": "cookie", "hash_on_cookie": "sid"}), &MANY);
    assert_eq!(world.target_of(&request("/", "")).1, "", "not needed");
    let world = World::new(json!({"hash_on": "cookie", "hash_on_cookie": "sid"}), &MANY);
    let exchange = request("/", "");
    let asker = Asker { client: client(1), exchange: Some(&exchange) };
    let mut set_cookie = Vec::new();
    let first = world.pick_for(&asker, &[], &mut set_cookie).unwrap().peer;
    let made = set_cookie.clone();
    let second = world.pick_for(&asker, &[first.address], &mut set_cookie).unwrap().peer;
    assert_eq!(set_cookie, made);
    assert_ne!(first, second);
    let cookie = String::from_utf8(made).unwrap();
    let back = request("/", &format!("Cookie: {}\r\n", cookie.split_once(';').unwrap().0));
    assert_eq!(world.target_of(&back).0, first.target, "once the first is there again");
}

fn sticky() -> Value {
    json!({"algorithm": "sticky-sessions", "sticky_sessions_cookie": "sid", "slow_start": 1})
}

fn holding(set_cookie: &str) -> Exchange {
    request("/", &format!("Cookie: a=b; {}\r\n", set_cookie.split_once(';').unwrap().0))
}

#[tokio::test(start_paused = true)]
async fn a_session_stays_with_its_target() {
    let mut world = World::new(sticky(), &[1, 1, 1]);
    for _ in 0..10 {
        let (target, set) = world.target_of(&request("/", ""));
        assert!(set.ends_with("; Path=/; SameSite=Lax; HttpOnly"), "{set}");
        assert!(!set.contains("10.0.0"), "the address is not told");
        for _ in 0..5 {
            assert_eq!(world.target_of(&holding(&set)), (target, String::new()));
        }
        world.set_targets(&[1, 1, 1, 9]);
        assert_eq!(world.target_of(&holding(&set)), (target, String::new()), "whatever comes");
        world.set_targets(&[1, 1, 1]);
    }
    let (_, set) = world.target_of(&request("/", "Cookie: sid=0123456789abcdef0123456789abcdef\r\n"));
    assert!(set.starts_with("sid="), "a cookie that names no target is replaced");
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_target_cannot_be_had_moves_and_stays_there() {
    let world = World::new(sticky(), &[1, 1, 1]);
    let (target, set) = world.target_of(&request("/", ""));
    world.standing(target).set_available(false, Instant::now());
    let (other, moved) = world.target_of(&holding(&set));
    assert!(other != target && moved.starts_with("sid="));
    world.standing(target).set_available(true, Instant::now());
    assert_eq!(world.target_of(&holding(&moved)), (other, String::new()));
    // A retry moves it as well.
    let exchange = holding(&moved);
    let asker = Asker { client: client(1), exchange: Some(&exchange) };
    let mut set_cookie = Vec::new();
    let third = world.pick_for(&asker, &[address(other)], &mut set_cookie).unwrap().peer.target;
    assert!(third != other);
    assert_eq!(world.target_of(&holding(std::str::from_utf8(&set_cookie).unwrap())).0, third);
}

#[tokio::test(start_paused = true)]
async fn a_target_of_weight_zero_keeps_its_sessions_and_gets_no_new_ones() {
    let mut world = World::new(sticky(), &[1, 1]);
    let sessions: Vec<_> = (0..2).map(|_| world.target_of(&request("/", ""))).collect();
    let (_, set) = sessions.iter().find(|(target, _)| *target == 0).unwrap();
    world.set_targets(&[0, 1]);
    assert_eq!(world.target_of(&holding(set)), (0, String::new()));
    for _ in 0..10 {
        assert_eq!(world.target_of(&request("/", "")).0, 1);
    }
}
