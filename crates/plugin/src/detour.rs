//! Sending a request elsewhere than to the service of its route.
//!
//! A room says at build time where requests may go ([`Build::detour_to_service`], [`Build::detour_to_host`]) and gets
//! a [`Detour`]; in `access` it chooses one ([`Access::send_to`](crate::Access::send_to)). The gateway makes each ready
//! when the configuration is compiled, so that nothing is looked up on the way.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use model::entity::Service;

use crate::build::{Build, BuildError};

/// A way that requests may take instead of the one to the service of their route. Belongs to the configuration it was
/// registered in.
#[derive(Clone)]
pub struct Detour(Arc<Inner>);

struct Inner {
    number: usize,
    to: To,
    base: Base,
    name: Arc<str>,
    service_json: Option<Box<str>>,
    reachable: OnceLock<Reachable>,
}

type Reachable = Box<dyn Fn() -> bool + Send + Sync>;

/// Where a detour leads.
#[derive(Debug, Clone)]
pub enum To {
    /// Another service of the configuration, with all its settings. Its path takes the place of the path of the
    /// route's own service, where the request still begins with that.
    Service(Arc<Service>),
    /// Another host, or upstream, or port, that is otherwise spoken to as the route's own service is.
    Host {
        /// Name of an upstream or of a host; the service's own if there is none.
        host: Option<String>,
        /// The port; the service's own if there is none. Targets of an upstream have their own.
        port: Option<u16>,
    },
}

/// Whose requests may take a detour to a host: their service says how it is spoken to.
#[derive(Debug, Clone)]
pub enum Base {
    /// Those of one service.
    Service(Arc<Service>),
    /// Those of any service.
    Every,
}

impl Detour {
    /// Position among the detours of the configuration.
    #[must_use]
    pub fn number(&self) -> usize {
        self.0.number
    }

    /// Where it leads.
    #[must_use]
    pub fn to(&self) -> &To {
        &self.0.to
    }

    /// Whose requests may take it.
    #[must_use]
    pub fn base(&self) -> &Base {
        &self.0.base
    }

    /// Where it leads, for log lines: the service's name, or `host:port` as far as they are given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The same, to be kept.
    #[must_use]
    pub fn shared_name(&self) -> Arc<str> {
        self.0.name.clone()
    }

    /// The service that is asked; none where it is the route's own, at another place.
    #[must_use]
    pub fn service(&self) -> Option<&Arc<Service>> {
        match &self.0.to {
            To::Service(service) => Some(service),
            To::Host { .. } => None,
        }
    }

    /// That service as JSON, for log lines.
    #[must_use]
    pub fn service_json(&self) -> Option<&str> {
        self.0.service_json.as_deref()
    }

    /// Whether there is a target that could be asked, as far as is known now.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.0.reachable.get().is_none_or(|reachable| reachable())
    }

    /// Says how to find out whether there is a target. For the engine, which knows; only the first word counts.
    pub fn report_reachable(&self, reachable: impl Fn() -> bool + Send + Sync + 'static) {
        let _told_before = self.0.reachable.set(Box::new(reachable));
    }
}

/// The detours that the rooms of one configuration have registered.
#[derive(Default)]
pub struct Detours(Mutex<Vec<Detour>>);

impl Detours {
    /// The detours by number.
    #[must_use]
    pub fn list(&self) -> Vec<Detour> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, to: To, base: Base, name: &str, service_json: Option<&str>) -> Detour {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = Inner {
            number: list.len(),
            to,
            base,
            name: name.into(),
            service_json: service_json.map(Box::from),
            reachable: OnceLock::new(),
        };
        let detour = Detour(Arc::new(inner));
        list.push(detour.clone());
        detour
    }
}

impl Build<'_> {
    /// A way to the service that `reference`, an id or a name, stands for. `field` is where the reference was found.
    ///
    /// # Errors
    /// When there is no such service, or it is disabled.
    pub fn detour_to_service(&self, field: &str, reference: &str) -> Result<Detour, BuildError> {
        let found = self.config.find("services", reference).map(|found| found.id);
        let service = found.and_then(|id| self.config.service(id)).cloned().ok_or_else(|| {
            let names = self.config.services.iter().filter_map(|service| service.name.as_deref());
            let known = names.collect::<Vec<_>>().join(", ");
            BuildError::new(field, format!("there is no service '{reference}'; there are: {known}"))
        })?;
        if !service.enabled {
            let message = format!("the service '{reference}' is disabled; enable it or name another one");
            return Err(BuildError::new(field, message));
        }
        let name = service.name.clone().unwrap_or_else(|| service.id.to_string());
        let json = self.config.entity_text("services", service.id);
        Ok(self.detours()?.add(To::Service(service), Base::Every, &name, json.as_deref()))
    }

    /// A way to another host, upstream or port than those of the route's own service, which still says protocol,
    /// timeouts, retries and whom to believe. `field` is where the host was found.
    ///
    /// # Errors
    /// When the plugin is on a route that has no service.
    pub fn detour_to_host(
        &self,
        field: &str,
        host: Option<&str>,
        port: Option<u16>,
    ) -> Result<Detour, BuildError> {
        let base = self.base(field)?;
        let name = match (host, port) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, port) => format!(":{}", port.unwrap_or_default()),
        };
        let to = To::Host { host: host.map(str::to_owned), port };
        Ok(self.detours()?.add(to, base, &name, None))
    }

    fn base(&self, field: &str) -> Result<Base, BuildError> {
        let of_route = self.row.route.map(|route| {
            let mut routes = self.routes.iter();
            routes.find(|matched| matched.route.id == route).and_then(|matched| matched.service.clone())
        });
        let of_service = self.row.service.map(|service| self.config.service(service).cloned());
        match of_service.or(of_route) {
            None => Ok(Base::Every),
            Some(Some(service)) => Ok(Base::Service(service)),
            Some(None) => {
                let message = "the plugin's route has no service, which would say how another host is spoken \
                               to; give the route a service";
                Err(BuildError::new(field, message))
            }
        }
    }

    fn detours(&self) -> Result<Arc<Detours>, BuildError> {
        self.shared(|_| Ok(Detours::default()))
    }
}
