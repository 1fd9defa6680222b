//! Where the targets of an upstream are listed, if not in the configuration.

use serde_json::Value;

use crate::schema::Faults;

crate::record! {
    /// Where further targets are listed; they come and go without a reload.
    pub struct Discovery {
        /// What lists them: `file`, a file of its own; `consul`, a service in Consul.
        source: String, [one_of(&["file", "consul"])];
        /// For `file`: the YAML or JSON file, a list of `{target, weight}`. It is read again when it changes.
        path: Option<String>, [len_min(1)];
        /// For `consul`: the service. Its instances whose checks pass are the targets.
        service: Option<String>, [len_min(1)];
        /// For `consul`: only instances with all of these tags.
        tags: Option<Vec<String>>, [each(len_min(1))];
        /// For `consul`: the datacentre; unset is that of the agent.
        datacenter: Option<String>, [len_min(1)];
        /// For `consul`: scheme, host and port of its HTTP API; unset is `http://127.0.0.1:8500`. Under `https` its
        /// certificate is checked by the authorities that the gateway trusts.
        address: Option<String>, [url()];
        /// For `consul`: the environment variable that holds the token. The token itself stands in no file.
        token_env: Option<String>, [matches("^[A-Za-z_][A-Za-z0-9_]*$")];
        /// For `consul`: seconds that a question may wait for a change; unset is 300.
        wait: Option<f64>, [between(1, 600)];
    }
    checks: [
        conditional("source", equals("file"), "path", required()),
        conditional("source", equals("consul"), "service", required()),
        custom_fields(of_its_source),
    ]
}

/// A field of another source would be without effect.
fn of_its_source(discovery: &Value, faults: &mut Faults) {
    let (others, source): (&[&str], _) = match discovery["source"].as_str() {
        Some("file") => (&["service", "tags", "datacenter", "address", "token_env", "wait"], "file"),
        _ => (&["path"], "consul"),
    };
    for field in others.iter().filter(|field| !discovery[**field].is_null()) {
        faults.field(*field, format!("has no effect with the source '{source}'"));
    }
}
