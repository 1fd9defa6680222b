//! `biplane run`: reads settings and the declarative file, and starts to serve them.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use model::{Problem, Severity, Source};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

use crate::cli::Run;
use crate::open_files::Takers;
use crate::origin::POSTED;
use crate::serve::Serving;
use crate::settings::{self, Environment, FromEnvironment};
use crate::start::{Failure, Options, Places, Started, start};
use crate::upgrade::{Inheritance, Invocation, Word};
use crate::vaults::Renewal;
use crate::{COULD_NOT_START, WRONG_INPUT, WRONG_SETTINGS};
use crate::{conf, listen, open_files, service_manager, text, tls, watch};

/// What to do where there is no declarative file.
const MISSING: &str = "; name the declarative file as the argument of `biplane run` or in KONG_DECLARATIVE_CONFIG, or neither to start empty";

/// What happens, and a way to tell more of it.
pub type Events = (Sender<Event>, Receiver<Event>);
/// Files whose changes go unnoticed, and why.
type Unwatched = Vec<(PathBuf, std::io::Error)>;

/// What happens to a running gateway.
pub enum Event {
    /// A file may have changed, or somebody asks to read them again.
    Reload,
    /// A secret has another value.
    Secrets,
    /// Let another process take over.
    Upgrade,
    /// What that process has said.
    Heard(Word),
    /// Stop, letting running requests finish.
    Stop,
}

/// Why nothing is served.
enum Refusal {
    /// Arguments or settings are wrong.
    Settings(String),
    /// Something outside is.
    Start(String),
    /// The configuration has problems: its name, its text, and what is wrong.
    Configuration(String, Arc<String>, Vec<Problem>),
}

/// Serves until told to stop, or until another process has taken over.
pub fn run(arguments: &Run) -> ExitCode {
    let invocation = Invocation::of_process();
    let inherited = Inheritance::take();
    // What is wrong with that file is told with the other settings.
    let file = arguments.conf.as_deref().and_then(|file| conf::read(file).ok());
    let arguments = &arguments.over(&file.unwrap_or_default());
    start_log(arguments.json, arguments.log_level.as_deref());
    let mut inheritance = match inherited {
        Ok(inheritance) => inheritance,
        Err(problem) => return Refusal::Start(problem).tell(),
    };
    match begin(arguments, invocation, &mut inheritance) {
        Ok(serving) => {
            serving.sign();
            service_manager::ready();
            inheritance.ready();
            announce(&serving.started);
            serving.run();
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            inheritance.failed(&refusal.to_string());
            refusal.tell()
        }
    }
}

fn begin<'a>(
    arguments: &'a Run,
    invocation: Invocation,
    inheritance: &mut Inheritance,
) -> Result<Serving<'a>, Refusal> {
    let (places, mut environment) = read_settings(arguments).map_err(Refusal::Settings)?;
    // Watched before they are read, so that no change falls in between.
    let staples = tls::staples(&environment.settings.tls);
    let (events, unwatched) =
        events(arguments, &staples).map_err(|error| Refusal::Start(error.to_string()))?;
    let posted = inheritance.text.take();
    let is_posted = posted.is_some();
    let file = arguments.file.as_ref().map_or_else(String::new, |file| file.display().to_string());
    let text = match (posted, &arguments.file) {
        (Some(text), _) => Some(Arc::new(text)),
        (None, Some(file)) => Some(Arc::new(read_file(file).map_err(Refusal::Start)?)),
        (None, None) => None,
    };
    for (file, error) in unwatched {
        let file = file.display();
        tracing::warn!(%error, %file, "a file cannot be watched; send SIGHUP after a change");
    }
    let files = open_files::raise(&Takers::of(&places)).map_err(Refusal::Start)?;
    environment.settings.most_descriptors = files.most;
    for warning in places.warnings.iter().chain(&environment.warnings).chain(&files.warning) {
        tracing::warn!("{warning}");
    }
    let refused = {
        let (name, text) = (if is_posted { POSTED.to_owned() } else { file.clone() }, text.clone());
        move |failure| match failure {
            Failure::Configuration(problems) => {
                Refusal::Configuration(name, text.unwrap_or_default(), problems)
            }
            other => Refusal::Start(other.to_string()),
        }
    };
    let options = Options { file, text, is_posted, places: &places, environment: &mut environment };
    let started = start(options, inheritance).map_err(refused)?;
    warn(&started);
    let changes = events.0.clone();
    let renewal = Renewal::new(environment.secrets.interval(), &started.services);
    let watched = started.origin.watch_secrets(renewal, move || changes.send(Event::Secrets).is_ok());
    watched.map_err(|error| Refusal::Start(error.to_string()))?;
    Ok(Serving::new(started, arguments, invocation, (places, environment), events))
}

/// Reads the settings: options, environment, and the file behind them.
///
/// # Errors
/// Everything that is wrong, one line each.
pub fn read_settings(arguments: &Run) -> Result<(Places, FromEnvironment), String> {
    let file = arguments.conf.as_deref().map_or_else(|| Ok(Environment::new()), conf::read)?;
    let listen = arguments.listen.over(&file);
    let environment = settings::from_environment(variables_over(file))?;
    Ok((Places::from(&listen)?, environment))
}

/// The environment of the process, with a file of settings behind it.
pub fn variables_over(file: Environment) -> impl Iterator<Item = (String, String)> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    // What comes later wins.
    let file = file.into_iter().map(|(name, value)| (format!("KONG_{}", name.to_ascii_uppercase()), value));
    file.chain(variables)
}

fn read_file(file: &Path) -> Result<String, String> {
    text::read(file).map_err(|error| {
        let advice = if file.exists() { "" } else { MISSING };
        format!("cannot read {}: {error}{advice}", file.display())
    })
}

/// Starts the gateway's own log on standard error.
pub fn start_log(json: bool, level: Option<&str>) {
    // The library of HTTP/2 warns of each frame of a client that is odd: a line of the gateway's own says so, seldom.
    let level = match level {
        Some("debug") => "debug",
        Some("warn") => "warn,h2=error",
        Some("error" | "crit" | "alert" | "emerg") => "error",
        _ => "info,h2=error",
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_target(false)
        .with_writer(std::io::stderr);
    if json {
        builder.json().init();
    } else {
        builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    }
    engine::report_panics();
}

/// Says a line on standard error.
pub fn say(line: &str) {
    // Standard error may be closed; there is nobody to tell then.
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl Refusal {
    /// Says it on standard error.
    fn tell(&self) -> ExitCode {
        match self {
            Self::Settings(problems) => {
                problems.lines().for_each(|problem| say(&format!("error: {problem}")));
                ExitCode::from(WRONG_SETTINGS)
            }
            Self::Start(problem) => {
                say(&format!("error: {problem}"));
                ExitCode::from(COULD_NOT_START)
            }
            Self::Configuration(name, text, problems) => {
                report(problems, name, text);
                ExitCode::from(WRONG_INPUT)
            }
        }
    }
}

/// In a line, for the process that was to be relieved.
impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(problems) => write!(out, "{}", problems.replace('\n', "; ")),
            Self::Start(problem) => write!(out, "{problem}"),
            Self::Configuration(_, _, problems) => {
                let first = problems.iter().find(|problem| problem.severity == Severity::Error);
                let first = first.map(|problem| format!("line {}: {}", problem.span.line, problem.message));
                write!(out, "the configuration has problems: {}", first.unwrap_or_default())
            }
        }
    }
}

/// Prints problems with their places on standard error.
pub fn report(problems: &[Problem], name: &str, text: &str) {
    let source = Source::new(name, text);
    for problem in problems {
        say(&source.render(problem));
    }
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    say(&format!("{name}: {errors} {}", if errors == 1 { "error" } else { "errors" }));
}

/// Names what works in the configuration but deserves attention.
pub fn warn(started: &Started) {
    let config = started.gateway.config();
    let announced: Vec<_> = started.gateway.listeners().iter().map(listen::announced).collect();
    if let Some(unheard) = listen::unheard(&config, &announced) {
        tracing::warn!("{unheard}");
    }
    for warning in &config.warnings {
        tracing::warn!(line = warning.span.line, place = %warning.place, "{}", warning.message);
    }
}

fn announce(started: &Started) {
    announce_listeners(started);
    let [admin, status] = &started.control_schemes;
    for (address, scheme) in started.admin.iter().zip(admin) {
        say(&format!("listening admin {scheme} {address}"));
    }
    for (address, scheme) in started.status.iter().zip(status) {
        say(&format!("listening status {scheme} {address}"));
    }
    say("ready");
}

/// Names the addresses for clients.
pub fn announce_listeners(started: &Started) {
    for listener in started.gateway.listeners() {
        say(&format!("listening {} {}", listen::announced(&listener), listener.address));
    }
}

/// Signals and changes of the files, as they come, and a way to send more; and the files that cannot be watched.
fn events(arguments: &Run, staples: &[PathBuf]) -> std::io::Result<(Events, Unwatched)> {
    let (sender, events) = mpsc::channel();
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR2])?;
    let from_signals = sender.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGHUP => Event::Reload,
                SIGUSR2 => Event::Upgrade,
                _ => Event::Stop,
            };
            if from_signals.send(event).is_err() {
                return;
            }
        }
    })?;
    let files = arguments.file.iter().chain(&arguments.conf).chain(staples);
    let watched = |file: &PathBuf| {
        watch::watch(file.to_owned(), sender.clone()).err().map(|error| (file.to_owned(), error))
    };
    let unwatched = files.filter_map(watched).collect();
    Ok(((sender, events), unwatched))
}
