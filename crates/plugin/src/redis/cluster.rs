//! A cluster as one worker knows it: which master holds which slot, and a connection to each master asked so far.
//!
//! The map is read when the first connection is made and corrected by each redirection. When a connection to a node is
//! lost, all of it is forgotten and read anew.

use redis::Value;

use super::Fault;
use super::connection::{Connection, Opener, ping};
use super::settings::Address;

/// Slots of every cluster (Redis cluster specification, key distribution model).
const SLOTS: usize = 16_384;

/// The map of a cluster with the connections to its masters.
pub struct Cluster {
    slots: Vec<u16>,
    nodes: Vec<Node>,
}

struct Node {
    address: Address,
    connection: Option<Connection>,
}

impl Cluster {
    /// Reads the map from the first of `seeds` that answers, and makes sure that every master does.
    pub async fn open(opener: &Opener, seeds: &[Address]) -> Result<Self, Fault> {
        let mut last = Fault::Lost("there is no node to ask".to_owned());
        let share = opener.settings.connect_timeout / u32::try_from(seeds.len().max(1)).unwrap_or(u32::MAX);
        for seed in seeds {
            match tokio::time::timeout(share, Self::read(opener, seed)).await {
                Ok(Ok(mut cluster)) => {
                    cluster.reach_all(opener).await?;
                    return Ok(cluster);
                }
                Ok(Err(fault)) => last = fault,
                Err(_) => last = Fault::Lost(format!("the cluster's node {seed} did not answer")),
            }
        }
        Err(last)
    }

    async fn read(opener: &Opener, seed: &Address) -> Result<Self, Fault> {
        let connection = opener.open(seed, &opener.settings.identity, 0).await?;
        let mut question = redis::cmd("CLUSTER");
        question.arg("SLOTS");
        let answer = connection.send(&question).await.map_err(|error| Fault::of(&error))?;
        let mut cluster = Self { slots: vec![u16::MAX; SLOTS], nodes: Vec::new() };
        for (first, last, address) in ranges(answer, seed) {
            let node = cluster.node(address);
            let range = usize::from(first)..(usize::from(last) + 1).min(SLOTS);
            cluster.slots.get_mut(range).unwrap_or_default().fill(node);
        }
        match cluster.slots.iter().all(|node| *node != u16::MAX) {
            true => Ok(cluster),
            false => Err(Fault::Lost(format!("the cluster of {seed} does not serve all slots"))),
        }
    }

    async fn reach_all(&mut self, opener: &Opener) -> Result<(), Fault> {
        for index in 0..self.nodes.len() {
            let connection = self.connection_to(index, opener).await?;
            ping(&connection).await?;
        }
        Ok(())
    }

    /// The number of the node at `address`, which may be new.
    fn node(&mut self, address: Address) -> u16 {
        let known = self.nodes.iter().position(|node| node.address == address);
        let index = known.unwrap_or_else(|| {
            self.nodes.push(Node { address, connection: None });
            self.nodes.len() - 1
        });
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    /// The connection to the master that holds `key`, opened if need be.
    pub async fn connection_for(&mut self, key: &[u8], opener: &Opener) -> Result<Connection, Fault> {
        let node = usize::from(self.slots[slot(key)]);
        self.connection_to(node, opener).await
    }

    async fn connection_to(&mut self, index: usize, opener: &Opener) -> Result<Connection, Fault> {
        let Some(node) = self.nodes.get_mut(index) else {
            return Err(Fault::Lost("no node of the cluster holds the key".to_owned()));
        };
        if let Some(connection) = &node.connection {
            return Ok(connection.clone());
        }
        let connection = opener.open(&node.address, &opener.settings.identity, 0).await?;
        node.connection = Some(connection.clone());
        Ok(connection)
    }

    /// The connection to the node at `address`, which holds the slot of `key` from now on if it `stays` there.
    pub async fn redirected(
        &mut self,
        key: &[u8],
        address: Address,
        stays: bool,
        opener: &Opener,
    ) -> Result<Connection, Fault> {
        let node = self.node(address);
        if stays {
            self.slots[slot(key)] = node;
        }
        self.connection_to(usize::from(node), opener).await
    }

    /// The host of the master that holds `key`: a redirection without one means the same.
    pub fn host_of(&self, key: &[u8]) -> Option<String> {
        Some(self.nodes.get(usize::from(self.slots[slot(key)]))?.address.host.clone())
    }
}

/// What `CLUSTER SLOTS` says: first and last slot, and the master.
fn ranges(answer: Value, asked: &Address) -> Vec<(u16, u16, Address)> {
    let Value::Array(ranges) = answer else { return Vec::new() };
    let read = |range: Value| {
        let Value::Array(parts) = range else { return None };
        let mut parts = parts.into_iter();
        let first: u16 = redis::from_redis_value(parts.next()?).ok()?;
        let last: u16 = redis::from_redis_value(parts.next()?).ok()?;
        let Value::Array(master) = parts.next()? else { return None };
        let mut master = master.into_iter();
        let host: Option<String> = redis::from_redis_value(master.next()?).ok()?;
        let port: u16 = redis::from_redis_value(master.next()?).ok()?;
        // A node that does not know its own address gives none.
        let host = host.filter(|host| !host.is_empty() && host != "?");
        Some((first, last, Address { host: host.unwrap_or_else(|| asked.host.clone()), port }))
    };
    ranges.into_iter().filter_map(read).collect()
}

/// The slot of a key: of what is between its first brace and the next closing one, if there is anything.
fn slot(key: &[u8]) -> usize {
    let tagged = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|byte| *byte == b'}').filter(|length| *length > 0).map(|length| &rest[..length])
    });
    usize::from(checksum(tagged.unwrap_or(key))) % SLOTS
}

/// CRC-16/XMODEM.
fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum, _| match sum & 0x8000 {
            0 => sum << 1,
            _ => (sum << 1) ^ 0x1021,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // The check value of CRC-16/XMODEM, and slots that `CLUSTER KEYSLOT` of Redis 7.0 gives.
        assert_eq!(checksum(b"123456789"), 0x31c3);
        assert_eq!([slot(b"foo"), slot(b"{user1000}.following"), slot(b"foo{}{bar}")], [12182, 3443, 8363]);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
    }
}
