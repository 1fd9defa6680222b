//! HTTP/2 messages: what they become, and what is refused.

use super::*;

fn parts(build: impl FnOnce(request::Builder) -> request::Builder) -> request::Parts {
    build(Request::builder()).body(()).unwrap().into_parts().0
}

fn head(request: &request::Parts, ended: bool) -> Result<RequestHead, Reject> {
    let mut head = RequestHead::new();
    let arrival = Arrival { ended, protocol: None };
    request_head(request, arrival, &Limits::default(), &mut head).map(|()| head)
}

fn refused(build: impl FnOnce(request::Builder) -> request::Builder) -> u16 {
    head(&parts(build), true).unwrap_err().status
}

#[test]
fn a_request_is_what_it_would_be_over_http_1() {
    let request = parts(|builder| {
        builder
            .method("POST")
            .uri("https://shop.test:8443/a%20b?c=d")
            .header("content-length", "5")
            .header("cookie", "a=1")
            .header("te", "trailers")
            .header("trailer", "x-sum")
            .header("x-one", "1")
            .header("cookie", "b=2")
    });
    let head = head(&request, false).unwrap();
    assert_eq!((head.method, head.version), (Method::Post, Version::Http2));
    assert_eq!((head.target(), head.host()), (&b"/a%20b?c=d"[..], Some(&b"shop.test:8443"[..])));
    assert_eq!(head.framing, BodyLength::Exact(5));
    let cookies: Vec<_> = head.headers.known_all(Known::Cookie).collect();
    assert_eq!(cookies, [b"a=1; b=2"]);
    assert_eq!(head.headers.get("X-One"), Some(&b"1"[..]));
}

#[test]
fn the_end_of_the_stream_is_the_end_of_a_body_of_unknown_length() {
    let request = parts(|builder| builder.uri("http://a/"));
    assert_eq!(head(&request, false).unwrap().framing, BodyLength::UntilClose);
    assert_eq!(head(&request, true).unwrap().framing, BodyLength::None);
}

#[test]
fn a_stream_may_become_a_websocket_and_nothing_else() {
    let request = parts(|builder| builder.method("CONNECT").uri("http://a/chat"));
    let taken = |protocol| {
        let mut head = RequestHead::new();
        let arrival = Arrival { ended: false, protocol };
        request_head(&request, arrival, &Limits::default(), &mut head).map(|()| head)
    };
    let head = taken(Some("websocket")).unwrap();
    assert_eq!((head.method, head.target(), head.framing), (Method::Get, &b"/chat"[..], BodyLength::None));
    assert_eq!(head.upgrade, Some(Upgrade::WebSocket));
    assert_eq!(taken(Some("connect-udp")).unwrap_err().status, 501);
}

#[test]
fn what_http_1_refuses_is_refused() {
    assert_eq!(refused(|builder| builder.uri("/")), 400, "no host");
    assert_eq!(refused(|builder| builder.uri("http://a/").header("host", "b")), 400);
    assert_eq!(refused(|builder| builder.uri("/").header("host", "a").header("host", "a")), 400);
    assert_eq!(refused(|builder| builder.uri("/").header("host", "a b")), 400);
    assert_eq!(refused(|builder| builder.uri("http://a/%zz")), 400);
    for name in ["connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection"] {
        assert_eq!(refused(|builder| builder.uri("http://a/").header(name, "close")), 400, "{name}");
    }
    assert_eq!(refused(|builder| builder.uri("http://a/").header("te", "gzip")), 400);
    assert_eq!(refused(|builder| builder.uri("http://a/").header("x-a", " a")), 400);
    assert_eq!(refused(|builder| builder.uri("http://a/").header("cookie", "a=1 ")), 400);
    assert_eq!(refused(|builder| builder.uri("ftp://a/")), 400);
    let lengths =
        |builder: request::Builder| builder.header("content-length", "1").header("content-length", "1");
    assert_eq!(refused(|builder| lengths(builder.uri("http://a/"))), 400);
    assert_eq!(refused(|builder| builder.uri("http://a/").header("content-length", "+1")), 400);
    let long = format!("http://a/{}", "x".repeat(9000));
    assert_eq!(refused(|builder| builder.uri(long)), 414);
    let large = "x".repeat(33 << 10);
    assert_eq!(refused(|builder| builder.uri("http://a/").header("x", large)), 431);
    let many = |builder: request::Builder| (0..101).fold(builder, |builder, _| builder.header("x", "1"));
    assert_eq!(refused(|builder| many(builder.uri("http://a/"))), 431);
}

#[test]
fn white_space_around_the_metadata_of_a_call_is_left_out_and_refused_elsewhere() {
    let taken = |content_type: &str, name: &str| {
        let response = Response::builder()
            .header("content-type", content_type)
            .header("grpc-status", "5")
            .header(name, "\t no such  thing ")
            .body(())
            .unwrap();
        let mut head = ResponseHead::new();
        let limits = Limits::default();
        response_head(&response.into_parts().0, true, &limits, &mut head).map(|()| head)
    };
    for content_type in ["application/grpc", "application/grpc+proto"] {
        for name in ["grpc-message", "x-metadata"] {
            let head = taken(content_type, name).unwrap();
            assert_eq!(head.headers.get(name), Some(&b"no such  thing"[..]));
        }
        assert_eq!(taken(content_type, "content-length").unwrap_err().status, 502);
        assert_eq!(taken(content_type, "set-cookie").unwrap_err().status, 502);
    }
    assert_eq!(taken("text/plain", "grpc-message").unwrap_err().status, 502);
}

#[test]
fn trailers_beyond_the_bound_are_refused_and_those_that_come_too_late_left_out() {
    let mut map = HeaderMap::new();
    map.insert("content-length", HeaderValue::from_static("5"));
    for number in 0..3 {
        map.append("x-repeated", HeaderValue::from(number));
    }
    let mut fields = Headers::new();
    take_trailers(&map, 4, &mut fields).unwrap();
    assert_eq!((fields.len(), fields.get("content-length")), (3, None));
    assert_eq!(take_trailers(&map, 3, &mut fields).unwrap_err().status, 431);
}

#[test]
fn a_response_has_lower_case_names_and_nothing_of_one_connection() {
    let mut headers = Headers::new();
    for (name, value) in
        [("Content-Type", "a/b"), ("Connection", "x"), ("X-A", "1"), ("Transfer-Encoding", "c")]
    {
        headers.append(name, value.as_bytes());
    }
    let response = response(204, &headers, |field| field.name != b"X-A");
    assert_eq!(response.status(), 204);
    assert_eq!(
        response.headers().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["content-type"]
    );
}
