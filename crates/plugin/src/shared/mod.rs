//! What several gateways share: values by their keys, in a Redis or in a memcached, for rooms that need not know which.
//!
//! [`Values`] are read, written for a time and deleted, and taken or changed by one of many gateways that come at once.
//! [`Joint`] is what is asked by one of them for all, and what is good once among all.
//!
//! Both places may lose what they hold. Whoever keeps something here says what follows then.

mod joint;

use std::sync::Arc;
use std::time::Duration;

pub use crate::redis::Unavailable;
use crate::{memcached, redis};

pub use joint::{Joint, Lease, Turn};

/// How often a change is begun anew because somebody else was faster.
const MOST_TRIES: usize = 16;

/// Where values are.
#[derive(Clone)]
pub enum Values {
    /// In a Redis.
    Redis(Arc<redis::Store>),
    /// In a memcached.
    Memcached(Arc<memcached::Store>),
}

/// What came of taking a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It was free, and has the value.
    Own,
    /// It has this value.
    Other(Vec<u8>),
}

/// A value that is to be, and for how long.
pub type Change = (Vec<u8>, Option<Duration>);

impl Values {
    /// The value of `key`, if there is one.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn read(&self, worker: usize, key: &[u8]) -> Result<Option<Vec<u8>>, Unavailable> {
        match self {
            Self::Redis(store) => store.read(worker, key).await,
            Self::Memcached(store) => {
                let found = store.get(worker, &[key]).await?.pop();
                Ok(found.map(|found| found.value))
            }
        }
    }

    /// The values of `keys`, all of one hash slot, in their order.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn read_all(
        &self,
        worker: usize,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Vec<u8>>>, Unavailable> {
        match self {
            Self::Redis(store) => store.read_all(worker, keys).await,
            Self::Memcached(_) if keys.is_empty() => Ok(Vec::new()),
            Self::Memcached(store) => {
                let wanted: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                let mut found = store.get(worker, &wanted).await?;
                let mut take = |key: &Vec<u8>| {
                    let place = found.iter().position(|found| found.key == *key)?;
                    Some(found.swap_remove(place).value)
                };
                Ok(keys.iter().map(&mut take).collect())
            }
        }
    }

    /// Keeps a value for `lifetime`, or for good without one, in place of what there was.
    ///
    /// # Errors
    /// When the value is too large, or the server does not answer; it may be there all the same.
    pub async fn write(
        &self,
        worker: usize,
        key: &[u8],
        value: &[u8],
        lifetime: Option<Duration>,
    ) -> Result<(), Unavailable> {
        match self {
            Self::Redis(store) => store.write(worker, key, value, lifetime).await,
            Self::Memcached(store) => store.store(worker, "set", key, value, lifetime).await.map(drop),
        }
    }

    /// The same in place of a value that is there; false if there is none. One that was made to end ([`Self::shorten`]) stays
    /// as it is.
    ///
    /// # Errors
    /// When the value is too large, or the server does not answer; it may be there all the same.
    pub async fn replace(
        &self,
        worker: usize,
        key: &[u8],
        value: &[u8],
        lifetime: Option<Duration>,
    ) -> Result<bool, Unavailable> {
        match self {
            Self::Redis(store) => store.replace(worker, key, value, lifetime).await,
            Self::Memcached(store) => match store.is_ending(worker, key).await? {
                Some(is_there) => Ok(is_there),
                None => store.store(worker, "replace", key, value, lifetime).await,
            },
        }
    }

    /// Deletes what `key` names, if there is anything.
    ///
    /// # Errors
    /// When the server does not answer; it may be gone all the same.
    pub async fn delete(&self, worker: usize, key: &[u8]) -> Result<(), Unavailable> {
        match self {
            Self::Redis(store) => store.delete(worker, key).await,
            Self::Memcached(store) => store.delete(worker, key).await,
        }
    }

    /// Lets what `key` names end after `lifetime` from now, if not sooner; false if there is nothing. A memcached does not
    /// say what is left of a value: one that was never shortened ends then, and one that was keeps its end.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn shorten(&self, worker: usize, key: &[u8], lifetime: Duration) -> Result<bool, Unavailable> {
        match self {
            Self::Redis(store) => store.shorten(worker, key, lifetime).await,
            Self::Memcached(store) => {
                if let Some(is_there) = store.is_ending(worker, key).await? {
                    return Ok(is_there);
                }
                let is_there = store.touch(worker, key, lifetime).await?;
                if is_there {
                    store.store(worker, "set", &mark_of(key), b"", Some(lifetime * 2)).await?;
                }
                Ok(is_there)
            }
        }
    }

    /// Keeps a value where there is none. Of many who come at once with values of their own, one has the key.
    ///
    /// # Errors
    /// When the value is too large, or the server does not answer; it may be there all the same.
    pub async fn claim(
        &self,
        worker: usize,
        key: &[u8],
        value: &[u8],
        lifetime: Option<Duration>,
    ) -> Result<Claim, Unavailable> {
        match self {
            Self::Redis(store) => store.claim(worker, key, value, lifetime).await,
            Self::Memcached(store) => store.claim(worker, key, value, lifetime).await,
        }
    }

    /// Puts a value, or nothing, in the place of `expected`; false if that is not there (any more).
    ///
    /// # Errors
    /// When the value is too large, or the server does not answer; it may have been done all the same.
    pub async fn exchange(
        &self,
        worker: usize,
        key: &[u8],
        expected: &[u8],
        value: Option<&[u8]>,
        lifetime: Option<Duration>,
    ) -> Result<bool, Unavailable> {
        match self {
            Self::Redis(store) => store.exchange(worker, key, expected, value, lifetime).await,
            Self::Memcached(store) => store.exchange(worker, key, expected, value, lifetime).await,
        }
    }

    /// Makes of a value what `change` says, which is told what there is, and again where somebody else was faster. None
    /// leaves it as it is. Two who want exactly the same come to it once.
    ///
    /// # Errors
    /// When the server does not answer, or others were faster each time.
    pub async fn change(
        &self,
        worker: usize,
        key: &[u8],
        change: impl Fn(Option<&[u8]>) -> Option<Change>,
    ) -> Result<(), Unavailable> {
        for _ in 0..MOST_TRIES {
            let before = self.read(worker, key).await?;
            let Some((after, lifetime)) = change(before.as_deref()) else { return Ok(()) };
            let is_done = match &before {
                None => self.claim(worker, key, &after, lifetime).await? == Claim::Own,
                Some(before) => self.exchange(worker, key, before, Some(&after), lifetime).await?,
            };
            if is_done {
                return Ok(());
            }
        }
        Err(Unavailable)
    }
}

/// Says of a value in a memcached that it was made to end.
fn mark_of(key: &[u8]) -> Vec<u8> {
    [key, b".end"].concat()
}

impl memcached::Store {
    /// Whether a value is there that was made to end; none if there is none that was.
    async fn is_ending(self: &Arc<Self>, worker: usize, key: &[u8]) -> Result<Option<bool>, Unavailable> {
        let mark = mark_of(key);
        let found = self.get(worker, &[key, &mark]).await?;
        let has = |key: &[u8]| found.iter().any(|found| found.key == key);
        Ok(has(&mark).then(|| has(key)))
    }
}
