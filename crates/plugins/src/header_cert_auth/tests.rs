//! Certificates in headers: from whom, in which form. How they are judged is tested with mtls-auth, which shares it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plugin::harness::certificates::{self, Authority, client_params, signed};
use plugin::harness::{Harness, Outcome};
use plugin::model::serde_json::json;
use plugin::room;
use rcgen::Certificate;

use super::{Header, HeaderCertAuth};

const ROOT: &str = "11111111-1111-4111-8111-111111111111";

fn authority() -> Authority {
    certificates::authority("root.test")
}

fn leaf(authority: &Authority) -> Certificate {
    signed(&client_params("alice", &[]), authority)
}

fn harness(authority: &Authority, format: &str, rest: &str) -> Harness {
    let document = format!(
        "_format_version: '3.0'
ca_certificates: [{{id: {ROOT}, cert: {}}}]
consumers:
- {{username: alice}}
- {{username: carol, header_cert_auth_credentials: [{{subject_name: alice, ca_certificate: {ROOT}}}]}}
plugins:
- name: header-cert-auth
  config: {{ca_certificates: [{ROOT}], certificate_header_name: X-Cert, certificate_header_format: {format}{rest}}}
",
        json!(authority.pem())
    );
    let mut harness = Harness::new(room::<HeaderCertAuth>(), &document).unwrap();
    harness.trusted = true;
    harness
}

fn send(harness: &mut Harness, value: &str) -> Outcome {
    harness.send(&format!("GET / HTTP/1.1\nX-Cert: {value}\n\n"))
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || byte == b'+' {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[test]
fn a_certificate_is_read_in_each_form() {
    let authority = authority();
    let leaf = leaf(&authority);
    let chain = percent_encoded(&(leaf.pem() + &authority.pem()));
    let der = STANDARD.encode(leaf.der());
    for (format, value) in [
        ("url_encoded", percent_encoded(&leaf.pem())),
        ("url_encoded", chain),
        ("base64_encoded", der.clone()),
        ("base64_encoded", format!(":{der}:")),
        ("base64_encoded", STANDARD.encode(leaf.pem())),
    ] {
        let outcome = send(&mut harness(&authority, format, ""), &value);
        assert_eq!(outcome.status, 200, "{format}: {:?}", outcome.message);
        assert_eq!(
            outcome.upstream_header("X-Consumer-Username").as_deref(),
            Some("carol"),
            "by its credential"
        );
        assert_eq!(outcome.upstream_header("X-Client-Cert-Dn").as_deref(), Some("CN=alice"));
    }
}

#[test]
fn only_a_trusted_peer_is_believed_unless_told_otherwise() {
    let authority = authority();
    let value = percent_encoded(&leaf(&authority).pem());
    let mut harness = harness(&authority, "url_encoded", "");
    harness.trusted = false;
    let outcome = send(&mut harness, &value);
    assert_eq!(outcome.message.as_deref(), Some("No required TLS certificate was sent"));
    let mut open = self::harness(&authority, "url_encoded", ", secure_source: false");
    open.trusted = false;
    assert_eq!(send(&mut open, &value).status, 200);
}

#[test]
fn what_cannot_be_read_or_believed_is_refused() {
    let (authority, other) = (authority(), authority());
    let good = percent_encoded(&leaf(&authority).pem());
    let mut harness = harness(&authority, "url_encoded", "");
    let of_another = percent_encoded(&leaf(&other).pem());
    for value in [of_another.as_str(), "%", "%4", "%zz", "nonsense", &good[..good.len() / 2]] {
        let outcome = send(&mut harness, value);
        assert_eq!(outcome.message.as_deref(), Some("TLS certificate failed verification"), "{value}");
    }
    let twice = format!("GET / HTTP/1.1\nX-Cert: {good}\nX-Cert: {good}\n\n");
    assert_eq!(harness.send(&twice).message.as_deref(), Some("TLS certificate failed verification"));
    for request in ["GET / HTTP/1.1\n\n", "GET / HTTP/1.1\nX-Cert:\n\n"] {
        let outcome = harness.send(request);
        assert_eq!(outcome.message.as_deref(), Some("No required TLS certificate was sent"));
    }
    assert_eq!(send(&mut harness, &good).status, 200);
}

#[test]
fn no_value_makes_it_panic() {
    let pem = leaf(&authority()).pem();
    let (url, base64) = (percent_encoded(&pem), STANDARD.encode(&pem));
    for (format, text) in [("url_encoded", url), ("base64_encoded", base64)] {
        let header = Header::new("X-Cert", format, true);
        let text = text.into_bytes();
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] = changed[at].wrapping_add(13);
            let _ = header.chain(&changed);
            let _ = header.chain(&text[..at]);
        }
    }
}
