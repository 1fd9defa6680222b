//! Responses of OCSP on their way to a client: made by OpenSSL, shown by the binary, read by OpenSSL.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// How long a line may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const ID: &str = "5a1b1f0e-3a3c-4ac2-9a31-3f4b8f6f0c11";

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    /// One with an authority in it.
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("biplane-ocsp-{}", std::process::id()));
        fs::create_dir_all(folder.join("staples")).unwrap();
        let folder = Self(folder);
        folder.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -subj /CN=ca");
        folder
    }

    fn openssl(&self, arguments: &str) -> String {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(&self.0).stdin(Stdio::null());
        let output = command.output().expect("openssl is installed");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A certificate `NAME.crt` with its key.
    fn issue(&self, name: &str, serial: &str) {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        fs::write(self.0.join("extensions"), format!("subjectAltName=DNS:{name}.test")).unwrap();
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -set_serial 0x{serial} -extfile extensions -out {name}.crt"
        ));
    }

    /// What the authority says about the certificate `name`: that it is valid, or `revoked` since a while.
    fn respond(&self, name: &str, serial: &str, file: &str, state: &str, lasts: &str) {
        let state = match state {
            "revoked" => "R\t491231235959Z\t250101000000Z",
            _ => "V\t491231235959Z\t",
        };
        let index = format!("{state}\t{serial}\tunknown\t/CN={name}\n");
        fs::write(self.0.join("index"), index).unwrap();
        let signer = "-index index -rsigner ca.crt -rkey ca.key -CA ca.crt -issuer ca.crt -no_nonce";
        self.openssl(&format!("ocsp {signer} -cert {name}.crt {lasts} -respout made"));
        // As whoever renews them should: at once, not by and by.
        fs::rename(self.0.join("made"), self.0.join(file)).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

/// A running gateway that does not outlive its test.
struct Gateway {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    fn start(file: &Path, variables: &[(&str, String)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_biplane"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KONG_")) {
            command.env_remove(name);
        }
        command.arg("run").arg(file).args(["--workers", "1", "--proxy-listen", "127.0.0.1:0 ssl"]);
        command.args(["--admin-listen", "off", "--status-listen", "off"]).envs(variables.iter().cloned());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            errors.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    /// The next line that holds `text`.
    fn line(&self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("no '{text}': {error}: {seen:?}"));
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
    }
}

/// The serial number in the response that a client is shown, if there is one.
fn stapled(folder: &Folder, address: &str, name: &str, version: &str) -> Option<String> {
    let told = folder.openssl(&format!("s_client -connect {address} -servername {name} -status {version}"));
    if told.contains("OCSP response: no response sent") {
        return None;
    }
    assert!(told.contains("OCSP Response Status: successful"), "{told}");
    let serial = told.split_once("Serial Number: ")?.1;
    Some(serial.lines().next()?.trim().to_owned())
}

#[test]
fn responses_are_shown_with_their_certificates_and_follow_their_files() {
    let folder = Folder::new();
    for (name, serial) in [("default", "A1"), ("named", "B2")] {
        folder.issue(name, serial);
    }
    folder.respond("default", "A1", "default.ocsp", "valid", "-ndays 1");
    let pem =
        |name: &str| serde_json::Value::from(fs::read_to_string(folder.0.join(name)).unwrap()).to_string();
    let file = folder.0.join("kong.yml");
    let certificate = format!(
        "{{id: {ID}, cert: {}, key: {}, snis: [{{name: named.test}}]}}",
        pem("named.crt"),
        pem("named.key")
    );
    fs::write(&file, format!("_format_version: '3.0'\ncertificates:\n- {certificate}\n")).unwrap();
    let gateway = Gateway::start(
        &file,
        &[
            ("KONG_SSL_CERT", folder.path("default.crt")),
            ("KONG_SSL_CERT_KEY", folder.path("default.key")),
            ("KONG_SSL_CERT_OCSP", folder.path("default.ocsp")),
            ("KONG_SSL_OCSP_FOLDER", folder.path("staples")),
        ],
    );
    let address = gateway.line("listening proxy").split(' ').next_back().unwrap().to_owned();
    let shown = |name: &str| ["-tls1_3", "-tls1_2"].map(|version| stapled(&folder, &address, name, version));
    gateway.line("ready");
    let both = |serial: &str| [Some(serial.to_owned()), Some(serial.to_owned())];
    assert_eq!(shown("other.test"), both("A1"));
    assert_eq!(shown("named.test"), [None, None]);
    // One that comes later is found, one that is about another certificate or revoked is named and not shown.
    let staple = format!("staples/{ID}.ocsp");
    for (of, serial, state, lasts, reason, expected) in [
        ("named", "B2", "valid", "-ndays 1", "", both("B2")),
        ("default", "A1", "valid", "-ndays 1", "it is about another certificate", [None, None]),
        ("named", "B2", "revoked", "-ndays 1", "the certificate is revoked", [None, None]),
        ("named", "B2", "valid", "-ndays 2", "", both("B2")),
    ] {
        folder.respond(of, serial, &staple, state, lasts);
        if !reason.is_empty() {
            gateway.line(reason);
        }
        gateway.line("responses of OCSP have been read again");
        assert_eq!(shown("named.test"), expected, "{of} {state} {lasts}");
    }
    folder.respond("default", "A1", "default.ocsp", "valid", "");
    gateway.line("it does not say until when it holds");
    gateway.line("responses of OCSP have been read again");
    assert_eq!(shown("other.test"), [None, None]);
}
