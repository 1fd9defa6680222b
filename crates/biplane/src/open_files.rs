//! How many files the process may have open. Every connection is one; workers and listeners have theirs from the start, and
//! the Admin API, logs and name servers need some too.

use std::os::fd::RawFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::start::Places;

/// Files that connections of clients and services leave to others: as many as the Admin API and the status listener take
/// connections, and as many again.
const RESERVED: u64 = 1024;
/// With fewer connections, somebody should know.
const FEW: u64 = 2048;
/// With fewer files than that for connections and all else, nothing could be served.
const LEAST: u64 = 16;
/// What a worker has for itself: to wait for events, to be woken, and another handle for its listeners.
const OF_WORKER: u64 = 3;
/// What each worker has of a listener: a socket, and its own handle of it.
const OF_LISTENER: u64 = 2;
/// About what the rest of the process has open: the three of every process, runtimes, signals, files that are watched.
const OF_PROCESS: u64 = 48;

/// What the system grants.
#[derive(Debug, PartialEq, Eq)]
pub struct Granted {
    /// The first number of a file that is not for connections.
    pub most: RawFd,
    /// What an operator should know.
    pub warning: Option<String>,
}

/// What has files open from the start.
pub struct Takers {
    workers: usize,
    /// Addresses on which every worker listens.
    listeners: usize,
    /// Addresses of the Admin API and the status listener.
    control: usize,
}

impl Takers {
    /// Those of a gateway at these places.
    pub fn of(places: &Places) -> Self {
        Self {
            workers: places.workers,
            listeners: places.proxy.len(),
            control: places.admin.len() + places.status.len(),
        }
    }

    /// About how many files they have, rather more than fewer.
    fn files(&self) -> u64 {
        let of_worker = OF_WORKER + OF_LISTENER * self.listeners as u64;
        OF_PROCESS + self.workers as u64 * of_worker + OF_LISTENER * self.control as u64
    }
}

/// Raises the limit as far as it may be raised.
///
/// # Errors
/// That `takers` leave nothing for connections, and what to do.
pub fn raise(takers: &Takers) -> Result<Granted, String> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Ok(Granted { most: RawFd::MAX, warning: None });
    };
    let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    granted(if raised { hard } else { soft }, takers)
}

fn granted(limit: u64, takers: &Takers) -> Result<Granted, String> {
    let taken = takers.files();
    let left = limit.saturating_sub(taken);
    let Takers { workers, listeners, .. } = takers;
    if left < LEAST {
        return Err(format!(
            "at most {limit} files may be open, and the gateway itself takes about {taken} with {workers} workers and \
             {listeners} addresses to listen on: none are left for connections; raise the limit (ulimit -n, LimitNOFILE) \
             to {} or more, or start fewer workers (--workers)",
            taken + FEW
        ));
    }
    let reserved = RESERVED.min(left / 4);
    let connections = left - reserved;
    let warning = (connections < FEW).then(|| {
        format!(
            "at most {limit} files may be open (ulimit -n, LimitNOFILE), of which the gateway itself takes about {taken}: \
             from about {connections} connections of clients and services on, idle ones are closed and requests turned away"
        )
    });
    Ok(Granted { most: RawFd::try_from(limit - reserved).unwrap_or(RawFd::MAX), warning })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One worker, with one listener and an Admin API: 55 files.
    const FEW_TAKERS: Takers = Takers { workers: 1, listeners: 1, control: 1 };

    fn most(limit: u64, takers: &Takers) -> RawFd {
        granted(limit, takers).unwrap().most
    }

    #[test]
    fn others_are_left_a_quarter_and_no_more_than_they_can_use() {
        assert_eq!(granted(1 << 20, &FEW_TAKERS), Ok(Granted { most: (1 << 20) - 1024, warning: None }));
        assert_eq!(granted(4096, &FEW_TAKERS), Ok(Granted { most: 4096 - 1010, warning: None }));
        assert_eq!(most(u64::MAX, &FEW_TAKERS), RawFd::MAX);
        let few = granted(1055, &FEW_TAKERS).unwrap();
        assert_eq!(few.most, 1055 - 250);
        let told = few.warning.unwrap();
        assert!(told.starts_with("at most 1055 files") && told.contains("takes about 55:"), "{told}");
        assert!(told.contains("from about 750 connections"), "{told}");
    }

    #[test]
    fn what_workers_and_listeners_have_is_not_for_connections() {
        let many = Takers { workers: 128, listeners: 2, control: 2 };
        let taken = 48 + 128 * (3 + 2 * 2) + 2 * 2;
        assert_eq!(many.files(), taken);
        let granted_many = granted(1024, &many).unwrap();
        let connections = u64::try_from(granted_many.most).unwrap() - taken;
        assert_eq!(connections, 57, "of 76 that are left, a quarter is for others");
        assert!(granted_many.warning.unwrap().contains("from about 57 connections"));
    }

    #[test]
    fn where_nothing_is_left_nothing_is_started() {
        let many = Takers { workers: 128, listeners: 3, control: 2 };
        let refused = granted(1024, &many).unwrap_err();
        for words in
            ["at most 1024 files", "128 workers and 3 addresses", "ulimit -n, LimitNOFILE", "--workers"]
        {
            assert!(refused.contains(words), "{refused}");
        }
        assert!(granted(0, &FEW_TAKERS).is_err() && granted(70, &FEW_TAKERS).is_err());
        assert!(granted(71, &FEW_TAKERS).is_ok());
    }
}
