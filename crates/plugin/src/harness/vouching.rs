//! Stands for an authentication plugin in tests of rooms that decide by what such plugins find out.

use std::sync::Arc;

use model::record;

use crate::claims::WantedClaims;
use crate::groups::KnownGroups;
use crate::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Scopes};

/// Takes the claims of a verified token from the header `token`, and groups and consumer groups that it vouches for from the
/// headers `vouched` and `vouched-consumer-groups`.
pub struct Vouching {
    wanted: Arc<WantedClaims>,
    consumer_groups: KnownGroups,
}

record! {
    /// Nothing can be set.
    pub struct VouchingConfig {}
}

impl Plugin for Vouching {
    const NAME: &'static str = "vouching";
    const PRIORITY: i64 = 3000;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::ALL;
    const DOC: &'static str = "";

    type Config = VouchingConfig;

    fn build(_: VouchingConfig, cx: &Build<'_>) -> Result<Self, BuildError> {
        Ok(Self { wanted: cx.wanted_claims()?, consumer_groups: KnownGroups::new(cx) })
    }
}

impl Phases for Vouching {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        if let Some(claims) = cx.request.headers.get("token").and_then(|json| self.wanted.read(json)) {
            cx.vouch_for_claims(claims);
        }
        if let Some(groups) = names(cx, "vouched") {
            cx.vouch_for_groups(groups.into());
        }
        if let Some(groups) = names(cx, "vouched-consumer-groups") {
            let groups = groups.iter().map(|name| &**name);
            cx.vouch_for_consumer_groups(Arc::new(self.consumer_groups.named(groups)));
        }
        Flow::Next
    }
}

fn names(cx: &Access<'_>, field: &str) -> Option<Vec<Box<str>>> {
    let names = cx.request.headers.get(field)?;
    Some(String::from_utf8_lossy(names).split(',').map(Box::from).collect())
}
