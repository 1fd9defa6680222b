//! The key by which the service that knows the users proves that it does.

use std::sync::Arc;

use plugin::lockout::{Guard, Outcome};
use plugin::{Access, Flow};

use super::Server;
use super::parameters::Parameters;
use super::reply::{Problem, lock_out};
use super::secret;

impl Server {
    /// Goes on with whether who asks knows the users. Whoever guesses is counted by its address alone: it is the same key for
    /// all, and who knows it must not be locked out by others.
    pub(super) fn with_provision(
        self: &Arc<Self>,
        cx: &mut Access<'_>,
        then: impl FnOnce(&mut Access<'_>, Result<(), Problem>) -> Flow + 'static,
    ) -> Flow {
        let judged = self.check_provision(&Parameters::new(cx));
        let Some(guard) = &self.guard else { return then(cx, judged) };
        let attempt = |guard: &Guard, cx: &Access<'_>| guard.attempt_of(cx.client.ip, cx.steady_ms());
        guard.settle(cx, attempt, Outcome::of(&judged), move |cx, said| match said {
            Ok(()) => then(cx, judged),
            Err(locked_out) => lock_out(cx, locked_out),
        })
    }

    fn check_provision(&self, parameters: &Parameters<'_>) -> Result<(), Problem> {
        let given = parameters.find("provision_key")?;
        let right = self.provision_key.as_ref().zip(given);
        if right.is_some_and(|(key, given)| secret::is(given.as_bytes(), key)) {
            return Ok(());
        }
        Err(Problem::new("invalid_provision_key", "Invalid provision_key".to_owned()))
    }
}
