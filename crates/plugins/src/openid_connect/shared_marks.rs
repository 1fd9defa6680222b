//! Marks about sessions that were ended at the provider, where gateways share sessions: what one hears, all know.
//!
//! All marks of a provider and client have one slot of a cluster, so that one question asks for several.

use std::time::Duration;

use plugin::jose::to_base64url;
use plugin::remember::Digest;
use plugin::shared::Unavailable;
use plugin::web_session::shared::Shared;

/// Longest that a mark is kept, in seconds: a hundred years.
const LONGEST_S: u64 = 3_155_760_000;

/// The marks of a provider and client. Moments are seconds since 1970.
pub(super) struct SharedMarks {
    shared: Shared,
    owner: Digest,
    lifetime_s: u64,
}

impl SharedMarks {
    pub(super) fn new(shared: &Shared, owner: &str, lifetime_s: u64) -> Self {
        let lifetime_s = lifetime_s.clamp(1, LONGEST_S);
        Self { shared: shared.clone(), owner: Digest::of([owner.as_bytes()]), lifetime_s }
    }

    /// Marks a thing of `moment`. The latest moment stays, for as long as a session that it is about can last.
    pub(super) async fn set(&self, worker: usize, thing: &Digest, moment: u64) -> Result<(), Unavailable> {
        let lifetime = Some(Duration::from_secs(self.lifetime_s));
        let later = |before: Option<&[u8]>| {
            let is_later = before.and_then(read).is_none_or(|before| before < moment);
            is_later.then(|| (moment.to_string().into_bytes(), lifetime))
        };
        self.shared.values.change(worker, &self.key(thing), later).await
    }

    /// Whether one of `things`, which are of `moment`, is marked with this moment or a later one.
    pub(super) async fn have(
        &self,
        worker: usize,
        things: &[Digest],
        moment: u64,
    ) -> Result<bool, Unavailable> {
        let keys: Vec<Vec<u8>> = things.iter().map(|thing| self.key(thing)).collect();
        let marks = self.shared.values.read_all(worker, &keys).await?;
        // What cannot be read is a mark nevertheless.
        Ok(marks.iter().flatten().any(|mark| read(mark).is_none_or(|marked| marked >= moment)))
    }

    fn key(&self, thing: &Digest) -> Vec<u8> {
        let [owner, thing] = [&self.owner, thing].map(|digest| to_base64url(digest.bytes()));
        format!("{}:ended:{{{owner}}}:{thing}", self.shared.prefix).into_bytes()
    }
}

fn read(mark: &[u8]) -> Option<u64> {
    std::str::from_utf8(mark).ok()?.parse().ok()
}
