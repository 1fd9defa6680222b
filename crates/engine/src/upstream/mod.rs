//! The upstream side: connections, their pool, and one attempt at a time to get an answer.

pub mod attempt;
pub mod connect;
pub mod destination;
pub mod gate;
mod hedge;
pub mod http2;
pub mod pair;
pub mod pool;
pub mod queue;
pub mod reach;
pub mod repeat;
pub mod tries;
pub mod warm;
