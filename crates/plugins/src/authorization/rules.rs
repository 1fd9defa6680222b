//! The rules, ready to run. Those that a request's path and method fit are found by an index; only they are looked at.

use std::ops::ControlFlow;
use std::sync::Arc;

use ahash::AHashMap;
use plugin::Method;
use plugin::claims::Claims;
use plugin::figures::Figure;
use serde_json::Value;

use super::expression::{Condition, Failure};
use super::facts::Facts;
use super::paths::{Index, Pattern};
use super::sources::{ClaimPath, Sources, each_text};
use super::vocabulary::{Marks, Vocabulary};

/// All that decides.
pub(super) struct Rules {
    /// In order: public paths, rules, permissions.
    pub(super) list: Vec<Rule>,
    pub(super) paths: Index,
    pub(super) methods: Methods,
    pub(super) otherwise: Otherwise,
    pub(super) sources: Sources,
    /// The roles and scopes that rules name.
    pub(super) roles: Vocabulary,
    pub(super) scopes: Vocabulary,
}

/// A rule.
pub(super) struct Rule {
    pub(super) effect: Effect,
    pub(super) patterns: Box<[Pattern]>,
    /// One of these; no condition if there are none.
    pub(super) roles: Box<[u32]>,
    /// All of these.
    pub(super) scopes: Box<[u32]>,
    pub(super) claims: Box<[ClaimCondition]>,
    pub(super) condition: Option<Condition>,
    pub(super) name: Name,
}

/// What becomes of a request that nothing decides about.
pub(super) struct Otherwise {
    pub(super) effect: Default,
    pub(super) name: Name,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Default {
    Deny,
    Allow,
    Authenticated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Allows if the conditions hold.
    Allow,
    /// Denies if they hold, or if that cannot be said.
    Deny,
    /// Denies unless they hold.
    Require,
    /// Allows if they hold, and denies if not.
    Permit,
}

/// How a decision by a rule is told.
pub(super) struct Name {
    pub(super) allowed: Box<str>,
    pub(super) denied: Box<str>,
    /// `WWW-Authenticate` for a token that lacks the scopes (RFC 6750 3.1).
    pub(super) lacking: Option<Box<str>>,
    pub(super) counts: Counts,
}

/// How often a rule has decided, and how often its condition has failed.
pub(super) struct Counts {
    pub(super) allowed: Arc<Figure>,
    pub(super) denied: Arc<Figure>,
    pub(super) failed: Arc<Figure>,
}

/// A claim and the texts that it may have.
pub(super) struct ClaimCondition {
    pub(super) claim: ClaimPath,
    pub(super) values: Box<[Box<str>]>,
}

/// Which rules are for which methods.
#[derive(Default)]
pub(super) struct Methods {
    by_name: AHashMap<Method, Marks>,
    /// Those that are for any.
    any: Marks,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    /// The number of the rule that decided; none where none did.
    rule: Option<usize>,
    pub(super) verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Unauthorized,
    Forbidden,
    /// Forbidden, and another token might do.
    LacksScope,
}

/// Whether the conditions of a rule hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    /// They do not, for want of a scope.
    LacksScope,
    /// That cannot be said.
    Unknown,
}

impl Methods {
    /// Notes that the rule of that number is for these methods, or for any.
    pub(super) fn add(&mut self, methods: Option<&[Method]>, number: u32) {
        let Some(methods) = methods else {
            self.by_name.values_mut().for_each(|marks| marks.set(number));
            return self.any.set(number);
        };
        for method in methods {
            self.by_name.entry(*method).or_insert_with(|| self.any.clone()).set(number);
        }
    }

    fn of(&self, method: &Method) -> &Marks {
        self.by_name.get(method).unwrap_or(&self.any)
    }
}

impl Rules {
    pub(super) fn decide(&self, facts: &Facts<'_>) -> Decision {
        let mut found = Marks::default();
        self.paths.find(&facts.exchange.normalized_path, &mut found);
        for number in found.common(self.methods.of(&facts.exchange.request.method)) {
            let Some(rule) = self.list.get(number) else { break };
            facts.look_at(number);
            let holds = rule.holds(facts);
            let allowed = match (rule.effect, holds) {
                (Effect::Allow | Effect::Permit, Holds::Yes) => true,
                (Effect::Deny, Holds::Yes | Holds::Unknown) => false,
                (Effect::Require | Effect::Permit, Holds::No | Holds::LacksScope | Holds::Unknown) => false,
                (Effect::Allow | Effect::Deny, _) | (Effect::Require, Holds::Yes) => continue,
            };
            return Decision { rule: Some(number), verdict: verdict(allowed, holds, facts) };
        }
        let allowed = match self.otherwise.effect {
            Default::Deny => false,
            Default::Allow => true,
            Default::Authenticated => facts.is_authenticated(),
        };
        Decision { rule: None, verdict: verdict(allowed, Holds::No, facts) }
    }

    /// How the decision is told.
    pub(super) fn name_of(&self, decision: Decision) -> &Name {
        let rule = decision.rule.and_then(|number| self.list.get(number));
        rule.map_or(&self.otherwise.name, |rule| &rule.name)
    }
}

fn verdict(allowed: bool, holds: Holds, facts: &Facts<'_>) -> Verdict {
    match (allowed, facts.is_authenticated(), holds) {
        (true, ..) => Verdict::Allowed,
        (false, false, _) => Verdict::Unauthorized,
        (false, true, Holds::LacksScope) => Verdict::LacksScope,
        (false, true, _) => Verdict::Forbidden,
    }
}

impl Rule {
    fn holds(&self, facts: &Facts<'_>) -> Holds {
        if !self.roles.is_empty() {
            let held = facts.roles();
            if !self.roles.iter().any(|role| held.holds(*role)) {
                return Holds::No;
            }
        }
        let claims = facts.exchange.identity.claims.as_deref();
        if !self.claims.iter().all(|condition| claims.is_some_and(|claims| condition.holds(claims))) {
            return Holds::No;
        }
        if let Some(condition) = &self.condition {
            match condition.holds(facts) {
                Ok(true) => {}
                Ok(false) => return Holds::No,
                Err(failure) => {
                    self.report(failure);
                    return Holds::Unknown;
                }
            }
        }
        if !self.scopes.is_empty() {
            let held = facts.scopes();
            if !self.scopes.iter().all(|scope| held.holds(*scope)) {
                return Holds::LacksScope;
            }
        }
        Holds::Yes
    }

    fn report(&self, failure: Failure) {
        self.name.counts.failed.add(1);
        tracing::debug!(rule = &*self.name.allowed, ?failure, "a condition has no value");
    }
}

impl ClaimCondition {
    fn holds(&self, claims: &Claims) -> bool {
        let is_wanted = |text: &str| self.values.iter().any(|value| **value == *text);
        match self.claim.find(claims) {
            Some(value @ (Value::Bool(_) | Value::Number(_))) => is_wanted(&value.to_string()),
            Some(value) => each_text(value, &mut |text| match is_wanted(text) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
            .is_break(),
            None => false,
        }
    }
}
