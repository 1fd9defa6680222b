//! From what a token says to who the caller is, and what is told of that.

use std::sync::Arc;

use plugin::claims::WantedClaims;
use plugin::consumers::Consumers;
use plugin::groups::{ConsumerGroups, KnownGroups};
use plugin::identity::{Caller, Credential, Holder};
use plugin::model::entity::Consumer;
use plugin::{Access, Build, BuildError, Headers};

use super::claims::{self, Claims, Reading, Requirement};
use super::config::{self, Config};
use super::possession::Binding;
use super::refusal::Refusal;
use super::told::{Evidence, Part, Telling};

/// What a token must say, and what becomes of it.
pub(super) struct Rules {
    requirements: Vec<Requirement>,
    forbidden: Vec<String>,
    domains: Option<Vec<String>>,
    consumer: Option<ConsumerRule>,
    credential: Vec<String>,
    groups: Option<Vec<String>>,
    consumer_groups: Option<ConsumerGroupsRule>,
    upstream: Telling,
    downstream: Telling,
    wanted: Arc<WantedClaims>,
    /// Claim with the session that the token belongs to.
    session: Option<String>,
}

struct ConsumerRule {
    paths: Vec<Vec<String>>,
    consumers: Consumers,
    optional: bool,
}

/// Consumer groups by a claim.
struct ConsumerGroupsRule {
    path: Vec<String>,
    known: KnownGroups,
    optional: bool,
}

/// Who the caller is, with all that is told of it.
pub(super) struct Admission {
    caller: Arc<Caller>,
    groups: Option<Arc<[Box<str>]>>,
    consumer_groups: Option<Arc<ConsumerGroups>>,
    claims: Option<Arc<plugin::claims::Claims>>,
    upstream: Headers,
    downstream: Headers,
    session: Option<String>,
    binding: Binding,
}

impl Rules {
    pub(super) fn new(config: &Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let rules = &config.claims;
        Ok(Self {
            requirements: requirements(rules),
            forbidden: rules.claims_forbidden.clone().unwrap_or_default(),
            domains: config.tokens.domains.clone(),
            consumer: ConsumerRule::new(config, cx)?,
            credential: rules.credential_claim.clone(),
            groups: rules.authenticated_groups_claim.clone().filter(|path| !path.is_empty()),
            consumer_groups: ConsumerGroupsRule::new(rules, cx),
            upstream: Telling::upstream(rules),
            downstream: Telling::downstream(rules),
            wanted: cx.wanted_claims()?,
            session: config
                .tokens
                .jwt_session_cookie
                .as_ref()
                .map(|_| config.tokens.jwt_session_claim.clone()),
        })
    }

    /// Who the caller is, if it may pass. `issuer` tells callers of several providers apart.
    pub(super) fn admit(
        &self,
        claims: &Claims,
        evidence: &Evidence<'_>,
        issuer: &str,
    ) -> Result<Admission, Refusal> {
        if let Some(domains) = &self.domains {
            let domain = claims.get("hd").and_then(|domain| domain.as_str());
            if !domain.is_some_and(|domain| domains.iter().any(|listed| listed == domain)) {
                return Err(Refusal::Invalid("not one of the domains"));
            }
        }
        if self.forbidden.iter().any(|name| claims.contains_key(name)) {
            return Err(Refusal::Forbidden("a claim that must not be there"));
        }
        if let Some(lacking) = self.requirements.iter().find(|requirement| !requirement.is_met(claims)) {
            return Err(Refusal::Forbidden(lacking.lack));
        }
        let consumer = self.consumer.as_ref().map_or(Ok(None), |rule| rule.find(claims))?;
        let consumer_groups = self.consumer_groups.as_ref().map(|rule| rule.find(claims)).transpose()?;
        let json = serde_json::to_vec(claims).unwrap_or_default();
        let credential = self.credential_of(claims, &json, issuer);
        let groups = self.groups.as_ref().map(|path| claims::list(claims::at(claims, path), Reading::Words));
        Ok(Admission {
            caller: Caller::authenticated(consumer, credential),
            groups: groups.map(|groups| groups.into_iter().map(Box::from).collect()),
            consumer_groups,
            claims: self.wanted.read(&json),
            upstream: self.upstream.of(claims, evidence),
            downstream: self.downstream.of(claims, evidence),
            binding: Binding::of(claims).or(evidence.bound),
            session: self.session.as_ref().and_then(|name| claims::text(claims.get(name)?)).map(Into::into),
        })
    }

    /// How a caller proved who it is; `issuer` is the configured one, which may not be the only one.
    fn credential_of(&self, claims: &Claims, json: &[u8], issuer: &str) -> Credential {
        let named = |name: &str| claims.get(name).and_then(claims::text);
        let told = claims::at(claims, &self.credential).and_then(claims::text);
        let identifier = told.as_deref().unwrap_or(issuer).into();
        let subject = told.or_else(|| named("sub")).or_else(|| named("client_id"));
        let issued_by = named("iss");
        let issuer = issued_by.as_deref().unwrap_or(issuer);
        let holder =
            Holder { kind: "openid", issuer: Some(issuer), subject: subject.as_deref(), token: json };
        holder.credential(identifier)
    }

    /// Whether somebody is told this part of the evidence.
    pub(super) fn tell(&self, part: Part) -> bool {
        self.upstream.has(part) || self.downstream.has(part)
    }

    /// Takes out of the request what only this room may say.
    pub(super) fn clear(&self, cx: &mut Access<'_>) {
        self.upstream.clear(cx.headers());
    }
}

impl Admission {
    /// What the token is bound to.
    pub(super) fn binding(&self) -> &Binding {
        &self.binding
    }

    /// The session that the token says it belongs to, where that matters.
    pub(super) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// Records who the caller is, and tells the upstream and the client.
    pub(super) fn apply(&self, cx: &mut Access<'_>) {
        cx.authenticate(self.caller.clone());
        if let Some(groups) = &self.groups {
            cx.vouch_for_groups(groups.clone());
        }
        if let Some(groups) = &self.consumer_groups {
            cx.vouch_for_consumer_groups(groups.clone());
        }
        if let Some(claims) = &self.claims {
            cx.vouch_for_claims(claims.clone());
        }
        for (name, value) in self.upstream.iter() {
            cx.headers().set(name, value);
        }
        for (name, value) in self.downstream.iter() {
            cx.decorate().set(name, value);
        }
    }
}

impl ConsumerRule {
    fn new(config: &Config, cx: &Build<'_>) -> Result<Option<Self>, BuildError> {
        let rules = &config.claims;
        let single = config.consumer_claim.iter().cloned();
        let paths: Vec<_> = rules.consumer_claims.iter().flatten().cloned().chain(single).collect();
        if paths.is_empty() {
            return Ok(None);
        }
        let consumers = Consumers::new(&rules.consumer_by, rules.by_username_ignore_case, cx)?;
        Ok(Some(Self { paths, consumers, optional: rules.consumer_optional }))
    }

    fn find(&self, claims: &Claims) -> Result<Option<Arc<Consumer>>, Refusal> {
        let names = self.paths.iter().filter_map(|path| claims::text(claims::at(claims, path)?));
        let consumer = names.filter_map(|name| self.consumers.find(&name)).next();
        match consumer {
            None if !self.optional => Err(Refusal::Forbidden("no consumer")),
            found => Ok(found.cloned()),
        }
    }
}

impl ConsumerGroupsRule {
    fn new(rules: &config::Claims, cx: &Build<'_>) -> Option<Self> {
        let path = rules.consumer_groups_claim.clone().filter(|path| !path.is_empty())?;
        Some(Self { path, known: KnownGroups::new(cx), optional: rules.consumer_groups_optional })
    }

    fn find(&self, claims: &Claims) -> Result<Arc<ConsumerGroups>, Refusal> {
        let names = claims::list(claims::at(claims, &self.path), Reading::Words);
        let groups = self.known.named(names);
        match groups.ids.is_empty() && !self.optional {
            true => Err(Refusal::Forbidden("no consumer group")),
            false => Ok(Arc::new(groups)),
        }
    }
}

fn requirements(rules: &config::Claims) -> Vec<Requirement> {
    let require = |path: &[String], entries: &Option<Vec<String>>, reading, lack| {
        Requirement::new(path, entries.as_deref(), reading, lack)
    };
    [
        require(&rules.scopes_claim, &rules.scopes_required, Reading::Words, "a required scope is missing"),
        require(
            &rules.audience_claim,
            &rules.audience_required,
            Reading::Whole,
            "a required audience is missing",
        ),
        require(&rules.groups_claim, &rules.groups_required, Reading::Words, "a required group is missing"),
        require(&rules.roles_claim, &rules.roles_required, Reading::Words, "a required role is missing"),
    ]
    .into_iter()
    .flatten()
    .collect()
}
