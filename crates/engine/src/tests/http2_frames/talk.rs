//! A client that sends the bytes of a row, and an upstream that answers by path and writes down what it gets.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::frames::{self, Frame};
use super::{Row, Start};
use crate::settings::Settings;
use crate::tests::lab::{Lab, PLAIN, Peer, field, with};

/// The stream of the request that must be answered where a connection goes on.
pub const PROBE: u32 = 1_000_001;
/// In time that stands still, this passes only when nobody has anything left to do.
const QUIET: Duration = Duration::from_millis(100);

/// What came of a row.
#[derive(Default)]
pub struct Outcome {
    /// All frames until the probe was sent, and behind it.
    pub frames: Vec<Frame>,
    /// Bytes that are no frames.
    pub rest: Vec<u8>,
    /// The gateway closed the connection.
    pub closed: bool,
    /// The whole requests that reached the upstream.
    pub upstream: Vec<String>,
}

/// Sends the row over a connection of its own.
pub async fn run(row: &Row) -> Outcome {
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    let document = PLAIN.replace(
        "paths: [/]",
        "paths: [/]\n  - {name: streamed, paths: [/streamed], strip_path: false, request_buffering: false}",
    );
    let result = outcome.clone();
    with(&document, Settings::default(), |lab| async move {
        let seen = Rc::new(RefCell::new(Vec::new()));
        tokio::task::spawn_local(serve(lab.clone(), seen.clone()));
        let mut outcome = converse(lab.modern_client(), row).await;
        outcome.upstream = seen.take();
        result.replace(outcome);
    })
    .await;
    outcome.take()
}

async fn converse(mut client: Peer, row: &Row) -> Outcome {
    let mut outcome = Outcome::default();
    let greeting: Vec<Vec<u8>> = match row.start {
        Start::Nothing => Vec::new(),
        Start::Magic => vec![frames::MAGIC.to_vec()],
        Start::Settled => {
            // Without a table, a response head can be read without having read those before.
            let settings = frames::settings(&[(frames::HEADER_TABLE_SIZE, 0)]);
            vec![[frames::MAGIC, &settings].concat(), frames::frame(frames::SETTINGS, frames::ACK, 0, b"")]
        }
    };
    for bytes in &greeting {
        client.exchange(bytes, &mut outcome).await;
    }
    outcome.frames.clear();
    for bytes in &row.sends {
        client.exchange(bytes, &mut outcome).await;
    }
    client.exchange(&frames::get(PROBE, "/probe", &[]), &mut outcome).await;
    outcome
}

impl Peer {
    /// Sends bytes, if there is still somebody to take them, and reads until nothing more comes.
    async fn exchange(&mut self, bytes: &[u8], outcome: &mut Outcome) {
        // Whoever takes no more may have said why.
        let _ = self.0.write_all(bytes).await;
        while !outcome.closed {
            match tokio::time::timeout(QUIET, self.0.read_buf(&mut outcome.rest)).await {
                Ok(Ok(count)) => outcome.closed = count == 0,
                Ok(Err(_)) => outcome.closed = true,
                Err(_) => break,
            }
        }
        outcome.frames.extend(frames::take(&mut outcome.rest));
    }

    /// Reads up to where `is_enough`, a character for each byte; none if the bytes end before.
    async fn until(&mut self, is_enough: impl Fn(&str) -> bool) -> Option<String> {
        let mut text = String::new();
        while !is_enough(&text) {
            text.push(char::from(self.0.read_u8().await.ok()?));
        }
        Some(text)
    }
}

/// Takes one request on each connection.
async fn serve(lab: Rc<Lab>, seen: Rc<RefCell<Vec<String>>>) {
    loop {
        let mut upstream = lab.upstream().await;
        let seen = seen.clone();
        tokio::task::spawn_local(async move {
            if let Some(request) = take(&mut upstream).await {
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                seen.borrow_mut().push(request);
                upstream.send(&answer(&path)).await;
            }
        });
    }
}

/// A whole request; none if it breaks off.
async fn take(upstream: &mut Peer) -> Option<String> {
    let head = upstream.until(|text| text.ends_with("\r\n\r\n")).await?;
    let path = head.split(' ').nth(1).unwrap_or_default();
    if path.ends_with("/stuck") {
        // Reads nothing of the body and says nothing.
        std::future::pending::<()>().await;
    }
    let length = field(&head, "content-length").and_then(|length| length.parse::<usize>().ok());
    let body = match length {
        _ if path.ends_with("/at-once") => String::new(),
        Some(length) => upstream.until(|text| text.len() >= length).await?,
        None if field(&head, "transfer-encoding").is_some() => {
            let is_end = |text: &str| text.starts_with("0\r\n") || text.contains("\r\n0\r\n");
            upstream.until(|text| is_end(text) && text.ends_with("\r\n\r\n")).await?
        }
        None => String::new(),
    };
    Some(head + &body)
}

fn answer(path: &str) -> String {
    let (before, status, body) = match path {
        "/no-content" => ("", "204 No Content", None),
        "/not-modified" => ("", "304 Not Modified", None),
        "/early" => ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "200 OK", Some(2)),
        "/switch" => ("", "101 Switching Protocols", None),
        "/large" => ("", "200 OK", Some(100_000)),
        _ => ("", "200 OK", Some(2)),
    };
    let length = body.map_or(String::new(), |length| format!("Content-Length: {length}\r\n"));
    let body = "x".repeat(body.unwrap_or(0));
    format!("{before}HTTP/1.1 {status}\r\n{length}Connection: close\r\n\r\n{body}")
}
