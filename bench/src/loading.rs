//! Starting the load generator as a child process and talking to it.

use std::io;
use std::process::Stdio;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::load::{Outcome, Plan};
use crate::measure::{Cpu, cpu};

/// A load that has connected and warmed up, and waits for its start.
pub struct Load {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Load {
    /// Starts the process and waits until it is ready. It ends with the returned value.
    pub async fn prepare(plan: &Plan) -> io::Result<Self> {
        Self::start("load", &serde_json::to_string(plan)?).await
    }

    /// The same for another part of this program, given with its plan.
    pub async fn start(part: &str, plan: &str) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(part).arg(plan);
        Self::begin(command).await
    }

    async fn begin(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).process_group(0);
        let mut child = command.spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the load has no pipes"));
        };
        let mut load = Self { child, input, output: BufReader::new(output).lines() };
        match load.output.next_line().await? {
            Some(line) if line == "ready" => Ok(load),
            _ => Err(io::Error::other("the load could not connect")),
        }
    }

    /// What it has cost so far.
    pub fn cpu(&self) -> Cpu {
        self.child.id().map(cpu).unwrap_or_default()
    }

    /// Lets it send.
    pub async fn go(&mut self) -> io::Result<()> {
        self.input.write_all(b"go\n").await
    }

    /// Lets it send, and waits for what comes of it; then it can be done again.
    pub async fn turn(&mut self) -> io::Result<Outcome> {
        self.go().await?;
        answer(&mut self.output).await
    }

    /// Waits for the end.
    pub async fn outcome(self) -> io::Result<Outcome> {
        self.result().await
    }

    /// Waits for what the process says, and for its end.
    pub async fn result<T: DeserializeOwned>(mut self) -> io::Result<T> {
        // What it has been told already it still does.
        drop(self.input);
        let result = answer(&mut self.output).await?;
        self.child.wait().await?;
        Ok(result)
    }
}

async fn answer<T: DeserializeOwned>(output: &mut Lines<BufReader<ChildStdout>>) -> io::Result<T> {
    let line = output.next_line().await?;
    let line = line.ok_or_else(|| io::Error::other("the load ended without a result"))?;
    Ok(serde_json::from_str(&line)?)
}
