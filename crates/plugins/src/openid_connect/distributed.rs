//! Claims that a token only points to (OpenID Connect Core 5.6.2): some come with it as another token (aggregated), some are to be
//! asked for (distributed).
//!
//! A token could have the gateway ask anybody. So nobody is asked but the provider itself and servers that the configuration names,
//! only for claims that somebody looks at, and the caller's own token is shown to nobody but the provider. What cannot be found
//! out refuses the caller: that a claim is missing may be what lets somebody in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plugin::BuildError;
use plugin::claims::WantedClaims;
use plugin::jose::Header;
use plugin::remember::{Digest, Learned, Memory, Settings};
use serde_json::Value;

use super::Setup;
use super::beside::OF_ITSELF;
use super::claims::Claims;
use super::config::{self, Config};
use super::exchange::pairs;
use super::http::{Address, Http};
use super::id_token::is_id_token;
use super::provider::{Known, discovery_address};
use super::refusal::Refusal;
use super::verify::{Signatures, Verification};

/// Servers that are asked about one token at most, and tokens that are looked at beside it.
const MOST: usize = 4;
/// How long it is remembered that a server does not answer about a token.
const REFUSED: Duration = Duration::from_secs(10);

const UNREADABLE: Refusal = Refusal::Invalid("claims from elsewhere that cannot be read");

/// Whom claims are had from.
pub(super) struct Distributed {
    http: Arc<Http>,
    memory: Arc<Memory<Option<Vec<u8>>>>,
    owner: String,
    /// Claims that the configuration looks at.
    names: Vec<String>,
    /// Those that other rooms want to know.
    wanted: Arc<WantedClaims>,
    /// The provider, as the configuration has it.
    own: Vec<Address>,
    /// Further servers that the configuration trusts.
    trusted: Vec<Address>,
    needs_tls: bool,
    timeout: Duration,
    lifetime: Duration,
}

/// What was had from elsewhere.
pub(super) struct Elsewhere {
    pub(super) claims: Claims,
    /// When the first of it ends, in seconds since 1970.
    pub(super) ends_s: u64,
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self { claims: Claims::new(), ends_s: u64::MAX }
    }
}

/// A source of claims.
enum Source {
    /// It came with the token.
    Aggregated(String),
    Asked {
        address: Address,
        token: Option<String>,
    },
}

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sayer {
    Provider,
    Other,
}

impl Distributed {
    /// None where nobody wants to know.
    pub(super) fn new(setup: &Setup<'_>) -> Result<Option<Arc<Self>>, BuildError> {
        let &Setup { config, cx, .. } = setup;
        if !config.tokens.resolve_distributed_claims {
            return Ok(None);
        }
        let provider = &config.provider;
        let configured = [
            config.grants.userinfo_endpoint.as_ref(),
            config.grants.token_endpoint.as_ref(),
            config.introspection.introspection_endpoint.as_ref(),
        ];
        let issuer = discovery_address(&provider.issuer);
        let own = configured.into_iter().flatten().chain([&issuer]);
        let named = [&provider.extra_jwks_uris, &provider.issuers_allowed];
        let trusted = named.into_iter().flatten().flatten().chain(&provider.jwks_endpoint);
        let parsed = |text: &String| Address::parse(text).ok();
        Ok(Some(Arc::new(Self {
            http: setup.http.clone(),
            memory: Memory::open(cx.services, "claims", &Settings::default()),
            owner: setup.fingerprint::<config::Grants>(),
            names: looked_at(config),
            wanted: cx.wanted_claims()?,
            own: own.filter_map(parsed).collect(),
            trusted: trusted.filter_map(parsed).collect(),
            needs_tls: !provider.issuer.starts_with("http://"),
            timeout: Duration::from_millis((provider.timeout as u64).max(1)),
            lifetime: Duration::from_secs(provider.cache_ttl as u64),
        })))
    }

    /// Whether `claims` point to some that are looked at.
    pub(super) fn is_wanted(&self, claims: &Claims) -> bool {
        match claims.get("_claim_names") {
            Some(Value::Object(names)) => names.keys().any(|name| self.wants(name, claims)),
            Some(_) => true,
            None => false,
        }
    }

    /// What the token says itself has the last word, and what it is is not for others to say.
    fn wants(&self, name: &str, claims: &Claims) -> bool {
        let is_own = name == "sub" || name != "scope" && OF_ITSELF.contains(&name);
        !is_own
            && !claims.contains_key(name)
            && (self.names.iter().any(|known| known == name) || self.wanted.has(name))
    }

    /// The sources of claims that are looked at, each with the names of these.
    fn sources<'a>(&self, claims: &'a Claims) -> Result<Vec<(Source, Vec<&'a str>)>, Refusal> {
        let names = claims.get("_claim_names").and_then(Value::as_object).ok_or(UNREADABLE)?;
        let mut by_source = BTreeMap::<&str, Vec<&str>>::new();
        for (name, source) in names.iter().filter(|(name, _)| self.wants(name, claims)) {
            by_source.entry(source.as_str().ok_or(UNREADABLE)?).or_default().push(name);
        }
        if by_source.len() > MOST {
            return Err(Refusal::Invalid("claims from too many sources"));
        }
        let described = claims.get("_claim_sources").ok_or(UNREADABLE)?;
        by_source
            .into_iter()
            .map(|(source, names)| Ok((Source::of(&described[source]).ok_or(UNREADABLE)?, names)))
            .collect()
    }

    /// Who answers at `address`; none if it must not be asked.
    fn sayer(&self, address: &Address, known: &Known) -> Option<Sayer> {
        if self.needs_tls && !address.is_secure() {
            return None;
        }
        let told = &known.content.endpoints;
        let told = [&told.user_info, &told.token, &told.introspection].into_iter().flatten();
        if self.own.iter().chain(told).any(|own| own.is_same_server(address)) {
            return Some(Sayer::Provider);
        }
        self.trusted.iter().any(|trusted| trusted.is_same_server(address)).then_some(Sayer::Other)
    }

    /// What the server at `address` says, and who that is. `caller` is the caller's token.
    async fn ask(
        &self,
        address: Address,
        token: Option<String>,
        caller: &str,
        known: &Known,
    ) -> Result<(Vec<u8>, Sayer), Refusal> {
        let sayer =
            self.sayer(&address, known).ok_or(Refusal::Invalid("claims at a server that is not trusted"))?;
        let token = token.or_else(|| (sayer == Sayer::Provider).then(|| caller.to_owned()));
        let shown = token.as_deref().unwrap_or_default();
        let key = Digest::of([self.owner.as_bytes(), address.to_string().as_bytes(), shown.as_bytes()]);
        let (http, lifetime) = (self.http.clone(), self.lifetime);
        let ask = async move {
            let accept = pairs([("Accept", "application/jwt, application/json")]);
            match http.get_with(&address, token.as_deref(), &accept).await? {
                (200, text) => {
                    let size = text.len();
                    Ok(Learned::new(Some(text), lifetime).holding(size))
                }
                (400..=499, _) => Ok(Learned::new(None, REFUSED)),
                (status, _) => Err(format!("{} answers {status}", address.told())),
            }
        };
        match self.memory.fetch(key, ask).await.as_deref() {
            Ok(Some(text)) => Ok((text.clone(), sayer)),
            Ok(None) => Err(Refusal::Invalid("claims that their server does not give")),
            Err(_) => Err(Refusal::Unavailable),
        }
    }
}

impl Source {
    fn of(described: &Value) -> Option<Self> {
        let text = |name: &str| described[name].as_str().map(str::to_owned);
        if let Some(token) = text("JWT") {
            return Some(Self::Aggregated(token));
        }
        let is_sendable = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        let token = text("access_token");
        if token.as_ref().is_some_and(|token| !is_sendable(token)) {
            return None;
        }
        Some(Self::Asked { address: Address::parse(&text("endpoint")?).ok()?, token })
    }
}

impl Verification {
    /// The claims that `claims` point to, as far as they are looked at. `caller` is the caller's token.
    pub(super) async fn elsewhere(
        &self,
        claims: &Claims,
        caller: &str,
        now_ms: u64,
    ) -> Result<Elsewhere, Refusal> {
        let Some(distributed) = self.distributed.as_ref().filter(|found| found.is_wanted(claims)) else {
            return Ok(Elsewhere::default());
        };
        let known = self.provider.obtain().await.map_err(|_| Refusal::Unavailable)?;
        let gather = async {
            let mut elsewhere = Elsewhere::default();
            for (source, names) in distributed.sources(claims)? {
                let said = match source {
                    Source::Aggregated(token) => (token.into_bytes(), Sayer::Other),
                    Source::Asked { address, token } => {
                        distributed.ask(address, token, caller, &known).await?
                    }
                };
                let mut said = self.said_elsewhere(said, claims, now_ms).await?;
                elsewhere.ends_s = elsewhere.ends_s.min(ends_s(&said));
                let found = names.into_iter().filter_map(|name| Some((name.to_owned(), said.remove(name)?)));
                elsewhere.claims.extend(found);
            }
            Ok(elsewhere)
        };
        // All of it takes no longer than one question may.
        tokio::time::timeout(distributed.timeout, gather).await.unwrap_or(Err(Refusal::Unavailable))
    }

    /// What a source says: a token, signed with keys that are trusted. The provider need not sign what it is asked for.
    async fn said_elsewhere(
        &self,
        (text, sayer): (Vec<u8>, Sayer),
        claims: &Claims,
        now_ms: u64,
    ) -> Result<Claims, Refusal> {
        let text = text.trim_ascii();
        let is_another = |said: &Claims| {
            let subjects = (said.get("sub"), claims.get("sub"));
            matches!(subjects, (Some(one), Some(other)) if one != other)
        };
        const ANOTHER: Refusal = Refusal::Invalid("claims about another person");
        if sayer == Sayer::Provider && Header::of(text).is_err() {
            let said: Claims = serde_json::from_slice(text).map_err(|_| UNREADABLE)?;
            return if is_another(&said) { Err(ANOTHER) } else { Ok(said) };
        }
        let (token, known) = self.signed(text, is_id_token, Signatures::Checked).await?;
        let said = token.claims;
        let now_ms = self.after_answer(now_ms);
        if let Some(fault) = self.wrong_issuer(&said, &known).or_else(|| self.untimely(&said, now_ms)) {
            return Err(Refusal::Invalid(fault));
        }
        // Others may call the same person by another name.
        let is_of_provider = said.get("iss").and_then(Value::as_str) == known.content.name.as_deref();
        if is_of_provider && is_another(&said) { Err(ANOTHER) } else { Ok(said) }
    }
}

fn ends_s(said: &Claims) -> u64 {
    said.get("exp").and_then(Value::as_f64).map_or(u64::MAX, |exp| exp as u64)
}

/// The claims that the configuration looks at.
fn looked_at(config: &Config) -> Vec<String> {
    let (rules, tokens) = (&config.claims, &config.tokens);
    let required = [
        (&rules.scopes_required, &rules.scopes_claim),
        (&rules.audience_required, &rules.audience_claim),
        (&rules.groups_required, &rules.groups_claim),
        (&rules.roles_required, &rules.roles_claim),
    ];
    let required = required.into_iter().filter(|(entries, _)| entries.is_some()).map(|(_, path)| path);
    let groups = [&rules.authenticated_groups_claim, &rules.consumer_groups_claim, &config.consumer_claim];
    let headers = [&rules.upstream_headers, &rules.downstream_headers];
    let headers = headers.into_iter().flatten().flatten().map(|header| &header.path);
    let paths = required
        .chain([&rules.credential_claim])
        .chain(groups.into_iter().flatten())
        .chain(rules.consumer_claims.iter().flatten())
        .chain(headers);
    let lists = [&rules.claims_forbidden, &rules.upstream_headers_claims, &rules.downstream_headers_claims];
    let domain = tokens.domains.as_ref().map(|_| "hd".to_owned());
    let session = tokens.jwt_session_cookie.as_ref().map(|_| tokens.jwt_session_claim.clone());
    let names = paths.filter_map(|path| path.first().cloned());
    names.chain(lists.into_iter().flatten().flatten().cloned()).chain(domain).chain(session).collect()
}
