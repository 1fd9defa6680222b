//! Requests that two parties could read differently, sent byte for byte to the real binary. For each: what the
//! client gets, whether its connection ends, and exactly which requests reached the upstream. Two probes tell whether
//! anything is left over: a further request on the same connection, where it lives on, and one on another.

use crate::Settings;
use crate::client::Connection;
use crate::message::Message;
use crate::placeholders::{Values, fill};
use crate::reached::{Seen, upstream_problems};
use crate::recorder::{Echo, Recorded, echoed_line};
use crate::rig::{Rig, Setup, latin1, marked, probe, read_corpus};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

/// A file of requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus {
    requests: Vec<Case>,
}

/// Bytes and what may come of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The section that decides.
    rfc: String,
    /// What is sent, one byte a character, U+0000 to U+00FF; several texts are sent one by one.
    send: Send,
    /// The statuses of all final answers.
    status: Statuses,
    /// Whether the gateway ends the connection.
    #[serde(default = "yes")]
    closed: bool,
    /// The client ends its side after the last byte.
    #[serde(default)]
    half_close: bool,
    /// The whole requests that the upstream sees.
    #[serde(default)]
    upstream: Vec<Seen>,
    /// The start line of a request that the upstream may see begin, but not end.
    unfinished: Option<String>,
    /// Why the gateway does otherwise for now. The mark has to go when it no longer does.
    deviates: Option<String>,
    /// The methods answered, where one is HEAD.
    #[serde(default)]
    methods: Vec<String>,
    /// The statuses that interim answers may have.
    #[serde(default)]
    interim: Vec<u16>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Send {
    Whole(String),
    Pieces(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Statuses {
    One(u16),
    List(Vec<OneOf>),
}

/// A status, or several where the RFC leaves a choice.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOf {
    One(u16),
    Any(Vec<u16>),
}

impl Send {
    /// Sends the bytes.
    fn over(&self, connection: &mut Connection) -> Result<(), String> {
        let pieces = match self {
            Send::Whole(text) => std::slice::from_ref(text),
            Send::Pieces(pieces) => pieces,
        };
        for piece in pieces {
            connection.send(&latin1(&fill(piece, &Values::new())?)?);
        }
        Ok(())
    }
}

impl Statuses {
    fn count(&self) -> usize {
        match self {
            Statuses::One(_) => 1,
            Statuses::List(list) => list.len(),
        }
    }

    fn allow(&self, statuses: &[u16]) -> bool {
        match self {
            Statuses::One(status) => statuses == [*status],
            Statuses::List(list) => {
                list.len() == statuses.len()
                    && list.iter().zip(statuses).all(|(wanted, status)| match wanted {
                        OneOf::One(one) => one == status,
                        OneOf::Any(several) => several.contains(status),
                    })
            }
        }
    }
}

/// Sends every request in the file at `path` to the gateway, which passes small bodies on when they are whole, and again
/// while they come: two ways through it that must not differ in this.
pub(crate) fn run(path: &Path, settings: &Settings) -> Result<(), String> {
    let corpus: Corpus = read_corpus(path)?;
    let mut failures = Vec::new();
    for route in ["request_buffering: true", "request_buffering: false"] {
        let rig = Rig::start(settings, Arc::new(Echo), &Setup { route, ..Setup::default() })?;
        let mut before = None;
        for (number, case) in corpus.requests.iter().enumerate() {
            let problems = marked(case.deviates.as_deref(), judge(&rig, (case, before), number)?);
            before = case.unfinished.as_deref();
            if !problems.is_empty() {
                let problems = problems.join("\n");
                let title = format!("{} (RFC {}), {route}", case.name, case.rfc);
                failures.push(format!("{title}\n{problems}\n  sent {:?}", case.send));
            }
        }
        failures.extend(rig.finish());
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n\n")) }
}

/// Every difference between a case and what came of it. What the case `before` left unfinished may still come.
fn judge(rig: &Rig, (case, before): (&Case, Option<&str>), number: usize) -> Result<Vec<String>, String> {
    let unfinished = [case.unfinished.as_deref(), before];
    let mut connection = rig.connect()?;
    case.send.over(&mut connection)?;
    if case.half_close {
        connection.end();
    }
    let heard = hear(&mut connection, case);
    let mut problems = heard.differences(case);
    let mut wanted: Vec<String> = case.upstream.iter().map(|seen| seen.line().to_owned()).collect();
    if !heard.closed {
        let path = format!("/after/{number}");
        problems.extend(probe(&mut connection, &path));
        wanted.push(format!("GET {path} HTTP/1.1"));
    }
    drop(connection);
    rig.wait_for(wanted.len());
    let path = format!("/canary/{number}");
    problems.extend(rig.probe(&path)?);
    wanted.push(format!("GET {path} HTTP/1.1"));
    let (seen, faults) = rig.take();
    problems.extend(faults.iter().map(|fault| format!("  ! upstream: {fault}")));
    problems.extend(upstream_problems(&case.upstream, unfinished, &wanted, &seen));
    problems.extend(mixed_up(&heard.answers, &seen));
    Ok(problems)
}

/// What the client got.
#[derive(Default)]
struct Heard {
    answers: Vec<Message>,
    interim: Vec<u16>,
    closed: bool,
    error: Option<String>,
}

/// Reads the answers that are expected, and up to the end of the connection where that is.
fn hear(connection: &mut Connection, case: &Case) -> Heard {
    let mut heard = Heard::default();
    while case.closed || heard.answers.len() < case.status.count() {
        let method = case.methods.get(heard.answers.len()).map_or("GET", String::as_str);
        match connection.answer(method) {
            Ok(Some(reply)) => {
                heard.interim.extend(reply.interim.iter().map(Message::status));
                heard.answers.push(reply.message);
            }
            Ok(None) => {
                heard.closed = true;
                break;
            }
            Err(error) => {
                heard.error = Some(format!("  ! after {} answers: {error}", heard.answers.len()));
                heard.closed = true;
                break;
            }
        }
    }
    heard
}

impl Heard {
    fn differences(&self, case: &Case) -> Vec<String> {
        let mut problems: Vec<String> = self.error.clone().into_iter().collect();
        let statuses: Vec<u16> = self.answers.iter().map(Message::status).collect();
        if !case.status.allow(&statuses) {
            problems.push(format!("  ! expected {:?}, got {statuses:?}", case.status));
        }
        if self.closed != case.closed {
            problems.push(format!("  ! closed: expected {}, got {}", case.closed, self.closed));
        }
        if self.closed && !case.half_close && !self.says_close() {
            problems.push("  ! the last answer does not say that the connection closes".to_owned());
        }
        if self.interim.iter().any(|status| !case.interim.contains(status)) {
            problems.push(format!("  ! interim answers: {:?}", self.interim));
        }
        problems
    }

    /// Whether the last answer announces the end of the connection (RFC 9112 9.6).
    fn says_close(&self) -> bool {
        self.answers.last().is_none_or(|last| {
            last.values("connection").iter().any(|value| value.eq_ignore_ascii_case("close"))
        })
    }
}

/// Answers of the upstream that are not those to its requests, one for one and in order.
fn mixed_up(answers: &[Message], seen: &[Recorded]) -> Option<String> {
    let echoed: Vec<String> = answers.iter().filter_map(echoed_line).collect();
    let asked: Vec<&String> =
        seen.iter().filter(|one| one.whole).map(|one| &one.message.start_line).collect();
    let mut rest = asked.iter();
    let in_order = echoed.iter().all(|line| rest.any(|asked| *asked == line));
    (!in_order).then(|| format!("  ! answers to {echoed:?} of the requests {asked:?}"))
}
