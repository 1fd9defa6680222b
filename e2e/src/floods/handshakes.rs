//! Handshakes of TLS that are begun and never ended. The gateway has done the most of its work by then: it has agreed on
//! keys and signed.

use super::Victim;
use crate::certificates::hello;
use crate::frames::is_end;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Handshakes that one attacker has under way.
const COUNT: usize = 64;
/// Longer than any handshake may take here.
const LIMIT: Duration = Duration::from_secs(15);

/// Begins some, says nothing more, and tells whether all of them were ended.
pub(super) fn abandon(victim: &Victim<'_>) -> Result<String, String> {
    let hello = hello().map_err(|error| error.to_string())?;
    let begin = |_| {
        let mut stream = TcpStream::connect(victim.secure)?;
        stream.set_read_timeout(Some(LIMIT))?;
        // Where there are too many, it may be closed by now.
        stream.write_all(&hello).ok();
        Ok(stream)
    };
    let begun: Result<Vec<TcpStream>, std::io::Error> = (0..COUNT).map(begin).collect();
    for mut stream in begun.map_err(|error| error.to_string())? {
        match stream.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(error) if is_end(&error) => {}
            Err(error) => return Ok(format!("no end ({error})")),
        }
    }
    Ok("the end".to_owned())
}
