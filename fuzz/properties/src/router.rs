//! What routes are found by: any text as a path, a regular expression, a host or a header's value either becomes
//! part of a router or is told as a problem.

use engine::{DnsSettings, Gateway, Resolver};
use model::serde_json::{self, Value, json};
use model::{Catalog, Config};
use plugin::Services;
use plugin::clock::Clock;
use std::sync::{Arc, LazyLock};

/// Pieces of regular expressions and of paths.
pub const TOKENS: &[&[u8]] = &[
    b"/",
    b"~",
    b"~*",
    b"^",
    b"$",
    b".",
    b".*",
    b"+",
    b"?",
    b"(",
    b")",
    b"(?:",
    b"(?<a>",
    b"(?P<a>",
    b"(?i)",
    b"(?=",
    b"(?!",
    b"\\d",
    b"\\w+",
    b"\\1",
    b"\\",
    b"\\/",
    b"[",
    b"]",
    b"[^/]+",
    b"[a-",
    b"{1,3}",
    b"{1000}",
    b"|",
    b"%2f",
    b"%",
    b"#",
    b" ",
    b"*",
    b"*.",
    b":80",
    b"\xc3\xbc",
    b"\0",
    b"a",
];

struct Checker {
    catalog: Catalog,
    services: Arc<Services>,
    resolver: Arc<Resolver>,
}

static CHECKER: LazyLock<Checker> = LazyLock::new(|| Checker {
    catalog: plugins::catalog(),
    services: Services::new(1, Clock::default(), true),
    resolver: Resolver::start(DnsSettings::default()).expect("a thread can be started"),
});

/// Makes a router of one route. The first byte picks where the text stands.
pub fn run(bytes: &[u8]) {
    let Some((pick, text)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let route = match pick % 5 {
        0 => json!({"paths": [text]}),
        1 => json!({"paths": [format!("~{text}"), "/"]}),
        2 => json!({"hosts": [text]}),
        3 => json!({"headers": {"x": [format!("~*{text}")]}}),
        _ => json!({"paths": [format!("~/{text}"), format!("/{text}")], "hosts": ["a"], "methods": ["GET"]}),
    };
    // A service by its address: no name is looked up.
    let document = json!({
        "_format_version": "3.0",
        "services": [{"name": "s", "url": "http://192.0.2.1/", "routes": [route]}],
    });
    if let Some(config) = load(&document) {
        let honoured = Gateway::check(config, plugins::ROOMS, &CHECKER.services, &CHECKER.resolver);
        if let Err(problems) = honoured {
            assert!(problems.iter().all(|problem| !problem.message.is_empty()) && !problems.is_empty());
        }
    }
}

fn load(document: &Value) -> Option<Arc<Config>> {
    let text = serde_json::to_string(document).expect("a value can be printed");
    match model::declarative::load("fuzz.json", &text, &CHECKER.catalog) {
        Ok(config) => Some(Arc::new(config)),
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a word");
            None
        }
    }
}
