//! Addresses to listen on, written as Kong writes them: `0.0.0.0:8000 reuseport backlog=16384, [::1]:8000`.

mod flags;

use std::net::SocketAddr;
use std::sync::Arc;

use engine::{Address, Carries, Listener};
use model::Config;
use model::entity::Route;

/// What a list of addresses came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    /// The listeners.
    pub list: Vec<Listener>,
    /// Parts that are understood but not honoured.
    pub warnings: Vec<String>,
}

/// Reads a comma-separated list of addresses with flags; `off` is none.
///
/// # Errors
/// What is wrong, naming `setting`.
pub fn parse(setting: &str, text: &str) -> Result<Listeners, String> {
    parse_for(Carries::Requests, setting, text)
}

/// Reads the list of addresses for streams, of which some may be for datagrams.
///
/// # Errors
/// What is wrong, naming `setting`.
pub fn parse_streams(setting: &str, text: &str) -> Result<Listeners, String> {
    let listeners = parse_for(Carries::Connections, setting, text)?;
    match listeners.list.iter().find_map(flags::not_with_datagrams) {
        Some((address, flag)) => Err(format!("{setting}: '{flag}' of {address} does not go with 'udp'")),
        None => Ok(listeners),
    }
}

fn parse_for(carries: Carries, setting: &str, text: &str) -> Result<Listeners, String> {
    let mut listeners = Listeners::default();
    if text.trim() == "off" {
        return Ok(listeners);
    }
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        parse_one(carries, setting, item, &mut listeners)?;
    }
    if listeners.list.is_empty() && listeners.warnings.is_empty() {
        return Err(format!("{setting}: no address given; write one like 0.0.0.0:8000, or 'off'"));
    }
    Ok(listeners)
}

fn parse_one(carries: Carries, setting: &str, item: &str, listeners: &mut Listeners) -> Result<(), String> {
    let mut words = item.split_whitespace();
    let address = address(setting, words.next().unwrap_or_default())?;
    let mut listener = Listener::new(address, carries);
    for flag in words {
        flags::set(&mut listener, carries, flag)
            .map_err(|why| format!("{setting}: '{flag}' of {} {why}", listener.address))?;
    }
    let idle = item.split_whitespace().skip(1).filter_map(|flag| Some((flag, flags::idle(&listener, flag)?)));
    let told =
        |(flag, why)| format!("{setting}: flag '{flag}' of {} changes nothing: {why}", listener.address);
    listeners.warnings.extend(idle.map(told));
    listeners.list.push(listener);
    Ok(())
}

/// What a listener is announced as.
pub fn announced(listener: &Listener) -> &'static str {
    match (listener.carries, listener.tls) {
        (Carries::Requests, false) => "proxy http",
        (Carries::Requests, true) => "proxy https",
        (Carries::Connections, false) => "stream tcp",
        (Carries::Connections, true) => "stream tls",
        (Carries::Datagrams, _) => "stream udp",
    }
}

/// What to say about routes that no listener leads to.
pub fn unheard(config: &Config, announced: &[&str]) -> Option<String> {
    let heard_at = |protocol: &str| -> &[&str] {
        match protocol {
            "tcp" => &["stream tcp"],
            "tls" => &["stream tls"],
            "tls_passthrough" => &["stream tls", "stream tcp"],
            "udp" => &["stream udp"],
            _ => &[],
        }
    };
    let is_of_streams =
        |route: &&Arc<Route>| route.protocols.iter().any(|protocol| !heard_at(protocol).is_empty());
    let is_heard = |route: &&Arc<Route>| {
        let mut places = route.protocols.iter().flat_map(|protocol| heard_at(protocol));
        places.any(|place| announced.contains(place))
    };
    let count = config.routes.iter().filter(is_of_streams).filter(|route| !is_heard(route)).count();
    let message = format!("routes of tcp, tls or udp that no address of --stream-listen leads to: {count}");
    (count > 0).then_some(message)
}

/// The option that says where a listener listens.
pub fn option(listener: &Listener) -> &'static str {
    if listener.carries == Carries::Requests { "--proxy-listen" } else { "--stream-listen" }
}

/// Reads one address.
///
/// # Errors
/// That it is none, naming `setting`.
pub fn address(setting: &str, text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        // What is relative to a folder cannot be found again by the processes to come.
        let path = std::path::absolute(path).map_err(|error| format!("{setting}: '{text}': {error}"))?;
        return Ok(Address::Unix(path));
    }
    let address: Result<SocketAddr, _> = text.replace("localhost", "127.0.0.1").parse();
    address.map(Address::Inet).map_err(|_| {
        format!("{setting}: '{text}' is not an address; write one like 0.0.0.0:8000, [::]:8000 or unix:/run/x.sock")
    })
}

fn not_listened_on(setting: &str, address: &Address, flag: &str) -> String {
    format!("{setting}: {address} is not listened on: '{flag}' is not available yet")
}

/// Reads the listeners of the Admin API or of the status listener. Those that ask for what only clients of the proxy get
/// are left out.
///
/// # Errors
/// What is wrong, naming `setting`.
pub fn parse_control(setting: &str, text: &str) -> Result<Listeners, String> {
    let listeners = parse(setting, text)?;
    let mut kept = Listeners { list: Vec::new(), warnings: listeners.warnings };
    for listener in listeners.list {
        let address = listener.address.clone();
        match listener {
            Listener { http2: true, tls: false, .. } => {
                return Err(format!(
                    "{setting}: 'http2' of {address} needs 'ssl': HTTP/2 is agreed on in the handshake"
                ));
            }
            Listener { proxied: true, .. } => {
                kept.warnings.push(not_listened_on(setting, &address, "proxy_protocol"));
            }
            Listener { address: Address::Unix(_), .. } => {
                kept.warnings.push(not_listened_on(setting, &address, "unix:"));
            }
            listener => kept.list.push(listener),
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kongs_own_default_is_read_and_what_is_not_spoken_there_is_named() {
        let text = "0.0.0.0:8000 reuseport backlog=16384, 0.0.0.0:8443 http2 ssl reuseport backlog=16384";
        let listeners = parse("proxy_listen", text).unwrap();
        let listener = |address: &str, modern| Listener {
            tls: modern,
            http2: modern,
            ..Listener::new(Address::Inet(address.parse().unwrap()), Carries::Requests)
        };
        let [clear, secure] = [listener("0.0.0.0:8000", false), listener("0.0.0.0:8443", true)];
        assert_eq!(listeners.list, [clear, secure]);
        assert!(listeners.warnings.is_empty(), "{:?}", listeners.warnings);
        assert_eq!(parse_control("admin_listen", text), Ok(listeners));
        let proxied = parse_control("admin_listen", "127.0.0.1:1 proxy_protocol").unwrap();
        assert!(proxied.list.is_empty());
        assert!(proxied.warnings[0].contains("127.0.0.1:1 is not listened on: 'proxy_protocol'"));
        let error = parse_control("admin_listen", "127.0.0.1:2 http2").unwrap_err();
        assert!(error.starts_with("admin_listen: 'http2' of 127.0.0.1:2 needs 'ssl'"), "{error}");
    }

    #[test]
    fn routes_that_are_not_listened_for_are_counted() {
        let document = "{_format_version: '3.0', routes: [{paths: [/]}, \
             {protocols: [tcp, tls], sources: [{port: 1}]}, {protocols: [udp], sources: [{port: 1}]}, \
             {protocols: [tls_passthrough], snis: [a.test]}]}";
        let config = model::declarative::load("kong.yml", document, &model::Catalog::default()).unwrap();
        let count = |announced: &[&str]| {
            let told = unheard(&config, announced).map(|told| told.rsplit_once(' ').unwrap().1.to_owned());
            told.map_or(0, |count| count.parse().unwrap())
        };
        assert_eq!(count(&["proxy http"]), 3);
        assert_eq!(count(&["stream tcp"]), 1);
        assert_eq!(count(&["stream udp", "stream tls"]), 0);
        let empty =
            model::declarative::load("kong.yml", "{_format_version: '3.0'}", &model::Catalog::default());
        assert_eq!(unheard(&empty.unwrap(), &[]), None);
    }

    #[test]
    fn streams_have_flags_of_their_own() {
        let text = "127.0.0.1:9053 udp reuseport, 0.0.0.0:9000 backlog=7 proxy_protocol, [::1]:9443 ssl bind";
        let list = parse_streams("stream_listen", text).unwrap().list;
        let port = |one: &Listener| one.address.inet().unwrap().port();
        let shown: Vec<_> = list.iter().map(|one| (port(one), one.carries, one.tls)).collect();
        let (connections, datagrams) = (Carries::Connections, Carries::Datagrams);
        assert_eq!(shown, [(9053, datagrams, false), (9000, connections, false), (9443, connections, true)]);
        assert!(list[1].proxied && list[1].options.backlog == 7);
        assert_eq!(parse_streams("stream_listen", "off").unwrap(), Listeners::default());
        for wrong in [
            "127.0.0.1:1 udp ssl",
            "127.0.0.1:1 udp proxy_protocol",
            "unix:/run/x.sock udp",
            "127.0.0.1:1 http2",
            "127.0.0.1:1 deferred",
        ] {
            let error = parse_streams("stream_listen", wrong).unwrap_err();
            assert!(error.starts_with("stream_listen: "), "{wrong}: {error}");
        }
        assert!(parse("proxy_listen", "127.0.0.1:1 udp").unwrap_err().contains("'udp'"));
    }

    #[test]
    fn what_is_not_an_address_is_refused_by_name() {
        for wrong in ["8000", "host:port", "1.2.3.4:99999", "1.2.3.4:80 fast", "", "1.2.3.4:80 backlog=many"]
        {
            let error = parse("admin_listen", wrong).unwrap_err();
            assert!(error.starts_with("admin_listen: "), "{wrong}: {error}");
        }
        assert_eq!(parse("admin_listen", "off").unwrap(), Listeners::default());
    }
}
