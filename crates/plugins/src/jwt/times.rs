//! The claims of a token about time, checked at every use.

/// Claims about time as the token states them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Times {
    pub(super) exp: Moment,
    pub(super) nbf: Moment,
}

/// A claim that should be a number of seconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) enum Moment {
    #[default]
    Absent,
    At(f64),
    NotANumber,
}

/// What is demanded of the times.
pub(super) struct Limits {
    pub(super) exp: bool,
    pub(super) nbf: bool,
    /// Seconds by which clocks may differ.
    pub(super) leeway: f64,
    /// Most seconds `exp` may lie ahead.
    pub(super) maximum: Option<f64>,
}

/// A claim and what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeFault {
    pub(super) claim: &'static str,
    pub(super) message: &'static str,
}

impl Limits {
    pub(super) fn check(&self, times: Times, now_s: u64) -> Result<(), Vec<TimeFault>> {
        let now = now_s as f64;
        let mut faults = Vec::new();
        if self.exp {
            fault(&mut faults, "exp", times.exp, "token expired", |exp| exp + self.leeway <= now);
        }
        if self.nbf {
            fault(&mut faults, "nbf", times.nbf, "token not valid yet", |nbf| nbf - self.leeway > now);
        }
        if let (true, Some(maximum), Moment::At(exp)) = (faults.is_empty(), self.maximum, times.exp)
            && exp - now > maximum
        {
            faults.push(TimeFault { claim: "exp", message: "exceeds maximum allowed expiration" });
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

fn fault(
    faults: &mut Vec<TimeFault>,
    claim: &'static str,
    moment: Moment,
    message: &'static str,
    is_wrong: impl Fn(f64) -> bool,
) {
    match moment {
        Moment::At(seconds) if !is_wrong(seconds) => {}
        Moment::At(_) => faults.push(TimeFault { claim, message }),
        Moment::Absent | Moment::NotANumber => faults.push(TimeFault { claim, message: "must be a number" }),
    }
}
