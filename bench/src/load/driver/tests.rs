//! Tests of the module `driver`.

use super::*;
use std::net::TcpListener;

/// Answers every request of a connection with the same bytes, and closes it after `answers`.
fn origin(answer: Vec<u8>, answers: usize) -> SocketAddr {
    origin_taking(answer, answers, Duration::ZERO)
}

fn origin_taking(answer: Vec<u8>, answers: usize, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let answer = answer.clone();
            std::thread::spawn(move || serve(stream, &answer, answers, delay));
        }
    });
    address
}

fn serve(mut stream: std::net::TcpStream, answer: &[u8], answers: usize, delay: Duration) {
    let mut request = [0; 4096];
    for _ in 0..answers {
        let received = stream.read(&mut request).unwrap_or(0);
        std::thread::park_timeout(delay);
        if received == 0 || stream.write_all(answer).is_err() {
            break;
        }
    }
}

fn plan(address: SocketAddr) -> Plan {
    Plan { pace: Pace::Idle, ..Plan::small(address, 1, 0.0) }
}

fn outcome_of(answer: &[u8], answers: usize) -> Outcome {
    let mut driver = Driver::connect(&plan(origin(answer.to_vec(), answers))).unwrap();
    driver.once_each().unwrap();
    let mut outcome = Outcome::default();
    driver.take(&mut outcome);
    outcome
}

fn small_answer(status: &str, length: usize) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + length, b'x');
    answer
}

#[test]
fn the_expected_answer_is_a_request_served() {
    let outcome = outcome_of(&small_answer("200 OK", 150), 9);
    assert_eq!((outcome.requests, outcome.errors), (1, 0));
}

#[test]
fn a_wrong_status_is_an_error_not_a_request() {
    let outcome = outcome_of(&small_answer("502 Bad Gateway", 150), 9);
    assert_eq!((outcome.requests, outcome.errors), (0, 1));
    assert_eq!(outcome.first_error.as_deref(), Some("an answer of status 502 and 150 bytes"));
}

#[test]
fn a_short_answer_is_an_error() {
    let outcome = outcome_of(&small_answer("200 OK", 149), 9);
    assert_eq!((outcome.requests, outcome.errors), (0, 1));
}

#[test]
fn an_answer_cut_off_by_a_close_is_an_error() {
    let mut cut = small_answer("200 OK", 150);
    cut.truncate(cut.len() - 1);
    let outcome = outcome_of(&cut, 1);
    assert_eq!((outcome.requests, outcome.errors), (0, 1));
}

#[test]
fn a_load_that_churns_has_a_connection_for_each_request() {
    let address = origin(small_answer("200 OK", 150), usize::MAX);
    let mut driver = Driver::connect(&Plan { pace: Pace::Churn, ..plan(address) }).unwrap();
    let first = driver.connections[0].stream.local_addr().unwrap();
    driver.once_each().unwrap();
    assert_ne!(driver.connections[0].stream.local_addr().unwrap(), first);
    assert!(driver.requests[0].windows(19).any(|window| window == b"\r\nConnection: close"));
}

#[test]
fn a_message_that_comes_back_is_a_request_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; messages::REQUEST.len()]).unwrap();
        stream.write_all(messages::ACCEPTED.as_bytes()).unwrap();
        stream.read_exact(&mut [0; messages::SENT]).unwrap();
        stream.write_all(&messages::answer()).unwrap();
    });
    let mut driver = Driver::connect(&Plan { exchange: Exchange::Message, ..plan(address) }).unwrap();
    driver.once_each().unwrap();
    assert_eq!((driver.served, driver.errors), (1, 0));
}

#[test]
fn the_open_loop_counts_latency_from_the_schedule() {
    // 1,000 requests a second at an origin that takes 5 ms each: all later ones wait for their turn.
    let address = origin_taking(small_answer("200 OK", 150), usize::MAX, Duration::from_millis(5));
    let mut driver = Driver::connect(&plan(address)).unwrap();
    driver.fixed(1_000, Duration::from_millis(100)).unwrap();
    let mut outcome = Outcome::default();
    let latencies = driver.take(&mut outcome);
    assert!(latencies.iter().max().unwrap() > &30_000, "{latencies:?}");
    assert!(outcome.errors > 0, "requests that could not be sent are counted");
    assert_eq!(outcome.first_error.as_deref(), Some("the rate could not be kept: requests never sent"));
}

#[test]
fn the_open_loop_uses_its_connections_in_turn() {
    let address = origin(small_answer("200 OK", 150), usize::MAX);
    let mut driver = Driver::connect(&Plan { connections: 4, ..plan(address) }).unwrap();
    // 20 requests at a rate that leaves all four connections free in between.
    driver.fixed(200, Duration::from_millis(100)).unwrap();
    let unused = driver.connections.iter().filter(|connection| connection.written == 0).count();
    assert_eq!((driver.errors, unused), (0, 0));
}
