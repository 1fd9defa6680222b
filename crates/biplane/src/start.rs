//! Starts a gateway with its control plane: the one place where the parts meet.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use control::Control;
use engine::gateway::Parts;
use engine::{Address, DnsSettings, Gateway, Listener, Resolver, StartError, TlsSettings};
use model::declarative::{empty, load_with, locate};
use model::{Catalog, Config, Problem};
use plugin::Services;
use plugin::clock::Clock;

use crate::cli::Listen;
use crate::listen;
use crate::open_files::Granted;
use crate::origin::{Origin, POSTED, SharedOrigin};
use crate::secure;
use crate::settings::FromEnvironment;
use crate::tls;
use crate::upgrade::{Given, Inheritance, Role};
use crate::vaults::ProcessVaults;

/// What to serve, and where.
pub struct Options<'a> {
    /// Name of the declarative file, for messages.
    pub file: String,
    /// The configuration, if there is one.
    pub text: Option<Arc<String>>,
    /// It came by the Admin API, and stands in no file.
    pub is_posted: bool,
    /// Addresses and workers.
    pub places: &'a Places,
    /// What the environment says.
    pub environment: &'a mut FromEnvironment,
}

/// Addresses and workers.
#[derive(Clone, PartialEq, Eq)]
pub struct Places {
    /// For clients, on layer 4 too.
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
        let streams = listen::parse_streams("--stream-listen", &arguments.stream_listen)?;
        let admin = listen::parse_control("--admin-listen", &arguments.admin_listen)?;
        let status = listen::parse_control("--status-listen", &arguments.status_listen)?;
        Ok(Self {
            workers: workers(&arguments.workers)?,
            admin: admin.list,
            status: status.list,
            proxy: [proxy.list, streams.list].concat(),
            warnings: [proxy.warnings, streams.warnings, admin.warnings, status.warnings].concat(),
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
        address: Address,
        /// What the system said.
        error: std::io::Error,
    },
    /// The default certificate can neither be read nor made.
    Certificate(std::io::Error),
    /// The system refused something else.
    System(std::io::Error),
}

impl Failure {
    /// The same with the places of problems in `text`.
    fn located(self, file: &str, text: &str, catalog: &Catalog) -> Self {
        match self {
            Self::Configuration(problems) => Self::Configuration(locate(file, text, catalog, problems)),
            other => other,
        }
    }
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
    /// The sockets of the Admin API and the status listener with the addresses they were asked for by, to be given to
    /// another process.
    control_sockets: Vec<(Address, TcpListener)>,
}

/// Starts everything.
///
/// # Errors
/// Why nothing is served; nothing is left running then.
pub fn start(options: Options<'_>, inheritance: &mut Inheritance) -> Result<Started, Failure> {
    let Options { file, text, is_posted, places, environment } = options;
    let catalog = plugins::catalog();
    let vaults = Arc::new(ProcessVaults::of_process(&environment.secrets, &environment.settings.tls));
    let name = if is_posted { POSTED } else { file.as_str() };
    let config = match &text {
        Some(text) => load_with(name, text, &catalog, &*vaults).map_err(Failure::Configuration)?,
        None => empty(&catalog),
    };
    let text = text.unwrap_or_default();
    secure::add_default_certificates(places, environment).map_err(Failure::Certificate)?;
    let admin = bind(&places.admin, &environment.admin_tls, "--admin-listen", inheritance)?;
    let status = bind(&places.status, &environment.status_tls, "--status-listen", inheritance)?;
    let control_sockets = copies(places, &admin, &status).map_err(Failure::System)?;
    let services = Services::new(places.workers, Clock::default(), false);
    if let Some(usage) = &environment.usage {
        services.keep_usage(usage.clone());
    }
    vaults.show_in(&services.figures);
    services.name_identity_headers(environment.identity_headers.clone());
    let gateway = start_gateway(places, environment, &services, config, inheritance);
    let gateway = gateway.map_err(|failure| failure.located(name, &text, &catalog))?;
    let mut origin = Origin::new(file, (catalog, vaults), gateway.clone(), text);
    origin.has_staples = !tls::staples(&environment.settings.tls).is_empty();
    if is_posted {
        origin.mark_posted();
    }
    let origin = Arc::new(origin);
    let control = Arc::new(Control {
        services: services.clone(),
        definitions: plugins::ROOMS,
        catalog: plugins::catalog(),
        source: Box::new(SharedOrigin(origin.clone())),
        settings_shown: serde_json::json!(environment.given),
        kong_version: engine::KONG_VERSION,
    });
    let control =
        control::serve(control, admin, status, control::Bounds::default()).map_err(Failure::System)?;
    let schemes = |listeners: &[Listener]| {
        listeners.iter().map(|listener| if listener.tls { "https" } else { "http" }).collect()
    };
    Ok(Started {
        gateway,
        services,
        origin,
        admin: control.admin_addresses().to_vec(),
        status: control.status_addresses().to_vec(),
        control_schemes: [schemes(&places.admin), schemes(&places.status)],
        control,
        control_sockets,
    })
}

fn bind(
    listeners: &[Listener],
    tls: &TlsSettings,
    option: &'static str,
    inheritance: &mut Inheritance,
) -> Result<Vec<control::Listening>, Failure> {
    let mut bind_one = |listener: &Listener| {
        let address = listener.address.clone();
        let socket = inheritance.control_socket(listener);
        let socket = socket.map_err(|error| Failure::Listen { option, address, error })?;
        let secure = secure::config(listener, tls).map_err(Failure::System)?;
        Ok(control::Listening { socket, secure })
    };
    listeners.iter().map(&mut bind_one).collect()
}

/// Further descriptors of the sockets of the control plane, with the addresses they were asked for by.
fn copies(
    places: &Places,
    admin: &[control::Listening],
    status: &[control::Listening],
) -> std::io::Result<Vec<(Address, TcpListener)>> {
    let asked_for = places.admin.iter().chain(&places.status).map(|listener| listener.address.clone());
    let sockets = admin.iter().chain(status).map(|listening| listening.socket.try_clone());
    asked_for.zip(sockets).map(|(address, socket)| Ok((address, socket?))).collect()
}

/// Starts the data plane.
///
/// # Errors
/// Why it does not serve.
pub fn start_gateway(
    places: &Places,
    environment: &FromEnvironment,
    services: &Arc<Services>,
    config: Config,
    inheritance: &mut Inheritance,
) -> Result<Arc<Gateway>, Failure> {
    let parts = Parts {
        definitions: plugins::ROOMS,
        services: services.clone(),
        resolver: resolver(environment).map_err(Failure::System)?,
        settings: environment.settings.clone(),
        listeners: places.proxy.clone(),
        inherited: inheritance.take_rest(),
    };
    let started = Gateway::start(parts, Arc::new(config));
    started.map(Arc::new).map_err(|error| refused(error, &places.proxy))
}

fn refused(error: StartError, listeners: &[Listener]) -> Failure {
    match error {
        StartError::Listen(address, error) => {
            let wanted = listeners.iter().find(|listener| listener.address == address);
            Failure::Listen { option: wanted.map_or("--proxy-listen", listen::option), address, error }
        }
        StartError::Thread(error) | StartError::Tls(error) => Failure::System(error),
        StartError::Configuration(problems) => Failure::Configuration(problems),
    }
}

/// The process's resolver, with the name servers and the hosts file of the environment.
///
/// # Errors
/// When its thread cannot be started.
pub fn resolver(environment: &FromEnvironment) -> std::io::Result<Arc<Resolver>> {
    Resolver::start(DnsSettings {
        extra_hosts_file: std::env::var_os("BIPLANE_HOSTS_FILE").map(PathBuf::from),
        servers: environment.dns_servers.clone(),
        order: environment.dns_order.clone(),
        lists: environment.discovery_folder.clone(),
        lists_max_age: environment.discovery_max_age,
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

    /// The same when another process serves now: it answers about itself at once.
    pub fn hand_over(self) {
        let Self { control, control_sockets, gateway, services, .. } = self;
        control.stop();
        // The other one may have opened sockets of its own at these ports: clients must not be given to those that are left.
        drop(control_sockets);
        gateway.hand_over();
        services.flush();
    }

    /// Listens for clients where `listeners` say, which leave connections the `files` that are granted.
    ///
    /// # Errors
    /// The address that cannot be listened on; everything stays as it was.
    pub fn listen(&self, listeners: &[Listener], files: &Granted) -> Result<(), Failure> {
        self.gateway.listen(listeners, files.most).map_err(|error| refused(error, listeners))
    }

    /// Every socket that listens, to be given to another process.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn sockets(&self) -> std::io::Result<Vec<Given>> {
        let of_clients = self.gateway.sockets().into_iter();
        let of_clients = of_clients.map(|(address, socket)| Given::new(Role::Proxy, address, &*socket));
        let of_control = self.control_sockets.iter();
        let of_control =
            of_control.map(|(address, socket)| Given::new(Role::Control, address.clone(), socket));
        of_clients.chain(of_control).collect()
    }
}
