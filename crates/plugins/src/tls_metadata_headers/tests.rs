//! What an upstream is told of certificates, and that clients cannot tell it themselves.

use plugin::harness::certificates::{authority, client_params, handshake, signed};
use plugin::harness::{Harness, Outcome};
use rcgen::{DistinguishedName, DnType, SerialNumber};

use super::{TlsMetadataHeaders, hexadecimal};

const NAMES: [&str; 5] = [
    "X-Client-Cert",
    "X-Client-Cert-Serial",
    "X-Client-Cert-Issuer-DN",
    "X-Client-Cert-Subject-DN",
    "X-Client-Cert-Fingerprint",
];

fn certificate() -> Vec<u8> {
    let mut params = client_params("alice", &[]);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Shop");
    params.distinguished_name.push(DnType::CommonName, "alice");
    params.serial_number = Some(SerialNumber::from(vec![0x0a, 0xbc]));
    signed(&params, &authority("ca.test")).der().to_vec()
}

fn send(config: &str, shown: Option<&[u8]>) -> Outcome {
    let harness = Harness::global(plugin::room::<TlsMetadataHeaders>(), config).unwrap();
    let mut harness = harness.trailing(&["X-Own", "x_client_cert"]).trailing(&NAMES);
    harness.tls = Some(handshake(shown));
    let forged: String = NAMES.iter().map(|name| format!("{name}: forged\n")).collect();
    harness.send(&format!("GET / HTTP/1.1\n{forged}X-Own: 1\n\n"));
    harness.send(&format!("GET / HTTP/1.1\n{forged}X-Own: 1\n\n"))
}

const INJECT: &str = "{inject_client_cert_details: true}";

#[test]
fn the_upstream_is_told_what_a_certificate_says() {
    let own = certificate();
    let outcome = send(INJECT, Some(&own));
    let [certificate, serial, issuer, subject, fingerprint] =
        NAMES.map(|name| outcome.upstream_header(name).unwrap_or_default());
    assert_eq!((&*serial, &*issuer, &*subject), ("0ABC", "CN=ca.test", "CN=alice,O=Shop"));
    let sha1 = super::digest(&super::SHA1_FOR_LEGACY_USE_ONLY, &own);
    assert_eq!(fingerprint, hexadecimal(sha1.as_ref()));
    let text = certificate.replace("%0A", "\n").replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    let chain = plugin::certificate::chain_of_pem(text.replace("%20", " ").as_bytes());
    assert_eq!(chain, Some(vec![own]));
}

#[test]
fn nobody_else_tells_it() {
    let outcome = send(INJECT, None);
    assert!(NAMES.iter().all(|name| outcome.upstream_header(name).is_none()));
    assert_eq!(outcome.upstream_header("X-Own").as_deref(), Some("1"));
    assert_eq!(outcome.trailer_names(), ["X-Own"]);
    let outcome = send(INJECT, Some(b"no certificate"));
    for name in &NAMES[1..4] {
        assert_eq!(outcome.upstream_header(name), None);
    }
    let off = send("{}", Some(&certificate()));
    assert_eq!(off.upstream_header(NAMES[1]).as_deref(), Some("forged"), "it does nothing at all");
    assert_eq!(off.trailer_names().len(), 2 + NAMES.len());
}

#[test]
fn headers_have_the_names_that_are_given() {
    let outcome =
        send("{inject_client_cert_details: true, client_serial_header_name: X-Number}", Some(&certificate()));
    assert_eq!(outcome.upstream_header("X-Number").as_deref(), Some("0ABC"));
}
