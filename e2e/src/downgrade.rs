//! Requests over HTTP/2 that would be several, or others, if they were written as HTTP/1.1 without a look. For each: what
//! the client gets, whether its connection lives on, and exactly which requests reached the upstream.

use crate::Settings;
use crate::frames::{DATA, END_STREAM, Field, Raw, frame, get, pseudo, section};
use crate::modern::{Heard, hear};
use crate::placeholders::{Values, fill};
use crate::reached::{Seen, upstream_problems};
use crate::recorder::Echo;
use crate::rig::{MODERN, Rig, Setup, latin1, marked, read_corpus};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

/// A file of requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus {
    requests: Vec<Case>,
}

/// Fields and what may come of them. Texts are bytes: one a character, U+0000 to U+00FF.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The section that decides.
    rfc: String,
    /// Other pseudo-header fields than those of `GET http://a/`, by name.
    #[serde(default)]
    pseudo: Vec<(String, String)>,
    /// Pseudo-header fields that are left out.
    #[serde(default)]
    without: Vec<String>,
    /// Fields behind the pseudo-header fields.
    #[serde(default)]
    fields: Vec<(String, String)>,
    /// The whole section, in place of all that.
    section: Option<Vec<(String, String)>>,
    /// DATA frames; without any the first section ends the stream.
    #[serde(default)]
    data: Vec<String>,
    /// A section behind the body.
    trailers: Option<Vec<(String, String)>>,
    /// The last frame does not end the stream.
    #[serde(default)]
    open: bool,
    /// A status (several with interim ones), or how the stream (`reset CODE`) or the connection (`goaway CODE`) ends.
    gets: Gets,
    /// The whole requests that the upstream sees.
    #[serde(default)]
    upstream: Vec<Seen>,
    /// The start line of a request that the upstream may see begin, but not end.
    unfinished: Option<String>,
    /// Why the gateway does otherwise for now. The mark has to go when it no longer does.
    deviates: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Gets {
    Status(u16),
    Error(String),
}

impl Gets {
    fn text(&self) -> String {
        match self {
            Gets::Status(status) => status.to_string(),
            Gets::Error(error) => error.clone(),
        }
    }

    fn ends_connection(&self) -> bool {
        self.text().starts_with("goaway")
    }
}

/// Sends every request in the file at `path`, to a route that passes small bodies on when they are whole, and again to
/// one that passes them on while they come.
pub(crate) fn run(path: &Path, settings: &Settings) -> Result<(), String> {
    let corpus: Corpus = read_corpus(path)?;
    let mut failures = Vec::new();
    for route in ["request_buffering: true", "request_buffering: false"] {
        let setup = Setup { route, arguments: MODERN, ..Setup::default() };
        let rig = Rig::start(settings, Arc::new(Echo), &setup)?;
        let mut before = None;
        for (number, case) in corpus.requests.iter().enumerate() {
            let problems = marked(case.deviates.as_deref(), judge(&rig, (case, before), number)?);
            before = case.unfinished.as_deref();
            if !problems.is_empty() {
                let problems = problems.join("\n");
                failures.push(format!("{} (RFC {}), {route}\n{problems}", case.name, case.rfc));
            }
        }
        failures.extend(rig.finish());
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n\n")) }
}

/// Every difference between a case and what came of it. What the case `before` left unfinished may still come.
fn judge(rig: &Rig, (case, before): (&Case, Option<&str>), number: usize) -> Result<Vec<String>, String> {
    let unfinished = [case.unfinished.as_deref(), before];
    let mut raw = Raw::connect(rig.address(), &[]).map_err(|error| format!("connecting: {error}"))?;
    raw.send(&case.bytes()?);
    let heard = hear(&mut raw, 1);
    let mut problems = Vec::new();
    if heard.outcome != case.gets.text() {
        problems.push(format!("  ! expected {}, got {}", case.gets.text(), heard.outcome));
    }
    let mut wanted: Vec<String> = case.upstream.iter().map(|seen| seen.line().to_owned()).collect();
    if !case.gets.ends_connection() {
        let path = format!("/after/{number}");
        raw.send(&get(3, &path));
        let after = hear(&mut raw, 3);
        wanted.push(format!("GET {path} HTTP/1.1"));
        if after.line() != wanted.last().cloned() {
            problems.push(format!("  ! {path} on the same connection: {} {:?}", after.outcome, after.body));
        }
    }
    let path = format!("/canary/{number}");
    problems.extend(rig.probe(&path)?);
    wanted.push(format!("GET {path} HTTP/1.1"));
    let (seen, faults) = rig.take();
    problems.extend(faults.iter().map(|fault| format!("  ! upstream: {fault}")));
    problems.extend(upstream_problems(&case.upstream, unfinished, &wanted, &seen));
    let asked = case.upstream.first().map(Seen::line);
    if let Some(line) = heard.line().filter(|line| asked != Some(line)) {
        problems.push(format!("  ! the answer is that to {line:?}"));
    }
    Ok(problems)
}

impl Case {
    /// The frames of the request, on stream 1.
    fn bytes(&self) -> Result<Vec<u8>, String> {
        let head = match &self.section {
            Some(section) => fields(section)?,
            None => [self.pseudo()?, fields(&self.fields)?].concat(),
        };
        let behind = self.data.len() + usize::from(self.trailers.is_some());
        // The last frame ends the stream.
        let flags = |rest: usize| if rest == 0 && !self.open { END_STREAM } else { 0 };
        let mut bytes = section(1, flags(behind), &head);
        for (number, text) in self.data.iter().enumerate() {
            let payload = latin1(&fill(text, &Values::new())?)?;
            bytes.extend(frame(DATA, flags(behind - number - 1), 1, &payload));
        }
        if let Some(trailers) = &self.trailers {
            bytes.extend(section(1, flags(0), &fields(trailers)?));
        }
        Ok(bytes)
    }

    fn pseudo(&self) -> Result<Vec<Field>, String> {
        let mut all = pseudo("GET", "/");
        all.retain(|(name, _)| !self.without.iter().any(|left_out| left_out.as_bytes() == name));
        for (name, value) in fields(&self.pseudo)? {
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some(place) => place.1 = value,
                None => all.push((name, value)),
            }
        }
        Ok(all)
    }
}

/// The bytes of fields. `times COUNT NAME` stands for so many fields, of that name with a number behind it.
fn fields(texts: &[(String, String)]) -> Result<Vec<Field>, String> {
    let bytes = |text: &String| latin1(&fill(text, &Values::new())?);
    let mut all = Vec::new();
    for (name, value) in texts {
        match name.strip_prefix("times ").and_then(|rest| rest.split_once(' ')) {
            Some((count, name)) => {
                let count: usize = count.parse().map_err(|_| format!("{name}: how many times?"))?;
                let value = bytes(value)?;
                all.extend((0..count).map(|number| (format!("{name}{number}").into_bytes(), value.clone())));
            }
            None => all.push((bytes(name)?, bytes(value)?)),
        }
    }
    Ok(all)
}

impl Heard {
    /// The start line of the request that the upstream answered.
    fn line(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get("line")?.as_str()?.to_owned())
    }
}
