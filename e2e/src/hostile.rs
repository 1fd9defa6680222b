//! Responses that no upstream should send, before the real binary. For each: the client gets an error of the
//! gateway's, or an answer that can be seen to be cut off, or what is whole and can be read in one way only; and the
//! connection they came on carries no other request.

use crate::Settings;
use crate::client::{Connection, Reply};
use crate::message::{Message, Reader};
use crate::placeholders::{Values, fill};
use crate::recorder::{Behaviour, Recorded, echo};
use crate::rig::{Rig, Setup, latin1, marked, probe, read_corpus};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A file of responses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus {
    /// How long the gateway waits for the upstream, in milliseconds; its default where no case needs it to give up.
    read_timeout: Option<u32>,
    responses: Vec<Case>,
}

/// Bytes of an upstream and what may come of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The section that decides.
    rfc: String,
    /// What the upstream sends: one byte a character, U+0000 to U+00FF.
    sends: String,
    /// What it sends when the client has its answer.
    #[serde(default)]
    late: String,
    /// What it does next.
    #[serde(default)]
    then: Then,
    /// It answers to the head, before the body has come.
    #[serde(default)]
    early: bool,
    /// What the client sends, with `/hostile` as its target.
    #[serde(default = "get")]
    request: String,
    /// What the client sends when it has its answer: nothing that the gateway may take for a request.
    #[serde(default)]
    rest: String,
    /// What the client may get.
    gets: Gets,
    /// Texts that nothing the client gets may hold.
    #[serde(default)]
    lacks: Vec<String>,
    /// Why the gateway does otherwise for now. The mark has to go when it no longer does.
    deviates: Option<String>,
    /// Nothing is wrong with the connection: another request may use it.
    #[serde(default)]
    reusable: bool,
}

fn get() -> String {
    "GET /hostile HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Then {
    /// It listens for another request.
    #[default]
    Wait,
    Close,
    Reset,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Gets {
    Any(Vec<Gets>),
    /// An error of the gateway's own.
    Error(u16),
    Named(Cut),
    Whole(Whole),
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Cut {
    /// An answer that breaks off.
    Incomplete,
    /// The end of the connection, without an answer.
    Nothing,
}

/// What the client got.
#[derive(Clone, Copy)]
enum Got<'a> {
    Cut(Cut),
    Whole(&'a Reply),
}

/// A whole answer of the upstream's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    status: u16,
    body: Option<String>,
    #[serde(default)]
    headers: Map<String, Value>,
    /// The statuses of the interim answers before it.
    interim: Option<Vec<u16>>,
}

/// Answers `/hostile` as the case under way says, everything else with an echo.
struct Hostile {
    cases: Vec<(Case, Vec<u8>)>,
    meeting: Arc<Meeting>,
}

/// How far the upstream and the client are, where one of them waits for the other.
#[derive(Default)]
struct Meeting {
    phase: Mutex<Phase>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// The upstream has not answered yet.
    #[default]
    Before,
    Answered,
    /// The client has its answer.
    Taken,
    /// The upstream has sent what comes late.
    Late,
}

impl Meeting {
    fn reach(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.changed.notify_all();
    }

    /// Waits for the other side, no longer than anybody here waits.
    fn wait_for(&self, phase: Phase) {
        let guard = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(guard, crate::PATIENCE, |reached| *reached != phase));
    }
}

impl Hostile {
    /// The case a request asks for. The client names it, because the gateway may ask several times.
    fn case(&self, request: &Message) -> Option<&(Case, Vec<u8>)> {
        request.values("x-case").first().and_then(|number| self.cases.get(number.parse::<usize>().ok()?))
    }

    fn send(&self, reader: &mut Reader, case: &Case, bytes: &[u8]) -> io::Result<bool> {
        reader.stream.write_all(bytes)?;
        if !case.late.is_empty() {
            self.meeting.reach(Phase::Answered);
            self.meeting.wait_for(Phase::Taken);
            reader.stream.write_all(case.late.as_bytes())?;
            self.meeting.reach(Phase::Late);
        }
        if case.then == Then::Reset {
            reader.stream.reset_when_dropped()?;
        }
        Ok(case.then == Then::Wait)
    }
}

impl Behaviour for Hostile {
    fn meet(&self, reader: &mut Reader, request: &Message) -> io::Result<bool> {
        match self.case(request) {
            Some((case, bytes)) if case.early => self.send(reader, case, bytes),
            _ => Ok(true),
        }
    }

    fn answer(&self, reader: &mut Reader, request: &Message) -> io::Result<bool> {
        match self.case(request) {
            Some((case, bytes)) if !case.early => self.send(reader, case, bytes),
            Some(_) => Ok(true),
            None => echo(reader, request).map(|()| true),
        }
    }
}

/// Has the upstream send every response in the file at `path`.
pub(crate) fn run(path: &Path, settings: &Settings) -> Result<(), String> {
    let corpus: Corpus = read_corpus(path)?;
    let cases = corpus.responses.iter().map(|case| {
        let bytes = latin1(&fill(&case.sends, &Values::new())?)?;
        Ok((case.clone(), bytes))
    });
    let meeting = Arc::<Meeting>::default();
    let hostile = Hostile { cases: cases.collect::<Result<_, String>>()?, meeting: meeting.clone() };
    let timeout = corpus.read_timeout.map(|time| format!("  read_timeout: {time}\n")).unwrap_or_default();
    // Answers that come too early only meet a body that is passed on while it comes.
    let setup = Setup { service: &timeout, route: "request_buffering: false", ..Setup::default() };
    let rig = Rig::start(settings, Arc::new(hostile), &setup)?;
    let mut failures = Vec::new();
    for (number, case) in corpus.responses.iter().enumerate() {
        let problems = marked(case.deviates.as_deref(), judge(&rig, &meeting, case, number)?);
        if !problems.is_empty() {
            let sent: String = case.sends.chars().take(300).collect();
            failures.push(format!(
                "{} (RFC {})\n{}\n  sent {sent:?}",
                case.name,
                case.rfc,
                problems.join("\n")
            ));
        }
    }
    failures.extend(rig.finish());
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n\n")) }
}

/// Every difference between a case and what came of it.
fn judge(rig: &Rig, meeting: &Meeting, case: &Case, number: usize) -> Result<Vec<String>, String> {
    let mut connection = rig.connect()?;
    let request = case.request.replacen("\r\n", &format!("\r\nX-Case: {number}\r\n"), 1);
    connection.send(&latin1(&request)?);
    let method = request.split(' ').next().unwrap_or_default();
    let mut problems = match connection.answer(method) {
        Ok(Some(reply)) => {
            let mut problems = case.gets.differences(Got::Whole(&reply));
            let text = format!("{reply:?}");
            let held = case.lacks.iter().filter(|part| text.contains(part.as_str()));
            problems.extend(held.map(|part| format!("  ! the answer holds {part:?}")));
            if !case.late.is_empty() {
                meeting.wait_for(Phase::Answered);
                meeting.reach(Phase::Taken);
                meeting.wait_for(Phase::Late);
                meeting.reach(Phase::Before);
            }
            problems.extend(remainder(&mut connection, case));
            problems.extend(leftovers(&mut connection, number));
            problems
        }
        Ok(None) => case.gets.differences(Got::Cut(Cut::Nothing)),
        Err(error) if breaks_off(&error) => case.gets.differences(Got::Cut(Cut::Incomplete)),
        Err(error) => vec![format!("  ! {error}")],
    };
    drop(connection);
    problems.extend(rig.probe(&format!("/canary/{number}"))?);
    let (seen, faults) = rig.take();
    problems.extend(faults.iter().map(|fault| format!("  ! upstream: {fault}")));
    if !case.reusable {
        problems.extend(reuse(&seen));
    }
    Ok(problems)
}

/// Whether an answer ended before it said it would. Anything else wrong with it is the gateway's own doing.
fn breaks_off(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset || error.to_string().contains("closed")
}

/// What comes behind an answer given before all of its request was there is no request of its own.
fn remainder(connection: &mut Connection, case: &Case) -> Vec<String> {
    if case.rest.is_empty() {
        return Vec::new();
    }
    connection.send(case.rest.as_bytes());
    match connection.answer("GET") {
        Ok(Some(reply)) => {
            vec![format!("  ! the rest of its body was answered {}", reply.message.start_line)]
        }
        _ => Vec::new(),
    }
}

/// Whatever stands on a connection behind a whole answer must not answer the next request. It may be closed.
fn leftovers(connection: &mut Connection, number: usize) -> Vec<String> {
    let mut problems = probe(connection, &format!("/after/{number}"));
    problems.retain(|problem| !problem.contains("the connection is closed"));
    problems
}

impl Gets {
    /// What is wrong with what the client got.
    fn differences(&self, got: Got<'_>) -> Vec<String> {
        match (self, got) {
            (Gets::Any(several), _) => {
                let all: Vec<Vec<String>> = several.iter().map(|one| one.differences(got)).collect();
                if all.iter().any(Vec::is_empty) { Vec::new() } else { all.concat() }
            }
            (Gets::Named(wanted), Got::Cut(cut)) if *wanted == cut => Vec::new(),
            (Gets::Whole(whole), Got::Whole(reply)) => whole.differences(reply),
            // The gateway signs its errors with the request's id, so that none of the upstream's passes for one.
            (Gets::Error(status), Got::Whole(reply))
                if reply.message.status() == *status && reply.message.text().contains("request_id") =>
            {
                Vec::new()
            }
            (wanted, Got::Whole(Reply { message, .. })) => {
                vec![format!("  ! expected {wanted:?}, got {} {:?}", message.start_line, message.text())]
            }
            (wanted, Got::Cut(cut)) => vec![format!("  ! expected {wanted:?}, got {cut:?}")],
        }
    }
}

impl Whole {
    fn differences(&self, reply: &Reply) -> Vec<String> {
        let message = &reply.message;
        let interim: Vec<u16> = reply.interim.iter().map(Message::status).collect();
        let mut problems = crate::expect::headers(&self.headers, &message.headers);
        if message.status() != self.status {
            problems.push(format!("expected {}, got {}", self.status, message.start_line));
        }
        if self.body.as_ref().is_some_and(|body| *body != message.text()) {
            problems.push(format!("body {:?}, expected {:?}", message.text(), self.body));
        }
        if self.interim.as_ref().is_some_and(|wanted| *wanted != interim) {
            problems.push(format!("interim answers {interim:?}, expected {:?}", self.interim));
        }
        problems.iter().map(|one| format!("  ! {one}")).collect()
    }
}

/// Requests that came on a connection after a response that nobody may trust.
fn reuse(seen: &[Recorded]) -> Vec<String> {
    let hostile = |one: &Recorded| !one.message.values("x-case").is_empty();
    let spoiled: Vec<usize> = seen.iter().filter(|one| hostile(one)).map(|one| one.connection).collect();
    let others = seen.iter().filter(|one| !hostile(one) && spoiled.contains(&one.connection));
    others.map(|one| format!("  ! {} came on the same connection", one.message.start_line)).collect()
}
