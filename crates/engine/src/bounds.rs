//! Bounds that clients, plugins and the process run into: each has a name, and says so in the log, once a second at
//! most. Nothing here is touched while nobody runs into one.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::respond::Failure;

/// Least time between two lines about one bound.
const QUIET: Duration = Duration::from_secs(1);

/// Declares every bound once: what it bounds, its name in the log, and the variable that changes it.
macro_rules! bounds {
    ($($(#[doc = $doc:literal])* $bound:ident: $name:literal, $setting:expr;)*) => {
        /// A bound, named as in [`crate::Settings`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bound {
            $($(#[doc = $doc])* $bound,)*
        }

        impl Bound {
            const ALL: &[Self] = &[$(Self::$bound,)*];

            /// Its name in the log, and the variable that changes it; a fixed bound has none.
            pub const fn named(self) -> (&'static str, Option<&'static str>) {
                match self {
                    $(Self::$bound => ($name, $setting),)*
                }
            }
        }
    };
}

bounds! {
    /// Time for a whole request head.
    HeadTimeout: "head_timeout", Some("KONG_NGINX_HTTP_CLIENT_HEADER_TIMEOUT");
    /// Time between two reads of a request body.
    BodyTimeout: "body_timeout", Some("KONG_NGINX_HTTP_CLIENT_BODY_TIMEOUT");
    /// Least pace of a request body.
    MinBodyRate: "min_body_rate", Some("KONG_MIN_BODY_RATE");
    /// Time between two writes to a client.
    SendTimeout: "send_timeout", Some("KONG_NGINX_HTTP_SEND_TIMEOUT");
    /// Least pace of a client that takes a response.
    MinSendRate: "min_send_rate", Some("KONG_MIN_SEND_RATE");
    /// Time a plugin may wait.
    PluginTimeout: "plugin_timeout", Some("KONG_PLUGIN_TIMEOUT");
    /// Connections of a worker.
    MaxConnections: "max_connections", Some("KONG_NGINX_EVENTS_WORKER_CONNECTIONS");
    /// Connections of one address.
    MaxConnectionsPerAddress: "max_connections_per_address", Some("KONG_MAX_CONNECTIONS_PER_ADDRESS");
    /// Memory of the process.
    MaxResident: "max_resident_size", Some("KONG_MAX_RESIDENT_SIZE");
    /// Open files of the process.
    OpenFiles: "open_files", None;
    /// Control frames of an HTTP/2 connection.
    Http2ControlFrames: "http2_max_control_frames", Some("KONG_HTTP2_MAX_CONTROL_FRAMES");
    /// What the library allows a client of HTTP/2.
    Http2Excess: "http2_excess", None;
    /// A request head.
    MaxHeadSize: "max_head_size", Some("KONG_MAX_HEAD_SIZE");
    /// A line of a request head.
    MaxLineSize: "max_line_size", Some("KONG_MAX_LINE_SIZE");
    /// Path and query of a request.
    MaxUriSize: "max_uri_size", Some("KONG_MAX_URI_SIZE");
    /// Fields of a head or a trailer section.
    MaxHeaderCount: "max_header_count", Some("KONG_MAX_HEADER_COUNT");
    /// Options of `Connection` that name a field.
    ConnectionOptions: "connection_options", None;
    /// What follows the size of a chunk.
    ChunkExtension: "chunk_extension", None;
    /// A trailer section.
    Trailers: "trailers", None;
    /// A request body.
    ClientMaxBodySize: "client_max_body_size", Some("KONG_CLIENT_MAX_BODY_SIZE");
    /// A request body that a plugin wants whole.
    RequestBufferSize: "request_buffer_size", Some("KONG_REQUEST_BUFFER_SIZE");
    /// A response body that a plugin wants whole.
    ResponseBufferSize: "response_buffer_size", Some("KONG_RESPONSE_BUFFER_SIZE");
}

/// The variables that log lines name for those who want another bound.
pub fn variables() -> impl Iterator<Item = &'static str> {
    Bound::ALL.iter().filter_map(|bound| bound.named().1)
}

/// What one worker has said about each bound.
#[derive(Default)]
pub struct Bounds {
    told: [Cell<Told>; Bound::ALL.len()],
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
