//! Waiting for a connection where an upstream bounds how many there may be.

use std::sync::Arc;

use super::gate::{Call, Full, Gate, Place, Seat};
use crate::channel::{Channel, Fault};
use crate::respond::Failure;
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
        let mut place = Place::take(gate, worker)?;
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
