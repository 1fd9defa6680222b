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

/// Gets `look` to find something, or a seat, in line with others of all workers. A client that leaves is waited for no
/// longer.
///
/// # Errors
/// When too many wait already, or this one has waited for as long as it may; when the client is gone.
pub async fn admit<T>(
    channel: &mut Channel,
    upload: &Upload,
    (gate, worker): (&Arc<Gate>, usize),
    mut look: impl FnMut() -> Option<T>,
) -> Result<Admitted<T>, Failure> {
    if !gate.is_crowded() {
        if let Some(found) = look() {
            return Ok(Admitted::Found(found));
        }
        if let Some(seat) = gate.try_seat() {
            return Ok(Admitted::Seat(seat));
        }
    }
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
