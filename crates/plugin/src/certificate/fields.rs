//! The fields that authentication by certificate has, wherever the certificate comes from.

use model::record;

use crate::build::BuildError;
use crate::outbound::{Proxies, Proxy};

record! {
    /// Which certificates are believed.
    pub struct TrustFields {
        /// Ids of the `ca_certificates` that are believed about callers. Those that others have signed count as links of
        /// chains, unless `allow_partial_chain` is on.
        ca_certificates: Vec<String>;
        /// Whether a chain may end at any of `ca_certificates`, and not only at one that has signed itself.
        allow_partial_chain: bool = false;
        /// Milliseconds after which a certificate is verified again, and it is asked again whether it has been revoked.
        cert_cache_ttl: f64 = 60000;
        /// A proxy through which responders and lists at `http` URLs are asked.
        http_proxy_host: Option<String>;
        /// Its port.
        http_proxy_port: Option<i64>, [between(0, 65535)];
        /// Milliseconds in which a responder has to answer, or a list to be there.
        http_timeout: f64 = 30000;
        /// A proxy through which responders and lists at `https` URLs are asked.
        https_proxy_host: Option<String>;
        /// Its port.
        https_proxy_port: Option<i64>, [between(0, 65535)];
        /// What follows where nobody says whether a certificate has been revoked: `STRICT` refuses it, `IGNORE_CA_ERROR` lets
        /// it in. `SKIP` asks nobody and looks into no list.
        revocation_check_mode: String = "IGNORE_CA_ERROR", [one_of(&["IGNORE_CA_ERROR", "SKIP", "STRICT"])];
        /// Lists of revoked certificates, PEM, one or more in each text. A reference such as `{vault://file/ca.crl}`
        /// takes them from a file, which is read again when it changes.
        crls: Option<Vec<String>>, [extension(), each(referenceable())];
        /// Whether the certificates of responders and of servers with lists are verified, where they are at `https` URLs.
        ssl_verify: bool = true;
    }
}

record! {
    /// How callers are known by their certificate.
    pub struct Fields {
        ..trust: TrustFields;
        /// Id or username of a consumer that stands for callers without a certificate that is accepted. Without it they
        /// are refused.
        anonymous: Option<String>;
        /// What of a certificate is the caller's group with `skip_consumer_lookup`: its common name or its whole
        /// distinguished name.
        authenticated_group_by: String = "CN", [one_of(&["CN", "DN"])];
        /// Seconds for which it is remembered who a certificate stands for. Never longer than `cert_cache_ttl`.
        cache_ttl: f64 = 60;
        /// Fields of a consumer that a certificate's names are compared with, in this order. Empty: only credentials
        /// count.
        consumer_by: Vec<String> = ["custom_id", "username"], [each(one_of(&["custom_id", "username"]))];
        /// Id or username of the consumer that certificates stand for which are valid and nobody's.
        default_consumer: Option<String>;
        /// Whether certificates are only verified, and stand for no consumer.
        skip_consumer_lookup: bool = false;
    }
}

impl TrustFields {
    /// The proxies; `place` is where the fields are.
    pub(super) fn proxies(&self, place: &str) -> Result<Proxies, BuildError> {
        let proxy = |name: &str, host: &Option<String>, port: Option<i64>| match (host, port) {
            (None, None) => Ok(None),
            (Some(host), Some(port @ 1..)) => Ok(Some(Proxy::at(host, u16::try_from(port).unwrap_or(0)))),
            (Some(_), _) => {
                Err(BuildError::new(format!("{place}.{name}_port"), "the proxy needs a port".to_owned()))
            }
            (None, Some(_)) => {
                Err(BuildError::new(format!("{place}.{name}_host"), "the proxy needs a host".to_owned()))
            }
        };
        Ok(Proxies {
            plain: proxy("http_proxy", &self.http_proxy_host, self.http_proxy_port)?,
            secure: proxy("https_proxy", &self.https_proxy_host, self.https_proxy_port)?,
            except: Vec::new(),
        })
    }
}

impl Fields {
    /// How long a judgement holds.
    pub(super) fn lifetime_ms(&self) -> u64 {
        // A number that is negative or none at all is zero then: nothing is remembered.
        (self.cache_ttl * 1000.0).min(self.trust.cert_cache_ttl) as u64
    }
}
