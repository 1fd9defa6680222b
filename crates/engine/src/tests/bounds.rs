//! Bounds on sizes: who goes over one is refused with its status, and the log names it.

use super::lab::{PLAIN, with};
use crate::bounds::Bound;
use crate::settings::Settings;

/// A request that goes over one bound of the default settings, but for bodies of 1 KiB at most.
fn beyond(bound: Bound) -> (String, u16) {
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let chunks =
        |rest: &str| format!("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{rest}");
    let long = |length: usize| "x".repeat(length);
    match bound {
        Bound::MaxUriSize => (format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", long(9 << 10)), 414),
        Bound::MaxLineSize => (get(&format!("A: {}\r\n", long(17 << 10))), 431),
        Bound::MaxHeadSize => (get(&format!("A: {}\r\n", long(12 << 10)).repeat(3)), 431),
        Bound::MaxHeaderCount => (get(&"A: b\r\n".repeat(100)), 431),
        Bound::ConnectionOptions => {
            let options: Vec<_> = (0..33).map(|number| format!("o{number}")).collect();
            (get(&format!("Connection: {}\r\n", options.join(", "))), 400)
        }
        Bound::ChunkExtension => (chunks(&format!("1;{}\r\na\r\n0\r\n\r\n", long(300))), 400),
        Bound::Trailers => {
            (chunks(&format!("0\r\n{}\r\n", format!("A: {}\r\n", long(3 << 10)).repeat(3))), 431)
        }
        _ => (format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n{}", long(2000)), 413),
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_over_a_bound_is_refused_and_the_bound_named() {
    for bound in [
        Bound::MaxUriSize,
        Bound::MaxLineSize,
        Bound::MaxHeadSize,
        Bound::MaxHeaderCount,
        Bound::ConnectionOptions,
        Bound::ChunkExtension,
        Bound::Trailers,
        Bound::ClientMaxBodySize,
    ] {
        let settings = Settings { max_body_bytes: 1024, ..Settings::default() };
        with(PLAIN, settings, |lab| async move {
            let mut client = lab.client();
            let (request, status) = beyond(bound);
            client.send(&request).await;
            assert_eq!(client.response().await.0, status, "{bound:?}");
            assert!(!lab.local.bounds.reached(bound), "{bound:?} has been told of");
        })
        .await;
    }
}
