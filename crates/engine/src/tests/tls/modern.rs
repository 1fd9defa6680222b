//! A service that speaks HTTP/2 under TLS, in the hands of the test.

use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use http::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio_rustls::server::TlsStream;

use super::authority::Authority;
use super::services::{accept, server};
use crate::tests::lab::{Lab, Peer};

/// What most services offer that speak HTTP/2.
pub const BOTH: &[&str] = &["h2", "http/1.1"];

/// A service that speaks `protocols`, the best first.
pub fn speaking(protocols: &[&str]) -> Arc<ServerConfig> {
    let mut config = (*server(&Authority::root().issue(&["up.test"]))).clone();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// The service's end of a connection of HTTP/2.
pub struct Modern<S = TlsStream<DuplexStream>>(pub Connection<S, Bytes>);

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Modern<S> {
    pub async fn on(stream: S, streams: u32) -> Self {
        let mut builder = h2::server::Builder::new();
        Self(builder.max_concurrent_streams(streams).handshake(stream).await.unwrap())
    }

    pub async fn request(&mut self) -> (Request<RecvStream>, SendResponse<Bytes>) {
        self.0.accept().await.unwrap().unwrap()
    }

    /// Lets the connection go on by itself.
    pub fn run(mut self) -> tokio::task::JoinHandle<()> {
        tokio::task::spawn_local(async move { while let Some(Ok(_)) = self.0.accept().await {} })
    }
}

/// The next connection the gateway opens, which comes to HTTP/2.
pub async fn modern(lab: &Lab, config: &Arc<ServerConfig>) -> Modern {
    let Peer(stream) = accept(lab.upstream().await, config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    Modern::on(stream, 100).await
}

/// A new client whose request comes to a service with this configuration over HTTP/2.
pub async fn asked(lab: &Lab, config: &Arc<ServerConfig>, request: &str) -> (Peer, Modern) {
    let mut client = lab.client();
    client.send(request).await;
    (client, modern(lab, config).await)
}

/// Answers with a body of announced length, and `trailers` if there are any.
pub fn answer(mut respond: SendResponse<Bytes>, body: &'static str, trailers: &[(&'static str, &str)]) {
    let head = Response::builder().header("content-length", body.len()).header("x-a", "1").body(()).unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    stream.send_data(Bytes::from_static(body.as_bytes()), trailers.is_empty()).unwrap();
    if !trailers.is_empty() {
        let fields = trailers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        stream.send_trailers(HeaderMap::from_iter(fields)).unwrap();
    }
}

/// Reads a request body to its end.
pub async fn read(request: Request<RecvStream>) -> String {
    read_whole(request).await.0
}

/// Reads a request body and its trailers.
pub async fn read_whole(request: Request<RecvStream>) -> (String, Option<HeaderMap>) {
    let mut body = request.into_body();
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        text.extend_from_slice(&piece);
    }
    (String::from_utf8(text).unwrap(), body.trailers().await.unwrap())
}
