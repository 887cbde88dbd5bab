//! Several events in one request, through the whole process, on both stores and over a kill.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::{App, Gateway, Reply, SOON, Seen, Setup, wait_until};

const QUIET: Duration = Duration::from_millis(300);

fn setup(app: &App, batch: &str) -> Setup {
    Setup::new(
        r#"
        [routes.in]
        path = "/in"
        verify = "none"
        dedupe = false
        event_type = "header:x-type"
        deliver_to = ["archive"]
        [destinations.archive]
        url = "$APP/events"
        batch = $BATCH
        retry = { delays = ["300ms", "1h"], jitter = 0 }
        "#,
    )
    .set("APP", app.url())
    .set("BATCH", batch)
}

/// Sends it; hooklatch's id of it.
fn send(gateway: &Gateway, body: &[u8]) -> String {
    let headers = [("X-Type", "page.viewed"), ("Content-Type", "application/json")];
    gateway.send("POST", "/in?from=test", &headers, body).assert_accepted()
}

fn events(seen: &Seen) -> Vec<Value> {
    serde_json::from_slice(&seen.body).unwrap_or_else(|error| panic!("{error}: {}", seen.text()))
}

fn ids(seen: &Seen) -> Vec<String> {
    events(seen).iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

fn status_of(gateway: &Gateway, id: &str) -> Value {
    gateway.admin_get(&format!("/api/v1/events/{id}"))["destinations"][0].clone()
}

fn nothing_is_pending(gateway: &Gateway) {
    wait_until("no event is pending", SOON, || gateway.admin_get("/api/v1/status")["buffer"]["events"] == 0);
}

#[test]
fn an_array_has_each_event_exactly() {
    for store in ["memory", "disk"] {
        let app = App::start();
        let gateway = setup(&app, r#"{ max_events = 4, max_wait = "1h" }"#).store(store).start();
        let bodies = [&b"{\"a\":  1.0e2}"[..], b"{\n \"a\": 1\n}", b"\x00\xff", b""];
        let sent: Vec<String> = bodies.iter().map(|body| send(&gateway, body)).collect();
        let seen = app.wait_for_exactly(1, QUIET).remove(0);
        assert_eq!((&*seen.method, &*seen.target), ("POST", "/events"), "{store}");
        assert_eq!(seen.header("content-type"), Some("application/json"));
        assert_eq!(seen.header("hooklatch-batch"), Some("4"));
        assert!(seen.header("hooklatch-id").is_some_and(|id| id.starts_with("hlb_")), "{seen:?}");
        assert_eq!(ids(&seen), sent, "{store}");
        assert!(seen.text().contains(r#""body":{"a":  1.0e2}}"#), "byte for byte: {}", seen.text());
        let all = events(&seen);
        for (event, body) in all.iter().zip(bodies).skip(1) {
            assert_eq!(STANDARD.decode(event["body_base64"].as_str().unwrap()).unwrap(), body, "{store}");
        }
        let first = &all[0];
        assert_eq!(
            json!([first["route"], first["event_type"], first["attempt"], first["method"], first["path"]]),
            json!(["in", "page.viewed", 1, "POST", "/in?from=test"])
        );
        let headers = first["headers"].as_array().unwrap();
        for pair in [json!(["X-Type", "page.viewed"]), json!(["x-forwarded-for", "127.0.0.1"])] {
            assert!(headers.contains(&pair), "{pair}: {headers:?}");
        }
        nothing_is_pending(&gateway);
        for id in &sent {
            let shown = status_of(&gateway, id);
            assert_eq!(
                (&shown["status"], &shown["attempts"][0]["status"]),
                (&json!("delivered"), &json!(200))
            );
        }
        let sizes = gateway.metric("hooklatch_batch_events_sum{destination=\"archive\"}");
        assert!((sizes - 4.0).abs() < f64::EPSILON, "{sizes}");
    }
}

#[test]
fn lines_leave_when_the_first_has_waited() {
    let app = App::start();
    let gateway = setup(&app, r#"{ format = "ndjson", max_wait = "200ms" }"#).start();
    let sent = ["{\"n\":1}", "{\"n\":2}", "n=3"].map(|body| send(&gateway, body.as_bytes()));
    let seen = app.wait_for_exactly(1, QUIET).remove(0);
    assert_eq!(seen.header("content-type"), Some("application/x-ndjson"));
    let text = seen.text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<&str> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids, sent);
    assert_eq!((&lines[1]["body"], &lines[2]["body_base64"]), (&json!({"n": 2}), &json!("bj0z")));
}

#[test]
fn a_207_settles_each_and_what_failed_is_tried_alone_also_over_a_kill() {
    let app = App::start();
    let mut gateway = setup(&app, r#"{ max_events = 3, max_wait = "1h" }"#).store("disk").start();
    (0..3).for_each(|n| drop(send(&gateway, format!("{n}").as_bytes())));
    app.wait_for(1);
    nothing_is_pending(&gateway);
    let waiting: Vec<String> = (3..5).map(|n| send(&gateway, format!("{n}").as_bytes())).collect();
    gateway.kill();
    gateway.start_again();
    app.wait_for_exactly(1, QUIET);
    let body = json!({"results": [
        {"id": waiting[0], "status": 200},
        {"id": waiting[1], "status": 422, "why": "no such order"},
    ]});
    app.script([Reply::status(207).with_body(body.to_string())]);
    let last = send(&gateway, b"5");
    let seen = app.wait_for(2).remove(1);
    assert_eq!(
        ids(&seen),
        [&waiting[..], std::slice::from_ref(&last)].concat(),
        "what gathered before the kill is not lost"
    );
    assert!(events(&seen).iter().all(|event| event["attempt"] == 1));
    let seen = app.wait_for_exactly(4, QUIET);
    let mut alone: Vec<String> = seen[2..].iter().flat_map(ids).collect();
    alone.sort();
    assert_eq!(alone, [waiting[1].clone(), last.clone()], "each by itself");
    assert!(seen[2..].iter().all(|seen| events(seen)[0]["attempt"] == 2));
    nothing_is_pending(&gateway);
    assert_eq!(status_of(&gateway, &waiting[0])["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(status_of(&gateway, &waiting[1])["attempts"][0]["status"], 422);
    assert_eq!(status_of(&gateway, &last)["attempts"][0]["status"], "unsettled", "it was not named");
    gateway.wait_for_log("why", |line| {
        line["id"] == last.as_str() && line["reason"] == "the 207 does not say what became of it"
    });
}

#[test]
fn one_answer_is_for_all_and_a_stop_waits_for_no_company() {
    let app = App::start();
    app.script([Reply::status(500).with_body("busy")]);
    let mut gateway = setup(&app, r#"{ max_events = 3, max_wait = "1h" }"#).start();
    let sent: Vec<String> = (0..3).map(|n| send(&gateway, format!("{n}").as_bytes())).collect();
    let seen = app.wait_for_exactly(4, QUIET);
    let mut again: Vec<String> = seen[1..].iter().flat_map(ids).collect();
    again.sort();
    assert_eq!((ids(&seen[0]), again), (sent.clone(), sent.clone()));
    let shown = status_of(&gateway, &sent[0]);
    assert_eq!(
        (&shown["attempts"][0]["status"], &shown["attempts"][1]["status"]),
        (&json!(500), &json!(200))
    );
    // In memory a stop delivers what it can: without it, these would wait for an hour.
    let late: Vec<String> = (3..5).map(|n| send(&gateway, format!("{n}").as_bytes())).collect();
    let listed = gateway.cli(&["destinations", "list"]).ok();
    assert!(listed.contains("in batches of up to 3, 2 gather for the next"), "{listed}");
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.wait_for_exit(SOON).success());
    assert_eq!(ids(&app.seen()[4]), late);
}
