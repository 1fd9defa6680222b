//! Consistent hashing: who has the same key goes to the same address, whichever worker or gateway picks, for as long
//! as it is there.
//!
//! A key falls on one of `slots` slots. Each address has a score for each slot, made of a hash of both and its weight,
//! and the slot belongs to the one with the best (rendezvous hashing with weights: D. Thaler and C. Ravishankar, 1998;
//! J. Schindelhauer and G. Schomaker, 2005). When an address goes, its slots go to others by their weights, and no
//! other slot moves. Who has which slot is computed beforehand; only where that one cannot be had is it computed for a
//! request.

use std::net::{IpAddr, SocketAddr};

use super::roster::{Candidate, Choice};
use super::wheel::scatter;

/// A hash that is the same in every process and version (FNV-1a, public domain).
pub(super) struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Hash {
    pub(super) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    /// Writes what there is. Whether there is anything.
    pub(super) fn write_if(&mut self, bytes: Option<&[u8]>) -> bool {
        bytes.inspect(|bytes| self.write(bytes)).is_some()
    }

    /// Writes all of them, with commas between them. Whether there are any.
    pub(super) fn write_all<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) -> bool {
        let mut count = 0;
        for piece in pieces {
            if count > 0 {
                self.write(b",");
            }
            self.write(piece);
            count += 1;
        }
        count > 0
    }

    pub(super) fn finish(&self) -> u64 {
        scatter(self.0)
    }
}

/// The slots, and whose they are.
pub(super) struct Slots {
    /// By slot, the index of its address.
    owners: Box<[u32]>,
    /// By address, its part of the hashes.
    seeds: Box<[u64]>,
}

impl Slots {
    /// `count` slots for these addresses.
    pub(super) fn new(candidates: &[Candidate], count: usize) -> Self {
        let seeds = candidates.iter().map(|candidate| seed(candidate.peer.address)).collect();
        let mut slots = Self { owners: Box::default(), seeds };
        let weight = |index: usize| candidates[index].weight as f64;
        let owner = |slot| slots.best(slot, (0..candidates.len()).map(|index| (index, weight(index))));
        let owners = (0..count as u64).map_while(owner);
        slots.owners = owners.map(|index| u32::try_from(index).unwrap_or(u32::MAX)).collect();
        slots
    }

    /// The best of the addresses given for a slot, by their weights.
    fn best(&self, slot: u64, among: impl Iterator<Item = (usize, f64)>) -> Option<usize> {
        let place = scatter(slot);
        let mut best: Option<(f64, usize)> = None;
        for (index, weight) in among {
            // Uniform between 0 and 1, both excluded.
            let drawn = ((scatter(place ^ self.seeds[index]) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
            let score = -drawn.ln() / weight;
            if best.is_none_or(|(lowest, _)| score < lowest) {
                best = Some((score, index));
            }
        }
        best.map(|(_, index)| index)
    }
}

fn seed(address: SocketAddr) -> u64 {
    let mut hash = Hash::default();
    match address.ip() {
        IpAddr::V4(ip) => hash.write(&ip.octets()),
        IpAddr::V6(ip) => hash.write(&ip.octets()),
    }
    hash.write(&address.port().to_be_bytes());
    hash.finish()
}

impl Choice<'_> {
    /// The address for a key of this hash. One that starts slowly has only a part of its keys; the others stay where
    /// they would be without it.
    pub(super) fn by_hash(&self, slots: &Slots, hash: u64) -> Option<usize> {
        let slot = hash.checked_rem(slots.owners.len() as u64)?;
        let owner = slots.owners[slot as usize] as usize;
        if self.open(owner) && self.share(owner) >= 1.0 {
            return Some(owner);
        }
        let others = (0..self.roster.candidates.len()).filter(|index| self.open(*index));
        slots.best(slot, others.map(|index| (index, f64::from(self.weight(index)))))
    }
}
