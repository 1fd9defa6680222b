//! What one of many gateways does for all.
//!
//! Of those that want to know the same thing at once, one has a lease and asks; the others wait until it tells, and take
//! what it has been told. When it dies, its lease ends, and the next one asks: then the same may be asked for twice, and
//! whoever asks must bear that. What it tells is sealed, and is found under a name that nobody makes without the secret:
//! neither can be read or guessed where it is kept.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use super::{Claim, Unavailable, Values};
use crate::remember::Digest;
use crate::web_session::{Sealer, random};

/// What things are named and sealed for.
const PURPOSE: &str = "biplane shared answers";
/// What a lease begins with; what is sealed has no such character.
const LEASE: u8 = b'?';
/// Pauses between two looks whether somebody has told.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// What gateways with one secret share in one place.
pub struct Joint {
    values: Values,
    prefix: String,
    sealer: Sealer,
}

/// Whose turn it is to ask.
pub enum Turn {
    /// That of the one who wanted to know.
    Own(Lease),
    /// Nobody's: this is the answer.
    Told(Vec<u8>),
}

/// The right to ask, for a time.
pub struct Lease {
    joint: Arc<Joint>,
    worker: usize,
    key: Vec<u8>,
    token: String,
}

impl Joint {
    /// What gateways with this secret share in this place, under keys that begin with `prefix` and a colon.
    #[must_use]
    pub fn new(values: Values, prefix: &str, secret: &[u8]) -> Arc<Self> {
        let sealer = Sealer::new(secret, PURPOSE);
        Arc::new(Self { values, prefix: prefix.to_owned(), sealer })
    }

    /// What is known of `thing` already. What was written with another secret is not.
    ///
    /// # Errors
    /// When the place does not answer.
    pub async fn known(
        &self,
        worker: usize,
        kind: &str,
        thing: &Digest,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        let key = self.key(kind, thing)?;
        let held = self.values.read(worker, &key).await?;
        Ok(held.and_then(|held| self.sealer.open(&key, &held)))
    }

    /// Lets the others know of `thing` for `lifetime`.
    ///
    /// # Errors
    /// When the place does not answer.
    pub async fn tell(
        &self,
        worker: usize,
        kind: &str,
        thing: &Digest,
        answer: &[u8],
        lifetime: Duration,
    ) -> Result<(), Unavailable> {
        let key = self.key(kind, thing)?;
        let sealed = self.sealer.seal(&key, answer).ok_or(Unavailable)?;
        self.values.write(worker, &key, sealed.as_bytes(), Some(lifetime)).await
    }

    /// What is known of `thing`, or the right to find it out, which nobody else has for the time of `lease`. Whoever asks has
    /// to be done by then. Waits for another one who asks, and for a second one where the first has died.
    ///
    /// # Errors
    /// When the place does not answer, or nobody has told in time.
    pub async fn turn(
        self: &Arc<Self>,
        worker: usize,
        kind: &str,
        thing: &Digest,
        lease: Duration,
    ) -> Result<Turn, Unavailable> {
        let key = self.key(kind, thing)?;
        let token: [u8; 16] = random().ok_or(Unavailable)?;
        let token = format!("{}{}", char::from(LEASE), URL_SAFE_NO_PAD.encode(token));
        let (deadline, mut pause) = (Instant::now() + lease * 2, FIRST_PAUSE);
        loop {
            match self.values.claim(worker, &key, token.as_bytes(), Some(lease)).await? {
                Claim::Own => return Ok(Turn::Own(Lease { joint: self.clone(), worker, key, token })),
                Claim::Other(held) if held.first().is_some_and(|first| *first != LEASE) => {
                    return self.sealer.open(&key, &held).map(Turn::Told).ok_or(Unavailable);
                }
                Claim::Other(_) if Instant::now() >= deadline => return Err(Unavailable),
                Claim::Other(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether nobody has come with `thing` within `lifetime` before.
    ///
    /// # Errors
    /// When the place does not answer; then it may count as used.
    pub async fn is_first(
        &self,
        worker: usize,
        kind: &str,
        thing: &Digest,
        lifetime: Duration,
    ) -> Result<bool, Unavailable> {
        let key = self.key(kind, thing)?;
        let token: [u8; 16] = random().ok_or(Unavailable)?;
        let token = URL_SAFE_NO_PAD.encode(token);
        Ok(self.values.claim(worker, &key, token.as_bytes(), Some(lifetime)).await? == Claim::Own)
    }

    fn key(&self, kind: &str, thing: &Digest) -> Result<Vec<u8>, Unavailable> {
        let name = self.sealer.name(thing.bytes()).ok_or(Unavailable)?;
        Ok(format!("{}:{kind}:{}", self.prefix, URL_SAFE_NO_PAD.encode(name)).into_bytes())
    }
}

impl Lease {
    /// Tells the others, for `lifetime`. False if the lease has ended and somebody else asks.
    ///
    /// # Errors
    /// When the place does not answer.
    pub async fn tell(self, answer: &[u8], lifetime: Duration) -> Result<bool, Unavailable> {
        let sealed = self.joint.sealer.seal(&self.key, answer).ok_or(Unavailable)?;
        self.end(Some(sealed.as_bytes()), Some(lifetime)).await
    }

    /// Leaves it to the next one to ask.
    pub async fn give_up(self) {
        // Where the place does not answer, the lease ends by itself.
        let _ended = self.end(None, None).await;
    }

    async fn end(&self, answer: Option<&[u8]>, lifetime: Option<Duration>) -> Result<bool, Unavailable> {
        let values = &self.joint.values;
        values.exchange(self.worker, &self.key, self.token.as_bytes(), answer, lifetime).await
    }
}
