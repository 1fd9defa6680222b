//! How the gateway and the targets of upstreams are: `/status`, `/upstreams/{upstream}/health`, and targets set by hand.

use crate::support::{Plane, send};
use serde_json::json;

#[test]
fn the_health_of_targets_is_told_in_kongs_words() {
    let plane = Plane::start();
    for address in [plane.admin(), plane.status()] {
        let body = send(address, "GET", "/upstreams/u.test/health", "", b"").json();
        assert_eq!(body["node_id"], plane.services.node_id.to_string());
        let data = &body["data"];
        assert_eq!(
            (&data[0]["target"], &data[0]["health"]),
            (&json!("10.0.0.1:80"), &json!("HEALTHCHECKS_OFF"))
        );
        assert_eq!(data[0]["data"]["addresses"][0]["ip"], "10.0.0.1");
        assert_eq!(data[0]["data"]["weight"], json!({ "total": 100, "available": 100, "unavailable": 0 }));
        assert_eq!((&data[1]["target"], &data[1]["health"]), (&json!("gone.test:8000"), &json!("DNS_ERROR")));
        assert_eq!(data[1]["data"]["addresses"], json!([]));
        let listed = json!({
            "target": "listed.test:80",
            "weight": 7,
            "upstream": { "id": data[0]["upstream"]["id"] },
            "discovered": true,
            "health": "HEALTHCHECKS_OFF",
            "data": {
                "host": "listed.test",
                "port": 80,
                "nodeWeight": 7,
                "weight": { "total": 7, "available": 7, "unavailable": 0 },
                "addresses": [{ "ip": "10.0.0.3", "port": 80, "weight": 7, "health": "HEALTHCHECKS_OFF" }],
            },
        });
        assert_eq!(data[2], listed, "a target that is listed elsewhere is no entity");
    }
    let whole = plane.get("/upstreams/u.test/health?balancer_health=1").json();
    assert_eq!(whole["data"]["health"], "HEALTHCHECKS_OFF");
    assert_eq!(plane.get("/upstreams/none/health").status, 404);
}

#[test]
fn the_health_of_targets_is_set_by_hand() {
    let plane = Plane::start();
    let order = |method: &str, path: &str| {
        let answer = plane.call(method, &format!("/upstreams/u.test/targets/{path}"));
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{path}");
        plane.orders.lock().unwrap().try_recv().unwrap()
    };
    assert_eq!(order("PUT", "10.0.0.1:80/unhealthy"), "u.test 10.0.0.1:80 all false");
    assert_eq!(order("POST", "gone.test/healthy"), "u.test gone.test:8000 all true");
    assert_eq!(order("PUT", "10.0.0.1:80/10.0.0.1:80/healthy"), "u.test 10.0.0.1:80 10.0.0.1:80 true");
    assert_eq!(order("PUT", "listed.test:80/healthy"), "u.test listed.test:80 all true");
    let status = |method: &str, path: &str| plane.call(method, &format!("/upstreams/{path}")).status;
    assert_eq!(status("PUT", "u.test/targets/other.test:80/healthy"), 404);
    assert_eq!(status("PUT", "none/targets/10.0.0.1:80/healthy"), 404);
    assert_eq!(status("PUT", "u.test/targets/10.0.0.1:80/well"), 404);
    assert_eq!(status("GET", "u.test/targets/10.0.0.1:80/healthy"), 405);
    let refused = plane.call("PUT", "/upstreams/u.test/targets/10.0.0.1:80/10.0.0.9:80/healthy");
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["message"], "the target has no such address, or no weight");
    assert!(plane.orders.lock().unwrap().try_recv().is_err());
    let from_status = send(plane.status(), "PUT", "/upstreams/u.test/targets/10.0.0.1:80/healthy", "", b"");
    assert_eq!(from_status.status, 404, "the status listener shows only");
}

#[test]
fn the_status_listener_shows_health_and_metrics_only() {
    let plane = Plane::start();
    let get = |target: &str| send(plane.status(), "GET", target, "", b"");
    let status = get("/status").json();
    assert_eq!(status["server"]["total_requests"], 0);
    assert_eq!(status["configuration_hash"], model::declarative::digest(crate::support::DOCUMENT));
    assert!(status["memory"]["lua_shared_dicts"].is_object());
    let source = json!({
        "upstream": "u.test",
        "source": "consul",
        "up": false,
        "targets": 1,
        "age": 70,
        "restored": true,
        "expired": false,
        "problem": "no answer in time",
    });
    assert_eq!(status["discovery"], json!([source]));
    assert_eq!(get("/status/ready").body, r#"{"message":"ready"}"#);
    let metrics = get("/metrics");
    assert_eq!((metrics.status, metrics.body.contains("kong_node_info")), (200, true));
    for hidden in
        ["/", "/services", "/config", "/schemas/plugins/jwt", "/key-auths", "/endpoints", "/proxy-cache/k"]
    {
        assert_eq!(get(hidden).status, 404, "{hidden}");
    }
    assert_eq!(send(plane.status(), "DELETE", "/proxy-cache", "", b"").status, 404);
}

#[test]
fn a_gateway_with_nothing_to_serve_is_not_ready() {
    let plane = Plane::start();
    assert_eq!(plane.post("/config", "text/yaml", "_format_version: '3.0'").status, 201);
    let answer = plane.get("/status/ready");
    assert_eq!((answer.status, answer.body.as_str()), (503, r#"{"message":"no configuration available"}"#));
}

#[test]
fn the_status_counts_what_the_data_plane_counts() {
    let plane = Plane::start();
    let shard = plane.services.stats.shard(0);
    shard.accepted.add(5);
    shard.refused.add(1);
    shard.closed.add(2);
    shard.requests.add(9);
    shard.writing.set(1);
    let server = plane.get("/status").json()["server"].clone();
    assert_eq!(server["connections_accepted"], 6, "those that were refused too");
    assert_eq!(server["connections_handled"], 5);
    assert_eq!(server["connections_active"], 3);
    assert_eq!(server["connections_waiting"], 2);
    assert_eq!(server["total_requests"], 9);
    assert_eq!(plane.get("/status?unit=x").status, 400);
    assert_eq!(plane.get("/status?scale=99999999999").status, 400);
}
