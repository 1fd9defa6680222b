//! The steps of a case, one after the other.

use super::{Running, saved};
use crate::case::{Listener, Step};
use crate::client::{Connection, Exchange};
use crate::echo::Seen;
use crate::machine::is_writable;
use crate::placeholders::fill_value;
use crate::{expect, judge, modern, report};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// The pause between two tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

impl Running<'_> {
    pub(super) fn steps(&mut self, steps: &[Value]) -> Vec<String> {
        let mut failures = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            if let Err(failure) = self.step(step) {
                failures.push(format!("step {}:\n{failure}", index + 1));
            }
        }
        failures
    }

    fn step(&mut self, step: &Value) -> Result<(), String> {
        let step = fill_value(step, &self.values)?;
        let step: Step = serde_json::from_value(step).map_err(|error| error.to_string())?;
        if step.when_writable.as_ref().is_some_and(|folder| !is_writable(Path::new(folder))) {
            return Ok(());
        }
        self.act(&step)?;
        if !step.is_exchange() {
            return Ok(());
        }
        let deadline = Instant::now() + crate::PATIENCE;
        loop {
            let outcome = self.exchange(&step);
            if outcome.is_ok() || !step.eventually || Instant::now() > deadline {
                return outcome;
            }
            thread::park_timeout(BETWEEN_TRIES);
        }
    }

    /// Everything of a step that is not a request.
    fn act(&mut self, step: &Step) -> Result<(), String> {
        if step.restart {
            self.restart()?;
        }
        if let Some(config) = &step.write_config {
            let gateway = self.gateway.as_ref().ok_or("no gateway of our own")?;
            std::fs::write(&gateway.config, config).map_err(|error| error.to_string())?;
        }
        self.write(&step.write)?;
        for (old, new) in &step.replace {
            std::fs::copy(new, old).map_err(|error| format!("{old}: {error}"))?;
        }
        for (server, condition) in &step.servers {
            self.echo.put(server, *condition)?;
        }
        if let Some(signal) = &step.signal {
            self.gateway.as_ref().ok_or("no gateway of our own")?.signal(signal)?;
        }
        if let Some(wanted) = &step.stderr {
            let gateway = self.gateway.as_ref().ok_or("no gateway of our own")?;
            if !gateway.wait_for_line(|line| expect::text_holds(wanted, line)) {
                return Err(format!("the gateway wrote no line with {wanted:?}"));
            }
        }
        if step.connect.is_some() {
            self.expect_refusal()?;
        }
        if let Some(code) = step.exit {
            let found = self.gateway.as_mut().ok_or("no gateway of our own")?.exit_code()?;
            if found != Some(code) {
                return Err(format!("exit code: expected {code}, got {found:?}"));
            }
        }
        if let Some(datagram) = &step.datagram {
            let gateway = self.addresses.and_then(|addresses| addresses.datagrams);
            let gateway = gateway.ok_or("the gateway has no listener for datagrams")?;
            self.datagram_client.exchange(gateway, step, datagram)?;
        }
        match &step.log {
            Some(log) => crate::log_file::expect_line(log, crate::PATIENCE),
            None => Ok(()),
        }
    }

    fn expect_refusal(&self) -> Result<(), String> {
        let deadline = Instant::now() + crate::PATIENCE;
        let address = self.address(Listener::Proxy)?;
        while Connection::open(address, None).is_ok() {
            if Instant::now() > deadline {
                return Err("the proxy listener still accepts".to_owned());
            }
            thread::park_timeout(BETWEEN_TRIES);
        }
        Ok(())
    }

    fn address(&self, listener: Listener) -> Result<SocketAddr, String> {
        let addresses = self.addresses.ok_or("the gateway is not running")?;
        match listener {
            Listener::Proxy => Some(addresses.proxy),
            Listener::Admin => addresses.admin,
            Listener::Status => addresses.status,
            Listener::Secure => addresses.secure,
            Listener::Stream => addresses.streams[0],
            Listener::Stream2 => addresses.streams[1],
            Listener::StreamTls => addresses.stream_tls,
        }
        .ok_or_else(|| format!("the gateway has no {listener:?} listener"))
    }

    fn exchange(&mut self, step: &Step) -> Result<(), String> {
        self.echo.prepare(step.answers()?);
        let to = if step.tls.is_some() && step.to == Listener::Proxy { Listener::Secure } else { step.to };
        let address = self.address(to)?;
        if step.repeat.is_some() || step.parallel.is_some() {
            return self.many(step, address);
        }
        let exchange = self.once(step, address);
        if step.tls.as_ref().is_some_and(|tls| tls.refused) {
            return no_session(exchange);
        }
        let exchange = exchange?;
        for (name, place) in &step.save {
            let reply = exchange.replies.first().ok_or("no reply to save from")?;
            self.set(&format!("saved.{name}"), saved::value(place, &reply.message)?);
        }
        if step.read == Some(false) && step.upstream.is_some() {
            self.echo.wait_for(1, crate::PATIENCE);
        }
        let seen = self.echo.seen();
        self.certificates.check_shown(step, &exchange)?;
        verdict(step, &exchange, &seen)
    }

    fn once(&mut self, step: &Step, address: SocketAddr) -> Result<Exchange, String> {
        if modern::is_meant(step) {
            return modern::perform(step, address).map_err(|error| format!("connecting: {error}"));
        }
        let secure = self.certificates.client(step.tls.as_ref())?;
        let open =
            || Connection::open(address, secure.as_ref()).map_err(|error| format!("connecting: {error}"));
        let Some(name) = &step.connection else {
            return Ok(open()?.perform(step));
        };
        if !self.connections.contains_key(name) {
            self.connections.insert(name.clone(), open()?);
        }
        let connection = self.connections.get_mut(name).ok_or("unreachable")?;
        Ok(connection.perform(step))
    }

    /// The same request several times, one after the other or at once.
    fn many(&self, step: &Step, address: SocketAddr) -> Result<(), String> {
        let secure = self.certificates.client(step.tls.as_ref())?;
        let once = || {
            Connection::open(address, secure.as_ref())
                .map(|mut connection| connection.perform(step))
                .unwrap_or_default()
        };
        let exchanges: Vec<Exchange> = match step.parallel {
            None => (0..step.repeat.unwrap_or(1)).map(|_| once()).collect(),
            Some(count) => thread::scope(|scope| {
                let threads: Vec<_> = (0..count).map(|_| scope.spawn(once)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
            }),
        };
        let seen = self.echo.seen();
        let Some(wanted) = &step.statuses else {
            return exchanges.iter().try_for_each(|exchange| verdict(step, exchange, &seen));
        };
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for exchange in &exchanges {
            let status = exchange
                .replies
                .first()
                .map_or("none".to_owned(), |reply| reply.message.status().to_string());
            *found.entry(status).or_default() += 1;
        }
        let mut problems = Vec::new();
        if found != *wanted {
            problems.push(format!("statuses: expected {wanted:?}, got {found:?}"));
        }
        if step.upstream.is_some() {
            let only_upstream = Step { upstream: step.upstream.clone(), ..Step::default() };
            problems.extend(judge::differences(&only_upstream, &Exchange::default(), &seen));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
    }
}

/// Whether a handshake failed. Under TLS 1.3 its client may hear of that only when it reads.
fn no_session(exchange: Result<Exchange, String>) -> Result<(), String> {
    match exchange {
        Ok(exchange) if exchange.error.is_none() || !exchange.replies.is_empty() => {
            Err("there is a session that should have been refused".to_owned())
        }
        _ => Ok(()),
    }
}

fn verdict(step: &Step, exchange: &Exchange, seen: &[Seen]) -> Result<(), String> {
    let problems = judge::differences(step, exchange, seen);
    if problems.is_empty() { Ok(()) } else { Err(report::exchange(step, exchange, seen, &problems)) }
}
