//! Sockets that listen.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use socket2::{Domain, SockFilter, SockRef, Type};

use super::{Address, SocketOptions};

/// Whoever may enter the folder may connect, as with other servers.
const SOCKET_MODE: u32 = 0o666;

/// A program for the kernel (classic BPF), which sees the header of TCP: its 14th byte has the flags, and one with SYN (2)
/// and without ACK (16) begins a connection. Those are dropped.
const NO_NEWCOMERS: [SockFilter; 5] = [
    SockFilter::new(LOAD_BYTE, 0, 0, 13),
    SockFilter::new(AND, 0, 0, 0b1_0010),
    SockFilter::new(JUMP_IF_EQUAL, 0, 1, 0b0_0010),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
];
/// The instructions of it: `BPF_LD | BPF_B | BPF_ABS`, `BPF_ALU | BPF_AND | BPF_K`, `BPF_JMP | BPF_JEQ | BPF_K` and
/// `BPF_RET | BPF_K`.
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// A socket that listens. It never blocks.
#[derive(Debug)]
pub enum Bound {
    /// For TCP.
    Tcp(TcpListener),
    /// For datagrams.
    Udp(UdpSocket),
    /// In the file system.
    Unix(UnixListener),
}

impl Bound {
    /// Opens `count` sockets at an address; the kernel spreads connections over them (`SO_REUSEPORT`). At a path there
    /// can be but one.
    ///
    /// # Errors
    /// Those of the operating system, one of them that the address is another's.
    pub fn open(address: &Address, options: &SocketOptions, count: usize) -> io::Result<Vec<Self>> {
        if let Address::Inet(address) = address {
            // Without SO_REUSEPORT first, so that a port another process shares is reported as taken.
            probe(*address, Type::STREAM, options)?;
        }
        Self::open_beside(address, options, count)
    }

    /// The same at a port that sockets of this gateway have until these take their place.
    ///
    /// # Errors
    /// As for [`Bound::open`].
    pub fn open_beside(address: &Address, options: &SocketOptions, count: usize) -> io::Result<Vec<Self>> {
        let mut address = match address {
            Address::Inet(address) => *address,
            Address::Unix(path) => return Ok(vec![Self::Unix(open_unix(path, options.backlog)?)]),
        };
        let mut opened = Vec::with_capacity(count);
        for _ in 0..count {
            let socket = open_tcp(address, options)?;
            // The first one has taken a port where any would do.
            address = socket.local_addr()?;
            opened.push(Self::Tcp(socket));
        }
        Ok(opened)
    }

    /// One socket for TCP that listens as wanted: the `given` one, unless others are to come in by it. A new one shares its
    /// port with those of this gateway that have it still, if there are any `beside`.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn settled(
        given: Option<TcpListener>,
        address: SocketAddr,
        options: &SocketOptions,
        beside: bool,
    ) -> io::Result<TcpListener> {
        let usable = given.map(Self::Tcp).filter(|given| given.takes_families(options.only_v6));
        let bound = match usable {
            Some(given) => Some(given),
            None if beside => Self::open_beside(&address.into(), options, 1)?.pop(),
            None => Self::open(&address.into(), options, 1)?.pop(),
        };
        let Some(bound) = bound else { return Err(io::ErrorKind::AddrNotAvailable.into()) };
        options.settle(&bound)?;
        match bound {
            Self::Tcp(socket) => Ok(socket),
            Self::Udp(_) | Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Opens `count` sockets for datagrams at an address.
    ///
    /// # Errors
    /// Those of the operating system, one of them that there are no datagrams at a path here.
    pub fn open_datagrams(address: &Address, options: &SocketOptions, count: usize) -> io::Result<Vec<Self>> {
        // As for TCP, to see whether the port is another's.
        probe(address.inet().ok_or(io::ErrorKind::Unsupported)?, Type::DGRAM, options)?;
        Self::open_datagrams_beside(address, options, count)
    }

    /// The same at a port that sockets of this gateway have until these take their place.
    ///
    /// # Errors
    /// As for [`Bound::open_datagrams`].
    pub fn open_datagrams_beside(
        address: &Address,
        options: &SocketOptions,
        count: usize,
    ) -> io::Result<Vec<Self>> {
        let mut address = address.inet().ok_or(io::ErrorKind::Unsupported)?;
        let mut opened = Vec::with_capacity(count);
        for _ in 0..count {
            let socket = open_udp(address, options)?;
            address = socket.local_addr()?;
            opened.push(Self::Udp(socket));
        }
        Ok(opened)
    }

    /// Whether clients of the same families come in by it as `wanted`; nothing is wanted of sockets without a family.
    pub fn takes_families(&self, wanted: Option<bool>) -> bool {
        let is_v6 = self.address().ok().and_then(|address| address.inet()).is_some_and(|at| at.is_ipv6());
        let only_v6 = || SockRef::from(self).only_v6().ok();
        !is_v6 || wanted.is_none_or(|wanted| only_v6() == Some(wanted))
    }

    /// Has the kernel say nothing to those who begin to connect from now on: they try again after a second, by when others
    /// have the port, or nobody. Who had begun comes in.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn ignore_newcomers(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => SockRef::from(socket).attach_filter(&NO_NEWCOMERS),
            Self::Udp(_) | Self::Unix(_) => Ok(()),
        }
    }

    /// Undoes that of a socket that somebody has left.
    pub fn welcome_newcomers(&self) {
        // Mostly there is nothing to undo, which is an error as well.
        let _ = SockRef::from(self).detach_filter();
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Those of the operating system; a Unix socket without a path has no address.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(Address::Inet),
            Self::Udp(socket) => socket.local_addr().map(Address::Inet),
            Self::Unix(socket) => {
                let address = socket.local_addr()?;
                let path = address.as_pathname().ok_or(io::ErrorKind::AddrNotAvailable)?;
                Ok(Address::Unix(path.to_owned()))
            }
        }
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Whether nobody else has the port.
fn probe(address: SocketAddr, kind: Type, options: &SocketOptions) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = socket_at(address, kind, options)?;
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())
}

/// A socket for an address. One for all addresses of IPv6 leaves those of IPv4 to others, which may want the same port,
/// unless it is to take them too.
fn socket_at(address: SocketAddr, kind: Type, options: &SocketOptions) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(options.opens_only_v6())?;
    }
    Ok(socket)
}

fn open_tcp(address: SocketAddr, options: &SocketOptions) -> io::Result<TcpListener> {
    let socket = socket_at(address, Type::STREAM, options)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn open_udp(address: SocketAddr, options: &SocketOptions) -> io::Result<UdpSocket> {
    let socket = socket_at(address, Type::DGRAM, options)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn open_unix(path: &Path, backlog: i32) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let socket = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    SockRef::from(&socket).listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Removes the socket of a process that has ended without doing so. Anything else at `path` stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    match UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if is_socket && error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: SocketOptions = SocketOptions { backlog: 8, only_v6: None, keepalive: None };

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("biplane-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let path = path("stale.sock");
        let address = Address::Unix(path.clone());
        drop(UnixListener::bind(&path).unwrap());
        let opened = Bound::open(&address, &OPTIONS, 2).unwrap();
        assert_eq!((opened.len(), opened[0].address().unwrap()), (1, address.clone()));
        let taken = Bound::open(&address, &OPTIONS, 1).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_at_the_path_is_nobodys_socket_and_stays() {
        let path = path("file.sock");
        fs::write(&path, "precious").unwrap();
        assert!(Bound::open(&Address::Unix(path.clone()), &OPTIONS, 1).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_port_that_another_socket_shares_is_taken() {
        let any = Address::Inet("127.0.0.1:0".parse().unwrap());
        let first = Bound::open(&any, &OPTIONS, 2).unwrap();
        let address = first[1].address().unwrap();
        assert_eq!(first[0].address().unwrap(), address);
        assert_eq!(Bound::open(&address, &OPTIONS, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn all_addresses_of_both_families_can_have_the_same_port() {
        if UdpSocket::bind("[::]:0").is_err() {
            // There are machines without IPv6.
            return;
        }
        for open in [
            |at: &Address| Bound::open(at, &OPTIONS, 2),
            |at: &Address| Bound::open_datagrams(at, &OPTIONS, 2),
        ] {
            let everywhere =
                |network: &str, port: u16| Address::Inet(format!("{network}:{port}").parse().unwrap());
            // A port that is free for the one family may be another's in the other.
            let both = (0..20).find_map(|_| {
                let first = open(&everywhere("0.0.0.0", 0)).unwrap();
                let port = first[0].address().unwrap().inet().unwrap().port();
                open(&everywhere("[::]", port)).ok()
            });
            assert_eq!(both.map(|opened| opened.len()), Some(2));
        }
    }

    #[test]
    fn sockets_for_datagrams_share_a_port_that_is_nobody_elses() {
        let any = Address::Inet("127.0.0.1:0".parse().unwrap());
        let first = Bound::open_datagrams(&any, &OPTIONS, 2).unwrap();
        let address = first[1].address().unwrap();
        assert_eq!(first[0].address().unwrap(), address);
        assert_eq!(
            Bound::open_datagrams(&address, &OPTIONS, 1).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert!(Bound::open_datagrams(&Address::Unix("/x.sock".into()), &OPTIONS, 1).is_err());
    }
}
