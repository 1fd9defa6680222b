//! One worker's way to a Redis: opened when first needed, shared by the worker's tasks, replaced when it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redis::Value;
use tokio::sync::Mutex;

use super::Fault;
use super::connection::Opener;
use super::request::Request;
use super::route::Route;

/// A worker's connection with its count of exchanges.
#[derive(Default)]
pub struct Link {
    route: Mutex<Option<Arc<Route>>>,
    in_flight: AtomicUsize,
}

/// One exchange among those in flight.
pub struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Link {
    /// A place among at most `most` exchanges in flight.
    pub fn enter(&self, most: usize) -> Option<Place<'_>> {
        let place = Place(&self.in_flight);
        (self.in_flight.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }

    /// Carries an exchange out; once more on a new connection where an old one turns out to be lost, as it does when the server
    /// has closed it or been started anew.
    pub async fn run(&self, request: &Request<'_>, opener: &Opener) -> Result<Value, Fault> {
        let (route, is_new) = self.route(opener).await?;
        match route.run(request, opener).await {
            Err(Fault::Lost(_)) if !is_new => {
                self.forget(&route).await;
                let (route, _) = self.route(opener).await?;
                let outcome = route.run(request, opener).await;
                if matches!(outcome, Err(Fault::Lost(_))) {
                    self.forget(&route).await;
                }
                outcome
            }
            Err(fault @ Fault::Lost(_)) => {
                self.forget(&route).await;
                Err(fault)
            }
            outcome => outcome,
        }
    }

    /// The way, and whether it has been opened just now. Whoever comes while it is being opened waits for that.
    async fn route(&self, opener: &Opener) -> Result<(Arc<Route>, bool), Fault> {
        let mut held = self.route.lock().await;
        if let Some(route) = &*held {
            return Ok((route.clone(), false));
        }
        let opening = tokio::time::timeout(opener.settings.connect_timeout, Route::open(opener)).await;
        let timed_out =
            |_| Fault::Lost(format!("no connection within {:?}", opener.settings.connect_timeout));
        let route = Arc::new(opening.map_err(timed_out)??);
        *held = Some(route.clone());
        Ok((route, true))
    }

    /// Does not use `route` any more.
    async fn forget(&self, route: &Arc<Route>) {
        let mut held = self.route.lock().await;
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, route)) {
            *held = None;
        }
    }

    /// Does not use whatever there is any more, unless a new one is being opened.
    pub fn reset(&self) {
        if let Ok(mut held) = self.route.try_lock() {
            *held = None;
        }
    }

    /// Opens a new way and makes sure that it leads somewhere.
    pub async fn probe(&self, opener: &Opener) -> Result<(), Fault> {
        let (route, _) = self.route(opener).await?;
        let outcome = route.check().await;
        if outcome.is_err() {
            self.forget(&route).await;
        }
        outcome
    }
}
