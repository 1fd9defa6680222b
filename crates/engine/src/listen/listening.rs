//! The book of what is listened on. Addresses come and go at a reload, and sockets are taken over from another process.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use socket2::SockRef;
use tokio::sync::watch;

use super::{Address, Bound, Carries, Inherited, Keepalive, Listener, SocketOptions};
use crate::gateway::StartError;
use crate::worker::Spoken;

/// A socket as a worker has it.
#[derive(Clone)]
pub struct Socket {
    /// Where connections come from.
    pub bound: Arc<Bound>,
    /// What is spoken on them.
    pub spoken: Spoken,
}

/// What is listened on, and by whom.
pub struct Listening {
    open: Mutex<Vec<Open>>,
    /// Those that may not be closed yet: their ports are not another's.
    left: Mutex<Vec<Weak<Bound>>>,
    workers: Vec<watch::Sender<Vec<Socket>>>,
}

/// A listener with its sockets.
#[derive(Clone)]
struct Open {
    listener: Listener,
    /// Where it really is, when any port would do.
    address: Address,
    /// As the sockets are to have it: it is switched off where the listener says nothing of it any more.
    keepalive: Option<Keepalive>,
    sockets: Vec<Arc<Bound>>,
}

impl Listening {
    /// Listens for `workers` workers, with sockets out of `inherited` where they are known by the right address.
    ///
    /// # Errors
    /// The address that cannot be listened on.
    pub fn start(
        listeners: &[Listener],
        workers: usize,
        inherited: &mut Vec<Inherited>,
    ) -> Result<Self, StartError> {
        let listening = Self {
            open: Mutex::default(),
            left: Mutex::default(),
            workers: (0..workers).map(|_| watch::channel(Vec::new()).0).collect(),
        };
        listening.change(listeners, inherited)?;
        Ok(listening)
    }

    /// The sockets of a worker, as they come and go.
    pub fn follow(&self, worker: usize) -> watch::Receiver<Vec<Socket>> {
        self.workers[worker].subscribe()
    }

    /// What is listened on, at the addresses that were taken.
    pub fn listeners(&self) -> Vec<Listener> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().map(|one| Listener { address: one.address.clone(), ..one.listener.clone() }).collect()
    }

    /// Every socket with the address it was asked for by, to be given to another process.
    pub fn sockets(&self) -> Vec<(Address, Arc<Bound>)> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = |one: &Open| {
            let address = one.listener.address.clone();
            one.sockets.iter().map(move |socket| (address.clone(), socket.clone())).collect::<Vec<_>>()
        };
        open.iter().flat_map(of_one).collect()
    }

    /// Listens where `listeners` say and nowhere else. Where an address stays, so do its sockets.
    ///
    /// # Errors
    /// The address that cannot be listened on; everything stays as it was.
    pub fn change(&self, listeners: &[Listener], inherited: &mut Vec<Inherited>) -> Result<(), StartError> {
        let refused = |listener: &Listener, error| StartError::Listen(listener.address.clone(), error);
        if let Some(listener) = listeners.iter().find(|one| one.overlaps(listeners)) {
            return Err(refused(listener, io::ErrorKind::AddrInUse.into()));
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = self.taken(&open, listeners, inherited);
        let mut before = open.clone();
        let mut left = Vec::new();
        let mut wanted = Vec::with_capacity(listeners.len());
        for listener in listeners {
            let at_address = before.iter().position(|one| one.listener.is_at(listener));
            let opened = match at_address.map(|found| before.swap_remove(found)) {
                Some(one) if one.fits(listener) => Ok(one.adapt(listener)),
                Some(one) => {
                    let opened = one.replace(listener, self.workers.len());
                    left.push(one);
                    opened
                }
                None => self.open(listener, inherited, &taken),
            };
            wanted.push(opened.map_err(|error| refused(listener, error))?);
        }
        // Once nothing stands in the way any more.
        for one in &wanted {
            one.settle().map_err(|error| refused(&one.listener, error))?;
        }
        *open = wanted;
        left.append(&mut before);
        self.leave(&left);
        self.publish(&open);
        Ok(())
    }

    /// The ports of sockets that are there still, in this process or in the one before it.
    fn taken(
        &self,
        open: &[Open],
        listeners: &[Listener],
        inherited: &[Inherited],
    ) -> Vec<Option<(u16, bool)>> {
        let leaving = open.iter().filter(|one| one.leaves(listeners)).flat_map(|one| one.sockets.first());
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let left = left.iter().filter_map(Weak::upgrade);
        let here = leaving.cloned().chain(left).map(|socket| port(&socket));
        here.chain(inherited.iter().map(|one| port(&one.bound))).collect()
    }

    /// Lets nobody begin to connect any more to what `left` had open. Whoever has begun is served by those who close it.
    fn leave(&self, left: &[Open]) {
        left.iter().for_each(Open::leave);
        let mut known = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|socket| socket.strong_count() > 0);
        known.extend(left.iter().flat_map(|one| &one.sockets).map(Arc::downgrade));
    }

    /// Listens nowhere any more. With `handed_over` another process does.
    pub fn close(&self, handed_over: bool) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !handed_over {
            open.iter().for_each(|one| remove_file(&one.address));
        }
        open.clear();
        self.publish(&open);
    }

    /// Sockets that another process has given, or new ones; the port may be one of those that are `taken`.
    fn open(
        &self,
        listener: &Listener,
        inherited: &mut Vec<Inherited>,
        taken: &[Option<(u16, bool)>],
    ) -> io::Result<Open> {
        let given = take(inherited, listener);
        let mut sockets: Vec<_> =
            given.into_iter().filter(|socket| socket.takes_families(listener.options.only_v6)).collect();
        for socket in &sockets {
            SockRef::from(socket).set_nonblocking(true)?;
            socket.welcome_newcomers();
        }
        if sockets.is_empty() {
            let port = listener.address.inet().map(|address| (address.port(), listener.is_udp()));
            let beside = port.is_some() && taken.contains(&port);
            sockets = open(listener, &listener.address, self.workers.len(), beside)?;
        }
        Open::new(listener, sockets)
    }

    fn publish(&self, open: &[Open]) {
        for (worker, sockets) in self.workers.iter().enumerate() {
            let shares = open.iter().flat_map(|one| one.share(worker, self.workers.len()));
            sockets.send_replace(shares.collect());
        }
    }
}

impl Open {
    fn new(listener: &Listener, sockets: Vec<Bound>) -> io::Result<Self> {
        let address = sockets.first().map_or_else(|| Ok(listener.address.clone()), Bound::address)?;
        let (listener, keepalive) = (listener.clone(), listener.options.keepalive);
        Ok(Self { listener, address, keepalive, sockets: sockets.into_iter().map(Arc::new).collect() })
    }

    /// The same sockets, to be used as `listener` says.
    fn adapt(self, listener: &Listener) -> Self {
        let before = self.listener.options.keepalive.map(|_| Keepalive::Off);
        let keepalive = listener.options.keepalive.or(before);
        Self { listener: listener.clone(), keepalive, ..self }
    }

    /// Others in the place of its sockets, where clients of other families are to come in: that cannot be changed of a
    /// socket.
    fn replace(&self, listener: &Listener, workers: usize) -> io::Result<Self> {
        Self::new(listener, open(listener, &self.address, workers, true)?)
    }

    /// Lets nobody begin to connect any more.
    fn leave(&self) {
        remove_file(&self.address);
        for socket in &self.sockets {
            if let Err(error) = socket.ignore_newcomers() {
                tracing::warn!(address = %self.address, %error, "some who connect now may be refused");
            }
        }
    }

    /// Makes the sockets listen as wanted, from now on.
    fn settle(&self) -> io::Result<()> {
        let options = SocketOptions { keepalive: self.keepalive, ..self.listener.options };
        self.sockets.iter().try_for_each(|socket| options.settle(socket))
    }

    /// Whether its sockets can be used as `listener` says.
    fn fits(&self, listener: &Listener) -> bool {
        let wanted = listener.options.only_v6.or(self.listener.options.only_v6.map(|_| true));
        self.sockets.iter().all(|socket| socket.takes_families(wanted))
    }

    /// Whether its sockets are not listened on any more where `listeners` say.
    fn leaves(&self, listeners: &[Listener]) -> bool {
        !listeners.iter().any(|listener| self.listener.is_at(listener) && self.fits(listener))
    }

    /// The sockets of one worker among `workers`. None is nobody's, however many were inherited: connections that the
    /// kernel gives to it would never be accepted.
    fn share(&self, worker: usize, workers: usize) -> impl Iterator<Item = Socket> {
        let (count, shared) = (self.sockets.len(), self.sockets.len() < workers);
        let Listener { tls, http2, proxied, carries, .. } = self.listener;
        let spoken = Spoken { tls, http2, proxied, stream: carries == Carries::Connections };
        let own =
            move |index: usize| if shared { index == worker % count } else { index % workers == worker };
        let sockets = self.sockets.iter().enumerate().filter(move |(index, _)| own(*index));
        sockets.map(move |(_, bound)| Socket { bound: bound.clone(), spoken })
    }
}

/// The port of a socket, and whether it is one for datagrams; none of a path.
fn port(socket: &Bound) -> Option<(u16, bool)> {
    let address = socket.address().ok()?;
    address.inet().map(|address| (address.port(), matches!(socket, Bound::Udp(_))))
}

/// New sockets for a listener. With `beside`, sockets of this gateway have the port as well.
fn open(listener: &Listener, address: &Address, workers: usize, beside: bool) -> io::Result<Vec<Bound>> {
    let open = match (listener.is_udp(), beside) {
        (false, false) => Bound::open,
        (false, true) => Bound::open_beside,
        (true, false) => Bound::open_datagrams,
        (true, true) => Bound::open_datagrams_beside,
    };
    open(address, &listener.options, workers)
}

fn take(inherited: &mut Vec<Inherited>, listener: &Listener) -> Vec<Bound> {
    let is_it = |one: &mut Inherited| {
        let is_udp = matches!(one.bound, Bound::Udp(_));
        one.address == listener.address && is_udp == listener.is_udp()
    };
    let taken = inherited.extract_if(.., is_it);
    taken.map(|one| one.bound).collect()
}

fn remove_file(address: &Address) {
    if let Address::Unix(path) = address
        && let Err(error) = fs::remove_file(path)
    {
        tracing::warn!(path = %path.display(), %error, "the socket of a listener could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: &str, tls: bool) -> Listener {
        let address = Address::Inet(address.parse().unwrap());
        Listener { tls, ..Listener::new(address, Carries::Requests) }
    }

    fn addresses(listening: &Listening) -> Vec<Address> {
        listening.listeners().into_iter().map(|one| one.address).collect()
    }

    fn start(workers: usize, listeners: &[Listener]) -> Listening {
        Listening::start(listeners, workers, &mut Vec::new()).unwrap_or_else(|error| panic!("{error:?}"))
    }

    #[test]
    fn an_address_that_stays_keeps_its_sockets_and_takes_its_new_flags() {
        let listening = start(2, &[listener("127.0.0.1:0", false)]);
        let before = (addresses(&listening), listening.follow(0).borrow()[0].bound.clone());
        listening.change(&[listener("127.0.0.1:0", true)], &mut Vec::new()).unwrap();
        let now = listening.follow(0).borrow()[0].clone();
        assert_eq!(addresses(&listening), before.0);
        assert!(Arc::ptr_eq(&now.bound, &before.1) && now.spoken.tls);
    }

    #[test]
    fn one_address_that_is_taken_leaves_everything_as_it_was() {
        let occupied = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = occupied.local_addr().unwrap();
        let other = start(1, &[listener("127.0.0.1:0", false)]);
        let wanted = [listener("127.0.0.1:0", true), listener(&taken.to_string(), false)];
        let refused = other.change(&wanted, &mut Vec::new());
        assert!(matches!(refused, Err(StartError::Listen(address, _)) if address == Address::Inet(taken)));
        assert!(!other.follow(0).borrow()[0].spoken.tls);
        drop(occupied);
    }

    #[test]
    fn two_listeners_at_any_port_stay_two() {
        let given = [listener("127.0.0.1:0", false), listener("127.0.0.1:0", true)];
        let listening = start(1, &given);
        let before = addresses(&listening);
        listening.change(&given, &mut Vec::new()).unwrap();
        assert_eq!(addresses(&listening), before);
        listening.change(&given[..1], &mut Vec::new()).unwrap();
        assert_eq!(addresses(&listening), before[..1]);
    }

    #[test]
    fn datagrams_and_connections_at_one_address_are_two_listeners() {
        let udp = |address: &str| Listener { carries: Carries::Datagrams, ..listener(address, false) };
        // Of an address that nobody else uses: the port that UDP was given has to be free for TCP as well.
        let port = addresses(&start(1, &[udp("127.0.83.1:0")]))[0].to_string();
        let listening = start(1, &[udp(&port), listener(&port, true)]);
        let before = listening.follow(0).borrow().clone();
        listening.change(&[listener(&port, false), udp(&port)], &mut Vec::new()).unwrap();
        let now = listening.follow(0).borrow().clone();
        assert!(Arc::ptr_eq(&now[0].bound, &before[1].bound) && Arc::ptr_eq(&now[1].bound, &before[0].bound));
        let mut inherited: Vec<_> = [&now[1], &now[0]]
            .map(|socket| Inherited {
                address: port.parse().map(Address::Inet).unwrap(),
                bound: match &*socket.bound {
                    Bound::Tcp(socket) => Bound::Tcp(socket.try_clone().unwrap()),
                    Bound::Udp(socket) => Bound::Udp(socket.try_clone().unwrap()),
                    Bound::Unix(_) => unreachable!("there is none"),
                },
            })
            .into();
        let heir = Listening::start(&[listener(&port, false), udp(&port)], 1, &mut inherited);
        let kinds = heir.unwrap_or_else(|_| panic!()).follow(0).borrow().clone();
        assert!(matches!(*kinds[0].bound, Bound::Tcp(_)) && matches!(*kinds[1].bound, Bound::Udp(_)));
    }

    #[test]
    fn no_inherited_socket_is_left_without_a_worker_and_no_worker_without_a_socket() {
        for (sockets, workers) in [(1, 3), (3, 1), (3, 2), (2, 2)] {
            let any = Address::Inet("127.0.0.1:0".parse().unwrap());
            let known = |bound| Inherited { address: any.clone(), bound };
            let mut inherited: Vec<_> = Bound::open(&any, &SocketOptions::default(), sockets)
                .unwrap()
                .into_iter()
                .map(known)
                .collect();
            let given = [listener("127.0.0.1:0", false)];
            let listening = Listening::start(&given, workers, &mut inherited).unwrap_or_else(|_| panic!());
            assert!(inherited.is_empty());
            let mut seen = Vec::new();
            for worker in 0..workers {
                let own = listening.follow(worker).borrow().clone();
                assert!(!own.is_empty(), "{sockets} sockets, worker {worker} of {workers}");
                seen.extend(own.into_iter().map(|socket| Arc::as_ptr(&socket.bound)));
            }
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), sockets);
        }
    }
}
