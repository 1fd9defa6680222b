//! TLS, users, sentinels and clusters, each with real servers.

use super::server::Server;
use super::{Client, Lab, eventually, expect, told};
use crate::case::Case;
use crate::certificates::Certificates;

/// What a user needs to count, and no more.
const RIGHTS: &str = "resetkeys ~ratelimit:* resetchannels -@all +evalsha +eval +get +set +incr +incrby +expire +time +ping +select";

/// TLS with a certificate of an authority of our own, and a user with few rights.
pub(super) fn tls_and_users(lab: &Lab) -> Result<(), String> {
    let case = Case::parse(
        "authorities: [ca, other]\ncertificates:\n  redis: {names: [redis.test], by: ca}\nrefuses: {exit: 1}\n",
    )?;
    Certificates::make(&case)?.placeholders(lab.folder()).map_err(|error| error.to_string())?;
    let file = |name: &str| lab.folder().join(name).display().to_string();
    let redis = Server::start(
        lab.folder(),
        &format!(
            "port 0\ntls-port PORT\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients no\n\
             user default off\nuser limiter on >secret {RIGHTS}",
            file("redis.crt"),
            file("redis.key"),
            file("ca.crt")
        ),
    )?;
    let of = |password: &str, more: &str| {
        format!(
            "{{name: rate-limiting, config: {{year: 1, limit_by: service, policy: redis, fault_tolerant: false, redis: {{host: \
             127.0.0.1, port: {}, database: 1, username: limiter, password: {password}, ssl: true, {more}}}}}}}",
            redis.port
        )
    };
    let (good, blind) = (of("secret", "server_name: redis.test"), of("secret", "ssl_verify: false"));
    let (wrong, unnamed) = (of("wrong", "server_name: redis.test"), of("secret", "ssl_verify: true"));
    let routes = [("good", good.as_str()), ("blind", &blind), ("wrong", &wrong), ("unnamed", &unnamed)];
    let believing = [("KONG_LUA_SSL_TRUSTED_CERTIFICATE", file("ca.crt"))];
    let believing: Vec<_> = believing.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let gateway = lab.gateway(&routes, &believing)?;
    let mut client = Client::of(&gateway)?;
    let outcome = (|| {
        expect("verified", client.statuses("good", 2)?, vec![200, 429])?;
        expect("not verified", client.statuses("blind", 2)?, vec![200, 429])?;
        expect("a wrong password", client.get("wrong")?, 500)?;
        expect("a certificate of another name", client.get("unnamed")?, 500)?;
        for reason in ["authentication failed", "not valid for name"] {
            if !gateway.wait_for_line(|line| {
                line.contains("a shared server does not answer") && line.contains(reason)
            }) {
                return Err(format!("the log does not say {reason}"));
            }
        }
        Ok(())
    })();
    told(&gateway, outcome)?;
    if gateway.output().contains("secret") {
        return Err("the log shows a password".to_owned());
    }
    let other = file("other.crt");
    let gateway = lab.gateway(&routes, &[("KONG_LUA_SSL_TRUSTED_CERTIFICATE", other.as_str())])?;
    expect("another authority", Client::of(&gateway)?.get("good")?, 500)
}

/// A master with a replica and a sentinel; the replica becomes the master.
pub(super) fn sentinels(lab: &Lab) -> Result<(), String> {
    let sign_in = "requirepass secret\nmasterauth secret\nuser watcher on >word ~* &* +@all";
    let signed = |server: &Server, command: &[&str]| server.ask_as(("default", "secret"), command);
    let master = Server::start(lab.folder(), sign_in)?;
    let replica = Server::start(lab.folder(), &format!("{sign_in}\nreplicaof 127.0.0.1 {}", master.port))?;
    eventually(|| {
        let answer = signed(&replica, &["ROLE"])?;
        if answer.iter().any(|part| part == "connected") { Ok(()) } else { Err(format!("{answer:?}")) }
    })?;
    let sentinel = Server::start(
        lab.folder(),
        &format!(
            "sentinel monitor main 127.0.0.1 {} 1\nsentinel auth-pass main secret\nrequirepass guarded",
            master.port
        ),
    )?;
    let guarded = |command: &[&str]| sentinel.ask_as(("default", "guarded"), command);
    eventually(|| match guarded(&["SENTINEL", "REPLICAS", "main"])?.contains(&replica.port.to_string()) {
        true => Ok(()),
        false => Err("the sentinel does not know the replica".to_owned()),
    })?;
    let plugin = format!(
        "{{name: rate-limiting-advanced, config: {{limit: [3], window_size: [31536000], disable_penalty: true, identifier: \
         service, strategy: redis, sync_rate: 0, failure_mode: closed, redis: {{password: secret, sentinel_master: main, \
         sentinel_role: master, sentinel_password: guarded, sentinel_nodes: [{{host: 127.0.0.1, port: 1}}, {{host: \
         127.0.0.1, port: {}}}]}}}}}}",
        sentinel.port
    );
    let gateway = lab.gateway(&[("counted", &plugin)], &[])?;
    let mut client = Client::of(&gateway)?;
    let outcome = (|| {
        expect("by the first master", client.statuses("counted", 2)?, vec![200, 200])?;
        eventually(|| match signed(&replica, &["DBSIZE"])?.first().is_some_and(|size| size != "0") {
            true => Ok(()),
            false => Err("nothing was replicated".to_owned()),
        })?;
        // It has to have heard of the replica more than once.
        eventually(|| guarded(&["SENTINEL", "FAILOVER", "main"]))?;
        let wanted = replica.port.to_string();
        eventually(|| {
            match guarded(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"])?.get(1) == Some(&wanted) {
                true => Ok(()),
                false => Err("no failover".to_owned()),
            }
        })?;
        // The old master refuses to write from now on, or a moment later.
        eventually(|| match signed(&master, &["ROLE"])?.first().is_some_and(|role| role == "slave") {
            true => Ok(()),
            false => Err("the old master still is one".to_owned()),
        })?;
        let next = eventually(|| match client.get("counted")? {
            500 => Err("not yet".to_owned()),
            status => Ok(status),
        })?;
        expect("by the second, which has the counts", next, 200)?;
        expect("the limit", client.get("counted")?, 429)
    })();
    told(&gateway, outcome)
}

/// Three masters that make up a cluster.
pub(super) fn three_masters(lab: &Lab) -> Result<Vec<Server>, String> {
    let configuration = "cluster-enabled yes\ncluster-config-file nodes.conf\ncluster-node-timeout 5000";
    let nodes: Vec<Server> =
        (0..3).map(|_| Server::start(lab.folder(), configuration)).collect::<Result<_, _>>()?;
    for (index, node) in nodes.iter().enumerate() {
        let (first, last) = (index * 5461, if index == 2 { 16_383 } else { (index + 1) * 5461 - 1 });
        node.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()])?;
        node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])?;
    }
    for node in &nodes[1..] {
        nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string()])?;
    }
    for node in &nodes {
        let is_whole = |answer: &[String]| {
            let text = answer.join("\n");
            text.contains("cluster_state:ok") && text.contains("cluster_known_nodes:3")
        };
        node.await_answer(&["CLUSTER", "INFO"], is_whole)?;
        node.await_answer(&["CLUSTER", "SLOTS"], |answer| {
            nodes.iter().all(|node| answer.contains(&node.port.to_string()))
        })?;
    }
    Ok(nodes)
}

/// Three masters; a slot moves from one to another.
pub(super) fn cluster(lab: &Lab) -> Result<(), String> {
    let nodes = three_masters(lab)?;
    let plugin = format!(
        "{{name: rate-limiting-advanced, config: {{limit: [2, 9], window_size: [31536000, 63072000], disable_penalty: true, \
         identifier: header, header_name: X-Tenant, namespace: shop, strategy: redis, sync_rate: 0, failure_mode: closed, \
         redis: {{cluster_nodes: [{{ip: 127.0.0.1, port: 1}}, {{ip: 127.0.0.1, port: {}}}]}}}}}}",
        nodes[1].port
    );
    let gateway = lab.gateway(&[("counted", &plugin)], &[])?;
    told(&gateway, in_cluster(&nodes, &mut Client::of(&gateway)?))
}

fn in_cluster(nodes: &[Server], client: &mut Client) -> Result<(), String> {
    let mut thrice = |tenant: &str| -> Result<Vec<u16>, String> {
        (0..3).map(|_| client.get_as("counted", tenant)).collect()
    };
    for tenant in 0..30 {
        expect("a tenant", thrice(&format!("tenant{tenant}"))?, vec![200, 200, 429])?;
    }
    for node in nodes {
        if node.ask(&["DBSIZE"])?.first().is_none_or(|size| size == "0") {
            return Err("a node of the cluster has no counters".to_owned());
        }
    }
    // The slot of a tenant who has not come yet is somebody else's from now on.
    let slot = nodes[0].ask(&["CLUSTER", "KEYSLOT", "{shop:1:mover}"])?.concat();
    let number: usize = slot.parse().map_err(|_| format!("no slot: {slot}"))?;
    let target = &nodes[(number / 5461 + 1) % 3];
    let id = target.ask(&["CLUSTER", "MYID"])?.concat();
    target.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &id])?;
    for node in nodes {
        node.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &id])?;
    }
    let before = target.ask(&["DBSIZE"])?;
    expect("after the slot has moved", thrice("mover")?, vec![200, 200, 429])?;
    if target.ask(&["DBSIZE"])? == before {
        return Err("the counters are not where the slot is".to_owned());
    }
    Ok(())
}
