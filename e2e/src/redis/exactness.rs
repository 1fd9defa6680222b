//! Several gateways on one Redis hold one limit.

use super::server::Server;
use super::{Client, Lab, eventually, expect};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

const CLIENTS: usize = 50;
const REQUESTS: usize = 20;
const LIMIT: usize = 300;
/// Longer than any window ends by itself within the story, but for the last moment of a year.
const YEAR: u64 = 31_536_000;

/// Three gateways with two workers each and fifty clients who ask as fast as they can: the limit is admitted and not one
/// request more, with one round trip for each.
pub(super) fn three_gateways_and_fifty_clients(lab: &Lab) -> Result<(), String> {
    let redis = Server::start(lab.folder(), "")?;
    let port = redis.port;
    let advanced = |more: &str| {
        format!(
            "{{name: rate-limiting-advanced, config: {{limit: [{LIMIT}, 100000], window_size: [{YEAR}, {}], identifier: \
             service, strategy: redis, sync_rate: 0, failure_mode: closed, redis: {{port: {port}}}, {more}}}}}",
            2 * YEAR
        )
    };
    let plain = format!(
        "{{name: rate-limiting, config: {{month: {LIMIT}, year: 100000, limit_by: service, policy: redis, fault_tolerant: \
         false, redis: {{host: 127.0.0.1, port: {port}}}}}}}"
    );
    let (sliding, fixed) = (advanced("disable_penalty: true"), advanced("window_type: fixed"));
    let smooth = advanced(&format!("algorithm: gcra, burst: [{LIMIT}, 100000]"));
    let kinds = [("plain", plain.as_str()), ("sliding", &sliding), ("fixed", &fixed), ("smooth", &smooth)];
    let gateways = (0..3).map(|_| lab.gateway(&kinds, &[])).collect::<Result<Vec<_>, _>>()?;
    for (kind, _) in kinds {
        let before = redis.calls("evalsha")?;
        let outcomes: Result<Vec<Vec<u16>>, String> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let gateway = &gateways[client % gateways.len()];
                    scope.spawn(move || Client::of(gateway)?.statuses(kind, REQUESTS))
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap_or(Err("it panicked".to_owned()))).collect()
        });
        let statuses = outcomes?.concat();
        let count = |status| statuses.iter().filter(|found| **found == status).count();
        expect(&format!("{kind}: admitted"), count(200), LIMIT)?;
        expect(&format!("{kind}: refused"), count(429), CLIENTS * REQUESTS - LIMIT)?;
        let calls = redis.calls("evalsha")? - before;
        expect(&format!("{kind}: round trips"), calls, (CLIENTS * REQUESTS) as u64)?;
    }
    // Those that met a server which had not seen the script yet.
    let in_full = redis.calls("eval")?;
    if in_full > CLIENTS as u64 {
        return Err(format!("the script was sent in full {in_full} times"));
    }
    Ok(())
}

/// Requests are counted by each gateway itself and told in intervals; then the other one knows.
pub(super) fn counts_told_in_intervals(lab: &Lab) -> Result<(), String> {
    let redis = Server::start(lab.folder(), "")?;
    let plain = format!(
        "{{name: rate-limiting, config: {{year: 20, limit_by: service, policy: redis, sync_rate: 0.02, redis: {{host: \
         127.0.0.1, port: {}}}}}}}",
        redis.port
    );
    let smooth = format!(
        "{{name: rate-limiting-advanced, config: {{limit: [20], window_size: [{YEAR}], algorithm: gcra, burst: [20], \
         identifier: service, strategy: redis, sync_rate: 0.02, redis: {{port: {}}}}}}}",
        redis.port
    );
    let kinds = [("plain", plain.as_str()), ("smooth", &smooth)];
    let (one, other) = (lab.gateway(&kinds, &[])?, lab.gateway(&kinds, &[])?);
    for (kind, _) in kinds {
        let mut client = Client::of(&one)?;
        let statuses = client.statuses(kind, 30)?;
        expect(kind, statuses.iter().filter(|status| **status == 200).count(), 20)?;
        let mut client = Client::of(&other)?;
        let mut admitted = 0;
        // Asking seldom: each try waits for longer than the gateway does.
        eventually(|| match client.get(kind)? {
            429 => Ok(()),
            status => {
                admitted += 1;
                Err(format!("still {status}"))
            }
        })?;
        if admitted >= 20 {
            return Err(format!("{kind}: the other gateway admitted {admitted} by itself"));
        }
    }
    if redis.calls("evalsha")? >= 50 {
        return Err("requests were not told together".to_owned());
    }
    Ok(())
}

/// Requests of a sliding window that ends before they could be told are told all the same: they still count in the next one.
pub(super) fn counts_told_of_an_ended_window(lab: &Lab) -> Result<(), String> {
    const WINDOW: u64 = 2;
    let redis = Server::start(lab.folder(), "")?;
    let sliding = format!(
        "{{name: rate-limiting-advanced, config: {{limit: [1000000], window_size: [{WINDOW}], identifier: service, strategy: \
         redis, sync_rate: 1, redis: {{port: {}}}}}}}",
        redis.port
    );
    let gateway = lab.gateway(&[("sliding", sliding.as_str())], &[])?;
    let window = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / WINDOW);
    let (mut client, begun, mut asked) = (Client::of(&gateway)?, window(), 0);
    let mut left = 5;
    while left > 0 {
        expect("admitted", client.get("sliding")?, 200)?;
        asked += 1;
        left -= u64::from(window() > begun);
    }
    eventually(|| {
        let mut told = 0;
        for key in redis.ask(&["KEYS", "ratelimit:*"])? {
            told += redis.ask(&["GET", &key])?[0].parse::<u64>().map_err(|error| error.to_string())?;
        }
        expect("told", told, asked)
    })
}

/// Callers who were here before the clock of Redis was set back are not locked out for as long.
pub(super) fn a_clock_set_back(lab: &Lab) -> Result<(), String> {
    let redis = Server::start(lab.folder(), "")?;
    let smooth = |rate: &str| {
        format!(
            "{{name: rate-limiting-advanced, config: {{limit: [60], window_size: [60], algorithm: gcra, burst: [2], identifier: \
             service, strategy: redis, sync_rate: {rate}, redis: {{port: {}}}}}}}",
            redis.port
        )
    };
    for (kind, rate) in [("at-once", "0"), ("told", "0.02")] {
        redis.ask(&["FLUSHALL"])?;
        let gateway = lab.gateway(&[(kind, smooth(rate).as_str())], &[])?;
        let mut client = Client::of(&gateway)?;
        expect(kind, client.get(kind)?, 200)?;
        let key =
            eventually(|| redis.ask(&["KEYS", "ratelimit:*"])?.pop().ok_or("nothing is told".to_owned()))?;
        let now: u64 = redis.ask(&["TIME"])?[0].parse().map_err(|error| format!("{error}"))?;
        redis.ask(&["SET", &key, &format!("{}000000", now + 3600)])?;
        let waits = eventually(|| {
            let reply = client.ask(kind, "X-Tenant: -")?;
            let wait = reply.values("retry-after").first().and_then(|wait| wait.parse::<u64>().ok());
            wait.ok_or(format!("{kind}: still {}", reply.status()))
        })?;
        if waits > 2 {
            return Err(format!("{kind}: locked out for {waits} seconds"));
        }
        eventually(|| expect(kind, client.get(kind)?, 200))?;
    }
    Ok(())
}

/// What is left is told by every gateway as Redis knows it, without being counted; and as unknown once Redis is gone.
pub(super) fn what_is_left(lab: &Lab) -> Result<(), String> {
    let redis = Server::start(lab.folder(), "")?;
    let port = redis.port;
    let plain = format!(
        "{{name: rate-limiting, config: {{year: 20, limit_by: ip, policy: redis, fault_tolerant: false, redis: {{host: \
         127.0.0.1, port: {port}}}}}}}"
    );
    let advanced = |more: &str| {
        format!(
            "{{name: rate-limiting-advanced, config: {{limit: [20], window_size: [{YEAR}], identifier: ip, strategy: \
             redis, sync_rate: 0, redis: {{port: {port}}}, {more}}}}}"
        )
    };
    let (sliding, smooth) = (advanced("failure_mode: closed"), advanced("algorithm: gcra, burst: [20]"));
    let status = "{name: rate-limit-status, config: {routes: [plain, sliding, smooth]}}";
    let kinds = [("plain", plain.as_str()), ("sliding", &sliding), ("smooth", &smooth), ("status", status)];
    let (one, other) = (lab.gateway(&kinds, &[])?, lab.gateway(&kinds, &[])?);
    let mut asking = Client::of(&other)?;
    let mut remaining = || -> Result<Vec<serde_json::Value>, String> {
        let text = asking.ask("status", "X-Tenant: -")?.text();
        let told: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        let limits = told["limits"].as_array().cloned().unwrap_or_default();
        Ok(limits.iter().map(|limit| limit["remaining"].clone()).collect())
    };
    expect("before", remaining()?, vec![20.into(); 3])?;
    for (kind, count) in [("plain", 7), ("sliding", 20), ("smooth", 5)] {
        expect(kind, Client::of(&one)?.statuses(kind, count)?, vec![200; count])?;
    }
    for _ in 0..3 {
        expect("after", remaining()?, vec![13.into(), 0.into(), 15.into()])?;
    }
    expect(
        "counted",
        Client::of(&one)?.statuses("plain", 14)?.iter().filter(|status| **status == 200).count(),
        13,
    )?;
    drop(redis);
    // What the other gateway has counted itself decides where the failure mode says so: nothing.
    expect("without Redis", remaining()?, vec![serde_json::Value::Null, serde_json::Value::Null, 20.into()])
}

/// What was counted before a reload is told after it, though nobody asks any more.
pub(super) fn counts_told_over_a_reload(lab: &Lab) -> Result<(), String> {
    const MANY: usize = 1500;
    let redis = Server::start(lab.folder(), "")?;
    let text = |rate: &str| {
        format!(
            "_format_version: \"3.0\"\nplugins:\n- {{name: request-termination, config: {{status_code: 200}}}}\n- {{name: \
             rate-limiting, config: {{year: {MANY}, limit_by: ip, policy: redis, sync_rate: {rate}, redis: {{host: 127.0.0.1, \
             port: {}}}}}}}\nroutes:\n- {{name: plain, paths: [/plain]}}\n",
            redis.port
        )
    };
    let one = lab.start("one.yml", &text("3"), &[])?;
    let statuses = Client::of(&one)?.statuses("plain", MANY)?;
    expect("before", statuses.iter().filter(|status| **status == 200).count(), MANY)?;
    let more = text("3") + "- {name: more, paths: [/more]}\n";
    std::fs::write(&one.config, more).map_err(|error| error.to_string())?;
    one.signal("HUP")?;
    if !one.wait_for_line(|line| line.contains("reloaded") && !line.contains("not reloaded")) {
        return Err("there was no reload".to_owned());
    }
    let other = lab.start("other.yml", &text("0.02"), &[])?;
    let (mut client, mut admitted) = (Client::of(&other)?, 0);
    eventually(|| match client.get("plain")? {
        429 => Ok(()),
        status => {
            admitted += 1;
            Err(format!("still {status}, {admitted} times"))
        }
    })?;
    match admitted < MANY {
        true => Ok(()),
        false => Err(format!("the other gateway admitted {admitted} by itself")),
    }
}
