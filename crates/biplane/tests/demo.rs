//! `biplane demo` as a newcomer meets it: started, its tour read, each step of the tour taken, stopped.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BINARY: &str = env!("CARGO_BIN_EXE_biplane");

/// A running demo that does not outlive its test.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.end();
            let _ = self.0.wait();
        }
    }
}

impl Demo {
    /// Asks it to end, as Ctrl-C does.
    fn end(&self) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    }
}

fn demo(proxy: &str, admin: &str) -> Demo {
    let mut command = Command::new(BINARY);
    command.args(["demo", "--workers", "1", "--proxy-listen", proxy, "--admin-listen", admin]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in ["KONG_PROXY_LISTEN", "KONG_ADMIN_LISTEN", "KONG_STATUS_LISTEN", "KONG_DECLARATIVE_CONFIG"] {
        command.env_remove(name);
    }
    Demo(command.spawn().unwrap())
}

/// One step of the tour: the status it promises and the command it prints.
struct Step {
    title: String,
    status: u16,
    promise: String,
    command: Vec<String>,
}

/// Reads the tour from standard output, to its last line.
fn tour(demo: &mut Demo) -> (Vec<Step>, String) {
    let mut steps = Vec::new();
    let mut text = String::new();
    let mut title = String::new();
    let mut promise = String::new();
    for line in BufReader::new(demo.0.stdout.as_mut().unwrap()).lines() {
        let line = line.unwrap();
        text += &format!("{line}\n");
        let trimmed = line.trim_start();
        if let Some(rest) = trimmed.strip_prefix("Answers ") {
            rest.clone_into(&mut promise);
        } else if trimmed.starts_with("curl ") {
            let status = promise[..3].parse().unwrap();
            steps.push(Step {
                title: title.clone(),
                status,
                promise: promise.clone(),
                command: words(trimmed),
            });
        } else if trimmed.starts_with("Ctrl-C") {
            break;
        } else {
            trimmed.clone_into(&mut title);
        }
    }
    (steps, text)
}

/// The words of a command as a shell splits them.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in command.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    assert!(!quoted, "{command}");
    words
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (own, value) = line.split_once(": ")?;
            own.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Step {
    /// What curl would do: one request for each number of a range such as `[1-7]`.
    fn take(&self) -> Vec<Answer> {
        let mut headers = Vec::new();
        let mut url = None;
        let mut words = self.command[1..].iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-H" => headers.push(words.next().unwrap().clone()),
                "-o" | "-D" => drop(words.next().unwrap()),
                "-i" | "-s" => {}
                word if word.starts_with("http://") => url = Some(word.to_owned()),
                other => panic!("curl {other} is not known to this test"),
            }
        }
        let url = url.unwrap();
        match url.split_once('[') {
            None => vec![get(&url, &headers)],
            Some((before, range)) => {
                let (first, last) = range.trim_end_matches(']').split_once('-').unwrap();
                let range = first.parse::<u32>().unwrap()..=last.parse().unwrap();
                range.map(|number| get(&format!("{before}{number}"), &headers)).collect()
            }
        }
    }
}

fn get(url: &str, headers: &[String]) -> Answer {
    let (authority, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(authority).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut raw = String::new();
    stream.read_to_string(&mut raw).unwrap();
    let (head, body) = raw.split_once("\r\n\r\n").unwrap();
    Answer { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
}

#[test]
fn each_step_of_the_tour_answers_as_it_says() {
    let mut demo = demo("127.0.0.1:0", "127.0.0.1:0");
    let (steps, text) = tour(&mut demo);
    assert_eq!(steps.len(), 10, "{text}");
    let mut seen = Vec::new();
    for step in &steps {
        let answers = step.take();
        // A limit of three a minute: where a minute ends among seven requests, the last may be fine again.
        let answer = answers.into_iter().find(|answer| answer.status == step.status);
        seen.push(answer.unwrap_or_else(|| panic!("{} does not answer {}", step.title, step.promise)));
    }
    assert_eq!(seen[0].header("x-cache-status"), Some("Miss"));
    assert!(seen[0].header("x-request-id").is_some());
    assert_eq!(seen[1].header("x-cache-status"), Some("Hit"));
    assert_eq!(seen[0].body, seen[1].body, "the kept answer is the first one");
    assert!(seen[3].body.contains("\"username\": \"alice\""), "{}", seen[3].body);
    assert!(seen[5].header("retry-after").unwrap().parse::<u32>().unwrap() <= 60);
    let catalog = &seen[6].body;
    assert!(catalog.contains("EUR") && !catalog.contains("warehouse"), "{catalog}");
    assert!(catalog.find("Notebook") < catalog.find("Desk lamp"), "sorted by price: {catalog}");
    assert!(seen[7].body.contains("retired"));
    assert!(seen[9].body.contains("kong_http_requests_total"));
    // Nine steps came through the proxy, one of them seven times.
    assert!(
        seen[9]
            .body
            .lines()
            .any(|line| line.starts_with("kong_nginx_requests_total{") && line.ends_with(" 15"))
    );
    assert!(seen[9].body.contains("consumer=\"alice\""));
}

#[test]
fn a_signal_ends_it_and_its_log_goes_with_it() {
    let mut demo = demo("127.0.0.1:0", "127.0.0.1:0");
    let (steps, text) = tour(&mut demo);
    assert_eq!(steps[0].take()[0].status, 200);
    let log = text.lines().find_map(|line| line.split_once("logged to ")).unwrap().1.to_owned();
    assert!(std::path::Path::new(&log).parent().unwrap().is_dir());
    demo.end();
    assert_eq!(demo.0.wait().unwrap().code(), Some(0));
    assert!(!std::path::Path::new(&log).parent().unwrap().exists(), "{log} stayed behind");
}

#[test]
fn a_port_in_use_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (proxy, admin, option) in
        [(address.as_str(), "127.0.0.1:0", "--proxy-listen"), ("127.0.0.1:0", &address, "--admin-listen")]
    {
        let mut demo = demo(proxy, admin);
        let mut said = String::new();
        demo.0.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(demo.0.wait().unwrap().code(), Some(3), "{said}");
        assert!(said.contains(&address) && said.contains(option) && said.contains("in use"), "{said}");
    }
}
