//! What clients claim about who they are, behind a body that a plugin has read before anybody asked for it.

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::grpc::{GRPC, answer, call, read, send, upstream};
use super::lab::with;
use crate::settings::Settings;

#[tokio::test(start_paused = true)]
async fn trailers_claim_nothing_behind_a_body_that_a_plugin_has_read() {
    for read_body in ["false", "true"] {
        let document = format!("{GRPC}\nplugins:\n- {{name: reader, config: {{read_body: {read_body}}}}}\n");
        with(&document, Settings::default(), |lab| async move {
            let client = lab.http2().await;
            let (response, mut body) = send(&client, call("/call")).await;
            body.send_data(Bytes::from_static(b"x"), false).unwrap();
            let mut trailers = HeaderMap::new();
            for name in ["x-consumer-username", "x_consumer_id", "x_own", "x-sum"] {
                trailers.insert(name, "1".parse().unwrap());
            }
            body.send_trailers(trailers).unwrap();
            let mut upstream = upstream(&lab).await;
            let (request, respond) = upstream.request().await;
            upstream.run();
            let (_, _, text, trailers) = read(Response::new(request.into_body())).await;
            let trailers = trailers.unwrap();
            let names: Vec<&str> = trailers.keys().map(|name| name.as_str()).collect();
            assert_eq!((text.as_str(), names), ("x", vec!["x-sum"]), "read by a plugin: {read_body}");
            answer(respond, "");
            assert_eq!(response.await.unwrap().status(), 200);
        })
        .await;
    }
}
