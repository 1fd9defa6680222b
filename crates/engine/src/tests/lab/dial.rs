//! Connections to upstreams that are pipes.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::sync::mpsc;

use super::{PIPE, Peer};
use crate::descriptors::Descriptors;
use crate::transport::Stream;
use crate::upstream::connect::{Dial, Dialing};

pub struct PipeDial {
    pub descriptors: Rc<Descriptors>,
    pub dialed: mpsc::UnboundedSender<Peer>,
    pub refusing: Rc<Cell<usize>>,
    pub refusing_after: Rc<Cell<Duration>>,
}

impl Dial for PipeDial {
    fn descriptors(&self) -> Rc<Descriptors> {
        self.descriptors.clone()
    }

    fn dial(&self, _: SocketAddr) -> Dialing {
        let refused = self.refusing.get();
        if refused > 0 {
            self.refusing.set(refused - 1);
            let after = self.refusing_after.get();
            return Box::pin(async move {
                if !after.is_zero() {
                    tokio::time::sleep(after).await;
                }
                Err(io::ErrorKind::ConnectionRefused.into())
            });
        }
        let (near, far) = tokio::io::duplex(PIPE);
        let sent = self.dialed.send(Peer(far));
        Box::pin(async move {
            sent.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Stream::Memory(BufReader::new(near)))
        })
    }
}
