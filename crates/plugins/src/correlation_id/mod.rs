#![doc = include_str!("doc.md")]

use std::io::{Cursor, Write};
use std::sync::Arc;

use plugin::{
    Access, Build, BuildError, Exchange, Flow, HeaderFilter, Phase, Phases, Plugin, Scopes, record,
};
use uuid::Uuid;

#[cfg(test)]
mod tests;

/// Key of the id in log lines.
const LOG_FIELD: &str = "correlation_id";
/// Room for the longest id: a tracker with an IPv6 address.
const LONGEST: usize = 160;

record! {
    /// Gives every request an id that travels with it.
    pub struct Config {
        /// Name of the request header that carries the id. A value the client sent is kept.
        header_name: String = "Kong-Request-ID", [header_name()];
        /// How an id is made: `uuid` is a random UUID per request; `uuid#counter` is one UUID per worker followed by
        /// `#` and a running number; `tracker` is
        /// `<server address>-<port>-<process id>-<connection>-<request on the connection>-<seconds since 1970>`.
        generator: String = "uuid#counter", [one_of(&["uuid", "uuid#counter", "tracker"])];
        /// Whether the response carries the id too, in a header of the same name.
        echo_downstream: bool = false;
    }
}

/// The room, ready to run.
pub struct CorrelationId {
    header_name: String,
    generator: Generator,
    echo_downstream: bool,
}

enum Generator {
    Uuid,
    Counter(Arc<WorkerIds>),
    Tracker { process: u32 },
}

/// One UUID per worker, the same for all instances and over reloads.
struct WorkerIds(Box<[Uuid]>);

/// An id on the stack.
type Id = Cursor<[u8; LONGEST]>;

impl Plugin for CorrelationId {
    const NAME: &'static str = "correlation-id";
    const PRIORITY: i64 = 100_001;
    const RUNS: &'static [Phase] = &[Phase::Access, Phase::HeaderFilter];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: false, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let generator =
            match config.generator.as_str() {
                "uuid" => Generator::Uuid,
                "tracker" => Generator::Tracker { process: std::process::id() },
                _ => Generator::Counter(cx.services.keep(Self::NAME, || {
                    WorkerIds((0..cx.services.workers).map(|_| Uuid::new_v4()).collect())
                })),
            };
        Ok(Self { header_name: config.header_name, generator, echo_downstream: config.echo_downstream })
    }
}

impl Phases for CorrelationId {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        if cx.request.headers.get(&self.header_name).is_none_or(<[u8]>::is_empty) {
            let made = self.generate(cx);
            cx.headers().set(&self.header_name, text(&made));
        }
        if self.echo_downstream {
            cx.echo_request_field(&self.header_name);
        }
        cx.log_request_field(LOG_FIELD, &self.header_name);
        Flow::Next
    }

    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        // Where no route was found, `access` has not run.
        if self.echo_downstream && !cx.log_fields.contains(LOG_FIELD) {
            let made = self.generate(cx);
            let sent = cx.request.headers.get(&self.header_name).filter(|id| !id.is_empty());
            let id = sent.map_or_else(|| text(&made).to_vec(), <[u8]>::to_vec);
            cx.headers().set(&self.header_name, &id);
        }
    }
}

impl CorrelationId {
    fn generate(&self, exchange: &Exchange) -> Id {
        let mut id = Cursor::new([0; LONGEST]);
        let worker = &exchange.worker;
        let written = match &self.generator {
            Generator::Uuid => write_uuid(&mut id, worker.uuid()),
            Generator::Counter(ids) => write_uuid(&mut id, ids.0[worker.index % ids.0.len()])
                .and_then(|()| write!(id, "#{}", worker.count())),
            Generator::Tracker { process } => {
                let local = exchange.client.local;
                let now_ms = worker.services.clock.now_ms();
                let (connection, request) = (exchange.connection, exchange.requests);
                let (seconds, millis) = (now_ms / 1000, now_ms % 1000);
                let (address, port) = (local.ip(), local.port());
                write!(id, "{address}-{port}-{process}-{connection}-{request}-{seconds}.{millis:03}")
            }
        };
        debug_assert!(written.is_ok(), "every generator's longest id fits");
        id
    }
}

fn write_uuid(id: &mut Id, uuid: Uuid) -> std::io::Result<()> {
    let mut buffer = Uuid::encode_buffer();
    id.write_all(uuid.hyphenated().encode_lower(&mut buffer).as_bytes())
}

fn text(id: &Id) -> &[u8] {
    let written = usize::try_from(id.position()).unwrap_or(LONGEST).min(LONGEST);
    &id.get_ref()[..written]
}
