//! What is said to a server, and what its answers mean (the HTTP API of Vault: `auth/approle`, `auth/kubernetes`, `auth/token`,
//! `sys/wrapping`, `secret/kv`).

use std::path::Path;
use std::time::Duration;

use model::secret::Secret;
use plugin::outbound::{Answer, Call, Client};
use serde_json::{Value, json};

use super::account::{Account, Login, Place, Proof};

/// Longest text of a server that is repeated in a message.
const LONGEST_WORD: usize = 200;
/// Most bytes of a file that proves who the gateway is.
const LARGEST_PROOF: u64 = 64 << 10;

/// Why there is no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody answered.
    Silent(String),
    /// Who answered cannot say anything now: a standby, a sealed vault, one with too much to do.
    Unable(String),
    /// The token is not good enough.
    Denied(String),
    /// The server has answered, and another time it will say the same.
    Final(String),
}

impl Refusal {
    pub fn reason(&self) -> &str {
        let (Self::Silent(reason) | Self::Unable(reason) | Self::Denied(reason) | Self::Final(reason)) = self;
        reason
    }

    /// Whether it is about the server at the moment, and not about what was asked.
    pub fn will_pass(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::Unable(_))
    }
}

/// A token, and how long it holds.
pub struct Granted {
    pub token: Secret,
    /// Zero is for ever.
    pub lasts: Duration,
    pub is_renewable: bool,
}

/// Talks to the server of an account.
pub struct Dialogue<'a> {
    pub client: &'a Client,
    pub account: &'a Account,
}

impl Dialogue<'_> {
    /// The text of a secret: the JSON object that is stored.
    pub async fn read(&self, token: &Secret, place: &Place) -> Result<Secret, Refusal> {
        let answer = self.call(Call::get(), &place.path, Some(token)).await?;
        let data = if place.is_versioned { &answer["data"]["data"] } else { &answer["data"] };
        match data {
            Value::Object(_) => Ok(Secret::new(data.to_string())),
            _ => Err(Refusal::Final(format!("{} is no secret of an engine of this version", place.path))),
        }
    }

    /// A token, for what proves who the gateway is. The secret id is handed in where it has been unwrapped.
    pub async fn log_in(&self, secret_id: Option<&Secret>) -> Result<Granted, Refusal> {
        let (path, body) = match &self.account.login {
            Login::Token(token) => {
                return Ok(Granted { token: token.clone(), lasts: Duration::ZERO, is_renewable: false });
            }
            Login::AppRole { path, role, proof, .. } => {
                let own;
                let secret_id = match secret_id {
                    Some(secret_id) => secret_id,
                    None => {
                        own = proof.read()?;
                        &own
                    }
                };
                (path, json!({"role_id": role.reveal(), "secret_id": secret_id.reveal()}))
            }
            Login::Kubernetes { path, role, file } => {
                (path, json!({"role": role, "jwt": Proof::File(file.clone()).read()?.reveal()}))
            }
        };
        let answer = self.call(post(&body), &format!("auth/{path}/login"), None).await;
        let answer = answer.map_err(|refusal| match refusal {
            // Of whom there is no token yet, none can be bad.
            Refusal::Denied(reason) | Refusal::Final(reason) => {
                Refusal::Final(format!("the login was refused: {reason}"))
            }
            passing => passing,
        })?;
        granted(&answer).ok_or_else(|| Refusal::Final("the answer to the login holds no token".to_owned()))
    }

    /// Makes a token hold longer.
    pub async fn renew(&self, token: &Secret) -> Result<Granted, Refusal> {
        let answer = self.call(post(&json!({})), "auth/token/renew-self", Some(token)).await?;
        granted(&answer).ok_or_else(|| Refusal::Final("the answer to a renewal holds no token".to_owned()))
    }

    /// Whether a token still holds.
    pub async fn knows(&self, token: &Secret) -> bool {
        !matches!(
            self.call(Call::get(), "auth/token/lookup-self", Some(token)).await,
            Err(Refusal::Denied(_))
        )
    }

    /// The secret id in a wrapping; that can be asked for once.
    pub async fn unwrap(&self, wrapping: &Secret) -> Result<Secret, Refusal> {
        let answer = self.call(post(&json!({})), "sys/wrapping/unwrap", Some(wrapping)).await;
        let answer = answer.map_err(|refusal| match refusal {
            Refusal::Denied(reason) | Refusal::Final(reason) => Refusal::Final(format!(
                "the secret id could not be unwrapped, which can be done once and in its time: {reason}"
            )),
            passing => passing,
        })?;
        let secret_id = answer["data"]["secret_id"].as_str();
        secret_id
            .map(Secret::new)
            .ok_or_else(|| Refusal::Final("what was wrapped is no secret id".to_owned()))
    }

    async fn call(&self, call: Call, path: &str, token: Option<&Secret>) -> Result<Value, Refusal> {
        // Agents that stand between may demand it, as no browser can be made to send it.
        let mut call = call.with("X-Vault-Request", b"true");
        if let Some(namespace) = &self.account.namespace {
            call = call.with("X-Vault-Namespace", namespace.as_bytes());
        }
        if let Some(token) = token {
            call = call.with("X-Vault-Token", token.reveal().as_bytes());
        }
        let url = self.account.server.with_target(&format!("/v1/{path}"));
        let url = url.map_err(|wrong| Refusal::Final(format!("the path {path} {wrong}")))?;
        let answer = self.client.send(&url, &call).await;
        let answer = answer
            .map_err(|fault| Refusal::Silent(format!("{} gives no answer: {fault}", self.account.server)))?;
        understood(&answer, path, token)
    }
}

fn post(body: &Value) -> Call {
    // A login may use up what proves the gateway: it is not sent twice.
    Call { repeatable: false, ..Call::post("application/json", body.to_string()) }
}

/// What an answer means, by its status.
fn understood(answer: &Answer, path: &str, token: Option<&Secret>) -> Result<Value, Refusal> {
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let words = body.as_ref().map(|body| words(body, token)).unwrap_or_default();
    match answer.status {
        200 => body.ok_or_else(|| Refusal::Unable(format!("the answer about {path} is not JSON"))),
        204 => Ok(Value::Null),
        403 => Err(Refusal::Denied(format!("the vault denies {path}{words}"))),
        404 => Err(Refusal::Final(format!("the vault holds nothing at {path}{words}"))),
        status @ (300..400 | 429 | 472..) => Err(Refusal::Unable(format!(
            "the vault cannot say anything about {path}: status {status}{words}"
        ))),
        status => Err(Refusal::Final(format!("the vault refuses {path} with status {status}{words}"))),
    }
}

/// What the server says is wrong, in a line.
fn words(body: &Value, token: Option<&Secret>) -> String {
    let texts = ["errors", "warnings"].iter().filter_map(|member| body[*member].as_array()).flatten();
    let texts: Vec<&str> =
        texts.filter_map(Value::as_str).map(str::trim).filter(|text| !text.is_empty()).collect();
    let mut line: String = texts
        .join("; ")
        .chars()
        .map(|one| if one.is_control() { ' ' } else { one })
        .take(LONGEST_WORD)
        .collect();
    if let Some(token) = token {
        line = line.replace(token.reveal(), "(secret)");
    }
    if line.is_empty() { line } else { format!(": {line}") }
}

/// The token in an answer.
fn granted(answer: &Value) -> Option<Granted> {
    let auth = &answer["auth"];
    let token =
        auth["client_token"].as_str().filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()))?;
    Some(Granted {
        token: Secret::new(token),
        lasts: Duration::from_secs(auth["lease_duration"].as_u64().unwrap_or(0)),
        is_renewable: auth["renewable"] == true,
    })
}

impl Proof {
    /// What is proven with, as it is now.
    pub fn read(&self) -> Result<Secret, Refusal> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(file) => read_file(file).map_err(Refusal::Final),
        }
    }
}

fn read_file(path: &Path) -> Result<Secret, String> {
    use std::io::Read;
    let told = |reason: &dyn std::fmt::Display| format!("the file {} {reason}", path.display());
    let file = std::fs::File::open(path).map_err(|error| told(&format_args!("cannot be read: {error}")))?;
    let mut text = String::new();
    file.take(LARGEST_PROOF)
        .read_to_string(&mut text)
        .map_err(|error| told(&format_args!("cannot be read: {error}")))?;
    let text = text.trim();
    if text.is_empty() { Err(told(&"is empty")) } else { Ok(Secret::new(text)) }
}
