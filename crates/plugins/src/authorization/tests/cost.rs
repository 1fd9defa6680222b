//! What a decision costs in memory: nothing in the usual cases.

use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Scopes};

use super::*;
use crate::authorization::config::Config;
use crate::authorization::facts::Facts;

/// The room, telling in place of its decision how often memory was asked for.
struct Measured(Authorization);

impl Plugin for Measured {
    const NAME: &'static str = "measured";
    const PRIORITY: i64 = 940;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::ALL;
    const DOC: &'static str = "";

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        Authorization::build(config, cx).map(Self)
    }
}

impl Phases for Measured {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let mut decision = None;
        let asked = allocation_counter::measure(|| {
            decision = Some(self.0.rules.decide(&Facts::new(cx, &self.0.rules)));
        });
        let name = decision.map(|decision| &self.0.rules.name_of(decision).allowed);
        cx.answer(200).message(format!("{} {}", name.unwrap(), asked.count_total))
    }
}

#[test]
fn five_hundred_rules_are_looked_at_without_memory() {
    let of_path = |number: usize| {
        serde_json::json!({"name": format!("path {number}"), "paths": [format!("/{number}/{{user}}/**")],
            "methods": ["GET"], "roles": [format!("role {number}"), "user"], "scopes": ["read"],
            "claims": {"department": ["finance"]},
            "when": "parameters.user == claims.sub && request.headers['x-tenant'] == 'acme' && \
                claims.list.exists(one, one == 3) && 'user' in roles && request.query.q.startsWith('a') && \
                cidr('127.0.0.0/8').containsIP(client.ip) && request.time.getHours('+01:00') == 1"})
    };
    let of_role = |number: usize| serde_json::json!({"name": format!("role {number}"), "roles": [format!("role {number}")]});
    let by_path: Vec<_> = (0..500).map(of_path).collect();
    let by_role: Vec<_> = (0..500).map(of_role).collect();
    let token = r#"{"sub":"u1","department":["hr","finance"],"scope":"write read","roles":["user","role 499"],"list":[1,2,3]}"#;
    for (rules, path, decisive) in
        [(by_path, "/250/u1/orders?q=abc", "allow: path 250 0"), (by_role, "/", "allow: role 499 0")]
    {
        let config = serde_json::json!({ "rules": rules });
        let document = format!(
            "{{_format_version: '3.0', plugins: [{{name: vouching, config: {{}}}}, {{name: measured, config: {config}}}]}}"
        );
        let rooms = [plugin::room::<Vouching>(), plugin::room::<Measured>()];
        let mut gateway = Harness::chain(&rooms, &document).unwrap();
        let outcome = gateway.send(&format!("GET {path} HTTP/1.1\nX-Tenant: acme\ntoken: {token}"));
        assert_eq!(outcome.message.as_deref(), Some(decisive));
    }
}
