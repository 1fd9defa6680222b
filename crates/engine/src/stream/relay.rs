//! A session's bytes. An end that is not orderly does not look like one.

use std::future::poll_fn;
use std::rc::Rc;

use crate::buffers::Buffers;
use crate::channel::{Channel, Input};
use crate::relay::{End, Moved, Patience, Relay};
use crate::transport::{Ending, Stream};

/// Relays between `client`, what has been read of it first, and `service`. An end that is not orderly does not look
/// like one, this future being dropped included: TCP is reset, and TLS ends without a farewell.
pub async fn relay(
    client: &mut Channel,
    service: Stream,
    buffers: &Rc<Buffers>,
    patience: Patience,
    counts: &Moved,
) -> End {
    let Channel { stream, input, timer, .. } = client;
    let first = std::mem::replace(input, Input::new(buffers.clone()));
    let relay = Relay::new(first, Input::new(buffers.clone()), patience, counts);
    let mut carried = Carried { client: stream, service, relay };
    poll_fn(|cx| carried.relay.poll(cx, carried.client, &mut carried.service, timer)).await
}

/// Both connections, as long as bytes are carried.
struct Carried<'a> {
    client: &'a mut Stream,
    service: Stream,
    relay: Relay<'a>,
}

impl Drop for Carried<'_> {
    fn drop(&mut self) {
        for (told, receiver) in self.relay.has_told().into_iter().zip([&*self.client, &self.service]) {
            // Whoever has been told the end has all there was, and keeps it.
            if !told {
                receiver.end_as(Ending::Reset);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// Both ends of a connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (far, near) = tokio::join!(TcpStream::connect(address), listener.accept());
        (far.unwrap(), near.unwrap().0)
    }

    async fn relayed(client: TcpStream, service: TcpStream, silence: Duration, moved: &Moved) -> End {
        let mut client = Channel::new(Stream::Tcp(client), Rc::default());
        let long = Duration::from_secs(60);
        let patience = Patience { silence, service: long, client: long };
        relay(&mut client, Stream::Tcp(service), &Rc::default(), patience, moved).await
    }

    /// How a client and a service see the end of a session, of which those that `finish` said so themselves.
    async fn seen(silence: Duration, finish: [bool; 2]) -> (End, [Result<usize, io::ErrorKind>; 2]) {
        let ((mut client, near), (mut service, far)) = (pair().await, pair().await);
        let talking = async {
            service.write_all(b"half of an answer").await.unwrap();
            let mut half = [0; 17];
            client.read_exact(&mut half).await.unwrap();
            if finish[0] {
                client.shutdown().await.unwrap();
            }
            if finish[1] {
                service.shutdown().await.unwrap();
            }
            [client.read(&mut half).await, service.read(&mut half).await]
        };
        let moved = Moved::default();
        let (end, outcomes) = tokio::join!(relayed(near, far, silence, &moved), talking);
        assert_eq!((moved.sent.get(), moved.received.get()), (17, 0));
        (end, outcomes.map(|outcome| outcome.map_err(|error| error.kind())))
    }

    #[tokio::test]
    async fn an_end_that_nobody_told_is_a_reset_and_one_that_was_told_is_none() {
        let (short, long) = (Duration::from_millis(20), Duration::from_secs(60));
        let reset = Err(io::ErrorKind::ConnectionReset);
        assert_eq!(seen(long, [true, true]).await, (End::Finished, [Ok(0), Ok(0)]));
        assert_eq!(seen(short, [false, false]).await, (End::Silent, [reset, reset]));
        assert_eq!(seen(short, [false, true]).await, (End::Silent, [Ok(0), reset]));
        assert_eq!(seen(short, [true, false]).await, (End::Silent, [reset, Ok(0)]));
    }

    #[tokio::test]
    async fn a_session_that_is_cut_is_a_reset_and_counts_what_it_has_moved() {
        let ((mut client, near), (mut service, far)) = (pair().await, pair().await);
        let moved = Moved::default();
        let mut piece = [0; 4];
        let talking = async {
            service.write_all(b"half").await.unwrap();
            client.read_exact(&mut piece).await.unwrap();
        };
        tokio::select! {
            end = relayed(near, far, Duration::from_secs(60), &moved) => panic!("{end:?}"),
            () = talking => {}
        }
        assert_eq!((moved.sent.get(), moved.received.get()), (4, 0));
        for side in [&mut client, &mut service] {
            let seen = side.read(&mut piece).await.map_err(|error| error.kind());
            assert_eq!(seen, Err(io::ErrorKind::ConnectionReset));
        }
    }
}
