//! Looking at stored responses, and forgetting them, through the Admin API.

use std::sync::Arc;

use plugin::admin::{Answer, Call, Endpoint};
use serde_json::{Map, Value, json};

use super::Instance;
use super::key::Key;
use super::store::{Entry, Store};

/// The endpoints.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "DELETE", path: "/proxy-cache", on_status_listener: false, handle: forget_all },
    Endpoint { method: "GET", path: "/proxy-cache/{key}", on_status_listener: false, handle: show },
    Endpoint { method: "DELETE", path: "/proxy-cache/{key}", on_status_listener: false, handle: forget },
    Endpoint {
        method: "GET",
        path: "/proxy-cache/{plugin_id}/caches/{key}",
        on_status_listener: false,
        handle: show,
    },
    Endpoint {
        method: "DELETE",
        path: "/proxy-cache/{plugin_id}/caches/{key}",
        on_status_listener: false,
        handle: forget,
    },
];

fn forget_all(call: &Call<'_>) -> Answer {
    for (_, store) in call.services.all_kept::<Store>() {
        store.clear();
    }
    Answer::no_content()
}

fn show(call: &Call<'_>) -> Answer {
    let now = call.services.steady.now_ms();
    let Some((key, stores)) = addressed(call) else { return Answer::not_found() };
    match stores.iter().find_map(|store| store.find(&key, now)) {
        Some(entry) => Answer::json(200, &describe(&entry)),
        None => Answer::not_found(),
    }
}

fn forget(call: &Call<'_>) -> Answer {
    let Some((key, stores)) = addressed(call) else { return Answer::not_found() };
    let forgotten = stores.iter().filter(|store| store.remove(&key)).count();
    if forgotten > 0 { Answer::no_content() } else { Answer::not_found() }
}

/// The key a call names, and the stores it may be in: all, or that of one plugin instance.
fn addressed(call: &Call<'_>) -> Option<(Key, Vec<Arc<Store>>)> {
    let (key, stores) = match call.parameters {
        [key] => (key, call.services.all_kept::<Store>().into_iter().map(|(_, store)| store).collect()),
        [plugin, key] => {
            let instances = call.services.all_kept::<Instance>().into_iter();
            let of_plugin = instances.filter(|(_, instance)| instance.plugin == *plugin);
            (key, of_plugin.map(|(_, instance)| instance.store.clone()).collect())
        }
        _ => return None,
    };
    Some((Key::from_hex(key)?, stores))
}

fn describe(entry: &Entry) -> Value {
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).into_owned());
    let mut headers = Map::new();
    for (name, value) in entry.headers.iter() {
        match headers.get_mut(name) {
            None => drop(headers.insert(name.to_owned(), text(value))),
            Some(Value::Array(values)) => values.push(text(value)),
            Some(first) => *first = Value::Array(vec![first.take(), text(value)]),
        }
    }
    json!({
        "status": entry.status,
        "headers": headers,
        "body": text(&entry.body),
        "body_len": entry.body.len(),
        "timestamp": entry.stored_at,
        "ttl": entry.ttl,
        "version": 1,
    })
}
