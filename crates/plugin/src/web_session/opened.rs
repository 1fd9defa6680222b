//! A session as a request has it, and what has to be written of it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::cookie::Present;
use super::session::Session;

/// A session that a request has, or is given.
pub struct Opened {
    pub(super) session: Session,
    pub(super) change: Change,
    /// The session behind the second cookie, if that is how this one came about.
    pub(super) remembered: Option<Session>,
    /// The one that takes its place, where it has been kept before its cookie is written.
    pub(super) next_remembered: Option<Session>,
    /// What the request has of the two cookies.
    pub(super) present: [Present; 2],
}

/// What has to be written of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    Used,
    Renewed([u8; 32]),
    New,
}

impl Opened {
    /// What the room keeps in it.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.session.data
    }

    /// Its id, in base64url.
    #[must_use]
    pub fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.session.id)
    }

    /// Whom it is about.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.session.subject
    }

    /// What the second cookie is to hold: it goes on, or begins.
    pub(super) fn to_remember(&self, now: u64) -> Option<Session> {
        match &self.remembered {
            Some(before) => before.renewed(before.created, now),
            None => self.session.renewed(now, now),
        }
    }
}
