//! The sessions of one UDP listener by their clients, bounded in number.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ahash::AHashMap;

/// Sessions by client, in the order in which their clients were heard of last.
pub struct Table<S> {
    sessions: AHashMap<SocketAddr, (S, u64)>,
    /// Clients by the turn in which they were heard of last.
    turns: BTreeMap<u64, SocketAddr>,
    turn: u64,
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Self { sessions: AHashMap::new(), turns: BTreeMap::new(), turn: 0 }
    }
}

impl<S> Table<S> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// The session of a client that has just been heard of.
    pub fn heard_of(&mut self, client: SocketAddr) -> Option<&S> {
        let (session, turn) = self.sessions.get_mut(&client)?;
        self.turns.remove(turn);
        self.turn += 1;
        *turn = self.turn;
        self.turns.insert(*turn, client);
        Some(session)
    }

    /// Enters the session of a client that has none.
    pub fn enter(&mut self, client: SocketAddr, session: S) {
        self.turn += 1;
        self.turns.insert(self.turn, client);
        self.sessions.insert(client, (session, self.turn));
    }

    /// Takes out the session whose client has been silent for longest.
    pub fn displace(&mut self) -> Option<S> {
        let (_, client) = self.turns.pop_first()?;
        self.sessions.remove(&client).map(|(session, _)| session)
    }

    /// Strikes out a client's session, if it is the one that `is` means.
    pub fn strike(&mut self, client: SocketAddr, is: impl FnOnce(&S) -> bool) {
        if let Some((session, turn)) = self.sessions.get(&client)
            && is(session)
        {
            self.turns.remove(turn);
            self.sessions.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], number))
    }

    #[test]
    fn who_has_been_silent_for_longest_is_displaced() {
        let mut table = Table::default();
        (1..=3).for_each(|number| table.enter(client(number), number));
        assert_eq!(table.heard_of(client(1)), Some(&1));
        assert_eq!(table.heard_of(client(4)), None);
        assert_eq!([table.displace(), table.displace(), table.displace()], [Some(2), Some(3), Some(1)]);
        assert_eq!((table.displace(), table.len(), table.turns.len()), (None, 0, 0));
    }

    #[test]
    fn only_the_session_that_is_meant_is_struck_out() {
        let mut table = Table::default();
        table.enter(client(1), "new");
        table.strike(client(1), |session| *session == "old");
        assert_eq!(table.len(), 1);
        table.strike(client(1), |session| *session == "new");
        assert_eq!((table.len(), table.turns.len()), (0, 0));
    }
}
