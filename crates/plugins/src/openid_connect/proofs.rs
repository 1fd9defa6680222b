//! Proofs that a client holds a key (RFC 9449 4): made for one request and one token, and good once.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use plugin::jose::{Header, Key, KeySet, LONGEST, Parts, Token, thumbprint, to_base64url};
use plugin::remember::Digest;
use plugin::web_session::Sealer;
use plugin::{Access, Build, BuildError, Exchange};
use serde_json::Value;

use super::claims::Claims;
use super::config::{Config, Places};
use super::login::own_address;
use super::once::{Once, Use};
use super::possession::text;
use super::refusal::Refusal;

/// The header with a proof.
pub(super) const HEADER: &str = "DPoP";
/// The header with a nonce for the next proof (8).
const NONCE: &str = "DPoP-Nonce";
const USED: Refusal = Refusal::Unproven("a proof that has been used already");
/// Seconds by which the clocks of clients may be ahead, beside the leeway.
const AHEAD_S: f64 = 10.0;

/// How proofs are checked, and those that were used.
pub(super) struct Proofs {
    lifetime_s: u64,
    leeway_s: f64,
    used: Once,
    nonces: Option<Sealer>,
}

impl Proofs {
    pub(super) fn new(config: &Config, places: &Places, cx: &Build<'_>) -> Result<Self, BuildError> {
        let purpose = "openid-connect nonces";
        let secret = config.sessions.session_secret.as_deref().filter(|secret| !secret.is_empty());
        let sealer = || match secret {
            Some(secret) => Ok(Sealer::new(secret.as_bytes(), purpose)),
            None => Sealer::of_process(cx.services, purpose)
                .map_err(|problem| BuildError::new("config.dpop_use_nonce", problem)),
        };
        Ok(Self {
            lifetime_s: config.possession.dpop_proof_lifetime as u64,
            leeway_s: config.tokens.leeway,
            used: Once::new("proof", &config.provider.issuer, places.once(), cx.services),
            nonces: config.possession.dpop_use_nonce.then(sealer).transpose()?,
        })
    }

    /// Checks the proof of a request that brings `token`, which is bound to the key with the thumbprint `key`. What comes is
    /// left to be asked of other gateways, see [`Self::settle`].
    pub(super) fn check(&self, cx: &mut Access<'_>, token: &[u8], key: &str) -> Result<Option<Use>, Refusal> {
        let now_s = cx.record.started_ms / 1_000;
        let claims = read(cx, key)?;
        let fault = is_for_another(cx, &claims, token).or_else(|| self.untimely(&claims, now_s));
        if let Some(fault) = fault {
            return Err(Refusal::Unproven(fault));
        }
        self.check_nonce(cx, &claims, now_s)?;
        let id = text(&claims, "jti").filter(|id| !id.is_empty()).ok_or(Refusal::Unproven("no jti"))?;
        let thing = Digest::of([key.as_bytes(), id.as_bytes()]);
        let made_s = claims.get("iat").and_then(Value::as_f64).map_or(0, |iat| iat as u64);
        let oldest_s = now_s.saturating_sub(self.lifetime_s + self.leeway_s as u64);
        let proof = Use { thing, made_s, oldest_s };
        match self.used.is_shared() {
            true => Ok(Some(proof)),
            false if self.used.is_first_here(&proof) => Ok(None),
            false => Err(USED),
        }
    }

    /// Whether a proof has been used at no gateway.
    pub(super) async fn settle(&self, worker: usize, proof: &Use) -> Result<(), Refusal> {
        if self.used.is_first(worker, proof).await? { Ok(()) } else { Err(USED) }
    }

    fn untimely(&self, claims: &Claims, now_s: u64) -> Option<&'static str> {
        let Some(made_s) = claims.get("iat").and_then(Value::as_f64) else { return Some("no iat") };
        let age_s = now_s as f64 - made_s;
        let is_recent = (-AHEAD_S - self.leeway_s..=self.lifetime_s as f64 + self.leeway_s).contains(&age_s);
        (!is_recent).then_some("a proof of another time")
    }

    /// Checks that the gateway has given out the nonce of a proof, and gives out another one in time.
    fn check_nonce(&self, cx: &mut Access<'_>, claims: &Claims, now_s: u64) -> Result<(), Refusal> {
        let Some(sealer) = &self.nonces else { return Ok(()) };
        let given_s = text(claims, "nonce").and_then(|nonce| {
            let plain = sealer.open(b"", nonce.as_bytes())?;
            Some(u64::from_be_bytes(plain.try_into().ok()?))
        });
        let age_s = given_s.and_then(|given_s| now_s.checked_sub(given_s));
        let is_good = age_s.is_some_and(|age_s| age_s <= self.lifetime_s);
        if !is_good || age_s.is_some_and(|age_s| age_s > self.lifetime_s / 2) {
            let nonce = sealer.seal(b"", &now_s.to_be_bytes()).ok_or(Refusal::Unavailable)?;
            cx.decorate().set(NONCE, nonce.as_bytes());
        }
        if is_good { Ok(()) } else { Err(Refusal::WantsNonce) }
    }
}

/// What the proof of a request says, if it is signed with the key that has this thumbprint (4.3).
fn read(exchange: &Exchange, wanted: &str) -> Result<Claims, Refusal> {
    let mut proofs = exchange.request.headers.all(HEADER);
    let proof = proofs.next().ok_or(Refusal::Unproven("no proof"))?;
    if proofs.next().is_some() {
        return Err(Refusal::Unproven("more than one proof"));
    }
    let malformed = Refusal::Unproven("a malformed proof");
    let key = key_of(proof).ok_or(malformed.clone())?;
    let header = Header::of(proof).map_err(|_| malformed.clone())?;
    if header.kind.as_deref() != Some("dpop+jwt") || header.algorithm.is_symmetric() {
        return Err(malformed);
    }
    let own = thumbprint(&key).ok_or(malformed.clone())?;
    if verify_slices_are_equal(own.as_bytes(), wanted.as_bytes()).is_err() {
        return Err(Refusal::Invalid("a token of another key"));
    }
    let key = Key::from_jwk(&key).map_err(|_| malformed)?;
    let token = Token::verify(proof, &KeySet::new(vec![key]));
    token.map(|token| token.claims).map_err(|_| Refusal::Unproven("a proof that is not signed with its key"))
}

/// The public key in the header of a proof. Nothing is believed about it but what its thumbprint says.
fn key_of(proof: &[u8]) -> Option<Value> {
    let mut decoded = Vec::new();
    let parts = Parts::decode(
        proof.get(..LONGEST.min(proof.len())).filter(|_| proof.len() <= LONGEST)?,
        &mut decoded,
    )?;
    let mut header: Value = serde_json::from_slice(parts.header).ok()?;
    let key = header["jwk"].take();
    let members = key.as_object()?;
    let is_private = ["d", "k", "p", "q", "dp", "dq", "qi"].iter().any(|name| members.contains_key(*name));
    (!is_private).then_some(key)
}

/// What is wrong with the request or the token that a proof is for.
fn is_for_another(exchange: &Exchange, claims: &Claims, token: &[u8]) -> Option<&'static str> {
    if text(claims, "htm") != Some(exchange.request.method.as_str()) {
        return Some("a proof for another method");
    }
    let own = normal(&own_address(exchange));
    if own.is_none() || text(claims, "htu").and_then(normal) != own {
        return Some("a proof for another address");
    }
    let hash = to_base64url(digest(&SHA256, token).as_ref());
    (text(claims, "ath") != Some(hash.as_str())).then_some("a proof for another token")
}

/// An address in the form in which addresses are compared (RFC 3986 6.2.2, 6.2.3), without its query.
fn normal(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let rest = rest.split(['?', '#']).next()?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
    let port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let authority = authority.strip_suffix(port).unwrap_or(&authority);
    let mut normal = format!("{scheme}://{authority}");
    append_path(&mut normal, if path.is_empty() { "/" } else { path });
    Some(normal)
}

/// What need not be percent-encoded is not, and hexadecimal digits are capitals.
fn append_path(normal: &mut String, path: &str) {
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let digits = rest.get(1..3).filter(|_| first == '%');
        let Some(code) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            normal.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        match code {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                normal.push(char::from(code));
            }
            _ => normal.push_str(&format!("%{code:02X}")),
        }
        rest = &rest[3..];
    }
}
