//! Who is let in by a certificate, as whom, and who is not. What handshakes make of the demand is tested where they are made.

use plugin::harness::certificates::{self, Authority, authority, authority_params, client_params, handshake};
use plugin::harness::{GET, Harness, Outcome};
use plugin::model::serde_json::json;
use plugin::{Definition, room};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

use super::MtlsAuth;
use crate::acl::Acl;

pub(super) const ROOT: &str = "11111111-1111-4111-8111-111111111111";
const OTHER: &str = "22222222-2222-4222-8222-222222222222";
const MIDDLE: &str = "33333333-3333-4333-8333-333333333333";

pub(super) fn signed(params: &CertificateParams, authority: &Authority) -> Vec<u8> {
    certificates::signed(params, authority).der().to_vec()
}

/// A certificate with a common name and alternative names.
pub(super) fn leaf(common_name: &str, alternatives: &[&str]) -> CertificateParams {
    let mut params = client_params(common_name, alternatives);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Shop");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(SerialNumber::from(77));
    params
}

/// The gateway of all tests: two roots, one in between, two consumers with credentials.
struct Lab {
    root: Authority,
    other: Authority,
    middle: Authority,
}

impl Lab {
    fn new() -> Self {
        let root = authority("root.test");
        let middle =
            CertifiedIssuer::signed_by(authority_params("middle.test"), KeyPair::generate().unwrap(), &root);
        Self { middle: middle.unwrap(), other: authority("other.test"), root }
    }

    fn document(&self, config: &str, more: &str) -> String {
        let (root, other, middle) = (self.root.pem(), self.other.pem(), self.middle.pem());
        format!(
            "_format_version: '3.0'
ca_certificates:
- {{id: {ROOT}, cert: {}}}
- {{id: {OTHER}, cert: {}}}
- {{id: {MIDDLE}, cert: {}}}
consumers:
- {{username: alice, custom_id: alice-id}}
- {{username: bob}}
- {{username: guest}}
plugins:
- name: mtls-auth
  config: {config}
{more}",
            json!(root),
            json!(other),
            json!(middle)
        )
    }

    fn with(&self, config: &str, more: &str) -> Result<Harness, String> {
        let rooms: [&'static dyn Definition; 2] = [room::<MtlsAuth>(), room::<Acl>()];
        Harness::chain(&rooms, &self.document(config, more))
    }

    fn trusting(&self, ids: &[&str], rest: &str) -> Harness {
        self.with(&format!("{{ca_certificates: [{}]{rest}}}", ids.join(", ")), "").unwrap()
    }
}

pub(super) fn show(harness: &mut Harness, chain: &[Vec<u8>]) -> Outcome {
    show_with(harness, chain, GET)
}

fn show_with(harness: &mut Harness, chain: &[Vec<u8>], request: &str) -> Outcome {
    // What the handshake thinks of it is about the operator's authorities, not about these.
    harness.tls = Some(handshake(chain.iter().map(Vec::as_slice)));
    harness.send(request)
}

fn username(outcome: &Outcome) -> Option<String> {
    assert_eq!(outcome.status, 200, "{:?}", outcome.message);
    outcome.upstream_header("X-Consumer-Username")
}

fn refused(outcome: &Outcome) -> String {
    assert_eq!(outcome.status, 401);
    outcome.message.clone().unwrap_or_default()
}

const FAILED: &str = "TLS certificate failed verification";
const MISSING: &str = "No required TLS certificate was sent";

#[test]
fn a_certificate_of_the_authority_names_its_consumer() {
    let lab = Lab::new();
    let mut harness = lab.trusting(&[ROOT], "");
    let forged =
        "GET / HTTP/1.1\nX-Client-Cert-Dn: CN=root\nX-Client-Cert-San: forged\nX-Consumer-Username: root\n\n";
    let outcome = show_with(&mut harness, &[signed(&leaf("alice", &[]), &lab.root)], forged);
    assert_eq!(username(&outcome).as_deref(), Some("alice"));
    assert_eq!(outcome.upstream_header("X-Client-Cert-Dn").as_deref(), Some("CN=alice,O=Shop"));
    assert_eq!(outcome.upstream_header("X-Client-Cert-San"), None);
    assert_eq!(outcome.upstream_header("X-Credential-Identifier").as_deref(), Some("alice"));
    let outcome = show(&mut harness, &[signed(&leaf("x", &["a.test", "alice-id"]), &lab.root)]);
    assert_eq!(username(&outcome).as_deref(), Some("alice"));
    assert_eq!(outcome.upstream_header("X-Client-Cert-San").as_deref(), Some("a.test,alice-id"));
}

#[test]
fn who_shows_nothing_or_speaks_no_tls_is_refused() {
    let lab = Lab::new();
    let mut harness = lab.trusting(&[ROOT], "");
    assert_eq!(refused(&harness.send(GET)), MISSING);
    assert_eq!(refused(&show(&mut harness, &[])), MISSING);
}

#[test]
fn what_is_not_believed_is_refused() {
    let lab = Lab::new();
    let mut harness = lab.trusting(&[ROOT], "");
    let mut expired = leaf("alice", &[]);
    expired.not_after = date_time_ymd(2025, 12, 31);
    let mut early = leaf("alice", &[]);
    early.not_before = date_time_ymd(2026, 1, 2);
    let mut of_servers = leaf("alice", &[]);
    of_servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let same_name = authority("root.test");
    let good = signed(&leaf("alice", &[]), &lab.root);
    let mut broken = good.clone();
    *broken.last_mut().unwrap() ^= 1;
    for chain in [
        vec![signed(&expired, &lab.root)],
        vec![signed(&early, &lab.root)],
        vec![signed(&of_servers, &lab.root)],
        vec![signed(&leaf("alice", &[]), &lab.other)],
        vec![signed(&leaf("alice", &[]), &same_name)],
        vec![signed(&leaf("alice", &[]), &lab.middle)],
        vec![signed(&leaf("mallory", &[]), &lab.root)],
        vec![broken],
        vec![b"no certificate".to_vec()],
        vec![good.clone(); 11],
    ] {
        assert_eq!(refused(&show(&mut harness, &chain)), FAILED);
    }
    assert_eq!(username(&show(&mut harness, &[good])).as_deref(), Some("alice"));
}

#[test]
fn chains_lead_to_a_root_unless_a_part_is_enough() {
    let lab = Lab::new();
    let own = signed(&leaf("alice", &[]), &lab.middle);
    let whole = vec![own.clone(), lab.middle.der().to_vec()];
    assert!(username(&show(&mut lab.trusting(&[ROOT], ""), &whole)).is_some(), "the link is sent");
    assert!(
        username(&show(&mut lab.trusting(&[ROOT, MIDDLE], ""), std::slice::from_ref(&own))).is_some(),
        "it is known"
    );
    let partial = ", allow_partial_chain: true";
    assert!(username(&show(&mut lab.trusting(&[MIDDLE], partial), std::slice::from_ref(&own))).is_some());
    assert_eq!(refused(&show(&mut lab.trusting(&[OTHER, MIDDLE], ""), &[own])), FAILED);
    let refusal = lab.with(&format!("{{ca_certificates: [{MIDDLE}]}}"), "").err().unwrap();
    assert!(refusal.contains("none has signed itself"), "{refusal}");
}

#[test]
fn a_credential_comes_before_a_consumers_name_and_one_for_the_authority_first() {
    let lab = Lab::new();
    let more = format!(
        "mtls_auth_credentials:\n- {{consumer: bob, subject_name: alice}}\n- {{consumer: guest, subject_name: alice, ca_certificate: {OTHER}}}"
    );
    let mut harness = lab.with(&format!("{{ca_certificates: [{ROOT}, {OTHER}]}}"), &more).unwrap();
    let mut of =
        |authority: &Authority| username(&show(&mut harness, &[signed(&leaf("alice", &[]), authority)]));
    assert_eq!(of(&lab.root).as_deref(), Some("bob"));
    assert_eq!(of(&lab.other).as_deref(), Some("guest"));
}

#[test]
fn the_common_name_counts_only_without_alternative_names() {
    let lab = Lab::new();
    let mut harness = lab.trusting(&[ROOT], "");
    let both = signed(&leaf("alice", &["somebody.test"]), &lab.root);
    assert_eq!(refused(&show(&mut harness, &[both])), FAILED);
    let mail = |address: &str| {
        let mut params = leaf("x", &[]);
        params.subject_alt_names = vec![SanType::Rfc822Name(address.try_into().unwrap())];
        signed(&params, &lab.root)
    };
    assert_eq!(username(&show(&mut harness, &[mail("bob")])).as_deref(), Some("bob"));
}

#[test]
fn consumers_are_looked_for_by_the_fields_that_are_named() {
    let lab = Lab::new();
    let mut by_id = lab.trusting(&[ROOT], ", consumer_by: [custom_id]");
    assert_eq!(refused(&show(&mut by_id, &[signed(&leaf("alice", &[]), &lab.root)])), FAILED);
    assert!(username(&show(&mut by_id, &[signed(&leaf("alice-id", &[]), &lab.root)])).is_some());
    let mut by_none = lab.trusting(&[ROOT], ", consumer_by: [], default_consumer: guest");
    let outcome = show(&mut by_none, &[signed(&leaf("alice", &[]), &lab.root)]);
    assert_eq!(username(&outcome).as_deref(), Some("guest"));
    let missing = lab.with(&format!("{{ca_certificates: [{ROOT}], default_consumer: nobody}}"), "");
    assert!(missing.err().unwrap().contains("there is no consumer 'nobody'"));
}

#[test]
fn without_consumers_the_name_is_a_group() {
    let lab = Lab::new();
    for (by, allowed) in [("CN", "clerk"), ("DN", "CN=clerk,O=Shop")] {
        let config = format!(
            "{{ca_certificates: [{ROOT}], skip_consumer_lookup: true, authenticated_group_by: {by}}}"
        );
        let acl = format!("- name: acl\n  config: {{allow: ['{allowed}']}}");
        let mut harness = lab.with(&config, &acl).unwrap();
        let outcome = show(&mut harness, &[signed(&leaf("clerk", &[]), &lab.root)]);
        assert_eq!(username(&outcome), None);
        assert_eq!(outcome.upstream_header("X-Authenticated-Groups").as_deref(), Some(allowed));
        let outcome = show(&mut harness, &[signed(&leaf("alice", &[]), &lab.root)]);
        assert_eq!(outcome.status, 403, "another group");
    }
}

/// A list of the root's that revokes the serial number `serial`.
pub(super) fn revoking(authority: &Authority, serial: u64, until: i32) -> String {
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: date_time_ymd(2025, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2025, 1, 1),
        next_update: date_time_ymd(until, 6, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(authority).unwrap().pem().unwrap()
}

#[test]
fn a_revoked_certificate_is_refused() {
    let lab = Lab::new();
    let own = [signed(&leaf("alice", &[]), &lab.root)];
    let status = |list: &str, mode: &str| {
        let rest = format!(", crls: [{}], revocation_check_mode: {mode}", json!(list));
        show(&mut lab.trusting(&[ROOT, OTHER], &rest), &own).status
    };
    let (revoked, other_serial) = (revoking(&lab.root, 77, 2030), revoking(&lab.root, 78, 2030));
    let of_another = revoking(&lab.other, 77, 2030);
    let late = revoking(&lab.root, 78, 2025);
    for (list, ignoring, strict) in
        [(&revoked, 401, 401), (&other_serial, 200, 200), (&of_another, 200, 401), (&late, 200, 401)]
    {
        assert_eq!([status(list, "IGNORE_CA_ERROR"), status(list, "STRICT")], [ignoring, strict]);
    }
    assert_eq!(status(&revoked, "SKIP"), 200);
    let refusal = lab.with(&format!("{{ca_certificates: [{ROOT}], crls: ['nothing']}}"), "").err().unwrap();
    assert!(refusal.contains("config.crls[0]") && refusal.contains("X509 CRL"), "{refusal}");
}

#[test]
fn what_is_known_of_a_certificate_ends_with_its_time() {
    let lab = Lab::new();
    let mut harness = lab.trusting(&[ROOT], ", cache_ttl: 1000000000, cert_cache_ttl: 1000000000000");
    let mut params = leaf("alice", &[]);
    params.not_after = date_time_ymd(2026, 1, 2);
    let chain = [signed(&params, &lab.root)];
    assert!(username(&show(&mut harness, &chain)).is_some());
    harness.clock.advance(2 * 86_400_000);
    assert_eq!(refused(&show(&mut harness, &chain)), FAILED);
}

#[test]
fn the_anonymous_consumer_stands_in() {
    let lab = Lab::new();
    let mut harness = lab.trusting(&[ROOT], ", anonymous: guest");
    let outcome = show_with(&mut harness, &[], "GET / HTTP/1.1\nX-Client-Cert-Dn: CN=root\n\n");
    assert_eq!(username(&outcome).as_deref(), Some("guest"));
    assert_eq!(outcome.upstream_header("X-Anonymous-Consumer").as_deref(), Some("true"));
    assert_eq!(outcome.upstream_header("X-Client-Cert-Dn"), None);
}

#[test]
fn what_there_is_not_is_refused_by_name() {
    let lab = Lab::new();
    for (field, rest) in [
        ("config.ca_certificates", "ca_certificates: [7fca84d6-7d37-4a74-a7b0-93e576089a41]".to_owned()),
        ("config.http_proxy_port", format!("ca_certificates: [{ROOT}], http_proxy_host: p.test")),
        ("config.https_proxy_host", format!("ca_certificates: [{ROOT}], https_proxy_port: 80")),
    ] {
        let refusal = lab.with(&format!("{{{rest}}}"), "").err().unwrap_or_default();
        assert!(refusal.contains(field), "{field}: {refusal}");
    }
}

#[test]
fn clients_are_asked_for_a_certificate() {
    let lab = Lab::new();
    let room = room::<MtlsAuth>();
    let catalog = plugin::model::Catalog { plugins: vec![room.schema()], entities: room.entities() };
    let document = lab.document(&format!("{{ca_certificates: [{ROOT}]}}"), "");
    let config = plugin::model::declarative::load("kong.yml", &document, &catalog).unwrap();
    assert!(room.asks_for_certificate(&config.plugins[0]));
    assert!(room.tells_authorities(&config.plugins[0]).is_empty());
    let document = document.replace("{ca_certificates:", "{send_ca_dn: true, ca_certificates:");
    let config = plugin::model::declarative::load("kong.yml", &document, &catalog).unwrap();
    assert_eq!(room.tells_authorities(&config.plugins[0]), [ROOT]);
}

#[test]
fn no_bytes_make_it_panic() {
    let lab = Lab::new();
    let mut harness = lab.trusting(&[ROOT], "");
    let good = signed(&leaf("alice", &["a.test"]), &lab.root);
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] = changed[at].wrapping_add(1);
        assert_eq!(show(&mut harness, &[changed]).status, 401, "byte {at}");
        assert_eq!(show(&mut harness, &[good[..at].to_vec()]).status, 401, "length {at}");
    }
}
