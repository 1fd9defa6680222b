//! Whether a service is believed, and what it is shown.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::time::Instant;

use super::authority::{Authority, Issued};
use super::services::{Document, accept, server, server_builder, visit};
use super::{GET, OK, pair};
use crate::settings::Settings;
use crate::tests::lab::with;
use crate::tls::TlsSettings;

/// The status a client gets when a service is verified by `authority` and shows `issued`.
async fn status(authority: &Authority, issued: &Issued, more: &str) -> u16 {
    let document = Document::new("secure.test").trusting(&[authority]).with(more).text();
    let mut status = 0;
    let server = server(issued);
    let place = &mut status;
    with(&document, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send(GET).await;
        let serving = tokio::task::spawn_local({
            let lab = lab.clone();
            async move {
                // A service that is not believed is tried as often as one that refuses connections.
                loop {
                    if let Ok(mut service) = accept(lab.upstream().await, &server).await {
                        service.head().await;
                        service.send(OK).await;
                    }
                }
            }
        });
        *place = client.response().await.0;
        serving.abort();
    })
    .await;
    status
}

const VERIFY: &str = "tls_verify: true";

#[tokio::test(start_paused = true)]
async fn a_service_is_believed_by_its_authority_its_name_and_its_time() {
    let [known, unknown] = [Authority::root(), Authority::root()];
    let good = known.issue(&["secure.test"]);
    assert_eq!(status(&known, &good, VERIFY).await, 200);
    assert_eq!(status(&known, &known.issue_rsa(&["secure.test"]), VERIFY).await, 200);
    assert_eq!(status(&known, &unknown.issue(&["secure.test"]), VERIFY).await, 502);
    assert_eq!(status(&known, &known.issue(&["other.test"]), VERIFY).await, 502);
    assert_eq!(status(&known, &known.issue_expired(&["secure.test"]), VERIFY).await, 502);
}

#[tokio::test(start_paused = true)]
async fn without_verification_any_certificate_will_do() {
    let [known, unknown] = [Authority::root(), Authority::root()];
    let odd = unknown.issue_expired(&["other.test"]);
    assert_eq!(status(&known, &odd, "tls_verify: false").await, 200);
    assert_eq!(status(&known, &odd, "").await, 200, "the default is Kong's");
}

#[tokio::test(start_paused = true)]
async fn a_chain_may_be_as_long_as_the_service_says() {
    let root = Authority::root();
    let issued = root.below().below().issue(&["secure.test"]);
    for (depth, expected) in [(1, 502), (2, 200), (3, 200)] {
        let more = format!("{VERIFY}, tls_verify_depth: {depth}");
        assert_eq!(status(&root, &issued, &more).await, expected, "{depth}");
    }
    assert_eq!(status(&root, &issued, VERIFY).await, 200);
    assert_eq!(
        status(&root, &root.issue(&["secure.test"]), "tls_verify: true, tls_verify_depth: 0").await,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn the_gateways_setting_decides_where_the_service_says_nothing() {
    let root = Authority::root();
    let odd = server(&Authority::root().issue(&["secure.test"]));
    let tls = TlsSettings { verify_services: true, ..TlsSettings::default() };
    let document = Document::new("secure.test").trusting(&[&root]).text();
    with(&document, Settings { tls, ..Settings::default() }, |lab| async move {
        let mut client = lab.client();
        client.send(GET).await;
        for _ in 0..3 {
            assert!(accept(lab.upstream().await, &odd).await.is_err());
        }
        assert_eq!(client.response().await.0, 502);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_no_more_time_than_connecting() {
    for version in ["", "http2: true"] {
        with(&Document::new("secure.test").with(version).text(), Settings::default(), |lab| async move {
            let mut client = lab.client();
            let start = Instant::now();
            client.send(GET).await;
            let _silent = [lab.upstream().await, lab.upstream().await, lab.upstream().await];
            assert_eq!(client.response().await.0, 504, "{version}");
            assert_eq!(
                start.elapsed(),
                Duration::from_secs(3),
                "an attempt and two retries, of a second each"
            );
        })
        .await;
    }
}

/// A service that demands a certificate of `authority`.
fn demanding(issued: &Issued, authority: &Authority) -> Arc<ServerConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(Issued { certificate: authority.pem(), key: String::new() }.der()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(super::provider()))
        .build()
        .unwrap();
    let pair = pair(issued);
    Arc::new(server_builder().with_client_cert_verifier(verifier).with_cert_resolver(pair.resolver()))
}

#[tokio::test(start_paused = true)]
async fn a_service_that_asks_is_shown_the_certificate_set_for_it() {
    let root = Authority::root();
    let demanding = demanding(&root.issue(&["secure.test"]), &root);
    let [own, gateways] = [root.issue(&["own.test"]), root.issue(&["gateway.test"])];
    let plain = Document::new("secure.test");
    let tls = TlsSettings { client_certificate: Some(pair(&gateways)), ..TlsSettings::default() };
    let settings = || Settings { tls: tls.clone(), ..Settings::default() };
    for (document, expected) in
        [(plain.clone().showing(&own).text(), &own), (plain.clone().text(), &gateways)]
    {
        let demanding = demanding.clone();
        with(&document, settings(), |lab| async move {
            let mut client = lab.client();
            let (service, _) = visit(&lab, &mut client, &demanding, GET).await;
            let shown = service.0.get_ref().1.peer_certificates().unwrap()[0].clone();
            assert_eq!(shown, expected.der());
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_is_not_there_is_a_problem() {
    let document = Document::new("secure.test")
        .with("tls_verify: true, ca_certificates: [9ad4b0a5-7a53-4a08-8a3c-0d1e3f1b6f11]");
    with(crate::tests::lab::PLAIN, Settings::default(), |lab| async move {
        let problem = lab.compile(&document.text()).err().unwrap();
        assert!(problem.contains("there is no CA certificate with the id 9ad4b0a5"), "{problem}");
    })
    .await;
}
