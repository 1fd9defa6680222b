//! Certificates, their keys and authorities in a document.

use serde_json::json;

use super::tests::{faults, good};

/// A file of `testdata/certificates`, as a JSON string, which is also YAML.
macro_rules! file {
    ($name:literal) => {
        json!(include_str!(concat!("../../testdata/certificates/", $name)))
    };
}

#[test]
fn certificates_and_authorities_load() {
    let text = format!(
        "_format_version: '3.0'\ncertificates:\n- cert: {}\n  key: {}\n  cert_alt: {}\n  key_alt: {}\n  snis: [{{name: a.test}}, {{name: '*.b.test'}}]\nca_certificates: [{{cert: {}}}]\n",
        file!("ec.crt"),
        file!("ec-sec1.key"),
        file!("rsa.crt"),
        file!("rsa.key"),
        file!("ca.crt"),
    );
    let config = good(&text);
    assert_eq!((config.snis.len(), config.snis[0].certificate.0), (2, config.certificates[0].id));
    let authority = &config.ca_certificates[0];
    let digest = "4dd65f439410b8fa3af7789129e27d230f0dea90e4cc129b3390f82ec3b9c03c";
    assert_eq!(authority.cert_digest.as_deref(), Some(digest));
    assert_eq!(good(&text).ca_certificates[0].id, authority.id, "the digest says who it is");
}

#[test]
fn what_is_no_certificate_or_key_is_refused_at_its_place() {
    let broken = json!("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    let found =
        faults(&format!("certificates: [{{cert: {broken}, key: y}}]\nca_certificates: [{{cert: x}}]\n"));
    assert!(found[0].starts_with("2:23 certificates[0].cert: invalid certificate: ASN.1"), "{found:?}");
    assert!(
        found[1].ends_with(" certificates[0].key: invalid key: no PEM block 'PRIVATE KEY' found"),
        "{found:?}"
    );
    assert_eq!(
        found[2],
        "3:26 ca_certificates[0].cert: invalid certificate: no PEM block 'CERTIFICATE' found"
    );
    assert_eq!(found.len(), 3);
    let two = json!([file!("ca.crt").as_str(), file!("ec.crt").as_str()].map(Option::unwrap).concat());
    assert_eq!(
        faults(&format!("ca_certificates: [{{cert: {two}}}]")),
        ["2:26 ca_certificates[0].cert: please submit only one certificate at a time"]
    );
}

#[test]
fn a_certificate_with_the_key_of_another_is_refused_in_kongs_words() {
    let pairs = |cert, key, cert_alt, key_alt| {
        faults(&format!(
            "certificates: [{{cert: {cert}, key: {key}, cert_alt: {cert_alt}, key_alt: {key_alt}}}]"
        ))
    };
    let (rsa, ec) = ((file!("rsa.crt"), file!("rsa.key")), (file!("ec.crt"), file!("ec.key")));
    let other = file!("ec-other.key");
    assert_eq!(
        pairs(&ec.0, &rsa.1, &rsa.0, &other),
        [
            "2:17 certificates[0]: certificate does not match key",
            "2:17 certificates[0]: alternative certificate does not match key"
        ]
    );
    let twice = pairs(&ec.0, &ec.1, &ec.0, &ec.1);
    assert!(twice[0].ends_with("the provided certificates were both of the same type 'ECDSA'"), "{twice:?}");
}

#[test]
fn an_authority_must_be_one_and_still_be_valid() {
    for (file, message) in [
        (
            file!("rsa.crt"),
            "certificate does not appear to be a CA because it is missing the \"CA\" basic constraint",
        ),
        (file!("expired-ca.crt"), "certificate expired, \"Not After\" time is in the past"),
    ] {
        let found = faults(&format!("ca_certificates: [{{cert: {file}}}]"));
        assert_eq!(found, [format!("2:20 ca_certificates[0]: {message}")]);
    }
}

#[test]
fn the_digest_of_an_authority_is_that_of_its_certificate() {
    let ca = file!("ca.crt");
    let twice = faults(&format!("ca_certificates: [{{cert: {ca}}}, {{cert: {ca}}}]"));
    assert!(
        twice[0].contains("uniqueness violation: 'ca_certificates' entity with cert_digest set to"),
        "{twice:?}"
    );
    let wrong = "0".repeat(64);
    let config =
        good(&format!("_format_version: '3.0'\nca_certificates: [{{cert: {ca}, cert_digest: '{wrong}'}}]"));
    assert_ne!(config.ca_certificates[0].cert_digest.as_deref(), Some(wrong.as_str()));
    assert!(config.warnings[0].message.starts_with("is not the digest of the certificate"));
}
