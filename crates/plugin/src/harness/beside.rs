//! How a harness comes to be, and what is kept beside it.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use wire::Headers;

use super::{Harness, SEED, START_MS, UpstreamResponse, runtime};
use crate::clock::Clock;
use crate::exchange::Scheme;
use crate::room::Definition;
use crate::services::{Services, Worker};
use crate::usage;

impl Harness {
    /// The same with the database of usage in the file `database`: what is kept beside it outlives the harness, once
    /// [`Services::flush`] has been called.
    ///
    /// # Errors
    /// The problems of the document, one a line.
    pub fn chain_beside(
        database: &Path,
        definitions: &[&'static dyn Definition],
        document: &str,
    ) -> Result<Self, String> {
        let clock = Clock::fixed(START_MS);
        let services = Services::new(2, clock.clone(), false);
        let interval = Duration::from_secs(3600);
        services.keep_usage(usage::Settings { interval, ..usage::Settings::at(database) });
        let worker = Rc::new(Worker::seeded(0, services.clone(), SEED));
        let mut harness = Self {
            clock,
            services,
            definitions: definitions.to_vec(),
            worker,
            instances: Vec::new(),
            routes: Vec::new(),
            runtime: runtime().map_err(|error| error.to_string())?,
            scheme: Scheme::Http,
            peer: SocketAddr::from(([127, 0, 0, 1], 40_000)),
            tls: None,
            trusted: false,
            unreachable: Arc::default(),
            trailers: Headers::new(),
            targets: vec![SocketAddr::from(([127, 0, 0, 1], 9001))],
            upstream: UpstreamResponse::default(),
        };
        harness.reload(document)?;
        Ok(harness)
    }
}
