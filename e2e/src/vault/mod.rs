//! Secrets of a real server of OpenBao, which keeps the HTTP API of HashiCorp Vault: certificates that the real binary shows are
//! stored there, exchanged, and taken away.

mod server;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::case::{Case, Tls};
use crate::certificates::Certificates;
use crate::client::Connection;
use crate::gateway::{self, Gateway, NotStarted};
use crate::message::Message;
use crate::program::environment;
use crate::redis::server::Folder;
use crate::redis::{eventually, expect, told};
use crate::{Settings, Target};
use server::{ROOT, Server};

/// A story; the error is a report for people.
type Story = (&'static str, fn(&Lab) -> Result<(), String>);

const STORIES: &[Story] = &[
    ("rotation", rotation),
    ("outage", outage),
    ("refusals", refusals),
    ("tls", tls),
    ("many", many),
    ("example", example),
];

/// The names of all stories.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    STORIES.iter().map(|(name, _)| *name)
}

/// Runs the story that `path` names.
pub(crate) fn run(path: &Path, settings: &Settings) -> Result<(), String> {
    let (_, story) = STORIES.iter().find(|(name, _)| path.ends_with(name)).ok_or("no such story")?;
    let program = environment(&settings.root.join("vault/environment"))?;
    let folder = Folder::make(&settings.scratch)?;
    let case = Case::parse(
        "authorities: [ca]\ncertificates:\n  old: {names: [a.test], by: ca}\n  new: {names: [a.test], by: ca}\nrefuses: {exit: 1}\n",
    )?;
    let certificates = Certificates::make(&case)?;
    certificates.placeholders(&folder.0).map_err(|error| error.to_string())?;
    let server = RefCell::new(Server::start(&program, &folder.0)?);
    story(&Lab { settings, folder, certificates, server })
}

/// What stories are made in.
struct Lab<'a> {
    settings: &'a Settings,
    folder: Folder,
    certificates: Certificates,
    server: RefCell<Server>,
}

/// The certificate that is shown comes from the vault `vault`, and so does its key.
fn configuration(vaults: &str, vault: &str, more: &str) -> String {
    format!(
        "_format_version: \"3.0\"\n{vaults}certificates:\n- cert: \"{{vault://{vault}/site/cert}}\"\n  key: \"{{vault://{vault}/site/key}}\"\n  snis: [{{name: a.test}}]\n{more}"
    )
}

impl Lab<'_> {
    fn read(&self, name: &str) -> Result<String, String> {
        std::fs::read_to_string(self.folder.0.join(name)).map_err(|error| format!("{name}: {error}"))
    }

    /// Stores the certificate `name` with its key as `site`.
    fn store(&self, name: &str) -> Result<(), String> {
        let (cert, key) = (self.read(&format!("{name}.crt"))?, self.read(&format!("{name}.key"))?);
        self.server.borrow().store("site", &json!({"cert": cert, "key": key}))
    }

    fn try_start(&self, text: &str, env: &[(&str, String)]) -> Result<Gateway, NotStarted> {
        let Target::Binary(binary) = &self.settings.target else {
            return Err(NotStarted { code: None, output: "needs a binary".to_owned() });
        };
        let file = self.folder.0.join("kong.yml");
        std::fs::write(&file, text).map_err(|error| NotStarted { code: None, output: error.to_string() })?;
        let listen = ["--proxy-listen".to_owned(), "127.0.0.1:0, 127.0.0.1:0 ssl".to_owned()];
        let env: BTreeMap<String, String> =
            env.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Gateway::start(binary, &file, &listen, &env)
    }

    fn start(&self, text: &str, env: &[(&str, String)]) -> Result<Gateway, String> {
        self.try_start(text, env).map_err(|failed| format!("the gateway did not start:\n{}", failed.output))
    }

    /// What a start without success has written.
    fn refusal(&self, text: &str, env: &[(&str, String)]) -> Result<String, String> {
        match self.try_start(text, env) {
            Ok(_) => Err("the gateway has started".to_owned()),
            Err(NotStarted { code: Some(1), output }) => Ok(output),
            Err(other) => Err(format!("{other:?}")),
        }
    }

    /// Settings for references to `hcv`.
    fn settings_of(&self, token: &str) -> Vec<(&'static str, String)> {
        vec![
            ("KONG_VAULT_HCV_PORT", self.server.borrow().port.to_string()),
            ("KONG_VAULT_HCV_KV", "v2".to_owned()),
            ("KONG_VAULT_HCV_TOKEN", token.to_owned()),
            ("KONG_VAULT_HCV_TTL", "1".to_owned()),
        ]
    }

    /// Waits until the certificate `name` is shown.
    fn shows(&self, gateway: &Gateway, name: &str) -> Result<(), String> {
        let asked = Tls { name: Some("a.test".to_owned()), shows: Some(name.to_owned()), ..Tls::default() };
        let secure = self.certificates.client(Some(&asked))?.ok_or("no TLS")?;
        let address = gateway.addresses.secure.ok_or("no listener for TLS")?;
        eventually(|| {
            let connection = Connection::open(address, Some(&secure)).map_err(|error| error.to_string())?;
            self.certificates.check_known(connection.known().as_ref(), name)
        })
    }
}

/// The answer of the Admin API.
fn admin(gateway: &Gateway, method: &str, path: &str, body: &str) -> Result<Message, String> {
    let address = gateway.addresses.admin.ok_or("no Admin API")?;
    let mut connection = Connection::open(address, None).map_err(|error| error.to_string())?;
    connection.send(
        format!(
            "{method} {path} HTTP/1.1\r\nHost: admin\r\nContent-Type: text/yaml\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    let reply = connection.answer(method).map_err(|error| error.to_string())?;
    Ok(reply.ok_or("the connection is closed")?.message)
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

/// A role whose secret id comes wrapped reads a certificate that is exchanged without a restart, and keeps its token alive.
fn rotation(lab: &Lab) -> Result<(), String> {
    lab.store("old")?;
    let port = lab.server.borrow().port;
    lab.server.borrow().make_role("3s")?;
    let wrapping = lab.server.borrow().wrapped_secret_id()?;
    let file = lab.folder.0.join("wrapping");
    std::fs::write(&file, &wrapping).map_err(|error| error.to_string())?;
    let vaults = format!(
        "vaults:\n- prefix: shop\n  name: hcv\n  config:\n    port: {port}\n    kv: v2\n    ttl: 1\n    auth_method: approle\n    approle_role_id: \"{{vault://env/role-id}}\"\n    approle_secret_id_file: {}\n    approle_response_wrapping: true\n",
        file.display()
    );
    let gateway = lab.start(&configuration(&vaults, "shop", ""), &[("ROLE_ID", "the-role".to_owned())])?;
    let story = || {
        lab.shows(&gateway, "old")?;
        lab.store("new")?;
        lab.shows(&gateway, "new")?;
        for path in ["/config", "/certificates", "/vaults", "/"] {
            let shown = text(&admin(&gateway, "GET", path, "")?);
            for secret in ["PRIVATE KEY", "the-role", wrapping.as_str()] {
                expect(&format!("{path} shows {secret}"), shown.contains(secret), false)?;
            }
        }
        eventually(|| renewed(&lab.server.borrow()))?;
        lab.store("old")?;
        lab.shows(&gateway, "old")?;
        let logins = logins(&lab.server.borrow())?;
        expect("tokens by login", logins.len(), 1)?;
        expect("a warning", gateway.output().contains("WARN"), false)
    };
    told(&gateway, story())
}

/// The tokens that logins have brought.
fn logins(server: &Server) -> Result<Vec<Value>, String> {
    let accessors = server.ask("LIST", "auth/token/accessors", &Value::Null)?;
    let accessors = accessors["data"]["keys"].as_array().cloned().unwrap_or_default();
    let known = accessors.iter().filter_map(|accessor| {
        server.ask("POST", "auth/token/lookup-accessor", &json!({ "accessor": accessor })).ok()
    });
    Ok(known.filter(|known| known["data"]["path"] == "auth/approle/login").collect())
}

fn renewed(server: &Server) -> Result<(), String> {
    let logins = logins(server)?;
    let is_renewed = logins.iter().any(|known| known["data"]["last_renewal_time"].as_u64().is_some());
    if is_renewed { Ok(()) } else { Err(format!("no token has been renewed: {logins:?}")) }
}

/// While the server is down, what was found stays in use and configurations are loaded; one that needs more is refused.
/// When it is back, without having been told of the gateway's token, secrets are exchanged again.
fn outage(lab: &Lab) -> Result<(), String> {
    lab.store("old")?;
    lab.server.borrow().make_role("1h")?;
    let secret_id = json!({"secret_id": "the-proof"});
    let hand_out = || {
        lab.server.borrow().ask("POST", "auth/approle/role/gateway/custom-secret-id", &secret_id).map(drop)
    };
    hand_out()?;
    let mut env = lab.settings_of("unused");
    env.extend([
        ("KONG_VAULT_HCV_AUTH_METHOD", "approle".to_owned()),
        ("KONG_VAULT_HCV_APPROLE_ROLE_ID", "the-role".to_owned()),
        ("KONG_VAULT_HCV_APPROLE_SECRET_ID", "the-proof".to_owned()),
    ]);
    let gateway = lab.start(&configuration("", "hcv", ""), &env)?;
    let story = || {
        lab.shows(&gateway, "old")?;
        lab.server.borrow_mut().kill();
        let warned = gateway.wait_for_line(|line| line.contains("the last value stays in use"));
        expect("a warning", warned, true)?;
        let more = "services: [{name: added, host: h.test}]\n";
        let posted = admin(&gateway, "POST", "/config", &configuration("", "hcv", more))?;
        expect(
            "a load during the outage",
            (posted.status(), gateway.output().contains("stands in")),
            (201, true),
        )?;
        let unknown = "consumers: [{username: c}]\nkeys: [{kid: k, jwk: \"{vault://hcv/other/jwk}\"}]\n";
        let refused = admin(&gateway, "POST", "/config", &configuration("", "hcv", unknown))?;
        expect("a load that needs more", refused.status(), 400)?;
        for part in ["{vault://hcv/other/jwk} stands for nothing", "gives no answer"] {
            expect(part, text(&refused).contains(part), true)?;
        }
        lab.shows(&gateway, "old")?;
        lab.server.borrow_mut().start_again()?;
        lab.server.borrow().make_role("1h")?;
        hand_out()?;
        lab.store("new")?;
        lab.shows(&gateway, "new")?;
        expect("a secret in the log", gateway.output().contains("the-proof"), false)
    };
    told(&gateway, story())
}

/// What is not there, is denied or is not reached is told with its place, at the start and by `biplane check`.
fn refusals(lab: &Lab) -> Result<(), String> {
    lab.store("old")?;
    let whole = configuration("", "hcv", "");
    let partly = whole.replace("site/key", "site/none");
    let elsewhere = whole.replace("site/", "gone/");
    let old_engine =
        lab.settings_of(ROOT).into_iter().filter(|(name, _)| *name != "KONG_VAULT_HCV_KV").collect();
    for (text, env, expected) in [
        (
            &partly,
            lab.settings_of(ROOT),
            vec!["kong.yml:4:", "certificates[0].key", "it has no member 'none'"],
        ),
        (
            &elsewhere,
            lab.settings_of(ROOT),
            vec!["kong.yml:3:", "the vault holds nothing at secret/data/gone"],
        ),
        (
            &whole,
            lab.settings_of("s.wrong"),
            vec!["kong.yml:3:", "the vault denies secret/data/site: permission denied"],
        ),
        (
            &whole,
            old_engine,
            vec!["the vault holds nothing at secret/site", "Invalid path for a versioned K/V"],
        ),
        (
            &whole,
            vec![],
            vec!["the vault has no token: set it where it is declared, or by KONG_VAULT_HCV_TOKEN"],
        ),
    ] {
        let told = lab.refusal(text, &env)?;
        for part in expected {
            expect(&format!("'{part}' in {told}"), told.contains(part), true)?;
        }
        expect("a secret in it", told.contains(ROOT) || told.contains("s.wrong"), false)?;
    }
    let Target::Binary(binary) = &lab.settings.target else { return Err("needs a binary".to_owned()) };
    let file = lab.folder.0.join("kong.yml");
    let env = lab.settings_of(ROOT).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    for (text, code) in [(&whole, 0), (&partly, 1)] {
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let (status, output) = gateway::check_with(binary, &file, &env)?;
        expect(&output, status.code(), Some(code))?;
    }
    lab.server.borrow_mut().kill();
    let told = lab.refusal(&whole, &lab.settings_of(ROOT))?;
    expect(&told, told.contains("kong.yml:3:") && told.contains("gives no answer: no connection to"), true)
}

/// Over TLS, the server has to be one that the operator trusts.
fn tls(lab: &Lab) -> Result<(), String> {
    lab.server.borrow_mut().kill();
    let authority = lab.server.borrow_mut().start_again_under_tls()?;
    let mut env = lab.settings_of(ROOT);
    env.extend([
        ("KONG_VAULT_HCV_PROTOCOL", "https".to_owned()),
        ("KONG_VAULT_HCV_HOST", "localhost".to_owned()),
    ]);
    let whole = configuration("", "hcv", "");
    let told = lab.refusal(&whole, &env)?;
    expect(&told, told.contains("UnknownIssuer"), true)?;
    env.push(("KONG_LUA_SSL_TRUSTED_CERTIFICATE", authority.display().to_string()));
    let told = lab.refusal(&whole, &env)?;
    expect(&told, told.contains("the vault holds nothing at secret/data/site"), true)
}

/// Many references, of which most are to the same path, and one secret that is not text but base64.
fn many(lab: &Lab) -> Result<(), String> {
    use base64::Engine;
    lab.store("old")?;
    let encoded = base64::engine::general_purpose::STANDARD.encode(lab.read("old.crt")?);
    lab.server.borrow().store("coded/site", &json!({"cert": encoded, "key": lab.read("old.key")?}))?;
    let port = lab.server.borrow().port;
    let secrets: Vec<(String, Value)> =
        (0..100).map(|number| (format!("k{number}"), json!(format!("{{\"kid\":\"{number}\"}}")))).collect();
    lab.server.borrow().store("keys", &Value::Object(secrets.into_iter().collect()))?;
    for number in 0..20 {
        lab.server
            .borrow()
            .store(&format!("own/{number}"), &json!({"jwk": format!("{{\"kid\":\"o{number}\"}}")}))?;
    }
    let mut keys = "keys:\n".to_owned();
    for number in 0..100 {
        keys += &format!("- {{kid: \"{number}\", jwk: \"{{vault://hcv/keys/k{number}}}\"}}\n");
    }
    for number in 0..20 {
        keys += &format!("- {{kid: \"o{number}\", jwk: \"{{vault://hcv/own/{number}/jwk}}\"}}\n");
    }
    let vaults = format!(
        "vaults: [{{prefix: coded, name: hcv, config: {{port: {port}, kv: v2, token: {ROOT}, base64_decode: true}}}}]\n"
    );
    let text = configuration(&vaults, "hcv", &keys)
        .replace("{vault://hcv/site/cert}", "{vault://coded/coded/site/cert}");
    let gateway = lab.start(&text, &lab.settings_of(ROOT))?;
    told(&gateway, lab.shows(&gateway, "old"))
}

/// The example for a server is accepted once what it names is stored, and not before.
fn example(lab: &Lab) -> Result<(), String> {
    let Target::Binary(binary) = &lab.settings.target else { return Err("needs a binary".to_owned()) };
    let text = std::fs::read_to_string(lab.settings.root.join("../examples/secrets/hashicorp.yml"));
    let port = format!("port: {}", lab.server.borrow().port);
    let text = text.map_err(|error| error.to_string())?.replace("port: 8200", &port);
    let file = lab.folder.0.join("kong.yml");
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    let env = [("DEMO_VAULT_TOKEN".to_owned(), ROOT.to_owned())].into();
    let (status, output) = gateway::check_with(binary, &file, &env)?;
    expect(
        &output,
        (status.code(), output.contains("the vault holds nothing at secret/data/redis")),
        (Some(1), true),
    )?;
    lab.server.borrow().store("redis", &json!({"host": "127.0.0.1", "password": "change-this"}))?;
    let (status, output) = gateway::check_with(binary, &file, &env)?;
    expect(&output, status.code(), Some(0))
}
