//! Whether certificates of callers have been revoked, as OpenSSL's responder of OCSP says, with the real binary.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::case::{Case, Tls};
use crate::certificates::Certificates;
use crate::client::Connection;
use crate::gateway::Gateway;
use crate::message::{Message, Reader};
use crate::recorder::{Behaviour, Recorder};
use crate::redis::server::Folder;
use crate::redis::{eventually, expect, told};
use crate::{Settings, Target};

/// A certificate of callers with what the responder's list says of it: good (`V`), revoked (`R`), or nothing.
const CERTIFICATES: [(&str, &str); 5] =
    [("good", "V"), ("revoked", "R"), ("unknown", ""), ("later", "V"), ("last", "R")];

/// A responder: OpenSSL makes what it answers, question by question. OpenSSL's own server listens on all interfaces and
/// cannot be told otherwise.
struct Responder {
    folder: PathBuf,
    is_up: AtomicBool,
    questions: AtomicUsize,
}

impl Responder {
    /// What OpenSSL says to a question.
    fn say(&self, question: &[u8]) -> io::Result<Vec<u8>> {
        let number = self.questions.fetch_add(1, Ordering::Relaxed);
        let (asked, said) = (format!("question-{number}"), format!("answer-{number}"));
        std::fs::write(self.folder.join(&asked), question)?;
        let arguments = "ocsp -index index -CA ca.crt -rsigner ca.crt -rkey ca.key -nmin 60";
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).args(["-reqin", &asked, "-respout", &said]);
        let output = command.current_dir(&self.folder).output()?;
        std::fs::read(self.folder.join(said))
            .map_err(|error| io::Error::other(format!("openssl ocsp: {error}: {output:?}")))
    }
}

impl Behaviour for Responder {
    fn meet(&self, _: &mut Reader, _: &Message) -> io::Result<bool> {
        Ok(self.is_up.load(Ordering::Relaxed))
    }

    fn answer(&self, reader: &mut Reader, request: &Message) -> io::Result<bool> {
        let said = self.say(&request.body)?;
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: {}\r\n\r\n",
            said.len()
        );
        reader.stream.write_all(head.as_bytes())?;
        reader.stream.write_all(&said)?;
        Ok(true)
    }
}

/// Tells the only story there is: what both modes make of a responder's word, and of its silence.
pub(crate) fn run(_: &Path, settings: &Settings) -> Result<(), String> {
    let folder = Folder::make(&settings.scratch)?;
    let responder = Arc::new(Responder {
        folder: folder.0.clone(),
        is_up: AtomicBool::new(true),
        questions: AtomicUsize::default(),
    });
    let recorder = Recorder::start(responder.clone()).map_err(|error| error.to_string())?;
    let certificates = make(&folder.0, recorder.address.port())?;
    let gateway = start(settings, &folder.0)?;
    let ask = |name: &str| -> Result<[u16; 2], String> {
        let tls = Tls { own: Some(name.to_owned()), ..Tls::default() };
        let secure = certificates.client(Some(&tls))?;
        let address = gateway.addresses.secure.ok_or("no listener for TLS")?;
        let mut connection = Connection::open(address, secure.as_ref()).map_err(|error| error.to_string())?;
        let mut status = |path: &str| -> Result<u16, String> {
            connection.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n").as_bytes());
            let reply = connection.answer("GET").map_err(|error| error.to_string())?;
            Ok(reply.ok_or("the connection is closed")?.message.status())
        };
        Ok([status("/strict")?, status("/lenient")?])
    };
    let story = || {
        expect("good", ask("good")?, [200, 200])?;
        expect("revoked", ask("revoked")?, [401, 401])?;
        expect("one that the responder does not know", ask("unknown")?, [401, 200])?;
        responder.is_up.store(false, Ordering::Relaxed);
        expect("what is known while the responder is down", ask("good")?, [200, 200])?;
        expect("what is known to be revoked", ask("revoked")?, [401, 401])?;
        expect("nobody knows, and nobody can be asked", ask("later")?, [401, 200])?;
        expect("the same of one that is revoked", ask("last")?, [401, 200])?;
        responder.is_up.store(true, Ordering::Relaxed);
        eventually(|| expect("it answers again", ask("later")?, [200, 200]))?;
        eventually(|| expect("it answers again", ask("last")?, [401, 401]))
    };
    let outcome = told(&gateway, story());
    drop(gateway);
    recorder.finish();
    outcome
}

/// Makes certificates that name the responder at this port, and its list of them.
fn make(folder: &Path, port: u16) -> Result<Certificates, String> {
    let mut text =
        "authorities: [ca]\nrefuses: {exit: 1}\ncertificates:\n  shown: {names: [a.test], by: ca}\n"
            .to_owned();
    for (name, _) in CERTIFICATES {
        text +=
            &format!("  {name}: {{names: [{name}.test], by: ca, responder: \"http://127.0.0.1:{port}/\"}}\n");
    }
    let certificates = Certificates::make(&Case::parse(&text)?)?;
    certificates.placeholders(folder).map_err(|error| error.to_string())?;
    let mut list = String::new();
    for (name, word) in CERTIFICATES.iter().filter(|(_, word)| !word.is_empty()) {
        let serial = serial(&folder.join(format!("{name}.crt")))?;
        let revoked = if *word == "R" { "250101000000Z" } else { "" };
        list += &format!("{word}\t491231235959Z\t{revoked}\t{serial}\tunknown\t/CN={name}\n");
    }
    std::fs::write(folder.join("index"), list).map_err(|error| error.to_string())?;
    Ok(certificates)
}

/// The serial number of a certificate, as lists of OpenSSL have it.
fn serial(file: &Path) -> Result<String, String> {
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-serial", "-in"]).arg(file);
    let output = command.output().map_err(|error| format!("openssl: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.trim().strip_prefix("serial=").map(str::to_owned).ok_or_else(|| format!("openssl x509: {output:?}"))
}

/// A gateway with a path for each mode, which answers 200 to whoever is let in.
fn start(settings: &Settings, folder: &Path) -> Result<Gateway, String> {
    let Target::Binary(binary) = &settings.target else { return Err("needs a binary".to_owned()) };
    let authority = std::fs::read_to_string(folder.join("ca.crt")).map_err(|error| error.to_string())?;
    let id = "7a1e3f0c-0d0f-4a52-9d58-3c6f5a0c7b11";
    let mut text = format!(
        "_format_version: \"3.0\"\nca_certificates: [{{id: {id}, cert: {}}}]\nplugins: [{{name: request-termination, config: {{status_code: 200}}}}]\nroutes:\n",
        serde_json::Value::from(authority)
    );
    for (path, mode) in [("strict", "STRICT"), ("lenient", "IGNORE_CA_ERROR")] {
        text += &format!(
            "- paths: [/{path}]\n  plugins:\n  - name: mtls-auth\n    config: {{ca_certificates: [{id}], skip_consumer_lookup: true, revocation_check_mode: {mode}}}\n"
        );
    }
    let file = folder.join("kong.yml");
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    let of = |name: &str| folder.join(name).display().to_string();
    let env = [("KONG_SSL_CERT", of("shown.crt")), ("KONG_SSL_CERT_KEY", of("shown.key"))];
    let env: BTreeMap<_, _> = env.map(|(name, value)| (name.to_owned(), value)).into();
    let listen = ["--proxy-listen".to_owned(), "127.0.0.1:0, 127.0.0.1:0 ssl".to_owned()];
    let started = Gateway::start(binary, &file, &listen, &env);
    started.map_err(|failed| format!("the gateway did not start:\n{}", failed.output))
}
