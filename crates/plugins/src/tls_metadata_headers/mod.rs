#![doc = include_str!("doc.md")]

use std::sync::Arc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plugin::certificate::Remembered;
use plugin::identity::OwnFields;
use plugin::model::revocation::Particulars;
use plugin::model::subject::Subject;
use plugin::{Access, Build, BuildError, Flow, Headers, Phase, Phases, Plugin, Scopes, record};

#[cfg(test)]
mod tests;

record! {
    /// Tells the upstream which certificate a client has shown.
    pub struct Config {
        /// Whether the upstream is told. Without it, the plugin does nothing.
        inject_client_cert_details: bool = false;
        /// The header for the certificate itself: PEM, percent-encoded.
        client_cert_header_name: String = "X-Client-Cert", [header_name(), len_min(1)];
        /// The header for its serial number, in hexadecimal digits.
        client_serial_header_name: String = "X-Client-Cert-Serial", [header_name(), len_min(1)];
        /// The header for the distinguished name of its issuer.
        client_cert_issuer_dn_header_name: String = "X-Client-Cert-Issuer-DN", [header_name(), len_min(1)];
        /// The header for the distinguished name of its subject.
        client_cert_subject_dn_header_name: String = "X-Client-Cert-Subject-DN", [header_name(), len_min(1)];
        /// The header for its fingerprint: SHA-1, in hexadecimal digits.
        client_cert_fingerprint_header_name: String = "X-Client-Cert-Fingerprint", [header_name(), len_min(1)];
    }
}

/// The room, ready to run.
pub struct TlsMetadataHeaders {
    config: Config,
    /// The headers, which are nobody else's to tell.
    tells: OwnFields,
    /// What is told of certificates that have been seen.
    told: Remembered<Arc<Headers>>,
}

impl Plugin for TlsMetadataHeaders {
    const NAME: &'static str = "tls-metadata-headers";
    const PRIORITY: i64 = 996;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: false, consumer_group: false, route: true, service: true };
    const PROTOCOLS: &'static [&'static str] = &["grpcs", "https"];
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        Ok(Self { tells: OwnFields::new(config.names()), config, told: Remembered::new(cx.services) })
    }
}

impl Phases for TlsMetadataHeaders {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        if !self.config.inject_client_cert_details {
            return Flow::Next;
        }
        cx.forget(&self.tells);
        let tls = cx.client.tls.clone();
        let shown = tls.as_ref().and_then(|tls| tls.certificate.as_ref());
        if let Some(own) = shown.and_then(|shown| shown.chain.first()) {
            let headers = self.headers(cx.worker.index, own);
            cx.headers().append_all(&headers);
        }
        Flow::Next
    }
}

impl TlsMetadataHeaders {
    /// What is told of a certificate in DER form.
    fn headers(&self, worker: usize, own: &[u8]) -> Arc<Headers> {
        // What a certificate says never changes.
        if let Some(known) = self.told.find(worker, &[own], 0) {
            return known;
        }
        let made = Arc::new(self.config.describe(own));
        self.told.remember(worker, &[own], u64::MAX, made.clone());
        made
    }
}

impl Config {
    fn names(&self) -> [&str; 5] {
        [
            &self.client_cert_header_name,
            &self.client_serial_header_name,
            &self.client_cert_issuer_dn_header_name,
            &self.client_cert_subject_dn_header_name,
            &self.client_cert_fingerprint_header_name,
        ]
    }

    /// The headers; those of what cannot be read, or stand in a field, are left out.
    fn describe(&self, own: &[u8]) -> Headers {
        let mut headers = Headers::new();
        headers.set(&self.client_cert_header_name, percent_encoded(&pem(own)).as_bytes());
        if let Some(particulars) = Particulars::of(own) {
            headers.set(
                &self.client_serial_header_name,
                hexadecimal(&particulars.serial).to_ascii_uppercase().as_bytes(),
            );
        }
        if let Some(subject) = Subject::of(own) {
            headers.set(&self.client_cert_issuer_dn_header_name, subject.issuer_name.as_bytes());
            headers.set(&self.client_cert_subject_dn_header_name, subject.distinguished_name.as_bytes());
        }
        let fingerprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, own);
        headers.set(&self.client_cert_fingerprint_header_name, hexadecimal(fingerprint.as_ref()).as_bytes());
        headers
    }
}

/// PEM (RFC 7468).
fn pem(der: &[u8]) -> String {
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

/// As nginx escapes: all but letters, digits and the other characters that are never special (RFC 3986 2.3).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 5 / 4);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
