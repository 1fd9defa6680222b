//! What the process does when it has too much to do: connections that give way to others, and requests that are turned
//! away while memory or open files are short. The Admin API and the status listener are served by other threads and stay reachable.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;

use plugin::Services;
use plugin::figures::{Family, Figure};

use crate::bounds::Bound;
use crate::descriptors::{Descriptors, is_shortage_of_process};
use crate::respond::Failure;
use crate::session::Local;
use crate::settings::is_trusted;

/// Idle connections that give way at once: of clients at most, and to services at least, where files are short.
const GIVE_WAY: usize = 64;

static CONNECTIONS_SHED: Family =
    Family::count("connections_shed_total", "Idle connections that gave way to new ones");
static REQUESTS_SHED: Family =
    Family::count("requests_shed_total", "Requests turned away while memory or open files were short");

/// How much one worker has turned away, and whether it has to now.
pub struct Load {
    /// New requests are turned away.
    pub short_of_memory: Cell<bool>,
    /// Files that connections may open.
    pub descriptors: Rc<Descriptors>,
    /// Connections of clients for which there are files, as far as that has shown of late.
    most_for_files: Cell<usize>,
    /// Idle connections that gave way to new ones.
    shed_connections: Arc<Figure>,
    /// Requests turned away.
    shed_requests: Arc<Figure>,
}

impl Load {
    /// Nothing has been turned away by this worker yet; the counts are the process's.
    pub fn new(services: &Services, descriptors: Rc<Descriptors>) -> Self {
        Self {
            short_of_memory: Cell::new(false),
            descriptors,
            most_for_files: Cell::new(usize::MAX),
            shed_connections: services.figures.of(&CONNECTIONS_SHED, &[]),
            shed_requests: services.figures.of(&REQUESTS_SHED, &[]),
        }
    }

    /// Takes note of the number that a client's connection got: all lower ones are taken, so there are as many too many as
    /// it is too high. What services keep open for nobody gives way first.
    fn note_descriptor(&self, local: &Local, descriptor: RawFd) {
        let excess = self.descriptors.excess(descriptor);
        if excess == 0 {
            return;
        }
        local.bounds.reached(Bound::OpenFiles);
        // Some more than it takes, so that the next ones need not look.
        let closed = services_give_way(local, excess.max(GIVE_WAY));
        if closed < excess {
            self.descriptors.ask_others();
            self.most_for_files.set((local.connections.count() + 1 + closed).saturating_sub(excess));
        }
    }

    /// Whether connections give way for want of files: those have to be let go before others come.
    pub fn is_tight(&self) -> bool {
        self.most_for_files.get() < usize::MAX
    }

    /// Whether another request is taken on.
    ///
    /// # Errors
    /// While memory is short, or open files are, requests go no further than their head.
    #[inline]
    pub fn take_on(&self) -> Result<(), Failure> {
        let bound = if self.short_of_memory.get() {
            Bound::MaxResident
        } else if self.descriptors.are_short() {
            Bound::OpenFiles
        } else {
            return Ok(());
        };
        self.shed_requests.add(1);
        Err(Failure::Overloaded { bound })
    }
}

/// Whether another connection from `address` is taken, which has that `descriptor`. One that has been idle for longest may
/// give way to it.
pub fn admits(local: &Local, address: IpAddr, descriptor: RawFd) -> bool {
    if !has_share_left(local, address) {
        return false;
    }
    local.load.note_descriptor(local, descriptor);
    // Usually one gives way; more where there has come to be room for fewer.
    let has_room_after = |_: &usize| !has_room(local) && give_way(local);
    has_room(local) || (0..GIVE_WAY).take_while(has_room_after).count() > 0
}

/// Whether a client's connection gives way, the one that has been idle for longest. Its file is free as soon as other tasks
/// have had their turn.
fn give_way(local: &Local) -> bool {
    let shed = local.connections.shed();
    local.load.shed_connections.add(u64::from(shed));
    shed
}

/// Has connections to services give way that have been idle for longest. How many.
fn services_give_way(local: &Local, most: usize) -> usize {
    let closed = local.pool.give_way(most);
    let closed = closed + local.http2_pool.give_way(most.saturating_sub(closed));
    local.load.shed_connections.add(closed as u64);
    closed
}

/// Whether a connection that could not be accepted, for this reason, may be now: idle ones have given way. None does where
/// the whole system has no file left: another process would have what is let go here.
pub fn makes_room(local: &Local, error: &io::Error) -> bool {
    if !is_shortage_of_process(error) {
        return false;
    }
    if services_give_way(local, GIVE_WAY) > 0 {
        return true;
    }
    local.load.descriptors.ask_others();
    give_way(local)
}

/// Whether another session of datagrams from `address` is taken. Nobody gives way to it: the address may be forged.
pub fn admits_session(local: &Local, address: IpAddr) -> bool {
    has_share_left(local, address) && has_room(local)
}

fn has_share_left(local: &Local, address: IpAddr) -> bool {
    let most = local.settings.max_connections_per_address;
    // Whoever forwards for others connects for many.
    if most > 0 && local.connections.from(address) >= most && !is_trusted(&local.settings, address) {
        local.bounds.reached(Bound::MaxConnectionsPerAddress);
        return false;
    }
    true
}

fn has_room(local: &Local) -> bool {
    let (most, by_files) = (local.settings.max_connections, local.load.most_for_files.get());
    let room = local.connections.count() < most.min(by_files);
    if !room {
        local.bounds.reached(if by_files < most { Bound::OpenFiles } else { Bound::MaxConnections });
    }
    room
}

/// Looks how much memory the process uses. Called about every second.
pub fn watch_memory(local: &Local) {
    let most = local.settings.max_resident_bytes;
    if most == 0 {
        return;
    }
    let short = resident_bytes().is_some_and(|bytes| bytes > most);
    let was_short = local.load.short_of_memory.replace(short);
    // One worker speaks for all.
    if local.worker.index == 0 && short != was_short {
        let (bound, setting) = Bound::MaxResident.named();
        tracing::warn!(bound, setting, short, "requests are turned away while memory is short");
    }
}

/// While files are short, has idle connections give way, clients' where there is none to a service, and looks whether they
/// still are. Where they are short for another worker, those to services do. Called about every second.
pub fn watch_files(local: &Local) {
    let Load { most_for_files, descriptors, .. } = &local.load;
    most_for_files.set(usize::MAX);
    let are_short = descriptors.are_short();
    if !(are_short | descriptors.are_asked_for()) {
        return;
    }
    let closed = services_give_way(local, GIVE_WAY);
    if are_short {
        if closed == 0 {
            descriptors.ask_others();
            (0..GIVE_WAY).take_while(|_| give_way(local)).for_each(drop);
        }
        descriptors.look();
    }
}

/// Memory of the process that is not paged out; none where the system does not tell.
fn resident_bytes() -> Option<u64> {
    parse_resident(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_status_of_the_process() {
        assert_eq!(parse_resident("Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t 1 kB\n"), Some(2 << 20));
        assert_eq!(parse_resident("Name:\tx\n"), None);
        assert!(resident_bytes().is_none_or(|bytes| bytes > 1 << 20));
    }
}
