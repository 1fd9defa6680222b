//! What a sub-route asks of a request beyond host and path.

use model::entity::Route;
use wire::{Headers, Method};

use super::Lookup;
use super::host::HostName;
use super::pattern::Pattern;

/// Methods, headers and server names; a field that is not given asks for nothing.
pub(super) struct Conditions {
    methods: Option<Box<[Method]>>,
    pub headers: Box<[HeaderCondition]>,
    pub snis: Option<Box<[HostName]>>,
}

/// One header name with its values, of which one must be sent.
pub(super) struct HeaderCondition {
    /// As [`fold`] makes it.
    pub name: Box<[u8]>,
    /// Lower-case.
    pub plain: Box<[Box<[u8]>]>,
    pub patterns: Box<[Pattern]>,
}

impl Conditions {
    /// The conditions of a route; none when it has none.
    pub fn new(route: &Route) -> Result<Option<Conditions>, String> {
        let methods = given(route.methods.as_deref());
        let snis = given(route.snis.as_deref());
        let headers = given(route.headers.as_deref()).unwrap_or_default();
        if methods.is_none() && snis.is_none() && headers.is_empty() {
            return Ok(None);
        }
        let read = |name: &String| Method::from_bytes(name.as_bytes());
        Ok(Some(Conditions {
            methods: methods.map(|names| names.iter().filter_map(read).collect()),
            headers: headers.iter().map(HeaderCondition::new).collect::<Result<_, _>>()?,
            snis: snis.map(|names| names.iter().map(|name| server_name(name)).collect()),
        }))
    }

    /// Whether the request has all that is asked for.
    pub fn hold(&self, lookup: &Lookup<'_>) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.contains(lookup.method))
            && self.headers.iter().all(|header| header.holds(lookup.headers))
            && self.snis_hold(lookup)
    }

    /// A request that did not come over TLS has no server name and is not asked for one.
    fn snis_hold(&self, lookup: &Lookup<'_>) -> bool {
        let Some(snis) = &self.snis else { return true };
        !lookup.https
            || lookup.sni.is_some_and(|asked| snis.iter().any(|name| name.matches(asked.as_bytes())))
    }
}

impl HeaderCondition {
    fn new((name, values): &(String, Vec<String>)) -> Result<HeaderCondition, String> {
        let mut plain = Vec::new();
        let mut patterns = Vec::new();
        for value in values {
            match value.strip_prefix("~*") {
                Some(pattern) => patterns.push(Pattern::for_header(pattern)?),
                None => plain.push(value.to_ascii_lowercase().into_bytes().into()),
            }
        }
        let name = name.bytes().map(fold).collect();
        Ok(HeaderCondition { name, plain: plain.into(), patterns: patterns.into() })
    }

    /// Any field of the name will do, with any of the values.
    fn holds(&self, headers: &Headers) -> bool {
        headers.entries().any(|field| self.is_named(field.name) && self.accepts(field.value))
    }

    fn is_named(&self, name: &[u8]) -> bool {
        name.len() == self.name.len() && name.iter().zip(&self.name).all(|(byte, own)| fold(*byte) == *own)
    }

    fn accepts(&self, value: &[u8]) -> bool {
        self.plain.iter().any(|plain| plain.eq_ignore_ascii_case(value))
            || self.patterns.iter().any(|pattern| pattern.is_match(value))
    }
}

/// A field that is not given and one without elements are the same.
pub fn given<T>(field: Option<&[T]>) -> Option<&[T]> {
    field.filter(|elements| !elements.is_empty())
}

/// Header names compare without case, and `-` equals `_`.
pub(super) fn fold(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() }
}

/// A name or a pattern of `snis`. The last dot of a full domain name does not count.
pub fn server_name(name: &str) -> HostName {
    let name = name.strip_suffix('.').filter(|rest| !rest.is_empty()).unwrap_or(name);
    HostName::new(name.as_bytes())
}
