//! Tests of the router: Kong's cases, comparison with a plain reading of the rules, bounds on the work.

mod bounds;
mod cases;
mod oracle;
mod property;
mod regexes;
mod upstream_paths;

use std::sync::LazyLock;

use model::entity::Route;
use model::schema::read_field;
use model::serde_json::{Value, json};
use model::{Record, Uuid};
use plugin::exchange::Captures;
use wire::{Headers, Method};

use super::{Found, Lookup, Router};

static BASE: LazyLock<Route> = LazyLock::new(|| {
    Route::from_value(&json!({
        "id": Uuid::nil().to_string(), "created_at": 0, "updated_at": 0,
        "protocols": ["http", "https"], "https_redirect_status_code": 426, "strip_path": true,
        "preserve_host": false, "request_buffering": true, "response_buffering": true,
        "regex_priority": 0, "path_handling": "v0",
    }))
    .unwrap()
});

/// A route as the model would read it; `fields` are those the router looks at.
pub(super) fn route(id: u128, fields: &Value) -> Route {
    Route {
        id: Uuid::from_u128(id),
        methods: read_field(fields, "methods").unwrap(),
        hosts: read_field(fields, "hosts").unwrap(),
        paths: read_field(fields, "paths").unwrap(),
        headers: read_field(fields, "headers").unwrap(),
        snis: read_field(fields, "snis").unwrap(),
        regex_priority: read_field::<Option<i64>>(fields, "regex_priority").unwrap().unwrap_or_default(),
        ..BASE.clone()
    }
}

/// Routes numbered as they come; the id of each is larger than that of the one before.
pub(super) fn table(fields: &[Value]) -> Vec<Route> {
    (1..).zip(fields).map(|(id, fields)| route(id, fields)).collect()
}

pub(super) fn compile(routes: &[Route]) -> Router {
    Router::compile(routes.iter().enumerate()).unwrap()
}

/// A request that owns what it says.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub method: &'static str,
    pub host: Option<String>,
    pub listen_port: u16,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub https: bool,
    pub sni: Option<String>,
}

impl Request {
    /// A plain GET; an empty `host` stands for none.
    pub fn get(host: &str, path: &str) -> Request {
        Request {
            method: "GET",
            host: (!host.is_empty()).then(|| host.to_owned()),
            listen_port: 8000,
            path: path.to_owned(),
            headers: Vec::new(),
            https: false,
            sni: None,
        }
    }

    pub fn method(mut self, method: &'static str) -> Request {
        self.method = method;
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn tls(mut self, sni: &str) -> Request {
        self.https = true;
        self.sni = (!sni.is_empty()).then(|| sni.to_owned());
        self
    }

    /// Hands the request to `ask` in the form the router takes.
    pub fn with_lookup<T>(&self, ask: impl FnOnce(&Lookup<'_>) -> T) -> T {
        let mut headers = Headers::new();
        for (name, value) in &self.headers {
            assert!(headers.append(name, value.as_bytes()));
        }
        ask(&Lookup {
            method: &Method::from_bytes(self.method.as_bytes()).unwrap(),
            host: self.host.as_deref().map(str::as_bytes),
            listen_port: self.listen_port,
            path: self.path.as_bytes(),
            headers: &headers,
            https: self.https,
            sni: self.sni.as_deref(),
        })
    }

    pub fn find(&self, router: &Router, captures: &mut Captures) -> Option<Found> {
        self.with_lookup(|lookup| router.find(lookup, captures))
    }
}

/// The number of the route of a request.
pub(super) fn ordinal(router: &Router, request: &Request) -> Option<usize> {
    request.find(router, &mut Captures::default()).map(|found| found.ordinal)
}
