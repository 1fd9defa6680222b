//! The configuration's text, whether it came from the file or by the Admin API, and how another one takes its place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control::{Source, Unserved};
use engine::Gateway;
use model::courtesy::courteously;
use model::declarative::{load_with, locate};
use model::node::Span;
use model::{Catalog, Config, Place, Problem};

use crate::vaults::{ProcessVaults, Renewal, Unaided};

/// The name of texts that stand in no file. It says nothing of what they are written in.
pub const POSTED: &str = "(posted)";

/// Where the configuration comes from: the text now served, and how to serve another.
pub struct Origin {
    file: String,
    catalog: Catalog,
    vaults: Arc<ProcessVaults>,
    gateway: Arc<Gateway>,
    text: Mutex<Arc<String>>,
    /// The text came by the Admin API, and stands in no file.
    posted: AtomicBool,
    /// Another process is about to take over with the text that is served now.
    settled: AtomicBool,
    /// There are responses of OCSP, which change apart from the text.
    pub has_staples: bool,
    /// Held from reading a text until it is served: who comes later is served later.
    replacing: Mutex<()>,
}

impl Origin {
    /// What `gateway` serves, with its text and the name that problems are told with.
    pub fn new(
        file: String,
        (catalog, vaults): (Catalog, Arc<ProcessVaults>),
        gateway: Arc<Gateway>,
        text: Arc<String>,
    ) -> Self {
        Self {
            file,
            catalog,
            vaults,
            gateway,
            text: Mutex::new(text),
            posted: AtomicBool::default(),
            settled: AtomicBool::default(),
            has_staples: false,
            replacing: Mutex::default(),
        }
    }

    /// Serves `text` from now on.
    ///
    /// # Errors
    /// Every problem of `text`; what was served stays.
    pub fn replace(&self, text: &Arc<String>) -> Result<Arc<Config>, Vec<Problem>> {
        self.replace_with(text, false, |text| self.load(&self.file, text)).map_err(
            |unserved| match unserved {
                Unserved::Wrong(problems) => problems,
                Unserved::Busy(why) => vec![Problem::new(Place(Vec::new()), Span::default(), why.to_owned())],
            },
        )
    }

    fn load(&self, name: &str, text: &str) -> Result<Config, Vec<Problem>> {
        courteously(|| load_with(name, text, &self.catalog, &*self.vaults))
    }

    fn post(&self, text: &str) -> Result<Arc<Config>, Unserved> {
        self.replace_with(&Arc::new(text.to_owned()), true, |text| self.load(POSTED, text))
    }

    fn name(&self, posted: bool) -> &str {
        if posted { POSTED } else { &self.file }
    }

    fn replace_with(
        &self,
        text: &Arc<String>,
        posted: bool,
        load: impl FnOnce(&str) -> Result<Config, Vec<Problem>>,
    ) -> Result<Arc<Config>, Unserved> {
        let one_at_a_time = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.settled.load(Ordering::Acquire) {
            return Err(Unserved::Busy(
                "the gateway is being upgraded: send the configuration again in a moment",
            ));
        }
        let config = self.serve(&one_at_a_time, (self.name(posted), text.as_str()), load(text)?)?;
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text.clone();
        self.posted.store(posted, Ordering::Release);
        Ok(config)
    }

    /// Only who has the right to replace may call it.
    fn serve(
        &self,
        _right: &MutexGuard<'_, ()>,
        (name, text): (&str, &str),
        config: Config,
    ) -> Result<Arc<Config>, Vec<Problem>> {
        let config = Arc::new(config);
        let served = courteously(|| self.gateway.reload(config.clone()));
        served.map_err(|problems| locate(name, text, &self.catalog, problems))?;
        Ok(config)
    }

    /// Looks every secret up again, and serves the same text with those that have changed. Whether there were any.
    ///
    /// # Errors
    /// What is wrong with the text now; what was served stays.
    pub fn renew_secrets(&self) -> Result<bool, Vec<Problem>> {
        let right = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let served = self.gateway.config();
        if served.secrets.is_empty() || self.settled.load(Ordering::Acquire) {
            return Ok(false);
        }
        let text = self.text();
        let name = self.name(self.posted.load(Ordering::Acquire));
        let config = self.load(name, &text)?;
        let values =
            |config: &Config| config.secrets.iter().map(|found| found.value.clone()).collect::<Vec<_>>();
        if values(&config) == values(&served) {
            return Ok(false);
        }
        self.serve(&right, (name, text.as_str()), config).map(|_| true)
    }

    /// Takes no other text from now on, and tells the one that no file has. Nothing that was said to be served can be
    /// lost between two processes.
    pub fn settle(&self) -> Option<Arc<String>> {
        let _one_at_a_time = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        self.settled.store(true, Ordering::Release);
        self.posted.load(Ordering::Acquire).then(|| self.text())
    }

    /// Takes other texts again.
    pub fn unsettle(&self) {
        self.settled.store(false, Ordering::Release);
    }

    /// The text has been taken over from the process before, and stands in no file.
    pub fn mark_posted(&self) {
        self.posted.store(true, Ordering::Release);
    }

    /// Serves the same once more, if it comes with files that may have changed: responses of OCSP.
    pub fn renew(&self) {
        if !self.has_staples {
            return;
        }
        let _one_at_a_time = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        match courteously(|| self.gateway.reload(self.gateway.config())) {
            Ok(()) => tracing::info!("responses of OCSP have been read again"),
            Err(problems) => {
                tracing::error!(count = problems.len(), "responses of OCSP could not be read again");
            }
        }
    }

    /// The secrets in use are looked up again when their time is over, by a thread of its own, which tells `changed` when
    /// one has another value.
    ///
    /// # Errors
    /// When there can be no such thread.
    pub fn watch_secrets(
        self: &Arc<Self>,
        mut renewal: Renewal,
        changed: impl Fn() -> bool + Send + 'static,
    ) -> std::io::Result<()> {
        let origin = Arc::downgrade(self);
        std::thread::Builder::new().name("secrets".to_owned()).spawn(move || {
            while let Some(origin) = origin.upgrade() {
                let config = origin.gateway.config();
                let vaults = Unaided(&origin.vaults);
                if renewal.changed(&config.secrets, &vaults) && !changed() {
                    return;
                }
                origin.vaults.keep_up(&config.secrets);
                let pause = renewal.pause(&config.secrets);
                // Nothing is kept alive while nothing is due.
                drop((config, origin));
                std::thread::park_timeout(pause);
            }
        })?;
        Ok(())
    }

    /// Whether `text` is what is served.
    pub fn serves(&self, text: &str) -> bool {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).as_str() == text
    }

    /// The text now served.
    pub fn text(&self) -> Arc<String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The same as the Admin API sees it.
pub struct SharedOrigin(pub Arc<Origin>);

impl Source for SharedOrigin {
    fn config(&self) -> Arc<Config> {
        self.0.gateway.config()
    }

    fn apply(&self, text: &str) -> Result<Arc<Config>, Unserved> {
        self.0.post(text)
    }

    fn is_ready(&self) -> Result<(), String> {
        if self.0.gateway.is_stopping() {
            return Err("the gateway is stopping".to_owned());
        }
        match self.0.gateway.config().is_none() {
            true => Err("no configuration available (empty configuration present)".to_owned()),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use plugin::Services;
    use plugin::clock::Clock;

    use super::*;
    use crate::start::{Places, start_gateway};
    use crate::upgrade::Inheritance;

    fn text(service: &str) -> Arc<String> {
        Arc::new(format!("{{_format_version: '3.0', services: [{{name: {service}, host: h.test}}]}}"))
    }

    /// A gateway that listens nowhere.
    fn origin() -> Origin {
        let text = text("first");
        let config = model::declarative::load("kong.yml", &text, &plugins::catalog()).unwrap();
        let environment = crate::settings::from_environment(std::iter::empty()).unwrap();
        let places = Places { proxy: vec![], admin: vec![], status: vec![], workers: 1, warnings: vec![] };
        let services = Services::new(1, Clock::default(), true);
        let mut nothing = Inheritance::default();
        let gateway = start_gateway(&places, &environment, &services, config, &mut nothing).unwrap();
        let sources = (
            plugins::catalog(),
            Arc::new(ProcessVaults::of_process(&environment.secrets, &environment.settings.tls)),
        );
        Origin::new("kong.yml".to_owned(), sources, gateway, text)
    }

    #[test]
    fn a_configuration_that_is_still_being_read_is_not_overtaken() {
        let origin = origin();
        let config = origin
            .replace_with(&text("slow"), false, |text| {
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

    #[test]
    fn what_was_posted_is_handed_over_and_nothing_is_taken_meanwhile() {
        let origin = origin();
        assert_eq!(origin.settle(), None, "the next process reads the file itself");
        origin.unsettle();
        origin.post(&text("posted")).unwrap();
        assert_eq!(origin.settle(), Some(text("posted")));
        let refused = origin.post(&text("late")).unwrap_err();
        assert!(matches!(refused, Unserved::Busy(why) if why.contains("is being upgraded")), "{refused:?}");
        origin.unsettle();
        origin.replace(&text("later")).unwrap();
        assert_eq!(origin.settle(), None);
        origin.gateway.stop();
    }
}
