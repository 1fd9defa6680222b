//! The control plane over real listeners on loopback.

mod admin;
mod config;
mod support;
