//! One token of a request: where it is, whether it is good, and what the service gets in its place.

use std::sync::Arc;

use plugin::authorization::{self, TokenField};
use plugin::claims::WantedClaims;
use plugin::claims::said::Claims;
use plugin::identity::{Caller, Holder, OwnFields};
use plugin::jose::{Defect, Header, KeySet, Remembered, Signer, Token as Jwt};
use plugin::model::entity::Consumer;
use plugin::remember::{Edition, Freshness, Published, Source};
use plugin::{Access, Build, BuildError, Exchange, Headers};

use super::config::{General, Kind, Token};
use super::endpoint::Endpoint;
use super::introspection::{self, Introspection};
use super::refusal::Refusal;
use super::signing::{self, COOL_DOWN, Signing};
use super::verification::{Of, Verification};

/// Seconds for which a token without an end is remembered at most.
const LONGEST_S: u64 = 3600;

/// What became of a token.
pub(super) type Outcome = Result<Arc<Passport>, Refusal>;

/// What a good token stands for.
pub(super) struct Passport {
    pub(super) caller: Arc<Caller>,
    pub(super) claims: Option<Arc<plugin::claims::Claims>>,
    /// What the service gets.
    pub(super) upstream: Headers,
}

/// How one of the tokens is judged.
pub(super) struct Judge {
    pub(super) kind: Kind,
    pub(super) optional: bool,
    /// The header with the token.
    header: String,
    /// What stands before it there.
    scheme: Option<String>,
    keys: Option<Arc<Published<KeySet>>>,
    checks_signature: bool,
    takes_secrets: bool,
    token: Verification,
    answer: Verification,
    introspection: Option<Introspection>,
    trusts_answers: bool,
    signing: Option<Signing>,
    original: Option<TokenField>,
    /// What only this room may say.
    tells: OwnFields,
    wanted: Arc<WantedClaims>,
    remembered: Remembered<Finding>,
    reading: Arc<str>,
}

/// What was found out about a token, and by which keys.
#[derive(Clone)]
struct Finding {
    /// None where it did not depend on them.
    keys: Option<u64>,
    ring: u64,
    outcome: Outcome,
}

/// Keys at hand, with the numbers they were found under.
struct AtHand {
    keys: Option<Arc<Edition<KeySet>>>,
    signer: Option<(u64, Arc<Signer>)>,
}

impl Judge {
    /// None where there is no such token.
    pub(super) fn new(token: &Token, general: &General, cx: &Build<'_>) -> Result<Option<Self>, BuildError> {
        let settings = &token.settings;
        let setting = settings.request_header.as_deref().unwrap_or_default();
        if setting.is_empty() {
            return Ok(None);
        }
        let (header, scheme) =
            setting.split_once(':').map_or((setting, None), |(name, scheme)| (name, Some(scheme)));
        if !Headers::new().set(header, b"x") {
            let message = format!("'{header}' is not the name of a header");
            return Err(BuildError::new(token.field("request_header"), message));
        }
        let bearer = || header.eq_ignore_ascii_case("authorization").then_some("bearer");
        let introspection = Introspection::new(token, cx)?;
        let keys = keys(token, general, cx)?;
        let signing = Signing::new(token, general, cx)?;
        let setting = settings.original_upstream_header.as_deref();
        let original = signing::field(token, "original_upstream_header", setting)?;
        let own = [signing.as_ref().map(|signing| &signing.field), original.as_ref()];
        let tells = OwnFields::of_tokens(own.into_iter().flatten().map(|field| &*field.name));
        if keys.is_none() && settings.verify_signature && introspection.is_none() {
            let message = "no token could ever be accepted: say where its keys are, or whom to ask about it, \
                           or set the header to an empty text";
            return Err(BuildError::new(token.field("jwks_uri"), message));
        }
        Ok(Some(Self {
            kind: token.kind,
            optional: settings.optional,
            header: header.to_owned(),
            scheme: scheme.or_else(bearer).map(str::to_owned),
            keys,
            checks_signature: settings.verify_signature,
            takes_secrets: general.enable_hs_signatures,
            token: Verification::new(Of::Token, &token.token, cx)?,
            answer: Verification::new(Of::Answer, &token.answer, cx)?,
            introspection,
            trusts_answers: settings.trust_introspection,
            signing,
            original,
            tells,
            wanted: cx.wanted_claims()?,
            remembered: Remembered::new(cx.services),
            reading: "".into(),
        }))
    }

    /// The token of a request.
    pub(super) fn find<'e>(&self, exchange: &'e Exchange) -> Result<&'e [u8], Refusal> {
        let mut found = None;
        for value in exchange.request.headers.all(&self.header) {
            let token = match &self.scheme {
                Some(scheme) => authorization::credentials(value, scheme),
                None => Some(authorization::credentials(value, "bearer").unwrap_or(value)),
            };
            match token.map(<[u8]>::trim_ascii).filter(|token| !token.is_empty()) {
                Some(_) if found.is_some() => return Err(Refusal::Several),
                Some(token) => found = Some(token),
                None => {}
            }
        }
        found.ok_or(Refusal::Missing)
    }

    /// Takes out of the request what only this room may say, and the token itself.
    pub(super) fn clear(&self, cx: &mut Access<'_>) {
        cx.headers().remove(&self.header);
        cx.forget(&self.tells);
    }

    /// What was found out about a token, if the same keys would find it again.
    pub(super) fn remembered(&self, worker: usize, token: &[u8], now_ms: u64) -> Option<Outcome> {
        let finding = self.remembered.find(worker, &self.reading, token, now_ms / 1_000)?;
        let ring = self.signing.as_ref().map_or(0, |signing| signing.ring.number());
        let are_keys_same = match (finding.keys, &self.keys) {
            (Some(number), Some(keys)) => number == keys.number(),
            _ => true,
        };
        (are_keys_same && finding.ring == ring).then_some(finding.outcome)
    }

    /// What is to be said of a token without waiting; none if somebody has to be asked.
    pub(super) fn judge_now(&self, worker: usize, token: &[u8], now_ms: u64) -> Option<Outcome> {
        if self.is_opaque(token) {
            return self.introspection.is_none().then_some(Err(Refusal::Invalid(Defect::Malformed.as_str())));
        }
        let at_hand = self.at_hand()?;
        match self.verified(token, at_hand.keys.as_deref()) {
            Err(Defect::UnknownKey) if self.keys.is_some() => None,
            verified => Some(self.conclude(worker, token, verified, &at_hand, now_ms)),
        }
    }

    /// What is to be said of a token, once all is known that can be.
    pub(super) async fn settle(&self, worker: usize, token: &[u8], now_ms: u64) -> Outcome {
        if self.is_opaque(token) {
            return self.ask(worker, token, now_ms).await;
        }
        let mut at_hand = AtHand { keys: self.obtain_keys().await?, signer: self.obtain_signer().await? };
        let mut verified = self.verified(token, at_hand.keys.as_deref());
        if let (Err(Defect::UnknownKey), Some(keys), Some(known)) = (&verified, &self.keys, &at_hand.keys)
            && let Some(newer) = keys.newer_than(known.number).await
        {
            verified = self.verified(token, Some(&newer));
            at_hand.keys = Some(newer);
        }
        self.conclude(worker, token, verified, &at_hand, now_ms)
    }

    fn is_opaque(&self, token: &[u8]) -> bool {
        matches!(Header::of(token), Err(Defect::Malformed))
    }

    fn at_hand(&self) -> Option<AtHand> {
        let keys = match &self.keys {
            Some(keys) if self.checks_signature => Some(keys.at_hand()?),
            _ => None,
        };
        let signer = match &self.signing {
            Some(signing) => {
                signing.keep_fresh();
                Some(signing.ring.at_hand()?)
            }
            None => None,
        };
        Some(AtHand { keys, signer })
    }

    async fn obtain_keys(&self) -> Result<Option<Arc<Edition<KeySet>>>, Refusal> {
        match &self.keys {
            Some(keys) if self.checks_signature => {
                keys.obtain().await.map(Some).map_err(|_| Refusal::Unavailable)
            }
            _ => Ok(None),
        }
    }

    async fn obtain_signer(&self) -> Result<Option<(u64, Arc<Signer>)>, Refusal> {
        let Some(signing) = &self.signing else { return Ok(None) };
        signing.keep_fresh();
        signing.ring.obtain().await.map(Some).map_err(|_| Refusal::Unavailable)
    }

    /// What a token says, if it was signed by who it should be.
    fn verified(&self, token: &[u8], keys: Option<&Edition<KeySet>>) -> Result<Claims, Defect> {
        if !self.checks_signature {
            return Jwt::without_verification(token).map(|token| token.claims);
        }
        if Header::of(token)?.algorithm.is_symmetric() && !self.takes_secrets {
            return Err(Defect::Algorithm);
        }
        let keys = keys.ok_or(Defect::UnknownKey)?;
        Jwt::verify(token, &keys.content).map(|token| token.claims)
    }

    fn conclude(
        &self,
        worker: usize,
        token: &[u8],
        verified: Result<Claims, Defect>,
        at_hand: &AtHand,
        now_ms: u64,
    ) -> Outcome {
        let claims = verified.map_err(|defect| Refusal::Invalid(defect.as_str()))?;
        self.token.check(&claims, now_ms)?;
        let consumer = self.token.consumer(&claims)?;
        let outcome = self.admit(token, (&claims, &claims), consumer, at_hand)?;
        let until_s = self.token.until_s(&claims).unwrap_or(u64::MAX);
        self.remember(worker, token, &outcome, at_hand, until_s.min(now_ms / 1_000 + LONGEST_S));
        Ok(outcome)
    }

    /// Asks the introspection endpoint about a token.
    async fn ask(&self, worker: usize, token: &[u8], now_ms: u64) -> Outcome {
        let introspection =
            self.introspection.as_ref().ok_or(Refusal::Invalid(Defect::Malformed.as_str()))?;
        let answer = introspection.ask(token, now_ms).await?;
        self.answer.check(&answer.claims, now_ms)?;
        let mut at_hand = AtHand { keys: None, signer: self.obtain_signer().await? };
        let mut claims = (*answer.claims).clone();
        if let Some(jwt) = &answer.jwt {
            let verified = if self.trusts_answers {
                Jwt::without_verification(jwt.as_bytes()).map(|token| token.claims)
            } else {
                at_hand.keys = self.obtain_keys().await?;
                self.verified(jwt.as_bytes(), at_hand.keys.as_deref())
            };
            claims = verified.map_err(|defect| Refusal::Invalid(defect.as_str()))?;
        }
        if !self.trusts_answers {
            self.token.check(&claims, now_ms)?;
        }
        let consumer = match self.answer.consumer(&answer.claims)? {
            None if !self.trusts_answers => self.token.consumer(&claims)?,
            found => found,
        };
        let outcome = self.admit(token, (&claims, &answer.claims), consumer, &at_hand)?;
        if introspection.remembers {
            let until_s = self.answer.until_s(&answer.claims).unwrap_or(u64::MAX);
            let until_s = until_s.min(now_ms / 1_000 + introspection::LONGEST_S);
            self.remember(worker, token, &outcome, &at_hand, until_s);
        }
        Ok(outcome)
    }

    fn remember(
        &self,
        worker: usize,
        token: &[u8],
        passport: &Arc<Passport>,
        at_hand: &AtHand,
        until_s: u64,
    ) {
        let finding = Finding {
            keys: at_hand.keys.as_ref().map(|keys| keys.number),
            ring: at_hand.signer.as_ref().map_or(0, |(number, _)| *number),
            outcome: Ok(passport.clone()),
        };
        self.remembered.remember(worker, &self.reading, token, &finding, until_s);
    }

    /// What the service gets for a good token that says `claims`; `said` is what was asked for who the caller is.
    fn admit(
        &self,
        token: &[u8],
        (claims, said): (&Claims, &Claims),
        consumer: Option<Arc<Consumer>>,
        at_hand: &AtHand,
    ) -> Outcome {
        let mut upstream = Headers::new();
        if let Some(field) = &self.original {
            upstream.set(&field.name, &field.value(token));
        }
        if let (Some(signing), Some((_, signer))) = (&self.signing, &at_hand.signer) {
            let value = signing.sign(signer, claims).ok_or(Refusal::Unavailable)?;
            upstream.set(&signing.field.name, &value);
        }
        let subject = self.answer.subject(said).or_else(|| self.token.subject(claims));
        let issuer = [said, claims].into_iter().find_map(|claims| claims.get("iss")?.as_str());
        let holder = Holder { kind: self.kind.name(), issuer, subject: subject.as_deref(), token };
        let credential = holder.credential(subject.as_deref().unwrap_or_default().into());
        let json = serde_json::to_vec(claims).unwrap_or_default();
        let claims = self.wanted.read(&json);
        Ok(Arc::new(Passport { caller: Caller::authenticated(consumer, credential), claims, upstream }))
    }

    /// What the log line calls it.
    pub(super) fn log_name(&self) -> &'static str {
        match self.kind {
            Kind::Access => "jwt_signer_access_token",
            Kind::Channel => "jwt_signer_channel_token",
        }
    }
}

/// The keys that tokens are checked with, kept fresh and over reloads.
fn keys(
    token: &Token,
    general: &General,
    cx: &Build<'_>,
) -> Result<Option<Arc<Published<KeySet>>>, BuildError> {
    let settings = &token.settings;
    let address = settings.jwks_uri.as_deref().filter(|address| !address.is_empty());
    let shown = ("jwks_uri_client_certificate", &settings.jwks_uri_client_certificate);
    let certificate = Endpoint::certificate(token, shown.0, shown.1, address, cx)?;
    let Some(address) = address else { return Ok(None) };
    let endpoint = Endpoint::new(token, ("jwks_uri", address), certificate, None, cx)?;
    let endpoint = Arc::new(endpoint.with_login(
        settings.jwks_uri_client_username.as_deref(),
        settings.jwks_uri_client_password.as_deref(),
    ));
    let lifetime = signing::lifetime(settings.jwks_uri_rotate_period);
    let freshness = Freshness { lifetime, cool_down: COOL_DOWN.min(lifetime), negative: None };
    let with_secrets = general.enable_hs_signatures;
    let key = format!("jwt-signer {} {freshness:?} {with_secrets}", endpoint.identity());
    let source: Source<KeySet> = Box::new(move || {
        let endpoint = endpoint.clone();
        Box::pin(async move {
            let text = endpoint.get().await?;
            let set = if with_secrets { KeySet::confidential(&text) } else { KeySet::published(&text) };
            let set = set.ok_or("no JSON Web Key Set")?;
            match set.problems().first() {
                Some(problem) if set.is_empty() => Err(format!("no key that can be used: {problem}")),
                None if set.is_empty() => Err("no keys".to_owned()),
                _ => Ok(set),
            }
        })
    });
    let services = cx.services;
    let make = || Published::new(("issuers", address), source, freshness, services);
    Ok(Some(services.keep(&key, make)))
}
