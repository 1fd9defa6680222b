//! Sessions are resumed where that is safe, and nowhere else.

use std::sync::Arc;

use plugin::exchange::Demand;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;
use super::names::certificates;
use super::{GET, answer, client_config, client_of, connect_with, pair, provider, settings};
use crate::settings::Settings;
use crate::tests::lab::{Lab, PLAIN, Peer, with};
use crate::tls::tests::{Domain, server_config};
use crate::tls::{Keeper, TlsSettings};

/// How a client's next handshake goes; a request follows, and with its response the ticket for the one after.
async fn visit(lab: &Lab, config: &Arc<ClientConfig>, name: &str) -> HandshakeKind {
    let mut client = connect_with(lab.tls_client(), config, name).await.unwrap();
    client.send(GET).await;
    let _upstream = answer(lab).await;
    assert_eq!(client.response().await.0, 200);
    client.0.get_ref().1.handshake_kind().unwrap()
}

fn without_pool(mut settings: Settings) -> Settings {
    settings.upstream_pool_size = 0;
    settings
}

#[tokio::test(start_paused = true)]
async fn a_client_resumes_its_session_and_does_so_after_a_reload() {
    let issued = Authority::root().issue(&["x.test"]);
    let document = certificates(&[(&issued, &["x.test", "y.test"])]);
    with(&document.clone(), without_pool(Settings::default()), |lab| async move {
        for version in [&TLS12, &TLS13] {
            let config = Arc::new(client_of(provider(), &[version], None));
            assert_eq!(visit(&lab, &config, "x.test").await, HandshakeKind::Full);
            assert_eq!(visit(&lab, &config, "x.test").await, HandshakeKind::Resumed, "{version:?}");
            lab.reload(&document.replace("name: all", "name: other"));
            assert_eq!(visit(&lab, &config, "x.test").await, HandshakeKind::Resumed, "{version:?}");
            assert_eq!(visit(&lab, &config, "y.test").await, HandshakeKind::Full, "{version:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_tickets_every_handshake_is_a_whole_one() {
    let mut settings = without_pool(settings(&Authority::root().issue(&["x.test"])));
    settings.tls.session_tickets = false;
    with(PLAIN, settings, |lab| async move {
        for version in [&TLS12, &TLS13] {
            let config = Arc::new(client_of(provider(), &[version], None));
            for _ in 0..2 {
                assert_eq!(visit(&lab, &config, "x.test").await, HandshakeKind::Full);
            }
        }
    })
    .await;
}

/// How a handshake between the two goes.
pub async fn meet(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> HandshakeKind {
    let (near, far) = tokio::io::duplex(16 << 10);
    let serving = async {
        let mut server = Peer(TlsAcceptor::from(server.clone()).accept(near).await.unwrap());
        server.send("hello").await;
        server
    };
    let visiting = async {
        let mut client = connect_with(far, client, "x.test").await.unwrap();
        client.expect("hello").await;
        client.0.get_ref().1.handshake_kind().unwrap()
    };
    tokio::join!(serving, visiting).1
}

#[tokio::test]
async fn a_ticket_of_one_trust_domain_is_worth_nothing_in_another() {
    let issued = Authority::root().issue(&["x.test"]);
    let keeper = Keeper::new(TlsSettings::default()).unwrap();
    let of = |demand, authorities: Vec<u8>| {
        let domain = Domain::of(demand, authorities.into_iter().map(|byte| [byte; 32]).collect());
        Arc::new(server_config(&keeper, pair(&issued), &domain))
    };
    let [anyone, asked, staff, partners, same] = [
        of(Demand::Nothing, vec![]),
        of(Demand::Request, vec![]),
        of(Demand::Request, vec![1]),
        of(Demand::Request, vec![1, 2]),
        of(Demand::Request, vec![2, 1, 1]),
    ];
    for (first, second, kind) in [
        (&anyone, &anyone, HandshakeKind::Resumed),
        (&anyone, &asked, HandshakeKind::Full),
        (&asked, &anyone, HandshakeKind::Full),
        (&asked, &staff, HandshakeKind::Full),
        (&staff, &partners, HandshakeKind::Full),
        (&partners, &same, HandshakeKind::Resumed),
    ] {
        let client = Arc::new(client_config());
        assert_eq!(meet(&client, first).await, HandshakeKind::Full);
        assert_eq!(meet(&client, second).await, kind);
    }
}
