//! How many files the process may have open. Every connection is one, and the Admin API, logs and name servers need some too.

use std::os::fd::RawFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files that connections of clients and services leave to others: as many as the Admin API and the status listener take
/// connections, and as many again.
const RESERVED: u64 = 1024;
/// With fewer, somebody should know.
const FEW: u64 = 4096;

/// What the system grants.
#[derive(Debug, PartialEq, Eq)]
pub struct Granted {
    /// The first number of a file that is not for connections.
    pub most: RawFd,
    /// What an operator should know.
    pub warning: Option<String>,
}

/// Raises the limit as far as it may be raised.
pub fn raise() -> Granted {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Granted { most: RawFd::MAX, warning: None };
    };
    let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    granted(if raised { hard } else { soft })
}

fn granted(limit: u64) -> Granted {
    let most = limit - RESERVED.min(limit / 4);
    let warning = (limit < FEW).then(|| {
        format!(
            "at most {limit} files may be open (ulimit -n, LimitNOFILE): from {most} connections of clients and services on, \
             idle ones are closed and requests turned away"
        )
    });
    Granted { most: RawFd::try_from(most).unwrap_or(RawFd::MAX), warning }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_left_a_quarter_and_no_more_than_they_can_use() {
        assert_eq!(granted(1 << 20), Granted { most: (1 << 20) - 1024, warning: None });
        assert_eq!(granted(4096), Granted { most: 3072, warning: None });
        let few = granted(1000);
        assert!(few.most == 750 && few.warning.is_some_and(|told| told.contains("from 750 connections")));
        assert_eq!(granted(u64::MAX).most, RawFd::MAX);
    }
}
