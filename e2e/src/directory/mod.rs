//! Callers whose passwords a directory knows, with a real OpenLDAP and the real binary.

mod groups;
mod search;
mod server;

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::case::Case;
use crate::certificates::Certificates;
use crate::client::Connection;
use crate::gateway::Gateway;
use crate::message::Message;
use crate::redis::expect;
use crate::redis::server::{Folder, Server as Redis};
use crate::{Settings, Target};
use server::Server;

/// A story; the error is a report for people.
type Story = (&'static str, fn(&Lab) -> Result<(), String>);

const STORIES: &[Story] = &[
    ("passwords", passwords),
    ("injection", injection),
    ("tls", tls),
    ("outage", outage),
    ("guessing", guessing),
    ("guessing-at-two-gateways", guessing_at_two_gateways),
    ("search", search::search),
    ("search-injection", search::injection),
    ("search-account", search::account),
    ("search-limits", search::limits),
    ("search-outage", search::outage),
    ("search-guessing", search::guessing),
    ("groups", groups::groups),
    ("groups-required", groups::required),
    ("groups-as-users", groups::as_users),
];

/// The names of all stories.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    STORIES.iter().map(|(name, _)| *name)
}

/// Runs the story that `path` names.
pub(crate) fn run(path: &Path, settings: &Settings) -> Result<(), String> {
    let (_, story) = STORIES.iter().find(|(name, _)| path.ends_with(name)).ok_or("no such story")?;
    let folder = Folder::make(&settings.scratch)?;
    let case = Case::parse(
        "authorities: [ca, other]\ncertificates:\n  directory: {names: [localhost], by: ca}\nrefuses: {exit: 1}\n",
    )?;
    Certificates::make(&case)?.placeholders(&folder.0).map_err(|error| error.to_string())?;
    let server = Server::start(&folder.0, &folder.0, ENTRIES)?;
    let server = std::cell::RefCell::new(server);
    story(&Lab { settings, folder, server })
}

/// People, some with names that mean something in distinguished names or in filters, and groups.
const ENTRIES: &str = include_str!("entries.ldif");

/// What stories are made in.
struct Lab<'a> {
    settings: &'a Settings,
    folder: Folder,
    server: std::cell::RefCell<Server>,
}

impl Lab<'_> {
    /// A gateway with a route `/NAME` for each of `routes`: what the plugin's configuration has besides the users' place.
    /// Whoever comes in is answered 200 by the gateway itself.
    fn gateway(&self, routes: &[(&str, &str)], env: &[(&str, String)]) -> Result<Gateway, String> {
        let plugins: Vec<(&str, String)> = routes
            .iter()
            .map(|(name, more)| {
                let place = "base_dn: \"ou=people,dc=example,dc=com\", attribute: uid";
                (*name, format!("  - name: ldap-auth\n    config: {{{place}, {more}}}\n"))
            })
            .collect();
        self.serve(&plugins, env)
    }

    /// A gateway with a route `/NAME` for each of `routes`, which has these plugins, and answers whoever comes in with the
    /// request as it would go upstream.
    fn serve(&self, routes: &[(&str, String)], env: &[(&str, String)]) -> Result<Gateway, String> {
        let Target::Binary(binary) = &self.settings.target else { return Err("needs a binary".to_owned()) };
        let mut text =
            "_format_version: \"3.0\"\nconsumers:\n- {username: anybody}\n- {username: alice, custom_id: a-1}\n- {custom_id: bob}\nroutes:\n"
                .to_owned();
        for (name, plugins) in routes {
            text += &format!(
                "- name: {name}\n  paths: [/{name}]\n  plugins:\n  - {{name: request-termination, config: {{status_code: 200, echo: true}}}}\n{plugins}"
            );
        }
        let file = self.folder.0.join("kong.yml");
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let env: BTreeMap<String, String> =
            env.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Gateway::start(binary, &file, &[], &env)
            .map_err(|failed| format!("the gateway did not start:\n{}", failed.output))
    }

    /// The directory without TLS.
    fn plain(&self) -> String {
        format!("ldap_host: 127.0.0.1, ldap_port: {}", self.server.borrow().port)
    }

    fn file(&self, name: &str) -> String {
        self.folder.0.join(name).display().to_string()
    }
}

/// The answer to a request with this login.
fn ask(gateway: &Gateway, route: &str, username: &str, password: &str) -> Result<Message, String> {
    let login = STANDARD.encode(format!("{username}:{password}"));
    let mut connection =
        Connection::open(gateway.addresses.proxy, None).map_err(|error| error.to_string())?;
    connection.send(
        format!("GET /{route} HTTP/1.1\r\nHost: directory\r\nX-Consumer-ID: forged\r\nX-Authenticated-Groups: forged\r\nAuthorization: ldap {login}\r\n\r\n").as_bytes(),
    );
    match connection.answer("GET") {
        Ok(Some(reply)) => Ok(reply.message),
        Ok(None) => Err(format!("/{route} was not answered: the connection is closed")),
        Err(error) => Err(format!("/{route} was not answered: {error}")),
    }
}

fn status(gateway: &Gateway, route: &str, username: &str, password: &str) -> Result<u16, String> {
    Ok(ask(gateway, route, username, password)?.status())
}

/// Tells what the gateway wrote if a story fails.
fn told(gateway: &Gateway, outcome: Result<(), String>) -> Result<(), String> {
    outcome.map_err(|problem| format!("{problem}\nthe gateway wrote:\n{}", gateway.output()))
}

/// Who is known comes in, whoever is not is refused, and all refusals are alike.
fn passwords(lab: &Lab) -> Result<(), String> {
    let plain = lab.plain();
    let gateway =
        lab.gateway(&[("a", &plain), ("elsewhere", &format!("{plain}, header_type: basic, realm: r"))], &[])?;
    told(
        &gateway,
        (|| {
            for _ in 0..3 {
                expect("a right password", status(&gateway, "a", "alice", "pass:word")?, 200)?;
            }
            let wrong = ask(&gateway, "a", "alice", "wrong")?;
            expect("a wrong password", wrong.status(), 401)?;
            expect("the challenge", wrong.values("WWW-Authenticate"), vec!["LDAP"])?;
            for (username, password) in
                [("nobody", "pass:word"), ("alice", ""), ("ALICE ", "x"), ("alice", "pass")]
            {
                expect(username, status(&gateway, "a", username, password)?, 401)?;
            }
            let other = ask(&gateway, "elsewhere", "alice", "pass:word")?;
            expect("another scheme", other.status(), 401)?;
            expect("its challenge", other.values("WWW-Authenticate"), vec!["basic realm=\"r\""])
        })(),
    )
}

/// Names that would lead elsewhere if they were not escaped.
fn injection(lab: &Lab) -> Result<(), String> {
    let gateway = lab.gateway(&[("a", &lab.plain())], &[])?;
    told(
        &gateway,
        (|| {
            expect("an odd name", status(&gateway, "a", "o,brien+ (x)*", "odd")?, 200)?;
            for name in [
                "mallory,ou=others,dc=example,dc=com",
                "mallory,ou=others,dc=example,dc=com\0",
                "x,uid=alice",
                "alice+cn=Alice",
                "*",
                "\\61lice",
                "#616c696365",
            ] {
                for password in ["elsewhere", "pass:word"] {
                    expect(name, status(&gateway, "a", name, password)?, 401)?;
                }
            }
            Ok(())
        })(),
    )
}

/// TLS from the beginning and begun later, with a certificate that is believed, is not, and has another name.
fn tls(lab: &Lab) -> Result<(), String> {
    let (port, secure_port) = (lab.server.borrow().port, lab.server.borrow().secure_port);
    let of = |host: &str, port: u16, more: &str| format!("ldap_host: {host}, ldap_port: {port}, {more}");
    let routes = [
        ("ldaps", of("localhost", secure_port, "ldaps: true")),
        ("start", of("localhost", port, "start_tls: true")),
        ("unnamed", of("127.0.0.1", secure_port, "ldaps: true")),
        ("unnamed-start", of("127.0.0.1", port, "start_tls: true")),
        ("blind", of("127.0.0.1", secure_port, "ldaps: true, verify_ldap_host: false")),
        ("blind-start", of("127.0.0.1", port, "start_tls: true, verify_ldap_host: false")),
        ("mixed-up", of("localhost", port, "ldaps: true, timeout: 2000")),
    ];
    let routes: Vec<(&str, &str)> = routes.iter().map(|(name, more)| (*name, more.as_str())).collect();
    let check = |authority: &str, expected: [(&str, u16); 7]| {
        let gateway = lab.gateway(&routes, &[("KONG_LUA_SSL_TRUSTED_CERTIFICATE", lab.file(authority))])?;
        let outcome = expected.iter().try_for_each(|(route, wanted)| {
            expect(route, status(&gateway, route, "alice", "pass:word")?, *wanted)
        });
        told(&gateway, outcome)
    };
    let ours = [200, 200, 500, 500, 200, 200, 500];
    let others = [500, 500, 500, 500, 200, 200, 500];
    let with = |statuses: [u16; 7]| std::array::from_fn(|index| (routes[index].0, statuses[index]));
    check("ca.crt", with(ours))?;
    check("other.crt", with(others))
}

/// While the directory is away, who is remembered comes in, and nobody else; then all is well again.
fn outage(lab: &Lab) -> Result<(), String> {
    let plain = lab.plain();
    let fresh = format!("{plain}, cache_ttl: 0, anonymous: anybody");
    let gateway = lab.gateway(&[("remembered", &plain), ("fresh", &fresh)], &[])?;
    told(
        &gateway,
        (|| {
            for route in ["remembered", "fresh", "remembered", "fresh"] {
                expect(route, status(&gateway, route, "alice", "pass:word")?, 200)?;
            }
            expect("anonymous", status(&gateway, "fresh", "alice", "wrong")?, 200)?;
            lab.server.borrow_mut().kill();
            expect("remembered", status(&gateway, "remembered", "alice", "pass:word")?, 200)?;
            expect(
                "a wrong password while it is away",
                status(&gateway, "remembered", "alice", "wrong")?,
                500,
            )?;
            expect("not remembered", status(&gateway, "fresh", "alice", "pass:word")?, 500)?;
            lab.server.borrow_mut().start_again()?;
            expect("it is back", status(&gateway, "fresh", "alice", "pass:word")?, 200)?;
            expect("a wrong password", status(&gateway, "remembered", "alice", "wrong")?, 401)?;
            match gateway.output().matches("a directory cannot be asked").count() {
                1 => Ok(()),
                lines => Err(format!("{lines} lines tell of the outage")),
            }
        })(),
    )
}

/// Who guesses is refused, whatever the password, and the directory is not asked any more.
fn guessing(lab: &Lab) -> Result<(), String> {
    let guarded = format!(
        "{}, cache_ttl: 0, brute_force_protection: {{strategy: memory, failures: 3, window: 86400}}",
        lab.plain()
    );
    let gateway = lab.gateway(&[("a", &guarded)], &[])?;
    told(
        &gateway,
        (|| {
            for _ in 0..5 {
                expect("right", status(&gateway, "a", "alice", "pass:word")?, 200)?;
            }
            for _ in 0..3 {
                expect("wrong", status(&gateway, "a", "alice", "guess")?, 401)?;
            }
            let refused = ask(&gateway, "a", "alice", "pass:word")?;
            expect("the right one, too late", refused.status(), 429)?;
            expect("when to come again", refused.values("Retry-After").len(), 1)?;
            expect("another username", status(&gateway, "a", "o,brien+ (x)*", "odd")?, 200)?;
            lab.server.borrow_mut().kill();
            expect("not asked", status(&gateway, "a", "alice", "guess")?, 429)?;
            for _ in 0..5 {
                expect(
                    "what was not answered is no failure",
                    status(&gateway, "a", "o,brien+ (x)*", "odd")?,
                    500,
                )?;
            }
            Ok(())
        })(),
    )
}

/// The same through two gateways that count together: neither asks any more, and neither admits a login that it remembers.
fn guessing_at_two_gateways(lab: &Lab) -> Result<(), String> {
    let redis = Redis::start(&lab.folder.0, "")?;
    let guarded = format!(
        "{}, brute_force_protection: {{strategy: redis, failures: 3, window: 86400, redis: {{host: 127.0.0.1, port: {}}}}}",
        lab.plain(),
        redis.port
    );
    let routes = [("a", guarded.as_str())];
    let (one, other) = (lab.gateway(&routes, &[])?, lab.gateway(&routes, &[])?);
    let guess = || {
        for gateway in [&one, &other] {
            expect("right", status(gateway, "a", "alice", "pass:word")?, 200)?;
        }
        for gateway in [&one, &other, &one] {
            expect("wrong", status(gateway, "a", "alice", "guess")?, 401)?;
        }
        lab.server.borrow_mut().kill();
        for gateway in [&one, &other] {
            expect("remembered, and too late", status(gateway, "a", "alice", "pass:word")?, 429)?;
            expect("not asked", status(gateway, "a", "alice", "another")?, 429)?;
        }
        Ok(())
    };
    told(&one, told(&other, guess()))
}
