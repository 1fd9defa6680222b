//! Values as they are written: switches, times, sizes, lists. What is none is told with what is expected.

use std::str::FromStr;
use std::time::Duration;

use super::Reading;

impl Reading {
    pub(super) fn wrong(&mut self, name: &str, value: &str, expected: &str) {
        self.problems.push(format!("KONG_{}: '{value}' is not {expected}", name.to_ascii_uppercase()));
    }

    pub(super) fn value<T: FromStr>(&mut self, name: &str, value: &str, place: &mut T) {
        match value.trim().parse() {
            Ok(parsed) => *place = parsed,
            Err(_) => self.wrong(name, value, "a value this setting takes"),
        }
    }

    pub(super) fn switch(&mut self, name: &str, value: &str, place: &mut bool) {
        match value {
            "on" | "true" => *place = true,
            "off" | "false" => *place = false,
            _ => self.wrong(name, value, "'on' or 'off'"),
        }
    }

    pub(super) fn list<T: FromStr<Err = String>>(&mut self, name: &str, value: &str) -> Vec<T> {
        let mut list = Vec::new();
        for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match item.parse() {
                Ok(parsed) => list.push(parsed),
                Err(problem) => self.problems.push(format!("KONG_{}: {problem}", name.to_ascii_uppercase())),
            }
        }
        list
    }

    pub(super) fn seconds(&mut self, name: &str, value: &str, place: &mut Duration) {
        match duration(value) {
            Some(parsed) => *place = parsed,
            None => self.wrong(name, value, "a time like 60, 60s, 500ms or 2m"),
        }
    }

    pub(super) fn size<T: TryFrom<u64>>(&mut self, name: &str, value: &str, place: &mut T) {
        match size(value).and_then(|bytes| T::try_from(bytes).ok()) {
            Some(parsed) => *place = parsed,
            None => self.wrong(name, value, "a size like 0, 1024, 16k, 8m or 1g"),
        }
    }

    pub(super) fn rate(&mut self, name: &str, value: &str, place: &mut u64) {
        match size(value) {
            Some(parsed) => *place = parsed,
            None => self.wrong(name, value, "a number of bytes a second like 0, 100 or 4k"),
        }
    }

    /// A size that a frame of HTTP/2 can carry (RFC 9113 6.5.2).
    pub(super) fn window(&mut self, name: &str, value: &str, place: &mut u32) {
        let bytes = size(value).and_then(|bytes| u32::try_from(bytes).ok());
        match bytes.filter(|bytes| *bytes <= i32::MAX.cast_unsigned()) {
            Some(parsed) => *place = parsed,
            None => self.wrong(name, value, "a size like 65535, 64k or 1m, below 2g"),
        }
    }

    pub(super) fn servers(&mut self, name: &str, value: &str) {
        for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let with_port = item.parse().or_else(|_| format!("{item}:53").parse());
            match with_port {
                Ok(server) => self.servers.push(server),
                Err(_) => self.wrong(name, item, "the address of a name server"),
            }
        }
    }
}

/// A time as nginx writes it; without a unit, seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let count: u64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(count)),
        "" | "s" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_secs(count.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(count.checked_mul(3600)?)),
        _ => None,
    }
}

/// A size as nginx writes it; without a unit, bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let count: u64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    count.checked_mul(unit)
}
