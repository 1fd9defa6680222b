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

pub fn a_connection_without_a_request_is_small() {
    let gateway = gateway(&PLAIN.replace("UPSTREAM", &upstream().to_string()), Speech::Clear);
    let address = gateway.addresses()[0];
    let connect = || TcpStream::connect(address).unwrap();
    ask(&mut connect());
    let mut clients = Vec::with_capacity(CONNECTIONS);
    let region = Region::new(GLOBAL);
    clients.extend((0..CONNECTIONS).map(|_| connect()));
    ask(clients.last_mut().unwrap());
    let each = held(&region) / CONNECTIONS as isize;
    assert!(each < EACH, "{each} bytes");
    drop(clients);
    gateway.stop();
}

pub fn a_connection_between_requests_becomes_small() {
    let gateway = gateway(&PLAIN.replace("UPSTREAM", &upstream().to_string()), Speech::Clear);
    let address = gateway.addresses()[0];
    let connect = || TcpStream::connect(address).unwrap();
    ask(&mut connect());
    let mut clients = Vec::with_capacity(CONNECTIONS);
    let region = Region::new(GLOBAL);
    clients.extend((0..CONNECTIONS).map(|_| connect()));
    clients.iter_mut().for_each(ask);
    // A second or so after their last one, while another client goes on.
    let mut other = connect();
    let begin = Instant::now();
    while held(&region) / CONNECTIONS as isize >= EACH {
        assert!(begin.elapsed() < PATIENCE, "{} bytes", held(&region) / CONNECTIONS as isize);
        ask(&mut other);
    }
    drop(clients);
    gateway.stop();
}

fn held(region: &Region<'_, std::alloc::System>) -> isize {
    let change = region.change();
    change.bytes_allocated.cast_signed() - change.bytes_deallocated.cast_signed()
}
