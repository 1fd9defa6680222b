//! Asking the provider about users (OpenID Connect Core 5.3).

use std::sync::Arc;
use std::time::Duration;

use plugin::jose::Token;
use plugin::remember::{Digest, Learned, Memory, Settings};
use plugin::{BuildError, Exchange};
use serde_json::Value;

use super::beside::{Beside, OF_ITSELF};
use super::claims::{self, Claims, Reading};
use super::client;
use super::config;
use super::granted::Granted;
use super::http::{Http, Pairs};
use super::id_token::is_id_token;
use super::login::with_arguments;
use super::of_client::{OfClient, Wanted};
use super::provider::{Endpoint, Provider};
use super::refusal::Refusal;
use super::told::{Evidence, Part};
use super::verify::{Outcome, Verification};
use super::{Inner, Setup};

/// How long it is remembered that a token is no good.
const REFUSED: Duration = Duration::from_secs(10);

const ANOTHER: Refusal = Refusal::Invalid("the provider tells of another user");

/// How the provider is asked.
pub(super) struct UserInfo {
    http: Arc<Http>,
    provider: Provider,
    /// None for those that the provider does not know.
    memory: Arc<Memory<Option<Vec<u8>>>>,
    owner: String,
    client: Option<String>,
    endpoint: Endpoint,
    headers: Pairs,
    arguments: Pairs,
    of_client: Wanted,
    /// Answers are asked for as signed tokens.
    wants_signed: bool,
    lifetime: Duration,
    /// How long answers are used beyond that while the provider is down.
    stale: Duration,
}

/// What the provider says about a user.
struct Told {
    claims: Claims,
    /// The same as it was signed.
    signed: Option<String>,
    /// Until when others may take it, in seconds since 1970.
    ends_s: u64,
}

/// What there is to be known beyond a token that a caller brings.
pub(super) struct Beyond {
    told: Option<Told>,
    /// When the first of it ends, in seconds since 1970.
    pub(super) ends_s: u64,
}

impl Default for Beyond {
    fn default() -> Self {
        Self { told: None, ends_s: u64::MAX }
    }
}

impl Beyond {
    pub(super) fn evidence(&self) -> Evidence<'_> {
        let told = self.told.as_ref();
        Evidence {
            user_info: told.map(|told| &told.claims),
            user_info_token: told.and_then(|told| told.signed.as_deref()),
            ..Evidence::default()
        }
    }
}

/// What an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To let somebody in: it does not outlive the token, nor is an old one used while the provider is down.
    Admit,
    /// To say more about somebody who is in.
    Tell,
}

impl UserInfo {
    pub(super) fn new(setup: &Setup<'_>) -> Result<Self, BuildError> {
        let &Setup { config, http, provider, cx, .. } = setup;
        let grants = &config.grants;
        let text = grants.userinfo_endpoint.as_deref();
        let mut headers = vec![("Accept".to_owned(), grants.userinfo_accept.clone())];
        headers.extend(super::pairs(&grants.userinfo_headers_names, &grants.userinfo_headers_values));
        let endpoint = Endpoint::new(setup, "userinfo_endpoint", text, |told| told.user_info.as_ref())?;
        let usual = config::Bounds::of(&config.provider).hold(config.provider.cache_ttl as u64);
        let lifetime = if grants.cache_user_info { usual } else { 0 };
        Ok(Self {
            http: http.clone(),
            provider: provider.clone(),
            memory: Memory::open(cx.services, "user info", &Settings::default()),
            owner: setup.fingerprint::<config::Grants>(),
            // The method that needs it has been looked at.
            endpoint: endpoint.needed_for(setup, "search_user_info", "userinfo_endpoint")?,
            client: client::id(config),
            headers,
            arguments: super::pairs(&grants.userinfo_query_args_names, &grants.userinfo_query_args_values),
            of_client: Wanted {
                headers: grants.userinfo_headers_client.clone().unwrap_or_default(),
                arguments: grants.userinfo_query_args_client.clone().unwrap_or_default(),
                ..Wanted::default()
            },
            wants_signed: grants.userinfo_accept != "application/json",
            stale: Duration::from_secs(
                config.provider.cache_ttl_resurrect.map_or(0, |seconds| seconds as u64),
            ),
            lifetime: Duration::from_secs(lifetime),
        })
    }

    /// What of a caller's request goes with the question.
    pub(super) fn of_client(&self, exchange: &Exchange) -> OfClient {
        self.of_client.of(exchange)
    }

    /// What the provider says about whoever has this access token.
    async fn ask(
        &self,
        verification: &Verification,
        token: &str,
        purpose: Purpose,
        of_client: &OfClient,
        now_ms: u64,
    ) -> Result<Told, Refusal> {
        let mut arguments = self.arguments.clone();
        arguments.extend(of_client.arguments.iter().cloned());
        let address = self.endpoint.find(&self.provider).await?;
        let address = match arguments.is_empty() {
            true => address,
            false => address
                .with_target(&with_arguments(address.target(), &arguments))
                .map_err(|_| Refusal::Unavailable)?,
        };
        let asked_with = of_client.key();
        let (name, stale, until_ms) = match purpose {
            Purpose::Admit => ("admit", Duration::ZERO, end_ms(token)),
            Purpose::Tell => ("tell", self.stale, u64::MAX),
        };
        let parts = [self.owner.as_bytes(), name.as_bytes(), asked_with.as_bytes(), token.as_bytes()];
        let key = Digest::of(parts);
        let (http, mut headers) = (self.http.clone(), self.headers.clone());
        headers.extend(of_client.headers.iter().cloned());
        let (lifetime, token) = (self.lifetime, token.to_owned());
        let ask = async move {
            match http.get_with(&address, Some(&token), &headers).await? {
                (200, text) => {
                    let size = text.len() * 2;
                    Ok(Learned::new(Some(text), lifetime).stale(stale).until(until_ms).holding(size))
                }
                (400 | 401 | 403, _) => Ok(Learned::new(None, REFUSED)),
                (status, _) => Err(format!("{} answers {status}", address.told())),
            }
        };
        match self.memory.fetch(key, ask).await.as_deref() {
            Ok(Some(text)) => {
                let told = self.read(verification, text, now_ms).await?;
                // What a request says changes the answer: it is not that of the token alone.
                let held = self.memory.holds_for(&key).filter(|_| self.of_client.is_nothing());
                let ends_s = (now_ms / 1_000).saturating_add(held.map_or(0, |held| held.as_secs()));
                Ok(Told { ends_s, ..told })
            }
            Ok(None) => Err(Refusal::Invalid("the provider does not know the token")),
            Err(_) => Err(Refusal::Unavailable),
        }
    }

    /// What an answer says (5.3.2): JSON, or a token of the provider to this client.
    async fn read(&self, verification: &Verification, text: &[u8], now_ms: u64) -> Result<Told, Refusal> {
        if !self.wants_signed {
            let claims = serde_json::from_slice(text).map_err(|_| Refusal::Unavailable)?;
            return Ok(Told { claims, signed: None, ends_s: 0 });
        }
        let now_ms = verification.after_answer(now_ms);
        let signatures = verification.signatures("userinfo");
        let (token, known) = verification.signed(text, is_id_token, signatures).await?;
        let claims = token.claims;
        let audiences = claims::list(claims.get("aud"), Reading::Whole);
        let is_for_us = self.client.as_deref().is_none_or(|client| audiences.contains(&client));
        let fault =
            verification.wrong_issuer(&claims, &known).or_else(|| verification.untimely(&claims, now_ms));
        match fault {
            None if is_for_us => {
                Ok(Told { claims, signed: Some(String::from_utf8_lossy(text).into_owned()), ends_s: 0 })
            }
            None => Err(Refusal::Invalid("what the provider says of the user is not for this client")),
            Some(fault) => Err(Refusal::Invalid(fault)),
        }
    }

    /// Who has a token, by what the provider says. A caller is only let in with a subject (5.3.2).
    pub(super) async fn judge(
        &self,
        inner: &Inner,
        token: &[u8],
        beside: Option<&Beside>,
        of_client: &OfClient,
        now_ms: u64,
    ) -> Outcome {
        let text = std::str::from_utf8(token).map_err(|_| Refusal::Invalid("not a token"))?;
        let told = self.ask(&inner.verification, text, Purpose::Admit, of_client, now_ms).await?;
        told.subject()?;
        let evidence = Evidence {
            access: token,
            user_info: Some(&told.claims),
            user_info_token: told.signed.as_deref(),
            beside,
            ..Evidence::default()
        };
        let elsewhere = inner.verification.elsewhere(&told.claims, text, now_ms).await?;
        let mut claims = told.claims.clone();
        claims.extend(elsewhere.claims);
        inner.verification.admit(&claims, &evidence)
    }
}

impl Told {
    /// Whom it is about: answers about users have to say so (5.3.2).
    fn subject(&self) -> Result<&str, Refusal> {
        let subject = self.claims.get("sub").and_then(Value::as_str);
        subject.ok_or(Refusal::Invalid("the provider names no subject"))
    }
}

impl Verification {
    /// Adds to what a token says what there is to be known beyond it: what the provider says of the user, if it is to be asked,
    /// and what either points to. What the token says itself has the last word, and what it is is not for others to say.
    pub(super) async fn beyond(
        &self,
        claims: &mut Claims,
        token: &str,
        of_user: Option<&OfClient>,
        now_ms: u64,
    ) -> Result<Beyond, Refusal> {
        let mut beyond = Beyond::default();
        if let (Some(user_info), Some(of_user)) = (&self.user_info, of_user) {
            let told = user_info.ask(self, token, Purpose::Admit, of_user, now_ms).await?;
            let subject = told.subject()?;
            if claims.get("sub").is_some_and(|own| own.as_str() != Some(subject)) {
                return Err(ANOTHER);
            }
            let is_of_user = |name: &str| name == "scope" || !OF_ITSELF.contains(&name);
            for (name, value) in told.claims.iter().filter(|(name, _)| is_of_user(name)) {
                claims.entry(name).or_insert_with(|| value.clone());
            }
            beyond.ends_s = told.ends_s;
            beyond.told = Some(told);
        }
        let elsewhere = self.elsewhere(claims, token, now_ms).await?;
        claims.extend(elsewhere.claims);
        beyond.ends_s = beyond.ends_s.min(elsewhere.ends_s);
        Ok(beyond)
    }
}

/// When a token ends by its own word, in milliseconds since 1970, if it is a JSON Web Token and says so. It is not verified: the
/// provider is asked whether it is good.
fn end_ms(token: &str) -> u64 {
    let token = Token::without_verification(token.as_bytes()).ok();
    let end_s = token.and_then(|token| token.claims.get("exp")?.as_f64());
    end_s.map_or(u64::MAX, |end_s| (end_s * 1_000.0) as u64)
}

impl Inner {
    /// Adds what there is to be known of a user beyond the tokens: what the provider says, and what either points to.
    pub(super) async fn complete(
        &self,
        granted: &mut Granted,
        of_client: &OfClient,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        self.add_user_info(granted, of_client, now_ms).await?;
        let access = &granted.tokens.access;
        granted.elsewhere = self.verification.elsewhere(&granted.claims(), access, now_ms).await?.claims;
        Ok(())
    }

    /// Adds what the provider says about the user, if it is to be asked and an ID token says who that is. It must be about
    /// the same one (5.3.2).
    async fn add_user_info(
        &self,
        granted: &mut Granted,
        of_client: &OfClient,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let wanted = &self.verification.user_info;
        let (Some(user_info), Some(subject)) = (wanted, &granted.subject) else { return Ok(()) };
        let token = &granted.tokens.access;
        let told = user_info.ask(&self.verification, token, Purpose::Tell, of_client, now_ms).await?;
        if told.claims.get("sub").and_then(Value::as_str) != Some(subject) {
            return Err(ANOTHER);
        }
        granted.user_info = Some(told.claims);
        granted.user_info_token = told.signed.filter(|_| self.verification.rules.tell(Part::UserInfoToken));
        Ok(())
    }
}
