//! The fields that say what happens to who fails again and again.

use std::sync::Arc;

use model::record;

use super::{Guard, Rules};
use crate::build::{Build, BuildError};
use crate::redis::Store;
use crate::redis::fields::Redis;

record! {
    /// How many failures there may be, as configurations say it.
    pub struct Bounds {
        /// Failures of a username from a client's address after which it has to wait. Of a username from everywhere, and
        /// of an address for whatever usernames, ten times as many.
        failures: i64 = 3, [between(1, 10000), extension()];
        /// Seconds in which they count.
        window: i64 = 60, [between(1, 86400), extension()];
    }
}

record! {
    /// Where failures are counted, as configurations say it.
    pub struct Counting {
        /// Where failures are counted: nowhere (`off`), in the memory of this gateway, or in Redis, for all gateways that use
        /// the same one. While Redis does not answer, each gateway counts by itself. `cluster` is refused: there is no
        /// database that gateways share.
        strategy: String = "off", [one_of(&["cluster", "memory", "off", "redis"])];
        /// The server of the strategy `redis`, which needs its `host`.
        redis: Redis;
    }
}

record! {
    /// What happens to who fails again and again.
    pub struct Protection {
        ..bounds: Bounds;
        ..counting: Counting;
    }
}

impl Protection {
    /// The guard of an instance of `plugin`; none where nothing is counted.
    ///
    /// # Errors
    /// A field that cannot be honoured.
    pub fn guard(&self, cx: &Build<'_>, plugin: &str) -> Result<Option<Arc<Guard>>, BuildError> {
        self.counting.guard(cx, plugin, Rules::of(self.bounds.failures, self.bounds.window))
    }
}

impl Counting {
    /// The guard of an instance of `plugin` by these rules; none where nothing is counted.
    ///
    /// # Errors
    /// A field that cannot be honoured.
    pub fn guard(
        &self,
        cx: &Build<'_>,
        plugin: &str,
        rules: Rules,
    ) -> Result<Option<Arc<Guard>>, BuildError> {
        const FIELD: &str = "config.brute_force_protection";
        let refuse = |field: &str, message: &str| Err(BuildError::new(format!("{FIELD}.{field}"), message));
        let store = match self.strategy.as_str() {
            "off" => return Ok(None),
            "memory" => None,
            "redis" if self.redis.host.as_deref().is_none_or(str::is_empty) => {
                return refuse("redis.host", "required with strategy 'redis'");
            }
            "redis" => Some(Store::open(cx, self.redis.settings(&format!("{FIELD}.redis"))?)?),
            _ => {
                let message =
                    "failures are not counted in a database: use 'redis' for several gateways, or 'memory'";
                return refuse("strategy", message);
            }
        };
        Ok(Some(Guard::new(cx.services, plugin, rules, store)))
    }
}

impl Rules {
    /// So many failures in so many seconds.
    #[must_use]
    pub fn of(failures: i64, window: i64) -> Self {
        let narrow = |number: i64| u32::try_from(number).unwrap_or(1);
        Self { failures: narrow(failures), window: narrow(window) }
    }
}
