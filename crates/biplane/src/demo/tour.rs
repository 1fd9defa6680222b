//! The tour: ten commands to paste and what each of them shows.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// What the tour tells of.
pub struct Tour<'a> {
    /// Where clients connect.
    pub proxy: SocketAddr,
    /// Where the Admin API is.
    pub admin: SocketAddr,
    /// A valid token.
    pub token: String,
    /// Where requests are logged.
    pub log: &'a Path,
}

struct Step {
    title: &'static str,
    /// Begins with the status.
    answer: &'static str,
    command: String,
}

impl Tour<'_> {
    /// The whole text.
    pub fn text(&self) -> String {
        let Self { proxy, admin, log, .. } = self;
        let mut text = format!(
            "Biplane is serving http://{proxy} (Admin API http://{admin}) with users, orders and products behind it.\n\
             The configuration is examples/demo/kong.yml; requests are logged to {}\n\
             Ten commands to paste into another terminal:\n",
            log.display()
        );
        for (index, step) in self.steps().iter().enumerate() {
            let Step { title, answer, command } = step;
            write!(text, "\n{:2}. {title}\n    Answers {answer}\n    {command}\n", index + 1)
                .expect("writing to a string cannot fail");
        }
        text + "\nCtrl-C ends it.\n"
    }

    fn steps(&self) -> [Step; 10] {
        let proxy = format!("http://{}", self.proxy);
        let step = |title, answer, command| Step { title, answer, command };
        [
            step(
                "An open route. A request id (correlation-id) and the gateway's latencies are added.",
                "200 from the products service; X-Cache-Status says Miss the first time.",
                format!("curl -i {proxy}/products"),
            ),
            step(
                "The same again comes from memory (proxy-cache); the service is not asked.",
                "200 with X-Cache-Status: Hit and the Age of the answer.",
                format!("curl -i {proxy}/products"),
            ),
            step(
                "The users service wants a token (jwt).",
                "401, and nothing reaches the service.",
                format!("curl -i {proxy}/users/me"),
            ),
            step(
                "With alice's token, signed just now and valid for an hour.",
                "200; the service was told who is asking in X-Consumer-Username.",
                format!("curl -i -H 'Authorization: Bearer {}' {proxy}/users/me", self.token),
            ),
            step(
                "Bob has a key (key-auth) but is not in the group buyers (acl).",
                "403, for a known consumer who may not do this.",
                format!("curl -i -H 'apikey: bob-key' {proxy}/orders"),
            ),
            step(
                "Alice may order, three times a minute (rate-limiting). Seven requests:",
                "429 with Retry-After, once three were answered with 200.",
                format!("curl -s -o /dev/null -D - -H 'apikey: alice-key' '{proxy}/orders?try=[1-7]'"),
            ),
            step(
                "The products for another audience (request-transformer, response-transformer).",
                "200, sorted by price, with a currency added and the warehouse removed.",
                format!("curl -i {proxy}/catalog"),
            ),
            step(
                "A retired version (request-termination).",
                "410 and where to go instead.",
                format!("curl -i {proxy}/v1/products"),
            ),
            step(
                "What no route matches.",
                "404 with the id of the request.",
                format!("curl -i {proxy}/nothing"),
            ),
            step(
                "What happened so far, by route and consumer (prometheus).",
                "200 with kong_http_requests_total and many more.",
                format!("curl -s http://{}/metrics", self.admin),
            ),
        ]
    }
}
