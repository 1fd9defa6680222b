//! The fields that authentication by certificate has, wherever the certificate comes from.

use model::record;

use crate::build::BuildError;

record! {
    /// How callers are known by their certificate.
    pub struct Fields {
        /// Ids of the `ca_certificates` that are believed about callers. Those that others have signed count as links of
        /// chains, unless `allow_partial_chain` is on.
        ca_certificates: Vec<String>;
        /// Whether a chain may end at any of `ca_certificates`, and not only at one that has signed itself.
        allow_partial_chain: bool = false;
        /// Id or username of a consumer that stands for callers without a certificate that is accepted. Without it they
        /// are refused.
        anonymous: Option<String>;
        /// What of a certificate is the caller's group with `skip_consumer_lookup`: its common name or its whole
        /// distinguished name.
        authenticated_group_by: String = "CN", [one_of(&["CN", "DN"])];
        /// Seconds for which it is remembered who a certificate stands for. Never longer than `cert_cache_ttl`.
        cache_ttl: f64 = 60;
        /// Milliseconds after which a certificate is verified again.
        cert_cache_ttl: f64 = 60000;
        /// Fields of a consumer that a certificate's names are compared with, in this order. Empty: only credentials
        /// count.
        consumer_by: Vec<String> = ["custom_id", "username"], [each(one_of(&["custom_id", "username"]))];
        /// Id or username of the consumer that certificates stand for which are valid and nobody's.
        default_consumer: Option<String>;
        /// A proxy to fetch revocation lists through. Not available: nothing is fetched.
        http_proxy_host: Option<String>;
        /// Its port. Not available.
        http_proxy_port: Option<i64>, [between(0, 65535)];
        /// Milliseconds to fetch a revocation list in. Nothing is fetched: leave it as it is.
        http_timeout: f64 = 30000;
        /// A proxy to fetch revocation lists through under TLS. Not available: nothing is fetched.
        https_proxy_host: Option<String>;
        /// Its port. Not available.
        https_proxy_port: Option<i64>, [between(0, 65535)];
        /// What follows where `crls` say nothing about a certificate, or are out of date: `STRICT` refuses it,
        /// `IGNORE_CA_ERROR` lets it in. `SKIP` does not look into them at all.
        revocation_check_mode: String = "IGNORE_CA_ERROR", [one_of(&["IGNORE_CA_ERROR", "SKIP", "STRICT"])];
        /// Lists of revoked certificates, PEM, one or more in each text. A reference such as `{vault://file/ca.crl}`
        /// takes them from a file, which is read again when it changes.
        crls: Option<Vec<String>>, [extension(), each(referenceable())];
        /// Whether certificates are only verified, and stand for no consumer.
        skip_consumer_lookup: bool = false;
        /// Whether servers of revocation lists are verified. Nothing is fetched: it has no effect.
        ssl_verify: bool = true;
    }
}

impl Fields {
    /// Fields that ask for what there is not.
    pub(super) fn refuse_unavailable(&self) -> Result<(), BuildError> {
        let asked = [
            ("http_proxy_host", self.http_proxy_host.is_some()),
            ("http_proxy_port", self.http_proxy_port.is_some()),
            ("https_proxy_host", self.https_proxy_host.is_some()),
            ("https_proxy_port", self.https_proxy_port.is_some()),
            ("http_timeout", self.http_timeout != 30000.0),
            ("ssl_verify", !self.ssl_verify),
        ];
        if let Some((field, _)) = asked.iter().find(|(_, asked)| *asked) {
            let message = "revocation lists are not fetched and responders not asked; give lists in crls, and remove this field";
            return Err(BuildError::new(format!("config.{field}"), message));
        }
        if self.revocation_check_mode == "STRICT" && self.crls.as_deref().unwrap_or_default().is_empty() {
            let message = "STRICT refuses every certificate without lists in crls, as none are fetched";
            return Err(BuildError::new("config.revocation_check_mode", message));
        }
        Ok(())
    }

    /// How long a judgement holds.
    pub(super) fn lifetime_ms(&self) -> u64 {
        // A number that is negative or none at all is zero then: nothing is remembered.
        (self.cache_ttl * 1000.0).min(self.cert_cache_ttl) as u64
    }
}
