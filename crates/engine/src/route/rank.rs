//! The standing of a sub-route among all others.

use model::Uuid;

/// Longest prefix that counts: Kong keeps 19 bits of the length.
const LONGEST: usize = (1 << 19) - 1;

/// Compared field by field in this order; the larger one is asked first (kong.md 3.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// How many of methods, hosts, headers, snis and paths are given.
    pub fields: u8,
    /// There are hosts and none is a pattern.
    pub plain_hosts: bool,
    /// How many header names are given, 255 at most.
    pub headers: u8,
    /// The paths are regular expressions.
    pub regex: bool,
    /// The route's own word; counts among regular expressions only. Kong's 32 bits make a negative number the
    /// largest; here it is the smallest.
    pub regex_priority: i64,
    /// Bytes of the prefixes; 0 for regular expressions.
    pub length: u32,
    /// Settles what is left: the larger id goes first.
    pub id: Uuid,
}

impl Rank {
    /// The length as it counts.
    pub fn length(prefix: usize) -> u32 {
        u32::try_from(prefix.min(LONGEST)).expect("19 bits fit into 32")
    }
}

/// The id of a sub-route made of a route with several paths. Kong derives it the same way, so ties between
/// sub-routes of different routes are settled alike.
pub(super) fn split_id(route: Uuid, group: &str) -> Uuid {
    Uuid::new_v5(&SPLIT, format!("{route}#{group}").as_bytes())
}

const SPLIT: Uuid = Uuid::from_u128(0x7f145bf9_0dce_4f91_98eb_debbce4b9f6b);
