//! Looking at automatic canaries, and steering them by hand, through the Admin API.

use std::sync::Arc;

use plugin::admin::{Answer, Call, Endpoint};
use serde_json::{Value, json};

use super::Release;
use super::machine::{Machine, Order, Phase};
use super::rules::Rules;
use super::tally::Sums;

macro_rules! order {
    ($name:literal, $order:ident) => {
        Endpoint {
            method: "POST",
            path: concat!("/canaries/{of}/", $name),
            on_status_listener: false,
            handle: |call| answer(call, Some(Order::$order)),
        }
    };
}

/// The endpoints.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: "GET",
        path: "/canaries",
        on_status_listener: true,
        handle: |call| answer(call, None),
    },
    Endpoint {
        method: "GET",
        path: "/canaries/{of}",
        on_status_listener: true,
        handle: |call| answer(call, None),
    },
    order!("pause", Pause),
    order!("resume", Resume),
    order!("promote", Promote),
    order!("rollback", RollBack),
    order!("restart", Restart),
];

fn answer(call: &Call<'_>, order: Option<Order>) -> Answer {
    let mut releases: Vec<Arc<Release>> =
        call.services.all_kept::<Release>().into_iter().map(|(_, release)| release).collect();
    if let Some(of) = call.parameters.first() {
        releases.retain(|release| is_of(release, of));
        if releases.is_empty() {
            return Answer::not_found();
        }
    }
    let data: Vec<Value> =
        releases.iter().map(|release| release.attend(order, |machine| describe(release, machine))).collect();
    Answer::json(200, &json!({ "data": data }))
}

/// Whether the release is that of a plugin entity, a service or a route, or has that name.
fn is_of(release: &Release, of: &str) -> bool {
    let subject = &release.subject;
    let names = [&subject.plugin, &subject.service, &subject.route, &subject.release];
    !of.is_empty() && names.iter().any(|name| *name == of)
}

fn describe(release: &Release, machine: &Machine) -> Value {
    let name = |text: &str| if text.is_empty() { Value::Null } else { Value::from(text) };
    let percent = |share: u64| share as f64 / 10_000.0;
    let rules = &machine.rules;
    let under_way = matches!(machine.phase, Phase::Stepping | Phase::Holding);
    json!({
        "plugin": release.subject.plugin,
        "service": name(&release.subject.service),
        "route": name(&release.subject.route),
        "release": name(&release.subject.release),
        "state": machine.phase.name(),
        "reason": machine.why,
        "by_hand": machine.by_hand,
        "paused": machine.paused,
        "since": machine.since / 1000,
        "share": percent(machine.share),
        "step": under_way.then_some(machine.step + 1),
        "steps": rules.steps.iter().map(|step| percent(*step)).collect::<Vec<_>>(),
        "tries": { "begun": machine.tries, "most": rules.tries },
        "next_try_at": machine.next_try().map(|next| next / 1000),
        "in_this_step": {
            "canary": figures(&machine.window.canary, rules),
            "service": figures(&machine.window.service, rules),
        },
    })
}

fn figures(sums: &Sums, rules: &Rules) -> Value {
    json!({
        "requests": sums.total(),
        "failed": sums.failed,
        "percentile_ms": sums.percentile(rules.percentile).map(|micros| micros as f64 / 1000.0),
    })
}
