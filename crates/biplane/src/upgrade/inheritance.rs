//! What a process is started with by another one: sockets that listen already, from a service manager or from the
//! process that it takes over from, and in the latter case a configuration and somebody who waits for its word.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

use engine::{Address, Bound, Inherited, Listener};
use listenfd::ListenFd;
use nix::libc::{AF_UNIX, SOCK_STREAM};

use super::{READ_STANDARD_INPUT, READY, Role, SOCKETS, VARIABLE};
use crate::listen;

/// What this process was started with.
#[derive(Default)]
pub struct Inheritance {
    sockets: Vec<(Option<Role>, Inherited)>,
    /// Those that the Admin API and the status listener of the process before have.
    control_ports: Vec<u16>,
    /// The configuration that the process before was serving, unless it is the file's.
    pub text: Option<String>,
    notice: Option<UnixStream>,
}

impl Inheritance {
    /// Takes it. To be called once and before there is another thread: the environment is changed.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn take() -> Result<Self, String> {
        let mut given = ListenFd::from_env();
        let mut taken = Self::default();
        let mut first = 0;
        if let Ok(way) = std::env::var(VARIABLE) {
            let hint = "the line to the process before";
            let line = given.take_custom::<UnixStream>(0, AF_UNIX, SOCK_STREAM, hint);
            taken.notice = line.map_err(|error| format!("{VARIABLE}: {error}"))?;
            first = 1;
            if way == READ_STANDARD_INPUT {
                let mut text = String::new();
                let read = std::io::stdin().read_to_string(&mut text);
                read.map_err(|error| format!("the configuration of the process before: {error}"))?;
                taken.text = Some(text);
            }
        }
        let names = std::env::var(SOCKETS).unwrap_or_default();
        let mut names = names.split(',').filter(|_| first > 0);
        for index in first..given.len() {
            let bound = socket(&mut given, index)
                .ok_or_else(|| format!("LISTEN_FDS: descriptor {} is no socket of a listener", index + 3))?;
            taken.note(named(bound, names.next())?);
        }
        Ok(taken)
    }

    fn note(&mut self, (role, socket): (Option<Role>, Inherited)) {
        if role == Some(Role::Control) {
            let at = socket.bound.address().ok().and_then(|address| address.inet());
            self.control_ports.extend(at.map(|at| at.port()));
        }
        self.sockets.push((role, socket));
    }

    /// A socket for a listener of the Admin API or the status listener: the one that is known by its address, if it can be
    /// used as it says, or another.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn control_socket(&mut self, listener: &Listener) -> io::Result<TcpListener> {
        let address = listener.address.inet().ok_or(io::ErrorKind::Unsupported)?;
        let given = self.take_control(&listener.address);
        let beside = address.port() > 0 && self.control_ports.contains(&address.port());
        Bound::settled(given, address, &listener.options, beside)
    }

    fn take_control(&mut self, address: &Address) -> Option<TcpListener> {
        let is_it = |(role, one): &(Option<Role>, Inherited)| {
            role.is_none_or(|role| role == Role::Control)
                && one.address == *address
                && matches!(one.bound, Bound::Tcp(_))
        };
        let index = self.sockets.iter().position(is_it)?;
        match self.sockets.swap_remove(index).1.bound {
            Bound::Tcp(socket) => Some(socket),
            Bound::Udp(_) | Bound::Unix(_) => None,
        }
    }

    /// The sockets that clients may come in by.
    pub fn take_rest(&mut self) -> Vec<Inherited> {
        let rest = std::mem::take(&mut self.sockets);
        rest.into_iter().filter(|(role, _)| *role != Some(Role::Control)).map(|(_, one)| one).collect()
    }

    /// Tells the process before that this one serves.
    pub fn ready(&mut self) {
        self.say(READY);
    }

    /// Tells the process before why this one does not serve.
    pub fn failed(&mut self, reason: &str) {
        self.say(reason);
    }

    fn say(&mut self, word: &str) {
        if let Some(mut line) = self.notice.take() {
            // Where nobody listens any more, nobody has to be told.
            let _ = line.write_all(word.as_bytes());
        }
    }
}

fn socket(given: &mut ListenFd, index: usize) -> Option<Bound> {
    if let Ok(Some(socket)) = given.take_tcp_listener(index) {
        return Some(Bound::Tcp(socket));
    }
    if let Ok(Some(socket)) = given.take_udp_socket(index) {
        return Some(Bound::Udp(socket));
    }
    given.take_unix_listener(index).ok().flatten().map(Bound::Unix)
}

/// A socket with what it is for and known by. Who does not say so means the address at which it is.
fn named(bound: Bound, name: Option<&str>) -> Result<(Option<Role>, Inherited), String> {
    let known = name.and_then(|name| name.split_once(' '));
    let (role, address) = match known {
        Some((role, address)) => (Role::named(role), listen::address(SOCKETS, address)?),
        None => (None, bound.address().map_err(|error| format!("LISTEN_FDS: {error}"))?),
    };
    Ok((role, Inherited { address, bound }))
}
