//! The joining of paths: kong-cases.md R13, R53-R59 and every branch of the rule in kong.md 3.2.

use super::super::upstream_path;

/// Service path (`-` for none), matched prefix, request path, upstream path.
type Row = (&'static str, &'static str, &'static str, &'static str);

fn check(strip: bool, rows: &[Row]) {
    for (service, prefix, request, expected) in rows {
        assert!(request.starts_with(prefix), "{prefix} {request}");
        let mut out = b"kept:".to_vec();
        let service = Some(*service).filter(|path| *path != "-");
        upstream_path(&mut out, service, request.as_bytes(), prefix.len(), strip);
        let shown = format!("{service:?} | {prefix} | strip {strip} | {request}");
        assert_eq!(String::from_utf8(out).unwrap(), format!("kept:{expected}"), "{shown}");
    }
}

#[test]
fn stripped_under_a_service_path_without_slash() {
    check(
        true,
        &[
            ("/svc", "/rt", "/rt", "/svc"),
            ("/svc", "/rt", "/rt/", "/svc/"),
            ("/svc", "/rt", "/rt/req", "/svc/req"),
            ("/svc", "/rt", "/rt/req/", "/svc/req/"),
            ("/svc", "/rt", "/rtreq", "/svc/req"),
            ("/svc", "/rt/", "/rt/", "/svc/"),
            ("/svc", "/rt/", "/rt/req", "/svc/req"),
            ("/svc", "/", "/", "/svc"),
            ("/svc", "/", "/x", "/svc/x"),
            ("/svc", "/", "/x/", "/svc/x/"),
            ("/a/b", "/rt", "/rt/c/d", "/a/b/c/d"),
        ],
    );
}

#[test]
fn stripped_under_a_service_path_with_slash() {
    check(
        true,
        &[
            ("/svc/", "/rt", "/rt", "/svc"),
            ("/svc/", "/rt", "/rt/", "/svc/"),
            ("/svc/", "/rt", "/rtreq", "/svc/req"),
            ("/svc/", "/rt", "/rt/req", "/svc/req"),
            ("/svc/", "/rt", "/rt/req/", "/svc/req/"),
            ("/svc/", "/rt/", "/rt/", "/svc/"),
            ("/svc/", "/rt/", "/rt/req", "/svc/req"),
            ("/svc/", "/", "/", "/svc/"),
            ("/svc/", "/", "/x", "/svc/x"),
            ("/svc/", "/", "/x/", "/svc/x/"),
        ],
    );
}

#[test]
fn stripped_under_the_root_or_no_service_path() {
    for service in ["/", "-"] {
        check(
            true,
            &[
                (service, "/rt", "/rt", "/"),
                (service, "/rt", "/rt/", "/"),
                (service, "/rt", "/rtreq", "/req"),
                (service, "/rt", "/rt/req", "/req"),
                (service, "/rt", "/rt/req/", "/req/"),
                (service, "/rt/", "/rt/", "/"),
                (service, "/rt/", "/rt/req", "/req"),
                (service, "/", "/", "/"),
                (service, "/", "/x", "/x"),
                (service, "/", "/x/", "/x/"),
                (service, "/foo", "/foobar", "/bar"),
            ],
        );
    }
}

#[test]
fn not_stripped() {
    check(
        false,
        &[
            ("/svc", "/rt", "/rt", "/svc/rt"),
            ("/svc", "/rt", "/rt/", "/svc/rt/"),
            ("/svc", "/rt", "/rt/req", "/svc/rt/req"),
            ("/svc", "/rt", "/rtreq", "/svc/rtreq"),
            ("/svc", "/rt", "/rt./req", "/svc/rt./req"),
            ("/svc", "/", "/", "/svc"),
            ("/svc", "/", "/x", "/svc/x"),
            ("/svc", "/", "/x/", "/svc/x/"),
            ("/svc/", "/rt", "/rt", "/svc/rt"),
            ("/svc/", "/rt", "/rt/", "/svc/rt/"),
            ("/svc/", "/", "/", "/svc/"),
            ("/svc/", "/", "/x", "/svc/x"),
            ("/", "/rt", "/rt", "/rt"),
            ("/", "/", "/", "/"),
            ("-", "/rt", "/rt/", "/rt/"),
            ("-", "/", "/", "/"),
        ],
    );
}

#[test]
fn a_dot_segment_made_by_stripping_is_dropped() {
    check(
        true,
        &[
            ("/svc", "/rt", "/rt.", "/svc"),
            ("/svc", "/rt", "/rt..", "/svc"),
            ("/svc", "/rt", "/rt./req", "/svc/req"),
            ("/svc", "/rt", "/rt../req", "/svc/req"),
            ("/svc/", "/rt", "/rt../req", "/svc/req"),
            ("/svc/", "/rt", "/rt./", "/svc/"),
            ("/", "/rt", "/rt..", "/"),
            ("/", "/rt", "/rt../", "/"),
            ("/", "/rt", "/rt../etc", "/etc"),
            ("/svc", "/rt", "/rt.../req", "/svc/.../req"),
            ("/svc", "/rt", "/rt..req", "/svc/..req"),
            ("/svc", "/rt", "/rt.req", "/svc/.req"),
        ],
    );
}

#[test]
fn what_may_not_stand_in_a_uri_is_escaped_again() {
    check(
        true,
        &[
            ("/svc", "/rt", "/rt/a b", "/svc/a%20b"),
            ("/svc", "/rt", "/rt/é", "/svc/%C3%A9"),
            ("/svc", "/rt", "/rt/\"<>\\^`{|}", "/svc/%22%3C%3E%5C%5E%60%7B%7C%7D"),
            ("/svc", "/rt", "/rt/\r\nX: y", "/svc/%0D%0AX:%20y"),
            ("/svc", "/rt", "/rt/\u{7f}\0", "/svc/%7F%00"),
            ("/svc", "/rt", "/rt/a%2Fb%25", "/svc/a%2Fb%25"),
            ("/svc", "/rt", "/rt/!#$&'()*+,/:;=?@[]-_.~%", "/svc/!#$&'()*+,/:;=?@[]-_.~%"),
        ],
    );
    check(false, &[("/s%20v", "/rt", "/rt/ ", "/s%20v/rt/%20"), ("/", "/é", "/é", "/%C3%A9")]);
}

#[test]
fn a_match_longer_than_the_path_leaves_nothing() {
    let mut out = Vec::new();
    upstream_path(&mut out, Some("/svc"), b"/a", 9, true);
    assert_eq!(out, b"/svc");
}
