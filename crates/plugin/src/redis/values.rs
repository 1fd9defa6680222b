//! Values by their keys: read, written for a time, and deleted.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::answer::Answer;
use super::request::{Argument, Invocation, Request, Script};
use super::store::{Store, Unavailable};
use crate::shared::Claim;

/// Most bytes of a value. What is longer is neither written nor taken for an answer.
const LARGEST: usize = 1 << 20;

/// What a value begins with that was made to end, and nobody's own does.
const ENDING: u8 = 0;

/// Marks a value, and lets it end.
static SHORTEN: Script = Script::new(
    "local left = redis.call('PTTL', KEYS[1])
     if left == -2 then return {0} end
     if left == -1 or left > tonumber(ARGV[1]) then left = tonumber(ARGV[1]) end
     local held = redis.call('GET', KEYS[1])
     if string.byte(held) ~= 0 then held = '\\0' .. held end
     redis.call('SET', KEYS[1], held, 'PX', math.max(left, 1))
     return {1}",
);

/// Puts a value in the place of another one, unless that was made to end.
static REPLACE: Script = Script::new(
    "local held = redis.call('GET', KEYS[1])
     if not held then return {0} end
     if string.byte(held) == 0 then return {1} end
     if ARGV[2] == '0' then redis.call('SET', KEYS[1], ARGV[1])
     else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
     return {1}",
);

/// Takes a key that is free. Who asks again, because the answer was lost, has it still.
static CLAIM: Script = Script::new(
    "local free
     if ARGV[2] == '0' then free = redis.call('SET', KEYS[1], ARGV[1], 'NX')
     else free = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) end
     if free then return {1} end
     local held = redis.call('GET', KEYS[1])
     if held == ARGV[1] then return {1} end
     return {0, held or ''}",
);
/// Puts a value in the place of the one that is expected there, or nothing.
static EXCHANGE: Script = Script::new(
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {0} end
     if #ARGV == 1 then redis.call('DEL', KEYS[1])
     elseif ARGV[3] == '0' then redis.call('SET', KEYS[1], ARGV[2])
     else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
     return {1}",
);

impl Store {
    /// The value of `key`, if there is one.
    ///
    /// # Errors
    /// When Redis did not answer, or with an error.
    pub async fn read(self: &Arc<Self>, worker: usize, key: &[u8]) -> Result<Option<Vec<u8>>, Unavailable> {
        let mut command = redis::cmd("GET");
        command.arg(key);
        let answer = self.ask(worker, &Request::Command(key, command)).await?;
        self.value(answer)
    }

    /// The values of `keys`, all of one hash slot, in their order.
    ///
    /// # Errors
    /// When Redis did not answer, or with an error.
    pub async fn read_all(
        self: &Arc<Self>,
        worker: usize,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Vec<u8>>>, Unavailable> {
        let Some(first) = keys.first() else { return Ok(Vec::new()) };
        let mut command = redis::cmd("MGET");
        for key in keys {
            command.arg(key.as_slice());
        }
        match self.ask(worker, &Request::Command(first, command)).await? {
            Value::Array(values) if values.len() == keys.len() => {
                values.into_iter().map(|value| self.value(value)).collect()
            }
            _ => Err(self.misunderstood()),
        }
    }

    /// Keeps a value for `lifetime`, or for good without one, in place of what there was.
    ///
    /// # Errors
    /// When the value is too large, or Redis did not answer or with an error; it may be there all the same.
    pub async fn write(
        self: &Arc<Self>,
        worker: usize,
        key: &[u8],
        value: &[u8],
        lifetime: Option<Duration>,
    ) -> Result<(), Unavailable> {
        let command = setting(key, value, lifetime)?;
        self.ask(worker, &Request::Command(key, command)).await.map(drop)
    }

    /// The same in place of a value that is there; false if there is none. One that was made to end stays as it is.
    ///
    /// # Errors
    /// When the value is too large, or Redis did not answer or with an error; it may be there all the same.
    pub async fn replace(
        self: &Arc<Self>,
        worker: usize,
        key: &[u8],
        value: &[u8],
        lifetime: Option<Duration>,
    ) -> Result<bool, Unavailable> {
        let arguments = vec![bounded(value)?, lifetime.map_or(0, milliseconds).into()];
        let invocation = Invocation { script: &REPLACE, keys: vec![key.to_vec()], arguments };
        Ok(self.run(worker, &invocation).await? == [1])
    }

    /// Deletes what `key` names, if there is anything.
    ///
    /// # Errors
    /// When Redis did not answer, or with an error; it may be gone all the same.
    pub async fn delete(self: &Arc<Self>, worker: usize, key: &[u8]) -> Result<(), Unavailable> {
        let mut command = redis::cmd("DEL");
        command.arg(key);
        self.ask(worker, &Request::Command(key, command)).await.map(drop)
    }

    /// Keeps a value where there is none.
    ///
    /// # Errors
    /// When the value is too large, or Redis did not answer or with an error; it may be there all the same.
    pub async fn claim(
        self: &Arc<Self>,
        worker: usize,
        key: &[u8],
        value: &[u8],
        lifetime: Option<Duration>,
    ) -> Result<Claim, Unavailable> {
        let arguments = vec![bounded(value)?, lifetime.map_or(0, milliseconds).into()];
        let invocation = Invocation { script: &CLAIM, keys: vec![key.to_vec()], arguments };
        let mut answer = self.evaluate(worker, &invocation).await?.into_list().into_iter();
        match (answer.next(), answer.next()) {
            (Some(Answer::Number(1)), _) => Ok(Claim::Own),
            (Some(Answer::Number(0)), Some(Answer::Bytes(held))) => Ok(Claim::Other(held)),
            _ => Err(self.misunderstood()),
        }
    }

    /// Puts a value, or nothing, in the place of `expected`; false if that is not there (any more).
    ///
    /// # Errors
    /// When the value is too large, or Redis did not answer or with an error; it may have been done all the same.
    pub async fn exchange(
        self: &Arc<Self>,
        worker: usize,
        key: &[u8],
        expected: &[u8],
        value: Option<&[u8]>,
        lifetime: Option<Duration>,
    ) -> Result<bool, Unavailable> {
        let mut arguments = vec![bounded(expected)?];
        if let Some(value) = value {
            arguments.extend([bounded(value)?, lifetime.map_or(0, milliseconds).into()]);
        }
        let invocation = Invocation { script: &EXCHANGE, keys: vec![key.to_vec()], arguments };
        Ok(self.run(worker, &invocation).await? == [1])
    }

    /// Lets what `key` names end after `lifetime` from now, if not sooner; false if there is nothing.
    ///
    /// # Errors
    /// When Redis did not answer, or with an error.
    pub async fn shorten(
        self: &Arc<Self>,
        worker: usize,
        key: &[u8],
        lifetime: Duration,
    ) -> Result<bool, Unavailable> {
        let (keys, arguments) = (vec![key.to_vec()], vec![milliseconds(lifetime).into()]);
        let answer = self.run(worker, &Invocation { script: &SHORTEN, keys, arguments }).await?;
        Ok(answer == [1])
    }

    fn value(&self, answer: Value) -> Result<Option<Vec<u8>>, Unavailable> {
        match answer {
            Value::Nil => Ok(None),
            Value::BulkString(mut bytes) if bytes.len() <= LARGEST + 1 => {
                if bytes.first() == Some(&ENDING) {
                    bytes.remove(0);
                }
                Ok(Some(bytes))
            }
            _ => Err(self.misunderstood()),
        }
    }
}

fn bounded(value: &[u8]) -> Result<Argument, Unavailable> {
    if is_value(value) { Ok(value.to_vec().into()) } else { Err(Unavailable) }
}

/// Whether it can be kept, and is not taken for one that was made to end.
fn is_value(value: &[u8]) -> bool {
    value.len() <= LARGEST && value.first() != Some(&ENDING)
}

fn setting(key: &[u8], value: &[u8], lifetime: Option<Duration>) -> Result<redis::Cmd, Unavailable> {
    if !is_value(value) {
        return Err(Unavailable);
    }
    let mut command = redis::cmd("SET");
    command.arg(key).arg(value);
    if let Some(lifetime) = lifetime {
        command.arg("PX").arg(milliseconds(lifetime));
    }
    Ok(command)
}

/// As Redis takes a lifetime: at least 1, for with 0 it would be an error, and within what it can add to its clock.
fn milliseconds(lifetime: Duration) -> i64 {
    const LONGEST: i64 = i64::MAX >> 12;
    i64::try_from(lifetime.as_millis()).unwrap_or(LONGEST).clamp(1, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_such_that_redis_takes_them() {
        assert_eq!(milliseconds(Duration::ZERO), 1);
        assert_eq!(milliseconds(Duration::from_secs(3)), 3_000);
        assert!(milliseconds(Duration::MAX).checked_add(4_000_000_000_000).is_some());
    }
}
