//! Logins under way, in a cookie that nobody else can make or read, so that a login can only end in the browser that
//! began it.

use aws_lc_rs::digest::{SHA256, digest};
use plugin::jose::to_base64url;
use plugin::web_session::cookie::Cookie;
use plugin::web_session::{Sealer, random};
use plugin::{Build, BuildError, Exchange, Headers, Scheme};
use serde_json::{Value, json};

use super::super::config::Config;

/// Logins that a browser may have under way at a time, in several tabs: the oldest gives way.
const MOST: usize = 4;
/// Longest address that a login brings back to, in bytes. Who comes from a longer one comes back to the root.
const LONGEST_TARGET: usize = 2048;
/// What cookies are sealed for.
const PURPOSE: &str = "openid-connect login";

/// A login under way.
#[derive(Clone)]
pub(in super::super) struct Pending {
    /// What the provider's answer is recognized by (RFC 6749 10.12).
    pub(super) state: String,
    /// What the ID token is recognized by (OpenID Connect Core 15.5.2).
    pub(super) nonce: String,
    /// What only the holder of this cookie knows (RFC 7636).
    pub(super) verifier: String,
    /// Where the provider sends the browser.
    pub(super) redirect_uri: String,
    /// Path and query of what was asked for.
    pub(super) target: String,
    /// Seconds since 1970.
    pub(super) begun_s: u64,
}

/// The cookies.
pub(super) struct PendingLogins {
    sealer: Sealer,
    /// For whom they are sealed.
    context: Vec<u8>,
    cleartext: Cookie,
    tls: Cookie,
    timeout_s: u64,
}

impl Pending {
    /// A login that begins with this request; none if there are no random numbers.
    pub(super) fn new(exchange: &Exchange, redirect_uri: String) -> Option<Self> {
        let text = || random::<32>().map(|bytes| to_base64url(&bytes));
        Some(Self {
            state: text()?,
            nonce: text()?,
            verifier: text()?,
            redirect_uri,
            target: target(exchange),
            begun_s: exchange.record.started_ms / 1_000,
        })
    }

    /// What the provider is told of the verifier (RFC 7636 4.2).
    pub(super) fn challenge(&self) -> String {
        to_base64url(digest(&SHA256, self.verifier.as_bytes()).as_ref())
    }

    fn to_json(&self) -> Value {
        json!([self.state, self.nonce, self.verifier, self.redirect_uri, self.target, self.begun_s])
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |index: usize| value[index].as_str().map(str::to_owned);
        Some(Self {
            state: text(0)?,
            nonce: text(1)?,
            verifier: text(2)?,
            redirect_uri: text(3)?,
            target: text(4)?,
            begun_s: value[5].as_u64()?,
        })
    }
}

impl PendingLogins {
    /// `owner` stands for the provider and the client: a login at one is none at another.
    pub(super) fn new(config: &Config, owner: &str, cx: &Build<'_>) -> Result<Self, BuildError> {
        let cookie = |over_tls: bool| {
            Cookie::new(&config.login.cookie(over_tls)).map_err(|(field, problem)| {
                BuildError::new(format!("config.authorization_cookie_{field}"), problem)
            })
        };
        let secret = config.sessions.session_secret.as_deref().filter(|secret| !secret.is_empty());
        let sealer = match secret {
            Some(secret) => Sealer::new(secret.as_bytes(), PURPOSE),
            None => Sealer::of_process(cx.services, PURPOSE)
                .map_err(|problem| BuildError::new("config.session_secret", problem))?,
        };
        Ok(Self {
            sealer,
            context: owner.as_bytes().to_vec(),
            cleartext: cookie(false)?,
            tls: cookie(true)?,
            timeout_s: (config.login.authorization_rolling_timeout as u64).max(1),
        })
    }

    /// Seconds that a login may take.
    pub(super) fn timeout_s(&self) -> u64 {
        self.timeout_s
    }

    /// Whether the browser seems to have a login under way.
    pub(super) fn are_there(&self, exchange: &Exchange) -> bool {
        self.tls.read(&exchange.request.headers).is_some()
    }

    /// The login that `state` belongs to, and the cookies that make the browser forget it; none if this browser has not
    /// begun it, or too long ago.
    pub(super) fn take(&self, exchange: &Exchange, state: &[u8]) -> Option<(Pending, Headers)> {
        let mut pending = self.read(exchange);
        let place = pending.iter().position(|pending| pending.state.as_bytes() == state)?;
        let found = pending.remove(place);
        let mut lines = Headers::new();
        self.write(exchange, &pending, &mut lines);
        Some((found, lines))
    }

    /// Adds a login to those of the browser, in `lines`. False if there are no random numbers.
    pub(super) fn add(&self, exchange: &Exchange, new: &Pending, lines: &mut Headers) -> bool {
        let mut pending = self.read(exchange);
        pending.push(new.clone());
        let first = pending.len().saturating_sub(MOST);
        self.write(exchange, &pending[first..], lines)
    }

    /// Takes the cookies out of the request.
    pub(super) fn hide(&self, request: &mut Headers) {
        self.tls.hide(request);
    }

    fn read(&self, exchange: &Exchange) -> Vec<Pending> {
        let opened = || {
            let text = self.tls.read(&exchange.request.headers)?;
            let plain = self.sealer.open(&self.context, &text)?;
            serde_json::from_slice::<Vec<Value>>(&plain).ok()
        };
        let now_s = exchange.record.started_ms / 1_000;
        let lasts = |pending: &Pending| now_s <= pending.begun_s.saturating_add(self.timeout_s);
        let known = opened().unwrap_or_default();
        known.iter().filter_map(Pending::from_json).filter(lasts).collect()
    }

    fn write(&self, exchange: &Exchange, pending: &[Pending], lines: &mut Headers) -> bool {
        let cookie = if exchange.scheme == Scheme::Https { &self.tls } else { &self.cleartext };
        let present = cookie.present(&exchange.request.headers);
        if pending.is_empty() {
            cookie.withdraw(present, lines);
            return true;
        }
        let plain = Value::Array(pending.iter().map(Pending::to_json).collect()).to_string();
        let text = self.sealer.seal(&self.context, plain.as_bytes());
        text.is_some_and(|text| cookie.write(present, &text, Some(self.timeout_s), lines))
    }
}

/// Path and query of what was asked for, as a reference that cannot lead away from the gateway (RFC 3986 4.2): it begins
/// with one slash, and has nothing in it that browsers take for another one or leave out.
fn target(exchange: &Exchange) -> String {
    let target = exchange.request.target();
    if target.len() > LONGEST_TARGET {
        return "/".to_owned();
    }
    let path = exchange.request.path();
    let mut text = String::from("/");
    append(&mut text, trim_slashes(path));
    if let Some(query) = exchange.request.query() {
        text.push('?');
        append(&mut text, query);
    }
    text
}

fn trim_slashes(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|byte| !matches!(byte, b'/' | b'\\')).unwrap_or(path.len());
    &path[start..]
}

fn append(text: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'\\' | b'#' | b'"' | b'<' | b'>' | b' ' | 0..=31 | 127..=255 => {
                text.push_str(&format!("%{byte:02X}"));
            }
            _ => text.push(char::from(byte)),
        }
    }
}
