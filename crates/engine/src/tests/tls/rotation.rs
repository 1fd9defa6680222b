//! The keys of session tickets replace each other, each trust domain's for itself.

use std::sync::Arc;
use std::time::Duration;

use plugin::exchange::Demand;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ServerConfig, SupportedProtocolVersion};
use tokio::time::advance;

use super::authority::Authority;
use super::resumption::meet;
use super::{client_of, pair, provider};
use crate::tls::tests::{Domain, LIFETIME, server_config};
use crate::tls::{Keeper, TlsSettings};

const SECOND: Duration = Duration::from_secs(1);
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Servers of these trust domains in one gateway.
fn servers<const N: usize>(demands: [Demand; N]) -> [Arc<ServerConfig>; N] {
    let issued = Authority::root().issue(&["x.test"]);
    let keeper = Keeper::new(TlsSettings::default()).unwrap();
    demands.map(|demand| Arc::new(server_config(&keeper, pair(&issued), &Domain::of(demand, vec![]))))
}

/// Clients who have a ticket of `server`.
async fn known<const N: usize>(
    server: &Arc<ServerConfig>,
    version: &'static SupportedProtocolVersion,
) -> [Arc<ClientConfig>; N] {
    let clients = std::array::from_fn(|_| Arc::new(client_of(provider(), &[version], None)));
    for client in &clients {
        assert_eq!(meet(client, server).await, HandshakeKind::Full);
    }
    clients
}

#[tokio::test(start_paused = true)]
async fn a_ticket_outlives_one_change_of_keys_and_not_two() {
    for version in VERSIONS {
        let [server] = servers([Demand::Nothing]);
        let [often, seldom, never] = known(&server, version).await;
        advance(LIFETIME - SECOND).await;
        assert_eq!(
            meet(&often, &server).await,
            HandshakeKind::Resumed,
            "{version:?}: the key it was made with"
        );
        // The ticket that it has now is of the same key, as is that of the next one.
        advance(SECOND).await;
        assert_eq!(meet(&often, &server).await, HandshakeKind::Resumed, "{version:?}: the key before");
        assert_eq!(meet(&seldom, &server).await, HandshakeKind::Resumed, "{version:?}: the key before");
        // Both have been given tickets of the new key; the third has one of the key before it.
        advance(LIFETIME).await;
        assert_eq!(meet(&seldom, &server).await, HandshakeKind::Resumed, "{version:?}: a new ticket");
        assert_eq!(meet(&never, &server).await, HandshakeKind::Full, "{version:?}: two keys before");
        assert_eq!(meet(&never, &server).await, HandshakeKind::Resumed, "{version:?}: the new session");
    }
}

#[test]
fn clients_are_told_to_keep_a_ticket_as_long_as_it_may_be_opened() {
    let [server] = servers([Demand::Nothing]);
    assert_eq!(Duration::from_secs(server.ticketer.lifetime().into()), 2 * LIFETIME);
}

#[tokio::test(start_paused = true)]
async fn a_key_grows_old_where_nobody_comes() {
    for version in VERSIONS {
        let [server] = servers([Demand::Nothing]);
        let [early, late] = known(&server, version).await;
        advance(2 * LIFETIME - SECOND).await;
        assert_eq!(meet(&early, &server).await, HandshakeKind::Resumed, "{version:?}");
        advance(SECOND).await;
        assert_eq!(meet(&late, &server).await, HandshakeKind::Full, "{version:?}");
    }
    // The first handshake in a long time.
    let [server] = servers([Demand::Nothing]);
    let [client] = known(&server, &TLS13).await;
    advance(5 * LIFETIME).await;
    assert_eq!(meet(&client, &server).await, HandshakeKind::Full);
}

#[tokio::test(start_paused = true)]
async fn trust_domains_have_keys_of_their_own_after_a_change_too() {
    for version in VERSIONS {
        let [anyone, asked] = servers([Demand::Nothing, Demand::Request]);
        let [old] = known(&anyone, version).await;
        advance(LIFETIME).await;
        let [new] = known(&anyone, version).await;
        for client in [&old, &new] {
            assert_eq!(meet(client, &asked).await, HandshakeKind::Full, "{version:?}");
        }
        let [first, second] = known(&asked, version).await;
        assert_eq!(meet(&first, &anyone).await, HandshakeKind::Full, "{version:?}");
        assert_eq!(meet(&second, &asked).await, HandshakeKind::Resumed, "{version:?}");
    }
}
