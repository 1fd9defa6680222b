//! Where a caller's roles and scopes come from.

use std::ops::ControlFlow;
use std::sync::Arc;

use plugin::claims::{Claims, WantedClaims};
use plugin::groups::Groups;
use plugin::{Build, BuildError, Exchange};
use serde_json::Value;

use super::config::Config;

/// The places where roles and scopes are looked for.
pub(super) struct Sources {
    groups: Arc<Groups>,
    consumer_groups: bool,
    authenticated_groups: bool,
    role_claims: Box<[ClaimPath]>,
    role_header: Option<Box<str>>,
    scope_claims: Box<[ClaimPath]>,
}

/// Where a claim is: under a name, or under names below each other.
#[derive(Debug)]
pub(super) struct ClaimPath {
    whole: usize,
    below: Option<(usize, Box<[Box<str>]>)>,
}

impl Sources {
    pub(super) fn new(config: &Config, wanted: &WantedClaims, cx: &Build<'_>) -> Result<Self, BuildError> {
        let paths = |claims: &[String]| claims.iter().map(|claim| ClaimPath::new(claim, wanted)).collect();
        Ok(Self {
            groups: Groups::of_configuration(cx)?,
            consumer_groups: config.roles_from.consumer_groups,
            authenticated_groups: config.roles_from.authenticated_groups,
            role_claims: paths(&config.roles_from.claims),
            role_header: config.roles_from.header.as_deref().map(Box::from),
            scope_claims: paths(&config.scopes_from.claims),
        })
    }

    /// The groups of the consumer, if there is one.
    pub(super) fn groups<'e>(&'e self, exchange: &'e Exchange) -> &'e [Arc<str>] {
        exchange.identity.consumer_id().map_or(&[], |consumer| self.groups.of(consumer))
    }

    /// Shows every role of the caller; some may come twice.
    pub(super) fn each_role<'e>(&'e self, exchange: &'e Exchange, show: &mut dyn FnMut(&'e str)) {
        if self.consumer_groups {
            self.groups(exchange).iter().for_each(|group| show(group));
            let vouched = exchange.identity.consumer_groups.iter();
            vouched.flat_map(|groups| groups.names.iter()).for_each(|group| show(group));
        }
        if self.authenticated_groups {
            exchange.identity.groups.iter().flat_map(|groups| groups.iter()).for_each(|group| show(group));
        }
        if let Some(claims) = exchange.identity.claims.as_deref() {
            for value in self.role_claims.iter().filter_map(|claim| claim.find(claims)) {
                let _all = each_text(value, &mut |role| {
                    show(role);
                    ControlFlow::Continue(())
                });
            }
        }
        if let Some(header) = &self.role_header {
            let values = exchange.request.headers.all(header).filter_map(|value| str::from_utf8(value).ok());
            let roles = values.flat_map(|value| value.split(',')).map(str::trim);
            roles.filter(|role| !role.is_empty()).for_each(show);
        }
    }

    /// Shows every scope of the caller's token; some may come twice.
    pub(super) fn each_scope<'e>(&'e self, exchange: &'e Exchange, show: &mut dyn FnMut(&'e str)) {
        let Some(claims) = exchange.identity.claims.as_deref() else { return };
        for value in self.scope_claims.iter().filter_map(|claim| claim.find(claims)) {
            let _all = each_text(value, &mut |scopes| {
                scopes.split_ascii_whitespace().for_each(&mut *show);
                ControlFlow::Continue(())
            });
        }
    }
}

/// Shows a text, or every text of a list, until one is enough.
pub(super) fn each_text<'e>(
    value: &'e Value,
    show: &mut dyn FnMut(&'e str) -> ControlFlow<()>,
) -> ControlFlow<()> {
    match value {
        Value::String(text) => show(text),
        Value::Array(elements) => elements.iter().filter_map(Value::as_str).try_for_each(show),
        _ => ControlFlow::Continue(()),
    }
}

impl ClaimPath {
    /// The claim that is called `claim`, or else the one that `claim` leads to, its dots between the names of objects and
    /// their members.
    pub(super) fn new(claim: &str, wanted: &WantedClaims) -> Self {
        let below = claim
            .split_once('.')
            .map(|(first, rest)| (wanted.want_json(first), rest.split('.').map(Box::from).collect()));
        Self { whole: wanted.want_json(claim), below }
    }

    pub(super) fn find<'e>(&self, claims: &'e Claims) -> Option<&'e Value> {
        if let Some(whole) = claims.json(self.whole) {
            return Some(whole);
        }
        let (first, names) = self.below.as_ref()?;
        names.iter().try_fold(claims.json(*first)?, |value, name| value.get(&**name))
    }
}
