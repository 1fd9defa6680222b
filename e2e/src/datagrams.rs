//! Datagrams of a case: the upstream that sends each one back, and the client.

use crate::case::Step;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What the upstream puts before what it sends back.
const MARK: &[u8] = b"echo: ";

/// An upstream of UDP. It ends with the case.
#[derive(Debug)]
pub(crate) struct Echo {
    pub address: SocketAddr,
    ending: Arc<AtomicBool>,
}

impl Echo {
    pub fn start() -> io::Result<Echo> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = socket.local_addr()?;
        let ending = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&ending);
        thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            while let Ok((count, from)) = socket.recv_from(&mut buffer) {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                // One that is lost is seen by the client that waits for it.
                socket.send_to(&[MARK, &buffer[..count]].concat(), from).ok();
            }
        });
        Ok(Echo { address, ending })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        // Only to wake the thread.
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.send_to(&[], self.address)).ok();
    }
}

/// The client of a case: its sockets by the names that steps give them.
#[derive(Debug, Default)]
pub(crate) struct Client {
    sockets: HashMap<String, UdpSocket>,
}

impl Client {
    /// Sends a datagram from the socket that the step names, or from a new one. What the step reads has to come back.
    pub fn exchange(&mut self, gateway: SocketAddr, step: &Step, datagram: &str) -> Result<(), String> {
        let open = || connect(gateway).map_err(|error| error.to_string());
        let Some(name) = &step.connection else { return exchange(&open()?, step, datagram) };
        let socket = match self.sockets.entry(name.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(open()?),
        };
        exchange(socket, step, datagram)
    }
}

fn connect(gateway: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(crate::PATIENCE))?;
    socket.connect(gateway)?;
    Ok(socket)
}

fn exchange(socket: &UdpSocket, step: &Step, datagram: &str) -> Result<(), String> {
    socket.send(datagram.as_bytes()).map_err(|error| format!("sending a datagram: {error}"))?;
    let Some(expected) = &step.reads else { return Ok(()) };
    let mut buffer = [0; 1 << 16];
    let count = socket.recv(&mut buffer).map_err(|error| format!("no datagram comes back: {error}"))?;
    let got = String::from_utf8_lossy(&buffer[..count]);
    if got == *expected { Ok(()) } else { Err(format!("datagram: expected {expected:?}, got {got:?}")) }
}
