//! Answers of the provider that gateways take from one another.

use std::sync::Arc;
use std::time::Duration;

use plugin::remember::Digest;
use plugin::shared::{Joint, Lease, Turn, Unavailable};
use serde_json::{Value, json};

use super::http::Pairs;

/// What answers of the token endpoint are kept under.
const TOKENS: &str = "tokens";
/// What remains of a lease for telling the others.
const FOR_TELLING: Duration = Duration::from_secs(2);
/// Bytes before an answer: when it was asked for, in seconds since 1970.
const MOMENT: usize = 8;

/// Where gateways find what the token endpoint has told one of them.
#[derive(Clone)]
pub(super) struct Pool {
    pub(super) joint: Arc<Joint>,
    /// Nobody asks without it: a second use of the same refresh token would end what came of the first.
    pub(super) is_needed: bool,
    /// Longest that a question to the provider takes.
    pub(super) patience: Duration,
}

/// How a question is answered.
pub(super) enum Way {
    /// This gateway asks, for all that share a lease, or for itself.
    Ask(Option<Lease>),
    /// Another one has.
    Told(Said),
}

/// What the token endpoint has said.
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) answer: Value,
    /// Headers for the client.
    pub(super) replayed: Pairs,
    /// When it was asked, in seconds since 1970.
    pub(super) asked_s: u64,
}

impl Said {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        json!([self.status, self.answer, self.replayed, self.asked_s]).to_string().into_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (status, answer, replayed, asked_s) = serde_json::from_slice(bytes).ok()?;
        Some(Self { status, answer, replayed, asked_s })
    }
}

impl Pool {
    /// How a question of `worker` about `thing` is answered.
    pub(super) async fn way(&self, worker: usize, thing: &Digest) -> Result<Way, String> {
        match self.joint.turn(worker, TOKENS, thing, self.patience + FOR_TELLING).await {
            Ok(Turn::Own(lease)) => Ok(Way::Ask(Some(lease))),
            Ok(Turn::Told(said)) => {
                let said = Said::from_bytes(&said).ok_or("another gateway has told what cannot be read")?;
                Ok(Way::Told(said))
            }
            Err(Unavailable) if self.is_needed => {
                Err("it cannot be found out whether another gateway uses the same refresh token".to_owned())
            }
            Err(Unavailable) => Ok(Way::Ask(None)),
        }
    }
}

/// Ends a lease, with what the others may take for a time, if anything.
pub(super) async fn end(lease: Option<Lease>, told: Option<(&[u8], Duration)>) {
    let Some(lease) = lease else { return };
    let Some((said, lifetime)) = told.filter(|(_, lifetime)| !lifetime.is_zero()) else {
        return lease.give_up().await;
    };
    if lease.tell(said, lifetime).await != Ok(true) {
        tracing::warn!("other gateways do not get to know the tokens that this one was given");
    }
}

/// An answer with the moment when it was asked for.
pub(super) fn dated(answer: &[u8], asked_s: u64) -> Vec<u8> {
    [&asked_s.to_be_bytes()[..], answer].concat()
}

/// Both again.
pub(super) fn undated(bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (moment, answer) = bytes.split_first_chunk::<MOMENT>()?;
    Some((u64::from_be_bytes(*moment), answer.to_vec()))
}
