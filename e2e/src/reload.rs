//! Reloads under traffic, as an operator does them: many routes and consumers, of which one of each changes every time.
//! No request fails, no connection is closed, a WebSocket lives through all of them; what is new serves as soon as the
//! reload has been answered, what is old no longer does; and the memory of all that was replaced comes back.

use crate::client::Connection;
use crate::gateway::Gateway;
use crate::message::{Message, Reader};
use crate::recorder::{Behaviour, Recorder, echo};
use crate::{Settings, Target};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How a configuration is replaced.
struct Plan {
    name: &'static str,
    /// Routes, and as many consumers.
    entities: usize,
    /// Reloads, as far as they fit into [`TIME`].
    reloads: usize,
    /// What the resident memory may have grown by at their end, in KiB: less than what would be
    /// left behind if each reload left its configuration.
    most_growth: u64,
    /// The reload since when.
    settled: usize,
}

/// Every plan.
const PLANS: &[Plan] = &[
    Plan {
        name: "ten-thousand-routes-and-consumers",
        entities: 10_000,
        reloads: 8,
        most_growth: 64 << 10,
        settled: 3,
    },
    Plan { name: "a-thousand-times", entities: 100, reloads: 1000, most_growth: 8 << 10, settled: 100 },
];

/// After this no further reload begins.
const TIME: Duration = Duration::from_secs(60);
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(2);
/// Connections that ask all the while.
const CLIENTS: usize = 3;
const MESSAGE: &[u8] = b"still here";

/// The names of all plans.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    PLANS.iter().map(|plan| plan.name)
}

/// Carries out the plan that `path` names.
pub(crate) fn run(path: &Path, settings: &Settings) -> Result<(), String> {
    let Target::Binary(binary) = &settings.target else { return Err("needs a binary".to_owned()) };
    let plan = PLANS.iter().find(|plan| path.ends_with(plan.name)).ok_or("no such plan")?;
    let recorder = Recorder::start(Arc::new(Upstream)).map_err(|error| format!("upstream: {error}"))?;
    let document = Document::new(plan.entities, recorder.address);
    let file = settings.scratch.join(format!("reload-{}-{}.json", plan.name, std::process::id()));
    std::fs::write(&file, document.text(0)).map_err(|error| error.to_string())?;
    let lasting = ("KONG_NGINX_HTTP_KEEPALIVE_REQUESTS".to_owned(), "1000000000".to_owned());
    let gateway = Gateway::start(binary, &file, &[], &BTreeMap::from([lasting]))
        .map_err(|failed| format!("the gateway did not start:\n{}", failed.output))?;
    let over = AtomicBool::new(false);
    let mut problems = thread::scope(|scope| {
        let proxy = gateway.addresses.proxy;
        let (over, entities) = (&over, plan.entities);
        let mut others: Vec<_> =
            (0..CLIENTS).map(|client| scope.spawn(move || ask(proxy, client, entities, over))).collect();
        others.push(scope.spawn(move || talk(proxy, over)));
        let reloaded = reload(plan, &document, &gateway, &recorder);
        over.store(true, Ordering::Release);
        let ended = others.into_iter().map(|other| other.join().unwrap_or(Err("it panicked".to_owned())));
        std::iter::once(reloaded).chain(ended).filter_map(Result::err).collect::<Vec<_>>()
    });
    if gateway.output().contains("panicked") {
        problems.push(gateway.output());
    }
    std::fs::remove_file(&file).ok();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

/// Replaces the configuration again and again.
fn reload(plan: &Plan, document: &Document, gateway: &Gateway, recorder: &Recorder) -> Result<(), String> {
    let admin = gateway.addresses.admin.ok_or("no Admin API")?;
    let open = |address| Connection::open(address, None).map_err(|error| error.to_string());
    let mut client = open(gateway.addresses.proxy)?;
    let start = Instant::now();
    let mut early = None;
    for round in 1..=plan.reloads {
        if start.elapsed() > TIME {
            break;
        }
        let text = document.text(round);
        let head = format!(
            "POST /config HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        let mut operator = open(admin)?;
        operator.send(head.as_bytes());
        operator.send(text.as_bytes());
        expect(&mut operator, 201).map_err(|error| format!("reload {round}: {error}"))?;
        for (number, status) in [(round, 200), (round - 1, 404)] {
            client.send(request(&format!("/fresh-{number}"), &format!("fresh-{round}")).as_bytes());
            expect(&mut client, status)
                .map_err(|error| format!("/fresh-{number} after reload {round}: {error}"))?;
        }
        // Only so that this process does not grow.
        recorder.take();
        if round == plan.settled {
            early = gateway.resident_kib();
        }
    }
    match (early, gateway.resident_kib()) {
        (Some(early), Some(late)) if late > early + plan.most_growth => {
            Err(format!("resident memory went from {early} to {late} KiB"))
        }
        _ => Ok(()),
    }
}

/// Asks for one route after the other, each time as another consumer, until all is over.
fn ask(proxy: SocketAddr, client: usize, entities: usize, over: &AtomicBool) -> Result<(), String> {
    let mut connection = Connection::open(proxy, None).map_err(|error| error.to_string())?;
    for number in (client..).step_by(37) {
        if over.load(Ordering::Acquire) {
            break;
        }
        let (route, consumer) = (number % entities, number * 7 % entities);
        connection.send(request(&format!("/route-{route}/"), &format!("key-{consumer}")).as_bytes());
        expect(&mut connection, 200).map_err(|error| format!("client {client}, /route-{route}/: {error}"))?;
        // The machine is the gateway's, too.
        thread::park_timeout(PAUSE);
    }
    Ok(())
}

/// Sends messages over one WebSocket and wants each back, until all is over.
fn talk(proxy: SocketAddr, over: &AtomicBool) -> Result<(), String> {
    let mut connection = Connection::open(proxy, None).map_err(|error| error.to_string())?;
    let upgrade = "GET /route-0/ HTTP/1.1\r\nHost: a\r\napikey: key-0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    connection.send(upgrade.as_bytes());
    expect(&mut connection, 101)?;
    while !over.load(Ordering::Acquire) {
        connection.send(MESSAGE);
        let message = connection.bytes(MESSAGE.len()).map_err(|error| format!("the WebSocket: {error}"))?;
        if message != MESSAGE {
            return Err(format!("the WebSocket brought {message:?}"));
        }
        thread::park_timeout(PAUSE);
    }
    Ok(())
}

fn request(path: &str, key: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\napikey: {key}\r\n\r\n")
}

fn expect(connection: &mut Connection, status: u16) -> Result<(), String> {
    match connection.answer("GET") {
        Ok(Some(reply)) if reply.message.status() == status => Ok(()),
        Ok(Some(reply)) => Err(format!("{} {}", reply.message.start_line, reply.message.text())),
        Ok(None) => Err("the connection was closed".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A configuration of which a little changes.
struct Document {
    before: String,
    between: String,
    behind: String,
}

impl Document {
    fn new(entities: usize, upstream: SocketAddr) -> Self {
        let (mut routes, mut consumers) = (String::new(), String::new());
        for number in 0..entities {
            // Writing to a string cannot fail.
            let _ = write!(routes, r#"{{"name":"route-{number}","paths":["/route-{number}/"]}},"#);
            let _ = write!(
                consumers,
                r#"{{"username":"consumer-{number}","keyauth_credentials":[{{"key":"key-{number}"}}]}},"#
            );
        }
        Document {
            before: format!(
                r#"{{"_format_version":"3.0","plugins":[{{"name":"key-auth"}}],"services":[{{"name":"one","url":"http://{upstream}","routes":[{routes}"#
            ),
            between: format!(r#"]}}],"consumers":[{consumers}"#),
            behind: "]}".to_owned(),
        }
    }

    /// With the route and the consumer of a round.
    fn text(&self, round: usize) -> String {
        let route = format!(r#"{{"name":"fresh","paths":["~/fresh-{round}$"]}}"#);
        let consumer = format!(r#"{{"username":"fresh","keyauth_credentials":[{{"key":"fresh-{round}"}}]}}"#);
        [&self.before, &route, &self.between, &consumer, &self.behind].map(String::as_str).concat()
    }
}

/// Answers with an echo, and sends back what comes over a WebSocket.
struct Upstream;

impl Behaviour for Upstream {
    fn answer(&self, reader: &mut Reader, request: &Message) -> io::Result<bool> {
        if request.values("upgrade").is_empty() {
            return echo(reader, request).map(|()| true);
        }
        reader.stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        while let Ok(message) = reader.exactly(MESSAGE.len()) {
            reader.stream.write_all(&message)?;
        }
        Ok(false)
    }
}
