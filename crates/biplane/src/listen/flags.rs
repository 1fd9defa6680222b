//! The flags behind an address.

use std::time::Duration;

use engine::{Address, Carries, Keepalive, Listener};

use crate::settings::duration;

/// The longest time and the most questions that the kernel takes for `so_keepalive`.
const LONGEST: Duration = Duration::from_secs(32_767);
const MOST: u32 = 127;
/// All there are, for who has written another.
const HTTP: &str = "ssl, http2, proxy_protocol, backlog=N, ipv6only=on|off, so_keepalive=on|off|[idle]:[interval]:[count], \
                    reuseport, bind and deferred";
const STREAM: &str = "ssl, udp, proxy_protocol, backlog=N, ipv6only=on|off, so_keepalive=on|off|[idle]:[interval]:[count], \
                      reuseport and bind";

/// Does what a flag says to a listener of a setting for what `carries` says.
///
/// # Errors
/// What is wrong with the flag.
pub fn set(listener: &mut Listener, carries: Carries, flag: &str) -> Result<(), String> {
    let is_http = carries == Carries::Requests;
    match flag.split_once('=').unwrap_or((flag, "")) {
        ("backlog", count) => {
            let count = count.parse().ok().filter(|count| *count > 0);
            listener.options.backlog = count.ok_or("is not a number above 0")?;
        }
        ("ipv6only", switch) => {
            listener.options.only_v6 = Some(is_on(switch).ok_or("is neither 'on' nor 'off'")?);
        }
        ("so_keepalive", what) => listener.options.keepalive = Some(keepalive(what)?),
        _ if matches!(flag, "reuseport" | "bind") => {}
        _ if flag == "deferred" && is_http => {}
        _ if flag == "udp" && !is_http => listener.carries = Carries::Datagrams,
        _ if flag == "ssl" => listener.tls = true,
        _ if flag == "http2" && is_http => listener.http2 = true,
        _ if flag == "proxy_protocol" => listener.proxied = true,
        _ => {
            return Err(format!(
                "is not a flag of a listener; there are {}",
                if is_http { HTTP } else { STREAM }
            ));
        }
    }
    Ok(())
}

/// Why a flag that is right changes nothing at this listener; none if it does, or if all listeners are as it says.
pub fn idle(listener: &Listener, flag: &str) -> Option<&'static str> {
    let at = listener.address.inet();
    match flag.split_once('=').unwrap_or((flag, "")).0 {
        "ipv6only" if !at.is_some_and(|at| at.is_ipv6()) => Some("it is no address of IPv6"),
        "backlog" if listener.carries == Carries::Datagrams => Some("datagrams do not wait to be accepted"),
        "so_keepalive" if at.is_none() => Some("clients at a path are on this machine"),
        "deferred" => {
            Some("connections are taken when they are made; one that says nothing is closed in time")
        }
        _ => None,
    }
}

/// What does not go with datagrams, at a listener for such.
pub fn not_with_datagrams(listener: &Listener) -> Option<(&Address, &'static str)> {
    let Listener { address, options, tls, proxied, carries, .. } = listener;
    let flag = match *carries {
        Carries::Datagrams if *tls => "ssl",
        Carries::Datagrams if *proxied => "proxy_protocol",
        Carries::Datagrams if options.keepalive.is_some() => "so_keepalive",
        Carries::Datagrams if address.inet().is_none() => "unix:",
        _ => return None,
    };
    Some((address, flag))
}

fn is_on(switch: &str) -> Option<bool> {
    match switch {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

/// Reads `on`, `off`, or what nginx calls `[keepidle]:[keepintvl]:[keepcnt]`, of which one at least has to be there.
fn keepalive(text: &str) -> Result<Keepalive, String> {
    if let Some(is_on) = is_on(text) {
        let on = Keepalive::On { idle: None, interval: None, count: None };
        return Ok(if is_on { on } else { Keepalive::Off });
    }
    let parts: Vec<_> = text.split(':').collect();
    let &[idle, interval, count] = parts.as_slice() else {
        return Err("is neither 'on' nor 'off' nor like 30m::10".to_owned());
    };
    let time = |text: &str| {
        let whole = |time: &Duration| time.subsec_nanos() == 0 && !time.is_zero() && *time <= LONGEST;
        let wrong = || format!("has '{text}' where a time from 1s to {}s is wanted", LONGEST.as_secs());
        (!text.is_empty()).then(|| duration(text).filter(whole).ok_or_else(wrong)).transpose()
    };
    let wrong = || format!("has '{count}' where a number from 1 to {MOST} is wanted");
    let number =
        |text: &str| text.parse().ok().filter(|number| (1..=MOST).contains(number)).ok_or_else(wrong);
    let count = (!count.is_empty()).then(|| number(count)).transpose()?;
    match (time(idle)?, time(interval)?, count) {
        (None, None, None) => Err("gives nothing; write 'on' for the system's times".to_owned()),
        (idle, interval, count) => Ok(Keepalive::On { idle, interval, count }),
    }
}

#[cfg(test)]
mod tests {
    use engine::SocketOptions;

    use super::super::{parse, parse_control, parse_streams};
    use super::*;

    fn options(text: &str) -> SocketOptions {
        parse("proxy_listen", text).unwrap().list[0].options
    }

    #[test]
    fn what_the_kernel_is_to_do_is_read() {
        let [half_an_hour, second] = [1800, 1].map(Duration::from_secs);
        let on = |idle, interval, count| Some(Keepalive::On { idle, interval, count });
        for (flag, keepalive) in [
            ("so_keepalive=on", on(None, None, None)),
            ("so_keepalive=off", Some(Keepalive::Off)),
            ("so_keepalive=30m::10", on(Some(half_an_hour), None, Some(10))),
            ("so_keepalive=:1:", on(None, Some(second), None)),
            ("so_keepalive=1800:1s:127", on(Some(half_an_hour), Some(second), Some(127))),
            ("reuseport", None),
        ] {
            assert_eq!(options(&format!("0.0.0.0:8000 {flag}")).keepalive, keepalive, "{flag}");
        }
        for (flag, only_v6) in [("ipv6only=on", Some(true)), ("ipv6only=off", Some(false)), ("bind", None)] {
            assert_eq!(options(&format!("[::]:8000 {flag}")).only_v6, only_v6, "{flag}");
        }
        let both = "[::]:9000 ipv6only=off so_keepalive=on";
        let stream = parse_streams("stream_listen", both).unwrap();
        let control = parse_control("admin_listen", both).unwrap();
        for found in [stream, control] {
            assert_eq!((found.list[0].options, found.warnings), (options(both), Vec::new()));
        }
    }

    #[test]
    fn what_the_kernel_does_not_take_is_refused_with_its_bounds() {
        for (flag, why) in [
            ("ipv6only=yes", "neither 'on' nor 'off'"),
            ("ipv6only", "neither 'on' nor 'off'"),
            ("so_keepalive", "like 30m::10"),
            ("so_keepalive=30m", "like 30m::10"),
            ("so_keepalive=::", "gives nothing"),
            ("so_keepalive=500ms::", "'500ms' where a time from 1s to 32767s"),
            ("so_keepalive=:10h:", "'10h' where a time from 1s to 32767s"),
            ("so_keepalive=0::", "'0' where a time"),
            ("so_keepalive=::128", "'128' where a number from 1 to 127"),
            ("so_keepalive=::0", "'0' where a number"),
            ("backlog=0", "not a number above 0"),
            ("fastopen=3", "there are ssl, http2"),
            ("ssl=on", "there are ssl, http2"),
        ] {
            let error = parse("proxy_listen", &format!("[::]:8000 {flag}")).unwrap_err();
            assert!(error.starts_with(&format!("proxy_listen: '{flag}' of [::]:8000 ")), "{error}");
            assert!(error.contains(why), "{flag}: {error}");
        }
        let error = parse_streams("stream_listen", "[::]:53 udp so_keepalive=on").unwrap_err();
        assert!(error.contains("'so_keepalive' of [::]:53 does not go with 'udp'"), "{error}");
    }

    #[test]
    fn a_flag_that_changes_nothing_is_told() {
        for (item, why) in [
            (
                "0.0.0.0:8000 ipv6only=on",
                "'ipv6only=on' of 0.0.0.0:8000 changes nothing: it is no address of IPv6",
            ),
            ("unix:/run/x.sock so_keepalive=on", "clients at a path"),
            ("0.0.0.0:8000 deferred", "one that says nothing is closed in time"),
        ] {
            let listeners = parse("proxy_listen", item).unwrap();
            assert!(matches!(listeners.warnings.as_slice(), [told] if told.contains(why)), "{listeners:?}");
        }
        let quiet = "[::]:8000 ipv6only=on so_keepalive=on reuseport bind backlog=5";
        assert!(parse("proxy_listen", quiet).unwrap().warnings.is_empty());
    }
}
