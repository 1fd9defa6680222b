//! A stand-in for Consul's HTTP API, written from its documentation: no package of Consul is to be had where the tests
//! run. It knows one service, numbers its states and lets questions wait for the next one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use model::serde_json::{Value, json};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The stand-in. It serves until it is dropped.
pub struct Registry {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    change: Condvar,
}

#[derive(Default)]
struct State {
    index: u64,
    instances: Vec<Value>,
    manner: Manner,
    asked: Vec<String>,
    stopped: bool,
}

/// How questions are answered.
#[derive(Clone, Default)]
pub enum Manner {
    /// As documented.
    #[default]
    Well,
    /// With this status.
    Status(u16),
    /// With these bytes as the answer's body.
    Body(Vec<u8>),
    /// The head of the answer has no index.
    NoIndex,
    /// The connection is closed.
    Nothing,
    /// Not at all, until this is another.
    Silence,
}

impl Registry {
    pub fn start() -> Self {
        Self::start_at("127.0.0.1", None)
    }

    /// At another address of this machine.
    pub fn start_on(host: &str) -> Self {
        Self::start_at(host, None)
    }

    /// Under TLS, as it is configured.
    pub fn start_tls(config: Arc<ServerConfig>) -> Self {
        Self::start_at("127.0.0.1", Some(config))
    }

    fn start_at(host: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if theirs.state.lock().unwrap().stopped {
                    return;
                }
                let (theirs, tls) = (theirs.clone(), tls.clone());
                thread::spawn(move || match tls {
                    Some(config) => {
                        let session = ServerConnection::new(config).unwrap();
                        serve(StreamOwned::new(session, stream), &theirs);
                    }
                    None => serve(stream, &theirs),
                });
            }
        });
        let registry = Self { address, shared };
        registry.set(1, vec![]);
        registry
    }

    /// These are the instances from now on, in a state of this number.
    pub fn set(&self, index: u64, instances: Vec<Value>) {
        self.change(|state| (state.index, state.instances) = (index, instances));
    }

    /// Answers like this from now on, and to questions that wait.
    pub fn behave(&self, manner: Manner) {
        self.change(|state| state.manner = manner);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock().unwrap());
        self.shared.change.notify_all();
    }

    /// The heads of all questions.
    pub fn asked(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().asked.clone()
    }

    /// The request targets of all questions.
    pub fn questions(&self) -> Vec<String> {
        let target = |head: &String| head.split(' ').nth(1).unwrap().to_owned();
        self.asked().iter().map(target).collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.change(|state| (state.stopped, state.manner) = (true, Manner::Nothing));
        let _ = TcpStream::connect(self.address);
    }
}

/// An instance with an address of its own, and one without.
pub fn instance(address: &str, port: u16, weight: u16) -> Value {
    json!({
        "Node": {"Node": "n", "Address": "10.9.9.9"},
        "Service": {"ID": "x", "Address": address, "Port": port, "Weights": {"Passing": weight, "Warning": 1}},
    })
}

fn serve(mut stream: impl Read + Write, shared: &Shared) {
    while let Some(head) = read_head(&mut stream) {
        let Some(answer) = answer(head, shared) else { break };
        if stream.write_all(&answer).and_then(|()| stream.flush()).is_err() {
            break;
        }
    }
}

fn read_head(stream: &mut impl Read) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn answer(head: String, shared: &Shared) -> Option<Vec<u8>> {
    let field = |name: &str| {
        let value = head.split(['?', '&', ' ']).find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.map(str::to_owned)
    };
    let known = field("index").and_then(|index| index.parse::<u64>().ok());
    let wait =
        field("wait").and_then(|wait| wait.strip_suffix("ms")?.parse().ok()).map(Duration::from_millis);
    let mut state = shared.state.lock().unwrap();
    state.asked.push(head);
    if let Some(known) = known {
        let same = |state: &mut State| state.index == known && matches!(state.manner, Manner::Well);
        let wait = wait.expect("a question that waits says for how long");
        state = shared.change.wait_timeout_while(state, wait, same).unwrap().0;
    }
    let silent = |state: &mut State| matches!(state.manner, Manner::Silence);
    state = shared.change.wait_while(state, silent).unwrap();
    let body = Value::from(state.instances.clone()).to_string().into_bytes();
    let (status, body, index) = match &state.manner {
        Manner::Well => (200, body, Some(state.index)),
        Manner::Status(status) => (*status, b"refused".to_vec(), Some(state.index)),
        Manner::Body(body) => (200, body.clone(), Some(state.index)),
        Manner::NoIndex => (200, body, None),
        Manner::Nothing | Manner::Silence => return None,
    };
    let index = index.map(|index| format!("X-Consul-Index: {index}\r\n")).unwrap_or_default();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{index}\r\n");
    Some([head.into_bytes(), body].concat())
}
