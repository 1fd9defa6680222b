//! The bounds a message must keep.

/// Bounds on what one message may take. Each has a safe default; sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Start line and header section together. Default 32 KiB.
    pub max_head_bytes: usize,
    /// One line of a head, without its CRLF. Default 16 KiB.
    pub max_line_bytes: usize,
    /// The request target. Default 8 KiB, as nginx's line buffer.
    pub max_target_bytes: usize,
    /// Fields of one header or trailer section, never more than [`Limits::MAX_HEADERS`]. Default 100.
    pub max_headers: usize,
    /// What may follow the size on a chunk's line. Default 256.
    pub max_chunk_extension_bytes: usize,
    /// The trailer section of a chunked body. Default 8 KiB.
    pub max_trailer_bytes: usize,
    /// The content of a body; `None`, the default, leaves the bound to a policy.
    pub max_body_bytes: Option<u64>,
}

impl Limits {
    /// Upper bound of [`Limits::max_headers`]: room set aside on the stack.
    pub const MAX_HEADERS: usize = 256;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_head_bytes: 32 * 1024,
            max_line_bytes: 16 * 1024,
            max_target_bytes: 8 * 1024,
            max_headers: 100,
            max_chunk_extension_bytes: 256,
            max_trailer_bytes: 8 * 1024,
            max_body_bytes: None,
        }
    }
}
