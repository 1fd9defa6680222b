//! The command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

/// An API gateway in one binary that runs Kong's declarative files.
#[derive(Debug, Parser)]
#[command(name = "biplane", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the arguments of the process. Ends it with the help or with what is wrong, when there is nothing to do.
    pub fn of_process() -> Self {
        let matches = command().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// The command line, with the defaults that only `demo` has: it stays on loopback and has no status listener.
fn command() -> clap::Command {
    Cli::command().mut_subcommand("demo", |demo| {
        demo.mut_arg("proxy_listen", |argument| argument.default_value("127.0.0.1:8000"))
            .mut_arg("status_listen", |argument| argument.default_value("off"))
    })
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

/// Where to listen, and with how many workers. The defaults are those of `run`; [`command`] has those of `demo`.
#[derive(Debug, Args)]
pub struct Listen {
    /// Addresses for clients, as in Kong's proxy_listen
    #[arg(long, value_name = "ADDRESSES", env = "KONG_PROXY_LISTEN", default_value = "0.0.0.0:8000")]
    pub proxy_listen: String,
    /// Addresses for streams on layer 4, as in Kong's stream_listen; `off` for none
    #[arg(long, value_name = "ADDRESSES", env = "KONG_STREAM_LISTEN", default_value = "off")]
    pub stream_listen: String,
    /// Addresses of the Admin API; `off` for none
    #[arg(long, value_name = "ADDRESSES", env = "KONG_ADMIN_LISTEN", default_value = "127.0.0.1:8001")]
    pub admin_listen: String,
    /// Addresses for health and metrics only; `off` for none
    #[arg(long, value_name = "ADDRESSES", env = "KONG_STATUS_LISTEN", default_value = "127.0.0.1:8007")]
    pub status_listen: String,
    /// Number of worker threads, or `auto` for one per core
    #[arg(long, value_name = "N", env = "KONG_NGINX_WORKER_PROCESSES", default_value = "auto")]
    pub workers: String,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The default that the help of a command shows for an option.
    fn shown(subcommand: &str, option: &str) -> String {
        let mut command = command();
        let help = command.find_subcommand_mut(subcommand).unwrap().render_help().to_string();
        let after = help.split_once(&format!("{option} <")).unwrap_or_else(|| panic!("{help}")).1;
        after.split_once("[default: ").unwrap().1.split_once(']').unwrap().0.to_owned()
    }

    #[test]
    fn the_help_shows_the_defaults_of_each_command() {
        for (command, proxy, status) in
            [("run", "0.0.0.0:8000", "127.0.0.1:8007"), ("demo", "127.0.0.1:8000", "off")]
        {
            assert_eq!(shown(command, "--proxy-listen"), proxy, "{command}");
            assert_eq!(shown(command, "--admin-listen"), "127.0.0.1:8001", "{command}");
            assert_eq!(shown(command, "--status-listen"), status, "{command}");
        }
    }

    #[test]
    fn what_the_help_shows_is_what_holds() {
        let matches = command().get_matches_from(["biplane", "demo", "--workers", "2"]);
        let Command::Demo(Demo { listen }) = Cli::from_arg_matches(&matches).unwrap().command else {
            panic!("another command")
        };
        // The environment of whoever runs the tests may say otherwise.
        if std::env::var_os("KONG_PROXY_LISTEN").is_none() {
            assert_eq!(listen.proxy_listen, "127.0.0.1:8000");
        }
        assert_eq!(listen.workers, "2");
    }
}
