//! The load generator's plan and outcome, and the child process that turns one into the other. The process talks
//! over its standard streams: it connects, warms up, prints `ready`, and then runs for each line and prints the outcome,
//! until there are no more.

mod driver;

use std::fs;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::{LARGE, SMALL};
use crate::messages;
use crate::statistics::percentile;
use driver::Driver;

/// A JSON Web Token signed with [`SECRET`] by HS256, of issuer [`ISSUER`], valid until the year 2100.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
eyJpc3MiOiJiZW5jaC1rZXkiLCJzdWIiOiJiZW5jaCIsImV4cCI6NDEwMjQ0NDgwMH0.\
8efBvsfENaQenJVHjMx4l6emCLGdf19TcMifwdbh-Mo";
/// The key the gateways verify the load's token with; it protects nothing but the bench.
pub const SECRET: &str = "bench-secret-bench-secret-bench-secret";
/// [`SECRET`] as the `k` of a JSON Web Key.
pub const SECRET_BASE64URL: &str = "YmVuY2gtc2VjcmV0LWJlbmNoLXNlY3JldC1iZW5jaC1zZWNyZXQ";
/// The issuer of the load's token.
pub const ISSUER: &str = "bench-key";
/// How many routes the case with many routes has.
pub const ROUTES: usize = 10_000;

/// What requests ask for where nothing else is said.
pub const PATH: &str = "/orders";
/// How many of the routes a load asks for, spread over all of them.
const ROUTES_ASKED: usize = 1_000;
const WARM_UP: Duration = Duration::from_millis(200);

/// How the requests follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Pace {
    /// Each connection sends the next request as soon as the answer is complete.
    Closed,
    /// So many requests a second, whatever the answers do; latency counts from the scheduled moment.
    Fixed(u32),
    /// One request per connection, one after the other, and then silence.
    Idle,
    /// As `Closed`, but each request has a connection of its own.
    Churn,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exchange {
    /// GET with a small answer.
    Small,
    /// GET of 1 MiB.
    Download,
    /// POST of 1 MiB with a small answer.
    Upload,
    /// GET over many paths, each one a route of its own where the gateway has them.
    ManyPaths,
    /// A WebSocket message that comes back.
    Message,
}

/// One run of the load generator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The proxy.
    pub address: SocketAddr,
    /// Keep-alive connections.
    pub connections: usize,
    /// How long to send.
    pub seconds: f64,
    /// Closed or open loop.
    pub pace: Pace,
    /// What is asked for.
    pub exchange: Exchange,
    /// Whether each request carries the bearer token.
    pub token: bool,
    /// A file of header lines, of which each request carries the next one.
    pub lines: Option<PathBuf>,
    /// What small requests ask for.
    pub path: String,
    /// Whether it leaves the core to others while it waits, which makes each request dearer for the proxy. Where others
    /// have work to do on that core, it is the only fair way.
    pub sleeps: bool,
}

impl Plan {
    /// Small requests without credentials, in a closed loop that stays awake.
    pub fn small(address: SocketAddr, connections: usize, seconds: f64) -> Self {
        Self {
            address,
            connections,
            seconds,
            pace: Pace::Closed,
            exchange: Exchange::Small,
            token: false,
            lines: None,
            path: PATH.to_owned(),
            sleeps: false,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Answers that were right in status and length.
    pub requests: u64,
    /// All others, and lost connections.
    pub errors: u64,
    /// What the first error was.
    pub first_error: Option<String>,
    /// From the start to the last answer.
    pub seconds: f64,
    /// Median latency in microseconds, of an open loop.
    pub p50_us: u64,
    /// 95th percentile in microseconds, of an open loop.
    pub p95_us: u64,
    /// 99th percentile in microseconds, of an open loop.
    pub p99_us: u64,
}

/// The path of one of the many routes.
pub fn route_path(index: usize) -> String {
    format!("/team-{:03}/service-{index:05}/orders", index % 97)
}

/// Runs a plan given as JSON and prints the outcome as JSON.
pub fn run(plan: &str) -> io::Result<()> {
    let plan: Plan = serde_json::from_str(plan)?;
    let mut driver = Driver::connect(&plan)?;
    if plan.pace == Pace::Idle {
        driver.once_each()?;
    } else {
        driver.closed(WARM_UP)?;
    }
    let mut outcome = Outcome::default();
    driver.take(&mut outcome);
    println!("ready");
    while io::stdin().lock().read_line(&mut String::new())? > 0 {
        if plan.pace != Pace::Idle {
            outcome = measured(&mut driver, &plan)?;
        }
        println!("{}", serde_json::to_string(&outcome)?);
    }
    Ok(())
}

fn measured(driver: &mut Driver, plan: &Plan) -> io::Result<Outcome> {
    let mut outcome = Outcome::default();
    let duration = Duration::from_secs_f64(plan.seconds);
    let taken = match plan.pace {
        Pace::Fixed(rate) => driver.fixed(rate, duration)?,
        _ => driver.closed(duration)?,
    };
    outcome.seconds = taken.as_secs_f64();
    let mut latencies = driver.take(&mut outcome);
    latencies.sort_unstable();
    let of = |percent| percentile(&latencies, percent).unwrap_or(0);
    (outcome.p50_us, outcome.p95_us, outcome.p99_us) = (of(50.0), of(95.0), of(99.0));
    Ok(outcome)
}

/// The requests of a plan, ready to send.
fn requests(plan: &Plan) -> io::Result<Vec<Vec<u8>>> {
    let closing = if plan.pace == Pace::Churn { "Connection: close\r\n" } else { "" };
    let authorization = if plan.token { format!("Authorization: Bearer {TOKEN}\r\n") } else { String::new() };
    let request = |method: &str, path: &str, extra: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\n\
             Accept: application/json\r\n{closing}{authorization}{extra}\r\n"
        )
        .into_bytes()
    };
    if let Some(lines) = &plan.lines {
        let lines = fs::read_to_string(lines)?;
        return Ok(lines.lines().map(|line| request("GET", &plan.path, &format!("{line}\r\n"))).collect());
    }
    Ok(match plan.exchange {
        Exchange::Small => vec![request("GET", &plan.path, "")],
        Exchange::Download => vec![request("GET", "/large", "")],
        Exchange::Upload => {
            let mut upload = request("POST", &plan.path, &format!("Content-Length: {LARGE}\r\n"));
            upload.resize(upload.len() + LARGE, b'x');
            vec![upload]
        }
        Exchange::Message => vec![messages::message()],
        Exchange::ManyPaths => (0..ROUTES_ASKED)
            // A step that shares no factor with the number of routes visits them out of order, none twice.
            .map(|index| request("GET", &route_path(index * 7_919 % ROUTES), ""))
            .collect(),
    })
}

fn expected_length(exchange: Exchange) -> u64 {
    match exchange {
        Exchange::Download => LARGE as u64,
        Exchange::Message => messages::LENGTH as u64,
        Exchange::Small | Exchange::Upload | Exchange::ManyPaths => SMALL as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn plan(exchange: Exchange, token: bool) -> Plan {
        Plan { exchange, token, ..Plan::small("127.0.0.1:1".parse().unwrap(), 1, 1.0) }
    }

    #[test]
    fn an_upload_carries_as_many_bytes_as_it_promises() {
        let upload = requests(&plan(Exchange::Upload, false)).unwrap().remove(0);
        let end = upload.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(upload.len() - end, LARGE);
    }

    #[test]
    fn only_a_load_with_a_token_sends_one() {
        let text =
            |token| String::from_utf8(requests(&plan(Exchange::Small, token)).unwrap().remove(0)).unwrap();
        assert!(text(true).contains("\r\nAuthorization: Bearer eyJ"));
        assert!(!text(false).contains("Authorization"));
    }

    #[test]
    fn many_paths_are_all_different() {
        let all: HashSet<_> = requests(&plan(Exchange::ManyPaths, false)).unwrap().into_iter().collect();
        assert_eq!(all.len(), ROUTES_ASKED);
    }
}
