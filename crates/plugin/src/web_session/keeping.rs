//! One of the two cookies of a session, and what its texts are sealed for.

use super::cookie::{self, Cookie};
use super::session::Timeouts;
use super::{Remembering, Settings};
use crate::build::BuildError;

/// One of the two cookies.
pub(super) struct Keeping {
    pub(super) cookie: Cookie,
    pub(super) timeouts: Timeouts,
    /// What its texts are sealed for, before what sessions are bound to.
    pub(super) context: Vec<u8>,
    pub(super) persistent: bool,
}

impl Keeping {
    pub(super) fn first(settings: &Settings, prefix: &str) -> Result<Self, BuildError> {
        let cookie = Cookie::new(&settings.cookie)
            .map_err(|(field, problem)| BuildError::new(format!("{prefix}cookie_{field}"), problem))?;
        let context = context_of(&settings.cookie.name, &settings.audience);
        Ok(Self { cookie, timeouts: settings.timeouts, context, persistent: false })
    }

    pub(super) fn remembering(
        settings: &Settings,
        remember: &Remembering,
        prefix: &str,
    ) -> Result<Self, BuildError> {
        let named = cookie::Settings { name: remember.cookie_name.clone(), ..settings.cookie.clone() };
        let cookie = Cookie::new(&named).map_err(|(field, problem)| {
            let of = if field == "name" { "remember_" } else { "" };
            BuildError::new(format!("{prefix}{of}cookie_{field}"), problem)
        })?;
        let context = context_of(&remember.cookie_name, &settings.audience);
        Ok(Self { cookie, timeouts: remember.timeouts, context, persistent: true })
    }

    /// What a session under this id is sealed for where it is not in its cookie.
    pub(super) fn context_of_stored(&self, id: &[u8; 32]) -> Vec<u8> {
        let mut context = self.context.clone();
        push(&mut context, b"stored");
        push(&mut context, id);
        context
    }
}

fn context_of(cookie_name: &str, audience: &str) -> Vec<u8> {
    let mut context = Vec::new();
    push(&mut context, cookie_name.as_bytes());
    push(&mut context, audience.as_bytes());
    context
}

/// Appends a text in such a way that no two lists of texts look alike.
pub(super) fn push(context: &mut Vec<u8>, text: &[u8]) {
    context.extend_from_slice(&(text.len() as u64).to_be_bytes());
    context.extend_from_slice(text);
}
