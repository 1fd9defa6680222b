//! Brings a configuration to a gateway that already runs, through its Admin API.

use crate::case::Step;
use crate::client::Connection;
use serde_json::Value;
use std::net::SocketAddr;

/// Replaces the configuration; an error is the reply.
pub(crate) fn load(admin: SocketAddr, config: &str) -> Result<(), String> {
    let step = Step {
        request: Some("POST /config".to_owned()),
        host: Some(admin.to_string()),
        headers: [("Content-Type".to_owned(), Value::from("text/yaml"))].into_iter().collect(),
        body: Some(config.to_owned()),
        ..Step::default()
    };
    let mut connection = Connection::open(admin, None).map_err(|error| format!("admin {admin}: {error}"))?;
    let exchange = connection.perform(&step);
    match exchange.replies.first() {
        Some(reply) if matches!(reply.message.status(), 200 | 201 | 304) => Ok(()),
        Some(reply) => Err(format!("POST /config: {}\n{}", reply.message.start_line, reply.message.text())),
        None => Err(format!("POST /config: {}", exchange.error.unwrap_or_default())),
    }
}
