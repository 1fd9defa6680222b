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
    /// SRV records (priority, weight, port, host) with a time to live in seconds.
    Services(Vec<(u16, u16, u16, &'static str)>, u32),
    /// Addresses with a time to live in seconds, while questions about SRV records fail.
    AddressesOnly(Vec<IpAddr>, u32),
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
const SRV: u16 = 33;

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
        self.asked_for(name, A)
    }

    /// How often the SRV records of `name` were asked for.
    pub(crate) fn asked_for_services(&self, name: &str) -> usize {
        self.asked_for(name, SRV)
    }

    fn asked_for(&self, name: &str, wanted: u16) -> usize {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|(asked, kind)| asked == name && *kind == wanted).count()
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
    let mut services = Vec::new();
    let (code, addresses, ttl) = match zone.reactions.get(&name) {
        Some(Reaction::AddressesOnly(..)) if kind == SRV => (2, Vec::new(), 0),
        Some(Reaction::Addresses(addresses, ttl) | Reaction::AddressesOnly(addresses, ttl)) => {
            (0, addresses.clone(), *ttl)
        }
        Some(Reaction::Services(records, ttl)) => {
            services.extend(records.iter().filter(|_| kind == SRV).map(service_record));
            (0, Vec::new(), *ttl)
        }
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
        .chain(services)
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

fn service_record((priority, weight, port, host): &(u16, u16, u16, &str)) -> Vec<u8> {
    let mut record: Vec<u8> = [*priority, *weight, *port].into_iter().flat_map(u16::to_be_bytes).collect();
    for label in host.split('.').filter(|label| !label.is_empty()) {
        record.push(label.len() as u8);
        record.extend(label.as_bytes());
    }
    record.push(0);
    record
}
