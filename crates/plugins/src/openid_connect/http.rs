//! Calls to the provider.

use std::sync::Arc;
use std::time::Duration;

use plugin::outbound::{Answer, Call, Client, OwnCertificate, Settings};
pub(super) use plugin::query::{encode, form_of};
use plugin::{Build, BuildError, Headers, Services};
use serde_json::Value;

use super::config;

/// An address of the provider.
pub(super) use plugin::outbound::Url as Address;

/// Names with their values.
pub(super) type Pairs = Vec<(String, String)>;

/// Most bytes of a document of the provider.
const LARGEST_ANSWER: usize = 1 << 20;

/// What a provider answers.
pub(super) struct Given {
    pub(super) status: u16,
    /// The JSON, if there is any.
    pub(super) content: Value,
    pub(super) headers: Headers,
}

/// Speaks with the provider.
pub(super) struct Http {
    client: Arc<Client>,
}

impl Http {
    /// `certificate` is what the gateway shows, `verify` whether the provider's is checked.
    pub(super) fn new(
        config: &config::Provider,
        certificate: Option<OwnCertificate>,
        verify: bool,
        services: &Services,
    ) -> Result<Self, BuildError> {
        let timeout = Duration::from_millis((config.timeout as u64).max(1));
        let defaults = Settings::default();
        let settings = Settings {
            verify,
            certificate,
            connect_timeout: defaults.connect_timeout.min(timeout),
            timeout,
            largest_answer: LARGEST_ANSWER,
            longest_idle: if config.keepalive { defaults.longest_idle } else { Duration::ZERO },
            proxies: config.proxies.proxies("config.")?,
            is_old: config::is_old(config.http_version),
            ..defaults
        };
        Ok(Self { client: Client::open(services, settings) })
    }

    /// An address that the field `field` of the configuration names.
    pub(super) fn address(&self, cx: &Build<'_>, field: &str, text: &str) -> Result<Address, BuildError> {
        self.client
            .url(cx.services, text)
            .map_err(|message| BuildError::new(format!("config.{field}"), message))
    }

    /// The document at `address`.
    pub(super) async fn get(&self, address: &Address, headers: &Pairs) -> Result<Vec<u8>, String> {
        self.send(address, with_headers(Call::get(), headers)).await
    }

    /// The JSON document at `address`.
    pub(super) async fn json(&self, address: &Address, headers: &Pairs) -> Result<Value, String> {
        let text = self.get(address, headers).await?;
        serde_json::from_slice(&text).map_err(|error| format!("no JSON at {}: {error}", address.told()))
    }

    /// What comes back for a form.
    pub(super) async fn post(
        &self,
        address: &Address,
        form: &Pairs,
        headers: &Pairs,
    ) -> Result<Vec<u8>, String> {
        let call = Call::post("application/x-www-form-urlencoded", form_of(form));
        self.send(address, with_headers(call, headers)).await
    }

    /// What comes back for a form that must not be sent twice, whatever the status.
    pub(super) async fn post_once(
        &self,
        address: &Address,
        form: &Pairs,
        headers: &Pairs,
    ) -> Result<Given, String> {
        let call = Call::post("application/x-www-form-urlencoded", form_of(form));
        let call =
            with_headers(Call { repeatable: false, ..call }, headers).with("Accept", b"application/json");
        let answer = self.client.send(address, &call).await.map_err(|fault| fault.to_string())?;
        let content = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok(Given { status: answer.status, content, headers: answer.headers })
    }

    /// What comes back for a question, with a token if there is one, whatever the status: that, and the text.
    pub(super) async fn get_with(
        &self,
        address: &Address,
        token: Option<&str>,
        headers: &Pairs,
    ) -> Result<(u16, Vec<u8>), String> {
        let call = with_headers(Call::get(), headers);
        let call = match token {
            Some(token) => call.with("Authorization", format!("Bearer {token}").as_bytes()),
            None => call,
        };
        let answer = self.client.send(address, &call).await.map_err(|fault| fault.to_string())?;
        Ok((answer.status, answer.body.to_vec()))
    }

    async fn send(&self, address: &Address, call: Call) -> Result<Vec<u8>, String> {
        let answer: Answer = self.client.send(address, &call).await.map_err(|fault| fault.to_string())?;
        match answer.is_success() {
            true => Ok(answer.body.to_vec()),
            false => Err(format!("{} answers {}", address.told(), answer.status)),
        }
    }
}

fn with_headers(call: Call, headers: &Pairs) -> Call {
    headers.iter().fold(call, |call, (name, value)| call.with(name, value.as_bytes()))
}

/// An address for browsers, which the gateway itself does not ask, in the field `field` of the configuration.
pub(super) fn for_browsers(field: &str, text: &str) -> Result<Address, BuildError> {
    Address::parse(text).map_err(|message| BuildError::new(format!("config.{field}"), message))
}

/// The host of an address, or all of a text that is none.
pub(super) fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    match authority.find(']') {
        // Between brackets, colons are a part of it (RFC 3986 3.2.2).
        Some(end) if authority.starts_with('[') => &authority[..=end],
        _ => authority.split(':').next().unwrap_or(authority),
    }
}
