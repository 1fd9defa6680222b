//! Starts a gateway with its control plane: the one place where the parts meet.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use control::{Control, Source};
use engine::gateway::Parts;
use engine::{DnsSettings, Gateway, Listener, Resolver, StartError, TlsSettings};
use model::{Catalog, Config, Problem};
use plugin::Services;
use plugin::clock::Clock;

use crate::cli::Listen;
use crate::listen;
use crate::secure;
use crate::settings::FromEnvironment;
use crate::tls;

/// What to serve, and where.
pub struct Options {
    /// Name of the declarative file, for messages.
    pub file: String,
    /// Its text.
    pub text: String,
    /// Addresses and workers.
    pub places: Places,
    /// What the environment says.
    pub environment: FromEnvironment,
}

/// Addresses and workers.
pub struct Places {
    /// For clients.
    pub proxy: Vec<Listener>,
    /// For the Admin API.
    pub admin: Vec<Listener>,
    /// For health and metrics.
    pub status: Vec<Listener>,
    /// Number of workers.
    pub workers: usize,
    /// What was asked for and is not honoured.
    pub warnings: Vec<String>,
}

impl Places {
    /// Reads the command line, or the environment behind it.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub fn from(arguments: &Listen) -> Result<Self, String> {
        let proxy = listen::parse("--proxy-listen", &arguments.proxy_listen)?;
        let admin = listen::parse_control("--admin-listen", &arguments.admin_listen)?;
        let status = listen::parse_control("--status-listen", &arguments.status_listen)?;
        Ok(Self {
            workers: workers(&arguments.workers)?,
            admin: admin.list,
            status: status.list,
            proxy: proxy.list,
            warnings: [proxy.warnings, admin.warnings, status.warnings].concat(),
        })
    }
}

fn workers(given: &str) -> Result<usize, String> {
    if given == "auto" {
        return Ok(std::thread::available_parallelism().map_or(1, NonZeroUsize::get));
    }
    match given.parse::<NonZeroUsize>() {
        Ok(count) if count.get() <= 1024 => Ok(count.get()),
        _ => Err(format!("--workers: '{given}' is neither 'auto' nor a number from 1 to 1024")),
    }
}

/// Why nothing is served.
#[derive(Debug)]
pub enum Failure {
    /// The declarative file has problems.
    Configuration(Vec<Problem>),
    /// An address cannot be listened on.
    Listen {
        /// The option that moves it.
        option: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The default certificate can neither be read nor made.
    Certificate(std::io::Error),
    /// The system refused something else.
    System(std::io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(problems) => write!(out, "{} problems in the configuration", problems.len()),
            Self::Listen { option, address, error } if error.kind() == std::io::ErrorKind::AddrInUse => {
                write!(out, "{address} is in use by another process; choose another address with {option}")
            }
            Self::Listen { option, address, error } => {
                write!(out, "cannot listen on {address}: {error}; choose another address with {option}")
            }
            Self::Certificate(error) => {
                write!(
                    out,
                    "no default certificate: {error}; choose another folder with KONG_PREFIX, or a certificate with KONG_SSL_CERT"
                )
            }
            Self::System(error) => write!(out, "{error}"),
        }
    }
}

/// A gateway that is serving.
pub struct Started {
    /// The data plane.
    pub gateway: Arc<Gateway>,
    /// What clients speak at each address of the data plane.
    pub schemes: Vec<&'static str>,
    /// What outlives reloads.
    pub services: Arc<Services>,
    /// The configuration's text and how to replace it.
    pub origin: Arc<Origin>,
    /// Addresses of the Admin API.
    pub admin: Vec<SocketAddr>,
    /// Addresses of the status listener.
    pub status: Vec<SocketAddr>,
    /// What is spoken at the addresses of the Admin API, and at those of the status listener.
    pub control_schemes: [Vec<&'static str>; 2],
    control: control::Running,
}

/// Starts everything.
///
/// # Errors
/// Why nothing is served; nothing is left running then.
pub fn start(options: Options) -> Result<Started, Failure> {
    let Options { file, text, places, mut environment } = options;
    let catalog = plugins::catalog();
    let config = model::declarative::load(&file, &text, &catalog).map_err(Failure::Configuration)?;
    secure::add_default_certificates(&places, &mut environment).map_err(Failure::Certificate)?;
    let admin = bind(&places.admin, &environment.admin_tls, "--admin-listen")?;
    let status = bind(&places.status, &environment.status_tls, "--status-listen")?;
    let services = Services::new(places.workers, Clock::default(), false);
    let gateway = start_gateway(&places, &environment, &services, config)?;
    let schemes = |listeners: &[Listener]| {
        listeners.iter().map(|listener| if listener.tls { "https" } else { "http" }).collect()
    };
    let mut origin = Origin::new(file, catalog, gateway.clone(), text);
    origin.has_staples = !tls::staples(&environment.settings.tls).is_empty();
    let origin = Arc::new(origin);
    let control = Arc::new(Control {
        services: services.clone(),
        definitions: plugins::ROOMS,
        catalog: plugins::catalog(),
        source: Box::new(SharedOrigin(origin.clone())),
        settings_shown: serde_json::json!(environment.given),
        kong_version: engine::KONG_VERSION,
    });
    let control = control::serve(control, admin, status).map_err(Failure::System)?;
    Ok(Started {
        gateway,
        schemes: schemes(&places.proxy),
        services,
        origin,
        admin: control.admin_addresses().to_vec(),
        status: control.status_addresses().to_vec(),
        control_schemes: [schemes(&places.admin), schemes(&places.status)],
        control,
    })
}

fn bind(
    listeners: &[Listener],
    tls: &TlsSettings,
    option: &'static str,
) -> Result<Vec<control::Listening>, Failure> {
    let bind_one = |listener: &Listener| {
        let address = listener.address;
        let socket = control::listen(address).map_err(|error| Failure::Listen { option, address, error })?;
        let secure = secure::config(listener, tls).map_err(Failure::System)?;
        Ok(control::Listening { socket, secure })
    };
    listeners.iter().map(bind_one).collect()
}

fn start_gateway(
    places: &Places,
    environment: &FromEnvironment,
    services: &Arc<Services>,
    config: Config,
) -> Result<Arc<Gateway>, Failure> {
    let parts = Parts {
        definitions: plugins::ROOMS,
        services: services.clone(),
        resolver: resolver(environment).map_err(Failure::System)?,
        settings: environment.settings.clone(),
        listeners: places.proxy.clone(),
    };
    let started = Gateway::start(parts, Arc::new(config)).map_err(|error| match error {
        StartError::Listen(address, error) => Failure::Listen { option: "--proxy-listen", address, error },
        StartError::Thread(error) | StartError::Tls(error) => Failure::System(error),
        StartError::Configuration(problems) => Failure::Configuration(problems),
    })?;
    Ok(Arc::new(started))
}

/// The process's resolver, with the name servers and the hosts file of the environment.
///
/// # Errors
/// When its thread cannot be started.
pub fn resolver(environment: &FromEnvironment) -> std::io::Result<Arc<Resolver>> {
    Resolver::start(DnsSettings {
        extra_hosts_file: std::env::var_os("BIPLANE_HOSTS_FILE").map(PathBuf::from),
        servers: environment.dns_servers.clone(),
        ..DnsSettings::default()
    })
}

impl Started {
    /// Stops accepting, finishes what runs within the configured time, writes what is still to be logged.
    pub fn stop(self) {
        self.gateway.drain();
        self.control.stop();
        self.services.flush();
    }
}

/// Where the configuration comes from: the text now served, and how to serve another.
pub struct Origin {
    file: String,
    catalog: Catalog,
    gateway: Arc<Gateway>,
    text: Mutex<String>,
    /// Held from reading a text until it is served: who comes later is served later.
    replacing: Mutex<()>,
    /// There are responses of OCSP, which change apart from the text.
    has_staples: bool,
}

impl Origin {
    fn new(file: String, catalog: Catalog, gateway: Arc<Gateway>, text: String) -> Self {
        Self {
            file,
            catalog,
            gateway,
            text: Mutex::new(text),
            replacing: Mutex::default(),
            has_staples: false,
        }
    }

    /// Serves `text` from now on.
    ///
    /// # Errors
    /// Every problem of `text`; what was served stays.
    pub fn replace(&self, text: &str) -> Result<Arc<Config>, Vec<Problem>> {
        self.replace_with(text, |text| model::declarative::load(&self.file, text, &self.catalog))
    }

    fn replace_with(
        &self,
        text: &str,
        load: impl FnOnce(&str) -> Result<Config, Vec<Problem>>,
    ) -> Result<Arc<Config>, Vec<Problem>> {
        let _one_at_a_time = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let config = Arc::new(load(text)?);
        self.gateway.reload(config.clone())?;
        text.clone_into(&mut self.text.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(config)
    }

    /// Serves the same once more, if it comes with files that may have changed: responses of OCSP.
    pub fn renew(&self) {
        if !self.has_staples {
            return;
        }
        let _one_at_a_time = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        match self.gateway.reload(self.gateway.config()) {
            Ok(()) => tracing::info!("responses of OCSP have been read again"),
            Err(problems) => {
                tracing::error!(count = problems.len(), "responses of OCSP could not be read again");
            }
        }
    }

    /// The text now served.
    pub fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct SharedOrigin(Arc<Origin>);

impl Source for SharedOrigin {
    fn config(&self) -> Arc<Config> {
        self.0.gateway.config()
    }

    fn text(&self) -> String {
        self.0.text()
    }

    fn apply(&self, text: &str) -> Result<Arc<Config>, Vec<Problem>> {
        self.0.replace(text)
    }

    fn is_ready(&self) -> Result<(), String> {
        if self.0.gateway.is_stopping() { Err("the gateway is stopping".to_owned()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(service: &str) -> String {
        format!("{{_format_version: '3.0', services: [{{name: {service}, host: h.test}}]}}")
    }

    /// A gateway that listens nowhere.
    fn origin() -> Origin {
        let text = text("first");
        let config = model::declarative::load("kong.yml", &text, &plugins::catalog()).unwrap();
        let environment = crate::settings::from_environment(std::iter::empty()).unwrap();
        let places = Places { proxy: vec![], admin: vec![], status: vec![], workers: 1, warnings: vec![] };
        let services = Services::new(1, Clock::default(), true);
        let gateway = start_gateway(&places, &environment, &services, config).unwrap();
        Origin::new("kong.yml".to_owned(), plugins::catalog(), gateway, text)
    }

    #[test]
    fn a_configuration_that_is_still_being_read_is_not_overtaken() {
        let origin = origin();
        let config = origin
            .replace_with(&text("slow"), |text| {
                assert!(origin.replacing.try_lock().is_err(), "another one could be served before this one");
                model::declarative::load("kong.yml", text, &origin.catalog)
            })
            .unwrap();
        assert_eq!(config.services[0].name.as_deref(), Some("slow"));
        origin.replace(&text("later")).unwrap();
        assert_eq!(origin.gateway.config().services[0].name.as_deref(), Some("later"));
        assert_eq!(origin.text(), text("later"));
        origin.gateway.stop();
    }
}
