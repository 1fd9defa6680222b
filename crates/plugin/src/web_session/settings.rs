//! How sessions are kept, as rooms say it.

use std::sync::Arc;

use super::cookie;
use super::local::Local;
use super::session::Timeouts;
use super::shared::Shared;

/// What a session must not be taken away from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bond {
    /// The address of the client.
    Ip,
    /// The scheme of the request.
    Scheme,
    /// The browser's `User-Agent`.
    UserAgent,
}

/// Where sessions are.
#[derive(Clone)]
pub enum Storage {
    /// In their cookies.
    Cookie,
    /// In this process; their cookies name them.
    Local(Arc<Local>),
    /// In a place that gateways share; their cookies name them.
    Shared(Shared),
}

/// A second cookie, by which a session begins again when the first one is gone.
pub struct Remembering {
    /// Its name; everything else is as for the first one.
    pub cookie_name: String,
    /// Its times; idling has none.
    pub timeouts: Timeouts,
}

/// How sessions are kept.
pub struct Settings {
    /// What their keys are made of; random, for the life of the process, without it.
    pub secret: Option<String>,
    /// Whom they are for: a session of one audience is none of another.
    pub audience: String,
    /// The cookie.
    pub cookie: cookie::Settings,
    /// When they end.
    pub timeouts: Timeouts,
    /// Whether they begin again.
    pub remember: Option<Remembering>,
    /// Where they are.
    pub storage: Storage,
    /// Seconds that a session in memory goes on under its old id once it has a new one.
    pub stale_ttl: u64,
    /// What they must not be taken away from.
    pub bind: Vec<Bond>,
    /// Whether only a hash of the subject (SHA-256, base64url) is kept and told.
    pub hash_subject: bool,
    /// Whether there are lists of the sessions of a subject.
    pub lists: bool,
}
