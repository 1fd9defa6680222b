//! ldap-auth-advanced: groups of users, told by either side, before a real directory.

use super::search::{plugin, searching, upstream};
use super::{Lab, ask, expect, status, told};

const PLACE: &str =
    "group_base_dn: \"OU=Groups, dc=example,dc=com\", group_name_attribute: CN, consumer_optional: true";
const ALICE: (&str, &str) = ("alice", "pass:word");
const FIELD: &str = "X-Authenticated-Groups";

/// Groups by what users and groups say, at their place and nowhere else, told to the upstream and to acl.
pub(super) fn groups(lab: &Lab<'_>) -> Result<(), String> {
    let with = |attribute: &str| searching(lab, &format!("{PLACE}, group_member_attribute: {attribute}"));
    let acl = |list: &str| format!("  - {{name: acl, config: {{{list}}}}}\n");
    let routes = [
        ("users", with("memberOf")),
        ("member", with("member")),
        ("unique", with("uniqueMember")),
        ("unix", with("MEMBERUID")),
        ("elsewhere", searching(lab, "consumer_optional: true")),
        ("staff", with("memberOf") + &acl("allow: [staff]")),
        ("admins", with("memberOf") + &acl("allow: [admins]")),
        ("not-unix", with("memberUid") + &acl("deny: [unix]")),
    ];
    let gateway = lab.serve(&routes, &[])?;
    told(
        &gateway,
        (|| {
            let of = |route, login| upstream(&gateway, route, login, FIELD);
            for route in ["users", "member", "users"] {
                expect(route, of(route, ALICE)?, "Night Shift, staff".to_owned())?;
            }
            expect("uniqueMember", of("unique", ALICE)?, "unique".to_owned())?;
            expect("memberUid", of("unix", ALICE)?, "unix".to_owned())?;
            expect("in another case", of("unix", ("ALICE", "pass:word"))?, "unix".to_owned())?;
            expect("an odd name", of("member", ("o,brien+ (x)*", "odd"))?, "staff".to_owned())?;
            expect("none", of("member", ("mallory", "elsewhere"))?, String::new())?;
            expect("none where users are", of("elsewhere", ALICE)?, String::new())?;
            expect("in it", status(&gateway, "staff", "alice", "pass:word")?, 200)?;
            expect("only in another of that name", status(&gateway, "admins", "alice", "pass:word")?, 403)?;
            expect("not in it", status(&gateway, "staff", "mallory", "elsewhere")?, 403)?;
            expect("denied", status(&gateway, "not-unix", "alice", "pass:word")?, 403)?;
            expect("denied in another case", status(&gateway, "not-unix", "AliCE", "pass:word")?, 403)?;
            expect("not denied", status(&gateway, "not-unix", "mallory", "elsewhere")?, 200)
        })(),
    )
}

/// Groups that a user has to be in: one of several, or all of some.
pub(super) fn required(lab: &Lab<'_>) -> Result<(), String> {
    let with = |groups: &str| searching(lab, &format!("{PLACE}, groups_required: {groups}"));
    let routes = [
        ("either", with("[nothing, staff]")),
        ("spaces", with("[Night Shift]")),
        ("neither", with("[nothing, admins]")),
        ("both", with("[staff nothing]")),
        ("stand-in", with("[nothing], anonymous: anybody")),
    ];
    let gateway = lab.serve(&routes, &[])?;
    told(
        &gateway,
        (|| {
            for (route, wanted) in
                [("either", 200), ("spaces", 200), ("neither", 403), ("both", 403), ("stand-in", 200)]
            {
                for _ in 0..2 {
                    expect(route, status(&gateway, route, "alice", "pass:word")?, wanted)?;
                }
            }
            let refused = ask(&gateway, "neither", "alice", "pass:word")?;
            expect("no challenge", refused.values("WWW-Authenticate").len(), 0)?;
            let body = String::from_utf8_lossy(&refused.body).into_owned();
            expect("why", body.contains("User not in authorized LDAP Group"), true)?;
            expect("first who it is", status(&gateway, "neither", "alice", "wrong")?, 401)?;
            let who = upstream(&gateway, "stand-in", ALICE, "X-Consumer-Username")?;
            expect("who stands in", who, "anybody".to_owned())
        })(),
    )
}

/// Without an account users are known by their names, and look for their groups themselves.
pub(super) fn as_users(lab: &Lab<'_>) -> Result<(), String> {
    let with = |attribute: &str| {
        let people = plugin(lab, &format!("{PLACE}, group_member_attribute: {attribute}"));
        people.replace("base_dn: \"dc=example", "base_dn: \"ou=people,dc=example")
    };
    let routes = [("users", with("memberOf")), ("member", with("member")), ("unix", with("memberUid"))];
    let gateway = lab.serve(&routes, &[])?;
    told(
        &gateway,
        (|| {
            let of = |route, login| upstream(&gateway, route, login, FIELD);
            for _ in 0..2 {
                expect("memberOf", of("users", ALICE)?, "Night Shift, staff".to_owned())?;
                expect("member", of("member", ALICE)?, "Night Shift, staff".to_owned())?;
                expect("memberUid", of("unix", ("aLICE", "pass:word"))?, "unix".to_owned())?;
            }
            expect("an odd name", of("member", ("o,brien+ (x)*", "odd"))?, "staff".to_owned())?;
            for route in ["users", "member", "unix"] {
                expect("wrong", status(&gateway, route, "alice", "wrong")?, 401)?;
                expect("elsewhere", status(&gateway, route, "mallory", "elsewhere")?, 401)?;
                expect(
                    "beyond",
                    status(&gateway, route, "mallory,ou=others,dc=example,dc=com", "elsewhere")?,
                    401,
                )?;
            }
            Ok(())
        })(),
    )
}
