//! Field values with a grammar of their own: comma lists, parameters, `Accept` and `Cookie`. Borrowing only.

use crate::grammar::trim_whitespace;

/// Most elements of an `Accept` field weighed; later ones are not looked at.
const MAX_RANGES: usize = 64;

/// The elements of a comma-separated list (RFC 9110 5.6.1), trimmed, without empty ones. Commas within quoted
/// strings do not separate.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    Split { rest: Some(value), separator: b',' }.map(trim_whitespace).filter(|element| !element.is_empty())
}

/// Whether a list names `token`, whatever its case.
pub fn has_token(value: &[u8], token: &str) -> bool {
    list(value).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

/// A value without its parameters: `text/html` of `text/html; charset=utf-8`.
pub fn essence(value: &[u8]) -> &[u8] {
    trim_whitespace(value.split(|&byte| byte == b';').next().unwrap_or_default())
}

/// The value of a parameter, without quotes around it; escapes within quotes stay.
pub fn parameter<'a>(value: &'a [u8], name: &str) -> Option<&'a [u8]> {
    Split { rest: Some(value), separator: b';' }.skip(1).find_map(|parameter| {
        let sign = memchr::memchr(b'=', parameter)?;
        let (key, value) = (trim_whitespace(&parameter[..sign]), trim_whitespace(&parameter[sign + 1..]));
        key.eq_ignore_ascii_case(name.as_bytes()).then(|| unquoted(value))
    })
}

/// The place in `offers`, media types like `text/html`, of the one `accept` likes best (RFC 9110 12.5.1). The
/// most specific range decides about an offer; between equals the earlier offer wins. `None` when none is
/// acceptable.
pub fn best_match(accept: &[u8], offers: &[&str]) -> Option<usize> {
    let mut best = None;
    for (place, offer) in offers.iter().enumerate() {
        let quality = quality_of(accept, offer);
        if quality > best.map_or(0, |(_, quality)| quality) {
            best = Some((place, quality));
        }
    }
    best.map(|(place, _)| place)
}

/// The value of the first cookie called `name` in a `Cookie` field (RFC 6265 4.2), without quotes around it.
pub fn cookie<'a>(value: &'a [u8], name: &str) -> Option<&'a [u8]> {
    value.split(|&byte| byte == b';').find_map(|pair| {
        let sign = memchr::memchr(b'=', pair)?;
        (trim_whitespace(&pair[..sign]) == name.as_bytes())
            .then(|| unquoted(trim_whitespace(&pair[sign + 1..])))
    })
}

/// Thousandths the most specific range for `offer` gives it.
fn quality_of(accept: &[u8], offer: &str) -> u16 {
    let mut found = (0, 0);
    for range in list(accept).take(MAX_RANGES) {
        let Some(specificity) = specificity(essence(range), offer.as_bytes()) else { continue };
        let quality = parameter(range, "q").map_or(1000, thousandths);
        if (specificity, quality) > found {
            found = (specificity, quality);
        }
    }
    found.1
}

/// How closely a media range describes `offer`; `None` when it does not.
fn specificity(range: &[u8], offer: &[u8]) -> Option<u8> {
    if range == b"*/*" || range == b"*" {
        return Some(1);
    }
    if range.eq_ignore_ascii_case(offer) {
        return Some(3);
    }
    let family = range.strip_suffix(b"*").filter(|family| family.ends_with(b"/"))?;
    offer.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family)).then_some(2)
}

/// A quality value in thousandths (RFC 9110 12.4.2); a malformed one counts as zero.
fn thousandths(quality: &[u8]) -> u16 {
    let (whole, decimals) = match quality {
        [whole] => (whole, &b""[..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return 0,
    };
    let mut number = match whole {
        b'0' => 0,
        b'1' => 1,
        _ => return 0,
    };
    for place in 0..3 {
        let digit = decimals.get(place).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return 0;
        }
        number = number * 10 + u16::from(digit - b'0');
    }
    number.min(1000)
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// Pieces between separators that stand outside quoted strings.
#[derive(Clone)]
struct Split<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let (mut quoted, mut escaped) = (false, false);
        for (place, &byte) in rest.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if byte == self.separator && !quoted => {
                    self.rest = Some(&rest[place + 1..]);
                    return Some(&rest[..place]);
                }
                _ => {}
            }
        }
        self.rest = None;
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(value: &str) -> Vec<&str> {
        list(value.as_bytes()).map(|element| std::str::from_utf8(element).unwrap()).collect()
    }

    #[test]
    fn lists_mind_quotes_and_drop_what_is_empty() {
        assert_eq!(elements(" a , b,,c\t,"), ["a", "b", "c"]);
        assert_eq!(elements(r#"a;x="1,2",b="\",",c"#), [r#"a;x="1,2""#, r#"b="\",""#, "c"]);
        assert_eq!(elements(r#"a"b,c"#), [r#"a"b,c"#]);
        assert!(elements("").is_empty() && elements(" , ").is_empty());
        assert!(has_token(b"keep-alive, Upgrade", "upgrade") && !has_token(b"upgrades", "upgrade"));
    }

    #[test]
    fn essence_and_parameters() {
        let value = br#"Text/HTML ; charset="utf-8;x"; q=0.5"#;
        assert_eq!(essence(value), b"Text/HTML");
        assert_eq!(parameter(value, "Charset"), Some(&b"utf-8;x"[..]));
        assert_eq!(parameter(value, "q"), Some(&b"0.5"[..]));
        assert_eq!((parameter(value, "x"), parameter(b"q=1", "q")), (None, None));
    }

    #[test]
    fn the_best_offer_follows_rfc_9110() {
        let offers = ["application/json", "text/html", "application/xml", "text/plain"];
        let best = |accept: &str| best_match(accept.as_bytes(), &offers).map(|place| offers[place]);
        for (accept, wanted) in [
            ("*/*", Some("application/json")),
            ("text/*", Some("text/html")),
            ("text/plain", Some("text/plain")),
            ("TEXT/Plain;q=0.2, application/xml;q=0.3", Some("application/xml")),
            ("text/*;q=0.3, text/html;q=0.1, */*;q=0.2", Some("text/plain")),
            ("application/json;q=0, */*", Some("text/html")),
            ("image/png", None),
            ("*/*;q=0", None),
            ("text/plain;q=nonsense", None),
            ("", None),
        ] {
            assert_eq!(best(accept), wanted, "{accept}");
        }
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let value = br#"a=1; session="x y"; b=; sess=2; a=3"#;
        assert_eq!(cookie(value, "a"), Some(&b"1"[..]));
        assert_eq!(cookie(value, "session"), Some(&b"x y"[..]));
        assert_eq!(cookie(value, "b"), Some(&b""[..]));
        assert_eq!(cookie(value, "sess"), Some(&b"2"[..]));
        assert_eq!((cookie(value, "A"), cookie(b"a", "a")), (None, None));
    }
}
