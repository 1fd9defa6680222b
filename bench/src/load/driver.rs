//! Drives all connections of a load from one thread over epoll, and judges every answer. It never counts an answer
//! whose status or length is not the expected one as a request served.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::{Exchange, Outcome, Pace, Plan, expected_length, requests};
use crate::awake::{doze, wait};
use crate::frame::{Framing, ResponseHead};
use crate::messages;

const TIMER: Token = Token(usize::MAX);
const READ_SIZE: usize = 256 * 1024;
/// How long answers still under way may take when the time is over.
const DRAIN: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(50);
/// How long requests may still wait to be sent when the time is over.
const GRACE: Duration = Duration::from_millis(50);

struct Connection {
    stream: TcpStream,
    framing: Framing<ResponseHead>,
    request: usize,
    written: usize,
    /// When the request under way was due; `None` between requests.
    due: Option<Instant>,
}

/// All connections of one load.
pub struct Driver {
    poll: Poll,
    address: SocketAddr,
    upgrade: bool,
    churn: bool,
    sleeps: bool,
    connections: Vec<Connection>,
    requests: Vec<Vec<u8>>,
    next_request: usize,
    expected: u64,
    scratch: Vec<u8>,
    served: u64,
    errors: u64,
    first_error: Option<String>,
    latencies: Vec<u64>,
}

/// Whether a connection has finished what it was sent.
#[derive(PartialEq)]
enum State {
    Busy,
    Free,
}

impl Driver {
    /// Opens the connections of a plan.
    pub fn connect(plan: &Plan) -> io::Result<Self> {
        let poll = Poll::new()?;
        let upgrade = plan.exchange == Exchange::Message;
        let connections = (0..plan.connections).map(|index| open(&poll, plan.address, index, upgrade));
        Ok(Self {
            connections: connections.collect::<io::Result<_>>()?,
            poll,
            address: plan.address,
            upgrade,
            churn: plan.pace == Pace::Churn,
            sleeps: plan.sleeps,
            requests: requests(plan)?,
            next_request: 0,
            expected: expected_length(plan.exchange),
            scratch: vec![0; READ_SIZE],
            served: 0,
            errors: 0,
            first_error: None,
            latencies: Vec::new(),
        })
    }

    /// Moves the counts into the outcome and gives the latencies in microseconds.
    pub fn take(&mut self, outcome: &mut Outcome) -> Vec<u64> {
        outcome.requests = std::mem::take(&mut self.served);
        outcome.errors = std::mem::take(&mut self.errors);
        outcome.first_error = self.first_error.take();
        std::mem::take(&mut self.latencies)
    }

    /// One request on each connection, one after the other.
    pub fn once_each(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(16);
        for index in 0..self.connections.len() {
            self.begin(index, Instant::now())?;
            self.drain(&mut events)?;
        }
        self.latencies.clear();
        Ok(())
    }

    /// Keeps every connection busy for a time; gives the time until the last answer.
    pub fn closed(&mut self, duration: Duration) -> io::Result<Duration> {
        let start = Instant::now();
        let mut events = Events::with_capacity(1024);
        let mut free: Vec<usize> = (0..self.connections.len()).collect();
        let mut now = start;
        loop {
            for index in std::mem::take(&mut free) {
                self.begin_or_keep(index, now, &mut free)?;
            }
            self.wait(&mut events)?;
            now = Instant::now();
            if now >= start + duration {
                break;
            }
            for event in &events {
                if self.advance(event)? == State::Free {
                    self.begin_or_keep(event.token().0, now, &mut free)?;
                }
            }
        }
        self.process(&events)?;
        self.drain(&mut events)?;
        self.latencies.clear();
        Ok(start.elapsed())
    }

    /// Sends at a fixed rate; a request that finds no free connection waits, and its wait counts as latency.
    pub fn fixed(&mut self, rate: u32, duration: Duration) -> io::Result<Duration> {
        let mut events = Events::with_capacity(1024);
        let interval = Duration::from_secs(1) / rate.max(1);
        let timer = self.timer(interval)?;
        // Taken in turn: none is left unused until the other side gives it up as idle.
        let mut free: VecDeque<usize> = (0..self.connections.len()).collect();
        let mut waiting = VecDeque::new();
        let start = Instant::now();
        let mut next = start;
        let end = start + duration;
        while next < end || (!waiting.is_empty() && Instant::now() < end + GRACE) {
            self.wait(&mut events)?;
            for event in &events {
                if event.token() == TIMER {
                    timer.wait().map_err(io::Error::from)?;
                } else if self.advance(event)? == State::Free {
                    free.push_back(event.token().0);
                }
            }
            let now = Instant::now();
            while next <= now && next < end {
                waiting.push_back(next);
                next += interval;
            }
            let sendable = free.len().min(waiting.len());
            let taken: Vec<usize> = free.drain(..sendable).collect();
            for (index, due) in taken.into_iter().zip(waiting.drain(..sendable)) {
                self.begin_or_keep(index, due, &mut free)?;
            }
        }
        self.poll.registry().deregister(&mut SourceFd(&timer.as_fd().as_raw_fd()))?;
        self.errors += waiting.len() as u64;
        if !waiting.is_empty() {
            self.note("the rate could not be kept: requests never sent");
        }
        self.drain(&mut events)?;
        Ok(start.elapsed())
    }

    /// epoll itself only counts milliseconds; a timer descriptor keeps the schedule finer than that.
    fn timer(&self, interval: Duration) -> io::Result<TimerFd> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        let every = Expiration::Interval(TimeSpec::from_duration(interval));
        timer.set(every, TimerSetTimeFlags::empty())?;
        let descriptor = timer.as_fd().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&descriptor), TIMER, Interest::READABLE)?;
        Ok(timer)
    }

    /// Waits for the answers under way; those that do not come are errors.
    fn drain(&mut self, events: &mut Events) -> io::Result<()> {
        let limit = Instant::now() + DRAIN;
        while self.connections.iter().any(|connection| connection.due.is_some()) {
            if Instant::now() >= limit {
                for index in 0..self.connections.len() {
                    if self.connections[index].due.is_some() {
                        self.fail(index, "no answer in time")?;
                    }
                }
                return Ok(());
            }
            self.wait(events)?;
            self.process(events)?;
        }
        Ok(())
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let wait = if self.sleeps { doze } else { wait };
        wait(&mut self.poll, events, Some(TICK))
    }

    fn process(&mut self, events: &Events) -> io::Result<()> {
        for event in events {
            if event.token() != TIMER {
                self.advance(event)?;
            }
        }
        Ok(())
    }

    /// A connection that fails at once has been reopened and stays in the list of the free ones.
    fn begin_or_keep(&mut self, index: usize, due: Instant, free: &mut impl Extend<usize>) -> io::Result<()> {
        self.begin(index, due)?;
        if self.connections[index].due.is_none() {
            free.extend([index]);
        }
        Ok(())
    }

    fn begin(&mut self, index: usize, due: Instant) -> io::Result<()> {
        let connection = &mut self.connections[index];
        connection.request = self.next_request;
        connection.written = 0;
        connection.due = Some(due);
        self.next_request = (self.next_request + 1) % self.requests.len();
        self.flush(index)
    }

    fn flush(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let bytes = &self.requests[connection.request];
        while connection.written < bytes.len() {
            match connection.stream.write(&bytes[connection.written..]) {
                Ok(count) => connection.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return self.fail(index, &format!("sending: {error}")),
            }
        }
        Ok(())
    }

    /// `Free` when the connection has just become so, by an answer or by a failure that reopened it.
    fn advance(&mut self, event: &Event) -> io::Result<State> {
        let index = event.token().0;
        if self.connections[index].due.is_none() {
            return Ok(State::Busy);
        }
        if event.is_writable() {
            self.flush(index)?;
        }
        if event.is_readable() || event.is_read_closed() {
            self.receive(index, event.is_read_closed())?;
        }
        Ok(if self.connections[index].due.is_none() { State::Free } else { State::Busy })
    }

    fn receive(&mut self, index: usize, closed: bool) -> io::Result<()> {
        loop {
            let connection = &mut self.connections[index];
            let count = match connection.stream.read(&mut self.scratch) {
                Ok(0) => return self.fail(index, "the connection was closed without a complete answer"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return self.fail(index, &format!("receiving: {error}")),
            };
            match connection.framing.feed(&self.scratch[..count]) {
                Ok(Some(head)) => return self.finish(index, &head),
                Ok(None) => {}
                Err(fault) => return self.fail(index, &fault.to_string()),
            }
            // A short read emptied the socket; the edge-triggered poll reports what comes later.
            if count < self.scratch.len() && !closed {
                return Ok(());
            }
        }
    }

    fn finish(&mut self, index: usize, head: &ResponseHead) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let complete = connection.written == self.requests[connection.request].len();
        if let Some(due) = connection.due.take() {
            self.latencies.push(due.elapsed().as_micros() as u64);
        }
        if head.status == 200 && head.body == self.expected && complete {
            self.served += 1;
        } else {
            self.errors += 1;
            self.note(&format!("an answer of status {} and {} bytes", head.status, head.body));
        }
        // A gateway may announce the end of a connection; that costs nobody an answer.
        if head.close || !complete || self.churn { self.reopen(index) } else { Ok(()) }
    }

    fn fail(&mut self, index: usize, reason: &str) -> io::Result<()> {
        self.errors += 1;
        self.note(reason);
        self.reopen(index)
    }

    fn reopen(&mut self, index: usize) -> io::Result<()> {
        self.connections[index] = open(&self.poll, self.address, index, self.upgrade)?;
        Ok(())
    }

    fn note(&mut self, reason: &str) {
        if self.first_error.is_none() {
            self.first_error = Some(reason.to_owned());
        }
    }
}

fn open(poll: &Poll, address: SocketAddr, index: usize, upgrade: bool) -> io::Result<Connection> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    if upgrade {
        ask_for_messages(&mut stream)?;
    }
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
    Ok(Connection { stream, framing: Framing::new(), request: 0, written: 0, due: None })
}

/// Makes a connection one that carries WebSocket messages.
fn ask_for_messages(stream: &mut std::net::TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(DRAIN))?;
    stream.write_all(messages::REQUEST.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let is_granted = head.starts_with(b"HTTP/1.1 101 ");
    is_granted.then_some(()).ok_or_else(|| io::Error::other("WebSocket is not granted"))
}

#[cfg(test)]
mod tests;
