//! Looking at breakers, and opening or closing them by hand, through the Admin API.

use std::sync::Arc;

use plugin::Services;
use plugin::admin::{Answer, Call, Endpoint};
use serde_json::{Value, json};

use super::breaker::Breaker;
use super::machine::Forced;
use super::table::Table;

/// The endpoints.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "GET", path: "/circuit-breakers", on_status_listener: true, handle: list },
    Endpoint { method: "GET", path: "/circuit-breakers/{of}", on_status_listener: true, handle: show },
    Endpoint { method: "POST", path: "/circuit-breakers/{of}/open", on_status_listener: false, handle: open },
    Endpoint {
        method: "POST",
        path: "/circuit-breakers/{of}/close",
        on_status_listener: false,
        handle: close,
    },
    Endpoint {
        method: "POST",
        path: "/circuit-breakers/{of}/reset",
        on_status_listener: false,
        handle: reset,
    },
];

fn list(call: &Call<'_>) -> Answer {
    answer(call, &breakers(call))
}

fn show(call: &Call<'_>) -> Answer {
    answer(call, &addressed(call))
}

fn open(call: &Call<'_>) -> Answer {
    force(call, Some(Forced::Open))
}

fn close(call: &Call<'_>) -> Answer {
    force(call, Some(Forced::Closed))
}

fn reset(call: &Call<'_>) -> Answer {
    force(call, None)
}

fn force(call: &Call<'_>, wish: Option<Forced>) -> Answer {
    let addressed = addressed(call);
    for breaker in &addressed {
        breaker.force(wish, call.services.steady.now_ms());
    }
    answer(call, &addressed)
}

fn breakers(call: &Call<'_>) -> Vec<Arc<Breaker>> {
    call.services.all_kept::<Table>().into_iter().flat_map(|(_, table)| table.all()).collect()
}

/// Those of a service, a route or a target, or of a plugin entity.
fn addressed(call: &Call<'_>) -> Vec<Arc<Breaker>> {
    let of = call.parameters.first().copied().unwrap_or_default();
    let mut breakers = breakers(call);
    breakers.retain(|breaker| {
        let subject = &breaker.subject;
        let names = [&subject.plugin, &subject.service, &subject.route, &subject.target];
        !of.is_empty() && names.iter().any(|name| *name == of)
    });
    breakers
}

fn answer(call: &Call<'_>, breakers: &[Arc<Breaker>]) -> Answer {
    if breakers.is_empty() && !call.parameters.is_empty() {
        return Answer::not_found();
    }
    let data: Vec<Value> = breakers.iter().map(|breaker| describe(breaker, call.services)).collect();
    Answer::json(200, &json!({ "data": data }))
}

fn describe(breaker: &Breaker, services: &Services) -> Value {
    let now = services.steady.now_ms();
    let view = breaker.view(now);
    let since = services.clock.now_ms().saturating_sub(now.saturating_sub(view.since));
    let name = |text: &str| if text.is_empty() { Value::Null } else { Value::from(text) };
    json!({
        "plugin": breaker.subject.plugin,
        "service": name(&breaker.subject.service),
        "route": name(&breaker.subject.route),
        "target": name(&breaker.subject.target),
        "state": view.phase.name(),
        "forced": view.forced.is_some(),
        "since": since / 1000,
        "retry_after": view.opens_in.div_ceil(1000),
        "failures_in_a_row": view.run,
        "window": { "responses": view.sums.total, "failures": view.sums.failed, "slow": view.sums.slow },
        "probes": view.probes,
    })
}
