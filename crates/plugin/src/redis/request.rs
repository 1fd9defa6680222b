//! What is asked of a Redis: a script, or a command about one value or several.

use std::sync::OnceLock;

/// A Lua script. Its keys belong to one hash slot: all have the same text between braces.
pub struct Script {
    source: &'static str,
    digest: OnceLock<String>,
}

impl Script {
    /// The script with this source; it returns an array.
    #[must_use]
    pub const fn new(source: &'static str) -> Self {
        Self { source, digest: OnceLock::new() }
    }

    fn digest(&self) -> &str {
        self.digest.get_or_init(|| redis::Script::new(self.source).get_hash().to_owned())
    }
}

/// What a script is told beside its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A number.
    Number(i64),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl From<i64> for Argument {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<Vec<u8>> for Argument {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<String> for Argument {
    fn from(text: String) -> Self {
        Self::Bytes(text.into_bytes())
    }
}

/// A script with what it works on. It may run twice where a connection is lost, and has to bear that.
pub struct Invocation {
    /// What runs.
    pub script: &'static Script,
    /// The keys it touches; at least one.
    pub keys: Vec<Vec<u8>>,
    /// Its arguments.
    pub arguments: Vec<Argument>,
}

impl Invocation {
    fn command(&self, name: &str, script: &str) -> redis::Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len());
        for key in &self.keys {
            command.arg(key.as_slice());
        }
        for argument in &self.arguments {
            match argument {
                Argument::Number(number) => command.arg(*number),
                Argument::Bytes(bytes) => command.arg(bytes.as_slice()),
            };
        }
        command
    }
}

/// One exchange.
pub(super) enum Request<'a> {
    Script(&'a Invocation),
    /// A command, with the key that says where a cluster has what it is about.
    Command(&'a [u8], redis::Cmd),
}

impl Request<'_> {
    /// The key by which a cluster finds the master to ask.
    pub(super) fn key(&self) -> &[u8] {
        match self {
            Self::Script(invocation) => invocation.keys.first().map(Vec::as_slice).unwrap_or_default(),
            Self::Command(key, _) => key,
        }
    }

    /// What is sent first: of a script its digest, which is enough for a server that has seen it.
    pub(super) fn command(&self) -> redis::Cmd {
        match self {
            Self::Script(invocation) => invocation.command("EVALSHA", invocation.script.digest()),
            Self::Command(_, command) => command.clone(),
        }
    }

    /// What is sent to a server that has not seen the script: all of it.
    pub(super) fn in_full(&self) -> redis::Cmd {
        match self {
            Self::Script(invocation) => invocation.command("EVAL", invocation.script.source),
            Self::Command(_, command) => command.clone(),
        }
    }
}
