//! Whether a certificate has been revoked, by OCSP and by lists at URLs. OpenSSL is the responder: a server on the loopback
//! hands it the gateway's questions.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use plugin::harness::Harness;
use plugin::harness::certificates::{Authority, authority_params};
use plugin::model::serde_json::json;
use plugin::outbound::loopback::{Given, Loopback};
use rcgen::{
    CertifiedIssuer, CrlDistributionPoint, CustomExtension, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, SerialNumber,
};

use super::MtlsAuth;
use super::tests::{ROOT, leaf, revoking, show, signed};

/// The serial number of certificates under test.
const SERIAL: u64 = 0x77;
/// How the responder's list of certificates names it.
const GOOD: &str = "V\t491231235959Z\t\t77\tunknown\t/CN=alice\n";
const REVOKED: &str = "R\t491231235959Z\t250101000000Z\t77\tunknown\t/CN=alice\n";
const UNKNOWN: &str = "V\t491231235959Z\t\t01\tunknown\t/CN=other\n";

/// What the server does when it is asked.
#[derive(Clone)]
enum Mood {
    /// OpenSSL answers, as this one of its list, with these further arguments.
    Answers { index: &'static str, signer: &'static str, arguments: &'static str },
    /// These bytes, whatever is asked.
    Repeats(Vec<u8>),
    /// Nothing that is of use.
    Fails,
}

fn answers(index: &'static str) -> Mood {
    Mood::Answers { index, signer: "root", arguments: "-nmin 60" }
}

struct Lab {
    folder: PathBuf,
    root: Authority,
    other: Authority,
    server: Loopback,
    mood: Arc<Mutex<Mood>>,
    list: Arc<Mutex<Vec<u8>>>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

impl Lab {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("biplane-revocation-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let make = |name: &str| {
            let key = KeyPair::generate().unwrap();
            std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
            let authority =
                CertifiedIssuer::self_signed(authority_params(&format!("{name}.test")), key).unwrap();
            std::fs::write(folder.join(format!("{name}.crt")), authority.pem()).unwrap();
            authority
        };
        let (root, other) = (make("root"), make("other"));
        let (mood, list) = (Arc::new(Mutex::new(Mood::Fails)), Arc::new(Mutex::new(Vec::new())));
        let (its_mood, its_list, its_folder) = (mood.clone(), list.clone(), folder.clone());
        let server = Loopback::answering(move |request| {
            let body = match request.target.as_str() {
                "/list" => its_list.lock().unwrap().clone(),
                _ => match its_mood.lock().unwrap().clone() {
                    Mood::Answers { index, signer, arguments } => {
                        assert_eq!(
                            request.header("Content-Type").as_deref(),
                            Some("application/ocsp-request")
                        );
                        respond(&its_folder, &request.body, (index, signer, arguments))
                    }
                    Mood::Repeats(bytes) => bytes,
                    Mood::Fails => return Given::answer(500, &[], ""),
                },
            };
            let mut answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
            answer.extend(body);
            Given::Bytes(answer)
        });
        let lab = Self { folder, root, other, server, mood, list };
        for (name, usage, by) in [
            ("delegate", Some(ExtendedKeyUsagePurpose::OcspSigning), &lab.root),
            ("somebody", Some(ExtendedKeyUsagePurpose::ClientAuth), &lab.root),
            ("stranger", Some(ExtendedKeyUsagePurpose::OcspSigning), &lab.other),
        ] {
            let mut params = leaf(name, &[]);
            params.extended_key_usages.extend(usage);
            let key = KeyPair::generate().unwrap();
            std::fs::write(lab.folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
            let pem = params.signed_by(&key, by).unwrap().pem();
            std::fs::write(lab.folder.join(format!("{name}.crt")), pem).unwrap();
        }
        lab
    }

    fn feels(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// A certificate of the root's that names a responder, a list, or both.
    fn certificate(&self, responder: Option<&str>, list: Option<&str>) -> Vec<u8> {
        let mut params = leaf("alice", &[]);
        params.serial_number = Some(SerialNumber::from(SERIAL));
        params.custom_extensions.extend(responder.map(access));
        let point = |url: &str| CrlDistributionPoint { uris: vec![url.to_owned()] };
        params.crl_distribution_points.extend(list.map(point));
        signed(&params, &self.root)
    }

    /// One that names the responder.
    fn own(&self) -> Vec<u8> {
        self.certificate(Some(&self.server.url("/ocsp")), None)
    }

    fn room(&self, rest: &str) -> Harness {
        let document = format!(
            "_format_version: '3.0'\nca_certificates: [{{id: {ROOT}, cert: {}}}]\nconsumers: [{{username: alice}}]\nplugins:\n- name: mtls-auth\n  config: {{ca_certificates: [{ROOT}]{rest}}}\n",
            json!(self.root.pem())
        );
        let harness = Harness::new(plugin::room::<MtlsAuth>(), &document).unwrap().in_real_time();
        harness.clock.set(now_ms());
        harness
    }

    /// What each mode makes of a certificate: `IGNORE_CA_ERROR`, `STRICT`.
    fn statuses(&self, certificate: &[u8]) -> [u16; 2] {
        ["IGNORE_CA_ERROR", "STRICT"].map(|mode| {
            let mut room = self.room(&format!(", revocation_check_mode: {mode}"));
            show(&mut room, &[certificate.to_vec()]).status
        })
    }

    /// A response that was made before anybody asked.
    fn made(&self, index: &'static str, arguments: &str) -> Vec<u8> {
        self.made_about(&self.own(), index, arguments)
    }

    /// The same about another certificate.
    fn made_about(&self, certificate: &[u8], index: &'static str, arguments: &str) -> Vec<u8> {
        std::fs::write(self.folder.join("own.crt"), pem(certificate)).unwrap();
        std::fs::write(self.folder.join("index"), index).unwrap();
        let arguments = format!(
            "ocsp -index index -rsigner root.crt -rkey root.key -CA root.crt -issuer root.crt -cert own.crt -respout made {arguments}"
        );
        openssl(&self.folder, &arguments);
        std::fs::read(self.folder.join("made")).unwrap()
    }
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// The extension that names a responder.
fn access(url: &str) -> CustomExtension {
    let of = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
    let name = [&[6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 1][..], &of(0x86, url.as_bytes())].concat();
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], of(0x30, &of(0x30, &name)))
}

fn openssl(folder: &PathBuf, arguments: &str) {
    let mut command = Command::new("openssl");
    command.args(arguments.split_whitespace()).current_dir(folder).stdin(Stdio::null());
    let output = command.output().expect("openssl is installed");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What OpenSSL answers.
fn respond(folder: &PathBuf, question: &[u8], (index, signer, arguments): (&str, &str, &str)) -> Vec<u8> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    std::fs::write(folder.join(format!("index-{number}")), index).unwrap();
    std::fs::write(folder.join(format!("question-{number}")), question).unwrap();
    openssl(
        folder,
        &format!(
            "ocsp -index index-{number} -rsigner {signer}.crt -rkey {signer}.key -CA root.crt -reqin question-{number} -respout answer-{number} {arguments}"
        ),
    );
    std::fs::read(folder.join(format!("answer-{number}"))).unwrap()
}

#[test]
fn a_responder_is_believed_and_doubt_is_for_the_mode_to_decide() {
    let lab = Lab::new();
    let own = lab.own();
    for (mood, expected) in [
        (answers(GOOD), [200, 200]),
        (answers(REVOKED), [401, 401]),
        (answers(UNKNOWN), [200, 401]),
        (Mood::Fails, [200, 401]),
    ] {
        lab.feels(mood);
        assert_eq!(lab.statuses(&own), expected);
    }
    let before = lab.server.seen().len();
    assert_eq!(before, 8);
    assert_eq!(show(&mut lab.room(", revocation_check_mode: SKIP"), &[own]).status, 200);
    assert_eq!(lab.server.seen().len(), before, "nobody is asked");
    assert_eq!(lab.statuses(&lab.certificate(None, None)), [200, 401], "there is nobody to ask");
}

#[test]
fn only_the_issuer_and_whom_it_has_named_answer() {
    let lab = Lab::new();
    let own = lab.own();
    for (signer, expected) in
        [("delegate", [200, 200]), ("somebody", [200, 401]), ("stranger", [200, 401]), ("other", [200, 401])]
    {
        lab.feels(Mood::Answers { index: GOOD, signer, arguments: "-nmin 60" });
        assert_eq!(lab.statuses(&own), expected, "{signer}");
    }
    lab.feels(Mood::Answers { index: REVOKED, signer: "stranger", arguments: "-nmin 60" });
    assert_eq!(lab.statuses(&own), [200, 401], "nobody else can take it back");
    let good = lab.made(GOOD, "-no_nonce -nmin 60");
    lab.feels(Mood::Repeats(good.clone()));
    assert_eq!(lab.statuses(&own), [200, 200]);
    for at in (0..good.len()).step_by(7) {
        let mut forged = good.clone();
        forged[at] ^= 1;
        lab.feels(Mood::Repeats(forged));
        let mut room = lab.room(", revocation_check_mode: STRICT");
        // The certificates behind the signature are not needed.
        if show(&mut room, std::slice::from_ref(&own)).status == 200 {
            assert!(at > good.len() / 3, "byte {at} of {}", good.len());
        }
    }
}

#[test]
fn an_answer_is_one_to_the_question_and_of_now() {
    let lab = Lab::new();
    let own = lab.own();
    let strict = |bytes: Vec<u8>, later_ms: i64| {
        lab.feels(Mood::Repeats(bytes));
        let mut room = lab.room(", revocation_check_mode: STRICT");
        room.clock.set(now_ms().saturating_add_signed(later_ms));
        show(&mut room, std::slice::from_ref(&own)).status
    };
    let minute = 60_000;
    let made = lab.made(GOOD, "-no_nonce -nmin 10");
    for (later, expected) in [(0, 200), (14, 200), (16, 401), (-4, 200), (-6, 401)] {
        assert_eq!(strict(made.clone(), later * minute), expected, "{later} minutes later");
    }
    let endless = lab.made(GOOD, "-no_nonce");
    assert_eq!([strict(endless.clone(), 0), strict(endless, 6 * minute)], [200, 401], "it is for now only");
    let of_another_question = lab.made(GOOD, "-nmin 10");
    assert_eq!(strict(of_another_question, 0), 401, "its nonce is another");
    let mut other = leaf("other", &[]);
    other.serial_number = Some(SerialNumber::from(1));
    let about_another = lab.made_about(&signed(&other, &lab.root), UNKNOWN, "-no_nonce -nmin 10");
    assert_eq!(strict(about_another, 0), 401);
    assert_eq!(strict(b"nonsense".to_vec(), 0), 401);
}

#[test]
fn an_answer_is_remembered_and_lasts_while_the_responder_is_down() {
    let lab = Lab::new();
    let own = [lab.own()];
    let mut room = lab.room(", revocation_check_mode: STRICT, cert_cache_ttl: 120000, cache_ttl: 120");
    lab.feels(answers(GOOD));
    let mut asked = |after_ms: u64, expected: u16| {
        room.clock.advance(after_ms);
        let before = lab.server.seen().len();
        assert_eq!(show(&mut room, &own).status, expected);
        lab.server.seen().len() - before
    };
    assert_eq!([asked(0, 200), asked(119_000, 200)], [1, 0]);
    assert_eq!(asked(1_000, 200), 1, "its time is over");
    lab.feels(Mood::Fails);
    assert_eq!(asked(120_000, 200), 1, "the answer holds for an hour");
    assert_eq!(asked(66 * 60_000, 401), 1);
    lab.feels(answers(REVOKED));
    assert_eq!(asked(1_000, 401), 1, "doubt is not remembered for long");
}

#[test]
fn a_clock_that_is_set_back_makes_nobody_believe_longer() {
    let lab = Lab::new();
    let own = [lab.own()];
    let mut room = lab.room(", revocation_check_mode: STRICT, cert_cache_ttl: 120000, cache_ttl: 120");
    lab.feels(answers(GOOD));
    assert_eq!(show(&mut room, &own).status, 200);
    lab.feels(answers(REVOKED));
    room.clock.set(now_ms() - 60_000);
    room.clock.advance(119_999);
    assert_eq!(show(&mut room, &own).status, 200);
    room.clock.advance(1);
    assert_eq!(show(&mut room, &own).status, 401, "it is asked for again");
}

#[test]
fn lists_at_urls_are_fetched_and_believed_if_they_are_the_issuers() {
    let lab = Lab::new();
    let own = lab.certificate(None, Some(&lab.server.url("/list")));
    let namesake =
        CertifiedIssuer::self_signed(authority_params("root.test"), KeyPair::generate().unwrap()).unwrap();
    for (list, expected) in [
        (revoking(&namesake, SERIAL + 1, 2090), [200, 401]),
        (revoking(&lab.root, SERIAL, 2090), [401, 401]),
        (revoking(&lab.root, SERIAL + 1, 2090), [200, 200]),
        (revoking(&lab.other, SERIAL, 2090), [200, 401]),
        (revoking(&lab.root, SERIAL + 1, 2025), [200, 401]),
        ("nonsense".to_owned(), [200, 401]),
    ] {
        *lab.list.lock().unwrap() = list.into_bytes();
        assert_eq!(lab.statuses(&own), expected);
    }
    *lab.list.lock().unwrap() = revoking(&lab.root, SERIAL + 1, 2090).into_bytes();
    let mut room = lab.room(", revocation_check_mode: STRICT");
    let before = lab.server.seen().len();
    let mut other = leaf("alice", &[]);
    other.crl_distribution_points.push(CrlDistributionPoint { uris: vec![lab.server.url("/list")] });
    for certificate in [own, signed(&other, &lab.root)] {
        assert_eq!(show(&mut room, &[certificate]).status, 200);
    }
    assert_eq!(lab.server.seen().len(), before + 1, "one list for all certificates");
}

#[test]
fn where_a_responder_says_nothing_there_may_be_a_list() {
    let lab = Lab::new();
    let own = lab.certificate(Some(&lab.server.url("/ocsp")), Some(&lab.server.url("/list")));
    for mood in [answers(UNKNOWN), Mood::Fails] {
        lab.feels(mood);
        for (serial, expected) in [(SERIAL, [401, 401]), (SERIAL + 1, [200, 200])] {
            *lab.list.lock().unwrap() = revoking(&lab.root, serial, 2090).into_bytes();
            assert_eq!(lab.statuses(&own), expected);
        }
    }
}

#[test]
fn a_link_of_the_chain_can_be_revoked_too() {
    let lab = Lab::new();
    let mut params = authority_params("middle.test");
    params.serial_number = Some(SerialNumber::from(SERIAL));
    params.key_usages.push(KeyUsagePurpose::CrlSign);
    params.custom_extensions.push(access(&lab.server.url("/ocsp")));
    let middle = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &lab.root).unwrap();
    let mut own = leaf("alice", &[]);
    own.crl_distribution_points.push(CrlDistributionPoint { uris: vec![lab.server.url("/list")] });
    let chain = [signed(&own, &middle), middle.der().to_vec()];
    *lab.list.lock().unwrap() = revoking(&middle, 1, 2090).into_bytes();
    for (mood, expected) in [(answers(GOOD), 200), (answers(REVOKED), 401), (Mood::Fails, 401)] {
        lab.feels(mood);
        assert_eq!(show(&mut lab.room(", revocation_check_mode: STRICT"), &chain).status, expected);
    }
}

#[test]
fn a_proxy_is_shown_the_whole_url() {
    let lab = Lab::new();
    lab.feels(answers(REVOKED));
    let own = lab.certificate(Some("http://ocsp.nowhere.test/x"), None);
    let proxy = format!(", http_proxy_host: 127.0.0.1, http_proxy_port: {}", lab.server.port());
    assert_eq!(show(&mut lab.room(&proxy), &[own]).status, 401);
    let asked = lab.server.last();
    assert_eq!(
        (&*asked.target, asked.header("Host").as_deref()),
        ("http://ocsp.nowhere.test/x", Some("ocsp.nowhere.test"))
    );
}
