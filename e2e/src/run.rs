//! Runs one case from its file: upstreams, configuration, gateway, steps, report.

use crate::case::{Case, Check, Listener, Refusal, Step};
use crate::certificates::Certificates;
use crate::client::{Connection, Exchange};
use crate::echo::{Echo, Seen};
use crate::gateway::{self, Addresses, Gateway, NotStarted};
use crate::machine::{closed_port, is_writable};
use crate::placeholders::{Values, fill, fill_value};
use crate::{Settings, Target, datagrams, expect, judge, modern, remote, report, tokens};
use serde_json::Value;
use socket2::Socket;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The pause between two tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Everything a running case holds.
pub(crate) struct Running<'a> {
    settings: &'a Settings,
    pub echo: Echo,
    certificates: Certificates,
    values: Values,
    folder: PathBuf,
    hosts_file: Option<PathBuf>,
    /// A bound port nobody listens on: connections to it are refused.
    _closed: Socket,
    addresses: Option<Addresses>,
    gateway: Option<Gateway>,
    connections: HashMap<String, Connection>,
    datagram_echo: Option<datagrams::Echo>,
    datagram_client: datagrams::Client,
}

/// Runs the case in `path`.
pub(crate) fn run(path: &Path, settings: &Settings) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let case = Case::parse(&text)?;
    let mut running = Running::new(&case, settings)?;
    let mut failures = running.checks(&case.checks)?;
    if let Some(refusal) = &case.refuses {
        failures.extend(running.refusal(&case, refusal)?);
    } else if !case.steps.is_empty() {
        running.start(&case)?;
        failures.extend(running.steps(&case.steps));
    }
    if failures.is_empty() {
        return Ok(());
    }
    let output = running.gateway.as_ref().map(Gateway::output).unwrap_or_default();
    Err(report::case(&failures, &output))
}

impl<'a> Running<'a> {
    fn new(case: &Case, settings: &'a Settings) -> Result<Running<'a>, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = settings.scratch.join(format!("case-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let (closed, closed_port) = closed_port().map_err(|error| error.to_string())?;
        let mut running = Running {
            settings,
            echo: Echo::default(),
            certificates: Certificates::make(case)?,
            values: tokens::placeholders(case)?,
            folder,
            hosts_file: None,
            _closed: closed,
            addresses: None,
            gateway: None,
            connections: HashMap::new(),
            datagram_echo: None,
            datagram_client: datagrams::Client::default(),
        };
        running.set("TMP", running.folder.display().to_string());
        running.set("CLOSED_PORT", closed_port.to_string());
        running.set("CLOSED", format!("127.0.0.1:{closed_port}"));
        let files = running.certificates.placeholders(&running.folder).map_err(|error| error.to_string())?;
        running.values.extend(files);
        running.listen(case).map_err(|error| format!("upstream: {error}"))?;
        Ok(running)
    }

    fn set(&mut self, name: &str, value: String) {
        self.values.insert(name.to_owned(), value);
    }

    fn listen(&mut self, case: &Case) -> std::io::Result<()> {
        let host = self.settings.echo_host();
        let bind = if host.is_loopback() { host } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        for (server, name) in [("one", "ECHO"), ("two", "ECHO2"), ("three", "ECHO3")] {
            let port = self.echo.listen(server, SocketAddr::new(bind, 0))?.port();
            self.set(name, SocketAddr::new(host, port).to_string());
            self.set(&format!("{name}_PORT"), port.to_string());
        }
        if let Some(secure) = &case.secure_upstream {
            let config = self.certificates.server(&secure.shows, secure.clients.as_deref());
            let config = Arc::new(config.map_err(std::io::Error::other)?);
            let port = self.echo.listen_as("secure", SocketAddr::new(bind, 0), Some(config))?.port();
            self.set("ECHO_TLS", SocketAddr::new(host, port).to_string());
            self.set("ECHO_TLS_PORT", port.to_string());
        }
        if case.config.as_ref().is_some_and(|config| config.contains("${ECHO_UDP")) {
            let echo = datagrams::Echo::start()?;
            self.set("ECHO_UDP_PORT", echo.address.port().to_string());
            self.datagram_echo = Some(echo);
        }
        self.set("ECHO_HOST", host.to_string());
        let mut hosts = String::new();
        for (name, port) in &case.hosts {
            let address = self.echo.listen_on_own_address(name, *port)?;
            hosts.push_str(&format!("{} {name}\n", address.ip()));
        }
        if !hosts.is_empty() {
            let file = self.folder.join("hosts");
            std::fs::write(&file, hosts)?;
            self.hosts_file = Some(file);
        }
        Ok(())
    }

    fn binary(&self) -> Result<&'a Path, String> {
        match &self.settings.target {
            Target::Binary(path) => Ok(path),
            Target::Remote { .. } => Err("only a gateway started here can do this".to_owned()),
        }
    }

    /// Runs `biplane check` on each configuration.
    fn checks(&self, checks: &[Check]) -> Result<Vec<String>, String> {
        let mut failures = Vec::new();
        for (index, check) in checks.iter().enumerate() {
            let name = check.config_name.as_deref().unwrap_or("kong.yml");
            let folder = self.folder.join(format!("check-{index}"));
            let file = folder.join(name);
            let config = fill(&check.config, &self.values)?;
            std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
            std::fs::write(&file, config).map_err(|error| error.to_string())?;
            let (status, text) = gateway::check(self.binary()?, &file)?;
            let mut problems = Vec::new();
            if status.code() != Some(check.exit) {
                problems.push(format!("exit: expected {}, got {status}", check.exit));
            }
            let missing = check.says.iter().filter(|wanted| !expect::text_holds(wanted, &text));
            problems.extend(missing.map(|wanted| format!("does not say {wanted:?}")));
            let present = check.lacks.iter().filter(|wanted| expect::text_holds(wanted, &text));
            problems.extend(present.map(|wanted| format!("says {wanted:?}")));
            if !problems.is_empty() {
                failures.push(report::check(index + 1, check, &problems, &text));
            }
        }
        Ok(failures)
    }

    /// Brings the configuration to the gateway.
    fn start(&mut self, case: &Case) -> Result<(), String> {
        if let Target::Remote { proxy, admin, .. } = self.settings.target {
            self.set("PROXY_PORT", proxy.port().to_string());
            self.addresses = Some(Addresses::remote(proxy, admin));
            return remote::load(admin, &self.config(case)?);
        }
        let gateway = self.launch(case)?.map_err(|failed| {
            format!(
                "the gateway did not become ready (exit code {:?}); it wrote:\n{}",
                failed.code, failed.output
            )
        })?;
        self.set("PROXY_PORT", gateway.addresses.proxy.port().to_string());
        if let Some(secure) = gateway.addresses.secure {
            self.set("PROXY_TLS_PORT", secure.port().to_string());
        }
        self.addresses = Some(gateway.addresses);
        self.gateway = Some(gateway);
        Ok(())
    }

    /// What is wrong with the way the gateway refuses to start.
    fn refusal(&self, case: &Case, wanted: &Refusal) -> Result<Vec<String>, String> {
        let Err(failed) = self.launch(case)? else {
            return Ok(vec!["the gateway started".to_owned()]);
        };
        let mut problems = Vec::new();
        if failed.code != Some(wanted.exit) {
            problems.push(format!("exit code: expected {}, got {:?}", wanted.exit, failed.code));
        }
        for text in &wanted.says {
            if !expect::text_holds(&fill(text, &self.values)?, &failed.output) {
                problems.push(format!("it does not say {text:?}"));
            }
        }
        if !problems.is_empty() {
            problems.push(format!("it wrote:\n{}", failed.output));
        }
        Ok(problems)
    }

    fn config(&self, case: &Case) -> Result<String, String> {
        match (&case.config, &case.config_file) {
            (Some(text), None) => fill(text, &self.values),
            (None, Some(file)) => {
                let file = self.settings.root.join(file);
                std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))
            }
            _ => Err("a case with steps needs one of `config` and `config_file`".to_owned()),
        }
    }

    fn launch(&self, case: &Case) -> Result<Result<Gateway, NotStarted>, String> {
        let file = self.folder.join(case.config_name.as_deref().unwrap_or("kong.yml"));
        std::fs::write(&file, self.config(case)?).map_err(|error| error.to_string())?;
        let mut env: BTreeMap<String, String> = BTreeMap::new();
        if let Some(hosts) = &self.hosts_file {
            env.insert("BIPLANE_HOSTS_FILE".to_owned(), hosts.display().to_string());
        }
        for (name, value) in &case.env {
            env.insert(name.clone(), fill(value, &self.values)?);
        }
        let args = case.args.iter().map(|arg| fill(arg, &self.values)).collect::<Result<Vec<_>, _>>()?;
        Ok(Gateway::start(self.binary()?, &file, &args, &env))
    }

    fn steps(&mut self, steps: &[Value]) -> Vec<String> {
        let mut failures = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            if let Err(failure) = self.step(step) {
                failures.push(format!("step {}:\n{failure}", index + 1));
            }
        }
        failures
    }

    fn step(&mut self, step: &Value) -> Result<(), String> {
        let step = fill_value(step, &self.values)?;
        let step: Step = serde_json::from_value(step).map_err(|error| error.to_string())?;
        if step.when_writable.as_ref().is_some_and(|folder| !is_writable(Path::new(folder))) {
            return Ok(());
        }
        self.act(&step)?;
        if !step.is_exchange() {
            return Ok(());
        }
        let deadline = Instant::now() + crate::PATIENCE;
        loop {
            let outcome = self.exchange(&step);
            if outcome.is_ok() || !step.eventually || Instant::now() > deadline {
                return outcome;
            }
            thread::park_timeout(BETWEEN_TRIES);
        }
    }

    /// Everything of a step that is not a request.
    fn act(&mut self, step: &Step) -> Result<(), String> {
        if let Some(config) = &step.write_config {
            let gateway = self.gateway.as_ref().ok_or("no gateway of our own")?;
            std::fs::write(&gateway.config, config).map_err(|error| error.to_string())?;
        }
        for (old, new) in &step.replace {
            std::fs::copy(new, old).map_err(|error| format!("{old}: {error}"))?;
        }
        for (server, condition) in &step.servers {
            self.echo.put(server, *condition)?;
        }
        if let Some(signal) = &step.signal {
            self.gateway.as_ref().ok_or("no gateway of our own")?.signal(signal)?;
        }
        if let Some(wanted) = &step.stderr {
            let gateway = self.gateway.as_ref().ok_or("no gateway of our own")?;
            if !gateway.wait_for_line(|line| expect::text_holds(wanted, line)) {
                return Err(format!("the gateway wrote no line with {wanted:?}"));
            }
        }
        if step.connect.is_some() {
            self.expect_refusal()?;
        }
        if let Some(code) = step.exit {
            let found = self.gateway.as_mut().ok_or("no gateway of our own")?.exit_code()?;
            if found != Some(code) {
                return Err(format!("exit code: expected {code}, got {found:?}"));
            }
        }
        if let Some(datagram) = &step.datagram {
            let gateway = self.addresses.and_then(|addresses| addresses.datagrams);
            let gateway = gateway.ok_or("the gateway has no listener for datagrams")?;
            self.datagram_client.exchange(gateway, step, datagram)?;
        }
        match &step.log {
            Some(log) => crate::log_file::expect_line(log, crate::PATIENCE),
            None => Ok(()),
        }
    }

    fn expect_refusal(&self) -> Result<(), String> {
        let deadline = Instant::now() + crate::PATIENCE;
        let address = self.address(Listener::Proxy)?;
        while Connection::open(address, None).is_ok() {
            if Instant::now() > deadline {
                return Err("the proxy listener still accepts".to_owned());
            }
            thread::park_timeout(BETWEEN_TRIES);
        }
        Ok(())
    }

    fn address(&self, listener: Listener) -> Result<SocketAddr, String> {
        let addresses = self.addresses.ok_or("the gateway is not running")?;
        match listener {
            Listener::Proxy => Some(addresses.proxy),
            Listener::Admin => addresses.admin,
            Listener::Status => addresses.status,
            Listener::Secure => addresses.secure,
            Listener::Stream => addresses.streams[0],
            Listener::Stream2 => addresses.streams[1],
            Listener::StreamTls => addresses.stream_tls,
        }
        .ok_or_else(|| format!("the gateway has no {listener:?} listener"))
    }

    fn exchange(&mut self, step: &Step) -> Result<(), String> {
        self.echo.prepare(step.answers()?);
        let to = if step.tls.is_some() && step.to == Listener::Proxy { Listener::Secure } else { step.to };
        let address = self.address(to)?;
        if step.repeat.is_some() || step.parallel.is_some() {
            return self.many(step, address);
        }
        let exchange = self.once(step, address);
        if step.tls.as_ref().is_some_and(|tls| tls.refused) {
            return no_session(exchange);
        }
        let exchange = exchange?;
        for (name, header) in &step.save {
            let value =
                exchange.replies.first().and_then(|reply| reply.message.values(header).first().copied());
            let value = value.ok_or_else(|| format!("no header {header} to save"))?.to_owned();
            self.set(&format!("saved.{name}"), value);
        }
        if step.read == Some(false) && step.upstream.is_some() {
            self.echo.wait_for(1, crate::PATIENCE);
        }
        let seen = self.echo.seen();
        self.certificates.check_shown(step, &exchange)?;
        verdict(step, &exchange, &seen)
    }

    fn once(&mut self, step: &Step, address: SocketAddr) -> Result<Exchange, String> {
        if modern::is_meant(step) {
            return modern::perform(step, address).map_err(|error| format!("connecting: {error}"));
        }
        let secure = self.certificates.client(step.tls.as_ref())?;
        let open =
            || Connection::open(address, secure.as_ref()).map_err(|error| format!("connecting: {error}"));
        let Some(name) = &step.connection else {
            return Ok(open()?.perform(step));
        };
        if !self.connections.contains_key(name) {
            self.connections.insert(name.clone(), open()?);
        }
        let connection = self.connections.get_mut(name).ok_or("unreachable")?;
        Ok(connection.perform(step))
    }

    /// The same request several times, one after the other or at once.
    fn many(&self, step: &Step, address: SocketAddr) -> Result<(), String> {
        let secure = self.certificates.client(step.tls.as_ref())?;
        let once = || {
            Connection::open(address, secure.as_ref())
                .map(|mut connection| connection.perform(step))
                .unwrap_or_default()
        };
        let exchanges: Vec<Exchange> = match step.parallel {
            None => (0..step.repeat.unwrap_or(1)).map(|_| once()).collect(),
            Some(count) => thread::scope(|scope| {
                let threads: Vec<_> = (0..count).map(|_| scope.spawn(once)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
            }),
        };
        let seen = self.echo.seen();
        let Some(wanted) = &step.statuses else {
            return exchanges.iter().try_for_each(|exchange| verdict(step, exchange, &seen));
        };
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for exchange in &exchanges {
            let status = exchange
                .replies
                .first()
                .map_or("none".to_owned(), |reply| reply.message.status().to_string());
            *found.entry(status).or_default() += 1;
        }
        let mut problems = Vec::new();
        if found != *wanted {
            problems.push(format!("statuses: expected {wanted:?}, got {found:?}"));
        }
        if step.upstream.is_some() {
            let only_upstream = Step { upstream: step.upstream.clone(), ..Step::default() };
            problems.extend(judge::differences(&only_upstream, &Exchange::default(), &seen));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.echo.close();
        self.gateway = None;
        if std::env::var_os("BIPLANE_E2E_KEEP").is_none() {
            std::fs::remove_dir_all(&self.folder).ok();
        }
    }
}

/// Whether a handshake failed. Under TLS 1.3 its client may hear of that only when it reads.
fn no_session(exchange: Result<Exchange, String>) -> Result<(), String> {
    match exchange {
        Ok(exchange) if exchange.error.is_none() || !exchange.replies.is_empty() => {
            Err("there is a session that should have been refused".to_owned())
        }
        _ => Ok(()),
    }
}

fn verdict(step: &Step, exchange: &Exchange, seen: &[Seen]) -> Result<(), String> {
    let problems = judge::differences(step, exchange, seen);
    if problems.is_empty() { Ok(()) } else { Err(report::exchange(step, exchange, seen, &problems)) }
}
