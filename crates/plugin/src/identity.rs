//! How authentication plugins combine (kong.md 3.4).
//!
//! Without `anonymous`, every authentication plugin of a chain must succeed. With it, a plugin steps back when
//! another one has already authenticated the caller, and stands the anonymous consumer in when it fails itself.

use std::sync::Arc;

use model::entity::Consumer;
use uuid::Uuid;
use wire::{Headers, Known};

use crate::build::Build;
use crate::exchange::{Credential, Exchange};
use crate::flow::Flow;
use crate::views::Access;

/// The `anonymous` setting of an authentication plugin, resolved.
#[derive(Debug, Clone)]
pub enum Anonymous {
    /// Callers who fail are refused.
    Refused,
    /// This consumer stands for callers who fail.
    Consumer(Arc<Consumer>),
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
                Some(consumer) => Self::Consumer(consumer),
                None => Self::Missing(reference.to_owned()),
            },
        }
    }

    /// Another plugin has authenticated the caller and this one need not.
    #[must_use]
    pub fn steps_back(&self, cx: &Access<'_>) -> bool {
        !matches!(self, Self::Refused) && cx.identity.credential.is_some()
    }

    /// Goes on as the anonymous consumer, or answers as `refuse` says where there is none.
    pub fn or_refuse(&self, cx: &mut Access<'_>, refuse: impl FnOnce(&mut Access<'_>) -> Flow) -> Flow {
        match self {
            Self::Refused => refuse(cx),
            Self::Consumer(consumer) => {
                cx.authenticate_anonymous(consumer.clone());
                Flow::Next
            }
            Self::Missing(reference) => {
                let message = format!("anonymous consumer {reference} is configured but doesn't exist");
                cx.answer(500).message(message)
            }
        }
    }
}

/// Records who the caller is and tells the upstream, replacing whatever the client claimed.
pub(crate) fn assume(
    exchange: &mut Exchange,
    consumer: Option<Arc<Consumer>>,
    credential: Option<Credential>,
) {
    let anonymous = credential.is_none();
    let headers = &mut exchange.request.headers;
    match consumer.as_deref() {
        Some(consumer) => {
            set_id(headers, Known::XConsumerId, consumer.id);
            set_or_remove(headers, Known::XConsumerCustomId, consumer.custom_id.as_deref());
            set_or_remove(headers, Known::XConsumerUsername, consumer.username.as_deref());
        }
        None => {
            for name in [Known::XConsumerId, Known::XConsumerCustomId, Known::XConsumerUsername] {
                headers.remove_known(name);
            }
        }
    }
    let identifier = credential.as_ref().map(|credential| &*credential.identifier);
    set_or_remove(headers, Known::XCredentialIdentifier, identifier);
    set_or_remove(headers, Known::XAnonymousConsumer, anonymous.then_some("true"));
    exchange.identity.consumer = consumer;
    exchange.identity.credential = credential;
    exchange.identity.anonymous = anonymous;
}

fn set_id(headers: &mut Headers, name: Known, id: Uuid) {
    let mut text = Uuid::encode_buffer();
    headers.set_known(name, id.hyphenated().encode_lower(&mut text).as_bytes());
}

fn set_or_remove(headers: &mut Headers, name: Known, value: Option<&str>) {
    // A value that cannot stand in a field is refused: then what the client claimed must not stay either.
    if !value.is_some_and(|value| headers.set_known(name, value.as_bytes())) {
        headers.remove_known(name);
    }
}
