//! What rides along with every request or connection may not grow unnoticed (64-bit targets).

use std::mem::{size_of, size_of_val};
use std::rc::Rc;

use plugin::Exchange;
use plugin::exchange::Client;
use tokio::io::BufReader;

use super::lab::{PLAIN, with};
use crate::channel::Channel;
use crate::flow;
use crate::session::{Arrival, Session, Workspace};
use crate::settings::Settings;
use crate::transport::Stream;
use crate::worker::Ending;

#[test]
fn the_state_of_a_request_is_small() {
    assert!(size_of::<Exchange>() <= 1504, "{}", size_of::<Exchange>());
    assert!(size_of::<Workspace>() <= 1952, "{}", size_of::<Workspace>());
}

#[tokio::test]
async fn an_idle_connection_is_small() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (near, _far) = tokio::io::duplex(16);
        let address = "192.0.2.1:1".parse().unwrap();
        let client = Client { peer: address, local: address, ip: address.ip(), ..Client::default() };
        let channel = Channel::new(Stream::Memory(BufReader::new(near)), lab.local.buffers.clone());
        let arrival = Arrival { local: lab.local.clone(), channel, client, number: 0, idle: Rc::default() };
        let place = Ending { local: lab.local.clone(), number: 0 };
        let mut session = Session::new(arrival);
        let busy = size_of_val(&flow::serve_requests(&mut session));
        assert!(busy <= 2000, "carrying out requests takes {busy} bytes");
        let task = size_of_val(&flow::serve(session, place));
        assert!(task <= 700, "the task of a connection takes {task} bytes");
    })
    .await;
}
