//! Certificates: what the gateway shows to clients, and to services that ask.

use serde_json::Value;

use crate::pem::{Certificate as X509, PrivateKey};
use crate::schema::Faults;

crate::entity! {
    /// A certificate with its private key, and for another key type a second pair.
    pub struct Certificate in "certificates" {
        /// The certificate chain, PEM.
        cert: String, [referenceable(), pem_certificate()];
        /// Its private key, PEM.
        key: String, [referenceable(), encrypted(), pem_key()];
        /// A second chain, of another key type.
        cert_alt: Option<String>, [referenceable(), pem_certificate()];
        /// The second private key.
        key_alt: Option<String>, [referenceable(), encrypted(), pem_key()];
    }
    checks: [mutually_required(&["cert_alt", "key_alt"]), custom_fields(check_pairs)]
}

/// Each certificate belongs to its key, and both pairs are of different types. What a vault holds is not looked at.
fn check_pairs(record: &Value, faults: &mut Faults) {
    let certificate = |field: &str| X509::first(record[field].as_str()?);
    let key = |field: &str| PrivateKey::first(record[field].as_str()?).ok();
    let (cert, cert_alt) = (certificate("cert"), certificate("cert_alt"));
    for (cert, key, message) in [
        (&cert, key("key"), "certificate does not match key"),
        (&cert_alt, key("key_alt"), "alternative certificate does not match key"),
    ] {
        if let (Some(cert), Some(key)) = (cert, key)
            && cert.belongs_to_another(&key)
        {
            faults.record(message);
        }
    }
    if let (Some(cert), Some(cert_alt)) = (cert, cert_alt)
        && cert.key_type() == cert_alt.key_type()
    {
        faults.record(format!(
            "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), the provided certificates were both of the same type '{}'",
            cert.key_type()
        ));
    }
}
