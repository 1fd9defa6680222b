//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// An API gateway in one binary that runs Kong's declarative files.
#[derive(Debug, Parser)]
#[command(name = "biplane", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a declarative file
    Run(Run),
    /// Report every problem of declarative files at once
    Check(Check),
    /// Start a gateway with three small services and a tour
    Demo(Demo),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The declarative file (YAML or JSON)
    #[arg(env = "KONG_DECLARATIVE_CONFIG")]
    pub file: Option<PathBuf>,
    /// Addresses to listen on.
    #[command(flatten)]
    pub listen: Listen,
    /// Write the log of the gateway itself as JSON
    #[arg(long)]
    pub json: bool,
}

/// Where to listen, and with how many workers.
#[derive(Debug, Args, Default)]
pub struct Listen {
    /// Addresses for clients, as in Kong's proxy_listen [default: 0.0.0.0:8000]
    #[arg(long, value_name = "ADDRESSES", env = "KONG_PROXY_LISTEN")]
    pub proxy_listen: Option<String>,
    /// Addresses of the Admin API; `off` for none [default: 127.0.0.1:8001]
    #[arg(long, value_name = "ADDRESSES", env = "KONG_ADMIN_LISTEN")]
    pub admin_listen: Option<String>,
    /// Addresses for health and metrics only; `off` for none [default: 127.0.0.1:8007]
    #[arg(long, value_name = "ADDRESSES", env = "KONG_STATUS_LISTEN")]
    pub status_listen: Option<String>,
    /// Number of worker threads, or `auto` for one per core
    #[arg(long, value_name = "N", env = "KONG_NGINX_WORKER_PROCESSES")]
    pub workers: Option<String>,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The declarative files
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Print the problems as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Addresses to listen on.
    #[command(flatten)]
    pub listen: Listen,
}
