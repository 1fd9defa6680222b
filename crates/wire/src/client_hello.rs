//! A look at the first message of a TLS client (RFC 8446 4.1.2): which host it asks for and which protocols it
//! offers, so that a connection can be routed without being decrypted. Nothing is consumed and nothing is negotiated:
//! whether the rest of the message is any good is for whoever ends the TLS.

mod extensions;
mod reader;
mod records;

/// The default for how much of a connection is held to find a whole message: real ones have about two kilobytes,
/// post-quantum keys included.
pub const DEFAULT_MAX_BYTES: usize = 16 * 1024;

/// What a client says before anything is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The host asked for, in lower case; a DNS name, never an address.
    pub server_name: Option<String>,
    /// The application protocols offered, the client's favourite first; empty without the extension.
    pub protocols: Vec<Vec<u8>>,
}

/// The outcome of looking at the start of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peeked {
    /// The message goes on. Call again with the same bytes and more behind them.
    Incomplete,
    /// The message is whole.
    Complete(ClientHello),
    /// The connection does not begin with TLS.
    NotTls,
    /// It begins with TLS, but with no message that all parties would read alike.
    Reject(Reject),
}

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The rule or bound that was broken, for a log line.
    pub reason: &'static str,
}

impl Reject {
    const fn new(reason: &'static str) -> Reject {
        Reject { reason }
    }
}

const MALFORMED: Reject = Reject::new("malformed ClientHello (RFC 8446 4.1.2)");

/// Why there is no message to look at.
enum Stop {
    Incomplete,
    NotTls,
    Wrong(Reject),
}

/// Looks for a ClientHello at the start of `buf`, in at most `max_bytes`. The verdict depends on the bytes alone,
/// never on how they were split.
pub fn peek(buf: &[u8], max_bytes: usize) -> Peeked {
    match records::message(buf, max_bytes) {
        Ok(message) => parse(&message).map_or_else(Peeked::Reject, Peeked::Complete),
        Err(Stop::Incomplete) => Peeked::Incomplete,
        Err(Stop::NotTls) => Peeked::NotTls,
        Err(Stop::Wrong(reject)) => Peeked::Reject(reject),
    }
}

fn parse(message: &[u8]) -> Result<ClientHello, Reject> {
    let block = extension_block(message).ok_or(MALFORMED)?;
    extensions::parse(block)
}

/// The extensions of a message, empty where it has none; `None` when a length is wrong.
fn extension_block(message: &[u8]) -> Option<&[u8]> {
    let mut reader = reader::Reader::new(message);
    let version = reader.take(2)?;
    let _random = reader.take(32)?;
    let session = reader.short_vector()?;
    let suites = reader.long_vector()?;
    let compressions = reader.short_vector()?;
    let sound = version[0] == 3
        && session.len() <= 32
        && !suites.is_empty()
        && suites.len().is_multiple_of(2)
        && !compressions.is_empty();
    // A client of TLS 1.2 may leave extensions out, their length included.
    let block = if reader.is_empty() { &[] } else { reader.long_vector()? };
    (sound && reader.is_empty()).then_some(block)
}
