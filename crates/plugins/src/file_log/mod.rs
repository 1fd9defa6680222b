#![doc = include_str!("doc.md")]

mod sink;

use std::sync::Arc;

use plugin::confidential::Confidential;
use plugin::journal::Journal;
use plugin::model::Map;
use plugin::model::schema::Value;
use plugin::sessions::{Session, SessionRecord};
use plugin::views::Log;
use plugin::{Build, BuildError, Phase, Phases, Plugin, Scopes, record, serialize};

use sink::FileSink;

record! {
    /// Writes a line of JSON for each request, or session of layer 4, into a file.
    pub struct Config {
        /// Path of the file. It is made where it is missing, and so is its folder.
        path: String, [custom_value(file_name)];
        /// Open the file again for each batch of lines, so that it may be moved away and a new one takes its place.
        reopen: bool = false;
        /// Further fields of the log line, each with the Lua code that computes it. This version runs no Lua, so
        /// none can be given.
        custom_fields_by_lua: Option<Map<String>>, [custom_value(no_lua)];
    }
}

fn file_name(path: &Value) -> Result<(), String> {
    let path = path.as_str().unwrap_or_default();
    if path.is_empty() || path.contains(['*', '&', '%', '`']) {
        return Err("not a valid filename".to_owned());
    }
    Ok(())
}

fn no_lua(fields: &Value) -> Result<(), String> {
    if fields.as_object().is_some_and(|fields| !fields.is_empty()) {
        return Err("this version does not run Lua: remove the custom fields".to_owned());
    }
    Ok(())
}

/// The room. See the module documentation.
pub struct FileLog {
    /// None while a configuration is only checked.
    journal: Option<Arc<Journal>>,
    confidential: Arc<Confidential>,
}

impl Plugin for FileLog {
    const NAME: &'static str = "file-log";
    const PRIORITY: i64 = 9;
    const RUNS: &'static [Phase] = &[Phase::Log, Phase::SessionLog];
    const STREAMS: &'static [&'static str] = &["tcp", "tls", "tls_passthrough", "udp"];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: false, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let confidential = cx.confidential().clone();
        if cx.services.dry_run {
            return Ok(Self { journal: None, confidential });
        }
        let key = format!("file-log:{}:{}", config.reopen, config.path);
        let journal = cx.services.journal(&key, || FileSink::open(&config.path, config.reopen));
        Ok(Self { journal: Some(journal), confidential })
    }
}

impl Phases for FileLog {
    fn log(&self, cx: &Log<'_>) {
        if let Some(journal) = &self.journal {
            journal.append(cx.worker.index, |out| {
                serialize::write(cx, self.confidential.names(), out);
                out.push(b'\n');
            });
        }
    }

    fn log_session(&self, session: &Session, record: &SessionRecord<'_>) {
        if let Some(journal) = &self.journal {
            journal.append(session.worker, |out| {
                serialize::write_session(session, record, out);
                out.push(b'\n');
            });
        }
    }
}

#[cfg(test)]
mod tests;
