//! What RFC 9113 demands of a server, frame by frame: each row of the tables sends bytes that a client should not send, or
//! may, and says what must come of it. Nothing of a request that is wrong may reach the upstream.

mod connections;
mod frames;
mod headers;
mod judge;
mod messages;
mod streams;
mod talk;

use judge::Expect;

/// One thing a peer can do.
pub struct Row {
    /// The section of RFC 9113 that decides, unless it names another.
    rfc: &'static str,
    name: &'static str,
    start: Start,
    /// Sent piece by piece, each when all is quiet.
    sends: Vec<Vec<u8>>,
    expect: Expect,
    /// A text that the upstream must get.
    upstream: Option<&'static str>,
    /// Why the gateway does otherwise for now: the row must then fail, and the mark goes when it no longer does.
    deviates: Option<&'static str>,
}

/// What comes before the bytes of a row.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    /// The preface, and what settles the settings of both sides.
    Settled,
    /// The first line of the preface only.
    Magic,
    Nothing,
}

/// Why the type of many connection errors is not the one demanded.
const OTHER_CODE: &str = "h2 names every fault in the bytes of a frame PROTOCOL_ERROR";

/// A row that sends `bytes` once the connection is settled.
fn row(rfc: &'static str, name: &'static str, bytes: Vec<u8>, expect: Expect) -> Row {
    Row { rfc, name, start: Start::Settled, sends: vec![bytes], expect, upstream: None, deviates: None }
}

impl Row {
    fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Sends more when what came of the first bytes has been seen.
    fn then(mut self, bytes: Vec<u8>) -> Self {
        self.sends.push(bytes);
        self
    }

    fn upstream(mut self, text: &'static str) -> Self {
        self.upstream = Some(text);
        self
    }

    fn deviates(mut self, reason: &'static str) -> Self {
        self.deviates = Some(reason);
        self
    }
}

/// Runs the rows and names those where something else came of it.
async fn hold(rows: Vec<Row>) {
    let mut problems = Vec::new();
    for row in rows {
        let outcome = talk::run(&row).await;
        let problem = judge::problem(&row, &outcome);
        let problem = match (problem, row.deviates) {
            (Some(_), Some(_)) | (None, None) => continue,
            (Some(problem), None) => problem,
            (None, Some(reason)) => format!("as it should be, but marked: {reason}"),
        };
        problems.push(format!("{} ({}): {problem}", row.name, row.rfc));
    }
    assert!(problems.is_empty(), "{} rows:\n{}", problems.len(), problems.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn the_preface_and_the_settings_of_a_connection() {
    hold(connections::rows()).await;
}

#[tokio::test(start_paused = true)]
async fn frames_on_streams_in_every_state() {
    hold(streams::rows()).await;
}

#[tokio::test(start_paused = true)]
async fn header_sections_and_their_frames() {
    hold(headers::rows()).await;
}

#[tokio::test(start_paused = true)]
async fn requests_and_responses() {
    hold(messages::rows()).await;
}
