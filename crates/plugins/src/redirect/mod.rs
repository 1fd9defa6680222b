#![doc = include_str!("doc.md")]

use plugin::{Access, Build, BuildError, Exchange, Flow, Phase, Phases, Plugin, Scopes, record};

#[cfg(test)]
mod tests;

record! {
    /// Sends clients to another address.
    pub struct Config {
        /// Status code of the answer.
        status_code: u16 = 301, [between(100, 599)];
        /// Where clients are sent, as an absolute URL.
        location: String, [url()];
        /// Whether clients keep the path and the query they asked for, in place of those of `location`.
        keep_incoming_path: bool = false;
    }
}

/// The room, ready to run.
pub struct Redirect {
    status: u16,
    target: Target,
}

/// Where clients are sent.
enum Target {
    /// To one address, whatever they asked for.
    Fixed(String),
    /// To the path and the query they asked for, between these two.
    Moved { origin: String, fragment: String },
}

impl Plugin for Redirect {
    const NAME: &'static str = "redirect";
    const PRIORITY: i64 = 779;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::ALL;
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn build(config: Config, _: &Build<'_>) -> Result<Self, BuildError> {
        let status = config.status_code;
        if status < 200 {
            let message = format!("status {status} is informational: an answer needs one from 200 to 599");
            return Err(BuildError::new("config.status_code", message));
        }
        let location = config.location;
        if let Some(unfit) = location.bytes().find(|byte| !byte.is_ascii_graphic()) {
            let message = format!("byte {unfit:#04x} cannot stand in a URL: percent-encode it");
            return Err(BuildError::new("config.location", message));
        }
        let target = if config.keep_incoming_path { moved(&location) } else { Target::Fixed(location) };
        Ok(Self { status, target })
    }
}

/// Takes path and query out of `location`.
fn moved(location: &str) -> Target {
    let authority = location.find("://").map_or(0, |scheme| scheme + 3);
    let end = location[authority..].find(['/', '?', '#']).map_or(location.len(), |end| authority + end);
    let fragment = location.find('#').map_or("", |fragment| &location[fragment..]);
    Target::Moved { origin: location[..end].to_owned(), fragment: fragment.to_owned() }
}

impl Phases for Redirect {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let moved;
        let location = match &self.target {
            Target::Fixed(location) => location.as_bytes(),
            Target::Moved { origin, fragment } => {
                moved = location(origin, cx, fragment);
                &moved
            }
        };
        cx.answer(self.status).header("Location", location).bytes("text/plain", "redirecting")
    }
}

fn location(origin: &str, exchange: &Exchange, fragment: &str) -> Vec<u8> {
    let path = exchange.request.path();
    let mut location = origin.as_bytes().to_vec();
    if !path.starts_with(b"/") {
        // The `*` of OPTIONS must not become a part of the host.
        location.push(b'/');
    }
    location.extend_from_slice(path);
    if let Some(query) = exchange.request.query().filter(|query| !query.is_empty()) {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    location.extend_from_slice(fragment.as_bytes());
    location
}
