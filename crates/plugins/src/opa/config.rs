//! What can be set.

use std::collections::BTreeMap;

use plugin::model::Value;
use plugin::model::schema::Faults;
use plugin::record;

record! {
    /// How long decisions are remembered.
    pub struct Remembered {
        /// Seconds for which a request that may pass lets those like it pass. Nothing is remembered with 0.
        ttl: f64 = 0, [between(0, 86400)];
        /// Seconds for which a refusal holds for requests like the refused one. Nothing is remembered with 0.
        refusal_ttl: f64 = 0, [between(0, 86400)];
        /// What requests have in common for which one decision is enough: `input` (all that OPA is told), or `method`,
        /// `scheme`, `host`, `path`, `query`, `ip` (the client's address), `consumer`, `claims` (those of
        /// `include_claims_in_opa_input`), or `header:` and the name of one. Whatever the policy looks at must be among them,
        /// or it decides about requests that it has not seen. That is checked with `rego`.
        by: Vec<String> = ["input"], [len_min(1)];
    }
}

record! {
    /// Policies in Rego that are evaluated in the gateway. No OPA server is asked.
    pub struct Rego {
        /// A policy.
        policy: Option<String>, [len_min(1), len_max(1048576)];
        /// Files with policies, read when the configuration is loaded.
        files: Vec<String> = [], [len_max(64), each(len_min(1))];
        /// What policies find under `data`.
        data: Option<BTreeMap<String, Value>>;
        /// A JSON file with an object that policies find under `data`, too, read when the configuration is loaded.
        data_file: Option<String>, [len_min(1)];
        /// The language of the policies: `v1` (OPA 1.0 and later), or `v0`, where rules need neither `if` nor `contains`.
        version: String = "v1", [one_of(&["v1", "v0"])];
        /// Seconds that an evaluation may keep a processor busy. One that takes longer has no decision.
        timeout: f64 = 0.1, [between(0.001, 10)];
    }
    checks: [at_least_one_of(&["policy", "files"])]
}

record! {
    /// Lets policies of the Open Policy Agent decide about every request: at an OPA server, or in the gateway.
    pub struct Config {
        /// The protocol of the OPA server.
        opa_protocol: String = "http", [one_of(&["http", "https"])];
        /// Name or address of the OPA server.
        opa_host: String = "localhost";
        /// The port of the OPA server.
        opa_port: i64 = 8181, [between(0, 65535)];
        /// The path of the decision, as in `/v1/data/example/allow`. With `rego` it names the rule in the same way.
        opa_path: String, [required(), custom_value(check_path)];
        /// Whether policies are told the service, as `service`.
        include_service_in_opa_input: bool = false;
        /// Whether policies are told the route, as `route`.
        include_route_in_opa_input: bool = false;
        /// Whether policies are told the consumer, if there is one, as `consumer`.
        include_consumer_in_opa_input: bool = false;
        /// Whether policies are told the body, as the text `request.http.body`, and its length in bytes, as
        /// `request.http.body_size`.
        include_body_in_opa_input: bool = false;
        /// Whether policies are told what the body says, as `request.http.parsed_body`, if it is `application/json`. A body that
        /// is no JSON, or is nested more than 100 levels deep, is left out.
        include_parsed_json_body_in_opa_input: bool = false;
        /// Whether policies are told what the groups of the route's regular expression have captured, as
        /// `request.http.uri_captures`.
        include_uri_captures_in_opa_input: bool = false;
        /// Whether the certificate of an OPA server at `https` is checked.
        ssl_verify: bool = true;
        /// Policies to be evaluated in the gateway, in place of an OPA server.
        rego: Option<Rego>, [extension()];
        /// Claims of the caller's token, as an authentication plugin has verified it, that policies are told as `claims`.
        include_claims_in_opa_input: Vec<String> = [], [each(len_min(1)), extension()];
        /// Most bytes of a body that policies are told. A client with a larger one is answered 413.
        max_body_size: i64 = 65536, [between(0, 16777216), extension()];
        /// Seconds until the OPA server must have answered.
        timeout: f64 = 5, [between(0.001, 60), extension()];
        /// Whether requests pass while the OPA server does not answer. A decision that makes no sense never lets one pass.
        fail_open: bool = false, [extension()];
        /// What a client is told while there is no decision.
        status_on_error: i64 = 500, [between(400, 599), extension()];
        /// How long decisions are remembered.
        cache: Remembered, [extension()];
        /// A response header that tells the decision. For looking for mistakes: it tells callers about the policies.
        debug_header: Option<String>, [header_name(), extension()];
    }
    checks: [custom_fields(check_rego)]
}

fn check_path(path: &Value) -> Result<(), String> {
    let path = path.as_str().unwrap_or_default();
    match path.strip_prefix('/') {
        None => Err("should start with: /".to_owned()),
        Some(rest) if rest.contains("//") || rest.starts_with('/') => {
            Err("must not have empty segments".to_owned())
        }
        Some(_) => Ok(()),
    }
}

/// Checks that nothing is wanted that only an OPA server, or only the gateway itself, can do.
fn check_rego(config: &Value, faults: &mut Faults) {
    if config["rego"].is_null() {
        return;
    }
    if config["fail_open"] == true {
        faults.field("fail_open", "is for an OPA server that does not answer, and there is none with `rego`");
    }
}
