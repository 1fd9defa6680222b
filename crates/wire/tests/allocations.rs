//! Once warm, reading and writing messages allocates nothing.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]

use allocation_counter::measure;
use wire::h1::encode;
use wire::{
    BodyDecoder, BodyLength, Known, Limits, Method, Parsed, RequestHead, ResponseHead, parse_request,
    parse_response,
};

const REQUEST: &[u8] = b"POST /orders/7?expand=items HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\n\
    Accept: */*\r\nConnection: keep-alive\r\nX-Drop: me\r\nTransfer-Encoding: chunked\r\n\r\n";
const BODY: &[u8] = b"5\r\nhello\r\n0\r\nGrpc-Status: 0\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n";

/// What a gateway does for one exchange, with buffers it keeps.
struct Exchange {
    limits: Limits,
    request: RequestHead,
    response: ResponseHead,
    body: BodyDecoder,
    upstream: Vec<u8>,
    downstream: Vec<u8>,
}

impl Exchange {
    fn run(&mut self) {
        self.upstream.clear();
        self.downstream.clear();
        let parsed = parse_request(REQUEST, &self.limits, &mut self.request);
        assert_eq!(parsed, Parsed::Complete { consumed: REQUEST.len() });
        self.request.headers.remove("x-drop");
        self.request.headers.set_known(Known::XForwardedFor, b"127.0.0.1");
        self.request.headers.set("Host", b"a-much-longer-name.upstream.example.com:8080");
        assert!(encode::request_head(&mut self.upstream, &self.request));
        self.body.reset(self.request.framing, &self.limits);
        let mut rest = BODY;
        while !self.body.is_done() {
            let decoded = self.body.decode(rest).unwrap();
            encode::chunk_head(&mut self.upstream, decoded.data.len());
            self.upstream.extend_from_slice(&rest[decoded.data]);
            rest = &rest[decoded.consumed..];
        }
        encode::last_chunk(&mut self.upstream, Some(self.body.trailers()));
        let parsed = parse_response(RESPONSE, &Method::Post, &self.limits, &mut self.response);
        assert_eq!(parsed, Parsed::Complete { consumed: RESPONSE.len() });
        self.response.headers.append("Via", b"1.1 gateway");
        encode::response_head(&mut self.downstream, &self.response);
        encode::header_number(&mut self.downstream, Known::ContentLength, 1234);
    }
}

#[test]
fn a_warm_exchange_allocates_nothing() {
    let limits = Limits::default();
    let mut exchange = Exchange {
        request: RequestHead::new(),
        response: ResponseHead::new(),
        body: BodyDecoder::new(BodyLength::None, &limits),
        upstream: Vec::new(),
        downstream: Vec::new(),
        limits,
    };
    let cold = measure(|| exchange.run());
    assert!(cold.count_total > 0, "the counter counts");
    for _ in 0..3 {
        assert_eq!(measure(|| exchange.run()).count_total, 0);
    }
}

#[test]
fn a_head_in_pieces_and_a_refused_one_allocate_nothing() {
    let limits = Limits::default();
    let mut head = RequestHead::new();
    parse_request(REQUEST, &limits, &mut head);
    let spent = measure(|| {
        for end in 1..REQUEST.len() {
            assert_eq!(parse_request(&REQUEST[..end], &limits, &mut head), Parsed::Incomplete);
        }
        assert!(matches!(parse_request(REQUEST, &limits, &mut head), Parsed::Complete { .. }));
        assert!(matches!(parse_request(b"GET / HTTP/1.1\n\n", &limits, &mut head), Parsed::Reject(_)));
    });
    assert_eq!(spent.count_total, 0);
}
