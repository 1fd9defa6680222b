//! ldap-auth-advanced: users who are searched for, before a real directory.

use super::{Lab, ask, expect, status, told};
use crate::gateway::Gateway;

/// The account that may search.
const ACCOUNT: &str = "bind_dn: \"cn=gateway,dc=example,dc=com\", ldap_password: gateway-secret";

/// A route's plugin that searches for users below the whole tree.
pub(super) fn plugin(lab: &Lab<'_>, more: &str) -> String {
    let place = format!("{}, base_dn: \"dc=example,dc=com\", attribute: uid", lab.plain());
    format!("  - name: ldap-auth-advanced\n    config: {{{place}, {more}}}\n")
}

/// The same with the account.
pub(super) fn searching(lab: &Lab<'_>, more: &str) -> String {
    plugin(lab, &format!("{ACCOUNT}, {more}"))
}

/// What the upstream would get of this request in a field; empty if nothing.
pub(super) fn upstream(
    gateway: &Gateway,
    route: &str,
    (username, password): (&str, &str),
    field: &str,
) -> Result<String, String> {
    let reply = ask(gateway, route, username, password)?;
    expect("comes in", reply.status(), 200)?;
    let echoed: serde_json::Value =
        serde_json::from_slice(&reply.body).map_err(|error| format!("no echo: {error}"))?;
    Ok(echoed["request"]["headers"][field.to_ascii_lowercase()].as_str().unwrap_or_default().to_owned())
}

/// Users are found wherever they are, and only with their own password; consumers are found by either name.
pub(super) fn search(lab: &Lab<'_>) -> Result<(), String> {
    let routes = [
        ("a", searching(lab, "consumer_optional: true")),
        ("consumers", searching(lab, "consumer_by: [custom_id, username]")),
        ("usernames", searching(lab, "consumer_by: [username], anonymous: anybody, realm: r")),
        ("logged", searching(lab, "consumer_optional: true, log_search_results: true, cache_ttl: 0")),
    ];
    let gateway = lab.serve(&routes, &[])?;
    told(
        &gateway,
        (|| {
            for _ in 0..3 {
                expect("right", status(&gateway, "a", "alice", "pass:word")?, 200)?;
                expect("elsewhere", status(&gateway, "a", "mallory", "elsewhere")?, 200)?;
            }
            expect("named by another attribute", status(&gateway, "a", "bob", "bobs")?, 200)?;
            for (username, password) in [
                ("alice", "elsewhere"),
                ("alice", "gateway-secret"),
                ("alice", ""),
                ("nobody", "pass:word"),
                ("gateway", "gateway-secret"),
                ("twin", "one"),
                ("twin", "other"),
            ] {
                let refused = ask(&gateway, "a", username, password)?;
                expect(username, refused.status(), 401)?;
                expect("the challenge", refused.values("WWW-Authenticate"), vec!["LDAP"])?;
            }
            let of = |route, login, field| upstream(&gateway, route, login, field);
            expect(
                "username",
                of("consumers", ("alice", "pass:word"), "X-Consumer-Custom-ID")?,
                "a-1".to_owned(),
            )?;
            expect("custom id", of("consumers", ("bob", "bobs"), "X-Consumer-Custom-ID")?, "bob".to_owned())?;
            expect("identifier", of("a", ("bob", "bobs"), "X-Credential-Identifier")?, "bob".to_owned())?;
            expect("no consumer", of("a", ("alice", "pass:word"), "X-Consumer-ID")?, String::new())?;
            expect("nobody's", status(&gateway, "consumers", "mallory", "elsewhere")?, 401)?;
            expect(
                "stands in",
                of("usernames", ("bob", "bobs"), "X-Consumer-Username")?,
                "anybody".to_owned(),
            )?;
            if gateway.output().contains("an entry of a directory was found") {
                return Err("entries are logged unasked".to_owned());
            }
            expect("logged", status(&gateway, "logged", "alice", "pass:word")?, 200)?;
            let output = gateway.output();
            match output.contains("memberOf: cn=staff,ou=groups,dc=example,dc=com")
                && !output.contains("pass:word")
            {
                true => Ok(()),
                false => Err("what was found is not logged, or a password is".to_owned()),
            }
        })(),
    )
}

/// Usernames that would ask for somebody else if they were text in a filter.
pub(super) fn injection(lab: &Lab<'_>) -> Result<(), String> {
    let gateway = lab.serve(&[("a", searching(lab, "consumer_optional: true"))], &[])?;
    told(
        &gateway,
        (|| {
            expect("an odd name", status(&gateway, "a", "o,brien+ (x)*", "odd")?, 200)?;
            for name in [
                "*",
                "alic*",
                "alice)(uid=*",
                "*)(objectClass=*",
                "x)(|(uid=alice",
                "alice))(&(uid=alice",
                "\\61lice",
                "\\2a",
                "alice\0",
                "alice,ou=people,dc=example,dc=com",
            ] {
                for password in ["pass:word", "odd", "elsewhere"] {
                    expect(name, status(&gateway, "a", name, password)?, 401)?;
                }
            }
            Ok(())
        })(),
    )
}

/// An account that is refused, and that nobody may do without.
pub(super) fn account(lab: &Lab<'_>) -> Result<(), String> {
    let wrong =
        "bind_dn: \"cn=gateway,dc=example,dc=com\", ldap_password: \"{vault://env/directory-password}\"";
    let routes = [
        (
            "wrong",
            plugin(lab, &format!("{wrong}, cache_ttl: 0, consumer_optional: true, anonymous: anybody")),
        ),
        (
            "narrow",
            plugin(
                lab,
                "bind_dn: \"cn=narrow,dc=example,dc=com\", ldap_password: nothing, consumer_optional: true",
            ),
        ),
        ("right", searching(lab, "consumer_optional: true")),
    ];
    let password = "not-the-secret".to_owned();
    let gateway = lab.serve(&routes, &[("DIRECTORY_PASSWORD", password.clone())])?;
    told(
        &gateway,
        (|| {
            // Connections of one account are not those of another, whatever the order.
            for _ in 0..2 {
                expect("right", status(&gateway, "right", "alice", "pass:word")?, 200)?;
                expect("refused", status(&gateway, "wrong", "alice", "pass:word")?, 500)?;
                expect("another account", status(&gateway, "narrow", "alice", "pass:word")?, 500)?;
                expect("still right", status(&gateway, "right", "mallory", "elsewhere")?, 200)?;
            }
            let output = gateway.output();
            match output.contains("may not sign in, with the result 49") && !output.contains(&password) {
                true => Ok(()),
                false => Err("the reason is not told, or the password is".to_owned()),
            }
        })(),
    )
}

/// Answers that are a part of the truth: referrals, and no more entries than the server likes.
pub(super) fn limits(lab: &Lab<'_>) -> Result<(), String> {
    let narrow = "bind_dn: \"cn=narrow,dc=example,dc=com\", ldap_password: narrow-secret";
    let place = |base: &str, more: &str| {
        format!(
            "  - name: ldap-auth-advanced\n    config: {{{}, base_dn: \"{base}\", attribute: uid, consumer_optional: true, {more}}}\n",
            lab.plain()
        )
    };
    let account = ACCOUNT;
    let routes = [
        ("referral", place("ou=branch,dc=example,dc=com", account)),
        ("missing", place("ou=nowhere,dc=example,dc=com", account)),
        ("narrow", place("dc=example,dc=com", narrow)),
        (
            "narrow-groups",
            place(
                "ou=people,dc=example,dc=com",
                &format!(
                    "{narrow}, group_member_attribute: member, group_base_dn: \"ou=groups,dc=example,dc=com\", group_name_attribute: cn"
                ),
            ),
        ),
    ];
    let gateway = lab.serve(&routes, &[])?;
    told(
        &gateway,
        (|| {
            expect("another server", status(&gateway, "referral", "alice", "pass:word")?, 500)?;
            expect("no such place", status(&gateway, "missing", "alice", "pass:word")?, 500)?;
            expect("one is enough", status(&gateway, "narrow", "alice", "pass:word")?, 200)?;
            expect("who knows which", status(&gateway, "narrow", "twin", "one")?, 500)?;
            expect("some of two groups", status(&gateway, "narrow-groups", "alice", "pass:word")?, 500)?;
            expect("the only group", status(&gateway, "narrow-groups", "o,brien+ (x)*", "odd")?, 200)?;
            let output = gateway.output();
            match output.contains("is on another server, which is not asked") {
                true => Ok(()),
                false => Err("the referral is not told".to_owned()),
            }
        })(),
    )
}

/// While the directory is away, who is remembered comes in, with groups and all, and nobody else; then all is well again.
pub(super) fn outage(lab: &Lab<'_>) -> Result<(), String> {
    let groups =
        "group_base_dn: \"ou=groups,dc=example,dc=com\", group_name_attribute: cn, consumer_optional: true";
    let routes = [
        ("remembered", searching(lab, &format!("{groups}, groups_required: [staff]"))),
        ("others", searching(lab, &format!("{groups}, groups_required: [admins]"))),
        ("fresh", searching(lab, &format!("{groups}, cache_ttl: 0, anonymous: anybody"))),
    ];
    let gateway = lab.serve(&routes, &[])?;
    told(
        &gateway,
        (|| {
            for route in ["remembered", "fresh", "remembered", "fresh"] {
                expect(route, status(&gateway, route, "alice", "pass:word")?, 200)?;
            }
            lab.server.borrow_mut().kill();
            expect("remembered", status(&gateway, "remembered", "alice", "pass:word")?, 200)?;
            expect("with its groups", status(&gateway, "others", "alice", "pass:word")?, 403)?;
            expect("a wrong password", status(&gateway, "remembered", "alice", "wrong")?, 500)?;
            expect("not remembered", status(&gateway, "fresh", "alice", "pass:word")?, 500)?;
            lab.server.borrow_mut().start_again()?;
            expect("it is back", status(&gateway, "fresh", "alice", "pass:word")?, 200)?;
            expect("a wrong password", status(&gateway, "remembered", "alice", "wrong")?, 401)?;
            // The account's connections and those of users each tell once that they fail.
            match gateway.output().matches("a directory cannot be asked").count() {
                1 | 2 => Ok(()),
                lines => Err(format!("{lines} lines tell of the outage")),
            }
        })(),
    )
}

/// Who guesses has to wait, however the username is written; what is no guess does not count.
pub(super) fn guessing(lab: &Lab<'_>) -> Result<(), String> {
    let guarded = "cache_ttl: 0, consumer_optional: true, groups_required: [none], \
                   brute_force_protection: {strategy: memory, failures: 3, window: 86400}";
    let gateway = lab.serve(&[("a", searching(lab, guarded))], &[])?;
    told(
        &gateway,
        (|| {
            for _ in 0..5 {
                expect("right, and in no group", status(&gateway, "a", "alice", "pass:word")?, 403)?;
            }
            for username in ["alice", "ALICE", "Alice "] {
                expect("wrong", status(&gateway, "a", username, "guess")?, 401)?;
            }
            expect("too many", status(&gateway, "a", "aLiCe", "pass:word")?, 429)?;
            for _ in 0..3 {
                expect("unknown", status(&gateway, "a", "nobody", "guess")?, 401)?;
            }
            expect("unknown, all the same", status(&gateway, "a", "nobody", "guess")?, 429)
        })(),
    )
}
