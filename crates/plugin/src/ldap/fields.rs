//! The fields that rooms have in common which ask a directory.

use std::time::Duration;

use model::record;

use super::{Account, Security, Server};
use crate::build::BuildError;
use crate::lockout::Protection;

record! {
    /// How callers are known by a directory.
    pub struct Fields {
        /// Name or address of the directory, also the one that its certificate must have.
        ldap_host: String, [len_min(1)];
        /// Connect over TLS.
        ldaps: bool = false;
        /// Connect without TLS and begin it then (STARTTLS).
        start_tls: bool = false;
        /// Check the directory's certificate by the authorities of `KONG_LUA_SSL_TRUSTED_CERTIFICATE`.
        verify_ldap_host: bool = true;
        /// Distinguished name below which users are.
        base_dn: String, [len_min(1)];
        /// Attribute that holds usernames, as in `uid=alice,ou=people,dc=example,dc=com`.
        attribute: String, [matches("^[A-Za-z][A-Za-z0-9-]*$|^[0-9]+([.][0-9]+)+$")];
        /// Seconds for which a password that the directory knows is not asked about again; 0 asks with every request.
        cache_ttl: f64 = 60, [between(0, 31_536_000)];
        /// Whether the credentials are taken out of the request before it goes upstream.
        hide_credentials: bool = true;
        /// Milliseconds for a question and its answer, connecting included.
        timeout: f64 = 10000, [gt(0)];
        /// Milliseconds for which a connection is kept without a question.
        keepalive: f64 = 60000, [between(0, 2_147_483_646)];
        /// Scheme of the credentials: `ldap`, or `basic` for clients that know no other.
        header_type: String = "ldap", [matches("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")];
        /// Protection space named in the `WWW-Authenticate` header of a refusal.
        realm: Option<String>, [matches(r#"^[^"\\[:cntrl:]]*$"#)];
        /// What happens to who fails again and again.
        brute_force_protection: Protection, [extension()];
    }
}

impl Fields {
    /// Where the directory is; `account` is who searches there.
    ///
    /// # Errors
    /// TLS that is wanted in two ways.
    pub fn server(&self, port: u16, account: Option<Account>) -> Result<Server, BuildError> {
        let security = match (self.ldaps, self.start_tls) {
            (true, true) => {
                let message = "TLS begins at once with ldaps: set one of ldaps and start_tls to false";
                return Err(BuildError::new("config.start_tls", message));
            }
            (true, false) => Security::Tls,
            (false, true) => Security::StartTls,
            (false, false) => Security::Plain,
        };
        Ok(Server {
            host: self.ldap_host.clone(),
            port,
            security,
            verify: self.verify_ldap_host,
            timeout: Duration::from_millis((self.timeout as u64).max(1)),
            keepalive: Duration::from_millis(self.keepalive as u64),
            account,
        })
    }

    /// The field that asks for TLS, for what is wrong with it.
    #[must_use]
    pub fn tls_field(&self) -> &'static str {
        if self.ldaps { "config.ldaps" } else { "config.start_tls" }
    }
}
