//! Memory of connections on which nothing happens, or hardly anything.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use stats_alloc::Region;

use crate::{GLOBAL, PLAIN, PLAIN_REQUEST, Speech, exchange, gateway, upstream};

const CONNECTIONS: usize = 200;
/// Bytes of one, the reactor's and the clock's books of it included. A little of it is shared by all of them.
const EACH: isize = 1700;

/// Bytes of one in the middle of a head, and of one in the middle of a body. A build that is not optimized needs up to twice
/// what docs/limits-and-timeouts.md says.
const EACH_AT_HEAD: isize = 16 << 10;
const EACH_AT_BODY: isize = 32 << 10;

/// Time a busy machine may need.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request on this connection: connections made before it have been taken in then.
fn ask(client: &mut TcpStream) {
    exchange(client, PLAIN_REQUEST, b"true}");
}

/// Opens connections and runs `story` with them, with a way to open another, and with what is held for each of them in
/// bytes.
fn with_connections(story: impl FnOnce(&mut [TcpStream], &dyn Fn() -> TcpStream, &dyn Fn() -> isize)) {
    let gateway = gateway(&PLAIN.replace("UPSTREAM", &upstream().to_string()), Speech::Clear);
    let address = gateway.addresses()[0];
    let connect = || TcpStream::connect(address).unwrap();
    ask(&mut connect());
    let mut clients = Vec::with_capacity(CONNECTIONS);
    let region = Region::new(GLOBAL);
    clients.extend((0..CONNECTIONS).map(|_| connect()));
    story(&mut clients, &connect, &|| held(&region) / CONNECTIONS as isize);
    drop(clients);
    gateway.stop();
}

pub fn a_connection_without_a_request_is_small() {
    with_connections(|clients, _, each| {
        ask(clients.last_mut().unwrap());
        let each = each();
        assert!(each < EACH, "{each} bytes");
    });
}

pub fn a_connection_between_requests_becomes_small() {
    with_connections(|clients, connect, each| {
        clients.iter_mut().for_each(ask);
        // A second or so after their last one, while another client goes on.
        let mut other = connect();
        let begin = Instant::now();
        while each() >= EACH {
            assert!(begin.elapsed() < PATIENCE, "{} bytes", each());
            ask(&mut other);
        }
    });
}

/// Each client sends this much of a request, and no more.
fn begun(part: &[u8], most: isize) {
    with_connections(|clients, connect, each| {
        clients.iter_mut().for_each(|client| client.write_all(part).unwrap());
        // What they have sent was there before this client came, and is read in the same turns at the latest.
        let mut other = connect();
        (0..10).for_each(|_| ask(&mut other));
        let each = each();
        assert!((EACH..most).contains(&each), "{each} bytes");
    });
}

pub fn half_a_head_is_small() {
    begun(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", EACH_AT_HEAD);
}

pub fn half_a_body_is_small() {
    begun(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc", EACH_AT_BODY);
}

fn held(region: &Region<'_, std::alloc::System>) -> isize {
    let change = region.change();
    change.bytes_allocated.cast_signed() - change.bytes_deallocated.cast_signed()
}
