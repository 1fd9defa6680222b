//! Proof that who redeems a code has asked for it (RFC 7636). Only `S256` is understood.

use super::config::Client;
use super::parameters::Parameters;
use super::reply::Problem;
use super::secret::{challenge, hash, is};
use super::store::Code;

/// Whose codes need a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pkce {
    Nobody,
    PublicClients,
    Everybody,
}

impl Pkce {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "strict" => Self::Everybody,
            "none" => Self::Nobody,
            _ => Self::PublicClients,
        }
    }

    fn is_needed_by(self, client: &Client) -> bool {
        match self {
            Self::Nobody => false,
            Self::PublicClients => client.public,
            Self::Everybody => true,
        }
    }

    /// The challenge that comes with the request for a code.
    pub(super) fn announced(
        self,
        parameters: &Parameters<'_>,
        client: &Client,
    ) -> Result<Option<String>, Problem> {
        let invalid = |message: &str| Problem::new("invalid_request", message.to_owned());
        let (challenge, method) =
            (parameters.find("code_challenge")?, parameters.find("code_challenge_method")?);
        match (challenge, method.as_deref()) {
            (Some(challenge), Some("S256")) => Ok(Some(challenge)),
            (Some(_), None) => Err(invalid("code_challenge_method is required, must be S256")),
            (_, Some(method)) if method != "S256" => {
                Err(invalid("code_challenge_method is not supported, must be S256"))
            }
            (None, Some(_)) => Err(invalid("code_challenge is required when code_method is present")),
            (None, None) if self.is_needed_by(client) => {
                let kind = if client.public { "public" } else { "confidential" };
                Err(invalid(&format!("code_challenge is required for {kind} clients")))
            }
            _ => Ok(None),
        }
    }

    /// Whether the verifier fits the challenge of the code. A code with a challenge always needs one; a verifier for a code
    /// without is refused, because somebody may have taken the challenge away (RFC 9700 2.1.1).
    pub(super) fn proved(self, verifier: Option<&str>, client: &Client, code: &Code) -> Result<(), Problem> {
        let refused = || Problem::new("invalid_grant", "The given grant is invalid".to_owned());
        match (&code.challenge, verifier) {
            (Some(_), None) => Err(Problem::new(
                "invalid_request",
                "code_verifier is required for PKCE authorization requests".to_owned(),
            )),
            (Some(_), Some(verifier)) if !(43..=128).contains(&verifier.len()) => Err(Problem::new(
                "invalid_request",
                "code_verifier must be between 43 and 128 characters".to_owned(),
            )),
            (Some(expected), Some(verifier)) => {
                let proved = is(challenge(verifier.as_bytes()).as_bytes(), &hash(expected.as_bytes()));
                if proved { Ok(()) } else { Err(refused()) }
            }
            (None, Some(_)) => Err(refused()),
            (None, None) if self.is_needed_by(client) => Err(refused()),
            (None, None) => Ok(()),
        }
    }
}
