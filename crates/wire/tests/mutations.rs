//! A small fuzzer for every test run: seeds are mutated by a fixed generator and must keep every property.

#![allow(clippy::unwrap_used, reason = "test code")]

mod properties;

use wire::{BodyLength, Limits, Method};

const ROUNDS: usize = 30_000;

const REQUESTS: &[&[u8]] = &[
    b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nPOST http://h:80/x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: keep-alive, close\r\n\r\nhello",
    b"PUT /%41 HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n5\r\n",
    b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nX-Empty:\r\nX-Pad:  a \t\r\n\r\nGET / HTTP/1.1\r\n",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: a=b; c=\"d\"\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 5, 5\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost:a\r\nX: \xc3\xa9\r\n\r\n",
];

const RESPONSES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 404 Nicht g\xfcltig\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 101\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX:\r\n\r\n\x81\x00",
];

const BODIES: &[&[u8]] = &[
    b"5\r\nhello\r\n6;a=\"b\"\r\n world\r\n0\r\n\r\nGET",
    b"0005 ;x\r\nhello\r\n0\r\nGrpc-Status: 0\r\nHost: a\r\nX:  y \r\n\r\n",
    b"ffffffffffffffff\r\n\r\n0\r\n\r\n",
];

/// What attacks on parsers are made of.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\0",
    b"\x7f",
    b"\xff",
    b"\"",
    b"%",
    b"#",
    b"@",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"Host: b\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"chunked",
    b"Connection: close\r\n",
    b"0\r\n",
    b"F",
    b"/",
    b"*",
    b"http://",
];

/// Xorshift: the same inputs on every machine.
struct Mutator(u64);

impl Mutator {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }

    fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from[self.below(from.len())]
    }

    fn mutated(&mut self, seeds: &[&[u8]]) -> Vec<u8> {
        let mut bytes = self.pick(seeds).to_vec();
        for _ in 0..self.below(4) {
            let place = self.below(bytes.len());
            let end = (place + self.below(8)).min(bytes.len());
            match self.below(6) {
                0 => drop(bytes.splice(place..end, self.pick(TOKENS).iter().copied())),
                1 => drop(bytes.splice(place..place, self.pick(TOKENS).iter().copied())),
                2 => drop(bytes.drain(place..end)),
                3 => bytes.extend_from_within(place..end),
                4 => bytes.truncate(place),
                _ if bytes.is_empty() => {}
                _ => bytes[place] = u8::try_from(self.below(256)).unwrap(),
            }
        }
        bytes
    }
}

/// Bounds tight enough that mutants reach them.
fn tight() -> Limits {
    Limits {
        max_head_bytes: 160,
        max_line_bytes: 60,
        max_target_bytes: 24,
        max_headers: 5,
        max_chunk_extension_bytes: 8,
        max_trailer_bytes: 40,
        max_body_bytes: Some(64),
    }
}

#[test]
fn mutated_requests_keep_every_property() {
    let mut mutator = Mutator(0x9e37_79b9_7f4a_7c15);
    for limits in [Limits::default(), tight()] {
        for _ in 0..ROUNDS {
            properties::request_head(&mutator.mutated(REQUESTS), &limits);
        }
    }
}

#[test]
fn mutated_responses_keep_every_property() {
    let mut mutator = Mutator(0xd1b5_4a32_d192_ed03);
    for limits in [Limits::default(), tight()] {
        for round in 0..ROUNDS {
            let method = [Method::Get, Method::Head, Method::Connect][round % 3];
            properties::response_head(&mutator.mutated(RESPONSES), &method, &limits);
        }
    }
}

#[test]
fn mutated_bodies_keep_every_property() {
    let mut mutator = Mutator(0x2545_f491_4f6c_dd1d);
    for limits in [Limits::default(), tight()] {
        for round in 0..ROUNDS {
            let length = [BodyLength::Chunked, BodyLength::Chunked, BodyLength::Exact(9)][round % 3];
            // Refusals are fine; what matters is that every split gives the same.
            let _ = properties::body(&mutator.mutated(BODIES), length, &limits);
        }
    }
}
