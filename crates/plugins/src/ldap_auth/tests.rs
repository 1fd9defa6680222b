//! What the ldap-auth room does without a directory. With a real one it is tested from end to end.

use plugin::harness::{Harness, Subject};

use super::LdapAuth;

const ROOM: Subject = Subject(plugin::room::<LdapAuth>());
/// `alice:right`.
const RIGHT: &str = "GET / HTTP/1.1\nAuthorization: ldap YWxpY2U6cmlnaHQ=";

fn document(more: &str) -> String {
    format!(
        "_format_version: \"3.0\"\nplugins:\n- name: ldap-auth\n  config: {{ldap_host: 127.0.0.1, base_dn: dc=x, \
         attribute: uid{more}}}\nconsumers: [{{username: nobody}}]\n"
    )
}

fn harness(more: &str) -> Harness {
    Harness::new(ROOM.0, &document(more)).unwrap()
}

#[test]
fn what_is_no_login_is_refused_without_asking() {
    let mut usual = harness("");
    let head = "GET / HTTP/1.1\nAuthorization: ";
    // `alice:` has no password, `:right` no username.
    for value in ["ldap YWxpY2U6", "ldap OnJpZ2h0", "ldap", "ldap !", "Basic YWxpY2U6cmlnaHQ=", ""] {
        let outcome = usual.send(&format!("{head}{value}"));
        assert_eq!((outcome.status, outcome.message.as_deref()), (401, Some("Unauthorized")), "{value}");
        assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some("LDAP"));
    }
    assert_eq!(usual.send(&format!("{RIGHT}\nAuthorization: ldap x")).status, 401, "given twice");
    let other = harness(", header_type: Basic, realm: r").send(RIGHT);
    assert_eq!(other.header("WWW-Authenticate").as_deref(), Some("Basic realm=\"r\""));
}

#[test]
fn an_anonymous_consumer_stands_in() {
    let mut harness = harness(", anonymous: nobody");
    for request in ["GET / HTTP/1.1", "GET / HTTP/1.1\nAuthorization: ldap YWxpY2U6"] {
        let outcome = harness.send(request);
        assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some("nobody"));
        assert_eq!(outcome.upstream_header("Authorization"), None);
    }
}

#[test]
fn what_cannot_be_honoured_is_an_error() {
    let needed = "ldap_host: h, base_dn: dc=x, attribute: uid";
    assert!(ROOM.refuses("{ldap_host: h, base_dn: dc=x}").contains("required field missing"));
    assert!(ROOM.refuses("{ldap_host: h, base_dn: dc=x, attribute: 'uid=x,ou'}").contains("invalid value"));
    assert!(
        ROOM.refuses(&format!("{{{needed}, ldaps: true, start_tls: true}}"))
            .contains("config.start_tls: TLS begins")
    );
    assert!(
        ROOM.refuses(&format!("{{{needed}, ldaps: true}}")).contains("config.ldaps: TLS is not available")
    );
    assert!(ROOM.refuses(&format!("{{{needed}, timeout: 0}}")).contains("value must be greater than 0"));
    assert!(ROOM.refuses(&format!("{{{needed}, header_type: 'a b'}}")).contains("invalid value"));
}
