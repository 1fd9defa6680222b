//! PROXY protocol headers of both versions: what is accepted, what is refused and where, and what is printed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

#[path = "properties/proxy_protocol.rs"]
mod properties;

use std::net::SocketAddr;
use wire::proxy_protocol::{DEFAULT_MAX_BYTES, Origin, Parsed, parse, write_v1, write_v2};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn forwarded(source: &str, destination: &str) -> Origin {
    Origin::Forwarded { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// A header of version 2 with a block of its right length.
fn version2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

const IPV4: &[u8] = b"\xcb\0\x71\x07\xc6\x33\x64\x0a\xdc\x04\x01\xbb";

fn ipv4_with(extensions: &[u8]) -> Vec<u8> {
    version2(0x21, 0x11, &[IPV4, extensions].concat())
}

#[track_caller]
fn accepts(header: &[u8], origin: Origin) {
    let whole = Parsed::Complete { consumed: header.len(), origin };
    assert_eq!(properties::header(header, DEFAULT_MAX_BYTES), whole, "{}", header.escape_ascii());
    let followed = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
    assert_eq!(properties::header(&followed, DEFAULT_MAX_BYTES), whole, "{}", followed.escape_ascii());
    for end in 0..header.len() {
        assert_eq!(parse(&header[..end], DEFAULT_MAX_BYTES), Parsed::Incomplete, "{end}");
    }
}

/// Demands a refusal that comes with the last byte of `header` and holds a text.
#[track_caller]
fn refuses(header: &[u8], reason: &str) {
    match properties::header(header, DEFAULT_MAX_BYTES) {
        Parsed::Reject(reject) => assert!(reject.reason.contains(reason), "{reject:?} for {reason}"),
        other => panic!("{}: {other:?}", header.escape_ascii()),
    }
    let before = parse(&header[..header.len() - 1], DEFAULT_MAX_BYTES);
    assert_eq!(before, Parsed::Incomplete, "{}: refused before its end", header.escape_ascii());
}

#[test]
fn lines_of_version_1() {
    let cases = [
        ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", "192.0.2.1:56324", "192.0.2.2:443"),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            "255.255.255.255:65535",
            "255.255.255.255:65535",
        ),
        ("PROXY TCP4 0.0.0.0 1.2.3.4 0 1\r\n", "0.0.0.0:0", "1.2.3.4:1"),
        ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "[2001:db8::1]:1", "[::1]:2"),
        ("PROXY TCP6 2001:0DB8:0:0:0:0:0:1 :: 1 2\r\n", "[2001:db8::1]:1", "[::]:2"),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "[::ffff:192.0.2.1]:1", "[::1]:2"),
    ];
    for (line, source, destination) in cases {
        accepts(line.as_bytes(), forwarded(source, destination));
    }
    let longest = "ffff:".repeat(7) + "ffff";
    let line = format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n");
    let end = format!("[{longest}]:65535");
    accepts(line.as_bytes(), forwarded(&end, &end));
}

#[test]
fn a_line_without_addresses_may_say_what_it_likes_up_to_107_bytes() {
    accepts(b"PROXY UNKNOWN\r\n", Origin::Unknown);
    accepts(b"PROXY UNKNOWN \r\n", Origin::Unknown);
    accepts(b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n", Origin::Unknown);
    accepts(b"PROXY UNKNOWN \0\xff any thing\r\n", Origin::Unknown);
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    assert_eq!(longest.len(), 107);
    accepts(longest.as_bytes(), Origin::Unknown);
    refuses(format!("PROXY UNKNOWN {}", "x".repeat(92)).as_bytes(), "107");
}

#[test]
fn what_no_line_begins_like_is_refused_at_its_first_wrong_octet() {
    let cases: &[(&[u8], &str)] = &[
        (b"G", "does not begin"),
        (b"\x16", "does not begin"),
        (b"\n", "does not begin"),
        (b" ", "does not begin"),
        (b"p", "does not begin"),
        (b"PO", "does not begin"),
        (b"PROXy", "does not begin"),
        (b"PROXY\t", "neither TCP4"),
        (b"PROXY\r", "neither TCP4"),
        (b"PROXY  ", "neither TCP4"),
        (b"PROXY t", "neither TCP4"),
        (b"PROXY UD", "neither TCP4"),
        (b"PROXY TCP5", "neither TCP4"),
        (b"PROXY TCP46", "neither TCP4"),
        (b"PROXY TCP4\t", "neither TCP4"),
        (b"PROXY TCP4\r", "neither TCP4"),
        (b"PROXY UNKNOWNX", "neither TCP4"),
        (b"PROXY UNKNOWN\t", "neither TCP4"),
        (b"PROXY UNKNOWN\n", "neither TCP4"),
        (b"PROXY UNKNOWN \n", "CRLF"),
        (b"PROXY UNKNOWN \rx", "CRLF"),
        (b"PROXY TCP4  ", "address"),
        (b"PROXY TCP4 1.2.3 ", "address"),
        (b"PROXY TCP4 1.2.3.4.5 ", "address"),
        (b"PROXY TCP4 01.2.3.4 ", "address"),
        (b"PROXY TCP4 1.2.3.00 ", "address"),
        (b"PROXY TCP4 1.2.3.256 ", "address"),
        (b"PROXY TCP4 :", "address"),
        (b"PROXY TCP4 1.2.3.4-", "address"),
        (b"PROXY TCP4 1.2.3.4\t", "address"),
        (b"PROXY TCP4 1.2.3.4\r", "address"),
        (b"PROXY TCP4 1111111111111111", "address"),
        (b"PROXY TCP4 1.2.3.4  ", "address"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4\r", "address"),
        (b"PROXY TCP6 1.2.3.4 ", "address"),
        (b"PROXY TCP6 ::1::2 ", "address"),
        (b"PROXY TCP6 :::1 ", "address"),
        (b"PROXY TCP6 1:2:3:4:5:6:7 ", "address"),
        (b"PROXY TCP6 1:2:3:4:5:6:7:8:9 ", "address"),
        (b"PROXY TCP6 12345:: ", "address"),
        (b"PROXY TCP6 ::g", "address"),
        (b"PROXY TCP6 [", "address"),
        (b"PROXY TCP6 fe80::1%", "address"),
        (b"PROXY TCP6 ::ffff:1.2.3.04 ", "address"),
        (b"PROXY TCP6 0000:0000:0000:0000:0000:0000:0000:00000", "address"),
    ];
    for (line, reason) in cases {
        refuses(line, reason);
    }
}

#[test]
fn ports_are_decimal_without_sign_or_padding() {
    let start = "PROXY TCP4 192.0.2.1 192.0.2.2 ";
    for wrong in [" ", "+", "-", "x", "01 ", "00 ", "65536 ", "99999 ", "100000", "1\r", "1\t", "1  "] {
        refuses(format!("{start}{wrong}").as_bytes(), "port");
    }
    for wrong in ["\r", "080\r", "65536\r", "0x"] {
        let reason = if wrong == "0x" { "CRLF" } else { "port" };
        refuses(format!("{start}1 {wrong}").as_bytes(), reason);
    }
    for wrong in ["\n", " ", "\rx", "\r\r", "\0"] {
        refuses(format!("{start}1 2{wrong}").as_bytes(), "CRLF");
    }
}

#[test]
fn headers_of_version_2() {
    let ipv4 = forwarded("203.0.113.7:56324", "198.51.100.10:443");
    accepts(&version2(0x21, 0x11, IPV4), ipv4);
    accepts(&version2(0x21, 0x12, IPV4), ipv4);
    let mut block = [0; 36];
    (block[0], block[15], block[31], block[33], block[35]) = (0xfe, 1, 2, 80, 81);
    accepts(&version2(0x21, 0x21, &block), forwarded("[fe00::1]:80", "[::2]:81"));
    accepts(&version2(0x21, 0x22, &block), forwarded("[fe00::1]:80", "[::2]:81"));
    accepts(&version2(0x21, 0x31, &[b'/'; 216]), Origin::Unknown);
    accepts(&version2(0x21, 0x32, &[b'/'; 216]), Origin::Unknown);
}

#[test]
fn a_header_without_usable_addresses_is_passed_over_whatever_it_holds() {
    for family in [0x00, 0x01, 0x02, 0x10, 0x20, 0x30] {
        accepts(&version2(0x21, family, b""), Origin::Unknown);
        accepts(&version2(0x21, family, b"\x03\0\xffjunk"), Origin::Unknown);
    }
    for family in [0x00, 0x11, 0x21, 0x31, 0xff] {
        accepts(&version2(0x20, family, b""), Origin::Local);
        accepts(&version2(0x20, family, b"\x03\0\xffjunk"), Origin::Local);
    }
}

#[test]
fn what_no_header_begins_like_is_refused_at_its_first_wrong_octet() {
    for place in 1..SIGNATURE.len() {
        let mut wrong = SIGNATURE[..=place].to_vec();
        wrong[place] ^= 1;
        refuses(&wrong, "does not begin");
    }
    let cases: [(&[u8], &str); 14] = [
        (&[0x11], "version"),
        (&[0x31], "version"),
        (&[0x01], "version"),
        (&[0x22], "command"),
        (&[0x2f], "command"),
        (&[0x21, 0x13], "family"),
        (&[0x21, 0x03], "family"),
        (&[0x21, 0x41], "family"),
        (&[0x21, 0xff], "family"),
        (&[0x21, 0x11, 0x03], "longer"),
        (&[0x20, 0x00, 0x02, 0x09], "longer"),
        (&[0x21, 0x11, 0, 11], "too short"),
        (&[0x21, 0x21, 0, 35], "too short"),
        (&[0x21, 0x31, 0, 215], "too short"),
    ];
    for (rest, reason) in cases {
        refuses(&[SIGNATURE, rest].concat(), reason);
    }
}

#[test]
fn the_bound_counts_the_whole_header() {
    let header = version2(0x20, 0x00, &[0; 520]);
    assert_eq!(header.len(), DEFAULT_MAX_BYTES);
    accepts(&header, Origin::Local);
    let header = version2(0x21, 0x11, IPV4);
    assert!(matches!(parse(&header, header.len()), Parsed::Complete { .. }));
    assert!(matches!(parse(&header, header.len() - 1), Parsed::Reject(_)));
    let announced = [SIGNATURE, &[0x20, 0x00, 0x02]].concat();
    assert!(matches!(parse(&announced, 527), Parsed::Reject(_)), "already 528 bytes at the least");
    let widest = version2(0x20, 0x00, &vec![0; 0xffff]);
    let whole = Parsed::Complete { consumed: widest.len(), origin: Origin::Local };
    assert_eq!(parse(&widest, usize::MAX), whole);
}

#[test]
fn extensions_are_passed_over_within_their_bounds() {
    let origin = forwarded("203.0.113.7:56324", "198.51.100.10:443");
    accepts(&ipv4_with(b"\x04\0\0"), origin);
    accepts(&ipv4_with(b"\x01\0\x02h2\x02\0\x0bexample.com\xea\0\x01\x01"), origin);
    accepts(&ipv4_with(b"\x20\0\x05\x01\0\0\0\0"), origin);
    for wrong in [&b"\x04"[..], b"\x04\0", b"\x04\0\x01", b"\x04\0\0\x04", b"\x04\xff\xff", b"\x04\0\x02a"] {
        refuses(&ipv4_with(wrong), "extension");
    }
    refuses(&version2(0x21, 0x31, &[0; 217]), "extension");
}

/// An extension with the checksum of a header that holds `before` and `after` beside it.
fn summed(before: &[u8], after: &[u8]) -> Vec<u8> {
    let header = ipv4_with(&[before, b"\x03\0\x04\0\0\0\0", after].concat());
    // Bit by bit, unlike the table of the parser.
    let sum = !header.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 * (sum & 1)))
    });
    ipv4_with(&[before, b"\x03\0\x04", &sum.to_be_bytes(), after].concat())
}

#[test]
fn a_checksum_has_to_be_that_of_the_header() {
    let origin = forwarded("203.0.113.7:56324", "198.51.100.10:443");
    accepts(&summed(b"", b""), origin);
    let header = summed(b"\x01\0\x02h2", b"\x04\0\x01x");
    accepts(&header, origin);
    // A bit of an address, of the sum and of what follows it.
    for place in [16, 38, header.len() - 1] {
        let mut wrong = header.clone();
        wrong[place] ^= 0x10;
        refuses(&wrong, "checksum");
    }
    refuses(&ipv4_with(b"\x03\0\x03\0\0\0"), "checksum");
    refuses(&ipv4_with(b"\x03\0\x05\0\0\0\0\0"), "checksum");
    refuses(&ipv4_with(b"\x03\0\x04\0\0\0\0"), "checksum");
    // Two of them, the second of which is right.
    refuses(&summed(b"\x03\0\x04abcd", b""), "checksum");
}

#[test]
fn what_is_printed_is_what_the_protocol_shows() {
    let print = |origin: Origin| {
        let (mut line, mut binary) = (b"x".to_vec(), b"x".to_vec());
        write_v1(&mut line, &origin);
        write_v2(&mut binary, &origin);
        (String::from_utf8(line).unwrap(), binary)
    };
    let (line, binary) = print(forwarded("203.0.113.7:56324", "198.51.100.10:443"));
    assert_eq!(line, "xPROXY TCP4 203.0.113.7 198.51.100.10 56324 443\r\n");
    assert_eq!(binary, [b"x", &version2(0x21, 0x11, IPV4)[..]].concat());
    let (line, binary) = print(forwarded("[2001:db8::1]:1", "[::1]:65535"));
    assert_eq!(line, "xPROXY TCP6 2001:db8::1 ::1 1 65535\r\n");
    assert_eq!(binary.len(), 1 + 16 + 36);
    // One family only fits in a header: the other address is mapped.
    let (line, binary) = print(forwarded("192.0.2.1:1", "[::1]:2"));
    assert_eq!(line, "xPROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n");
    let mapped = forwarded("[::ffff:192.0.2.1]:1", "[::1]:2");
    assert_eq!(parse(&binary[1..], 536), Parsed::Complete { consumed: 52, origin: mapped });
    assert_eq!(
        print(Origin::Local),
        ("xPROXY UNKNOWN\r\n".into(), [b"x", &version2(0x20, 0, b"")[..]].concat())
    );
    assert_eq!(
        print(Origin::Unknown),
        ("xPROXY UNKNOWN\r\n".into(), [b"x", &version2(0x21, 0, b"")[..]].concat())
    );
}

#[test]
fn whatever_is_printed_is_read_again() {
    let ends: [SocketAddr; 5] = [
        "0.0.0.0:0".parse().unwrap(),
        "255.255.255.255:65535".parse().unwrap(),
        "10.1.2.3:9999".parse().unwrap(),
        "192.0.2.1:80".parse().unwrap(),
        "127.0.0.1:1".parse().unwrap(),
    ];
    let ends6: [SocketAddr; 4] = [
        "[::]:0".parse().unwrap(),
        "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap(),
        "[::ffff:1.2.3.4]:80".parse().unwrap(),
        "[2001:db8:0:1::5]:443".parse().unwrap(),
    ];
    for family in [&ends[..], &ends6] {
        for source in family {
            for destination in family {
                let origin = Origin::Forwarded { source: *source, destination: *destination };
                properties::assert_stable(&origin);
            }
        }
    }
    properties::assert_stable(&Origin::Local);
    properties::assert_stable(&Origin::Unknown);
}
