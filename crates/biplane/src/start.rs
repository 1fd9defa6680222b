//! Starts a gateway with its control plane: the one place where the parts meet.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::Control;
use engine::gateway::Parts;
use engine::{Address, DnsSettings, Gateway, Listener, Resolver, StartError};
use model::{Config, Problem};
use plugin::Services;
use plugin::clock::Clock;

use crate::cli::Listen;
use crate::listen;
use crate::origin::{Origin, SharedOrigin};
use crate::settings::FromEnvironment;
use crate::upgrade::{Given, Inheritance, Role};

/// What to serve, and where.
pub struct Options<'a> {
    /// Name of the declarative file, for messages.
    pub file: String,
    /// Its text.
    pub text: String,
    /// Addresses and workers.
    pub places: &'a Places,
    /// What the environment says.
    pub environment: &'a FromEnvironment,
}

/// Addresses and workers.
#[derive(Clone, PartialEq, Eq)]
pub struct Places {
    /// For clients, on layer 4 too.
    pub proxy: Vec<Listener>,
    /// For the Admin API.
    pub admin: Vec<SocketAddr>,
    /// For health and metrics.
    pub status: Vec<SocketAddr>,
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
        let clear = |setting: &str, given: &str| {
            listen::parse(setting, given).map(|listeners| listen::plain(setting, listeners))
        };
        let admin = clear("--admin-listen", &arguments.admin_listen)?;
        let status = clear("--status-listen", &arguments.status_listen)?;
        let addresses =
            |listeners: &[Listener]| listeners.iter().filter_map(|one| one.address.inet()).collect();
        Ok(Self {
            workers: workers(&arguments.workers)?,
            admin: addresses(&admin.list),
            status: addresses(&status.list),
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
    control: control::Running,
    /// The sockets of the Admin API and the status listener with the addresses they were asked for by, to be given to
    /// another process.
    control_sockets: Vec<(SocketAddr, TcpListener)>,
}

/// Starts everything.
///
/// # Errors
/// Why nothing is served; nothing is left running then.
pub fn start(options: Options<'_>, inheritance: &mut Inheritance) -> Result<Started, Failure> {
    let Options { file, text, places, environment } = options;
    let catalog = plugins::catalog();
    let config = model::declarative::load(&file, &text, &catalog).map_err(Failure::Configuration)?;
    let admin = bind(&places.admin, "--admin-listen", inheritance)?;
    let status = bind(&places.status, "--status-listen", inheritance)?;
    let asked_for = places.admin.iter().chain(&places.status).copied();
    let copies = admin.iter().chain(&status).map(TcpListener::try_clone).collect::<Result<Vec<_>, _>>();
    let control_sockets = asked_for.zip(copies.map_err(Failure::System)?).collect();
    let services = Services::new(places.workers, Clock::default(), false);
    let gateway = start_gateway(places, environment, &services, config, inheritance)?;
    let origin = Arc::new(Origin::new(file, catalog, gateway.clone(), text));
    let control = Arc::new(Control {
        services: services.clone(),
        definitions: plugins::ROOMS,
        catalog: plugins::catalog(),
        source: Box::new(SharedOrigin(origin.clone())),
        settings_shown: serde_json::json!(environment.given),
        kong_version: engine::KONG_VERSION,
    });
    let addresses = |listeners: &[TcpListener]| {
        listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect::<Vec<_>>()
    };
    let (admin_addresses, status_addresses) = (addresses(&admin), addresses(&status));
    let control = control::serve(control, admin, status).map_err(Failure::System)?;
    let (admin, status) = (admin_addresses, status_addresses);
    Ok(Started { gateway, services, origin, admin, status, control, control_sockets })
}

fn bind(
    addresses: &[SocketAddr],
    option: &'static str,
    inheritance: &mut Inheritance,
) -> Result<Vec<TcpListener>, Failure> {
    let mut bind_one = |address: &SocketAddr| {
        let address = Address::Inet(*address);
        match (inheritance.take_one(Role::Control, &address), &address) {
            (None, Address::Inet(place)) => {
                control::listen(*place).map_err(|error| Failure::Listen { option, address, error })
            }
            (Some(socket), _) => Ok(socket),
            (None, Address::Unix(_)) => Err(Failure::System(std::io::ErrorKind::Unsupported.into())),
        }
    };
    addresses.iter().map(&mut bind_one).collect()
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
    let mut settings = environment.settings.clone();
    if settings.tls.default_certificates.is_empty() && places.proxy.iter().any(|listener| listener.tls) {
        let prefix = environment.given.get("prefix").map(Path::new);
        settings.tls.default_certificates = engine::default_pairs(prefix).map_err(Failure::Certificate)?;
    }
    let parts = Parts {
        definitions: plugins::ROOMS,
        services: services.clone(),
        resolver: resolver(environment).map_err(Failure::System)?,
        settings,
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
        self.control.stop();
        self.gateway.hand_over();
        self.services.flush();
    }

    /// Listens for clients where `listeners` say.
    ///
    /// # Errors
    /// The address that cannot be listened on; everything stays as it was.
    pub fn listen(&self, listeners: &[Listener]) -> Result<(), Failure> {
        self.gateway.listen(listeners).map_err(|error| refused(error, listeners))
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
            of_control.map(|(address, socket)| Given::new(Role::Control, (*address).into(), socket));
        of_clients.chain(of_control).collect()
    }
}
