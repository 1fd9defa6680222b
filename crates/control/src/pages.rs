//! Which web pages may use the Admin API. It has no authentication, and a browser on the machine or in the network of an operator
//! sends it whatever any page wants.

use std::borrow::Cow;

use hyper::header::{
    ACCEPT_LANGUAGE, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, HOST, HeaderName, HeaderValue, ORIGIN,
};
use hyper::{HeaderMap, Method, Request};
use serde_json::Value;

/// Settings of Kong that say where pages are, or the API itself, which may use it.
const SETTINGS: [&str; 3] = ["admin_gui_url", "admin_gui_api_url", "admin_api_uri"];

/// The pages that may use the Admin API beside its own.
#[derive(Debug, Default)]
pub struct Pages {
    /// Origins, in lower case.
    origins: Vec<String>,
}

/// Why a page may not use it, for its developer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// It is of another site, or of another port.
    Page,
    /// The browser was told that this machine is called so, by whoever owns that name.
    Name,
}

impl Stranger {
    /// The same as a message.
    pub fn message(self) -> &'static str {
        match self {
            Self::Page => {
                "web pages of other sites may not use the Admin API: KONG_ADMIN_GUI_URL lists those that may"
            }
            Self::Name => {
                "browsers may not use the Admin API of this machine by that name: KONG_ADMIN_GUI_API_URL says how it is called"
            }
        }
    }
}

impl Pages {
    /// Those that the operator's settings name.
    pub fn named_in(settings: &Value) -> Self {
        let texts = SETTINGS.iter().filter_map(|name| settings.get(name)?.as_str());
        let urls = texts.flat_map(|text| text.split(',')).map(|url| url.trim().to_ascii_lowercase());
        let origins = urls.map(|url| match url.split_once("://") {
            Some((scheme, rest)) => format!("{scheme}://{}", rest.split('/').next().unwrap_or_default()),
            None => url,
        });
        Self { origins: origins.filter(|origin| !origin.is_empty()).collect() }
    }

    fn names(&self, origin: &str) -> bool {
        self.origins.iter().any(|named| named.eq_ignore_ascii_case(origin))
    }

    /// Whether a request may come from where a browser says; `at_home` if it came to a loopback address.
    ///
    /// # Errors
    /// Whose it is, if not.
    pub fn admit<B>(&self, request: &Request<B>, at_home: bool) -> Result<(), Stranger> {
        let (method, headers) = (request.method(), request.headers());
        let text =
            |name: HeaderName| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let is = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
        // HTTP/2 has it beside the path, and where it is there it counts in HTTP/1.1, too (RFC 9112 3.2.2).
        let in_target = request.uri().authority().map(|authority| Cow::Borrowed(authority.as_str()));
        let host = in_target.or_else(|| text(HOST)).unwrap_or_default().to_ascii_lowercase();
        let origin = text(ORIGIN).map(|origin| origin.to_ascii_lowercase());
        let is_named = origin.as_ref().is_some_and(|origin| self.names(origin));
        // To follow a link is fine.
        if is("sec-fetch-site", "cross-site") && !(method == Method::GET && is("sec-fetch-mode", "navigate"))
        {
            return if is_named { Ok(()) } else { Err(Stranger::Page) };
        }
        // Browsers send Sec-Fetch-Site to few addresses, but Origin to all (Fetch 3.2).
        if origin.is_some_and(|origin| authority(&origin) != host) && !is_named {
            return Err(Stranger::Page);
        }
        // Nobody resolves a name to a loopback address for others, but to have their browsers take it for its own.
        let is_own = is_this_machine(&host) || self.origins.iter().any(|origin| authority(origin) == host);
        match at_home && headers.contains_key(ACCEPT_LANGUAGE) && !is_own {
            true => Err(Stranger::Name),
            false => Ok(()),
        }
    }
}

/// A page that may use it, as its browser has to be told.
pub struct Page {
    origin: HeaderValue,
    /// The settings name it.
    is_named: bool,
    /// The headers that a preflight asks for.
    wanted: Option<HeaderValue>,
}

impl Page {
    /// The page that a request comes from, if any.
    pub fn of<B>(request: &Request<B>, pages: &Pages) -> Option<Self> {
        let headers = request.headers();
        let origin = headers.get(ORIGIN)?.clone();
        let is_named = origin.to_str().is_ok_and(|origin| pages.names(origin));
        let is_preflight = is_named && request.method() == Method::OPTIONS;
        let wanted = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).filter(|_| is_preflight).cloned();
        Some(Self { origin, is_named, wanted })
    }

    /// Says in `fields` that it is welcome.
    pub fn welcome(self, fields: &mut HeaderMap) {
        fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
        if self.is_named {
            fields.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(wanted) = self.wanted {
            fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted);
        }
    }
}

/// What follows the scheme of an origin.
fn authority(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, authority)| authority)
}

/// Whether it is an address, or the name that never leaves a machine (RFC 6761 6.3).
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn admitted(pages: &Pages, fields: &[(&'static str, &str)], at_home: bool) -> Result<(), Stranger> {
        let mut request = Request::post("/services");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        pages.admit(&request.body(()).unwrap(), at_home)
    }

    #[test]
    fn pages_are_told_by_their_origin() {
        let named =
            Pages::named_in(&json!({"admin_gui_url": "http://gui.test:8002, https://Other.test/manager"}));
        let host = ("host", "10.0.0.5:8001");
        for (origin, own, with_names) in [
            ("http://10.0.0.5:8001", true, true),
            ("HTTPS://10.0.0.5:8001", true, true),
            ("http://10.0.0.5:8002", false, false),
            ("http://10.0.0.5", false, false),
            ("null", false, false),
            ("", false, false),
            ("http://gui.test:8002", false, true),
            ("https://other.test", false, true),
            ("http://other.test", false, false),
        ] {
            let fields = [host, ("origin", origin)];
            assert_eq!(admitted(&Pages::default(), &fields, false).is_ok(), own, "{origin}");
            assert_eq!(admitted(&named, &fields, false).is_ok(), with_names, "{origin}");
        }
        let cross = [host, ("sec-fetch-site", "cross-site"), ("origin", "http://gui.test:8002")];
        assert_eq!(admitted(&Pages::default(), &cross, false), Err(Stranger::Page));
        assert_eq!(admitted(&named, &cross, false), Ok(()));
        assert_eq!(admitted(&Pages::default(), &[host], true), Ok(()), "no page");
    }

    #[test]
    fn browsers_reach_a_loopback_address_by_its_own_names() {
        let named = Pages::named_in(&json!({"admin_gui_api_url": "https://admin.test/api"}));
        for (host, own, with_names) in [
            ("localhost:8001", true, true),
            ("LOCALHOST", true, true),
            ("kong.localhost:8001", true, true),
            ("127.0.0.1:8001", true, true),
            ("[::1]:8001", true, true),
            ("evil.test:8001", false, false),
            ("localhost.evil.test", false, false),
            ("127.0.0.1.evil.test", false, false),
            ("admin.test", false, true),
            ("", false, false),
        ] {
            let browser = [("host", host), ("accept-language", "de")];
            assert_eq!(admitted(&Pages::default(), &browser, true).is_ok(), own, "{host}");
            assert_eq!(admitted(&named, &browser, true).is_ok(), with_names, "{host}");
            assert_eq!(admitted(&Pages::default(), &browser, false), Ok(()), "{host}: not on loopback");
            assert_eq!(admitted(&Pages::default(), &browser[..1], true), Ok(()), "{host}: no browser");
        }
    }
}
