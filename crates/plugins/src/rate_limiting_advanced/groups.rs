//! Limits of consumer groups in place of the instance's own.

use std::sync::Arc;

use ahash::AHashMap;
use plugin::limits::fields::Windows;
use plugin::model::Record;
use plugin::{Access, Build, BuildError, Plugin};
use uuid::Uuid;

use super::{Config, Inner, RateLimitingAdvanced};

/// The limits of callers in groups that have some.
#[derive(Default)]
pub struct Overrides {
    by_consumer: AHashMap<Uuid, Arc<Inner>>,
    /// In the order of `consumer_groups`.
    by_group: Vec<(Uuid, Arc<Inner>)>,
}

impl Overrides {
    /// Those of `consumer_groups`, if they are enforced. A caller in several belongs to the one listed first.
    pub fn build(config: &Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let mut overrides = Self::default();
        if !config.enforce_consumer_groups {
            return Ok(overrides);
        }
        let names = config.consumer_groups.as_deref().unwrap_or_default();
        if names.is_empty() {
            let message = "enforced groups have to be named in 'consumer_groups'";
            return Err(BuildError::new("config.consumer_groups", message));
        }
        for name in names {
            let group = cx.config.find("consumer_groups", name).map(|found| found.id).ok_or_else(|| {
                BuildError::new("config.consumer_groups", format!("there is no consumer group '{name}'"))
            })?;
            let Some(limits) = limits_of(group, config, cx)? else { continue };
            let inner = Arc::new(Inner::build(&limits, &group.to_string(), cx)?);
            let members = cx.config.consumers.iter().map(|consumer| consumer.id);
            for member in members.filter(|id| cx.config.groups_of(*id).contains(&group)) {
                overrides.by_consumer.entry(member).or_insert_with(|| inner.clone());
            }
            overrides.by_group.push((group, inner));
        }
        Ok(overrides)
    }

    /// The limits that hold for the caller in place of the instance's own. Groups that whoever authenticated the caller vouches
    /// for count first, as they do where configurations are chosen.
    pub fn of(&self, cx: &Access<'_>) -> Option<&Arc<Inner>> {
        if self.by_group.is_empty() {
            return None;
        }
        let vouched = cx.identity.consumer_groups.as_ref().and_then(|groups| {
            let mut listed = self.by_group.iter();
            listed.find(|(group, _)| groups.ids.contains(group)).map(|(_, inner)| inner)
        });
        vouched.or_else(|| self.by_consumer.get(&cx.identity.consumer_id()?))
    }
}

/// The instance's configuration with what the group's own instance says about limits.
fn limits_of(group: Uuid, config: &Config, cx: &Build<'_>) -> Result<Option<Config>, BuildError> {
    let is_its = |row: &&Arc<plugin::model::PluginRow>| {
        row.name == RateLimitingAdvanced::NAME && row.consumer_group == Some(group) && row.enabled
    };
    let Some(row) = cx.config.plugins.iter().find(is_its) else { return Ok(None) };
    let theirs =
        Config::from_value(&row.config).map_err(|problem| BuildError::new("config", problem.to_string()))?;
    let (own, theirs) = (&config.windows, theirs.windows);
    Ok(Some(Config {
        windows: Windows {
            limit: theirs.limit,
            window_size: theirs.window_size,
            window_type: theirs.window_type,
            retry_after_jitter_max: theirs.retry_after_jitter_max,
            algorithm: theirs.algorithm,
            burst: theirs.burst,
            ..own.clone()
        },
        ..config.clone()
    }))
}
