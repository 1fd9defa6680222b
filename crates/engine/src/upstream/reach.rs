//! Connections to a target: from the pool, or new. Under TLS, only such as were opened for the same.

use std::io;

use tokio::time::Instant;

use super::attempt::Message;
use super::connect::{self, Opening};
use super::pool::Reused;
use crate::respond::Failure;
use crate::session::{Local, Parts};
use crate::tls::Wanted;

/// A connection to a target, or one on its way.
pub enum Reached<'a> {
    /// From the pool.
    Pooled(Reused),
    /// Being opened.
    Opening(Opening<'a>),
}

/// A connection is to be under TLS, and the host can be no server name.
#[derive(Debug)]
pub struct NoServerName;

/// Takes a connection from the pool, or begins to open one. Under TLS, `host` is what it is opened for.
///
/// # Errors
/// When `host` can be no server name.
pub fn reach<'a>(
    local: &Local,
    message: &'a Message<'_>,
    host: &'a [u8],
    now: Instant,
) -> Result<Reached<'a>, NoServerName> {
    Ok(match pooled(local, message, host, now)? {
        Some(pooled) => Reached::Pooled(pooled),
        None => {
            let wanted = wanted(message, host)?;
            // Before anybody is dialled: no target can do anything about it.
            if wanted.is_some_and(|wanted| !wanted.is_possible()) {
                return Err(NoServerName);
            }
            Reached::Opening(connect::open(&*local.dial, &message.destination, wanted))
        }
    })
}

/// Takes a connection from the pool.
///
/// # Errors
/// When `host` can be no server name.
pub fn pooled(
    local: &Local,
    message: &Message<'_>,
    host: &[u8],
    now: Instant,
) -> Result<Option<Reused>, NoServerName> {
    let wanted = wanted(message, host)?;
    let take = || local.pool.take(&message.destination, wanted.as_ref(), now.into_std());
    Ok(if message.fresh { None } else { take() })
}

fn wanted<'a>(message: &'a Message<'_>, host: &'a [u8]) -> Result<Option<Wanted<'a>>, NoServerName> {
    let trust = message.plan.trust.as_ref();
    trust.map(|trust| trust.wanted(host).ok_or(NoServerName)).transpose()
}

/// Says, now and then, why a service is not talked to.
pub fn complain(parts: &Parts<'_>, message: &Message<'_>, reason: &io::Error) {
    let Some(left_out) = parts.local.complaints.now() else { return };
    let service = service(parts);
    let host = String::from_utf8_lossy(&parts.work.scratch);
    let address = message.destination.address;
    if message.plan.trust.is_some() {
        tracing::error!(service, %host, %address, %reason, left_out, "no TLS session with a service");
    } else {
        tracing::warn!(service, %host, %address, %reason, left_out, "no connection to a service");
    }
}

/// Says, now and then, why a service did not answer a request, if that was the failure. Connections that did not come about are
/// told of where they are opened.
pub fn note(parts: &Parts<'_>, failure: Failure) {
    let Some(reason) = failure.of_service() else { return };
    let Some(left_out) = parts.local.complaints.now() else { return };
    let service = service(parts);
    let record = &parts.work.exchange.record;
    let address = record.tries.last().map(|attempt| tracing::field::display(attempt.address));
    tracing::warn!(service, address, reason, left_out, "a service gives no answer");
}

fn service<'a>(parts: &'a Parts<'_>) -> &'a str {
    let asked = parts.work.exchange.service();
    asked.map_or("", |service| service.name.as_deref().unwrap_or(&service.host))
}
