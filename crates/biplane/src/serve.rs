//! What a running gateway does when something happens: it reads its files again, lets another process take over, stops.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use crate::cli::Run;
use crate::open_files::{self, Takers};
use crate::pid_file::{PidFile, State};
use crate::run::{self, Event, Events};
use crate::secure;
use crate::service_manager;
use crate::settings::FromEnvironment;
use crate::start::{Places, Started};
use crate::text;
use crate::upgrade::{Invocation, Successor, Word};

/// How often a stop that takes its time listens whether it is to hurry.
const GLANCE: Duration = Duration::from_millis(20);

/// A gateway that serves, and what it needs to know for what may happen.
pub struct Serving<'a> {
    /// The gateway.
    pub started: Started,
    /// How it was asked for.
    pub arguments: &'a Run,
    /// How the process was started.
    pub invocation: Invocation,
    /// The settings that hold.
    pub places: Places,
    /// The same.
    pub environment: FromEnvironment,
    /// What happens.
    pub events: Receiver<Event>,
    /// How to let something happen.
    pub sender: Sender<Event>,
    upgrade: Upgrade,
}

/// The state of upgrades.
#[derive(Default)]
struct Upgrade {
    successor: Option<Successor>,
    /// How many have failed.
    failures: u32,
    /// The files have changed meanwhile.
    reload_waits: bool,
}

impl<'a> Serving<'a> {
    /// A gateway that has just been started.
    pub fn new(
        started: Started,
        arguments: &'a Run,
        invocation: Invocation,
        settings: (Places, FromEnvironment),
        events: Events,
    ) -> Self {
        let ((places, environment), (sender, events)) = (settings, events);
        let upgrade = Upgrade::default();
        Self { started, arguments, invocation, places, environment, events, sender, upgrade }
    }

    /// Says in the file of the process id that this process serves.
    pub fn sign(&self) {
        self.write_pid(None);
    }

    fn write_pid(&self, failure: Option<(u32, String)>) {
        let Some(file) = self.pid_file() else { return };
        if let Err(error) = file.write(&State { id: std::process::id(), failure }) {
            tracing::error!(%error, "the file of the process id cannot be written");
        }
    }

    fn pid_file(&self) -> Option<PidFile> {
        self.arguments.pid.path().map(PidFile::new)
    }

    /// Serves until told to stop, or until another process does.
    pub fn run(mut self) {
        loop {
            match self.events.recv() {
                Ok(Event::Reload) if self.upgrade.successor.is_some() => self.upgrade.reload_waits = true,
                Ok(Event::Reload) => self.reload(),
                // The process that takes over looks them up itself.
                Ok(Event::Secrets) if self.upgrade.successor.is_some() => {}
                Ok(Event::Secrets) => self.renew_secrets(),
                Ok(Event::Upgrade) => self.begin_upgrade(),
                Ok(Event::Heard(Word::Ready)) => return self.leave(),
                Ok(Event::Heard(word)) => self.end_upgrade(word),
                Ok(Event::Stop) | Err(_) => return self.stop(),
            }
        }
    }

    fn begin_upgrade(&mut self) {
        if let Some(successor) = &self.upgrade.successor {
            tracing::warn!(process = successor.id(), "an upgrade is under way already");
            return;
        }
        let text = self.started.origin.settle();
        let begun = self.started.sockets().and_then(|sockets| {
            let successor = Successor::start(&self.invocation, sockets, text.as_deref().map(String::as_str))?;
            match self.listen_to(&successor) {
                Ok(()) => Ok(successor),
                Err(error) => {
                    // Nobody would hear that it serves, and this process would serve beside it.
                    successor.give_up(Word::Late);
                    Err(error)
                }
            }
        });
        match begun {
            Ok(successor) => {
                tracing::info!(process = successor.id(), "upgrading: the new process is starting");
                self.upgrade.successor = Some(successor);
            }
            Err(error) => self.note_failure(format!("{}: {error}", self.invocation)),
        }
    }

    fn listen_to(&self, successor: &Successor) -> std::io::Result<()> {
        let (listener, sender) = (successor.listener()?, self.sender.clone());
        let hear = move || drop(sender.send(Event::Heard(listener.hear())));
        std::thread::Builder::new().name("upgrade".to_owned()).spawn(hear).map(drop)
    }

    fn end_upgrade(&mut self, word: Word) {
        let Some(successor) = self.upgrade.successor.take() else { return };
        let reason = successor.give_up(word);
        self.note_failure(reason);
        if std::mem::take(&mut self.upgrade.reload_waits) {
            self.reload();
        }
    }

    fn note_failure(&mut self, reason: String) {
        self.started.origin.unsettle();
        self.upgrade.failures += 1;
        tracing::error!(reason, "not upgraded: this process keeps serving");
        self.write_pid(Some((self.upgrade.failures, reason)));
    }

    /// Finishes what runs; another process serves.
    fn leave(self) {
        tracing::info!("upgraded: another process serves; running requests get to finish here");
        wind_down(self.started, &self.events, Started::hand_over);
    }

    fn stop(mut self) {
        service_manager::stopping();
        tracing::info!("stopping: running requests get to finish");
        if let Some(successor) = self.upgrade.successor.take() {
            successor.give_up(Word::Late);
        }
        let file = self.pid_file();
        wind_down(self.started, &self.events, Started::stop);
        file.iter().for_each(PidFile::remove);
    }

    /// Reads the files again: that of the settings, if there is one, and the declarative one.
    fn reload(&mut self) {
        service_manager::reloading();
        self.reload_settings();
        match &self.arguments.file {
            Some(file) => self.reload_file(file),
            None => self.renew(),
        }
        service_manager::ready();
    }

    /// Serves the same with files and secrets that may have changed.
    fn renew(&self) {
        self.started.origin.renew();
        self.renew_secrets();
    }

    fn renew_secrets(&self) {
        match self.started.origin.renew_secrets() {
            Ok(true) => tracing::info!("reloaded: secrets have changed"),
            Ok(false) => {}
            Err(problems) => {
                for problem in &problems {
                    tracing::error!(place = %problem.place, "{}", problem.message);
                }
                tracing::error!("secrets not exchanged: the old configuration keeps serving");
            }
        }
    }

    fn reload_settings(&mut self) {
        let (places, mut environment) = match run::read_settings(self.arguments) {
            Ok(read) => read,
            Err(problems) => {
                tracing::error!(problems, "settings not reloaded: the old ones hold");
                return;
            }
        };
        self.renew_certificates(&places, &mut environment);
        if places.proxy != self.places.proxy {
            self.change_listeners(Places { proxy: places.proxy, ..self.places.clone() });
        }
        let later = waiting(&self.environment, &environment);
        if !later.is_empty() {
            tracing::warn!(
                settings = later.join(", "),
                "changed settings hold from the next start or upgrade on"
            );
        }
    }

    fn change_listeners(&mut self, places: Places) {
        let files = open_files::raise(&Takers::of(&places));
        let changed = files.and_then(|files| {
            let listened = self.started.listen(&places.proxy, &files);
            listened.map(|()| files.warning).map_err(|failure| failure.to_string())
        });
        match changed {
            Ok(warning) => {
                warning.iter().for_each(|warning| tracing::warn!("{warning}"));
                self.places = places;
                run::announce_listeners(&self.started);
            }
            Err(failure) => tracing::error!(failure, "listeners not changed: the old ones stay"),
        }
    }

    /// Shows the certificates that the settings name, if their files have changed.
    fn renew_certificates(&mut self, places: &Places, environment: &mut FromEnvironment) {
        // What was made at the start is not made anew.
        let old = &self.environment;
        for (name, tls, old) in [
            ("ssl_cert", &mut environment.settings.tls, &old.settings.tls),
            ("admin_ssl_cert", &mut environment.admin_tls, &old.admin_tls),
            ("status_ssl_cert", &mut environment.status_tls, &old.status_tls),
        ] {
            if !environment.given.contains_key(name) {
                tls.default_certificates.clone_from(&old.default_certificates);
            }
        }
        let added = secure::add_default_certificates(places, environment).map_err(|error| error.to_string());
        let tls = &environment.settings.tls;
        match added.and_then(|()| self.started.gateway.renew_certificates(tls)) {
            Ok(true) => {
                self.environment.settings.tls.default_certificates.clone_from(&tls.default_certificates);
                tracing::info!("new connections are shown other default certificates");
            }
            Ok(false) => {}
            Err(reason) => tracing::error!(reason, "the default certificates stay as they were"),
        }
    }

    /// Serves the declarative file, unless it is the same or has problems.
    fn reload_file(&self, file: &Path) {
        let text = match text::read(file) {
            Ok(text) => Arc::new(text),
            Err(error) => {
                tracing::error!(%error, file = %file.display(), "not reloaded: the file cannot be read");
                return;
            }
        };
        if self.started.origin.serves(&text) {
            tracing::info!(file = %file.display(), "not reloaded: nothing has changed");
            return self.renew();
        }
        match self.started.origin.replace(&text) {
            Ok(config) => {
                run::warn(&self.started);
                tracing::info!(file = %file.display(), hash = %config.hash, "reloaded");
            }
            Err(problems) => {
                run::report(&problems, &file.display().to_string(), &text);
                tracing::error!(file = %file.display(), "not reloaded: the old configuration keeps serving");
            }
        }
    }
}

/// Settings other than listeners that differ from those that hold.
fn waiting(hold: &FromEnvironment, wanted: &FromEnvironment) -> Vec<String> {
    let (hold, wanted) = (&hold.given, &wanted.given);
    let names: std::collections::BTreeSet<&String> = hold.keys().chain(wanted.keys()).collect();
    let differs = |name: &&&String| {
        hold.get(**name) != wanted.get(**name) && !matches!(name.as_str(), "proxy_listen" | "stream_listen")
    };
    names.iter().filter(differs).map(|name| (*name).clone()).collect()
}

/// Ends a gateway in its time. A signal to stop ends what that is patient with.
fn wind_down(started: Started, events: &Receiver<Event>, how: fn(Started)) {
    std::thread::scope(|scope| {
        let gateway = Arc::clone(&started.gateway);
        let ending = scope.spawn(move || how(started));
        while !ending.is_finished() {
            if let Ok(Event::Stop) = events.recv_timeout(GLANCE) {
                tracing::warn!("stopping at once");
                gateway.hurry();
            }
        }
    });
}
