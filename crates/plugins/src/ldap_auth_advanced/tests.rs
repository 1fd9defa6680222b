//! What the ldap-auth-advanced room does without a directory. With a real one it is tested from end to end.

use plugin::harness::{Harness, Subject};

use super::LdapAuthAdvanced;

const ROOM: Subject = Subject(plugin::room::<LdapAuthAdvanced>());
const NEEDED: &str = "ldap_host: 127.0.0.1, base_dn: 'dc=x', attribute: uid";

fn harness(more: &str) -> Harness {
    let document = format!(
        "_format_version: \"3.0\"\nplugins:\n- name: ldap-auth-advanced\n  config: {{{NEEDED}{more}}}\nconsumers: \
         [{{username: nobody}}]\n"
    );
    Harness::new(ROOM.0, &document).unwrap()
}

#[test]
fn what_is_no_login_is_refused_without_asking() {
    let mut usual = harness(", bind_dn: 'cn=a', ldap_password: secret");
    // `:right` has no username, and `/zp4` one that is no text.
    for value in ["ldap OnJpZ2h0", "ldap", "ldap !", "Basic YWxpY2U6cmlnaHQ=", "ldap /zp4", ""] {
        let outcome = usual.send(&format!("GET / HTTP/1.1\nAuthorization: {value}"));
        assert_eq!((outcome.status, outcome.message.as_deref()), (401, Some("Unauthorized")), "{value}");
        assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some("LDAP"));
    }
}

#[test]
fn an_anonymous_consumer_stands_in() {
    let outcome = harness(", anonymous: nobody").send("GET / HTTP/1.1\nX-Authenticated-Groups: admins");
    assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some("nobody"));
    assert_eq!(outcome.upstream_header("X-Authenticated-Groups"), None);
}

#[test]
fn what_cannot_be_honoured_is_an_error() {
    let refusal = |more: &str| ROOM.refuses(&format!("{{{NEEDED}, {more}}}"));
    assert!(ROOM.refuses("{ldap_host: h, base_dn: 'dc=x'}").contains("required field missing"));
    assert!(refusal("ldaps: true, start_tls: true").contains("config.start_tls: TLS begins"));
    assert!(refusal("ldap_port: 389.5").contains("config.ldap_port: is no port"));
    assert!(refusal("bind_dn: 'cn=a'").contains("config.ldap_password: bind_dn needs"));
    assert!(refusal("bind_dn: 'cn=a', ldap_password: ''").contains("config.ldap_password: bind_dn needs"));
    assert!(refusal("consumer_by: []").contains("config.consumer_by: no consumer"));
    assert!(refusal("group_base_dn: groups").contains("config.group_base_dn: is no distinguished name"));
    assert!(refusal("groups_required: ['']").contains("invalid value"));
    assert!(refusal("groups_required: [' ']").contains("invalid value"));
    assert!(refusal("group_name_attribute: 'cn=x,ou'").contains("invalid value"));
    assert!(refusal("group_member_attribute: ''").contains("invalid value"));
    let elsewhere = "{ldap_host: h, base_dn: people, attribute: uid}";
    assert!(ROOM.refuses(elsewhere).contains("config.base_dn: is no distinguished name"));
}
