//! The gateway, its routes and its destinations as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::operate;
use super::replay::Replays;
use super::show::redact_userinfo;
use super::view::{AdminView, RouteAction, RouteView, SecretView};
use crate::buffer::LaneStats;
use crate::clock::Millis;
use crate::delivery::{BatchOptions, DestinationHealth, LaneState, RegionHealth};
use crate::ingress::{DeliverTo, Proof};
use crate::units::format_duration;

pub(super) fn gateway(view: &AdminView, replays: &Replays, now: Millis) -> Value {
    let known = (view.gateway)();
    let stats = view.buffer.stats();
    let (ids, evicted) = view.dedupe.size();
    let reasons = view.readiness.reasons();
    let mut acks = BTreeMap::<&str, usize>::new();
    for route in (view.routes)() {
        if let RouteAction::Deliver { ack, .. } = route.action {
            *acks.entry(ack.as_str()).or_default() += 1;
        }
    }
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": view.started_at.rfc3339(),
        "uptime_seconds": now.since(view.started_at).as_secs(),
        "ready": reasons.is_empty(),
        "reasons": reasons,
        "acks": acks,
        "listeners": known.listeners,
        "config_path": known.config_path,
        "last_reload": known.last_reload.map(|reload| json!({
            "at": reload.at.rfc3339(),
            "result": if reload.result.is_ok() { "ok" } else { "failed" },
            "message": reload.result.unwrap_or_else(|why| why),
        })),
        "buffer": {
            "events": stats.events,
            "bytes": stats.bytes,
            // Without a bound there is none to show.
            "max_events": Some(stats.max_events).filter(|most| *most < u64::MAX),
            "max_bytes": stats.max_bytes,
            "dead_events": stats.dead_events,
            "dead_bytes": stats.dead_bytes,
            "history_events": stats.history_events,
            "history_bytes": stats.history_bytes,
        },
        "disk": stats.disk.map(|disk| json!({
            "state": disk.state.as_str(),
            "error": disk.error,
            "failures": disk.failures,
            "damaged_records": disk.damaged,
            "bytes": disk.bytes,
        })),
        "dedupe": {"ids": ids, "evicted": evicted},
        "replays": replays.shown(),
    })
}

pub(super) fn routes(view: &AdminView) -> Value {
    let now = view.clock.now();
    let shown = |shown: &RouteView| route(shown, view.started_at, now);
    json!({"routes": (view.routes)().iter().map(shown).collect::<Vec<_>>()})
}

fn route(route: &RouteView, started_at: Millis, now: Millis) -> Value {
    let mut shown = json!({
        "name": &*route.name,
        "path": route.path,
        "host": route.host,
        "methods": route.methods,
        "allow_ips": route.allow_ips.as_ref().map(|allow| json!({
            "ranges": allow.fixed,
            "lists": allow.lists.iter().map(|list| json!({
                "name": &*list.name,
                "ranges": list.ranges,
                "as_of": list.as_of,
            })).collect::<Vec<_>>(),
            "shadow": allow.shadow,
        })),
    });
    let more = match &route.action {
        RouteAction::Proxy(upstream) => json!({"action": "proxy", "proxy_to": redact_userinfo(upstream)}),
        RouteAction::Deliver {
            provider,
            proof,
            ack,
            dedupe,
            deliver_to,
            secrets: held,
            awaits_secret_until,
        } => {
            json!({
                "action": "deliver",
                "provider": provider.as_deref(),
                // The words of `hooklatch verify --jsonl`, where an authenticated request is a verified one, too.
                "verified": *proof != Proof::Unchecked,
                "outcome": proof.as_str(),
                "ack": ack.as_str(),
                "dedupe": dedupe,
                "deliver_to": deliver_to.iter().map(self::deliver_to).collect::<Vec<_>>(),
                "awaits_secret_until": awaits_secret_until.map(Millis::rfc3339),
                "secrets": secrets(held, started_at, now),
            })
        }
    };
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    shown
}

/// A secret that verified nothing for so long, while another one did, is not what senders sign with any more; of a sender
/// that was ever seen to pause for longer that long is asked.
const SAFE_TO_DROP_AFTER: Duration = Duration::from_secs(24 * 3600);

fn secrets(held: &[SecretView], started_at: Millis, now: Millis) -> Vec<Value> {
    let unused_since = |secret: &SecretView| secret.last_match_at.unwrap_or(secret.loaded_at.max(started_at));
    let replaced = |secret: &SecretView| {
        // One that verified nothing since the start may have a sender that comes once a month.
        let Some(since) = secret.last_match_at else { return false };
        let by = |other: &SecretView| !other.shadow && other.last_match_at.is_some_and(|at| at > since);
        now.since(since) >= SAFE_TO_DROP_AFTER.max(secret.longest_gap)
            && held.iter().filter(|other| other.name != secret.name).any(by)
    };
    let shown = |secret: &SecretView| {
        json!({
            "name": &*secret.name,
            "loaded_at": secret.loaded_at.rfc3339(),
            "shadow": secret.shadow,
            "hits": secret.hits,
            "last_match_at": secret.last_match_at.map(Millis::rfc3339),
            "unused_since": unused_since(secret).rfc3339(),
            "longest_pause_seconds": secret.longest_gap.as_secs(),
            "safe_to_drop": !secret.shadow && replaced(secret),
        })
    };
    held.iter().map(shown).collect()
}

/// As in the configuration: a name, or what is said beside it.
fn deliver_to(entry: &DeliverTo) -> Value {
    if entry.types.is_empty() && !entry.optional {
        return json!(&*entry.to);
    }
    let types: Vec<String> = entry.types.iter().map(ToString::to_string).collect();
    json!({"to": &*entry.to, "types": types, "optional": entry.optional})
}

/// Those of the configuration, and those that are gone from it and still hold events.
pub(super) fn destinations(view: &AdminView) -> Value {
    let mut lanes: BTreeMap<_, LaneStats> =
        view.buffer.stats().destinations.into_iter().map(|lane| (lane.destination.clone(), lane)).collect();
    let mut all = Vec::new();
    let known = (view.destinations)();
    let former: Vec<_> = known.iter().flat_map(|health| health.formerly.clone()).collect();
    // One that was renamed is shown under its new name alone.
    for health in known.into_iter().filter(|health| health.configured || !former.contains(&health.name)) {
        let mut shown = json!({
            "name": &*health.name,
            "url": redact_userinfo(&health.url),
            "configured": health.configured,
            "healthy": health.failures_in_a_row == 0,
            "failures_in_a_row": health.failures_in_a_row,
            "last_success": health.last_success.map(Millis::rfc3339),
            "last_failure": health.last_failure.map(Millis::rfc3339),
            "in_flight": health.in_flight,
            "concurrency": health.concurrency,
            "idle_connections": health.idle_connections,
            "state": state(&health),
            "paused": health.paused.as_ref().map(operate::paused),
            "batch": health.batch.map(|(options, gathering)| batch(options, gathering)),
            "rate": health.rate.map(|(rate, _)| rate.to_string()),
            "burst": health.rate.map(|(_, burst)| burst),
            "formerly": health.formerly.iter().map(|name| &**name).collect::<Vec<_>>(),
            "regions": health.regions.iter().map(region).collect::<Vec<_>>(),
        });
        add_state(&mut shown, health.state);
        let mut depth = lanes.remove(&health.name);
        // What is pending under its former names is delivered here.
        for former in health.formerly.iter().filter_map(|name| lanes.remove(name)) {
            depth = Some(depth.map_or(former.clone(), |own| together(own, &former)));
        }
        add_depth(&mut shown, depth.as_ref());
        all.push(shown);
    }
    for (name, lane) in lanes {
        let mut shown = json!({"name": &*name, "configured": lane.configured});
        add_depth(&mut shown, Some(&lane));
        all.push(shown);
    }
    json!({"destinations": all})
}

fn together(mut own: LaneStats, other: &LaneStats) -> LaneStats {
    own.events += other.events;
    own.bytes += other.bytes;
    own.dead += other.dead;
    own.waiting += other.waiting;
    own.oldest = own.oldest.into_iter().chain(other.oldest).min();
    own
}

/// One word for people: `down` is a breaker that tripped.
fn state(health: &DestinationHealth) -> &'static str {
    match health.state {
        _ if !health.configured => "not_configured",
        _ if health.paused.is_some() => "paused",
        LaneState::Flowing => "open",
        LaneState::Recovering { .. } => "recovering",
        LaneState::Tripped { .. } => "down",
    }
}

fn add_state(shown: &mut Value, state: LaneState) {
    let (key, value) = match state {
        LaneState::Flowing => return,
        LaneState::Recovering { allows } => ("allowed_in_flight", json!(allows)),
        LaneState::Tripped { probe_at } => ("probe_at", json!(probe_at.map(Millis::rfc3339))),
    };
    if let Value::Object(shown) = shown {
        shown.insert(key.to_owned(), value);
    }
}

fn batch(options: BatchOptions, gathering: u32) -> Value {
    json!({
        "max_events": options.max_events,
        "max_bytes": options.max_bytes,
        "max_wait": format_duration(options.max_wait),
        "format": options.format.as_str(),
        "gathering": gathering,
    })
}

fn region(region: &RegionHealth) -> Value {
    json!({"name": region.region.as_str(), "url": redact_userinfo(&region.url), "up": region.up})
}

fn add_depth(shown: &mut Value, lane: Option<&LaneStats>) {
    if let Value::Object(shown) = shown {
        let depth = [
            ("pending_events", json!(lane.map_or(0, |lane| lane.events))),
            ("pending_bytes", json!(lane.map_or(0, |lane| lane.bytes))),
            ("waiting_events", json!(lane.map_or(0, |lane| lane.waiting))),
            ("dead_events", json!(lane.map_or(0, |lane| lane.dead))),
            ("oldest_pending", json!(lane.and_then(|lane| lane.oldest).map(Millis::rfc3339))),
        ];
        shown.extend(depth.into_iter().map(|(key, value)| (key.to_owned(), value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_secret_may_be_dropped_after_its_sender_s_longest_pause_and_never_where_it_was_not_seen() {
        let now = Millis(1_768_473_000_000);
        let started_at = now.minus(1000 * HOUR);
        let held = |unused_for: Option<Duration>, longest_gap: Duration| SecretView {
            name: "old".into(),
            loaded_at: started_at,
            last_match_at: unused_for.map(|time| now.minus(time)),
            hits: 9,
            longest_gap,
            shadow: false,
        };
        let in_use = SecretView { name: "new".into(), ..held(Some(HOUR), HOUR) };
        let may_go =
            |old: SecretView| secrets(&[old, in_use.clone()], started_at, now)[0]["safe_to_drop"] == true;
        assert!(may_go(held(Some(24 * HOUR), HOUR)));
        assert!(!may_go(held(Some(23 * HOUR), HOUR)));
        assert!(!may_go(held(Some(100 * HOUR), 168 * HOUR)), "it comes once a week");
        assert!(may_go(held(Some(168 * HOUR), 168 * HOUR)));
        assert!(!may_go(held(None, Duration::ZERO)), "nobody knows how often it comes");
    }
}
