//! The plugins of the lab. One of them does what plugins should not, when a request asks for it.

use plugin::identity::OwnFields;
use plugin::sessions::{Admission, Session, SessionRecord};
use plugin::{
    Access, BodyFilter, BodyMode, Build, BuildError, Flow, HeaderFilter, Log, Phase, Phases, Plugin,
};
use plugin::{Definition, Detour, Scopes, record, room};

/// The plugins of the lab.
pub const ROOMS: &[&dyn Definition] = &[
    room::<Trouble>(),
    room::<Witness>(),
    room::<Reader>(),
    room::<Sender>(),
    room::<plugins::concurrency_limit::ConcurrencyLimit>(),
    room::<plugins::mirror::Mirror>(),
    room::<plugins::request_termination::RequestTermination>(),
    room::<plugins::circuit_breaker::CircuitBreaker>(),
    room::<plugins::upstream_retry::UpstreamRetry>(),
    room::<plugins::tls_handshake_modifier::TlsHandshakeModifier>(),
    room::<plugins::mtls_auth::MtlsAuth>(),
];

/// The fields of `document` with the plugin on every request.
pub fn troubled(document: &str) -> String {
    format!("{document}\nplugins:\n- name: trouble\n")
}

record! {
    /// Panics, or waits for ever.
    pub struct Config {
        /// The request header that says where.
        header: String = "X-Trouble";
    }
}

pub struct Trouble {
    header: String,
}

impl Plugin for Trouble {
    const NAME: &'static str = "trouble";
    const PRIORITY: i64 = 1000;
    const RUNS: &'static [Phase] = &[
        Phase::Access,
        Phase::HeaderFilter,
        Phase::BodyFilter,
        Phase::Log,
        Phase::Session,
        Phase::SessionLog,
    ];
    const STREAMS: &'static [&'static str] = &["tcp"];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: true, route: true, service: true };
    const DOC: &'static str = "";

    type Config = Config;

    fn build(config: Config, _: &Build<'_>) -> Result<Self, BuildError> {
        Ok(Self { header: config.header })
    }
}

impl Trouble {
    fn has(&self, exchange: &plugin::Exchange, place: &str) -> bool {
        exchange.request.headers.get(&self.header).is_some_and(|value| value == place.as_bytes())
    }

    fn at(&self, exchange: &plugin::Exchange, place: &str) {
        assert!(!self.has(exchange, place), "trouble in {place}");
    }
}

impl Phases for Trouble {
    fn admit(&self, _: &Session) -> Admission {
        assert!(self.header != "admit", "trouble in admit");
        Admission::Pass
    }

    fn log_session(&self, _: &Session, _: &SessionRecord<'_>) {
        assert!(self.header != "log_session", "trouble in log_session");
    }

    fn access(&self, cx: &mut Access<'_>) -> Flow {
        self.at(cx, "access");
        if self.has(cx, "wait") {
            return Flow::wait(std::future::pending());
        }
        if self.has(cx, "after a wait") {
            return Flow::wait(async {
                tokio::task::yield_now().await;
                panic!("trouble after a wait");
            });
        }
        Flow::Next
    }

    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        self.at(cx, "header_filter");
        if self.has(cx, "body_filter") {
            cx.want_body(BodyMode::Observe);
        }
        if self.has(cx, "whole body") {
            cx.want_body(BodyMode::Whole);
        }
        if self.has(cx, "withhold") {
            cx.want_body(BodyMode::Observe);
            cx.withhold(429);
        }
    }

    fn body_filter(&self, cx: &mut BodyFilter<'_>) {
        assert!(cx.piece() != b"bad", "trouble in body_filter");
    }

    fn log(&self, cx: &Log<'_>) {
        self.at(cx, "log");
    }
}

record! {
    /// Tells what it sees of the client.
    pub struct WitnessConfig {}
}

/// Tells in `X-Client-Verify` and `X-Client-Chain` what has become of a client's certificate.
pub struct Witness;

impl Plugin for Witness {
    const NAME: &'static str = "witness";
    const PRIORITY: i64 = 999;
    const RUNS: &'static [Phase] = &[Phase::HeaderFilter];
    const SCOPES: Scopes = Scopes { consumer: false, consumer_group: false, route: true, service: true };
    const DOC: &'static str = "";

    type Config = WitnessConfig;

    fn build(_: WitnessConfig, _: &Build<'_>) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

impl Phases for Witness {
    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        let Some(tls) = cx.client.tls.clone() else { return };
        let (word, reason) = tls.client_verify();
        let chain = tls.certificate.as_ref().map_or(0, |certificate| certificate.chain.len());
        cx.headers().set("X-Client-Verify", [word, reason].concat().as_bytes());
        cx.headers().set("X-Client-Chain", chain.to_string().as_bytes());
    }
}

record! {
    /// Whether bodies are read.
    pub struct ReaderConfig {
        /// Whether they are.
        read_body: bool = true;
    }
}

/// Finds out who calls by a look at all of the body, and may tell it in `X-Own`.
pub struct Reader {
    reads: bool,
    tells: OwnFields,
}

impl Plugin for Reader {
    const NAME: &'static str = "reader";
    const PRIORITY: i64 = 998;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: false, consumer_group: false, route: true, service: true };
    const DOC: &'static str = "";
    const AUTHENTICATES: bool = true;

    type Config = ReaderConfig;

    fn build(config: ReaderConfig, _: &Build<'_>) -> Result<Self, BuildError> {
        Ok(Self { reads: config.read_body, tells: OwnFields::new(["X-Own"]) })
    }
}

impl Phases for Reader {
    fn tells(&self) -> Option<&OwnFields> {
        Some(&self.tells)
    }

    fn access(&self, cx: &mut Access<'_>) -> Flow {
        if self.reads && cx.body().is_none() { Flow::ReadBody } else { Flow::Next }
    }
}

record! {
    /// Where requests are sent.
    pub struct SenderConfig {
        /// A service.
        service: Option<String>;
        /// A host or an upstream.
        host: Option<String>;
        /// Its port.
        port: Option<u16>;
    }
}

/// Sends requests elsewhere that have `X-Elsewhere`.
pub struct Sender(Detour);

impl Plugin for Sender {
    const NAME: &'static str = "sender";
    const PRIORITY: i64 = 10;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: false, consumer_group: false, route: true, service: true };
    const DOC: &'static str = "";

    type Config = SenderConfig;

    fn build(config: SenderConfig, cx: &Build<'_>) -> Result<Self, BuildError> {
        let detour = match &config.service {
            Some(service) => cx.detour_to_service("config.service", service)?,
            None => cx.detour_to_host("config.host", config.host.as_deref(), config.port)?,
        };
        Ok(Self(detour))
    }
}

impl Phases for Sender {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        if cx.request.headers.contains("X-Elsewhere") {
            assert!(self.0.is_reachable(), "addresses are known");
            cx.send_to(&self.0);
        }
        Flow::Next
    }
}
