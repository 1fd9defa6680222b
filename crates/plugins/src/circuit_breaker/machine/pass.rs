//! Leave to send a request, and what comes of it.

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The service did its work.
    Success {
        /// It took long.
        slow: bool,
    },
    /// It did not.
    Failure,
    /// Nothing can be said: the client left, or something else answered.
    Nothing,
}

/// Leave to send a request. To be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// The state it was given in.
    pub epoch: u64,
    /// The number of the probe that it is.
    pub probe: Option<u64>,
}

/// What is left of a pass that has been settled with a success, should that turn out to be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The pass.
    pub pass: Pass,
    /// Failures in a row before it.
    pub run: u32,
}

/// Whether a request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Pass(Pass),
    /// Not before so many milliseconds have passed.
    Refused(u64),
}
