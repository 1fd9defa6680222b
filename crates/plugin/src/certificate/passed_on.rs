//! Certificates that a proxy in front passes on, for rooms that want to know which one a caller has shown, and not whose it
//! is.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use super::fields::TrustFields;
use super::header::Header;
use super::judge::{Believed, Finding, Judge};
use crate::build::{Build, BuildError};
use crate::exchange::Exchange;
use crate::jose::to_base64url;

/// Looks at certificates in a header.
pub struct PassedOn {
    header: Header,
    judge: Arc<Judge<Arc<str>>>,
}

/// Which certificate a caller has shown, by its SHA-256 hash in base64url (RFC 8705 3.1).
pub enum Looked {
    /// None, or one that is not believed.
    Missing,
    /// This one.
    Believed(Arc<str>),
    /// Somebody has to be asked whether it has been revoked.
    Pending(Finding<Arc<str>>),
}

impl PassedOn {
    /// `place` is where the fields are in a configuration.
    ///
    /// # Errors
    /// The field that is wrong, or cannot be honoured.
    pub fn new(
        header: Header,
        fields: &TrustFields,
        place: &str,
        cx: &Build<'_>,
    ) -> Result<Self, BuildError> {
        Ok(Self { header, judge: Judge::new(fields, place, fields.cert_cache_ttl.max(0.0) as u64, cx)? })
    }

    /// Which certificate a request brings, if it is believed.
    #[must_use]
    pub fn look(&self, exchange: &Exchange) -> Looked {
        let Ok(value) = self.header.find(exchange) else { return Looked::Missing };
        let hash = |chain: &Believed<'_>| Some(to_base64url(digest(&SHA256, chain.own).as_ref()).into());
        match self.judge.look(exchange, &[value], || self.header.chain(value), hash) {
            Ok(Some(hash)) => Looked::Believed(hash),
            Ok(None) => Looked::Missing,
            Err(finding) => Looked::Pending(finding),
        }
    }
}
