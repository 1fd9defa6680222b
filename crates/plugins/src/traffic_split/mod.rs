#![doc = include_str!("doc.md")]

use plugin::cohort::{self, Key};
use plugin::{
    Access, Build, BuildError, Detour, Flow, HeaderFilter, Phase, Phases, Plugin, Scheme, Scopes, record,
};

use rules::Rule;

mod rules;
#[cfg(test)]
mod tests;

record! {
    /// A service and its share of the traffic.
    pub struct Share {
        /// Name or id of the service; the one of the route if it is not given.
        service: Option<String>, [len_min(1)];
        /// Its share, as a part of the sum of all weights. 0 keeps it out, and in the list.
        weight: u32 = 1, [between(0, 1_000_000)];
    }
}

record! {
    /// Requests that go to one service whatever the weights say.
    pub struct Match {
        /// Where to look: at a `header`, a `cookie` or an argument of the `query`.
        on: String, [required(), one_of(&["header", "cookie", "query"])];
        /// Name of the header, cookie or argument.
        name: String, [required(), len_min(1)];
        /// The values that count; any if there are none.
        values: Vec<String> = [];
        /// Name or id of the service; the one of the route if it is not given.
        service: Option<String>, [len_min(1)];
    }
}

record! {
    /// Splits traffic among services by weight.
    pub struct Config {
        /// Requests that go to one service whatever the weights say. The first match counts.
        matches: Vec<Match> = [];
        /// The services among which all other requests are split. When weights change, as few clients as possible
        /// move; list the service that is to grow first.
        services: Vec<Share>, [required(), len_min(1)];
        /// What keeps a client with a service: its `consumer` (its address where there is none), its address (`ip`), a
        /// `header` or a `cookie` (the address where it is absent), or nothing (`none`: chance for each request).
        hash_on: String = "consumer", [one_of(&["none", "consumer", "ip", "header", "cookie"])];
        /// Name of the request header that `hash_on: header` goes by.
        hash_on_header: Option<String>, [header_name()];
        /// Name of the cookie that `hash_on: cookie` goes by. A client that has none is given one.
        hash_on_cookie: Option<String>, [matches("^[A-Za-z0-9_.-]+$")];
        /// Path that the cookie is for.
        hash_on_cookie_path: String = "/", [starts_with("/")];
        /// Seconds that clients keep the cookie; as long as they run if it is not given.
        cookie_max_age: Option<u32>;
        /// Keeps this split apart from others: with the same text, clients are spread in the same way.
        salt: String = "";
    }
}

/// The room, ready to run.
pub struct TrafficSplit {
    rules: Vec<Rule>,
    shares: Vec<Ready>,
    total: u64,
    key: Key,
    salt: Box<str>,
    cookie: Option<Cookie>,
}

/// A share, ready to run.
struct Ready {
    /// The first part after those of this share.
    end: u64,
    /// None for the route's own service.
    detour: Option<Detour>,
}

/// A cookie for the client, to be set beside those of the service.
#[derive(Default)]
struct SetCookie(Vec<u8>);

/// The cookie that keeps clients where they are.
struct Cookie {
    name: Box<str>,
    /// What follows its value, `Secure` apart.
    attributes: Box<str>,
}

impl Plugin for TrafficSplit {
    const NAME: &'static str = "traffic-split";
    const PRIORITY: i64 = 845;
    const RUNS: &'static [Phase] = &[Phase::Access, Phase::HeaderFilter];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: true, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let key = key(&config)?;
        let rules = config.matches.iter().enumerate();
        let rules = rules.map(|(number, rule)| Rule::new(number, rule, cx)).collect::<Result<_, _>>()?;
        let mut total = 0;
        let mut shares = Vec::new();
        for (number, share) in config.services.iter().enumerate() {
            total += u64::from(share.weight);
            let field = format!("config.services[{number}].service");
            shares.push(Ready { end: total, detour: detour(&field, share.service.as_deref(), cx)? });
        }
        if total == 0 {
            return Err(BuildError::new("config.services", "all weights are 0; give a service some"));
        }
        let cookie = config.hash_on_cookie.as_ref().filter(|_| config.hash_on == "cookie");
        let cookie = cookie.map(|name| Cookie::new(name, &config));
        Ok(Self { rules, shares, total, key, salt: config.salt.into(), cookie })
    }
}

/// The way to the service `reference`; none if it is the route's own.
fn detour(field: &str, reference: Option<&str>, cx: &Build<'_>) -> Result<Option<Detour>, BuildError> {
    reference.map(|reference| cx.detour_to_service(field, reference)).transpose()
}

fn key(config: &Config) -> Result<Key, BuildError> {
    let named = |field: &str, name: &Option<String>| {
        let name = name.as_deref().map(Box::from);
        let message = format!("hash_on: {} needs a name here", config.hash_on);
        name.ok_or_else(|| BuildError::new(format!("config.{field}"), message))
    };
    Ok(match config.hash_on.as_str() {
        "none" => Key::Nothing,
        "ip" => Key::Ip,
        "header" => Key::Header(named("hash_on_header", &config.hash_on_header)?),
        "cookie" => Key::Cookie(named("hash_on_cookie", &config.hash_on_cookie)?),
        _ => Key::Consumer,
    })
}

impl Phases for TrafficSplit {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let detour = match self.rules.iter().find(|rule| rule.is_fulfilled(cx)) {
            Some(rule) => rule.detour.as_ref(),
            None => self.share(cx),
        };
        if let Some(detour) = detour {
            cx.send_to(detour);
        }
        Flow::Next
    }

    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        if let Some(SetCookie(line)) = cx.state::<SetCookie>().map(std::mem::take) {
            cx.headers().append("Set-Cookie", &line);
        }
    }
}

impl TrafficSplit {
    /// The way for the client's share of the traffic. Gives the client a cookie if that is to keep it there.
    fn share(&self, cx: &mut Access<'_>) -> Option<&Detour> {
        let place = match &self.cookie {
            Some(cookie) if cohort::cookie(cx, &cookie.name).is_none() => {
                let value = cx.worker.hex_id();
                cookie.set(cx, &value);
                cohort::place(&self.salt, &value)
            }
            _ => self.key.place(cx, &self.salt),
        };
        let part = cohort::part(place, self.total);
        let share = self.shares.partition_point(|share| share.end <= part);
        self.shares.get(share)?.detour.as_ref()
    }
}

impl Cookie {
    fn new(name: &str, config: &Config) -> Self {
        let path = &config.hash_on_cookie_path;
        let mut attributes = format!("; Path={path}; HttpOnly; SameSite=Lax");
        if let Some(seconds) = config.cookie_max_age {
            attributes.push_str(&format!("; Max-Age={seconds}"));
        }
        Self { name: name.into(), attributes: attributes.into() }
    }

    fn set(&self, cx: &mut Access<'_>, value: &[u8]) {
        let mut line = Vec::with_capacity(self.name.len() + self.attributes.len() + 48);
        line.extend_from_slice(self.name.as_bytes());
        line.push(b'=');
        line.extend_from_slice(value);
        line.extend_from_slice(self.attributes.as_bytes());
        if cx.scheme == Scheme::Https {
            line.extend_from_slice(b"; Secure");
        }
        cx.remember(SetCookie(line));
    }
}
