//! A gateway before an upstream that writes everything down, for bytes that are not to be trusted, from either side.

use crate::client::Connection;
use crate::gateway::Gateway;
use crate::recorder::{Behaviour, Recorded, Recorder, echoed_line};
use crate::{Settings, Target};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a rig has beside or instead of what all have.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    /// More lines of the service's declaration.
    pub service: &'a str,
    /// More fields of the route's.
    pub route: &'a str,
    /// More arguments of the gateway.
    pub arguments: &'a [&'a str],
    /// Variables of its environment.
    pub variables: &'a [(&'a str, &'a str)],
}

/// The arguments of a gateway whose clients may speak HTTP/2.
pub(crate) const MODERN: &[&str] = &["--proxy-listen", "127.0.0.1:0 http2"];

/// A gateway with one worker, so that one pool holds every upstream connection, before a recorder.
pub(crate) struct Rig {
    gateway: Gateway,
    recorder: Recorder,
    folder: PathBuf,
}

impl Rig {
    /// Starts both. What goes to `/gate` is answered 403 by the gateway.
    pub fn start(
        settings: &Settings,
        behaviour: Arc<dyn Behaviour>,
        setup: &Setup<'_>,
    ) -> Result<Rig, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let Target::Binary(binary) = &settings.target else { return Err("needs a binary".to_owned()) };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = settings.scratch.join(format!("rig-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let recorder = Recorder::start(behaviour).map_err(|error| format!("upstream: {error}"))?;
        let config = format!(
            "_format_version: \"3.0\"\nservices:\n- name: recorder\n  url: http://{}\n  retries: 0\n{}  \
             routes:\n  - {{name: all, paths: [/], {}}}\n  - name: gate\n    paths: [/gate]\n    \
             plugins: [{{name: request-termination, config: {{status_code: 403}}}}]\n",
            recorder.address, setup.service, setup.route
        );
        let file = folder.join("kong.yml");
        std::fs::write(&file, config).map_err(|error| error.to_string())?;
        let arguments: Vec<String> =
            ["--workers", "1"].iter().chain(setup.arguments).map(|&text| text.to_owned()).collect();
        let variables: BTreeMap<String, String> =
            setup.variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let gateway = Gateway::start(binary, &file, &arguments, &variables)
            .map_err(|failed| format!("the gateway did not start:\n{}", failed.output))?;
        Ok(Rig { gateway, recorder, folder })
    }

    /// Where the gateway listens for clients.
    pub fn address(&self) -> SocketAddr {
        self.gateway.addresses.proxy
    }

    /// The gateway itself.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Opens a connection to the gateway.
    pub fn connect(&self) -> Result<Connection, String> {
        Connection::open(self.address(), None).map_err(|error| format!("connecting: {error}"))
    }

    /// Asks for `path` on a connection of its own: another's leftovers must not answer it.
    pub fn probe(&self, path: &str) -> Result<Vec<String>, String> {
        let mut connection = self.connect()?;
        Ok(probe(&mut connection, path))
    }

    /// Waits until `count` whole requests have reached the upstream, as far as they come at all.
    pub fn wait_for(&self, count: usize) {
        self.recorder.wait_for(count);
    }

    pub fn take(&self) -> (Vec<Recorded>, Vec<String>) {
        self.recorder.take()
    }

    /// Waits for a line of the gateway that holds `text`.
    pub fn wait_for_line(&self, text: &str) -> bool {
        self.gateway.wait_for_line(|line| line.contains(text))
    }

    /// Ends the gateway; tells what reached the upstream later than anybody looked.
    pub fn finish(self) -> Vec<String> {
        let recorder = self.recorder.clone();
        let mut problems = self.stop();
        let (late, faults) = recorder.finish();
        let whole = late.iter().filter(|one| one.whole);
        problems.extend(
            whole.map(|one| format!("a request reached the upstream late: {}", one.message.start_line)),
        );
        problems.extend(faults);
        problems
    }

    /// Ends the gateway; tells if it panicked.
    pub fn stop(self) -> Vec<String> {
        let output = self.gateway.output();
        drop(self.gateway);
        std::fs::remove_dir_all(&self.folder).ok();
        if output.contains("panicked") { vec![format!("the gateway wrote:\n{output}")] } else { Vec::new() }
    }
}

/// Asks for `path` and demands the answer to that.
pub(crate) fn probe(connection: &mut Connection, path: &str) -> Vec<String> {
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: probe\r\n\r\n").as_bytes());
    let wanted = format!("GET {path} HTTP/1.1");
    match connection.answer("GET") {
        Ok(Some(reply)) if echoed_line(&reply.message).as_deref() == Some(&wanted) => Vec::new(),
        Ok(Some(reply)) => {
            vec![format!("  ! {path} was answered {} {:?}", reply.message.start_line, reply.message.text())]
        }
        Ok(None) => vec![format!("  ! {path} was not answered: the connection is closed")],
        Err(error) => vec![format!("  ! {path} was not answered: {error}")],
    }
}

/// The problems that count: a case that is marked as one where the gateway deviates has to have some.
pub(crate) fn marked(deviates: Option<&str>, problems: Vec<String>) -> Vec<String> {
    match deviates {
        Some(reason) if problems.is_empty() => vec![format!("  ! as it should be, but marked: {reason}")],
        Some(_) => Vec::new(),
        None => problems,
    }
}

/// The corpus in the file at `path`.
pub(crate) fn read_corpus<Corpus: DeserializeOwned>(path: &Path) -> Result<Corpus, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let value: Value = serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// The bytes that a text of a corpus stands for: one a character, U+0000 to U+00FF.
pub(crate) fn latin1(text: &str) -> Result<Vec<u8>, String> {
    text.chars().map(|one| u8::try_from(one).map_err(|_| format!("{one:?} is more than a byte"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_only_while_the_gateway_deviates() {
        let problem = || vec!["  ! wrong".to_owned()];
        assert_eq!(marked(None, problem()), problem());
        assert_eq!(marked(Some("not yet done"), problem()), Vec::<String>::new());
        assert_eq!(marked(Some("not yet done"), Vec::new()).len(), 1);
        assert_eq!(marked(None, Vec::new()), Vec::<String>::new());
    }

    #[test]
    fn a_text_is_a_byte_a_character() {
        assert_eq!(latin1("a\0\u{ff}\r\n").unwrap(), b"a\0\xff\r\n");
        assert!(latin1("\u{100}").is_err());
    }
}
