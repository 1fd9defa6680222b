//! Probes of servers on loopback.

use model::Record;
use model::serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;

/// What a probe came to.
type Finding = Result<Option<Sign>, Sign>;

fn probe(active: &Value) -> (Probe, Judgement) {
    let active = Active::from_value(&Active::schema().check(active).unwrap()).unwrap();
    let timeout = Duration::from_secs_f64(active.timeout);
    let kind = Kind::of(&active).unwrap();
    let probe = Probe { kind, trust: None, server_name: None, host_header: None, timeout };
    (probe, Judgement::active(&active))
}

/// Asks a server that gives `answer` to whoever has sent a head; what it was asked, and what came of it.
async fn ask(active: &Value, answer: &'static [u8]) -> (String, Finding) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut question = Vec::new();
        while !question.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut question).await.unwrap() == 0 {
                break;
            }
        }
        stream.write_all(answer).await.unwrap();
        String::from_utf8(question).unwrap()
    };
    let (probe, judgement) = probe(active);
    let (question, said) = tokio::join!(server, probe.ask(address, "host.test", &judgement));
    (question, said.map_err(|trouble| trouble.sign))
}

#[tokio::test]
async fn a_probe_is_a_get_with_the_host_of_the_target() {
    let active = json!({"http_path": "/up?x=1", "headers": {"X-A": ["1", "2"]}});
    let (question, said) = ask(&active, b"HTTP/1.1 200 OK\r\n\r\n").await;
    let lines: Vec<_> = question.split("\r\n").collect();
    assert_eq!(
        lines,
        ["GET /up?x=1 HTTP/1.1", "Host: host.test", "X-A: 1", "X-A: 2", "Connection: close", "", ""]
    );
    assert_eq!(said, Ok(Some(Sign::Success)));
    let (question, _) = ask(&json!({"headers": {"Host": ["own.test"]}}), b"HTTP/1.1 200 OK\r\n\r\n").await;
    assert_eq!(question.matches("ost: ").count(), 1, "{question}");
}

#[tokio::test]
async fn the_status_decides_and_what_is_no_response_is_a_failure_of_the_connection() {
    let cases: [(&[u8], Finding); 7] = [
        (b"HTTP/1.1 302 Found\r\n\r\n", Ok(Some(Sign::Success))),
        (b"HTTP/1.1 201 Created\r\n\r\n", Ok(None)),
        (b"HTTP/1.1 500 No\r\n\r\n", Err(Sign::HttpFailure)),
        (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Ok(Some(Sign::Success))),
        (b"SSH-2.0-OpenSSH\r\n", Err(Sign::TcpFailure)),
        (b"HTTP/1.1 200", Err(Sign::TcpFailure)),
        (b"", Err(Sign::TcpFailure)),
    ];
    for (answer, sign) in cases {
        assert_eq!(ask(&json!({}), answer).await.1, sign, "{:?}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn a_server_without_end_is_read_to_a_bound() {
    let endless: &'static [u8] = Box::leak(vec![b'a'; 200_000].into_boxed_slice());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await.unwrap();
        // The other side stops reading and closes.
        while stream.write_all(endless).await.is_ok() {}
    };
    let (probe, judgement) = probe(&json!({"timeout": 60}));
    let ((), said) = tokio::join!(server, probe.ask(address, "host.test", &judgement));
    assert_eq!(said.map_err(|trouble| trouble.sign), Err(Sign::TcpFailure));
}

#[tokio::test]
async fn a_server_that_stays_silent_is_late_and_one_that_is_not_there_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (silent, judgement) = probe(&json!({"timeout": 0.05}));
    let said = silent.ask(address, "host.test", &judgement).await;
    assert_eq!(said.map_err(|trouble| trouble.sign), Err(Sign::Timeout));
    let (tcp, judgement) = probe(&json!({"type": "tcp"}));
    let said = tcp.ask(address, "host.test", &judgement).await;
    assert_eq!(said.map_err(|trouble| trouble.sign), Ok(Some(Sign::Success)), "it has to listen only");
    drop(listener);
    let said = tcp.ask(address, "host.test", &judgement).await;
    assert_eq!(said.map_err(|trouble| trouble.sign), Err(Sign::TcpFailure));
}

/// Asks a server of gRPC that answers with this message and these trailers.
async fn call(message: &'static [u8], status: &'static str) -> (String, Bytes, Finding) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let (head, mut body) = request.into_parts();
        let answering = async {
            let question = body.data().await.unwrap().unwrap();
            let mut sending = respond.send_response(http::Response::new(()), false).unwrap();
            sending.send_data(Bytes::from_static(message), false).unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static(status));
            sending.send_trailers(trailers).unwrap();
            question
        };
        let (question, _) = tokio::join!(answering, async { while connection.accept().await.is_some() {} });
        (head.uri.path().to_owned(), question)
    };
    let (probe, judgement) = probe(&json!({"type": "grpc", "http_path": "/a.B", "timeout": 20}));
    let ((path, question), said) = tokio::join!(server, probe.ask(address, "host.test", &judgement));
    (path, question, said.map_err(|trouble| trouble.sign))
}

#[tokio::test]
async fn grpc_is_asked_whether_the_service_serves() {
    let (path, question, said) = call(&[0, 0, 0, 0, 2, 8, 1], "0").await;
    assert_eq!(
        (path.as_str(), &question[..]),
        ("/grpc.health.v1.Health/Check", &b"\0\0\0\0\x05\x0a\x03a.B"[..])
    );
    assert_eq!(said, Ok(Some(Sign::Success)));
    assert_eq!(call(&[0, 0, 0, 0, 2, 8, 2], "0").await.2, Err(Sign::HttpFailure), "NOT_SERVING");
    assert_eq!(call(&[], "12").await.2, Err(Sign::HttpFailure), "UNIMPLEMENTED");
}

#[test]
fn the_question_of_grpc_names_the_service() {
    assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
    let long = "s".repeat(300);
    assert_eq!(&question(&long)[5..8], [0x0a, 0xac, 0x02], "the length is a varint");
}

#[test]
fn only_serving_is_serving() {
    assert!(is_serving(&[0, 0, 0, 0, 2, 8, 1]));
    let others: [&[u8]; 5] =
        [&[0, 0, 0, 0, 2, 8, 2], &[0, 0, 0, 0, 0], &[], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 3, 8, 1]];
    for other in others {
        assert!(!is_serving(other), "{other:?}");
    }
}
