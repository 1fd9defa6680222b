//! Addresses to listen on, written as Kong writes them: `0.0.0.0:8000 reuseport backlog=16384, [::1]:8000`.

use std::net::SocketAddr;

use engine::Listener;

/// Connections the kernel may hold before they are accepted, unless `backlog=` says otherwise.
const DEFAULT_BACKLOG: i32 = 16_384;

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
    let mut listeners = Listeners::default();
    if text.trim() == "off" {
        return Ok(listeners);
    }
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        parse_one(setting, item, &mut listeners)?;
    }
    if listeners.list.is_empty() && listeners.warnings.is_empty() {
        return Err(format!("{setting}: no address given; write one like 0.0.0.0:8000, or 'off'"));
    }
    Ok(listeners)
}

fn parse_one(setting: &str, item: &str, listeners: &mut Listeners) -> Result<(), String> {
    let mut words = item.split_whitespace();
    let address = words.next().unwrap_or_default();
    let wrong =
        || format!("{setting}: '{address}' is not an address; write one like 0.0.0.0:8000 or [::]:8000");
    let address: SocketAddr = address.replace("localhost", "127.0.0.1").parse().map_err(|_| wrong())?;
    let mut listener =
        Listener { address, backlog: DEFAULT_BACKLOG, tls: false, http2: false, proxied: false };
    for flag in words {
        match flag.split_once('=') {
            Some(("backlog", count)) => {
                listener.backlog = count
                    .parse()
                    .map_err(|_| format!("{setting}: backlog='{count}' of {address} is not a number"))?;
            }
            None if matches!(flag, "reuseport" | "deferred" | "bind") => {}
            None if flag == "ssl" => listener.tls = true,
            None if flag == "http2" => listener.http2 = true,
            None if flag == "proxy_protocol" => listener.proxied = true,
            _ if flag.starts_with("so_keepalive") || flag.starts_with("ipv6only") => {
                listeners.warnings.push(format!("{setting}: flag '{flag}' of {address} is not honoured"));
            }
            _ => return Err(format!("{setting}: '{flag}' of {address} is not a flag of a listener")),
        }
    }
    listeners.list.push(listener);
    Ok(())
}

fn not_listened_on(setting: &str, address: SocketAddr, flag: &str) -> String {
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
        let address = listener.address;
        match listener {
            Listener { http2: true, tls: false, .. } => {
                return Err(format!(
                    "{setting}: 'http2' of {address} needs 'ssl': HTTP/2 is agreed on in the handshake"
                ));
            }
            Listener { proxied: true, .. } => {
                kept.warnings.push(not_listened_on(setting, address, "proxy_protocol"));
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
            address: address.parse().unwrap(),
            backlog: 16_384,
            tls: modern,
            http2: modern,
            proxied: false,
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
    fn what_is_not_an_address_is_refused_by_name() {
        for wrong in ["8000", "host:port", "1.2.3.4:99999", "1.2.3.4:80 fast", "", "1.2.3.4:80 backlog=many"]
        {
            let error = parse("admin_listen", wrong).unwrap_err();
            assert!(error.starts_with("admin_listen: "), "{wrong}: {error}");
        }
        assert_eq!(parse("admin_listen", "off").unwrap(), Listeners::default());
    }
}
