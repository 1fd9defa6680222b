//! What can be set.

use std::collections::BTreeMap;

use plugin::model::schema::Value;
use plugin::record;

record! {
    /// Where requests wait for others to end.
    pub struct Queue {
        /// Requests that may wait; 0 turns away at once.
        size: i64 = 0, [between(0, 100000)];
        /// Seconds that one waits before it is turned away.
        seconds: f64 = 1, [between(0.001, 30)];
        /// Priority of requests, from 0 to 100: the higher one goes first, and takes the place of a lower one when the
        /// queue is full.
        priority: i64 = 50, [between(0, 100)];
        /// Priority of requests of consumers in these groups, by the name of the group; the highest counts.
        group_priorities: Option<BTreeMap<String, i64>>, [values(between(0, 100))];
        /// A request header that tells the priority, before all else. Clients can set it: name one only where they may,
        /// or where another plugin sets or removes it.
        priority_header: Option<String>, [header_name()];
    }
}

record! {
    /// How the number of requests that run at once follows from how long responses take.
    pub struct Adaptive {
        /// Whether it does. Then `limit` is the most that it ever comes to.
        enabled: bool = false;
        /// The least that it ever comes to.
        min: i64 = 4, [between(1, 100000)];
        /// How many times as long responses may take as when nobody waits for others, before fewer requests run. More keeps
        /// the service busier, less answers sooner.
        tolerance: f64 = 1.5, [between(1.1, 10)];
    }
}

record! {
    /// Limits how many requests run at once; some others wait, ordered by priority.
    pub struct Config {
        /// Whose requests are counted together: those of each `service`, `route`, `consumer` (those without one
        /// together), or of this `plugin` entity.
        per: String = "service", [one_of(&["service", "route", "consumer", "plugin"])];
        /// Requests that run at once.
        limit: i64 = 100, [between(1, 100000)];
        /// How that follows from how long responses take.
        adaptive: Adaptive;
        /// Where requests wait for others to end.
        queue: Queue;
        /// Status code for those that are turned away.
        status: i64 = 503, [one_of(&[429, 503])];
        /// Message for those that are turned away.
        message: String = "Too many concurrent requests";
        /// `Retry-After` for those that are turned away, in seconds.
        retry_after: i64 = 1, [between(1, 86400)];
    }
    checks: [custom_fields(bounds_are_in_order)]
}

fn bounds_are_in_order(config: &Value, faults: &mut plugin::model::schema::Faults) {
    let adaptive = &config["adaptive"];
    if adaptive["enabled"] == true && adaptive["min"].as_i64() > config["limit"].as_i64() {
        faults.field("adaptive.min", "must not be more than limit");
    }
}
