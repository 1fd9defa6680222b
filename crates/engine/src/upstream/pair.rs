//! A client and an upstream while bytes flow between them: whatever is waited for, the request body keeps moving, and
//! every wait has a bound.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::Instant;
use wire::Headers;
use wire::h1::{Limits, Reject};

use crate::channel::Channel;
use crate::pace::Allowed;
use crate::respond::Failure;
use crate::session::Local;
use crate::settings::Settings;
use crate::transport::Stream;
use crate::upload::Upload;
use crate::upstream::attempt::Upstream;

/// The two sides of an exchange while bytes flow. Whatever it waits for, it keeps the upload going.
pub struct Pair<'a> {
    client: &'a mut Channel,
    upstream: &'a mut Upstream,
    upload: &'a mut Upload,
    settings: &'a Settings,
    write_timeout: Duration,
    /// What it means that a response does not come in time.
    late: Failure,
}

/// Who a [`Pair`] waits for, once the upload is complete.
#[derive(Clone, Copy)]
enum Awaited {
    /// The upstream, for so long.
    Upstream(Duration),
    /// The client, which has to take its response.
    Client,
}

/// What came of the wait for a response head of HTTP/2.
pub enum Arrived {
    /// An interim response.
    Interim(http::response::Parts),
    /// The response, and whether its head is all there is.
    Final(Box<http::response::Parts>, bool),
    /// None will come.
    Nothing(h2::Error),
}

/// What is really waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    /// More of the request body.
    ClientsBody,
    /// The client, to take more of its response.
    ClientsTaking,
    /// The upstream's response.
    Upstream,
    /// The upstream, to take more of the request body.
    UpstreamsTaking,
}

/// A wait that is under way.
struct Wait {
    on: On,
    until: Instant,
    by_rate: bool,
}

impl Wait {
    /// `late` is what it means that the response has not come.
    fn too_late(&self, late: Failure) -> Failure {
        match self.on {
            On::ClientsBody => Failure::slow_body(self.by_rate),
            On::ClientsTaking => Failure::slow_taking(self.by_rate),
            On::Upstream => late,
            On::UpstreamsTaking => Failure::UpstreamTimeout,
        }
    }
}

impl<'a> Pair<'a> {
    /// Couples a client with an upstream.
    pub fn new(
        client: &'a mut Channel,
        upstream: &'a mut Upstream,
        upload: &'a mut Upload,
        local: &'a Local,
    ) -> Self {
        let write_timeout = upstream.write_timeout;
        let late = Failure::UpstreamTimeout;
        Self { client, upstream, upload, settings: &local.settings, write_timeout, late }
    }

    /// Reads once from the upstream; zero is the end. `limit` runs from `since`, or from now, but not before the
    /// upload is complete.
    pub async fn read_upstream(
        &mut self,
        room: usize,
        limit: Duration,
        since: Option<Instant>,
    ) -> Result<usize, Failure> {
        self.drive(Awaited::Upstream(limit), since, |cx, _, upstream| {
            upstream.input.poll_fill(cx, &mut upstream.stream, room).map_err(|_| Failure::UpstreamClosed)
        })
        .await
    }

    /// Waits for the next response head, interim or final, of an upstream that speaks HTTP/2; `late` is the failure if there
    /// is none within `limit`.
    pub async fn read_http2_head(&mut self, limit: Duration, late: Failure) -> Result<Arrived, Failure> {
        self.late = late;
        let mut arrived = None;
        self.drive(Awaited::Upstream(limit), None, |cx, _, upstream| {
            let Stream::Call(call) = &mut upstream.stream else {
                return Poll::Ready(Err(Failure::UpstreamClosed));
            };
            let next = match call.poll_interim(cx) {
                Some(response) => Arrived::Interim(response.into_parts().0),
                None => match ready!(call.poll_head(cx)) {
                    Ok((head, ended)) => Arrived::Final(Box::new(head), ended),
                    Err(error) => Arrived::Nothing(error),
                },
            };
            arrived = Some(next);
            Poll::Ready(Ok(0))
        })
        .await?;
        arrived.ok_or(Failure::UpstreamClosed)
    }

    /// Adds the trailer section of an upstream that speaks HTTP/2 to `fields`.
    pub async fn read_trailers(&mut self, limit: Duration, fields: &mut Headers) -> Result<(), Failure> {
        let most = Limits::default().max_headers;
        self.drive(Awaited::Upstream(limit), None, |cx, _, upstream| {
            let Stream::Call(call) = &mut upstream.stream else { return Poll::Ready(Ok(0)) };
            let read = ready!(call.poll_trailers(cx, most, fields)).map_err(|_| Failure::UpstreamClosed)?;
            let refused = |reject: Reject| Failure::UpstreamMalformed { rule: reject.reason };
            Poll::Ready(read.map(|()| 0).map_err(refused))
        })
        .await
        .map(drop)
    }

    /// Writes `head` and then the first `count` unread bytes of the upstream to the client.
    pub async fn write_client(&mut self, head: &[u8], count: usize) -> Result<(), Failure> {
        let mut written = 0;
        while written < head.len() + count {
            let count = self
                .drive(Awaited::Client, None, |cx, client, upstream| {
                    let body = &upstream.input.unread()[..count];
                    let head_left = head.get(written..).unwrap_or_default();
                    let body_left = &body[written.saturating_sub(head.len())..];
                    poll_write_two(cx, client, head_left, body_left)
                })
                .await?;
            self.client.note_written(count);
            written += count;
        }
        Ok(())
    }

    async fn drive(
        &mut self,
        awaited: Awaited,
        since: Option<Instant>,
        mut step: impl FnMut(&mut Context<'_>, &mut Channel, &mut Upstream) -> Poll<Result<usize, Failure>>,
    ) -> Result<usize, Failure> {
        let mut wait = match awaited {
            Awaited::Upstream(limit) if self.upload.is_done() => {
                since.map(|since| Wait { on: On::Upstream, until: since + limit, by_rate: false })
            }
            _ => None,
        };
        poll_fn(|cx| {
            if !self.upload.is_done() {
                match self.poll_upload(cx) {
                    Ok(true) => wait = None,
                    Ok(false) => {}
                    Err(failure) => return Poll::Ready(Err(failure)),
                }
            }
            if let Poll::Ready(outcome) = step(cx, self.client, self.upstream) {
                return Poll::Ready(outcome);
            }
            if self.poll_gone(cx, awaited).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            let on = self.waits_on(awaited);
            // Bytes may have come from the client that the upstream does not take.
            let wait = match &mut wait {
                Some(wait) if wait.on == on => wait,
                other => other.insert(self.begin_wait(on, awaited)),
            };
            self.client.timer.poll_passed(cx, wait.until).map(|()| Err(wait.too_late(self.late)))
        })
        .await
    }

    /// A client that takes its response shows by that whether it is there; over HTTP/2 it may say that it is not.
    fn poll_gone(&mut self, cx: &mut Context<'_>, awaited: Awaited) -> Poll<()> {
        match (awaited, self.client.stream.as_http2()) {
            (Awaited::Client, None) => Poll::Pending,
            (Awaited::Client, Some(stream)) => stream.poll_gone(cx),
            (Awaited::Upstream(_), _) => self.client.poll_gone(cx, self.upload),
        }
    }

    fn waits_on(&self, awaited: Awaited) -> On {
        if self.upload.is_done() {
            return if matches!(awaited, Awaited::Client) { On::ClientsTaking } else { On::Upstream };
        }
        let at_hand = !self.client.input.is_empty();
        if self.upload.is_up_to_client(at_hand) { On::ClientsBody } else { On::UpstreamsTaking }
    }

    fn begin_wait(&mut self, on: On, awaited: Awaited) -> Wait {
        let now = Instant::now();
        if on != On::ClientsBody {
            self.upload.pause(now);
        }
        if on != On::ClientsTaking {
            self.client.pause_taking(now);
        }
        let Allowed { until, by_rate } = match (on, awaited) {
            (On::ClientsBody, _) => self.upload.allowed(now, self.settings),
            (On::ClientsTaking, _) => self.client.allowed(now, self.settings),
            (On::Upstream, Awaited::Upstream(limit)) => Allowed { until: now + limit, by_rate: false },
            (On::Upstream | On::UpstreamsTaking, _) => {
                Allowed { until: now + self.write_timeout, by_rate: false }
            }
        };
        Wait { on, until, by_rate }
    }

    /// Moves the upload on; whether anything moved. An upstream that stops reading may still answer.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<bool, Failure> {
        let mut moved = false;
        match self.upload.poll(cx, self.client, &mut self.upstream.stream, &mut moved) {
            Poll::Ready(Err(Failure::UpstreamClosed)) => {
                self.upload.halt();
                self.upstream.reusable = false;
                self.client.must_close = true;
                return Ok(true);
            }
            Poll::Ready(Err(failure)) => return Err(failure),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        Ok(moved)
    }
}

fn poll_write_two(
    cx: &mut Context<'_>,
    client: &mut Channel,
    first: &[u8],
    second: &[u8],
) -> Poll<Result<usize, Failure>> {
    let stream = Pin::new(&mut client.stream);
    let written = match (first.is_empty(), second.is_empty()) {
        (true, _) => stream.poll_write(cx, second),
        (false, true) => stream.poll_write(cx, first),
        (false, false) => stream.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)]),
    };
    written.map(|outcome| match outcome {
        Ok(0) | Err(_) => Err(Failure::ClientGone),
        Ok(count) => Ok(count),
    })
}
