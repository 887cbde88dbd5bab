use serde_json::json;

use super::*;
use crate::buffer::DeadReason;

const GONE: Settled = Settled::Dead(DeadReason::Gone);

#[test]
fn status_tells_the_whole_at_a_glance() {
    let house = house();
    house.keep(event(1), &["app"]);
    house.readiness.set_loaded();
    let status = house.get("/api/v1/status").json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["started_at"], "2026-01-15T10:28:30.000Z");
    assert_eq!(status["uptime_seconds"], 90);
    assert_eq!(status["ready"], false);
    assert_eq!(status["reasons"], json!(["the listeners are not bound yet"]));
    assert_eq!(status["acks"], json!({"memory": 1}));
    assert_eq!(status["listeners"], json!(["127.0.0.1:8080"]));
    assert_eq!(
        status["last_reload"],
        json!({"at": "2026-01-15T10:30:00.000Z", "result": "failed", "message": "line 3"})
    );
    assert_eq!((&status["buffer"]["events"], &status["buffer"]["max_events"]), (&json!(1), &json!(100_000)));
    assert_eq!(status["dedupe"], json!({"ids": 0, "evicted": 0}));
    assert_eq!(status["disk"], Value::Null, "this buffer is in memory");
}

#[test]
fn a_bound_that_is_not_there_is_no_figure() {
    let options = AdminOptions { listen: AdminListen::parse("127.0.0.1:0"), ..AdminOptions::default() };
    let house = house_with(options, BufferOptions { max_events: u64::MAX, ..BufferOptions::memory() });
    let buffer = house.get("/api/v1/status").json()["buffer"].clone();
    assert_eq!((&buffer["max_events"], &buffer["max_bytes"]), (&Value::Null, &json!(256 << 20)));
}

#[test]
fn routes_show_their_secrets_by_name_alone() {
    let reply = house().get("/api/v1/routes");
    assert!(!reply.body.contains("hunter2"), "{}", reply.body);
    let routes = reply.json()["routes"].clone();
    assert_eq!(routes[0]["name"], "github");
    let billing = json!({"to": "billing", "types": ["invoice.*"], "optional": false});
    assert_eq!(routes[0]["deliver_to"], json!(["app", billing]));
    let lists = json!([{"name": "github", "ranges": 6, "as_of": "2026-01-15"}]);
    assert_eq!(routes[0]["allow_ips"], json!({"ranges": 2, "lists": lists, "shadow": true}));
    assert_eq!(routes[1]["allow_ips"], Value::Null);
    let secrets = routes[0]["secrets"].as_array().unwrap();
    assert_eq!(
        secrets[0],
        json!({
            "name": "new", "shadow": false, "hits": 1, "safe_to_drop": false, "longest_pause_seconds": 0,
            "loaded_at": "2026-01-03T20:43:20.000Z",
            "last_match_at": "2026-01-15T10:30:00.000Z", "unused_since": "2026-01-15T10:30:00.000Z",
        })
    );
    let drop = |name: &str| {
        let secret = secrets.iter().find(|secret| secret["name"] == name).unwrap();
        (secret["safe_to_drop"].as_bool().unwrap(), secret["unused_since"].as_str().unwrap().to_owned())
    };
    // For 25 h another one verified everything; an hour tells nothing; one on trial is not in use anyway.
    assert_eq!(drop("old"), (true, "2026-01-14T09:30:00.000Z".to_owned()));
    assert!(!drop("idle").0);
    assert_eq!(drop("next"), (false, "2026-01-15T10:28:30.000Z".to_owned()), "since the process started");
    assert_eq!(routes[1]["proxy_to"], "http://[redacted]@127.0.0.1:3000");
}

#[test]
fn destinations_show_health_and_depth_also_of_those_that_are_gone() {
    let house = house();
    house.keep(event(1), &["app", "former"]);
    let reply = house.get("/api/v1/destinations");
    assert!(!reply.body.contains("hunter2"), "{}", reply.body);
    let all = reply.json()["destinations"].as_array().unwrap().clone();
    let named = |name: &str| all.iter().find(|d| d["name"] == name).unwrap();
    assert_eq!(named("app")["healthy"], false);
    assert_eq!((&named("app")["pending_events"], &named("app")["in_flight"]), (&json!(1), &json!(1)));
    assert_eq!(named("app")["oldest_pending"], "2026-01-15T10:30:00.000Z");
    assert_eq!(named("former")["pending_events"], 1);
    assert_eq!(named("former")["configured"], false);
}

#[test]
fn an_event_is_shown_whole_and_without_its_credentials() {
    let house = house();
    let id = house.keep(event(1), &["app"]);
    house.settle("app", GONE, 410);
    let reply = house.get(&format!("/api/v1/events/{id}"));
    assert!(!reply.body.contains("hunter2"), "{}", reply.body);
    let shown = reply.json();
    assert_eq!(shown["id"], id.to_string());
    assert_eq!(shown["event_id"], "evt_1");
    assert_eq!(shown["body"], "{\"a\":1}");
    assert_eq!(shown["path"], "/webhooks/github");
    assert_eq!(shown["target"], "/webhooks/github?x=1&token=[redacted]");
    assert_eq!(
        shown["headers"],
        json!([
            ["Content-Type", "application/json"],
            ["Authorization", "[redacted]"],
            ["COOKIE", "[redacted]"],
            ["X-Odd-Name", "[redacted]"],
            ["X-Gitlab-Token", "[redacted]"],
        ])
    );
    let place = &shown["destinations"][0];
    assert_eq!((&place["status"], &place["dead_reason"]), (&json!("dead"), &json!("gone")));
    assert_eq!(
        place["attempts"],
        json!([{"number": 1, "at": "2026-01-15T10:30:00.000Z", "took_ms": 12, "status": 410, "region": null}])
    );
    assert_eq!((&place["last_answer_base64"], &place["last_answer"]), (&json!("bm8g/w=="), &Value::Null));
}

#[test]
fn a_secret_in_a_query_a_form_or_a_json_body_is_not_shown() {
    let house = house();
    let shown = |content_type: &str, body: &'static [u8]| {
        let headers = Headers::from_pairs([("Content-Type", content_type)]);
        let event =
            Event { headers, target: "/in?code=hunter2".into(), body: Bytes::from_static(body), ..event(1) };
        let id = house.keep(event, &["app"]);
        let reply = house.get(&format!("/api/v1/events/{id}"));
        assert!(!reply.body.contains("hunter2"), "{}", reply.body);
        let json = reply.json();
        assert_eq!(json["target"], "/in?code=[redacted]");
        json["body"].as_str().unwrap().to_owned()
    };
    let json = shown("application/json", b"{\"hook\": {\"key\": \"hunter2\", \"a\": 1}}");
    assert_eq!(json, "{\"hook\": {\"key\": \"[redacted]\", \"a\": 1}}");
    let form = shown("application/x-www-form-urlencoded", b"a=1&key=hunter2&b=2");
    assert_eq!(form, "a=1&key=[redacted]&b=2");
    assert_eq!(shown("text/plain", b"key=hunter2"), "[redacted]");
}

#[test]
fn of_an_event_by_a_route_that_nobody_knows_any_more_only_what_is_harmless_is_shown() {
    let house = house();
    let id = house.keep(Event { route: "gone".into(), target: "/in?x=hunter2".into(), ..event(1) }, &["app"]);
    let shown = house.get(&format!("/api/v1/events/{id}")).json();
    assert_eq!((&shown["target"], &shown["body"]), (&json!("/in?x=[redacted]"), &json!("[redacted]")));
    assert_eq!(shown["headers"][0], json!(["Content-Type", "application/json"]));
    assert_eq!(shown["headers"][3], json!(["X-Odd-Name", "[redacted]"]));
}

#[test]
fn a_body_that_is_no_text_is_shown_as_base64() {
    let house = house();
    let headers = Headers::from_pairs([("Content-Type", "application/x-www-form-urlencoded")]);
    let body = Bytes::from_static(b"\xff\x00");
    let id = house.keep(Event { headers, body, ..event(1) }, &["app"]);
    let shown = house.get(&format!("/api/v1/events/{id}")).json();
    assert_eq!((&shown["body_base64"], &shown["body"]), (&json!("/wA="), &Value::Null));
}

#[test]
fn an_id_that_is_none_and_one_that_is_unknown() {
    let house = house();
    house.get("/api/v1/events/evt_1").is_refused(400, "validation_failed");
    let unknown = format!("/api/v1/events/{}", EventId::new(NOW, 99));
    house.get(&unknown).is_refused(404, "not_found");
    house.post(&format!("{unknown}/replay"), "").is_refused(404, "not_found");
}

#[test]
fn pages_follow_one_another_without_a_gap() {
    let house = house();
    let kept: Vec<_> = (0..7).map(|number| house.keep(event(number), &["app"]).to_string()).collect();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for _ in 0..9 {
        let page = house.get(&format!("/api/v1/events?limit=3&status=pending{cursor}")).json();
        let events = page["events"].as_array().unwrap();
        assert!(events.len() <= 3);
        seen.extend(events.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    seen.reverse();
    assert_eq!(seen, kept);
    let found = house.get("/api/v1/events?id=evt_3").json();
    assert_eq!(found["events"][0]["id"], kept[3]);
    assert_eq!(house.get("/api/v1/events?type=pull*").json()["events"], json!([]));
    assert_eq!(house.get("/api/v1/events?limit=501").is_refused(400, "validation_failed")["field"], "limit");
}

#[test]
fn the_dead_are_listed_replayed_and_dropped() {
    let house = house();
    for number in 0..3 {
        house.keep(event(number), &["app", "billing"]);
        house.settle("app", GONE, 410);
    }
    house.settle("billing", GONE, 410);
    let dead =
        |query: &str| house.get(&format!("/api/v1/dead{query}")).json()["events"].as_array().unwrap().len();
    assert_eq!((dead(""), dead("?destination=billing"), dead("?destination=none")), (3, 1, 0));
    house.get("/api/v1/dead?status=pending").is_refused(400, "validation_failed");

    let dry = house.post("/api/v1/dead/replay", "{\"dry_run\":true}").json();
    assert_eq!((dry, dead("")), (json!({"replayed": 3, "dry_run": true}), 3));
    let one = house.post("/api/v1/dead/replay", "{\"destination\":\"billing\"}").json();
    assert_eq!((one, dead("?destination=billing")), (json!({"replayed": 1, "dry_run": false}), 0));

    house.post("/api/v1/dead/drop", "").is_refused(400, "validation_failed");
    house.post("/api/v1/dead/drop", "{\"all\":false}").is_refused(400, "validation_failed");
    house.post("/api/v1/dead/drop", "{\"all\":true,\"route\":\"x\"}").is_refused(400, "validation_failed");
    assert_eq!(dead(""), 3);
    let none = house.post("/api/v1/dead/drop", "{\"route\":\"other\"}").json();
    assert_eq!((none, dead("")), (json!({"dropped": 0, "dry_run": false}), 3));
    let dry = house.post("/api/v1/dead/drop", "{\"all\":true,\"dry_run\":true}").json();
    assert_eq!((dry, dead("")), (json!({"dropped": 3, "dry_run": true}), 3));
    let all = house.post("/api/v1/dead/drop", "{\"all\":true}").json();
    assert_eq!((all, dead("")), (json!({"dropped": 3, "dry_run": false}), 0));
}

#[test]
fn a_replay_for_one_destination_leaves_the_dead_letters_of_the_others() {
    let house = house();
    house.keep(event(1), &["app", "billing"]);
    house.settle("app", GONE, 410);
    house.settle("billing", GONE, 410);
    let one = house.post("/api/v1/dead/replay", "{\"destination\":\"billing\"}").json();
    assert_eq!(one["replayed"], 1);
    assert!(house.buffer.lane("app").take(1).is_empty(), "nobody asked for it to go there again");
    assert_eq!(house.buffer.lane("billing").take(1).len(), 1);
    assert_eq!(house.buffer.stats().dead_events, 1);
    assert_eq!(house.post("/api/v1/dead/replay", "").json()["replayed"], 1);
    assert_eq!((house.buffer.lane("app").take(1).len(), house.buffer.stats().dead_events), (1, 0));
}

#[test]
fn all_dead_letters_go_back_also_over_many_pages() {
    let house = house();
    for number in 0..1200 {
        house.keep(event(number), &["app"]);
        house.settle("app", GONE, 410);
    }
    assert_eq!(house.post("/api/v1/dead/replay", "").json()["replayed"], 1200);
    assert_eq!(house.buffer.stats().dead_events, 0);
    assert_eq!(house.buffer.lane("app").depth().0, 1200);
}

#[test]
fn a_delivered_event_is_replayed_with_a_fresh_budget() {
    let house = house();
    let id = house.keep(event(1), &["app"]);
    house.settle("app", Settled::Delivered, 204);
    assert_eq!(house.get(&format!("/api/v1/events/{id}")).json()["destinations"][0]["status"], "delivered");
    let replayed = house.post(&format!("/api/v1/events/{id}/replay"), "").json();
    assert_eq!(replayed, json!({"id": id.to_string(), "destinations": 1}));
    let again = house.buffer.lane("app").take(1);
    assert_eq!((again[0].event.id, again[0].attempt), (id, 1));
}

#[test]
fn a_replay_without_room_changes_nothing() {
    let small = BufferOptions { max_events: 4, ..BufferOptions::memory() };
    let listen = AdminOptions { listen: AdminListen::parse("127.0.0.1:0"), ..AdminOptions::default() };
    let house = house_with(listen, small);
    let id = house.keep(event(1), &["app"]);
    house.settle("app", Settled::Delivered, 204);
    let filled = (2..9).find(|number| house.try_keep(event(*number), &["app"]).is_err());
    assert!(filled.is_some(), "the buffer never fills");
    let reply = house.post(&format!("/api/v1/events/{id}/replay"), "");
    reply.is_refused(503, "buffer_full");
    assert!(reply.head.contains("retry-after: 1"));
    let shown = house.get(&format!("/api/v1/events/{id}")).json();
    assert_eq!(shown["destinations"][0]["status"], "delivered");
}

#[test]
fn a_reload_tells_what_changed_or_why_not() {
    let house = house();
    assert_eq!(
        house.post("/api/v1/reload", "").json(),
        json!({"result": "ok", "message": "nothing changed"})
    );
    *house.reload.lock() = Err("conf/hooklatch.toml:3:1: unknown key.".to_owned());
    let refused = house.post("/api/v1/reload", "").is_refused(422, "reload_failed");
    assert_eq!(refused["message"], "conf/hooklatch.toml:3:1: unknown key.");
}

#[test]
fn methods_and_paths_that_there_are_not() {
    let house = house();
    assert!(house.post("/api/v1/status", "").head.contains("allow: GET"));
    house.post("/api/v1/events", "").is_refused(405, "method_not_allowed");
    let get = house.get("/api/v1/reload");
    get.is_refused(405, "method_not_allowed");
    assert!(get.head.contains("allow: POST"));
    for path in ["/api/v1/nothing", "/api/v1", "/api/v1/", "/api/v2/status", "/api/v1/status/", "/apis"] {
        house.get(path).is_refused(404, "not_found");
    }
}

#[test]
fn what_comes_later_says_so() {
    let house = house();
    for path in ["routes/github/test", "destinations/app/test"] {
        house.post(&format!("/api/v1/{path}"), "").is_refused(501, "not_yet_supported");
    }
}

#[test]
fn a_destination_is_paused_resumed_and_told_to_try_again() {
    let house = house();
    let at = |seconds| NOW.plus(Duration::from_secs(seconds)).rfc3339();
    let paused = house.post("/api/v1/destinations/app/pause", "{\"for\":\"10m\"}").json();
    assert_eq!(
        paused,
        json!({"name": "app", "paused": {"by": "operator", "since": at(0), "until": at(600)}})
    );
    assert_eq!(house.post("/api/v1/destinations/app/pause", "").json()["paused"]["until"], Value::Null);
    assert_eq!(
        house.post("/api/v1/destinations/app/resume", "").json(),
        json!({"name": "app", "was_paused": true})
    );
    for verb in ["retry", "drain"] {
        assert_eq!(
            house.post(&format!("/api/v1/destinations/app/{verb}"), "").json(),
            json!({"name": "app", "pending": 7, "asked_at": at(0)})
        );
    }
    use Operation::{Pause, Resume, Retry};
    assert_eq!(
        *house.operations.lock(),
        [Pause(Some(Duration::from_secs(600))), Pause(None), Resume, Retry, Retry]
    );
    house.post("/api/v1/destinations/bap/pause", "").is_refused(404, "not_found");
    for body in ["{\"for\":\"soon\"}", "{\"for\":\"0s\"}", "{\"for\":5}", "{\"four\":\"5m\"}"] {
        house.post("/api/v1/destinations/app/pause", body).is_refused(400, "validation_failed");
    }
    house.post("/api/v1/destinations/app/resume", "{\"for\":\"5m\"}").is_refused(400, "validation_failed");
    house.post("/api/v1/destinations/app/pause", "[]").is_refused(400, "malformed_request");
    house.get("/api/v1/destinations/app/pause").is_refused(405, "method_not_allowed");
    assert_eq!(house.operations.lock().len(), 5, "what is refused is not done");
}

#[test]
fn a_destination_that_is_down_says_when_it_is_asked_again() {
    let house = house();
    let shown = house.get("/api/v1/destinations").json()["destinations"][0].clone();
    assert_eq!(
        (&shown["state"], &shown["probe_at"]),
        (&json!("down"), &json!(NOW.plus(Duration::from_secs(9)).rfc3339()))
    );
    assert_eq!(
        (&shown["rate"], &shown["burst"], &shown["formerly"]),
        (&json!("100/s"), &json!(5), &json!(["old"]))
    );
    assert_eq!(
        shown["batch"],
        json!({"max_events": 100, "max_bytes": 1 << 20, "max_wait": "1s", "format": "json", "gathering": 7})
    );
    let metrics = house.get("/metrics").body;
    assert!(metrics.contains("hooklatch_breaker_open{destination=\"app\"} 1"), "{metrics}");
    assert!(metrics.contains("hooklatch_destination_paused{destination=\"app\"} 0"), "{metrics}");
}

#[test]
fn a_replay_at_a_rate_goes_on_by_itself() {
    let house = house();
    for number in 0..6 {
        house.keep(event(number), &["app"]);
        house.settle("app", GONE, 410);
    }
    let dry = house.post("/api/v1/dead/replay", "{\"rate\":\"20/s\",\"dry_run\":true}").json();
    assert_eq!(dry, json!({"replayed": 6, "dry_run": true}));
    let began = tokio::time::Instant::now();
    let started = house.post("/api/v1/dead/replay", "{\"rate\":\"20/s\"}").json();
    assert_eq!(started, json!({"started": 6, "rate": "20/s", "dry_run": false}));
    let replays = house.get("/api/v1/status").json()["replays"].clone();
    assert_eq!((&replays[0]["matching"], &replays[0]["rate"]), (&json!(6), &json!("20/s")), "{replays}");
    while house.buffer.stats().dead_events > 0 {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    assert_eq!(house.buffer.lane("app").depth().0, 6);
    while house.get("/api/v1/status").json()["replays"] != json!([]) {
        assert!(began.elapsed() < PATIENCE);
    }
}

#[test]
fn what_waits_for_a_destination_that_is_gone_is_orphaned() {
    let house = house();
    house.keep(event(1), &["app"]);
    let orphan = house.keep(event(2), &["app", "gone"]);
    let events = house.get("/api/v1/events?status=orphaned").json()["events"].clone();
    assert_eq!(events.as_array().map(Vec::len), Some(1), "{events}");
    assert_eq!(events[0]["id"], orphan.to_string());
    let words: Vec<_> = [0, 1].map(|place| events[0]["destinations"][place]["status"].clone()).into();
    assert_eq!(words, ["pending", "orphaned"]);
    assert_eq!(house.get("/api/v1/events?status=pending").json()["events"].as_array().map(Vec::len), Some(2));
    let none = house.get("/api/v1/events?status=orphaned&destination=app").json();
    assert_eq!(none["events"], json!([]));
    assert!(house.get("/metrics").body.contains("hooklatch_orphaned_events{destination=\"gone\"} 1"));
}

/// What pends under the old name of a renamed destination is what its operator looks for under the new one.
#[test]
fn what_stands_under_a_former_name_is_found_replayed_and_dropped_under_the_new_one() {
    let house = house();
    house.keep(event(1), &["billing"]);
    let old = house.keep(event(2), &["old", "billing"]);
    let new = house.keep(event(3), &["app"]);
    let listed = |query: &str| -> Vec<String> {
        let events = house.get(&format!("/api/v1/{query}")).json()["events"].clone();
        let ids = events.as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned());
        ids.collect()
    };
    assert_eq!(listed("events?destination=app"), [new.to_string(), old.to_string()]);
    assert_eq!(listed("events?destination=app&status=pending"), [new.to_string(), old.to_string()]);
    assert_eq!(listed("events?destination=old"), [old.to_string()], "the old name still means itself");
    house.settle("old", GONE, 410);
    house.settle("app", GONE, 410);
    assert_eq!(listed("dead?destination=app"), [new.to_string(), old.to_string()]);
    let of_app = "{\"destination\":\"app\"}";
    assert_eq!(house.post("/api/v1/dead/replay", of_app).json()["replayed"], 2);
    assert_eq!((house.buffer.lane("old").depth().0, house.buffer.lane("app").depth().0), (1, 1));
    house.settle("old", GONE, 410);
    let dry = house.post("/api/v1/dead/drop", "{\"destination\":\"app\",\"dry_run\":true}").json();
    assert_eq!(dry, json!({"dropped": 1, "dry_run": true}));
    assert_eq!(house.post("/api/v1/dead/drop", of_app).json()["dropped"], 1);
    assert_eq!(listed("dead"), [""; 0]);
    // One that goes to both: wherever it is dead.
    house.settle("app", Settled::Delivered, 200);
    house.keep(event(4), &["old", "app"]);
    house.settle("old", GONE, 410);
    house.settle("app", GONE, 410);
    assert_eq!(house.post("/api/v1/dead/replay", of_app).json()["replayed"], 1, "it is one event");
    assert_eq!((house.buffer.lane("old").depth().0, house.buffer.lane("app").depth().0), (1, 1));
}

#[test]
fn what_was_delivered_is_replayed_by_filter_and_where_it_was_asked_for() {
    let house = house();
    house.keep(event(1), &["app", "billing"]);
    house.settle("app", Settled::Delivered, 200);
    house.settle("billing", Settled::Delivered, 200);
    house.post("/api/v1/events/replay", "").is_refused(400, "validation_failed");
    house
        .post("/api/v1/events/replay", "{\"status\":\"pending\",\"route\":\"github\"}")
        .is_refused(400, "validation_failed");
    let dry = house.post("/api/v1/events/replay", "{\"destination\":\"app\",\"dry_run\":true}").json();
    assert_eq!(dry, json!({"replayed": 1, "dry_run": true}));
    assert_eq!(house.post("/api/v1/events/replay", "{\"destination\":\"app\"}").json()["replayed"], 1);
    assert_eq!((house.buffer.lane("app").depth().0, house.buffer.lane("billing").depth().0), (1, 0));
    assert_eq!(house.post("/api/v1/events/replay", "{\"route\":\"none\"}").json()["replayed"], 0);
    assert_eq!(
        house.post("/api/v1/events/replay", "{\"route\":\"github\",\"status\":\"delivered\"}").json()["replayed"],
        1
    );
    assert_eq!(house.buffer.lane("billing").depth().0, 1);
}

#[test]
fn a_replay_at_a_rate_is_one_of_a_few() {
    let house = house();
    for number in 0..20 {
        house.keep(event(number), &["app"]);
        house.settle("app", GONE, 410);
    }
    for _ in 0..4 {
        assert_eq!(house.post("/api/v1/dead/replay", "{\"rate\":\"1/h\"}").json()["rate"], "1/h");
    }
    house.post("/api/v1/dead/replay", "{\"rate\":\"1/h\"}").is_refused(503, "busy");
}

#[test]
fn refused_requests_have_their_own_list_and_refusals() {
    let house = house();
    let id = "hl_00000000000000000000000";
    let page = house.get("/api/v1/events?status=rejected&route=a&since=2h").json();
    assert_eq!(page, json!({"events": [], "next_cursor": null}));
    let wrong = house.get("/api/v1/events?status=rejected&destination=app");
    assert_eq!(wrong.is_refused(400, "validation_failed")["field"], "status");
    house.get(&format!("/api/v1/events/{id}/explain")).is_refused(404, "not_found");
    house.get("/api/v1/events/x/explain").is_refused(400, "validation_failed");
    house.post("/api/v1/events/x/release", "").is_refused(400, "validation_failed");
    let release = format!("/api/v1/events/{id}/release");
    house.post(&release, "").is_refused(409, "not_releasable");
    house.post(&release, "{\"any_time\":1}").is_refused(400, "validation_failed");
    house.post(&release, "{\"force\":true}").is_refused(400, "validation_failed");
    house.get(&release).is_refused(405, "method_not_allowed");
}

#[derive(Clone, Default)]
struct Stream(Arc<Mutex<Vec<u8>>>);

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The one test that takes over the log of its process.
#[test]
fn a_change_leaves_a_line_that_says_who_what_and_how_many() {
    let stream = Stream::default();
    let clock = Clock::manual(NOW);
    let log = crate::observe::Logging::start(
        crate::observe::LogOptions::default(),
        Box::new(stream.clone()),
        clock,
        Metrics::new(),
    )
    .unwrap();
    let house = house();
    for number in 0..5 {
        house.keep(event(number), &["app"]);
        house.settle("app", GONE, 410);
    }
    house.post("/api/v1/dead/drop", "{\"all\":true,\"dry_run\":true}");
    house.post("/api/v1/dead/drop", "{\"all\":true}");
    assert!(log.flush(PATIENCE));
    let text = String::from_utf8(stream.0.lock().clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for what in ["dry run", "drop of dead letters"] {
        let line = lines.iter().find(|line| line["what"] == what && line["count"] == 5);
        let line = line.unwrap_or_else(|| panic!("{what} is not in {text}"));
        assert_eq!((&line["who"], &line["level"]), (&json!("token"), &json!("info")));
        assert!(line["request_id"].as_str().unwrap().starts_with("hl_"));
    }
    assert!(!text.contains(TOKEN));
}
