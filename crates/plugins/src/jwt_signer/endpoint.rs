//! A server that is asked for keys, or about tokens.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use plugin::jose::to_base64url;
use plugin::outbound::{Call, Client, Settings, Url};
use plugin::remember::Digest;
use plugin::{Build, BuildError};

use super::config::Token;

/// Until there must be an answer, where the configuration does not say.
const USUAL_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Endpoint {
    client: Arc<Client>,
    url: Url,
    /// The value of `Authorization`.
    authorization: Option<String>,
    identity: String,
}

impl Endpoint {
    /// The server at `address`, which the field `short` names.
    pub(super) fn new(
        token: &Token,
        short: &str,
        address: &str,
        timeout: Option<Duration>,
        cx: &Build<'_>,
    ) -> Result<Self, BuildError> {
        let timeout = timeout.unwrap_or(USUAL_TIMEOUT);
        let verify = token.settings.endpoints_ssl_verify;
        let settings = Settings { verify, connect_timeout: timeout, timeout, ..Settings::default() };
        let client = Client::open(cx.services, settings);
        let url = client.url(cx.services, address);
        let url = url.map_err(|wrong| BuildError::new(token.field(short), wrong))?;
        let identity = format!("{address} {verify} {timeout:?}");
        Ok(Self { client, url, authorization: None, identity })
    }

    /// It wants this value of `Authorization`.
    pub(super) fn with_authorization(mut self, value: Option<&str>) -> Self {
        self.authorization = value.map(str::to_owned);
        let digest = Digest::of(value.iter().map(|value| value.as_bytes()));
        self.identity = format!("{} {}", self.identity, to_base64url(digest.as_ref()));
        self
    }

    /// It wants a username and a password (RFC 7617).
    pub(super) fn with_login(self, username: Option<&str>, password: Option<&str>) -> Self {
        let login = username.map(|username| {
            format!(
                "Basic {}",
                BASE64_STANDARD.encode(format!("{username}:{}", password.unwrap_or_default()))
            )
        });
        self.with_authorization(login.as_deref())
    }

    /// All that an answer depends on. Secrets are in it as digests.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// What is at the address.
    pub(super) async fn get(&self) -> Result<Vec<u8>, String> {
        self.send(Call::get()).await
    }

    /// What comes back for a form.
    pub(super) async fn post(&self, form: String) -> Result<Vec<u8>, String> {
        self.send(Call::post("application/x-www-form-urlencoded", form)).await
    }

    async fn send(&self, call: Call) -> Result<Vec<u8>, String> {
        let mut call = call.with("Accept", b"application/json");
        if let Some(value) = &self.authorization {
            call = call.with("Authorization", value.as_bytes());
        }
        let answer = self.client.send(&self.url, &call).await;
        let answer = answer.map_err(|fault| format!("{}: {fault}", self.url.told()))?;
        match answer.is_success() {
            true => Ok(answer.body.to_vec()),
            false => Err(format!("{} answers {}", self.url.told(), answer.status)),
        }
    }
}
