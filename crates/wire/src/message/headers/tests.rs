//! Header edits: what they change, what they refuse, and that they never split a message.

use super::*;

fn list(fields: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in fields {
        assert!(headers.append(name, value.as_bytes()), "{name}: {value}");
    }
    headers
}

fn printed(headers: &Headers) -> String {
    let mut out = Vec::new();
    headers.write_to(&mut out);
    String::from_utf8(out).unwrap()
}

/// A list as a parser leaves it, with whitespace the printer must not copy.
fn parsed() -> Headers {
    let mut headers = Headers::new();
    let block = b"Host: a\r\naccept:*/*\r\nX-Pad: 1  \r\nX-End: 2\r\n";
    headers.begin_parsed(block, 4).unwrap();
    for (name, value) in [(0..4, 6..7), (9..15, 16..19), (21..26, 28..29), (33..38, 40..41)] {
        let (name_start, value_start) = (name.start, value.start);
        headers.push_parsed(name_start, &block[name], value_start, &block[value]).unwrap();
    }
    headers
}

#[test]
fn names_compare_without_case_and_keep_theirs() {
    let headers = list(&[("hOST", "a"), ("X-One", "1"), ("x-one", "2"), ("Cookie", "k=v")]);
    assert_eq!(headers.get("HOST"), Some(&b"a"[..]));
    assert_eq!(headers.known(Known::Host), Some(&b"a"[..]));
    assert_eq!(headers.all("X-ONE").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!((headers.count("x-One"), headers.count("x-two")), (2, 0));
    assert_eq!(headers.known(Known::Accept), None);
    assert_eq!(headers.known(Known::Other), None);
    let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["hOST", "X-One", "x-one", "Cookie"]);
}

#[test]
fn set_replaces_every_value_at_the_first_place() {
    let mut headers = list(&[("A", "1"), ("b", "2"), ("B", "3"), ("C", "4"), ("b", "5")]);
    assert!(headers.set("B", b"a longer value"));
    assert_eq!(printed(&headers), "A: 1\r\nB: a longer value\r\nC: 4\r\n");
    assert!(headers.set("b", b"s"));
    assert_eq!(printed(&headers), "A: 1\r\nb: s\r\nC: 4\r\n");
    assert!(headers.set_known(Known::Vary, b"Origin"));
    assert!(headers.set_known(Known::Vary, b""));
    assert_eq!(printed(&headers), "A: 1\r\nb: s\r\nC: 4\r\nVary: \r\n");
}

#[test]
fn removed_and_renamed_fields_are_gone_under_the_old_name() {
    let mut headers = list(&[("Via", "1"), ("X-A", "2"), ("Via", "3"), ("x-a", "4")]);
    assert!(headers.rename("X-A", "Date"));
    assert_eq!(headers.known_all(Known::Date).collect::<Vec<_>>(), [b"2", b"4"]);
    assert!(!headers.contains("X-A"));
    assert!(headers.remove("via"));
    assert!(!headers.remove("via") && !headers.remove_known(Known::Via) && !headers.remove("nothing"));
    assert!(headers.rename("Date", "Y"));
    assert!(
        !headers.contains_known(Known::Date) && !headers.rename("Date", "Z") && !headers.rename("Y", "a b")
    );
    assert_eq!(printed(&headers), "Y: 2\r\nY: 4\r\n");
    headers.retain(|field| field.value == b"4");
    assert_eq!(printed(&headers), "Y: 4\r\n");
}

#[test]
fn nothing_that_could_split_a_message_goes_in() {
    let mut headers = list(&[("A", "1")]);
    for value in [&b"x\r\nB: 2"[..], b"x\ny", b"x\ry", b"x\0", b"\x7f", b"a\x0bb"] {
        assert!(!headers.set("A", value) && !headers.append("A", value), "{value:?}");
        assert!(!headers.set_known(Known::Host, value) && !headers.append_known(Known::Host, value));
    }
    for name in ["", "A B", "A:", "A\r\nB", "A\n", "é", "A\0", " A"] {
        assert!(!headers.set(name, b"1") && !headers.append(name, b"1"), "{name:?}");
        assert!(!headers.rename("A", name), "{name:?}");
    }
    assert!(!headers.set_known(Known::Other, b"1"));
    assert!(!headers.append(&"n".repeat(MAX_NAME + 1), b""));
    assert!(!headers.append("big", &vec![b'a'; MAX_ARENA]));
    assert_eq!(printed(&headers), "A: 1\r\n");
}

#[test]
fn surrounding_whitespace_is_no_part_of_a_value() {
    assert_eq!(printed(&list(&[("A", " \t a b\t "), ("B", "  ")])), "A: a b\r\nB: \r\n");
}

#[test]
fn a_parsed_block_prints_in_the_plain_form() {
    let mut headers = parsed();
    assert_eq!(printed(&headers), "Host: a\r\naccept: */*\r\nX-Pad: 1\r\nX-End: 2\r\n");
    assert!(headers.remove("accept"));
    assert!(headers.append("New", b"n"));
    assert_eq!(printed(&headers), "Host: a\r\nX-Pad: 1\r\nX-End: 2\r\nNew: n\r\n");
    assert!(headers.set("x-end", b""));
    assert_eq!(printed(&headers), "Host: a\r\nX-Pad: 1\r\nx-end: \r\nNew: n\r\n");
}

#[test]
fn a_cleared_list_is_empty_and_usable() {
    let mut headers = parsed();
    headers.clear();
    assert!(headers.is_empty() && !headers.contains_known(Known::Host));
    assert_eq!(printed(&headers), "");
    assert!(headers.append("A", b"1"));
    assert_eq!(headers, list(&[("A", "1")]));
}

#[test]
fn all_fields_of_a_list_are_set_or_appended_at_once() {
    let mut headers = parsed();
    assert!(headers.append_all(&list(&[("HOST", "b"), ("New", "n")])));
    assert_eq!(headers.known_all(Known::Host).collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(headers.get("new"), Some(&b"n"[..]));
    let mut edited = list(&[("Via", "1"), ("Date", "a long date"), ("Age", "2")]);
    edited.set("date", b"short");
    edited.remove("via");
    headers.set_all(&edited);
    headers.set_all(&list(&[("Age", "3"), ("X-End", "4"), ("Server", "s")]));
    let expected = "Host: a\r\naccept: */*\r\nX-Pad: 1\r\nX-End: 4\r\nHOST: b\r\nNew: n\r\ndate: short\r\nAge: 3\r\n\
                    Server: s\r\n";
    assert_eq!(printed(&headers), expected);
    assert!(!headers.append_all(&list(&[("A", &"a".repeat(MAX_ARENA - 10))])));
    assert_eq!(printed(&headers), expected);
}

#[test]
fn numbers_are_set_in_decimal() {
    let mut headers = list(&[("Age", "1"), ("A", "b"), ("age", "2")]);
    assert!(headers.set_number(Known::Age, u64::MAX) && !headers.set_number(Known::Other, 1));
    assert_eq!(printed(&headers), "Age: 18446744073709551615\r\nA: b\r\n");
}

#[test]
fn distinct_names_are_seen_at_a_glance_and_repeated_ones_never_taken_for_them() {
    let mut headers = list(&[("Host", "a"), ("X-One", "1"), ("Via", "v")]);
    assert!(headers.are_distinct());
    headers.append("host", b"b");
    assert!(!headers.are_distinct());
    for edit in [
        (|headers| headers.remove("X-One")) as fn(&mut Headers) -> bool,
        |headers| headers.rename("X-One", "Via"),
        |headers| {
            headers.retain(|field| field.known != Known::Other);
            true
        },
    ] {
        let mut edited = headers.clone();
        assert!(edit(&mut edited) && !edited.are_distinct());
    }
    assert!(headers.remove("Host") && headers.rename("via", "X-One"));
    assert!(!headers.are_distinct());
}
