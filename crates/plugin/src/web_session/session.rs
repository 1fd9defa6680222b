//! A session as it is kept, and when it ends.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::sealed::random;

/// Seconds between two notes that a session is used, at most.
const LONGEST_UNNOTED: u64 = 60;
/// Bytes of the id.
const ID: usize = 32;

/// What is known of a session. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) id: [u8; ID],
    pub(super) created: u64,
    pub(super) rolled: u64,
    pub(super) touched: u64,
    pub(super) subject: String,
    pub(super) data: Vec<u8>,
}

/// After how many seconds a session ends; 0 is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// Without a request.
    pub idling: u64,
    /// Without renewal, which requests bring about.
    pub rolling: u64,
    /// Whatever happens.
    pub absolute: u64,
}

/// What may be told of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// Its id, in base64url.
    Id,
    /// Whom it is for.
    Audience,
    /// Whom it is about.
    Subject,
    /// Seconds until the first of the other times.
    Timeout,
    /// Seconds until it ends without requests.
    IdlingTimeout,
    /// Seconds until it ends without renewal.
    RollingTimeout,
    /// Seconds until it ends.
    AbsoluteTimeout,
}

impl Session {
    /// A new one. None if the system has no random numbers.
    pub(super) fn new(now: u64, subject: &str, data: Vec<u8>) -> Option<Self> {
        let subject = subject.to_owned();
        Some(Self { id: random()?, created: now, rolled: now, touched: now, subject, data })
    }

    /// The same under a new id. None if the system has no random numbers.
    pub(super) fn renewed(&self, created: u64, now: u64) -> Option<Self> {
        Some(Self { id: random()?, created, rolled: now, touched: now, ..self.clone() })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ID + 32 + self.subject.len() + self.data.len());
        bytes.extend_from_slice(&self.id);
        for number in [self.created, self.rolled, self.touched, self.subject.len() as u64] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(self.subject.as_bytes());
        bytes.extend_from_slice(&self.data);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, mut rest) = bytes.split_first_chunk::<ID>()?;
        let mut number = || {
            let (number, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(u64::from_be_bytes(*number))
        };
        let (created, rolled, touched, length) = (number()?, number()?, number()?, number()?);
        let (subject, data) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let subject = std::str::from_utf8(subject).ok()?.to_owned();
        Some(Self { id: *id, created, rolled, touched, subject, data: data.to_vec() })
    }
}

impl Timeouts {
    /// Whether the session goes on at `now`.
    pub(super) fn allow(&self, session: &Session, now: u64) -> bool {
        self.ends(session).iter().flatten().all(|&end| now <= end)
    }

    /// Whether the session should have a new id: it would end for want of one before it could end for want of requests.
    pub(super) fn want_renewal(&self, session: &Session, now: u64) -> bool {
        let idling = if self.idling == 0 { self.rolling / 4 } else { self.idling };
        self.rolling != 0
            && self.rolling.saturating_sub(now.saturating_sub(session.rolled)) <= idling
            && now > session.rolled
    }

    /// Whether it is time to note that the session is used. Not for every request: that would be a cookie each time.
    pub(super) fn want_touch(&self, session: &Session, now: u64) -> bool {
        self.idling != 0 && now.saturating_sub(session.touched) >= LONGEST_UNNOTED.min(self.idling / 4).max(1)
    }

    /// Seconds until the session ends unless it is renewed; none if it does not.
    pub(super) fn left(&self, session: &Session, now: u64) -> Option<u64> {
        let [_, rolling, absolute] = self.ends(session);
        [rolling, absolute].into_iter().flatten().min().map(|end| end.saturating_sub(now))
    }

    /// Seconds until the session ends unless it is used or renewed; none if it does not.
    pub(super) fn left_unused(&self, session: &Session, now: u64) -> Option<u64> {
        self.ends(session).into_iter().flatten().min().map(|end| end.saturating_sub(now))
    }

    /// When it ends without requests, without renewal, and in any case.
    fn ends(&self, session: &Session) -> [Option<u64>; 3] {
        let end = |since: u64, seconds: u64| (seconds != 0).then(|| since.saturating_add(seconds));
        [
            end(session.touched, self.idling),
            end(session.rolled, self.rolling),
            end(session.created, self.absolute),
        ]
    }
}

impl Property {
    /// The property that Kong calls so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            "audience" => Self::Audience,
            "subject" => Self::Subject,
            "timeout" => Self::Timeout,
            "idling-timeout" => Self::IdlingTimeout,
            "rolling-timeout" => Self::RollingTimeout,
            "absolute-timeout" => Self::AbsoluteTimeout,
            _ => return None,
        })
    }

    /// The header field that tells it.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Id => "Session-Id",
            Self::Audience => "Session-Audience",
            Self::Subject => "Session-Subject",
            Self::Timeout => "Session-Timeout",
            Self::IdlingTimeout => "Session-Idling-Timeout",
            Self::RollingTimeout => "Session-Rolling-Timeout",
            Self::AbsoluteTimeout => "Session-Absolute-Timeout",
        }
    }

    pub(super) fn of(
        self,
        session: &Session,
        timeouts: &Timeouts,
        audience: &str,
        now: u64,
    ) -> Option<String> {
        let ends = timeouts.ends(session);
        let left = |end: Option<u64>| end.map(|end| end.saturating_sub(now).to_string());
        match self {
            Self::Id => Some(URL_SAFE_NO_PAD.encode(session.id)),
            Self::Audience => Some(audience.to_owned()),
            Self::Subject => Some(session.subject.clone()),
            Self::Timeout => timeouts.left_unused(session, now).map(|left| left.to_string()),
            Self::IdlingTimeout => left(ends[0]),
            Self::RollingTimeout => left(ends[1]),
            Self::AbsoluteTimeout => left(ends[2]),
        }
    }
}
