//! The control plane over real listeners on loopback.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]

mod admin;
mod bounds;
mod config;
mod health;
mod secure;
mod support;
