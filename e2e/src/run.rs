//! Runs one case from its file: upstreams, configuration, gateway, steps, report.

use crate::case::{Case, Check, Refusal};
use crate::certificates::Certificates;
use crate::client::Connection;
use crate::echo::Echo;
use crate::gateway::{self, Addresses, Gateway, NotStarted};
use crate::machine::closed_port;
use crate::placeholders::{Values, fill};
use crate::{Settings, Target, datagrams, expect, remote, report, tokens};
use socket2::Socket;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

mod saved;
mod steps;

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
    case: &'a Case,
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
    fn new(case: &'a Case, settings: &'a Settings) -> Result<Running<'a>, String> {
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
            case,
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
        running.write(&case.files)?;
        Ok(running)
    }

    /// Writes files of the case's own folder.
    fn write(&self, files: &BTreeMap<String, String>) -> Result<(), String> {
        files.iter().try_for_each(|(name, text)| {
            std::fs::write(self.folder.join(name), text).map_err(|error| format!("{name}: {error}"))
        })
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
        let gateway = self.launch(case)?;
        self.take(gateway)
    }

    /// Ends the gateway as an operator does, and starts it again with what it was started with.
    fn restart(&mut self) -> Result<(), String> {
        let mut gateway = self.gateway.take().ok_or("no gateway of our own")?;
        // Kept connections would have it wait for them.
        self.connections.clear();
        gateway.signal("TERM")?;
        gateway.exit_code()?;
        let gateway = self.launch(self.case)?;
        self.take(gateway)
    }

    fn take(&mut self, started: Result<Gateway, NotStarted>) -> Result<(), String> {
        let gateway = started.map_err(|failed| {
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
                let text =
                    std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                self.replaced(&text, &case.config_replacements)
            }
            _ => Err("a case with steps needs one of `config` and `config_file`".to_owned()),
        }
    }

    /// A text in which each of `replacements` stands for another one, which must be there.
    fn replaced(&self, text: &str, replacements: &BTreeMap<String, String>) -> Result<String, String> {
        let mut text = text.to_owned();
        for (old, new) in replacements {
            if !text.contains(old) {
                return Err(format!("`config_replacements`: the file has no {old:?}"));
            }
            text = text.replace(old, &fill(new, &self.values)?);
        }
        Ok(text)
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
