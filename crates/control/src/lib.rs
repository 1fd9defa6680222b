//! The control plane: the Admin API and the status listener, in Kong's shapes.
//!
//! It may be slow and must be clear. It never sees the data plane: configurations come from, and go to, a [`Source`].
//! Read `resource.rs` first: the map of all paths.

mod arguments;
mod call;
mod entities;
mod health;
mod intake;
mod load;
mod node;
mod page;
mod pages;
mod reply;
mod resource;
mod schemas;
mod server;
mod tags;

use std::sync::Arc;

use model::{Catalog, Config, Problem};
use plugin::{Definition, Services};

pub use server::{Bounds, Listening, Running, serve};

/// What the control plane is made with.
pub struct Control {
    /// What outlives reloads; the data plane counts here.
    pub services: Arc<Services>,
    /// Every plugin there is.
    pub definitions: &'static [&'static dyn Definition],
    /// The schemas that plugins bring.
    pub catalog: Catalog,
    /// Where configurations come from and go to.
    pub source: Box<dyn Source>,
    /// The operator's settings with secrets masked, for `GET /`.
    pub settings_shown: serde_json::Value,
    /// The version of Kong whose behaviour clients may expect, such as `3.9.3`.
    pub kong_version: &'static str,
}

/// The configuration being served, and the way to replace it.
pub trait Source: Send + Sync {
    /// What is served now.
    fn config(&self) -> Arc<Config>;

    /// Serves `text` instead, until the next reload.
    ///
    /// # Errors
    /// Why not; the old one stays.
    fn apply(&self, text: &str) -> Result<Arc<Config>, Unserved>;

    /// Whether requests can be served.
    ///
    /// # Errors
    /// Why not.
    fn is_ready(&self) -> Result<(), String>;
}

/// Why a configuration is not served.
#[derive(Debug)]
pub enum Unserved {
    /// Everything that is wrong with it.
    Wrong(Vec<Problem>),
    /// None can be taken now, whatever it is like.
    Busy(&'static str),
}

impl From<Vec<Problem>> for Unserved {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Wrong(problems)
    }
}
