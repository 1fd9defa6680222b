//! A name server on loopback for tests: answers are set by hand and encoded by hand.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// How the server reacts to a name.
#[derive(Clone)]
pub(crate) enum Reaction {
    /// Addresses with a time to live in seconds.
    Addresses(Vec<IpAddr>, u32),
    /// An error code: 2 is a server failure, 3 an unknown name.
    Code(u8),
    /// No answer at all.
    Silence,
}

/// The running server.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<Zone>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Zone {
    reactions: HashMap<String, Reaction>,
    asked: Vec<(String, u16)>,
    stopped: bool,
}

const A: u16 = 1;
const AAAA: u16 = 28;

impl NameServer {
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let state = Arc::new(Mutex::new(Zone::default()));
        let theirs = state.clone();
        let thread = Some(thread::spawn(move || serve(&socket, &theirs)));
        Self { address, state, thread }
    }

    /// Answers for `name` with these addresses from now on.
    pub(crate) fn set(&self, name: &str, addresses: &[&str], ttl: u32) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.react(name, Reaction::Addresses(addresses, ttl));
    }

    pub(crate) fn react(&self, name: &str, reaction: Reaction) {
        self.state.lock().unwrap().reactions.insert(name.to_owned(), reaction);
    }

    /// How often the IPv4 addresses of `name` were asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|(asked, kind)| asked == name && *kind == A).count()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.state.lock().unwrap().stopped = true;
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[], self.address).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(socket: &UdpSocket, state: &Mutex<Zone>) {
    let mut query = [0; 1500];
    loop {
        let (length, client) = socket.recv_from(&mut query).unwrap();
        let mut zone = state.lock().unwrap();
        if zone.stopped {
            return;
        }
        if let Some(answer) = answer(&query[..length], &mut zone) {
            socket.send_to(&answer, client).unwrap();
        }
    }
}

fn answer(query: &[u8], zone: &mut Zone) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap().to_ascii_lowercase());
        at = end;
    }
    let name = labels.join(".");
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    zone.asked.push((name.clone(), kind));
    let (code, addresses, ttl) = match zone.reactions.get(&name) {
        Some(Reaction::Addresses(addresses, ttl)) => (0, addresses.clone(), *ttl),
        Some(Reaction::Code(code)) => (*code, Vec::new(), 0),
        Some(Reaction::Silence) => return None,
        None => (3, Vec::new(), 0),
    };
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) if kind == A => Some(address.octets().to_vec()),
            IpAddr::V6(address) if kind == AAAA => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    answer.extend(&query[12..at + 5]);
    for record in records {
        answer.extend([0xC0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1]);
        answer.extend(ttl.to_be_bytes());
        answer.extend((record.len() as u16).to_be_bytes());
        answer.extend(record);
    }
    Some(answer)
}
