//! The `biplane` binary: reads the command line and hands over. No logic lives here.

mod check;
mod cli;
mod conf;
mod demo;
mod listen;
mod open_files;
mod origin;
mod pid_file;
mod run;
mod secure;
mod serve;
mod service_manager;
mod settings;
mod start;
mod text;
mod tls;
mod upgrade;
mod vaults;
mod watch;
mod zero;

use std::process::ExitCode;

/// Streams of HTTP/2 come and go with their memory, which costs less here than in the C library (bench/RESULTS.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The input is wrong.
const WRONG_INPUT: u8 = 1;
/// Arguments or settings are wrong.
const WRONG_SETTINGS: u8 = 2;
/// The gateway could not start: a port is taken, a file cannot be read.
const COULD_NOT_START: u8 = 3;

fn main() -> ExitCode {
    match cli::Cli::of_process().command {
        cli::Command::Run(arguments) => run::run(&arguments),
        cli::Command::Check(arguments) => check::run(&arguments),
        cli::Command::Demo(arguments) => demo::run(&arguments),
        cli::Command::Upgrade(arguments) => upgrade::ask(&arguments),
    }
}
