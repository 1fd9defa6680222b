#![doc = include_str!("doc.md")]

mod origin;

use plugin::{
    Access, Build, BuildError, Exchange, Flow, HeaderFilter, Headers, Known, Method, Phase, Phases, Plugin,
    Scopes, media, record,
};

use origin::{Allowed, Origins};

#[cfg(test)]
mod tests;

const METHODS: &[&str] = &["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT"];

const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";
const ALLOW_HEADERS: &str = "Access-Control-Allow-Headers";
const ALLOW_METHODS: &str = "Access-Control-Allow-Methods";
const ALLOW_PRIVATE_NETWORK: &str = "Access-Control-Allow-Private-Network";
const EXPOSE_HEADERS: &str = "Access-Control-Expose-Headers";
const MAX_AGE: &str = "Access-Control-Max-Age";
const REQUEST_HEADERS: &str = "Access-Control-Request-Headers";
const REQUEST_PRIVATE_NETWORK: &str = "Access-Control-Request-Private-Network";

record! {
    /// Tells browsers which web pages may use the service.
    pub struct Config {
        /// Origins whose pages may use the service: `*` for any, an origin such as `https://example.com`, or a regular
        /// expression. An expression with a colon is matched against the whole origin, one without against its host
        /// only; both must match from end to end. Any origin may when the list is absent or empty.
        origins: Option<Vec<String>>, [each(custom_value(origin::check))];
        /// Request headers that pages may send. What the browser asks for when absent or empty.
        headers: Option<Vec<String>>;
        /// Response headers that pages may read, besides those every page may.
        exposed_headers: Option<Vec<String>>;
        /// Methods that pages may use.
        methods: Vec<String> = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT"],
            [each(one_of(METHODS))];
        /// Seconds for which a browser may remember the answer to a preflight.
        max_age: Option<f64>;
        /// Whether pages may send cookies and other credentials.
        credentials: bool = false;
        /// Whether pages of public networks may use the service in a private one.
        private_network: bool = false;
        /// Whether `Access-Control-Allow-Origin` is set on responses to requests without an `Origin`.
        allow_origin_absent: bool = true;
        /// Whether preflights go upstream instead of being answered here.
        preflight_continue: bool = false;
    }
}

/// The room, ready to run.
pub struct Cors {
    origins: Origins,
    headers: Option<String>,
    exposed: Option<String>,
    methods: String,
    max_age: Option<String>,
    credentials: bool,
    private_network: bool,
    allow_origin_absent: bool,
    preflight_continue: bool,
}

/// Marks a request whose response headers are not this room's to set.
struct Preflight;

impl Plugin for Cors {
    const NAME: &'static str = "cors";
    const PRIORITY: i64 = 2000;
    const RUNS: &'static [Phase] = &[Phase::Access, Phase::HeaderFilter];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn build(config: Config, _: &Build<'_>) -> Result<Self, BuildError> {
        let joined =
            |list: Option<Vec<String>>| list.filter(|list| !list.is_empty()).map(|list| list.join(","));
        let room = Self {
            origins: Origins::new(config.origins.as_deref().unwrap_or_default())?,
            headers: joined(config.headers),
            exposed: joined(config.exposed_headers),
            methods: config.methods.join(","),
            max_age: config.max_age.map(|seconds| seconds.to_string()),
            credentials: config.credentials,
            private_network: config.private_network,
            allow_origin_absent: config.allow_origin_absent,
            preflight_continue: config.preflight_continue,
        };
        for (field, value) in [("headers", &room.headers), ("exposed_headers", &room.exposed)] {
            if value.as_ref().is_some_and(|value| value.chars().any(char::is_control)) {
                return Err(BuildError::new(format!("config.{field}"), "control character in a header name"));
            }
        }
        Ok(room)
    }
}

impl Phases for Cors {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        if !is_preflight(cx) {
            return Flow::Next;
        }
        // An empty marker takes no memory.
        cx.remember(Preflight);
        if self.preflight_continue {
            return Flow::Next;
        }
        let mut headers = Headers::new();
        self.allow_preflight(&cx.request.headers, &mut headers);
        headers.iter().fold(cx.answer(200), |answer, (name, value)| answer.header(name, value)).empty()
    }

    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        if cx.state::<Preflight>().is_some() {
            return;
        }
        let (request, response) = cx.request_and_response();
        let origin = request.known(Known::Origin);
        if origin.is_none() && !self.allow_origin_absent {
            return;
        }
        self.allow_origin(origin, response);
        if let Some(exposed) = &self.exposed {
            response.set(EXPOSE_HEADERS, exposed.as_bytes());
        }
    }
}

impl Cors {
    /// What a browser that asks beforehand is told.
    fn allow_preflight(&self, request: &Headers, answer: &mut Headers) {
        self.allow_origin(request.known(Known::Origin), answer);
        let headers = self.headers.as_deref().map(str::as_bytes).or_else(|| request.get(REQUEST_HEADERS));
        if let Some(headers) = headers {
            answer.set(ALLOW_HEADERS, headers);
        }
        answer.set(ALLOW_METHODS, self.methods.as_bytes());
        if let Some(max_age) = &self.max_age {
            answer.set(MAX_AGE, max_age.as_bytes());
        }
        if self.private_network && request.get(REQUEST_PRIVATE_NETWORK) == Some(b"true") {
            answer.set(ALLOW_PRIVATE_NETWORK, b"true");
        }
    }

    fn allow_origin(&self, origin: Option<&[u8]>, response: &mut Headers) {
        if self.origins.depend_on_request() {
            vary_by_origin(response);
        }
        match (self.origins.allowed(origin), origin) {
            (Allowed::Any, Some(origin)) if self.credentials => {
                // Browsers ignore `*` on requests with credentials. The origin is named, so the response varies.
                vary_by_origin(response);
                response.set_known(Known::AccessControlAllowOrigin, origin);
                response.set(ALLOW_CREDENTIALS, b"true");
            }
            (Allowed::Any, _) => {
                response.set_known(Known::AccessControlAllowOrigin, b"*");
            }
            (Allowed::This(origin), _) => {
                response.set_known(Known::AccessControlAllowOrigin, origin);
                self.allow_credentials(response);
            }
            (Allowed::None, _) => {
                response.remove_known(Known::AccessControlAllowOrigin);
                self.allow_credentials(response);
            }
        }
    }

    fn allow_credentials(&self, response: &mut Headers) {
        if self.credentials {
            response.set(ALLOW_CREDENTIALS, b"true");
        }
    }
}

/// Says that the response depends on `Origin`, unless it says so already: the upstream's may, and one that a cache kept
/// when this room had been over it.
fn vary_by_origin(response: &mut Headers) {
    let says_so = |vary: &[u8]| media::has_token(vary, "origin") || media::has_token(vary, "*");
    if !response.known_all(Known::Vary).any(says_so) {
        response.append_known(Known::Vary, b"Origin");
    }
}

fn is_preflight(exchange: &Exchange) -> bool {
    let headers = &exchange.request.headers;
    exchange.request.method == Method::Options
        && headers.contains_known(Known::Origin)
        && headers.contains_known(Known::AccessControlRequestMethod)
}
