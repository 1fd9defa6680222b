//! A file of very many entities, in both formats.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{add, service};
use crate::load::route_path;

/// A file of 100,000 entities: services, routes, plugins and consumers. Gives the number with the content.
pub fn many_entities() -> (usize, Value) {
    let backend = SocketAddr::from(([127, 0, 0, 1], 80));
    let service_of = |index: usize| {
        let mut service = service(backend, index);
        for part in ["read", "write"] {
            add(
                &mut service,
                json!({
                    "name": format!("{part}-{index:05}"),
                    "paths": [format!("/{part}/{}", route_path(index).trim_start_matches('/'))],
                    "methods": ["GET", "POST"],
                }),
            );
        }
        service["plugins"] = json!([{"name": "rate-limiting", "config": {"minute": 100, "policy": "local"}}]);
        service
    };
    let services: Vec<Value> = (0..20_000).map(service_of).collect();
    let consumers: Vec<Value> = (0..20_000).map(|i| json!({"username": format!("user-{i:05}")})).collect();
    // Each service comes with two routes and a plugin.
    let count = services.len() * 4 + consumers.len();
    (count, json!({"_format_version": "3.0", "services": services, "consumers": consumers}))
}

/// The same content as block-style YAML, the way people write such files.
pub fn yaml(content: &Value) -> String {
    let mut text = String::new();
    write_yaml(content, 0, &mut text);
    text
}

fn write_yaml(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, value)) in map.iter().enumerate() {
                // The first key of a list item stands on the line of its dash.
                let start = if index == 0 && text.ends_with("- ") { "" } else { &indent };
                text.push_str(&format!("{start}{key}:"));
                write_yaml_below(value, depth + 1, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                text.push_str(&format!("{indent}- "));
                write_yaml(item, depth + 1, text);
            }
        }
        // JSON scalars, quoted strings included, are YAML as they stand.
        scalar => text.push_str(&format!("{scalar}\n")),
    }
}

fn write_yaml_below(value: &Value, depth: usize, text: &mut String) {
    let nested = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    text.push(if nested { '\n' } else { ' ' });
    write_yaml(value, depth, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_large_file_holds_the_entities_it_claims() {
        let (count, file) = many_entities();
        let length = |value: &Value| value.as_array().unwrap().len();
        let of_services = |key: &str| -> usize {
            file["services"].as_array().unwrap().iter().map(|service| length(&service[key])).sum()
        };
        let (services, consumers) = (length(&file["services"]), length(&file["consumers"]));
        let sum = services + of_services("routes") + of_services("plugins") + consumers;
        assert_eq!((count, sum), (100_000, 100_000));
    }

    #[test]
    fn yaml_is_written_in_block_style() {
        let content = json!({"a": "3.0", "b": [{"c": 1, "d": ["/x"]}, {"c": 2, "d": []}], "e": {"f": true}});
        let expected =
            "a: \"3.0\"\nb:\n  - c: 1\n    d:\n      - \"/x\"\n  - c: 2\n    d: []\ne:\n  f: true\n";
        assert_eq!(yaml(&content), expected);
    }
}
