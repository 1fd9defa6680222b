//! The programs that are measured: where each stands, and what version it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Peer, Product};
use crate::site::find_program;

/// Which programs to use.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The Biplane binary.
    pub biplane: PathBuf,
    /// What counts the instructions of whatever is started, once it is told to.
    pub valgrind: Option<PathBuf>,
}

/// What the files with counted instructions are called, in the proxy's folder; dumps have a number behind it.
pub const COUNTS: &str = "instructions";

impl Programs {
    /// Where the peer's program stands, if it is installed.
    pub fn find(&self, peer: Peer) -> Option<PathBuf> {
        match peer.product() {
            Product::Nginx => find_program("nginx"),
            Product::Haproxy => find_program("haproxy"),
            Product::Envoy => find_program("envoy"),
            Product::Biplane => self.biplane.is_file().then(|| self.biplane.canonicalize().ok()).flatten(),
        }
    }

    /// The command that starts a program in this folder.
    pub fn command(&self, program: &Path, folder: &Path) -> Command {
        let Some(valgrind) = &self.valgrind else { return Command::new(program) };
        let mut command = Command::new(valgrind);
        command.args(["--tool=callgrind", "--instr-atstart=no"]);
        command.arg(format!("--callgrind-out-file={}", folder.join(COUNTS).display()));
        command.arg(program);
        command
    }

    /// The programs by name, with the version each reports; `None` for the absent ones.
    pub fn versions(&self) -> Vec<(&'static str, Option<String>)> {
        let asked = [
            (Peer::Nginx, "nginx", "-v"),
            (Peer::Haproxy, "HAProxy", "-v"),
            (Peer::Envoy, "Envoy", "--version"),
            (Peer::Plain, "Biplane", "--version"),
        ];
        let version = |peer, flag| {
            let output = Command::new(self.find(peer)?).arg(flag).output().ok()?;
            let text = [output.stdout, output.stderr].concat();
            Some(version_in(&String::from_utf8_lossy(&text)))
        };
        asked.into_iter().map(|(peer, name, flag)| (name, version(peer, flag))).collect()
    }
}

/// The first dotted number behind the word "version", or of the whole text where that word is missing.
fn version_in(text: &str) -> String {
    let start = ["version:", "version "].iter().find_map(|word| text.find(word)).unwrap_or(0);
    let words = text[start..].split(|c: char| c.is_whitespace() || c == '/');
    let mut numbers = words.filter(|word| {
        let plain = word.trim_start_matches('v');
        plain.starts_with(|c: char| c.is_ascii_digit()) && plain.contains('.')
    });
    numbers.next().unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_the_programs_print() {
        assert_eq!(version_in("nginx version: nginx/1.22.1"), "1.22.1");
        assert_eq!(
            version_in("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/"),
            "2.6.12-1+deb12u4"
        );
        assert_eq!(
            version_in("/opt/versions/3.11.7/bin/envoy  version: 9e55809337/1.40.0/Clean/RELEASE/BoringSSL"),
            "1.40.0"
        );
        assert_eq!(version_in("biplane 0.1.0"), "0.1.0");
        assert_eq!(version_in("no idea"), "unknown");
    }

    #[test]
    fn an_absent_program_is_absent() {
        let programs = Programs { biplane: "no/such/biplane".into(), valgrind: None };
        assert!(programs.find(Peer::Full).is_none());
    }
}
