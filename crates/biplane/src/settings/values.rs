//! Values as they are written: switches, times, sizes, lists. What is none is told with what is expected.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

/// A setting as it is given.
pub(super) struct Given<'a> {
    /// As in Kong's file: in lower case, without a prefix.
    pub name: &'a str,
    pub value: &'a str,
    /// Where to tell what is wrong with it.
    pub problems: &'a mut Vec<String>,
}

impl Given<'_> {
    pub fn is_not(&mut self, expected: &str) {
        self.wrong(self.value, expected);
    }

    fn wrong(&mut self, value: &str, expected: &str) {
        let name = self.name.to_ascii_uppercase();
        self.problems.push(format!("KONG_{name}: '{value}' is not {expected}"));
    }

    pub fn filled(mut self, expected: &str) {
        if self.value.is_empty() {
            self.is_not(expected);
        }
    }

    pub fn parse<T: FromStr>(&mut self, place: &mut T) {
        match self.value.trim().parse() {
            Ok(parsed) => *place = parsed,
            Err(_) => self.is_not("a value this setting takes"),
        }
    }

    pub fn switch(&mut self, place: &mut bool) {
        match self.value {
            "on" | "true" => *place = true,
            "off" | "false" => *place = false,
            _ => self.is_not("'on' or 'off'"),
        }
    }

    pub fn list<T: FromStr<Err = String>>(&mut self) -> Vec<T> {
        let mut list = Vec::new();
        for item in items(self.value) {
            match item.parse() {
                Ok(parsed) => list.push(parsed),
                Err(problem) => {
                    self.problems.push(format!("KONG_{}: {problem}", self.name.to_ascii_uppercase()));
                }
            }
        }
        list
    }

    pub fn time(&mut self, place: &mut Duration) {
        match duration(self.value) {
            Some(parsed) => *place = parsed,
            None => self.is_not("a time like 60, 60s, 500ms or 2m"),
        }
    }

    pub fn size<T: TryFrom<u64>>(&mut self, place: &mut T) {
        match size(self.value).and_then(|bytes| T::try_from(bytes).ok()) {
            Some(parsed) => *place = parsed,
            None => self.is_not("a size like 0, 1024, 16k, 8m or 1g"),
        }
    }

    pub fn rate(&mut self, place: &mut u64) {
        match size(self.value) {
            Some(parsed) => *place = parsed,
            None => self.is_not("a number of bytes a second like 0, 100 or 4k"),
        }
    }

    /// A size that a frame of HTTP/2 can carry (RFC 9113 6.5.2).
    pub fn window(&mut self, place: &mut u32) {
        let bytes = size(self.value).and_then(|bytes| u32::try_from(bytes).ok());
        match bytes.filter(|bytes| *bytes <= i32::MAX.cast_unsigned()) {
            Some(parsed) => *place = parsed,
            None => self.is_not("a size like 65535, 64k or 1m, below 2g"),
        }
    }

    pub fn servers(&mut self, servers: &mut Vec<SocketAddr>) {
        for item in items(self.value) {
            let with_port = item.parse().or_else(|_| format!("{item}:53").parse());
            match with_port {
                Ok(server) => servers.push(server),
                Err(_) => self.wrong(item, "the address of a name server"),
            }
        }
    }
}

/// The parts between commas.
fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
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
