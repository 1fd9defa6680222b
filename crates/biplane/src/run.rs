//! `biplane run`: serve a declarative file until told to stop.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use model::{Problem, Severity, Source};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::Run;
use crate::settings::{self, FromEnvironment};
use crate::start::{Failure, Options, Places, Started, start};
use crate::tls;
use crate::watch;
use crate::{COULD_NOT_START, WRONG_INPUT};

/// A configuration without entities, for a gateway that is given one later by the Admin API.
const EMPTY: &str = "_format_version: \"3.0\"\n";

/// What happens to a running gateway.
pub enum Event {
    /// The file may have changed, or somebody asks to read it again.
    Reload,
    /// Stop, letting running requests finish.
    Stop,
}

/// Serves until told to stop.
pub fn run(arguments: &Run) -> ExitCode {
    start_log(arguments.json);
    let (places, environment) = match read_settings(arguments) {
        Ok(read) => read,
        Err(problems) => return usage(&problems),
    };
    // Watched before it is read, so that no change falls in between.
    let staples = tls::staples(&environment.settings.tls);
    let events = match events(arguments.file.as_deref(), &staples) {
        Ok(events) => events,
        Err(error) => return could_not_start(&error.to_string()),
    };
    let (file, text) = match read_file(arguments.file.as_deref()) {
        Ok(read) => read,
        Err(problem) => return could_not_start(&problem),
    };
    for warning in places.warnings.iter().chain(&environment.warnings) {
        tracing::warn!("{warning}");
    }
    let started = match start(Options { file, text, places, environment }) {
        Ok(started) => started,
        Err(Failure::Configuration(problems)) => return refuse(&problems, arguments.file.as_deref()),
        Err(failure) => return could_not_start(&failure.to_string()),
    };
    warn(&started);
    announce(&started);
    serve(started, &events, arguments.file.as_deref());
    ExitCode::SUCCESS
}

fn read_settings(arguments: &Run) -> Result<(Places, FromEnvironment), String> {
    let places = Places::from(&arguments.listen)?;
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok((places, settings::from_environment(variables)?))
}

fn read_file(file: Option<&Path>) -> Result<(String, String), String> {
    let Some(file) = file else { return Ok(("(empty)".to_owned(), EMPTY.to_owned())) };
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {name}: {error}"))?;
    Ok((name, text))
}

/// Starts the gateway's own log on standard error.
pub fn start_log(json: bool) {
    let level = std::env::var("KONG_LOG_LEVEL").unwrap_or_default();
    let level = match level.as_str() {
        "debug" => tracing::Level::DEBUG,
        "warn" => tracing::Level::WARN,
        "error" | "crit" | "alert" | "emerg" => tracing::Level::ERROR,
        _ => tracing::Level::INFO,
    };
    let builder =
        tracing_subscriber::fmt().with_max_level(level).with_target(false).with_writer(std::io::stderr);
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

fn usage(problems: &str) -> ExitCode {
    for problem in problems.lines() {
        say(&format!("error: {problem}"));
    }
    ExitCode::from(2)
}

fn could_not_start(problem: &str) -> ExitCode {
    say(&format!("error: {problem}"));
    ExitCode::from(COULD_NOT_START)
}

fn refuse(problems: &[Problem], file: Option<&Path>) -> ExitCode {
    let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    report(problems, &file.map(|file| file.display().to_string()).unwrap_or_default(), &text);
    ExitCode::from(WRONG_INPUT)
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
fn warn(started: &Started) {
    for warning in &started.gateway.config().warnings {
        tracing::warn!(line = warning.span.line, place = %warning.place, "{}", warning.message);
    }
}

fn announce(started: &Started) {
    for (address, scheme) in started.gateway.addresses().iter().zip(&started.schemes) {
        say(&format!("listening proxy {scheme} {address}"));
    }
    let [admin, status] = &started.control_schemes;
    for (address, scheme) in started.admin.iter().zip(admin) {
        say(&format!("listening admin {scheme} {address}"));
    }
    for (address, scheme) in started.status.iter().zip(status) {
        say(&format!("listening status {scheme} {address}"));
    }
    say("ready");
}

/// Signals and changes of the file, as they come.
fn events(file: Option<&Path>, staples: &[PathBuf]) -> std::io::Result<Receiver<Event>> {
    let (sender, events) = mpsc::channel();
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let from_signals = sender.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let event = if signal == SIGHUP { Event::Reload } else { Event::Stop };
            if from_signals.send(event).is_err() {
                return;
            }
        }
    })?;
    for path in file.into_iter().chain(staples.iter().map(PathBuf::as_path)) {
        start_watching(path.to_owned(), sender.clone());
    }
    Ok(events)
}

fn start_watching(file: PathBuf, events: Sender<Event>) {
    let name = file.display().to_string();
    if let Err(error) = watch::watch(file, events) {
        tracing::warn!(%error, file = %name, "the file cannot be watched; send SIGHUP after a change");
    }
}

fn serve(started: Started, events: &Receiver<Event>, file: Option<&Path>) {
    for event in events {
        match event {
            Event::Reload => reload(&started, file),
            Event::Stop => break,
        }
    }
    tracing::info!("stopping: running requests get to finish");
    std::thread::scope(|scope| {
        let gateway = Arc::clone(&started.gateway);
        let stopping = scope.spawn(move || started.stop());
        // A second signal ends what the first one was patient with.
        while !stopping.is_finished() {
            if let Ok(Event::Stop) = events.recv_timeout(std::time::Duration::from_millis(20)) {
                tracing::warn!("stopping at once");
                gateway.hurry();
            }
        }
    });
}

/// Reads the file again and serves it, unless it is the same or has problems.
fn reload(started: &Started, file: Option<&Path>) {
    let Some(file) = file else { return started.origin.renew() };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            tracing::error!(%error, file = %file.display(), "not reloaded: the file cannot be read");
            return;
        }
    };
    if text == started.origin.text() {
        tracing::info!(file = %file.display(), "not reloaded: nothing has changed");
        return started.origin.renew();
    }
    match started.origin.replace(&text) {
        Ok(config) => {
            warn(started);
            tracing::info!(file = %file.display(), hash = %config.hash, "reloaded");
        }
        Err(problems) => {
            report(&problems, &file.display().to_string(), &text);
            tracing::error!(file = %file.display(), "not reloaded: the old configuration keeps serving");
        }
    }
}
