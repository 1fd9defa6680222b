//! ClientHellos: those of real clients, those made up to be wrong, in records of every size.
//!
//! The files in `client_hello/` are what clients sent to a socket that never answered.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

#[path = "properties/client_hello.rs"]
mod properties;

use wire::client_hello::{ClientHello, DEFAULT_MAX_BYTES, Peeked, peek};

macro_rules! captured {
    ($($name:literal),*) => { [$(($name, &include_bytes!(concat!("client_hello/", $name, ".bin"))[..])),*] };
}

fn hello(server_name: Option<&str>, protocols: &[&str]) -> ClientHello {
    ClientHello {
        server_name: server_name.map(str::to_owned),
        protocols: protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect(),
    }
}

fn vector8(content: &[u8]) -> Vec<u8> {
    [&[u8::try_from(content.len()).unwrap()], content].concat()
}

fn vector16(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

/// One extension.
fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector16(data)].concat()
}

/// The server_name extension with these names, each with its type.
fn names(names: &[(u8, &[u8])]) -> Vec<u8> {
    let list: Vec<u8> =
        names.iter().flat_map(|(kind, name)| [&[*kind], &vector16(name)[..]].concat()).collect();
    extension(0, &vector16(&list))
}

fn name(name: &str) -> Vec<u8> {
    names(&[(0, name.as_bytes())])
}

/// The ALPN extension.
fn protocols(list: &[&[u8]]) -> Vec<u8> {
    extension(16, &vector16(&list.iter().flat_map(|protocol| vector8(protocol)).collect::<Vec<u8>>()))
}

/// What stands in a ClientHello before its extensions.
fn start() -> Vec<u8> {
    [&[3, 3][..], &[7; 32], &vector8(&[1; 32]), &vector16(&[0x13, 1, 0x13, 2]), &vector8(&[0])].concat()
}

fn message(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &length[1..], body].concat()
}

fn with_extensions(extensions: &[&[u8]]) -> Vec<u8> {
    message(&[start(), vector16(&extensions.concat())].concat())
}

/// `message` in records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|piece| [&[22, 3, 1][..], &vector16(piece)].concat()).collect()
}

fn look(message: &[u8]) -> Peeked {
    properties::hello(&records(message, 1 << 14), DEFAULT_MAX_BYTES)
}

#[track_caller]
fn refuses(peeked: &Peeked, reason: &str) {
    match peeked {
        Peeked::Reject(reject) => assert!(reject.reason.contains(reason), "{reject:?} for {reason}"),
        other => panic!("{other:?} for {reason}"),
    }
}

#[test]
fn what_real_clients_send_is_understood() {
    let mut fragments = vec!["h2".to_owned(), "http/1.1".to_owned()];
    fragments.extend((0..16).map(|number| format!("padding-{number:02}-{}", "x".repeat(30))));
    let fragments: Vec<&str> = fragments.iter().map(String::as_str).collect();
    let expected = [
        hello(Some("www.example.org"), &["h2", "http/1.1"]),
        hello(Some("java.example.com"), &[]),
        hello(Some("node.example.com"), &["h2", "http/1.1"]),
        hello(Some("example.com"), &["h2", "http/1.1"]),
        hello(Some("a-host-of-some-length.sub.example.com"), &fragments),
        hello(None, &[]),
        hello(Some("old.example.com"), &[]),
        hello(Some("api.example.net"), &["http/1.1"]),
        hello(None, &[]),
        hello(Some("localhost"), &[]),
    ];
    let captured = captured!(
        "curl",
        "java",
        "node",
        "openssl",
        "openssl-fragments",
        "openssl-no-name",
        "openssl-tls12",
        "python",
        "python-address",
        "wget"
    );
    for ((client, bytes), expected) in captured.into_iter().zip(expected) {
        let whole = Peeked::Complete(expected);
        assert_eq!(properties::hello(bytes, DEFAULT_MAX_BYTES), whole, "{client}");
        // What follows the message, such as early data, is not looked at.
        let followed = [bytes, b"\x17\x03\x03\0\x01x"].concat();
        assert_eq!(properties::hello(&followed, DEFAULT_MAX_BYTES), whole, "{client}");
        for end in 0..bytes.len() {
            assert_eq!(peek(&bytes[..end], DEFAULT_MAX_BYTES), Peeked::Incomplete, "{client}, {end} bytes");
        }
    }
}

#[test]
fn records_may_cut_a_message_anywhere() {
    let message = with_extensions(&[&name("a.example"), &protocols(&[b"h2"])]);
    for size in 1..=message.len() {
        let bytes = records(&message, size);
        let whole = Peeked::Complete(hello(Some("a.example"), &["h2"]));
        assert_eq!(properties::hello(&bytes, DEFAULT_MAX_BYTES), whole, "records of {size} bytes");
        assert_eq!(peek(&bytes[..bytes.len() - 1], DEFAULT_MAX_BYTES), Peeked::Incomplete, "{size}");
    }
}

#[test]
fn what_is_no_tls_is_known_by_its_first_octets() {
    for text in ["GET / HTTP/1.1\r\n", "PRI * HTTP/2.0", "PROXY TCP4", "\r\n", "\0", "\x15\x03", "\x17\x03"] {
        assert_eq!(properties::hello(text.as_bytes(), DEFAULT_MAX_BYTES), Peeked::NotTls, "{text:?}");
        assert_eq!(peek(&text.as_bytes()[..1], DEFAULT_MAX_BYTES), Peeked::NotTls, "{text:?}");
    }
    // The hello of SSL 2, and other first octets with the one of TLS before them.
    assert_eq!(peek(b"\x80", DEFAULT_MAX_BYTES), Peeked::NotTls);
    assert_eq!(properties::hello(b"\x16\x02", DEFAULT_MAX_BYTES), Peeked::NotTls);
    assert_eq!(properties::hello(b"\x16ET", DEFAULT_MAX_BYTES), Peeked::NotTls);
}

#[test]
fn records_that_no_client_hello_begins_like_are_refused_at_their_first_wrong_octet() {
    let cases: [(&[u8], &str); 10] = [
        (b"\x16\x03\x01\0\0", "empty"),
        (b"\x16\x03\x01\x40\x01", "16 KiB"),
        (b"\x16\x03\x01\xff\xff", "16 KiB"),
        (b"\x16\x03\x01\0\x05\x02", "begin with a ClientHello"),
        (b"\x16\x03\x01\0\x05\x00", "begin with a ClientHello"),
        (b"\x16\x03\x01\0\x05\x01\0\0\0", "behind the ClientHello"),
        (b"\x16\x03\x01\0\x05\x01\x01\0\0", "bound"),
        (b"\x16\x03\x01\0\x01\x01\x15", "another type"),
        (b"\x16\x03\x01\0\x01\x01\x16\x02", "another major version"),
        (b"\x16\x03\x01\0\x01\x01\x16\x03\x03\0\0", "empty"),
    ];
    for (bytes, reason) in cases {
        refuses(&properties::hello(bytes, DEFAULT_MAX_BYTES), reason);
        let before = peek(&bytes[..bytes.len() - 1], DEFAULT_MAX_BYTES);
        assert_eq!(before, Peeked::Incomplete, "{}: refused too soon", bytes.escape_ascii());
    }
}

#[test]
fn the_bound_counts_every_record() {
    let message = with_extensions(&[&name("a.example"), &extension(21, &[0; 2000])]);
    for size in [100, 1000, message.len()] {
        let bytes = records(&message, size);
        let whole = Peeked::Complete(hello(Some("a.example"), &[]));
        assert_eq!(properties::hello(&bytes, bytes.len()), whole, "records of {size} bytes");
        for max_bytes in [bytes.len() - 1, bytes.len() / 2, 9, 5, 1, 0] {
            refuses(&properties::hello(&bytes, max_bytes), "bound");
        }
        refuses(&peek(&bytes[..1], 5), "bound");
    }
}

#[test]
fn a_message_without_extensions_is_whole() {
    assert_eq!(look(&message(&start())), Peeked::Complete(ClientHello::default()));
    assert_eq!(look(&with_extensions(&[])), Peeked::Complete(ClientHello::default()));
}

#[test]
fn lengths_have_to_add_up() {
    let sound = [start(), vector16(&name("a.example"))].concat();
    assert_eq!(look(&message(&sound)), Peeked::Complete(hello(Some("a.example"), &[])));
    for length in 0..sound.len() {
        // Without its extensions, and without their length, it is one of TLS 1.2.
        if length != start().len() {
            refuses(&look(&message(&sound[..length])), "malformed ClientHello");
        }
    }
    refuses(&look(&message(&[&sound[..], b"x"].concat())), "malformed ClientHello");
    let fields = |session: &[u8], suites: &[u8], compressions: &[u8]| {
        let fields = [&[3, 3][..], &[7; 32], &vector8(session), &vector16(suites), &vector8(compressions)];
        look(&message(&fields.concat()))
    };
    assert!(matches!(fields(&[], &[0, 1], &[0]), Peeked::Complete(_)));
    for wrong in [
        fields(&[0; 33], &[0, 1], &[0]),
        fields(&[], &[], &[0]),
        fields(&[], &[0, 1, 2], &[0]),
        fields(&[], &[0, 1], &[]),
    ] {
        refuses(&wrong, "malformed ClientHello");
    }
    let mut version = message(&start());
    version[4] = 2;
    refuses(&look(&version), "malformed ClientHello");
    let mut extension = extension(21, &[0; 4]);
    extension[3] = 5;
    refuses(&look(&with_extensions(&[&extension])), "malformed ClientHello");
    refuses(&look(&with_extensions(&[b"\0\x15\0"])), "malformed ClientHello");
}

#[test]
fn an_extension_may_stand_there_once() {
    let other = extension(43, b"\x02\x03\x04");
    refuses(&look(&with_extensions(&[&name("a"), &name("a")])), "twice");
    refuses(&look(&with_extensions(&[&name("a"), &other, &name("b")])), "twice");
    refuses(&look(&with_extensions(&[&protocols(&[b"h2"]), &other, &protocols(&[b"h2"])])), "twice");
    refuses(&look(&with_extensions(&[&other, &name("a"), &other])), "twice");
}

#[test]
fn host_names_are_lowered_and_checked() {
    let longest_label = "a".repeat(63);
    let longest = [&longest_label[..]; 4].join(".")[..253].to_owned();
    for good in ["a", "A.Example.COM", "xn--bcher-kva.example", "_sip.a_b.c", "1.2.3.4.5", "1a", &longest] {
        let expected = Peeked::Complete(hello(Some(&good.to_lowercase()), &[]));
        assert_eq!(look(&with_extensions(&[&name(good)])), expected, "{good}");
    }
    let (long_label, too_long) = (format!("{longest_label}a"), format!("{longest}a"));
    let wrong = [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a b",
        "a\0",
        "a/b",
        "a:443",
        "*",
        "*.a",
        "-a",
        "a-",
        "b\u{fc}cher",
        "127.0.0.1",
        "::1",
        "[::1]",
        "a@b",
        "a\r\n",
        "a,b",
        &long_label,
        &too_long,
    ];
    for wrong in wrong {
        refuses(&look(&with_extensions(&[&name(wrong)])), "no DNS name");
    }
}

#[test]
fn a_server_name_extension_holds_one_host_name() {
    let with = |extension: &[u8]| look(&with_extensions(&[extension]));
    refuses(&with(&names(&[])), "exactly one");
    refuses(&with(&names(&[(0, b"a"), (0, b"b")])), "exactly one");
    refuses(&with(&names(&[(0, b"a"), (1, b"b")])), "exactly one");
    refuses(&with(&names(&[(1, b"a")])), "exactly one");
    for data in [
        &b""[..],
        b"\0",
        b"\0\x01",
        b"\0\x01\0",
        b"\0\x04\0\0\x02a",
        b"\0\x04\0\0\x01a\0",
        b"\0\x05\0\0\x01a",
    ] {
        refuses(&with(&extension(0, data)), "malformed server_name");
    }
}

#[test]
fn offered_protocols_keep_their_order_and_their_bytes() {
    let with = |extension: &[u8]| look(&with_extensions(&[extension]));
    assert_eq!(
        with(&protocols(&[b"h2", b"http/1.1", b"h2"])),
        Peeked::Complete(hello(None, &["h2", "http/1.1", "h2"]))
    );
    let longest = "\u{e9}".repeat(127);
    assert_eq!(with(&protocols(&[longest.as_bytes()])), Peeked::Complete(hello(None, &[&longest])));
    for data in [
        &b""[..],
        b"\0",
        b"\0\0",
        b"\0\x01\0",
        b"\0\x01\x01",
        b"\0\x03\x01a\0",
        b"\0\x02\x01a\0",
        b"\0\x03\x01a",
    ] {
        refuses(&with(&extension(16, data)), "malformed ALPN");
    }
}
