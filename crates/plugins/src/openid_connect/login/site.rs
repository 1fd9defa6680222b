//! Whether browsers take the provider and the gateway for one site, where the cookie of logins is for one site alone (RFC 6265bis
//! 5.2). Without a list of public suffixes, only some addresses are known to be of different sites; of others nothing is said.

use std::net::IpAddr;

use plugin::Build;

use super::super::config::Config;
use super::super::http::host;

/// Warns of a cookie that no browser would send on the way back.
pub(super) fn warn(config: &Config, cx: &Build<'_>) {
    let login = &config.login;
    let back = login.redirect_uri.iter().flatten().next();
    let there = login.authorization_endpoint.as_ref().unwrap_or(&config.provider.issuer);
    if login.authorization_cookie_same_site == "Strict" && back.is_some_and(|back| are_apart(back, there)) {
        tracing::warn!(
            plugin = cx.row.name,
            "the provider is of another site than 'redirect_uri': with authorization_cookie_same_site 'Strict' no login ends"
        );
    }
}

/// Whether two addresses are of different sites for sure: by their schemes, or as not even the last two labels of their hosts
/// are the same.
fn are_apart(one: &str, other: &str) -> bool {
    let scheme = |address: &str| address.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let (Some(scheme_of_one), Some(scheme_of_other)) = (scheme(one), scheme(other)) else { return false };
    let hosts = [one, other].map(|address| host(address).to_ascii_lowercase());
    if scheme_of_one != scheme_of_other || hosts[0] == hosts[1] {
        return scheme_of_one != scheme_of_other;
    }
    let has_site = |host: &String| host.parse::<IpAddr>().is_err() && host.contains('.');
    let [end, end_of_other] = [&hosts[0], &hosts[1]].map(|host| host.rsplit('.').take(2).collect::<Vec<_>>());
    !hosts.iter().all(has_site) || end != end_of_other
}

#[cfg(test)]
mod tests {
    use super::are_apart;

    #[test]
    fn only_addresses_that_are_of_different_sites_for_sure_are_told_apart() {
        for (one, other, apart) in [
            ("https://shop.test/in", "https://login.shop.test/realm", false),
            ("https://shop.test:8443/in", "https://LOGIN.shop.test", false),
            ("http://localhost:8000/shop", "http://localhost:8080", false),
            // These may be, as co.uk is a public suffix, but it is not known here.
            ("https://a.co.uk", "https://b.co.uk", false),
            ("http://shop.test/in", "https://shop.test", true),
            ("https://shop.test/in", "https://login.test", true),
            ("http://localhost:8000/in", "http://127.0.0.1:8080", true),
            ("http://10.0.0.1/in", "http://11.0.0.1", true),
            ("http://[::1]:8000/in", "http://[::2]:8080", true),
            ("http://[::1]:8000/in", "http://[::1]:8080", false),
            ("a name", "http://shop.test", false),
        ] {
            assert_eq!(are_apart(one, other), apart, "{one} {other}");
            assert_eq!(are_apart(other, one), apart, "{other} {one}");
        }
    }
}
