//! The `biplane` binary: reads the command line and hands over. No logic lives here.

mod check;
mod cli;
mod demo;
mod listen;
mod run;
mod settings;
mod start;
mod tls;
mod watch;

use std::process::ExitCode;

use clap::Parser;

/// The input is wrong.
const WRONG_INPUT: u8 = 1;
/// The gateway could not start: a port is taken, a file cannot be read.
const COULD_NOT_START: u8 = 3;

fn main() -> ExitCode {
    match cli::Cli::parse().command {
        cli::Command::Run(arguments) => run::run(&arguments),
        cli::Command::Check(arguments) => check::run(&arguments),
        cli::Command::Demo(arguments) => demo::run(&arguments),
    }
}
