//! Decisions of an OPA server, asked by its REST API (`POST /v1/data/PATH` with an `input`).

use std::sync::Arc;
use std::time::Duration;

use plugin::outbound::{Answer, Call, Client, Settings, Url};
use plugin::{Build, BuildError};
use serde_json::Value;

use super::cache::Told;
use super::config::Config;
use super::decision::Decision;

/// Bytes of an answer at most.
const LARGEST_ANSWER: usize = 1 << 20;

/// Where decisions come from.
pub(super) struct Server {
    client: Arc<Client>,
    url: Url,
}

impl Server {
    pub(super) fn new(config: &Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let timeout = Duration::from_secs_f64(config.timeout);
        let bounds = Settings {
            verify: config.ssl_verify,
            connect_timeout: timeout,
            timeout,
            largest_answer: LARGEST_ANSWER,
            ..Settings::default()
        };
        let client = Client::open(cx.services, bounds);
        let url = client.url(cx.services, &url(config));
        let url = url.map_err(|wrong| BuildError::new("config.opa_host", wrong))?;
        Ok(Self { client, url })
    }

    /// What it tells of a request with this input.
    ///
    /// # Errors
    /// Why it gives no answer.
    pub(super) async fn ask(&self, input: &[u8]) -> Result<Told, String> {
        let question = [b"{\"input\":", input, b"}"].concat();
        let answer = self.client.send(&self.url, &Call::post("application/json", question)).await;
        let answer = answer.map_err(|fault| format!("{}: {fault}", self.url.told()))?;
        if answer.status >= 500 {
            return Err(format!("{}: answers {}", self.url.told(), answer.status));
        }
        Ok(read(&answer))
    }
}

fn read(answer: &Answer) -> Told {
    if answer.status != 200 {
        return Err(format!("the server answers {}", answer.status));
    }
    let answer: Value =
        serde_json::from_slice(&answer.body).map_err(|_| "the answer is no JSON".to_owned())?;
    // A server says nothing of a rule that has no value, or that it does not know.
    Decision::read(answer.get("result").ok_or("the rule has no value")?)
}

fn url(config: &Config) -> String {
    let Config { opa_protocol, opa_host, opa_port, opa_path, .. } = config;
    match opa_host.contains(':') && !opa_host.starts_with('[') {
        true => format!("{opa_protocol}://[{opa_host}]:{opa_port}{opa_path}"),
        false => format!("{opa_protocol}://{opa_host}:{opa_port}{opa_path}"),
    }
}
