//! Who is calling, and how authentication plugins combine (kong.md 3.4).
//!
//! Without `anonymous`, every authentication plugin of a chain must succeed. With it, a plugin steps back when
//! another one has already authenticated the caller, and stands the anonymous consumer in when it fails itself.

mod caller;
mod disowned;
mod names;

use std::sync::Arc;

use wire::Known;

use crate::build::Build;
use crate::exchange::{Exchange, Identity};
use crate::flow::Flow;
use crate::views::Access;

pub use caller::{Caller, Credential, Holder, Proof};
pub(crate) use disowned::Told;
pub use disowned::{Disowned, OwnFields};
pub use names::IdentityHeaders;
use names::OF_EVERY_CALLER;

/// The `anonymous` setting of an authentication plugin, resolved.
#[derive(Debug, Clone)]
pub enum Anonymous {
    /// Callers who fail are refused.
    Refused,
    /// This consumer stands for callers who fail.
    Consumer(Arc<Caller>),
    /// The configured consumer does not exist.
    Missing(String),
}

impl Anonymous {
    /// Resolves the setting: the id or the username of a consumer; none or empty refuses.
    #[must_use]
    pub fn resolve(setting: Option<&str>, cx: &Build<'_>) -> Self {
        match setting {
            None | Some("") => Self::Refused,
            Some(reference) => match cx.consumer_named(reference) {
                Some(consumer) => Self::Consumer(Caller::anonymous(consumer)),
                None => Self::Missing(reference.to_owned()),
            },
        }
    }

    /// Another plugin has authenticated the caller and this one need not.
    #[must_use]
    pub fn steps_back(&self, cx: &Access<'_>) -> bool {
        !matches!(self, Self::Refused) && cx.identity.credential().is_some()
    }

    /// Lets the caller in who was found. For another one it goes on as [`Self::or_refuse`] does.
    pub fn admit<R>(
        &self,
        cx: &mut Access<'_>,
        outcome: Result<Arc<Caller>, R>,
        refuse: impl FnOnce(&mut Access<'_>, R) -> Flow,
    ) -> Flow {
        match outcome {
            Ok(caller) => {
                cx.authenticate(caller);
                Flow::Next
            }
            Err(refusal) => self.or_refuse(cx, |cx| refuse(cx, refusal)),
        }
    }

    /// Goes on as the anonymous consumer, or answers as `refuse` says where there is none.
    pub fn or_refuse(&self, cx: &mut Access<'_>, refuse: impl FnOnce(&mut Access<'_>) -> Flow) -> Flow {
        match self {
            Self::Refused => refuse(cx),
            Self::Consumer(caller) => {
                cx.authenticate(caller.clone());
                Flow::Next
            }
            Self::Missing(reference) => {
                let message = format!("anonymous consumer {reference} is configured but doesn't exist");
                cx.answer(500).message(message)
            }
        }
    }
}

/// Records who the caller is and tells the upstream, in place of whatever the client claimed.
pub(crate) fn assume(exchange: &mut Exchange, caller: Arc<Caller>) {
    debug_assert!(
        exchange.identity.is_disbelieved,
        "a room that authenticates says so: Plugin::AUTHENTICATES"
    );
    disbelieve(exchange, None);
    let names = exchange.worker.services.identity_headers();
    let headers = &mut exchange.request.headers;
    if exchange.identity.caller.is_some() {
        OF_EVERY_CALLER.iter().for_each(|field| names.remove(headers, *field));
    }
    names.append(headers, caller.told());
    exchange.identity.caller = Some(caller);
}

/// Removes what the client claims about who it is, in the fields of all rooms and in `own` ones. What has been found out since
/// the first time stays.
pub(crate) fn disbelieve(exchange: &mut Exchange, own: Option<&OwnFields>) {
    let Exchange { identity, request, worker, .. } = exchange;
    if !std::mem::replace(&mut identity.is_disbelieved, true) {
        let names = worker.services.identity_headers();
        disowned::remove_where(&mut request.headers, |field| disowned::is_claim(names, field));
    }
    if let Some(own) = own {
        own.disown(&mut request.headers, &mut identity.told);
    }
}

/// Removes `own` fields, which only the room may tell that owns them.
pub(crate) fn forget(exchange: &mut Exchange, own: &OwnFields) {
    own.forget(&mut exchange.request.headers, &mut exchange.identity.told);
}

/// Calls `with` with the name and the value of each field by which rooms have told the upstream more of the caller than who it
/// is.
pub(crate) fn each_told(exchange: &Exchange, mut with: impl FnMut(&[u8], &[u8])) {
    let told = &exchange.identity.told;
    if told.is_empty() {
        return;
    }
    for field in exchange.request.headers.entries() {
        if told.iter().any(|own| own.distinguish(field.name)) {
            with(field.name, field.value);
        }
    }
}

/// What the client cannot tell the upstream by other ways than the head, where rooms have a say in that.
#[must_use]
pub fn disowned(exchange: &Exchange) -> Option<Disowned> {
    let Identity { is_disbelieved, told, .. } = &exchange.identity;
    let is_any = *is_disbelieved || !told.is_empty();
    let claims = is_disbelieved.then(|| exchange.worker.clone());
    is_any.then(|| Disowned { claims, told: told.clone() })
}

/// Tells the upstream `value`, or nothing, in the place of `field`.
pub(crate) fn tell(exchange: &mut Exchange, field: Known, value: Option<&[u8]>) {
    let names = exchange.worker.services.identity_headers();
    names.remove(&mut exchange.request.headers, field);
    if let Some(value) = value {
        names.set(&mut exchange.request.headers, field, value);
    }
}
