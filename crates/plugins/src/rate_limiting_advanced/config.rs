//! What the plugin takes, as Kong's has it.

use plugin::limits::fields::{Telling, Windows};
use plugin::model::schema::Value;
use plugin::record;
use plugin::redis::fields::ProxiedRedis;

record! {
    /// Have requests beyond a limit wait for room instead of refusing them at once.
    pub struct Throttling {
        /// Whether they wait.
        enabled: bool = false;
        /// Seconds between two tries.
        interval: f64 = 5, [between(1, 1_000_000)];
        /// Requests that may wait at a time; more are refused at once.
        queue_limit: f64 = 5, [between(1, 1_000_000)];
        /// Tries before a request is refused after all.
        retry_times: f64 = 3, [between(1, 1_000_000)];
    }
}

record! {
    /// Limits how many requests a caller may make in several windows at once, in sliding or fixed windows or as an even
    /// stream.
    pub struct Config {
        ..windows: Windows;
        ..telling: Telling;
        /// Redis, with `strategy: redis`.
        redis: ProxiedRedis;
        /// Whose requests are counted together. Where a request has none, the client's address stands in.
        identifier: String = "consumer", [one_of(&[
            "ip", "credential", "consumer", "service", "header", "path", "consumer-group", "route"])];
        /// Several of these together, in place of `identifier`.
        compound_identifier: Option<Vec<String>>, [each(one_of(&[
            "ip", "credential", "consumer", "service", "header", "path", "consumer-group", "route"]))];
        /// The claim of the caller's token whose value identifies the caller, in place of `identifier`; with
        /// `compound_identifier` together with those. The token is one that an authentication plugin has verified.
        claim_name: Option<String>, [len_min(1), extension()];
        /// The name by which consumers are told apart. One without it is told by its id.
        counter_key: Option<String>, [one_of(&["consumer.id", "consumer.username", "consumer.custom_id"])];
        /// The request header whose value identifies the caller.
        header_name: Option<String>, [header_name()];
        /// The path whose requests are counted together. Compared as a whole.
        path: Option<String>, [path()];
        /// Have requests wait for room.
        throttling: Throttling;
        /// The consumer groups whose own limits take the place of these, with `enforce_consumer_groups`.
        consumer_groups: Option<Vec<String>>;
        /// Hold members of `consumer_groups` to the limits of this plugin's instance on their group, also where
        /// another instance goes before it.
        enforce_consumer_groups: bool = false;
    }
    checks: [custom(identified), custom(identified_by_one_thing)]
}

fn identified(config: &Value) -> Result<(), String> {
    let compound = config["compound_identifier"].as_array().filter(|compound| !compound.is_empty());
    let uses = |name: &str| match compound {
        Some(compound) => compound.iter().any(|identifier| identifier == name),
        None => config["identifier"] == name,
    };
    for (identifier, field) in [("header", "header_name"), ("path", "path")] {
        if uses(identifier) && config[field].is_null() {
            return Err(format!("identifier '{identifier}' needs '{field}'"));
        }
    }
    Ok(())
}

fn identified_by_one_thing(config: &Value) -> Result<(), String> {
    let alone = config["compound_identifier"].as_array().is_none_or(Vec::is_empty);
    if alone && !config["claim_name"].is_null() && config["identifier"] != "consumer" {
        return Err("'claim_name' takes the place of 'identifier': leave one of them out".to_owned());
    }
    Ok(())
}
