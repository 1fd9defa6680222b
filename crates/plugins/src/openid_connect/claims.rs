//! What tokens say, and what they must say.

pub(super) use plugin::claims::said::{Claims, Reading, Requirement, at, list, text, untimely};
