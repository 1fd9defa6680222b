//! What can be set.

use std::collections::BTreeMap;

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
    /// Limits how many requests run at once; some others wait, ordered by priority.
    pub struct Config {
        /// Whose requests are counted together: those of each `service`, `route`, `consumer` (those without one
        /// together), or of this `plugin` entity.
        per: String = "service", [one_of(&["service", "route", "consumer", "plugin"])];
        /// Requests that run at once.
        limit: i64 = 100, [between(1, 100000)];
        /// Where requests wait for others to end.
        queue: Queue;
        /// Status code for those that are turned away.
        status: i64 = 503, [one_of(&[429, 503])];
        /// Message for those that are turned away.
        message: String = "Too many concurrent requests";
        /// `Retry-After` for those that are turned away, in seconds.
        retry_after: i64 = 1, [between(1, 86400)];
    }
}
