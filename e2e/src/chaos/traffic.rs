//! Clients who go on asking, whatever happens, and note what became of each request.

use super::judge::{Moment, Outcome, Sent};
use crate::client::Connection;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Clients, each with a connection and one request at a time.
pub(super) const CLIENTS: usize = 6;
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(8);

/// What is asked for.
pub(super) struct Kind {
    pub method: &'static str,
    pub path: &'static str,
}

impl Kind {
    /// Whether it may be sent again by somebody who does not know whether it has arrived.
    pub fn is_idempotent(&self) -> bool {
        self.method != "POST"
    }

    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// The traffic, and where the story is.
pub(super) struct Traffic {
    kinds: &'static [Kind],
    proxy: SocketAddr,
    moment: AtomicUsize,
    numbers: AtomicU64,
    over: AtomicBool,
    sent: Mutex<Vec<Sent>>,
}

impl Traffic {
    pub fn new(kinds: &'static [Kind], proxy: SocketAddr) -> Self {
        Self {
            kinds,
            proxy,
            moment: AtomicUsize::new(0),
            numbers: AtomicU64::new(1),
            over: AtomicBool::new(false),
            sent: Mutex::default(),
        }
    }

    /// What begins from now on begins at this moment.
    pub fn go_on_to(&self, moment: Moment) {
        self.moment.store(moment.pack(), Ordering::SeqCst);
    }

    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// How many requests have both begun at `moment` and ended, the least of all kinds.
    pub fn ended(&self, moment: Moment) -> usize {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = vec![0; self.kinds.len()];
        sent.iter().filter(|one| one.begun == moment).for_each(|one| counts[one.kind] += 1);
        counts.into_iter().min().unwrap_or(0)
    }

    /// Everything that was sent.
    pub fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A client, who asks for one kind after the other until it is over.
    pub fn ask(&self, client: usize) {
        let mut connection = None;
        for kind in (0..self.kinds.len()).cycle().skip(client) {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let number = self.numbers.fetch_add(1, Ordering::SeqCst);
            let begun = self.now();
            let outcome = self.send(&mut connection, &self.kinds[kind], number);
            let one = Sent { kind, number, begun, ended: self.now(), outcome };
            self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(one);
            thread::park_timeout(PAUSE);
        }
    }

    fn now(&self) -> Moment {
        Moment::unpack(self.moment.load(Ordering::SeqCst))
    }

    fn send(&self, connection: &mut Option<Connection>, kind: &Kind, number: u64) -> Outcome {
        let mut taken = match connection.take().map_or_else(|| Connection::open(self.proxy, None), Ok) {
            Ok(taken) => taken,
            Err(error) => return Outcome::Broken(format!("no connection: {error}")),
        };
        let body = if kind.is_idempotent() && kind.method != "PUT" { "" } else { "Content-Length: 4\r\n" };
        let content = if body.is_empty() { "" } else { "body" };
        let text = format!(
            "{} {} HTTP/1.1\r\nHost: chaos\r\nX-Number: {number}\r\n{body}\r\n{content}",
            kind.method, kind.path
        );
        taken.send(text.as_bytes());
        let reply = match taken.answer(kind.method) {
            Ok(Some(reply)) => reply.message,
            Ok(None) => return Outcome::Broken("the connection was closed".to_owned()),
            Err(error) => return Outcome::Broken(error.to_string()),
        };
        let stays = !reply.values("connection").iter().any(|value| value.eq_ignore_ascii_case("close"));
        *connection = stays.then_some(taken);
        Outcome::Status(reply.status())
    }
}
