//! A server that is asked for keys, or about tokens.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use plugin::jose::to_base64url;
use plugin::outbound::{Call, Client, OwnCertificate, Settings, Url};
use plugin::remember::Digest;
use plugin::{Build, BuildError};

use super::config::{ClientCertificate, Token};

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
    /// The server at `address`, which the field `short` names. It is shown `certificate`, which another field names.
    pub(super) fn new(
        token: &Token,
        (short, address): (&str, &str),
        certificate: Option<OwnCertificate>,
        timeout: Option<Duration>,
        cx: &Build<'_>,
    ) -> Result<Self, BuildError> {
        let timeout = timeout.unwrap_or(USUAL_TIMEOUT);
        let verify = token.settings.endpoints_ssl_verify;
        let identity = format!("{address} {verify} {timeout:?} {certificate:?}");
        let settings =
            Settings { verify, certificate, connect_timeout: timeout, timeout, ..Settings::default() };
        let client = Client::open(cx.services, settings);
        let url = client.url(cx.services, address);
        let url = url.map_err(|wrong| BuildError::new(token.field(short), wrong))?;
        Ok(Self { client, url, authorization: None, identity })
    }

    /// The certificate that the field `short` names for the server at `address`, if it names one.
    pub(super) fn certificate(
        token: &Token,
        short: &str,
        given: &ClientCertificate,
        address: Option<&str>,
        cx: &Build<'_>,
    ) -> Result<Option<OwnCertificate>, BuildError> {
        let Some(id) = given.id.as_deref().filter(|id| !id.is_empty()) else { return Ok(None) };
        let field = token.field(short);
        if !address.is_some_and(|address| address.starts_with("https://")) {
            let message = "is only shown to a server whose address begins with https://, and none is given";
            return Err(BuildError::new(field, message));
        }
        OwnCertificate::named(cx, &format!("{field}.id"), id).map(Some)
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
