//! Marks in Redis about sessions that were ended at the provider: what one gateway hears, all that share it know.
//!
//! All marks of a provider and client have one slot of a cluster, so that one question asks for several.

use plugin::jose::to_base64url;
use plugin::redis::{Invocation, Script, Unavailable};
use plugin::remember::Digest;
use plugin::web_session::shared::Shared;

/// Keeps the latest moment, for as long as a session that it is about can last.
static SET: Script = Script::new(
    "local before = tonumber(redis.call('GET', KEYS[1]) or '-1')
     if before < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) end
     return {1}",
);
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

    /// Marks a thing of `moment`.
    pub(super) async fn set(&self, worker: usize, thing: &Digest, moment: u64) -> Result<(), Unavailable> {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX).into();
        let arguments = vec![number(moment), number(self.lifetime_s)];
        let invocation = Invocation { script: &SET, keys: vec![self.key(thing)], arguments };
        self.shared.store.run(worker, &invocation).await.map(drop)
    }

    /// Whether one of `things`, which are of `moment`, is marked with this moment or a later one.
    pub(super) async fn have(
        &self,
        worker: usize,
        things: &[Digest],
        moment: u64,
    ) -> Result<bool, Unavailable> {
        let keys: Vec<Vec<u8>> = things.iter().map(|thing| self.key(thing)).collect();
        let marks = self.shared.store.read_all(worker, &keys).await?;
        // What cannot be read is a mark nevertheless.
        let marked = |mark: Vec<u8>| std::str::from_utf8(&mark).ok()?.parse::<u64>().ok();
        Ok(marks.into_iter().flatten().any(|mark| marked(mark).is_none_or(|marked| marked >= moment)))
    }

    fn key(&self, thing: &Digest) -> Vec<u8> {
        let [owner, thing] = [&self.owner, thing].map(|digest| to_base64url(digest.bytes()));
        format!("{}:ended:{{{owner}}}:{thing}", self.shared.prefix).into_bytes()
    }
}
