#![doc = include_str!("doc.md")]

mod groups;

use std::sync::Arc;

use plugin::model::EntitySchema;
use plugin::model::entity::Entity;
use plugin::{Access, Build, BuildError, Exchange, Flow, Known, Phase, Phases, Plugin, Scopes, record};

use uuid::Uuid;

use groups::{Groups, Membership};

#[cfg(test)]
mod tests;

record! {
    /// Lets consumers in, or keeps them out, by the groups they are in.
    pub struct Config {
        /// Groups that may pass; everybody else is refused. Either this or `deny`.
        allow: Option<Vec<String>>;
        /// Groups that are refused; everybody else may pass. Either this or `allow`.
        deny: Option<Vec<String>>;
        /// Whether the upstream is not told the caller's groups.
        hide_groups_header: bool = false;
        /// Whether groups that an authentication plugin vouches for count even if the caller is a known consumer. Where
        /// there are none, the consumer's own groups count.
        always_use_authenticated_groups: bool = false;
        /// Whether the consumer groups a consumer belongs to count as well as its `acls`, and those that whoever authenticated
        /// the caller vouches for.
        include_consumer_groups: bool = false;
    }
    checks: [only_one_of(&["allow", "deny"]), at_least_one_of(&["allow", "deny"])]
}

/// The room, ready to run.
pub struct Acl {
    rule: Rule,
    listed: Vec<Box<str>>,
    hide_groups_header: bool,
    prefer_authenticated: bool,
    includes_consumer_groups: bool,
    groups: Arc<Groups>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Allow,
    Deny,
}

/// The caller's groups, as far as they are known.
enum Caller<'a> {
    /// Groups vouched for by an authentication plugin.
    Vouched(Arc<[Box<str>]>),
    /// Groups of the consumer.
    Member(&'a Membership),
    /// Those, and consumer groups that whoever authenticated the caller vouches for.
    Joined(Vec<Box<str>>),
    /// A consumer without groups.
    Groupless,
    /// No consumer and no groups.
    Unknown,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    /// The caller could pass as somebody else: 401.
    Unauthorized,
    /// The caller is known and may not pass: 403.
    Forbidden,
}

impl Plugin for Acl {
    const NAME: &'static str = "acl";
    const PRIORITY: i64 = 950;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn entities() -> Vec<EntitySchema> {
        vec![groups::AclGroup::entity_schema()]
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let boxed = |names: Vec<String>| names.into_iter().map(String::into_boxed_str).collect();
        let (rule, listed) = match (config.allow, config.deny) {
            (_, Some(deny)) if !deny.is_empty() => (Rule::Deny, boxed(deny)),
            (allow, _) => (Rule::Allow, boxed(allow.unwrap_or_default())),
        };
        let groups = if config.include_consumer_groups {
            cx.shared(groups::WithConsumerGroups::new)?.0.clone()
        } else {
            cx.shared(groups::AclsOnly::new)?.0.clone()
        };
        Ok(Self {
            rule,
            listed,
            hide_groups_header: config.hide_groups_header,
            prefer_authenticated: config.always_use_authenticated_groups,
            includes_consumer_groups: config.include_consumer_groups,
            groups,
        })
    }
}

impl Phases for Acl {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let caller = self.caller(cx);
        match self.judge(cx, &caller) {
            Verdict::Pass => {
                self.tell_upstream(cx, &caller);
                Flow::Next
            }
            Verdict::Unauthorized => cx.answer(401).message("Unauthorized"),
            Verdict::Forbidden => cx.answer(403).message("You cannot consume this service"),
        }
    }
}

impl Acl {
    fn caller(&self, exchange: &Exchange) -> Caller<'_> {
        let identity = &exchange.identity;
        let vouched = self.vouched(exchange).map(Caller::Vouched);
        let Some(consumer) = identity.consumer_id() else { return vouched.unwrap_or(Caller::Unknown) };
        let own = || self.own(exchange, consumer);
        // An anonymous consumer's groups are the poorer knowledge.
        if self.prefer_authenticated || identity.credential().is_none() {
            vouched.unwrap_or_else(own)
        } else {
            own()
        }
    }

    /// The groups of a consumer. Consumer groups count wherever they come from.
    fn own(&self, exchange: &Exchange, consumer: Uuid) -> Caller<'_> {
        let member = self.groups.of(consumer);
        let vouched = exchange.identity.consumer_groups.as_ref().filter(|_| self.includes_consumer_groups);
        let Some(vouched) = vouched.filter(|vouched| !vouched.names.is_empty()) else {
            return member.map_or(Caller::Groupless, Caller::Member);
        };
        let mut joined = member.map_or_else(Vec::new, |member| member.groups.clone());
        for name in vouched.names.iter() {
            if !joined.contains(name) {
                joined.push(name.clone());
            }
        }
        Caller::Joined(joined)
    }

    /// The groups that whoever authenticated the caller vouches for.
    fn vouched(&self, exchange: &Exchange) -> Option<Arc<[Box<str>]>> {
        let identity = &exchange.identity;
        let more = identity.consumer_groups.as_ref().filter(|_| self.includes_consumer_groups);
        match (&identity.groups, more) {
            (Some(groups), Some(more)) => Some(groups.iter().chain(more.names.iter()).cloned().collect()),
            (groups, more) => groups.as_ref().or(more.map(|more| &more.names)).cloned(),
        }
    }

    fn judge(&self, exchange: &Exchange, caller: &Caller<'_>) -> Verdict {
        let refusal = match exchange.identity.credential() {
            Some(_) => Verdict::Forbidden,
            None => Verdict::Unauthorized,
        };
        let groups: &[Box<str>] = match caller {
            Caller::Vouched(groups) => groups,
            Caller::Member(membership) => &membership.groups,
            Caller::Joined(groups) => groups,
            Caller::Groupless if self.rule == Rule::Deny => &[],
            Caller::Groupless | Caller::Unknown => return refusal,
        };
        let listed = groups.iter().any(|group| self.listed.contains(group));
        if listed == (self.rule == Rule::Allow) { Verdict::Pass } else { Verdict::Forbidden }
    }

    /// Sets the header with the groups that counted; what the client claimed never gets through.
    fn tell_upstream(&self, cx: &mut Access<'_>, caller: &Caller<'_>) {
        let (mut own, mut vouched) = (None, None);
        let joined;
        match caller {
            _ if self.hide_groups_header => {}
            Caller::Vouched(groups) => {
                joined = groups.join(", ");
                vouched = Some(joined.as_bytes());
            }
            Caller::Joined(groups) => {
                joined = groups.join(", ");
                own = Some(joined.as_bytes());
            }
            Caller::Member(membership) => own = Some(membership.header.as_bytes()),
            Caller::Groupless | Caller::Unknown => {}
        }
        cx.tell_identity(Known::XConsumerGroups, own);
        cx.tell_identity(Known::XAuthenticatedGroups, vouched);
    }
}
