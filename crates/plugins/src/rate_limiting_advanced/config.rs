//! What the plugin takes, as Kong's has it.

use plugin::limits::MOST_LIMITS;
use plugin::model::schema::Value;
use plugin::record;
use plugin::redis::fields::FullRedis;
use plugin::refusal::Answer;

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
        /// Requests per window, one number for each `window_size`; at most eight.
        limit: Vec<f64>, [custom_value(countable)];
        /// Lengths of the windows in whole seconds. Windows count from 1970.
        window_size: Vec<f64>, [custom_value(measurable)];
        /// Whether a window ends all at once (`fixed`), or the one before counts as far as it still lies within one
        /// length from now (`sliding`).
        window_type: String = "sliding", [one_of(&["sliding", "fixed"])];
        /// `gcra` counts no windows: requests may come as an even stream of `limit` a `window_size`, and `burst` of
        /// them ahead of it. `window` is what `window_type` says.
        algorithm: String = "window", [one_of(&["window", "gcra"]), extension()];
        /// Requests that may come at once with `algorithm: gcra`, one number for each limit; a tenth of the limit
        /// where it is not given.
        burst: Option<Vec<f64>>, [custom_value(countable), extension()];
        /// Whose requests are counted together. Where a request has none, the client's address stands in.
        identifier: String = "consumer", [one_of(&[
            "ip", "credential", "consumer", "service", "header", "path", "consumer-group", "route"])];
        /// Several of these together, in place of `identifier`.
        compound_identifier: Option<Vec<String>>, [each(one_of(&[
            "ip", "credential", "consumer", "service", "header", "path", "consumer-group", "route"]))];
        /// The name by which consumers are told apart. One without it is told by its id.
        counter_key: Option<String>, [one_of(&["consumer.id", "consumer.username", "consumer.custom_id"])];
        /// The request header whose value identifies the caller.
        header_name: Option<String>, [header_name()];
        /// The path whose requests are counted together. Compared as a whole.
        path: Option<String>, [path()];
        /// What counters belong to: instances with the same namespace and windows count together, in Redis also those
        /// of other gateways. The plugin's id where it is not given.
        namespace: Option<String>;
        /// Where requests are counted: in this process (`local`), or in Redis, shared by all gateways that use it.
        /// `cluster` needs a database.
        strategy: String = "local", [one_of(&["cluster", "redis", "local"]), custom_value(available_strategy)];
        /// Seconds between exchanges with Redis, from 0.02: requests are counted here and told there. 0 counts every
        /// request there, exactly; -1 never tells Redis. Needed with `strategy: redis`.
        sync_rate: Option<f64>, [custom_value(possible_rate)];
        /// Redis, with `strategy: redis`.
        redis: FullRedis;
        /// What happens while Redis does not answer and every request is counted there: requests are counted in this
        /// process (`local`), pass uncounted (`open`), or are answered 500 (`closed`).
        failure_mode: String = "local", [one_of(&["local", "open", "closed"]), extension()];
        /// Names a set of local counters: those of different names are apart.
        dictionary_name: String = "kong_rate_limiting_counters";
        /// Kong's dictionary for locks. There is none here, so that only the default can be given.
        lock_dictionary_name: String = "kong_locks", [custom_value(only_locks)];
        /// Do not count refused requests in sliding windows. They are counted by default, so that who goes on asking
        /// stays out.
        disable_penalty: bool = false;
        /// Most seconds that are added to `Retry-After`, at random.
        retry_after_jitter_max: f64 = 0, [custom_value(possible_jitter)];
        /// Have requests wait for room.
        throttling: Throttling;
        /// The consumer groups whose own limits take the place of these, with `enforce_consumer_groups`.
        consumer_groups: Option<Vec<String>>;
        /// Hold members of `consumer_groups` to the limits of this plugin's instance on their group, also where
        /// another instance goes before it.
        enforce_consumer_groups: bool = false;
        /// Do not tell clients about limits: neither the rate limit headers nor `Retry-After` are sent.
        hide_client_headers: bool = false;
        /// Status code of a refusal.
        error_code: f64 = 429, [custom_value(status_code)];
        /// Message of a refusal.
        error_message: String = "API rate limit exceeded";
        /// The body of a refusal in place of `error_message` in the usual one.
        answer: Answer, [extension()];
    }
    checks: [
        custom(as_many_windows_as_limits),
        custom(rates_of_redis),
        custom(identified),
    ]
}

fn numbers(values: &Value) -> Vec<f64> {
    values.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

fn countable(limits: &Value) -> Result<(), String> {
    match numbers(limits).iter().all(|limit| *limit > 0.0 && *limit < f64::from(u32::MAX)) {
        true => Ok(()),
        false => Err(format!("expected numbers above 0 and below {}", u32::MAX)),
    }
}

fn measurable(sizes: &Value) -> Result<(), String> {
    let is_size = |size: &f64| size.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(size);
    match numbers(sizes).iter().all(is_size) {
        true => Ok(()),
        false => Err("expected whole seconds, at least 1".to_owned()),
    }
}

fn available_strategy(strategy: &Value) -> Result<(), String> {
    match strategy.as_str() {
        Some("cluster") => {
            Err("expected one of: local, redis (strategy 'cluster' needs a database)".to_owned())
        }
        _ => Ok(()),
    }
}

fn possible_rate(rate: &Value) -> Result<(), String> {
    match rate.as_f64() {
        Some(rate) if rate == -1.0 || rate == 0.0 || (0.02..=86_400.0).contains(&rate) => Ok(()),
        _ => Err("expected -1, 0, or seconds from 0.02 to 86400".to_owned()),
    }
}

fn only_locks(name: &Value) -> Result<(), String> {
    match name.as_str() {
        Some("kong_locks") => Ok(()),
        _ => Err("there is no dictionary for locks here: leave lock_dictionary_name out".to_owned()),
    }
}

fn possible_jitter(jitter: &Value) -> Result<(), String> {
    match jitter.as_f64() {
        Some(jitter) if (0.0..=1_000_000.0).contains(&jitter) => Ok(()),
        _ => Err("expected seconds from 0 to 1000000".to_owned()),
    }
}

fn status_code(code: &Value) -> Result<(), String> {
    let code = code.as_f64().unwrap_or_default();
    if code.fract() == 0.0 && (200.0..600.0).contains(&code) {
        return Ok(());
    }
    Err("expected a status code between 200 and 599".to_owned())
}

fn as_many_windows_as_limits(config: &Value) -> Result<(), String> {
    let (limits, windows) = (numbers(&config["limit"]).len(), numbers(&config["window_size"]).len());
    match limits {
        0 => Err("at least one limit and window_size are needed".to_owned()),
        _ if limits != windows => Err("You must provide the same number of windows and limits".to_owned()),
        _ if limits > MOST_LIMITS => Err(format!("at most {MOST_LIMITS} limits")),
        _ => Ok(()),
    }
}

fn rates_of_redis(config: &Value) -> Result<(), String> {
    let rate = config["sync_rate"].as_f64();
    match (config["strategy"] == "redis", rate) {
        (true, None) => {
            Err("sync_rate is needed with strategy 'redis': 0 counts every request there".to_owned())
        }
        (false, Some(rate)) if rate >= 0.0 => {
            Err("sync_rate can only be used with strategy 'redis'".to_owned())
        }
        _ => Ok(()),
    }
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
