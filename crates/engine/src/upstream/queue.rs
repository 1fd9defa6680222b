//! Waiting for a connection where an upstream bounds how many there may be.

use std::sync::Arc;

use super::gate::{Call, Full, Gate, Place, Seat};
use crate::channel::{Channel, Fault};
use crate::respond::Failure;
use crate::timer::Timer;
use crate::upload::Upload;

/// What a request gets.
pub enum Admitted<T> {
    /// What it looked for: a connection that is there.
    Found(T),
    /// It may open one.
    Seat(Seat),
}

/// What can be had without waiting, unless others wait: what `look` finds, or a seat.
pub fn at_once<T>(gate: &Arc<Gate>, look: impl FnOnce() -> Option<T>) -> Option<Admitted<T>> {
    if gate.is_crowded() {
        return None;
    }
    look().map(Admitted::Found).or_else(|| gate.try_seat().map(Admitted::Seat))
}

/// Waits until `look` finds something, or for a seat, in line with others of all workers. A client that leaves is waited
/// for no longer.
///
/// # Errors
/// When too many wait already, or this one has waited for as long as it may; when the client is gone.
pub async fn in_line<T>(
    channel: &mut Channel,
    upload: &Upload,
    (gate, worker): (&Arc<Gate>, usize),
    mut look: impl FnMut() -> Option<T>,
) -> Result<Admitted<T>, Failure> {
    let patience = gate.limits().patience;
    let waiting = async {
        let mut place = Place::take(gate, Some(worker))?;
        loop {
            match place.called().await {
                Some(Call::Seat(seat)) => return Ok(Admitted::Seat(seat)),
                Some(Call::Look) => {
                    if let Some(found) = look() {
                        return Ok(Admitted::Found(found));
                    }
                }
                None => {}
            }
            place.take_again();
        }
    };
    match channel.within(upload, patience, waiting).await {
        Ok(Ok(admitted)) => Ok(admitted),
        Ok(Err(Full)) => Err(Failure::NoConnection { waited: false }),
        Err(Fault::Timeout) => Err(Failure::NoConnection { waited: true }),
        Err(Fault::Closed) => Err(Failure::ClientGone),
    }
}

/// Waits for a seat, in line with others of all workers: for what uses no connection that is there already. It is waited for
/// no longer once `gone` is ready.
///
/// # Errors
/// When too many wait already, or this one has waited for as long as it may; when nobody wants the seat any more.
pub async fn seat(
    gate: &Arc<Gate>,
    timer: &mut Timer,
    gone: impl Future<Output = ()>,
) -> Result<Seat, NoSeat> {
    if let Some(seat) = gate.try_seat() {
        return Ok(seat);
    }
    let patience = gate.limits().patience;
    let mut place = Place::take(gate, None).map_err(|Full| NoSeat::Full)?;
    let waiting = async {
        loop {
            if let Some(Call::Seat(seat)) = place.called().await {
                return seat;
            }
            place.take_again();
        }
    };
    let either = async {
        tokio::select! {
            biased;
            seat = waiting => Ok(seat),
            () = gone => Err(NoSeat::Unwanted),
        }
    };
    timer.within(patience, either).await.unwrap_or(Err(NoSeat::Late))
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSeat {
    /// Too many wait.
    Full,
    /// The time is over.
    Late,
    /// Nobody wants it any more.
    Unwanted,
}
