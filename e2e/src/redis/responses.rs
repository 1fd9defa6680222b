//! What responses cost, counted by several gateways on one Redis.

use super::server::Server;
use super::{Client, Lab, eventually, expect};

/// Two gateways before one service whose responses cost two of twenty: the first lets ten through and not one more, and the
/// second knows as soon as Redis does. While Redis is away, requests pass.
pub(super) fn what_responses_cost(lab: &Lab) -> Result<(), String> {
    let mut redis = Server::start(lab.folder(), "")?;
    let costs = "{name: response-transformer, config: {add: {headers: ['X-Kong-Limit:unit=2']}}}";
    let service = lab.gateway(&[("spend", costs)], &[])?;
    let text = format!(
        "_format_version: \"3.0\"\nservices:\n- name: costly\n  url: http://{}\n  routes:\n  - {{name: spend, paths: \
         [/spend], strip_path: false}}\n  plugins:\n  - {{name: response-ratelimiting, config: {{limit_by: ip, limits: \
         {{unit: {{month: 20, year: 20}}}}, policy: redis, redis: {{host: 127.0.0.1, port: {}}}}}}}\nroutes:\n\
         - {{name: left, paths: [/left], plugins: [{{name: rate-limit-status, config: {{routes: [spend]}}}}]}}\n",
        service.addresses.proxy, redis.port
    );
    let one = lab.start("costly.yml", &text, &[])?;
    let other = lab.start("costly.yml", &text, &[])?;
    let statuses = Client::of(&one)?.statuses("spend", 15)?;
    expect("let through", statuses, [vec![200; 10], vec![429; 5]].concat())?;
    eventually(|| {
        let keys = redis.ask(&["KEYS", "ratelimit:*:year:*"])?;
        let key = keys.first().ok_or("nothing has been told")?;
        expect("told", redis.ask(&["GET", key])?, vec!["20".to_owned()])
    })?;
    let mut client = Client::of(&other)?;
    let left =
        String::from_utf8_lossy(&client.ask("left", "Accept: */*")?.body).matches("\"remaining\":0,").count();
    expect("the other one tells it before it has counted anything", left, 2)?;
    expect("the other one knows before it has counted anything", client.get("spend")?, 429)?;
    redis.kill();
    eventually(|| expect("away", client.statuses("spend", 20)?, vec![200; 20]))
}
