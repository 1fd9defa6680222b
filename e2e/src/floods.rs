//! Clients that want to keep the gateway busy, or to hold what it has, at little cost of their own, before the real
//! binary. While each goes on, another client's requests are answered; it ends as is said, the log names the bound it
//! ran into, and the gateway's memory does not grow.

mod forms;
mod handshakes;

use crate::Settings;
use crate::frames::{GOAWAY, RST_STREAM, Raw};
use crate::message::{Message, Reader};
use crate::recorder::{Behaviour, Recorder, echo};
use crate::rig::{Rig, Setup, probe};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// How much more memory a gateway may have had than before, in KiB.
const MOST_GROWTH: u64 = 16 << 10;
/// The length of the answer to `/large`: more than two sockets hold.
const LARGE: usize = 48 << 20;

/// Where clients reach the gateway, in clear, by HTTP/1.1 and HTTP/2, and under TLS.
const LISTENERS: &[&str] = &["--proxy-listen", "127.0.0.1:0 http2, 127.0.0.1:0 ssl"];

/// Something a client can do.
pub struct Attack {
    /// What it is called, in words with hyphens between them.
    pub name: &'static str,
    /// What comes of it, in the words of `run`.
    pub ends: &'static str,
    /// What the log calls the bound that was reached.
    pub bound: Option<&'static str>,
    /// Settings of the gateway, where its own would take too long.
    pub variables: &'static [(&'static str, &'static str)],
    /// Does it, and tells what came of it.
    pub run: fn(&Victim<'_>) -> Result<String, String>,
}

/// A gateway, as far as attackers know it. `/gate` is answered by itself, and all else by the upstream that
/// [`upstream`] starts.
pub struct Victim<'a> {
    /// Where it listens in clear.
    pub address: SocketAddr,
    /// Where it speaks TLS.
    pub secure: SocketAddr,
    /// Waits until it has told of a bound that was reached, and tells whether it has.
    pub tells: &'a (dyn Fn(&str) -> bool + Sync),
}

/// All attacks.
pub fn all() -> &'static [Attack] {
    forms::ALL
}

/// Starts the upstream that attacks count on, for as long as this process lives.
pub fn upstream() -> io::Result<SocketAddr> {
    Ok(Recorder::start(Arc::new(Upstream))?.address)
}

/// Runs the attack that `path` names.
pub(crate) fn run(path: &Path, settings: &Settings) -> Result<(), String> {
    let attack = forms::ALL.iter().find(|attack| path.ends_with(attack.name)).ok_or("no such attack")?;
    let setup = Setup { arguments: LISTENERS, variables: attack.variables, ..Setup::default() };
    let rig = Rig::start(settings, Arc::new(Upstream), &setup)?;
    let mut problems = rig.probe("/before")?;
    let before = rig.gateway().resident_kib();
    rig.gateway().forget_peak();
    let over = AtomicBool::new(false);
    let tells = |bound: &str| rig.wait_for_line(&format!("bound=\"{bound}\""));
    let secure = rig.gateway().addresses.secure.ok_or("the gateway does not speak TLS")?;
    let victim = Victim { address: rig.address(), secure, tells: &tells };
    let (outcome, canary) = thread::scope(|scope| {
        let canary = scope.spawn(|| canary(&rig, &over));
        let outcome = (attack.run)(&victim);
        over.store(true, Ordering::Release);
        (outcome, canary.join())
    });
    problems.extend(canary.unwrap_or_else(|_| vec!["the canary panicked".to_owned()]));
    match outcome {
        Ok(outcome) if outcome == attack.ends => {}
        Ok(outcome) => problems.push(format!("  ! it ended with {outcome}, not {}", attack.ends)),
        Err(error) => problems.push(format!("  ! {error}")),
    }
    if let Some(bound) = attack.bound.filter(|bound| !tells(bound)) {
        problems.push(format!("  ! the log does not name {bound}"));
    }
    if let (Some(before), Some(peak)) = (before, rig.gateway().peak_kib())
        && peak > before + MOST_GROWTH
    {
        problems.push(format!("  ! resident memory went from {before} to {peak} KiB"));
    }
    problems.extend(rig.stop());
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

/// Another client: one request after the other on one connection, the last of them when all is over.
fn canary(rig: &Rig, over: &AtomicBool) -> Vec<String> {
    let mut connection = None;
    for number in 0_u32.. {
        let last = over.load(Ordering::Acquire);
        // A connection has so many requests and no more.
        connection = connection.filter(|_| !number.is_multiple_of(1000));
        let connection = match connection.get_or_insert_with(|| rig.connect()) {
            Ok(connection) => connection,
            Err(error) => return vec![error.clone()],
        };
        let problems = probe(connection, &format!("/canary/{number}"));
        if last || !problems.is_empty() {
            return problems;
        }
        // The machine is the attacker's, too.
        thread::yield_now();
    }
    Vec::new()
}

/// Answers with an echo, or never (`/stuck`), or with very much (`/large`).
struct Upstream;

impl Behaviour for Upstream {
    fn answer(&self, reader: &mut Reader, request: &Message) -> io::Result<bool> {
        let asks = |path| request.start_line.split(' ').nth(1) == Some(path);
        if asks("/stuck") {
            return reader.until_close().map(|_| false);
        }
        if asks("/large") {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
            reader.stream.write_all(head.as_bytes())?;
            let piece = vec![b'x'; 64 << 10];
            return (0..LARGE / piece.len())
                .try_for_each(|_| reader.stream.write_all(&piece))
                .map(|()| false);
        }
        echo(reader, request).map(|()| true)
    }
}

/// Writes what `bytes` makes, up to `rounds` times, until the connection ends, while somebody reads: how it ended.
pub(crate) fn flood(
    victim: &Victim<'_>,
    settings: &[u8],
    rounds: u32,
    bytes: impl Fn(u32) -> Vec<u8>,
) -> Result<String, String> {
    let mut raw = Raw::connect(victim.address, settings).map_err(|error| error.to_string())?;
    let mut writer = raw.0.try_clone().map_err(|error| error.to_string())?;
    thread::scope(|scope| {
        let heard = scope.spawn(move || listen(&mut raw));
        for round in 0..rounds {
            if writer.write_all(&bytes(round)).is_err() {
                break;
            }
        }
        heard.join().map_err(|_| "the reader panicked".to_owned())
    })
}

/// Reads to the end of the connection.
fn listen(raw: &mut Raw) -> String {
    let mut goaway = "nothing";
    let mut resets: BTreeMap<&str, u32> = BTreeMap::new();
    loop {
        match raw.next() {
            Ok(Some(frame)) if frame.kind == GOAWAY => goaway = frame.error(),
            Ok(Some(frame)) if frame.kind == RST_STREAM => *resets.entry(frame.error()).or_default() += 1,
            Ok(Some(_)) => {}
            Ok(None) => return format!("GOAWAY {goaway}"),
            Err(error) => return format!("no end ({error}), resets {resets:?}"),
        }
    }
}
