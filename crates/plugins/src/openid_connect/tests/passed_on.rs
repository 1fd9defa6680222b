//! Tokens that are bound to a certificate which a proxy in front passes on.

use aws_lc_rs::digest::{SHA256, digest};
use plugin::harness::certificates::{self, Authority, client_params, signed};
use plugin::outbound::loopback::{Given, Loopback};
use rcgen::{Certificate, CrlDistributionPoint};

use super::*;

const ROOT: &str = "11111111-1111-4111-8111-111111111111";

fn authority() -> Authority {
    certificates::authority("root.test")
}

/// A certificate that names `list` as a place to ask whether it has been revoked.
fn leaf(authority: &Authority, list: Option<String>) -> Certificate {
    let mut params = client_params("client", &[]);
    params.crl_distribution_points =
        list.map(|uri| CrlDistributionPoint { uris: vec![uri] }).into_iter().collect();
    signed(&params, authority)
}

fn behind_proxy(authority: &Authority, demand: &str, header: &str) -> Harness {
    let document = format!(
        "_format_version: '3.0'
ca_certificates: [{{id: {ROOT}, cert: {}}}]
plugins:
- name: openid-connect
  config:
    issuer: '{ISSUER}'
    auth_methods: [bearer]
    display_errors: true
    proof_of_possession_mtls: {demand}
    proof_of_possession_mtls_from_header: {{ca_certificates: [{ROOT}], certificate_header_name: X-Cert{header}}}
",
        json!(authority.pem())
    );
    let mut harness = Harness::new(plugin::room::<OpenidConnect>(), &document).unwrap().in_real_time();
    harness.trusted = true;
    publish(&harness, &[key(P256, "one")]);
    harness
}

fn encoded(certificate: &Certificate) -> String {
    plugin::query::form_of(&[(String::new(), certificate.pem())])[1..].replace('+', "%20")
}

fn bound(certificate: &Certificate) -> String {
    let hash = to_base64url(digest(&SHA256, certificate.der()).as_ref());
    bearer(&token(json!({"cnf": {"x5t#S256": hash}})))
}

#[test]
fn a_certificate_that_a_trusted_proxy_passes_on_is_the_one_of_the_token() {
    let (root, stranger) = (authority(), authority());
    let (own, other, strangers) = (leaf(&root, None), leaf(&root, None), leaf(&stranger, None));
    let mut harness = behind_proxy(&root, "strict", "");
    let send =
        |harness: &mut Harness, token: &str, shown: &str| harness.send(&format!("{token}\nX-Cert: {shown}"));
    for _ in 0..2 {
        assert_passes(&send(&mut harness, &bound(&own), &encoded(&own)));
        assert_refused(&send(&mut harness, &bound(&own), &encoded(&other)), "a token of another certificate");
        // Nobody believed has vouched for it.
        let unknown = send(&mut harness, &bound(&strangers), &encoded(&strangers));
        assert_refused(&unknown, "a token of another certificate");
    }
    assert_refused(&harness.send(&bound(&own)), "a token of another certificate");
    let free = send(&mut harness, &bearer(&token(json!({}))), &encoded(&own));
    assert_refused(&free, "a token that is bound to no certificate");
    let twice = format!("{}\nX-Cert: {}\nX-Cert: {}", bound(&own), encoded(&own), encoded(&own));
    assert_refused(&harness.send(&twice), "a token of another certificate");
    harness.trusted = false;
    let untrusted = send(&mut harness, &bound(&own), &encoded(&own));
    assert_refused(&untrusted, "a token of another certificate");
    let mut open = behind_proxy(&root, "strict", ", secure_source: false");
    open.trusted = false;
    assert_passes(&send(&mut open, &bound(&own), &encoded(&own)));
    let mut optional = behind_proxy(&root, "optional", "");
    assert_passes(&optional.send(&bearer(&token(json!({})))));
    assert_refused(&optional.send(&bound(&own)), "a token of another certificate");
}

#[test]
fn it_is_asked_whether_the_certificate_has_been_revoked() {
    let root = authority();
    let lists = Loopback::answering(|_| Given::answer(503, &[], ""));
    let own = leaf(&root, Some(lists.url("/list")));
    let request = format!("{}\nX-Cert: {}", bound(&own), encoded(&own));
    // Where nothing is remembered of certificates, each request waits.
    let lenient = ", cert_cache_ttl: 0";
    let mut harness = behind_proxy(&root, "strict", lenient);
    assert_passes(&harness.send(&request));
    assert_passes(&harness.send(&request));
    assert!(!lists.seen().is_empty(), "somebody was asked");
    let mut strict = behind_proxy(&root, "strict", ", revocation_check_mode: STRICT");
    assert_refused(&strict.send(&request), "a token of another certificate");
}

#[test]
fn authorities_that_are_not_there_are_told_by_their_place() {
    let refusal = Subject(plugin::room::<OpenidConnect>()).refuses(
        "{issuer: 'http://issuer.test', auth_methods: [bearer], proof_of_possession_mtls: strict, \
         proof_of_possession_mtls_from_header: {ca_certificates: [x], certificate_header_name: X-Cert}}",
    );
    assert!(refusal.contains("config.proof_of_possession_mtls_from_header.ca_certificates"), "{refusal}");
}
