//! CA certificates: whom the gateway trusts.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::pem::Certificate;

crate::entity! {
    /// A certificate authority that may be trusted.
    pub struct CaCertificate in "ca_certificates" {
        /// The one certificate, PEM.
        cert: String, [pem_single_certificate()];
        /// The SHA-256 digest of the certificate, hexadecimal.
        cert_digest: Option<String>, [unique(), matches("^[0-9a-fA-F]{64}$")];
    }
    admin: ("ca_certificates", "ca_certificates")
    cache_key: ["cert_digest"]
    checks: [custom(check_authority)]
}

fn check_authority(record: &Value) -> Result<(), String> {
    let Some(certificate) = record["cert"].as_str().and_then(Certificate::first) else { return Ok(()) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if certificate.is_expired(now) {
        return Err("certificate expired, \"Not After\" time is in the past".to_owned());
    }
    if !certificate.is_authority() {
        return Err(
            "certificate does not appear to be a CA because it is missing the \"CA\" basic constraint"
                .to_owned(),
        );
    }
    Ok(())
}
