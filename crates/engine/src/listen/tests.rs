//! What is asked of the kernel, as clients meet it.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

use super::*;
use crate::gateway::StartError;

fn listener(address: &str, options: SocketOptions) -> Listener {
    Listener { options, ..Listener::new(Address::Inet(address.parse().unwrap()), Carries::Requests) }
}

fn of_family(address: &str, only_v6: Option<bool>) -> Listener {
    listener(address, SocketOptions { only_v6, ..SocketOptions::default() })
}

fn datagrams(listener: &Listener) -> Listener {
    Listener { carries: Carries::Datagrams, ..listener.clone() }
}

fn start(listeners: &[Listener]) -> Result<Listening, StartError> {
    Listening::start(listeners, 2, &mut Vec::new())
}

fn port(listening: &Listening) -> u16 {
    listening.listeners()[0].address.inet().unwrap().port()
}

fn sockets(listening: &Listening) -> Vec<Arc<Bound>> {
    listening.sockets().into_iter().map(|(_, bound)| bound).collect()
}

/// How many seconds of silence there may be on a connection that comes in now, and how often and how long is asked then.
fn kept_alive(listening: &Listening) -> Option<(u64, u64, u32)> {
    let client = TcpStream::connect(("127.0.0.1", port(listening))).unwrap();
    let accept = |bound: &Arc<Bound>| match &**bound {
        Bound::Tcp(socket) => socket.accept().ok(),
        Bound::Udp(_) | Bound::Unix(_) => None,
    };
    let served =
        std::iter::repeat_with(|| sockets(listening).iter().find_map(accept)).find_map(|found| found);
    let (stream, peer) = served.unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    let socket = SockRef::from(&stream);
    let seconds = |time: Duration| time.as_secs();
    socket.keepalive().unwrap().then(|| {
        let interval = seconds(socket.tcp_keepalive_interval().unwrap());
        (seconds(socket.tcp_keepalive_time().unwrap()), interval, socket.tcp_keepalive_retries().unwrap())
    })
}

#[test]
fn clients_are_asked_whether_they_are_there_as_the_listener_says_now() {
    let fresh = TcpListener::bind("127.0.0.1:0").unwrap();
    let fresh = SockRef::from(&fresh);
    let (idle, interval) = (fresh.tcp_keepalive_time().unwrap(), fresh.tcp_keepalive_interval().unwrap());
    let usual = (idle.as_secs(), interval.as_secs(), fresh.tcp_keepalive_retries().unwrap());
    let on = |idle: Option<u64>, interval: Option<u64>, count| {
        let [idle, interval] = [idle, interval].map(|time| time.map(Duration::from_secs));
        Some(Keepalive::On { idle, interval, count })
    };
    let with = |keepalive| listener("127.0.0.1:0", SocketOptions { keepalive, ..SocketOptions::default() });
    let listening = start(&[with(None)]).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(kept_alive(&listening), None);
    let before = sockets(&listening);
    for (keepalive, seen) in [
        (on(None, None, None), Some(usual)),
        (on(Some(77), Some(11), Some(3)), Some((77, 11, 3))),
        (on(None, Some(12), None), Some((usual.0, 12, usual.2))),
        (None, None),
        (on(Some(5), None, None), Some((5, usual.1, usual.2))),
        (Some(Keepalive::Off), None),
    ] {
        listening.change(&[with(keepalive)], &mut Vec::new()).unwrap();
        assert_eq!(kept_alive(&listening), seen, "{keepalive:?}");
    }
    let after = sockets(&listening);
    assert!(before.iter().zip(&after).all(|(one, other)| Arc::ptr_eq(one, other)), "the sockets stay");
}

/// What a connection takes at most that need not wait for anybody.
const HASTE: Duration = Duration::from_millis(50);

/// Whether clients of IPv4, and of IPv6, come in.
fn reached(listening: &Listening) -> [bool; 2] {
    let port = port(listening);
    let is_udp = matches!(&*sockets(listening)[0], Bound::Udp(_));
    ["127.0.0.1", "::1"].map(|address| {
        if !is_udp {
            return TcpStream::connect((address, port)).is_ok();
        }
        let client = UdpSocket::bind((address, 0)).unwrap();
        // A port that nobody has refuses, of which the next call tells.
        client.connect((address, port)).and_then(|()| client.send(b"one")).unwrap();
        client.send(b"two").is_ok()
    })
}

/// There are machines without IPv6.
fn has_ipv6() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
}

/// Started at a port that is free in both families.
fn start_at_any(listeners: &[Listener]) -> Listening {
    let tried = (0..20).find_map(|_| start(listeners).ok());
    tried.unwrap_or_else(|| panic!("no port is free"))
}

#[test]
fn a_listener_takes_the_families_that_it_says_now_at_the_same_port() {
    if !has_ipv6() {
        return;
    }
    for make in [Listener::clone, datagrams] {
        let of = |only_v6| [make(&of_family("[::]:0", only_v6))];
        let listening = start_at_any(&of(Some(false)));
        assert_eq!(reached(&listening), [true, true]);
        let first = port(&listening);
        for (only_v6, seen, stays) in [
            (Some(false), [true, true], true),
            (Some(true), [false, true], false),
            (None, [false, true], true),
            (Some(false), [true, true], false),
            (None, [false, true], false),
        ] {
            let before = sockets(&listening);
            listening.change(&of(only_v6), &mut Vec::new()).unwrap();
            let stayed = before.iter().zip(&sockets(&listening)).all(|(one, now)| Arc::ptr_eq(one, now));
            // Nobody else holds those that are not listened on any more.
            drop(before);
            assert_eq!((stayed, port(&listening)), (stays, first), "{only_v6:?}");
            assert_eq!(reached(&listening), seen, "{only_v6:?}");
        }
    }
}

#[test]
fn one_listener_gives_way_to_two_and_they_to_one() {
    if !has_ipv6() {
        return;
    }
    for make in [Listener::clone, datagrams] {
        let listening = start_at_any(&[make(&of_family("[::]:0", Some(false)))]);
        let port = port(&listening);
        let everywhere = make(&of_family(&format!("[::]:{port}"), Some(false)));
        let [old, new] =
            [format!("0.0.0.0:{port}"), format!("[::]:{port}")].map(|at| make(&of_family(&at, None)));
        // By its port it is another listener than the one at any port.
        for listeners in [vec![old.clone(), new.clone()], vec![everywhere.clone()], vec![new, old.clone()]] {
            listening.change(&listeners, &mut Vec::new()).unwrap();
            assert_eq!(reached(&listening), [true, true], "{listeners:?}");
            assert_eq!(sockets(&listening).len(), 2 * listeners.len());
        }
        // The kernel would take both, and give clients to either.
        for both in [vec![old.clone(), everywhere.clone()], vec![everywhere, old]] {
            let taken = |error: StartError| match error {
                StartError::Listen(at, error) => Some((at.inet().unwrap().is_ipv6(), error.kind())),
                _ => None,
            };
            let refused = listening.change(&both, &mut Vec::new()).unwrap_err();
            assert_eq!(taken(refused), Some((true, std::io::ErrorKind::AddrInUse)));
            let refused = start(&both).err().unwrap();
            assert!(matches!(refused, StartError::Listen(..)));
            assert_eq!(sockets(&listening).len(), 4, "everything stays as it was");
        }
    }
}

#[test]
fn an_address_comes_back_while_its_sockets_are_still_closed() {
    let listening = start_at_any(&[of_family("127.0.0.1:0", None)]);
    let port = port(&listening);
    // Whoever accepts has them until those are in who had begun to connect.
    let early = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let closing = sockets(&listening);
    listening.change(&[], &mut Vec::new()).unwrap();
    let late = TcpStream::connect_timeout(&(std::net::Ipv4Addr::LOCALHOST, port).into(), HASTE);
    assert_eq!(late.unwrap_err().kind(), std::io::ErrorKind::TimedOut, "it is neither taken nor refused");
    let accept = |bound: &Arc<Bound>| match &**bound {
        Bound::Tcp(socket) => socket.accept().ok(),
        Bound::Udp(_) | Bound::Unix(_) => None,
    };
    let served: Vec<_> = closing.iter().filter_map(accept).map(|(_, peer)| peer).collect();
    assert_eq!(served, [early.local_addr().unwrap()]);
    listening.change(&[of_family(&format!("127.0.0.1:{port}"), None)], &mut Vec::new()).unwrap();
    drop(closing);
    assert_eq!(reached(&listening), [true, false]);
    // Nobody is left.
    listening.change(&[], &mut Vec::new()).unwrap();
    assert_eq!(
        TcpStream::connect(("127.0.0.1", port)).unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert!(listening.change(&[of_family(&format!("127.0.0.1:{port}"), None)], &mut Vec::new()).is_err());
    drop(taken);
}

#[test]
fn a_socket_that_somebody_has_left_takes_connections_again() {
    let any = Address::Inet("127.0.0.1:0".parse().unwrap());
    let bound = Bound::open(&any, &SocketOptions::default(), 1).unwrap();
    let kept: Vec<_> = bound.iter().map(|bound| bound.as_fd().try_clone_to_owned().unwrap()).collect();
    let given = |bound| Inherited { address: any.clone(), bound };
    let mut inherited: Vec<_> = bound.into_iter().map(given).collect();
    let wanted = [of_family("127.0.0.1:0", None)];
    let listening = Listening::start(&wanted, 2, &mut inherited).unwrap_or_else(|error| panic!("{error:?}"));
    listening.change(&[], &mut Vec::new()).unwrap();
    let mut inherited: Vec<_> = kept.into_iter().map(|socket| given(Bound::Tcp(socket.into()))).collect();
    let listening = Listening::start(&wanted, 2, &mut inherited).unwrap_or_else(|error| panic!("{error:?}"));
    assert!(reached(&listening)[0]);
}

#[test]
fn an_inherited_socket_is_used_as_it_is_unless_the_listener_says_otherwise() {
    if !has_ipv6() {
        return;
    }
    let both = SocketOptions { only_v6: Some(false), ..SocketOptions::default() };
    let place = Address::Inet("[::]:0".parse().unwrap());
    for (only_v6, seen) in [(None, [true, true]), (Some(false), [true, true]), (Some(true), [false, true])] {
        let bound = (0..20).find_map(|_| Bound::open(&place, &both, 1).ok()).unwrap();
        let at = bound[0].address().unwrap();
        let mut inherited: Vec<_> =
            bound.into_iter().map(|bound| Inherited { address: at.clone(), bound }).collect();
        let wanted = of_family(&at.to_string(), only_v6);
        let listening =
            Listening::start(&[wanted], 2, &mut inherited).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!((inherited.len(), reached(&listening)), (0, seen), "{only_v6:?}");
    }
}

/// As at an upgrade, where the process before has its sockets until this one serves.
#[test]
fn the_port_of_an_inherited_socket_can_have_listeners_at_other_addresses() {
    if !has_ipv6() {
        return;
    }
    let both = SocketOptions { only_v6: Some(false), ..SocketOptions::default() };
    let place = Address::Inet("[::]:0".parse().unwrap());
    for is_reversed in [false, true] {
        let bound = (0..20).find_map(|_| Bound::open(&place, &both, 2).ok()).unwrap();
        let at = bound[0].address().unwrap();
        let port = at.inet().unwrap().port();
        let mut wanted =
            [format!("0.0.0.0:{port}"), format!("[::]:{port}")].map(|at| of_family(&at, Some(true)));
        if is_reversed {
            wanted.reverse();
        }
        let (given, kept): (Vec<_>, Vec<_>) =
            bound.into_iter().enumerate().partition(|(number, _)| *number == 0);
        let mut inherited: Vec<_> =
            given.into_iter().map(|(_, bound)| Inherited { address: at.clone(), bound }).collect();
        let listening =
            Listening::start(&wanted, 2, &mut inherited).unwrap_or_else(|error| panic!("{error:?}"));
        drop(kept);
        assert_eq!(reached(&listening), [true, true], "{is_reversed}");
    }
}
