//! One value in cookies of bounded size (RFC 6265): split when it is written, joined when it is read.
//!
//! The first character of a value says how many cookies it is in. The second cookie has the name of the first one with
//! a 2 behind it, and so on.

use std::borrow::Cow;

use wire::{Headers, Known, media};

/// Most cookies of one value.
const MOST_COOKIES: usize = 9;
/// Most bytes of a cookie, name and attributes included: what RFC 6265 6.1 asks of every browser.
const MOST_BYTES: usize = 4096;
/// Most bytes of name and attributes.
const MOST_AROUND: usize = 1024;
/// Room for `; Max-Age=` with its number.
const MAX_AGE_BYTES: usize = 30;
/// What makes a browser forget a cookie.
const FORGET: &str = "; Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0";

/// What is written about a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name: a token.
    pub name: String,
    /// `Path`.
    pub path: Option<String>,
    /// `Domain`; without it the cookie is for the host alone.
    pub domain: Option<String>,
    /// `SameSite`; none leaves the attribute out.
    pub same_site: Option<String>,
    /// `HttpOnly`: scripts do not see the cookie.
    pub http_only: bool,
    /// `Secure`: it is not sent in cleartext.
    pub secure: bool,
}

/// Which cookies of a value a request has: a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Present(u16);

/// A cookie ready to be read and written.
pub struct Cookie {
    names: Vec<String>,
    attributes: String,
    /// Bytes of the value in one cookie.
    share: usize,
}

/// The names of all cookies that a value called `name` may be in.
pub fn names(name: &str) -> impl Iterator<Item = String> {
    let number = |index: usize| if index == 1 { String::new() } else { index.to_string() };
    (1..=MOST_COOKIES).map(move |index| format!("{name}{}", number(index)))
}

impl Cookie {
    /// The cookie with these settings.
    ///
    /// # Errors
    /// The setting that cannot be honoured, by its name here, and why.
    pub fn new(settings: &Settings) -> Result<Self, (&'static str, String)> {
        if settings.name.is_empty() || !settings.name.bytes().all(is_token_byte) {
            return Err((
                "name",
                "is no name of a cookie: letters, digits and !#$%&'*+-.^_`|~ only".to_owned(),
            ));
        }
        let mut attributes = String::new();
        let texts = [
            ("path", "; Path=", &settings.path),
            ("domain", "; Domain=", &settings.domain),
            ("same_site", "; SameSite=", &settings.same_site),
        ];
        for (field, attribute, text) in texts {
            let Some(text) = text else { continue };
            if text.bytes().any(|byte| byte == b';' || !(b' '..=b'~').contains(&byte)) {
                return Err((field, "has a character that no cookie can carry".to_owned()));
            }
            attributes.push_str(attribute);
            attributes.push_str(text);
        }
        attributes.push_str(if settings.secure { "; Secure" } else { "" });
        attributes.push_str(if settings.http_only { "; HttpOnly" } else { "" });
        let around = settings.name.len() + 2 + attributes.len() + MAX_AGE_BYTES;
        if around > MOST_AROUND {
            return Err(("name", format!("with path and domain is longer than {MOST_AROUND} bytes")));
        }
        Ok(Self { names: names(&settings.name).collect(), attributes, share: MOST_BYTES - around })
    }

    /// The value in a request; none if a part of it is missing, or it is longer than any that was written.
    #[must_use]
    pub fn read<'a>(&self, request: &'a Headers) -> Option<Cow<'a, [u8]>> {
        let (count, first) = find(request, &self.names[0])?.split_first()?;
        let count = usize::from(count.checked_sub(b'0')?);
        match count {
            1 => (first.len() < MOST_BYTES).then_some(Cow::Borrowed(first)),
            2..=MOST_COOKIES => {
                let mut whole = first.to_vec();
                for name in &self.names[1..count] {
                    whole.extend_from_slice(find(request, name)?);
                }
                (whole.len() < MOST_COOKIES * MOST_BYTES).then_some(Cow::Owned(whole))
            }
            _ => None,
        }
    }

    /// Which cookies of the value a request has, for who writes or withdraws it later.
    #[must_use]
    pub fn present(&self, request: &Headers) -> Present {
        let found = self.names.iter().enumerate().filter(|(_, name)| find(request, name).is_some());
        Present(found.fold(0, |bits, (index, _)| bits | 1 << index))
    }

    /// Takes the value out of a request, so that nobody behind the gateway gets to know it. Other cookies stay.
    pub fn hide(&self, request: &mut Headers) {
        hide(&self.names, request);
    }

    /// Writes a value of visible characters without quotes, commas, semicolons and backslashes; the browser forgets it
    /// after `max_age` seconds, or when it is closed. Cookies that the request has beyond it are withdrawn. False, and
    /// nothing is written, if the value is too long.
    #[must_use]
    pub fn write(&self, present: Present, value: &str, max_age: Option<u64>, response: &mut Headers) -> bool {
        let marked = format!("0{value}");
        let count = marked.len().div_ceil(self.share);
        if count > MOST_COOKIES {
            return false;
        }
        let age = max_age.map_or_else(String::new, |seconds| format!("; Max-Age={seconds}"));
        let marked = format!("{count}{value}");
        for (name, part) in self.names.iter().zip(marked.as_bytes().chunks(self.share)) {
            let part = String::from_utf8_lossy(part);
            let line = format!("{name}={part}{}{age}", self.attributes);
            response.append("Set-Cookie", line.as_bytes());
        }
        self.withdraw_from(count, present, response);
        true
    }

    /// Makes the browser forget all that the request has of the value.
    pub fn withdraw(&self, present: Present, response: &mut Headers) {
        self.withdraw_from(0, present, response);
    }

    fn withdraw_from(&self, first: usize, present: Present, response: &mut Headers) {
        for (index, name) in self.names.iter().enumerate().skip(first) {
            if present.0 & 1 << index != 0 {
                response.append("Set-Cookie", format!("{name}={}{FORGET}", self.attributes).as_bytes());
            }
        }
    }
}

/// Takes the cookies of these names out of a request. Others stay.
pub fn hide(names: &[String], request: &mut Headers) {
    if names.iter().all(|name| find(request, name).is_none()) {
        return;
    }
    let lines: Vec<Vec<u8>> = request
        .known_all(Known::Cookie)
        .map(|line| without(names, line))
        .filter(|line| !line.is_empty())
        .collect();
    request.remove_known(Known::Cookie);
    for line in lines {
        request.append("Cookie", &line);
    }
}

/// The pairs of a line that have other names.
fn without(names: &[String], line: &[u8]) -> Vec<u8> {
    let is_other = |pair: &&[u8]| {
        let name = pair.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
        !names.iter().any(|own| own.as_bytes() == name)
    };
    let pairs: Vec<&[u8]> =
        line.split(|&byte| byte == b';').filter(is_other).map(<[u8]>::trim_ascii).collect();
    pairs.join(&b"; "[..])
}

fn find<'a>(request: &'a Headers, name: &str) -> Option<&'a [u8]> {
    request.known_all(Known::Cookie).find_map(|line| media::cookie(line, name))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
