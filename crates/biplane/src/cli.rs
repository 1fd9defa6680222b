//! The command line.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::settings::Environment;

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
        Self::of(&matches).unwrap_or_else(|error| error.exit())
    }

    fn of(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut line = Self::from_arg_matches(matches)?;
        if let (Command::Run(run), Some((_, matches))) = (&mut line.command, matches.subcommand()) {
            let is_default = |name: &&str| matches.value_source(name) == Some(ValueSource::DefaultValue);
            run.listen.defaults = Listen::NAMES.into_iter().filter(is_default).collect();
        }
        Ok(line)
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
    /// Replace a running gateway by the binary that now stands in its place
    Upgrade(Upgrade),
}

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// The declarative file (YAML or JSON)
    #[arg(env = "KONG_DECLARATIVE_CONFIG")]
    pub file: Option<PathBuf>,
    /// Settings in the form of Kong's kong.conf; environment and options win over it
    #[arg(short, long, value_name = "FILE", env = "KONG_CONF")]
    pub conf: Option<PathBuf>,
    /// Addresses to listen on.
    #[command(flatten)]
    pub listen: Listen,
    /// Where the process id is written.
    #[command(flatten)]
    pub pid: Pid,
    /// Write the log of the gateway itself as JSON
    #[arg(long)]
    pub json: bool,
    /// What of it is logged.
    #[arg(skip = std::env::var("KONG_LOG_LEVEL").ok())]
    pub log_level: Option<String>,
}

impl Run {
    /// The same, with what stands in a file of settings in place of what nobody has given. Listeners are another matter: they
    /// change while the gateway runs.
    pub fn over(&self, file: &Environment) -> Self {
        let given = |name: &str| file.get(name).filter(|value| !value.is_empty());
        let path = |name: &str| given(name).map(PathBuf::from);
        let Pid { pid_file, prefix } = self.pid.clone();
        Self {
            file: self.file.clone().or_else(|| path("declarative_config")),
            pid: Pid {
                pid_file: pid_file.or_else(|| path("pid_file")),
                prefix: prefix.or_else(|| path("prefix")),
            },
            log_level: self.log_level.clone().or_else(|| given("log_level").cloned()),
            ..self.clone()
        }
    }
}

/// Where to listen, and with how many workers. The defaults are those of `run`; [`command`] has those of `demo`.
#[derive(Debug, Clone, Args)]
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
    /// What of it nobody has given.
    #[arg(skip)]
    defaults: Vec<&'static str>,
}

impl Listen {
    const NAMES: [&str; 5] = ["proxy_listen", "stream_listen", "admin_listen", "status_listen", "workers"];

    /// The same, with what stands in a file of settings in place of defaults.
    pub fn over(&self, file: &Environment) -> Self {
        let given = |name: &str, here: &str, setting: &str| {
            let there = file.get(setting).filter(|_| self.defaults.contains(&name));
            there.map_or(here, String::as_str).to_owned()
        };
        Self {
            proxy_listen: given("proxy_listen", &self.proxy_listen, "proxy_listen"),
            stream_listen: given("stream_listen", &self.stream_listen, "stream_listen"),
            admin_listen: given("admin_listen", &self.admin_listen, "admin_listen"),
            status_listen: given("status_listen", &self.status_listen, "status_listen"),
            workers: given("workers", &self.workers, "nginx_worker_processes"),
            defaults: self.defaults.clone(),
        }
    }
}

/// Where the process id is.
#[derive(Debug, Clone, Args)]
pub struct Pid {
    /// File of the process id; biplane.pid in the folder KONG_PREFIX where there is one
    #[arg(long, value_name = "FILE", env = "KONG_PID_FILE")]
    pid_file: Option<PathBuf>,
    #[arg(skip = std::env::var_os("KONG_PREFIX").map(PathBuf::from))]
    prefix: Option<PathBuf>,
}

impl Pid {
    /// The path of the file, if it has one.
    pub fn path(&self) -> Option<PathBuf> {
        self.pid_file.clone().or_else(|| Some(self.prefix.as_ref()?.join("biplane.pid")))
    }
}

/// Arguments of `upgrade`.
#[derive(Debug, Args)]
pub struct Upgrade {
    /// Where the process id of the running gateway is.
    #[command(flatten)]
    pub pid: Pid,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The declarative files
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Settings in the form of Kong's kong.conf: where secrets are looked up
    #[arg(short, long, value_name = "FILE", env = "KONG_CONF")]
    pub conf: Option<PathBuf>,
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
        let Command::Demo(Demo { listen }) = Cli::of(&matches).unwrap().command else {
            panic!("another command")
        };
        // The environment of whoever runs the tests may say otherwise.
        if std::env::var_os("KONG_PROXY_LISTEN").is_none() {
            assert_eq!(listen.proxy_listen, "127.0.0.1:8000");
        }
        assert_eq!(listen.workers, "2");
    }

    #[test]
    fn a_file_of_settings_names_the_files_that_nobody_has_named() {
        let of = |arguments: &[&str]| {
            let Command::Run(run) = Cli::of(&command().get_matches_from(arguments)).unwrap().command else {
                panic!("another command")
            };
            run
        };
        let settings = [
            ("declarative_config", "/etc/kong.yml"),
            ("pid_file", "/run/kong.pid"),
            ("prefix", "/var/kong"),
            ("log_level", "warn"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let given = of(&["biplane", "run", "own.yml", "--pid-file", "own.pid"]).over(&settings);
        assert_eq!((given.file, given.pid.path()), (Some("own.yml".into()), Some("own.pid".into())));
        // The environment of whoever runs the tests may say otherwise.
        let names = ["KONG_DECLARATIVE_CONFIG", "KONG_PID_FILE", "KONG_PREFIX", "KONG_LOG_LEVEL"];
        if names.iter().all(|name| std::env::var_os(name).is_none()) {
            let from_file = of(&["biplane", "run"]).over(&settings);
            assert_eq!(from_file.file, Some("/etc/kong.yml".into()));
            assert_eq!(from_file.pid.path(), Some("/run/kong.pid".into()));
            assert_eq!(from_file.log_level.as_deref(), Some("warn"));
            let nothing = of(&["biplane", "run"]).over(&Environment::new());
            assert_eq!((nothing.file, nothing.pid.path(), nothing.log_level), (None, None, None));
        }
    }

    #[test]
    fn a_file_of_settings_stands_in_for_defaults_only() {
        let matches = command().get_matches_from(["biplane", "run", "--admin-listen", "127.0.0.1:1"]);
        let Command::Run(run) = Cli::of(&matches).unwrap().command else { panic!("another command") };
        let file = [("admin_listen", "off"), ("status_listen", "off"), ("nginx_worker_processes", "3")];
        let file = file.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let listen = run.listen.over(&file);
        assert_eq!(listen.admin_listen, "127.0.0.1:1");
        if std::env::var_os("KONG_STATUS_LISTEN").is_none() {
            assert_eq!(listen.status_listen, "off");
        }
        if std::env::var_os("KONG_NGINX_WORKER_PROCESSES").is_none() {
            assert_eq!(listen.workers, "3");
        }
    }
}
