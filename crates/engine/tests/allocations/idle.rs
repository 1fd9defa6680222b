//! Memory of connections on which nothing happens.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use stats_alloc::Region;

use crate::{GLOBAL, PLAIN, PLAIN_REQUEST, Speech, exchange, gateway, upstream};

const CONNECTIONS: usize = 200;
/// Bytes of one, the reactor's and the clock's books of it included. A little of it is shared by all of them.
const EACH: isize = 1700;

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

fn held(region: &Region<'_, std::alloc::System>) -> isize {
    let change = region.change();
    change.bytes_allocated.cast_signed() - change.bytes_deallocated.cast_signed()
}
