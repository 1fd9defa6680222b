//! Bounds that clients, plugins and the process run into: each has a name, and says so in the log, once a second at
//! most. Nothing here is touched while nobody runs into one.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::respond::Failure;

/// Least time between two lines about one bound.
const QUIET: Duration = Duration::from_secs(1);

/// A bound, named as in [`crate::Settings`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Time for a whole request head.
    HeadTimeout,
    /// Time between two reads of a request body.
    BodyTimeout,
    /// Least pace of a request body.
    MinBodyRate,
    /// Time between two writes to a client.
    SendTimeout,
    /// Least pace of a client that takes a response.
    MinSendRate,
    /// Time a plugin may wait.
    PluginTimeout,
    /// Connections of a worker.
    MaxConnections,
    /// Connections of one address.
    MaxConnectionsPerAddress,
    /// Memory of the process.
    MaxResident,
    /// Control frames of an HTTP/2 connection.
    Http2ControlFrames,
    /// A request head.
    MaxHeadSize,
    /// A line of a request head.
    MaxLineSize,
    /// Path and query of a request.
    MaxUriSize,
    /// Fields of a head or a trailer section.
    MaxHeaderCount,
    /// Options of `Connection` that name a field.
    ConnectionOptions,
    /// What follows the size of a chunk.
    ChunkExtension,
    /// A trailer section.
    Trailers,
    /// A request body.
    ClientMaxBodySize,
    /// A request body that a plugin wants whole.
    RequestBufferSize,
    /// A response body that a plugin wants whole.
    ResponseBufferSize,
}

const KINDS: usize = Bound::ResponseBufferSize as usize + 1;

impl Bound {
    const ALL: [Self; KINDS] = [
        Self::HeadTimeout,
        Self::BodyTimeout,
        Self::MinBodyRate,
        Self::SendTimeout,
        Self::MinSendRate,
        Self::PluginTimeout,
        Self::MaxConnections,
        Self::MaxConnectionsPerAddress,
        Self::MaxResident,
        Self::Http2ControlFrames,
        Self::MaxHeadSize,
        Self::MaxLineSize,
        Self::MaxUriSize,
        Self::MaxHeaderCount,
        Self::ConnectionOptions,
        Self::ChunkExtension,
        Self::Trailers,
        Self::ClientMaxBodySize,
        Self::RequestBufferSize,
        Self::ResponseBufferSize,
    ];

    /// Its name in the log, and the variable that changes it; a fixed bound has none.
    pub const fn named(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::HeadTimeout => ("head_timeout", Some("KONG_NGINX_HTTP_CLIENT_HEADER_TIMEOUT")),
            Self::BodyTimeout => ("body_timeout", Some("KONG_NGINX_HTTP_CLIENT_BODY_TIMEOUT")),
            Self::MinBodyRate => ("min_body_rate", Some("KONG_MIN_BODY_RATE")),
            Self::SendTimeout => ("send_timeout", Some("KONG_NGINX_HTTP_SEND_TIMEOUT")),
            Self::MinSendRate => ("min_send_rate", Some("KONG_MIN_SEND_RATE")),
            Self::PluginTimeout => ("plugin_timeout", Some("KONG_PLUGIN_TIMEOUT")),
            Self::MaxConnections => ("max_connections", Some("KONG_NGINX_EVENTS_WORKER_CONNECTIONS")),
            Self::MaxConnectionsPerAddress => {
                ("max_connections_per_address", Some("KONG_MAX_CONNECTIONS_PER_ADDRESS"))
            }
            Self::MaxResident => ("max_resident_size", Some("KONG_MAX_RESIDENT_SIZE")),
            Self::Http2ControlFrames => ("http2_max_control_frames", Some("KONG_HTTP2_MAX_CONTROL_FRAMES")),
            Self::MaxHeadSize => ("max_head_size", Some("KONG_MAX_HEAD_SIZE")),
            Self::MaxLineSize => ("max_line_size", Some("KONG_MAX_LINE_SIZE")),
            Self::MaxUriSize => ("max_uri_size", Some("KONG_MAX_URI_SIZE")),
            Self::MaxHeaderCount => ("max_header_count", Some("KONG_MAX_HEADER_COUNT")),
            Self::ConnectionOptions => ("connection_options", None),
            Self::ChunkExtension => ("chunk_extension", None),
            Self::Trailers => ("trailers", None),
            Self::ClientMaxBodySize => ("client_max_body_size", Some("KONG_CLIENT_MAX_BODY_SIZE")),
            Self::RequestBufferSize => ("request_buffer_size", Some("KONG_REQUEST_BUFFER_SIZE")),
            Self::ResponseBufferSize => ("response_buffer_size", Some("KONG_RESPONSE_BUFFER_SIZE")),
        }
    }
}

/// The variables that log lines name for those who want another bound.
pub fn variables() -> impl Iterator<Item = &'static str> {
    Bound::ALL.into_iter().filter_map(|bound| bound.named().1)
}

/// What one worker has said about each bound.
#[derive(Default)]
pub struct Bounds {
    told: [Cell<Told>; KINDS],
}

#[derive(Clone, Copy, Default)]
struct Told {
    at: Option<Instant>,
    /// Times the bound was reached and not told of.
    unsaid: u64,
}

impl Bounds {
    /// Tells of a bound that was reached, unless that was told just now. Whether it was.
    pub fn reached(&self, bound: Bound) -> bool {
        let now = Instant::now();
        let place = &self.told[bound as usize];
        let told = place.get();
        if told.at.is_some_and(|at| now < at + QUIET) {
            place.set(Told { unsaid: told.unsaid + 1, ..told });
            return false;
        }
        let (bound, setting) = bound.named();
        tracing::warn!(bound, setting, unsaid = told.unsaid, "a bound was reached");
        place.set(Told { at: Some(now), unsaid: 0 });
        true
    }

    /// Tells of the bound behind a failure, if there is one.
    pub fn note(&self, failure: Failure) {
        if let Some(bound) = failure.bound() {
            self.reached(bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_bound_is_told_of_once_a_second() {
        let bounds = Bounds::default();
        assert!(bounds.reached(Bound::BodyTimeout));
        assert!(!bounds.reached(Bound::BodyTimeout));
        assert!(bounds.reached(Bound::MaxConnections), "another bound is another line");
        tokio::time::advance(QUIET).await;
        assert!(bounds.reached(Bound::BodyTimeout));
    }
}
