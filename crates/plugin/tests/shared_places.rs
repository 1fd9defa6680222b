//! What gateways share, in a real Redis and a real memcached: each claim is about both, by TCP and by a Unix socket.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use plugin::clock::Clock;
use plugin::redis::{Address, Identity, Security, Topology};
use plugin::remember::Digest;
use plugin::shared::{Claim, Joint, Turn, Unavailable, Values};
use plugin::{Services, memcached, redis};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};

/// Longest time for what happens by itself.
const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Option<Duration> = Some(Duration::from_secs(60));

/// A server with a folder of its own, ended with its test.
struct Server {
    child: Child,
    folder: PathBuf,
    socket: PathBuf,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Redis,
    Memcached,
}

impl Server {
    fn start(kind: Kind) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("biplane-shared-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (socket, free) = (folder.join("socket"), TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let address = free.local_addr().unwrap();
        drop(free);
        let child = run(kind, &folder, &socket, address);
        let server = Self { child, folder, socket, address };
        server.await_both(kind);
        server
    }

    fn await_both(&self, kind: Kind) {
        // One memcached listens at one place; whoever wants both starts two.
        let by_socket = || kind == Kind::Memcached || UnixStream::connect(&self.socket).is_ok();
        let deadline = Instant::now() + PATIENCE;
        while !(by_socket() && TcpStream::connect(self.address).is_ok()) {
            assert!(Instant::now() < deadline, "{kind:?} does not listen");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

fn run(kind: Kind, folder: &Path, socket: &Path, address: SocketAddr) -> Child {
    let port = address.port().to_string();
    let mut command = match kind {
        Kind::Redis => {
            let mut command = Command::new("redis-server");
            command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port, "--unixsocket"]);
            command.arg(socket).arg("--dir").arg(folder);
            command
        }
        Kind::Memcached => {
            let mut command = Command::new("memcached");
            command.args(["-u", "root", "-U", "0", "-l", "127.0.0.1", "-p", &port]);
            command
        }
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    command.spawn().unwrap()
}

/// A memcached at a Unix socket alone.
fn memcached_at_socket() -> Server {
    let mut server = Server::start(Kind::Memcached);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let mut command = Command::new("memcached");
    command.args(["-u", "root", "-s"]).arg(&server.socket).stdin(Stdio::null());
    server.child = command.spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while UnixStream::connect(&server.socket).is_err() {
        assert!(Instant::now() < deadline, "memcached does not listen");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    server
}

/// A memcached that speaks nothing but TLS, with a certificate for `cache.test`, and trust in it.
fn memcached_with_tls() -> (Server, Arc<ClientConfig>) {
    let mut server = Server::start(Kind::Memcached);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["cache.test".to_owned()]).unwrap();
    let file = |name: &str, text: String| {
        let path = server.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let certificate = file("certificate.pem", cert.pem());
    let key = file("key.pem", signing_key.serialize_pem());
    let port = server.address.port().to_string();
    let mut command = Command::new("memcached");
    command.args(["-u", "root", "-U", "0", "-l", "127.0.0.1", "-p", &port, "-Z", "-o"]);
    command.arg(format!("ssl_chain_cert={certificate},ssl_key={key}")).stdin(Stdio::null());
    server.child = command.spawn().unwrap();
    server.await_both(Kind::Memcached);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let trust = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (server, Arc::new(trust.with_root_certificates(roots).with_no_client_auth()))
}

fn redis_at(topology: Topology, services: &Services) -> Values {
    let settings = redis::Settings {
        topology,
        identity: Identity::default(),
        database: 1,
        security: None,
        connect_timeout: Duration::from_secs(2),
        answer_timeout: Duration::from_secs(2),
        most_in_flight: 100,
    };
    Values::Redis(redis::Store::of(services, settings).unwrap())
}

fn memcached_at(place: memcached::Place, services: &Services) -> Values {
    let settings = memcached::Settings { place, security: None };
    Values::Memcached(memcached::Store::of(services, settings).unwrap())
}

fn services() -> Arc<Services> {
    Services::new(1, Clock::default(), false)
}

/// Has `check` hold in each place, as one gateway sees it.
fn everywhere(check: &impl AsyncFn(&Values)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (redis, memcached, other) =
        (Server::start(Kind::Redis), Server::start(Kind::Memcached), memcached_at_socket());
    let services = services();
    let host = |server: &Server| Address { host: "127.0.0.1".to_owned(), port: server.address.port() };
    let places = [
        redis_at(Topology::Single(host(&redis)), &services),
        memcached_at(memcached::Place::Host(host(&memcached)), &services),
        memcached_at(memcached::Place::Socket(other.socket.clone()), &services),
    ];
    runtime.block_on(async {
        for values in &places {
            check(values).await;
        }
        // The same Redis, so another database would show what was left.
        let by_socket = redis_at(Topology::Socket(redis.socket.clone()), &services);
        assert_eq!(by_socket.read(0, b"left").await, places[0].read(0, b"left").await);
        by_socket.write(0, b"by socket", b"1", LONG).await.unwrap();
        assert_eq!(places[0].read(0, b"by socket").await, Ok(Some(b"1".to_vec())));
    });
}

/// Looks until it is so.
async fn eventually(mut look: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !look().await {
        assert!(Instant::now() < deadline, "it never happened");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn values_are_kept_replaced_and_deleted() {
    everywhere(&async |values| {
        let odd = b"\r\nEND\r\n\0 \xff".as_slice();
        assert_eq!(values.read(0, b"a").await, Ok(None));
        assert_eq!(values.replace(0, b"a", b"1", LONG).await, Ok(false), "there is nothing to replace");
        values.write(0, b"a", odd, LONG).await.unwrap();
        assert_eq!(values.read(0, b"a").await, Ok(Some(odd.to_vec())));
        assert_eq!(values.replace(0, b"a", b"", None).await, Ok(true));
        values.write(0, b"left", b"2", LONG).await.unwrap();
        let keys = [b"left".to_vec(), b"none".to_vec(), b"a".to_vec()];
        let all = values.read_all(0, &keys).await.unwrap();
        assert_eq!(all, [Some(b"2".to_vec()), None, Some(Vec::new())]);
        values.delete(0, b"a").await.unwrap();
        values.delete(0, b"a").await.unwrap();
        assert_eq!(values.read(0, b"a").await, Ok(None));
        let largest = vec![b'x'; memcached::LARGEST];
        values.write(0, b"large", &largest, LONG).await.unwrap();
        assert_eq!(values.read(0, b"large").await.unwrap().unwrap().len(), largest.len());
        assert_eq!(values.write(0, b"large", &vec![b'x'; (1 << 20) + 1], LONG).await, Err(Unavailable));
    });
}

#[test]
fn values_end_by_themselves_and_can_be_made_to_end_sooner() {
    everywhere(&async |values| {
        assert_eq!(values.shorten(0, b"short", Duration::from_secs(1)).await, Ok(false));
        values.write(0, b"short", b"1", LONG).await.unwrap();
        assert_eq!(values.shorten(0, b"short", Duration::from_secs(1)).await, Ok(true));
        assert_eq!(values.shorten(0, b"short", PATIENCE * 2).await, Ok(true), "it does not become longer");
        assert_eq!(values.replace(0, b"short", b"2", LONG).await, Ok(true), "nor by another value");
        assert_eq!(values.read(0, b"short").await, Ok(Some(b"1".to_vec())));
        values.write(0, b"goes-on", b"1", Some(Duration::from_secs(1))).await.unwrap();
        assert_eq!(values.replace(0, b"goes-on", b"2", LONG).await, Ok(true), "nobody made it end");
        values.write(0, b"brief", b"1", Some(Duration::from_millis(300))).await.unwrap();
        values.write(0, b"months", b"1", Some(Duration::from_secs(90 * 86_400))).await.unwrap();
        eventually(async || {
            values.read_all(0, &[b"short".to_vec(), b"brief".to_vec()]).await.unwrap() == [None, None]
        })
        .await;
        assert_eq!(values.read(0, b"months").await, Ok(Some(b"1".to_vec())));
        assert_eq!(values.read(0, b"goes-on").await, Ok(Some(b"2".to_vec())));
    });
}

#[test]
fn a_key_is_taken_once_and_changed_only_by_who_knows_what_is_there() {
    everywhere(&async |values| {
        assert_eq!(values.claim(0, b"c", b"one", LONG).await, Ok(Claim::Own));
        assert_eq!(values.claim(0, b"c", b"one", LONG).await, Ok(Claim::Own), "the answer had been lost");
        assert_eq!(values.claim(0, b"c", b"two", LONG).await, Ok(Claim::Other(b"one".to_vec())));
        assert_eq!(values.exchange(0, b"c", b"two", Some(b"three"), LONG).await, Ok(false));
        assert_eq!(values.exchange(0, b"c", b"one", Some(b"three"), LONG).await, Ok(true));
        assert_eq!(values.read(0, b"c").await, Ok(Some(b"three".to_vec())));
        assert_eq!(values.exchange(0, b"c", b"one", None, None).await, Ok(false));
        assert_eq!(values.exchange(0, b"c", b"three", None, None).await, Ok(true));
        assert_eq!(values.read(0, b"c").await, Ok(None));
        assert_eq!(values.claim(0, b"c", b"two", None).await, Ok(Claim::Own));
    });
}

#[test]
fn nothing_is_lost_when_many_change_a_value_at_once() {
    everywhere(&async |values| {
        let add = async |letter: u8| {
            let with = |before: Option<&[u8]>| Some(([before.unwrap_or_default(), &[letter]].concat(), LONG));
            values.change(0, b"letters", with).await.unwrap();
        };
        tokio::join!(add(b'a'), add(b'b'), add(b'c'), add(b'd'), add(b'e'));
        let mut letters = values.read(0, b"letters").await.unwrap().unwrap();
        letters.sort_unstable();
        assert_eq!(letters, b"abcde");
        values.change(0, b"letters", |_| None).await.unwrap();
    });
}

#[test]
fn of_two_gateways_one_asks_and_the_other_is_told() {
    everywhere(&async |values| {
        let gateway = || Joint::new(values.clone(), "shop", b"secret");
        let (one, other, thing) = (gateway(), gateway(), Digest::of([&b"refresh token"[..]]));
        let Ok(Turn::Own(lease)) = one.turn(0, "tokens", &thing, PATIENCE).await else {
            unreachable!("it is free")
        };
        let telling = async {
            // The other one waits by then, or comes later: it is told the same.
            tokio::task::yield_now().await;
            assert_eq!(lease.tell(b"newer token", PATIENCE).await, Ok(true));
        };
        let (told, ()) = tokio::join!(other.turn(0, "tokens", &thing, PATIENCE), telling);
        assert!(matches!(told, Ok(Turn::Told(answer)) if answer == b"newer token"));
        assert_eq!(other.known(0, "tokens", &thing).await, Ok(Some(b"newer token".to_vec())));
        let stranger = Joint::new(values.clone(), "shop", b"another secret");
        assert_eq!(stranger.known(0, "tokens", &thing).await, Ok(None));
        assert_eq!(other.known(0, "others", &thing).await, Ok(None));
    });
}

#[test]
fn a_lease_that_is_given_up_or_whose_holder_dies_is_the_next_ones() {
    everywhere(&async |values| {
        let joint = Joint::new(values.clone(), "shop", b"secret");
        let thing = Digest::of([&b"another token"[..]]);
        let brief = Duration::from_millis(900);
        let Ok(Turn::Own(dead)) = joint.turn(0, "tokens", &thing, brief).await else {
            unreachable!("it is free")
        };
        let Ok(Turn::Own(next)) = joint.turn(0, "tokens", &thing, PATIENCE).await else {
            unreachable!("the lease has ended")
        };
        assert_eq!(
            dead.tell(b"too late", PATIENCE).await,
            Ok(false),
            "who is late does not speak for the next one"
        );
        next.give_up().await;
        assert_eq!(joint.known(0, "tokens", &thing).await, Ok(None));
        assert!(matches!(joint.turn(0, "tokens", &thing, brief).await, Ok(Turn::Own(_))));
        let waited = Instant::now();
        let nobody = joint.turn(0, "tokens", &thing, Duration::ZERO).await;
        assert!(matches!(nobody, Err(Unavailable)) && waited.elapsed() < PATIENCE, "nobody waits for ever");
    });
}

#[test]
fn a_memcached_is_asked_over_tls_if_its_certificate_is_for_its_name() {
    let (server, trust) = memcached_with_tls();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let services = services();
    services.provide_client_tls(move |_| Ok(trust.clone()));
    let at = |name: Option<&str>| {
        let host = Address { host: "127.0.0.1".to_owned(), port: server.address.port() };
        let security = Security { verify: true, server_name: name.map(str::to_owned) };
        let settings = memcached::Settings { place: memcached::Place::Host(host), security: Some(security) };
        Values::Memcached(memcached::Store::of(&services, settings).unwrap())
    };
    runtime.block_on(async {
        let values = at(Some("cache.test"));
        values.write(0, b"a", b"1", LONG).await.unwrap();
        assert_eq!(values.read(0, b"a").await, Ok(Some(b"1".to_vec())));
        for other in [Some("other.test"), None] {
            assert_eq!(at(other).read(0, b"a").await, Err(Unavailable), "{other:?}");
        }
    });
}

#[test]
fn each_worker_has_a_connection_of_its_own() {
    let (redis, services) = (Server::start(Kind::Redis), Services::new(3, Clock::default(), false));
    let address = Address { host: "127.0.0.1".to_owned(), port: redis.address.port() };
    let joint = Joint::new(redis_at(Topology::Single(address), &services), "shop", b"secret");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connections = || {
        let mut asking = TcpStream::connect(redis.address).unwrap();
        asking.write_all(b"INFO clients\r\n").unwrap();
        let lines = BufReader::new(asking).lines();
        let line = lines.map(Result::unwrap).find(|line| line.starts_with("connected_clients:")).unwrap();
        // The one that asks is among them.
        line["connected_clients:".len()..].parse::<usize>().unwrap() - 1
    };
    runtime.block_on(async {
        let [first, second] = [1, 2].map(|number: u8| Digest::of([&[number][..]]));
        for thing in [&first, &first] {
            assert_eq!(joint.known(0, "tokens", thing).await, Ok(None));
        }
        assert_eq!(connections(), 1);
        let Ok(Turn::Own(lease)) = joint.turn(1, "tokens", &first, PATIENCE).await else {
            unreachable!("it is free")
        };
        assert_eq!(lease.tell(b"answer", PATIENCE).await, Ok(true));
        assert_eq!(connections(), 2);
        joint.tell(2, "tokens", &second, b"answer", PATIENCE).await.unwrap();
        assert_eq!(connections(), 3);
    });
}

#[test]
fn a_thing_is_used_once_by_all_gateways_together() {
    everywhere(&async |values| {
        let gateway = |secret: &[u8]| Joint::new(values.clone(), "shop", secret);
        let (one, other, thing) = (gateway(b"s"), gateway(b"s"), Digest::of([&b"state"[..]]));
        let once = async |joint: &Joint| joint.is_first(0, "login", &thing, PATIENCE).await;
        assert_eq!(
            (once(&one).await, once(&other).await, once(&one).await),
            (Ok(true), Ok(false), Ok(false))
        );
        assert_eq!(once(&gateway(b"others")).await, Ok(true));
    });
}

#[test]
fn a_memcached_that_is_gone_is_found_again() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut server, services) = (Server::start(Kind::Memcached), services());
    let address = Address { host: "127.0.0.1".to_owned(), port: server.address.port() };
    let values = memcached_at(memcached::Place::Host(address), &services);
    runtime.block_on(async {
        values.write(0, b"a", b"1", LONG).await.unwrap();
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        assert_eq!(values.read(0, b"a").await, Err(Unavailable));
        assert_eq!(values.read(0, b"a").await, Err(Unavailable));
        server.child = run(Kind::Memcached, &server.folder, &server.socket, server.address);
        eventually(async || values.read(0, b"a").await == Ok(None)).await;
        for key in [&b""[..], b"a b", b"a\r\nflush_all", &[b'k'; 251]] {
            assert_eq!(values.write(0, key, b"1", LONG).await, Err(Unavailable), "a key that is none");
        }
    });
}

#[test]
fn what_is_no_memcached_is_not_believed() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = Address { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
    let liar = std::thread::spawn(move || -> io::Result<()> {
        let (stream, _) = listener.accept()?;
        let mut lines = BufReader::new(stream.try_clone()?);
        lines.read_line(&mut String::new())?;
        io::Write::write_all(&mut &stream, b"VALUE other 0 99999999999 1\r\n")
    });
    let (runtime, services) =
        (tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(), services());
    let values = memcached_at(memcached::Place::Host(address), &services);
    assert_eq!(runtime.block_on(values.read(0, b"a")), Err(Unavailable));
    liar.join().unwrap().unwrap();
}
