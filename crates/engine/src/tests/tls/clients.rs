//! Certificates of clients: who is asked, who is believed, what plugins see, and which requests are misdirected.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use plugin::exchange::Demand;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, SignatureScheme, SupportedProtocolVersion};
use tokio::time::Instant;

use super::authority::{Authority, Issued};
use super::{Credulous, client_of, connect_with, provider, settings};
use crate::settings::Settings;
use crate::tests::lab::{Lab, Peer, field, with};
use crate::tls::{Authorities, Offer};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Clients of `asked.test` and `*.asked.test` are asked, others are not. There is no service: who gets so far is
/// answered 503.
const DOCUMENT: &str = r#"
_format_version: "3.0"
routes:
- {name: all, paths: [/]}
- name: asked
  protocols: [https]
  snis: [asked.test, "*.asked.test"]
  plugins: [{name: tls-handshake-modifier, protocols: [https]}]
plugins: [{name: witness}]
"#;

/// The same with nobody asked.
fn nobody() -> String {
    DOCUMENT.replace("  plugins: [{name: tls-handshake-modifier, protocols: [https]}]\n", "")
}

/// The same with everybody asked.
fn everybody() -> String {
    nobody().replace("[{name: witness}]", "[{name: witness}, {name: tls-handshake-modifier}]")
}

/// Settings that believe `authority` about clients.
fn believing(demand: Demand, authority: &Authority) -> Settings {
    let mut settings = settings(&Authority::root().issue(&["x.test"]));
    settings.tls.verify_client = demand;
    settings.tls.client_authorities = Some(Authorities::read(&authority.pem()).unwrap());
    settings
}

/// A client that shows `own` when it is asked, signed with the key of `signer`.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn client(
    version: &'static SupportedProtocolVersion,
    own: Option<&Issued>,
    signer: Option<&Issued>,
) -> Arc<ClientConfig> {
    let Some(own) = own else { return Arc::new(client_of(provider(), &[version], None)) };
    let key = PrivateKeyDer::from_pem_slice(signer.unwrap_or(own).key.as_bytes()).unwrap();
    let key = provider().key_provider.load_private_key(key).unwrap();
    let shows = Shows(Arc::new(CertifiedKey::new(own.chain(), key)));
    let schemes = provider().signature_verification_algorithms.supported_schemes();
    let config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous { schemes }))
        .with_client_cert_resolver(Arc::new(shows));
    Arc::new(config)
}

/// What a request came to.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    verify: String,
    chain: usize,
}

fn seen(status: u16, verify: &str, chain: usize) -> Seen {
    Seen { status, verify: verify.to_owned(), chain }
}

/// Asks `host` over a new connection for `name`. Under TLS 1.3 a client hears only now that it was not wanted.
async fn ask(
    lab: &Lab,
    config: &Arc<ClientConfig>,
    name: &str,
    host: &str,
) -> std::io::Result<(Seen, HandshakeKind)> {
    let mut client = connect_with(lab.tls_client(), config, name).await?;
    client.send(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    let mut first = [0];
    tokio::io::AsyncReadExt::read_exact(&mut client.0, &mut first).await?;
    let (status, head, _) = client.response().await;
    let verify = field(&head, "x-client-verify").unwrap_or_default().to_owned();
    let chain = field(&head, "x-client-chain").unwrap_or_default().parse().unwrap_or_default();
    assert_eq!(status == 421, field(&head, "connection") == Some("close"), "{head}");
    Ok((Seen { status, verify, chain }, client.0.get_ref().1.handshake_kind().unwrap()))
}

async fn expect(lab: &Lab, config: &Arc<ClientConfig>, name: &str, expected: Seen) {
    assert_eq!(ask(lab, config, name, name).await.unwrap().0, expected, "{name}");
}

const UNKNOWN: &str = "FAILED:no trusted authority has signed the certificate";

#[tokio::test(start_paused = true)]
async fn clients_are_asked_where_a_plugin_wants_it() {
    let own = Authority::root().below().issue(&["client"]);
    with(DOCUMENT, settings(&Authority::root().issue(&["x.test"])), |lab| async move {
        for version in VERSIONS {
            let (bare, shows) = (client(version, None, None), client(version, Some(&own), None));
            for name in ["asked.test", "ASKED.test", "a.b.asked.test"] {
                expect(&lab, &shows, name, seen(503, UNKNOWN, 2)).await;
                expect(&lab, &bare, name, seen(503, "NONE", 0)).await;
            }
            for name in ["other.test", "192.0.2.1"] {
                expect(&lab, &shows, name, seen(503, "NONE", 0)).await;
            }
            lab.reload(&everybody());
            expect(&lab, &shows, "other.test", seen(503, UNKNOWN, 2)).await;
            expect(&lab, &shows, "192.0.2.1", seen(503, UNKNOWN, 2)).await;
            lab.reload(DOCUMENT);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_requested_is_checked_and_turns_nobody_away() {
    let (authority, other) = (Authority::root(), Authority::root());
    let deep = authority.below().issue(&["deep"]);
    let good = authority.issue(&["good"]);
    let expired = authority.issue_expired(&["expired"]);
    let foreign = other.issue(&["foreign"]);
    let mut settings = believing(Demand::Request, &authority);
    settings.tls.verify_depth = Some(0);
    with(&nobody(), settings, |lab| async move {
        for version in VERSIONS {
            for (own, verify, chain) in [
                (&good, "SUCCESS", 1),
                (&foreign, UNKNOWN, 1),
                (&expired, "FAILED:certificate has expired", 1),
                (&deep, "FAILED:certificate chain too long", 2),
            ] {
                expect(&lab, &client(version, Some(own), None), "x.test", seen(503, verify, chain)).await;
            }
            expect(&lab, &client(version, None, None), "x.test", seen(503, "NONE", 0)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_a_certificate_is_required_there_is_no_session_without_one_that_is_believed() {
    let (authority, other) = (Authority::root(), Authority::root());
    let deep = authority.below().issue(&["deep"]);
    let expired = authority.issue_expired(&["expired"]);
    let foreign = other.issue(&["foreign"]);
    with(&everybody(), believing(Demand::Require, &authority), |lab| async move {
        for version in VERSIONS {
            let shows = client(version, Some(&deep), None);
            for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let (found, how) = ask(&lab, &shows, "x.test", "y.test").await.unwrap();
                assert_eq!((found, how), (seen(503, "SUCCESS", 2), kind), "{version:?}");
            }
            for own in [None, Some(&expired), Some(&foreign)] {
                let outcome = ask(&lab, &client(version, own, None), "x.test", "x.test").await;
                assert!(outcome.is_err(), "{outcome:?}");
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_has_not_the_key_of_its_certificate_gets_no_session() {
    let authority = Authority::root();
    let (own, thief) = (authority.issue(&["own"]), authority.issue(&["thief"]));
    with(&everybody(), believing(Demand::Request, &authority), |lab| async move {
        for version in VERSIONS {
            let outcome = ask(&lab, &client(version, Some(&own), Some(&thief)), "x.test", "x.test").await;
            assert!(outcome.is_err(), "{outcome:?}");
            // One chain too many, or too large, is not kept for anybody.
            let mut long = authority.issue(&["long"]);
            long.certificate = long.certificate.repeat(11);
            assert!(ask(&lab, &client(version, Some(&long), None), "x.test", "x.test").await.is_err());
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_resumed_session_has_its_certificate_and_no_ticket_stands_in_for_one() {
    let authority = Authority::root();
    let own = authority.issue(&["own"]);
    with(&nobody(), believing(Demand::Nothing, &authority), |lab| async move {
        for version in VERSIONS {
            lab.reload(&nobody());
            let shows = client(version, Some(&own), None);
            let mut story = Vec::new();
            for document in [None, None, Some(everybody()), None, Some(nobody())] {
                document.inspect(|document| lab.reload(document));
                let (found, kind) = ask(&lab, &shows, "x.test", "x.test").await.unwrap();
                story.push((found.verify, kind));
            }
            let expected = [
                ("NONE", HandshakeKind::Full),
                ("NONE", HandshakeKind::Resumed),
                ("SUCCESS", HandshakeKind::Full),
                ("SUCCESS", HandshakeKind::Resumed),
                ("NONE", HandshakeKind::Full),
            ];
            assert_eq!(story, expected.map(|(verify, kind)| (verify.to_owned(), kind)), "{version:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_for_a_host_with_another_demand_is_misdirected() {
    let own = Authority::root().issue(&["own"]);
    with(DOCUMENT, settings(&Authority::root().issue(&["x.test"])), |lab| async move {
        let shows = client(&TLS13, Some(&own), None);
        for (name, host, status) in [
            ("asked.test", "asked.test:8443", 503),
            ("asked.test", "x.asked.test.", 503),
            ("asked.test", "other.test", 421),
            ("asked.test", "192.0.2.1", 421),
            ("other.test", "asked.test", 421),
            ("other.test", "Asked.Test:443", 421),
            ("other.test", "third.test", 503),
            ("192.0.2.1", "asked.test", 421),
            ("192.0.2.1", "[::1]:8443", 503),
        ] {
            let (found, _) = ask(&lab, &shows, name, host).await.unwrap();
            assert_eq!(found.status, status, "{name} {host}");
        }
        // In cleartext nobody is asked for anything.
        let mut clear = lab.client();
        clear.send("GET / HTTP/1.1\r\nHost: asked.test\r\n\r\n").await;
        assert_eq!(clear.response().await.0, 503);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_for_which_the_demand_has_changed_is_given_up() {
    with(&nobody(), settings(&Authority::root().issue(&["x.test"])), |lab| async move {
        let mut client = connect_with(lab.tls_client(), &client(&TLS13, None, None), "x.test").await.unwrap();
        let get = "GET / HTTP/1.1\r\nHost: x.test\r\n\r\n";
        client.send(get).await;
        assert_eq!(client.response().await.0, 503);
        lab.reload(&everybody());
        client.send(get).await;
        assert_eq!(client.response().await.0, 421);
        assert_eq!(client.rest().await, "");
    })
    .await;
}

async fn status(client: &SendRequest<Bytes>, host: &str) -> u16 {
    let request = Request::get(format!("https://{host}/")).body(()).unwrap();
    let (response, _) = client.clone().ready().await.unwrap().send_request(request, true).unwrap();
    response.await.unwrap().status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn over_http_2_a_misdirected_request_costs_the_others_nothing() {
    with(DOCUMENT, settings(&Authority::root().issue(&["x.test"])), |lab| async move {
        let mut config = client_of(provider(), &[&TLS13], None);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let pipe = lab.tls_client_offered(Offer::Http2);
        let Peer(stream) = connect_with(pipe, &Arc::new(config), "other.test").await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::task::spawn_local(connection);
        for (host, expected) in [("other.test", 503), ("asked.test", 421), ("third.test", 503)] {
            assert_eq!(status(&client, host).await, expected, "{host}");
        }
        lab.reload(&everybody());
        assert_eq!(status(&client, "other.test").await, 421);
        // The gateway takes no more requests on it: the client has to open another one.
        let start = Instant::now();
        drop(connection.await.unwrap());
        assert_eq!(start.elapsed(), Duration::ZERO);
    })
    .await;
}

/// A client that writes down whose certificates it may choose from.
#[derive(Debug, Default)]
struct Listens(std::sync::Mutex<Vec<Vec<u8>>>);

impl ResolvesClientCert for Listens {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.0.lock().unwrap() = hints.iter().map(|hint| hint.to_vec()).collect();
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn clients_are_told_whose_certificates_to_choose_from() {
    let [partners, staff, operator] = ["partners", "staff", "operator"].map(Authority::named);
    let entity = |number: u8, authority: &Authority| {
        let cert = model::serde_json::json!(authority.pem());
        format!("- {{id: 00000000-0000-4000-8000-00000000000{number}, cert: {cert}}}\n")
    };
    let plugin = |number: u8, tells: bool| {
        format!(
            "[{{name: mtls-auth, protocols: [https], config: {{ca_certificates: ['00000000-0000-4000-8000-00000000000{number}'], send_ca_dn: {tells}}}}}]"
        )
    };
    let document = format!(
        "_format_version: '3.0'\nca_certificates:\n{}{}routes:\n- {{name: p, protocols: [https], snis: [p.test, '*.both.test'], plugins: {}}}\n- {{name: s, protocols: [https], snis: [s.test, a.both.test], plugins: {}}}\n- {{name: quiet, protocols: [https], snis: [q.test], plugins: {}}}\n",
        entity(1, &partners),
        entity(2, &staff),
        plugin(1, true),
        plugin(2, true),
        plugin(1, false),
    );
    let name =
        |authority: &Authority| webpki::anchor_from_trusted_cert(&authority.own()).unwrap().subject.to_vec();
    let names = |authorities: &[&Authority]| authorities.iter().map(|one| name(one)).collect::<Vec<_>>();
    with(&document, believing(Demand::Nothing, &operator), |lab| async move {
        for version in VERSIONS {
            for (asked, expected) in [
                ("p.test", names(&[&partners, &operator])),
                ("s.test", names(&[&staff, &operator])),
                ("a.both.test", names(&[&partners, &operator, &staff])),
                ("b.both.test", names(&[&partners, &operator])),
                ("q.test", names(&[&operator])),
            ] {
                let listens = Arc::new(Listens::default());
                let schemes = provider().signature_verification_algorithms.supported_schemes();
                let config = ClientConfig::builder_with_provider(Arc::new(provider()))
                    .with_protocol_versions(&[version])
                    .unwrap()
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Credulous { schemes }))
                    .with_client_cert_resolver(listens.clone());
                let config = Arc::new(config);
                drop(ask(&lab, &config, asked, asked).await.unwrap());
                let heard = listens.0.lock().unwrap().clone();
                let inside = |name: &Vec<u8>| expected.iter().any(|one| name.ends_with(one));
                assert!(heard.len() == expected.len() && heard.iter().all(inside), "{asked}: {heard:?}");
            }
        }
    })
    .await;
}
