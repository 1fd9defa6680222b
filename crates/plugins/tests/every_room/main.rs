//! What holds for every room: documented, described, strict, equal to Kong's recorded schema, and with an example that
//! does what it says.

mod against_kong;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};

use plugin::harness::Harness;
use plugin::model::is_secret_name;
use plugin::model::schema::{Element, Kind, RecordSchema};
use plugin::{Definition, Phase};
use plugins::ROOMS;
use serde_json::Value;

/// Kong's own description of the plugins: scopes, protocols, priorities and fields.
const REFERENCE: &str = include_str!("../reference.json");

/// Plugins that Kong has none of.
const OURS: [&str; 8] = [
    "authorization",
    "circuit-breaker",
    "concurrency-limit",
    "forward-auth",
    "rate-limit-status",
    "upstream-jwt",
    "upstream-retry",
    "usage",
];

const HEADINGS: [&str; 4] = ["## What it does", "## Example", "## Behaviour", "## Differences from Kong"];

fn reference(room: &dyn Definition) -> Value {
    let reference: Value = serde_json::from_str(REFERENCE).expect("reference.json is JSON");
    let entry = reference[room.name()].clone();
    assert!(entry.is_object(), "{} is not in reference.json", room.name());
    entry
}

fn kongs() -> impl Iterator<Item = &'static &'static dyn Definition> {
    ROOMS.iter().filter(|room| !OURS.contains(&room.name()))
}

#[test]
fn the_list_is_in_execution_order() {
    let priorities: Vec<i64> = ROOMS.iter().map(|room| room.priority()).collect();
    assert!(priorities.windows(2).all(|pair| pair[0] >= pair[1]), "highest first: {priorities:?}");
    let names: BTreeSet<&str> = ROOMS.iter().map(|room| room.name()).collect();
    assert_eq!(names.len(), ROOMS.len(), "names are unique");
}

#[test]
fn every_plugin_of_the_reference_is_listed() {
    let reference: BTreeMap<String, Value> = serde_json::from_str(REFERENCE).unwrap();
    let listed: BTreeSet<&str> = ROOMS.iter().map(|room| room.name()).collect();
    let known = reference.keys().map(String::as_str);
    assert!(OURS.iter().all(|ours| !reference.contains_key(*ours)));
    assert_eq!(listed, known.chain(OURS).collect());
}

#[test]
fn every_page_has_all_headings_in_order() {
    for room in ROOMS {
        let name = room.name();
        let mut lines = room.doc().lines();
        assert_eq!(lines.next(), Some(format!("# {name}").as_str()));
        let summary: Vec<&str> =
            lines.skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty()).collect();
        let summary = summary.join(" ");
        assert!(
            summary.ends_with('.') && summary.matches(". ").count() == 0,
            "{name}: one sentence: {summary}"
        );
        let headings: Vec<&str> = room.doc().lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(headings, HEADINGS, "{name}");
        for heading in HEADINGS {
            let (_, section) = room.doc().split_once(heading).unwrap();
            let section = section.split("\n## ").next().unwrap_or_default();
            assert!(!section.trim().is_empty(), "{name}: nothing under {heading}");
        }
    }
}

#[test]
fn every_field_is_described() {
    for room in ROOMS {
        let mut bare = Vec::new();
        undescribed(&room.schema().config, "config", &mut bare);
        for entity in room.entities() {
            undescribed(&entity.record, entity.name, &mut bare);
        }
        assert!(bare.is_empty(), "{}: {bare:?}", room.name());
    }
}

fn undescribed(record: &RecordSchema, path: &str, bare: &mut Vec<String>) {
    for field in &record.fields {
        let path = format!("{path}.{}", field.name);
        if !field.doc.trim_end().ends_with('.') {
            bare.push(path.clone());
        }
        if let Some(inner) = inner_record(&field.element) {
            undescribed(inner, &path, bare);
        }
    }
}

/// The record an element is or holds.
fn inner_record(element: &Element) -> Option<&RecordSchema> {
    match &element.kind {
        Kind::Record(record) => Some(record),
        Kind::Array(inner) | Kind::Set(inner) | Kind::Map(_, inner) => inner_record(inner),
        _ => None,
    }
}

#[test]
fn an_unknown_field_is_refused() {
    for room in ROOMS {
        let refusal = Harness::global(*room, "{no_such_field: 1}").err();
        let refusal = refusal.unwrap_or_else(|| panic!("{} took an unknown field", room.name()));
        assert!(refusal.contains("unknown field"), "{}: {refusal}", room.name());
    }
}

#[test]
fn an_unknown_nested_field_is_refused() {
    for room in ROOMS {
        for field in &room.schema().config.fields {
            if let Kind::Record(_) = field.element.kind {
                let config = format!("{{{}: {{no_such_field: 1}}}}", field.name);
                let refusal = Harness::global(*room, &config).err().unwrap_or_default();
                assert!(refusal.contains("unknown field"), "{}: {config}: {refusal}", room.name());
            }
        }
    }
}

#[test]
fn rooms_take_part_in_sessions_if_their_protocols_say_so() {
    const STREAMS: [&str; 4] = ["tcp", "tls", "tls_passthrough", "udp"];
    for room in ROOMS {
        let (name, schema) = (room.name(), room.schema());
        let takes_part = room.runs().iter().any(|phase| matches!(phase, Phase::Session | Phase::SessionLog));
        let says_so = schema.all_protocols().any(|protocol| STREAMS.contains(&protocol));
        assert_eq!(takes_part, says_so, "{name}");
        assert!(schema.streams.iter().all(|protocol| STREAMS.contains(protocol)), "{name}");
    }
}

/// kong.md 3.4. Kong's priorities from 1001 to 1900 are those of authentication.
#[test]
fn every_room_of_authentication_believes_nothing_that_clients_claim() {
    for room in ROOMS {
        let is_of_authentication = (1001..=1900).contains(&room.priority());
        assert!(!is_of_authentication || room.authenticates(), "{}: Plugin::AUTHENTICATES", room.name());
    }
    let names = [
        "X-Consumer-ID",
        "x-consumer-custom-id",
        "X-Consumer-Username",
        "X-Credential-Identifier",
        "X-Anonymous-Consumer",
        "X-Consumer-Groups",
        "X-Authenticated-Groups",
        "X-Authenticated-Scope",
        "X-Authenticated-UserId",
    ];
    let forged = names.map(|name| format!("{name}: forged\n")).concat();
    for room in ROOMS.iter().filter(|room| room.authenticates()) {
        let (_, example) = room.doc().split_once("## Example").unwrap();
        let document = block(example, "yaml").unwrap();
        for method in ["GET", "OPTIONS", "POST"] {
            // What comes of it differs; what a service could be told does not.
            let mut harness = Harness::chain(ROOMS, document).unwrap();
            let outcome = harness.send(&format!("{method} / HTTP/1.1\n{forged}\n"));
            for name in names {
                let told = outcome.upstream_header(name);
                assert_ne!(told.as_deref(), Some("forged"), "{}: {method}: {name}", room.name());
            }
        }
    }
}

#[test]
fn every_example_does_what_it_says() {
    for room in ROOMS {
        let name = room.name();
        let (_, example) = room.doc().split_once("## Example").unwrap();
        let document = block(example, "yaml").unwrap_or_else(|| panic!("{name}: no yaml block"));
        let exchange = block(example, "http").unwrap_or_else(|| panic!("{name}: no http block"));
        let (request, response) =
            exchange.split_once("\nHTTP/1.1 ").unwrap_or_else(|| panic!("{name}: no status"));
        let mut harness =
            Harness::chain(ROOMS, document).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        let outcome = harness.send(request.trim_end());
        let mut lines = response.lines();
        let status = lines.next().and_then(|line| line.split(' ').next()?.parse::<u16>().ok());
        assert_eq!(Some(outcome.status), status, "{name}: {}", String::from_utf8_lossy(&outcome.body));
        for line in lines.take_while(|line| !line.is_empty()) {
            let (header, expected) = line.split_once(": ").unwrap_or_else(|| panic!("{name}: {line}"));
            let found = outcome.header(header).unwrap_or_else(|| panic!("{name}: no {header}"));
            assert!(expected == "*" || expected == found, "{name}: {header}: {found}, not {expected}");
        }
    }
}

/// The content of the first fenced block of the language.
fn block<'a>(text: &'a str, language: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("```{language}\n"))?;
    rest.split_once("\n```").map(|(block, _)| block)
}

#[test]
fn the_catalog_holds_every_schema_and_entity_once() {
    let catalog = plugins::catalog();
    assert_eq!(catalog.plugins.len(), ROOMS.len());
    let entities: BTreeSet<&str> = catalog.entities.iter().map(|entity| entity.name).collect();
    assert_eq!(
        entities,
        BTreeSet::from([
            "acls",
            "basicauth_credentials",
            "header_cert_auth_credentials",
            "hmacauth_credentials",
            "jwt_secrets",
            "keyauth_credentials",
            "keyauth_enc_credentials",
            "mtls_auth_credentials",
            "oauth2_credentials",
        ])
    );
    assert_eq!(entities.len(), catalog.entities.len());
}

/// Names that are kept encrypted in Kong's database and prove nothing.
const NO_SECRETS: [&str; 6] = [
    "aws_assume_role_arn",
    "aws_role_session_name",
    "azure_client_id",
    "azure_tenant_id",
    "client_id",
    "keyset",
];

#[test]
fn every_secret_is_known_by_its_name_where_lines_of_files_are_shown() {
    for room in ROOMS {
        let mut records = vec![room.schema().config];
        records.extend(room.entities().into_iter().map(|entity| entity.record));
        while let Some(record) = records.pop() {
            for field in &record.fields {
                records.extend(inner_record(&field.element).cloned());
                let known = is_secret_name(field.name) || NO_SECRETS.contains(&field.name);
                assert!(known || !field.element.encrypted, "{}: {}", room.name(), field.name);
            }
        }
    }
}
