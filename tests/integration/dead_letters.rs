//! What could not be delivered is kept, listed, shown, replayed and dropped.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{App, Gateway, Reply, SOON, Setup, Signed, wait_until};

const SECRET: &str = "canary-secret-of-a-route";

fn gateway(app: &App) -> Gateway {
    Setup::new(
        r#"
        [routes.github]
        path = "/github"
        provider = "github"
        secrets = [{ value = "canary-secret-of-a-route" }]
        deliver_to = ["app"]
        [destinations.app]
        url = "$APP"
        retry = { delays = ["20ms"], jitter = 0.0 }
        "#,
    )
    .set("APP", app.url())
    .start()
}

fn event(id: &str) -> Signed {
    Signed::github("/github", SECRET, id, format!("{{\"n\":\"{id}\"}}").as_bytes())
}

/// The list that the CLI or the API printed: `{"events":[…]}`.
fn events(json: &Value) -> &Vec<Value> {
    json["events"].as_array().unwrap_or_else(|| panic!("no `events` in {json}"))
}

fn wait_for_dead(gateway: &Gateway, count: usize) -> Vec<Value> {
    let list = || events(&gateway.admin_get("/api/v1/dead")).clone();
    wait_until(&format!("{count} events are dead"), SOON, || list().len() == count);
    list()
}

#[test]
fn an_event_that_failed_to_the_last_attempt_is_replayed_by_hand() {
    let app = App::start();
    app.script([Reply::status(500), Reply::status(502).with_body("no luck")]);
    let gateway = gateway(&app);
    let id = event("a").send(&gateway).assert_accepted();
    let dead = wait_for_dead(&gateway, 1);
    assert_eq!(dead[0]["id"], id.as_str());

    let listed = gateway.cli(&["dead", "list", "--json"]).json();
    assert_eq!(events(&listed)[0]["id"], id.as_str());
    let table = gateway.cli(&["dead", "list"]).ok();
    assert!(table.contains(&id) && table.contains("github") && table.contains("app"), "{table}");
    let shown = gateway.cli(&["dead", "show", &id]).ok();
    assert!(shown.contains("500") && shown.contains("502") && shown.contains("no luck"), "{shown}");

    let said = gateway.cli(&["dead", "replay", "--id", &id]).ok();
    assert!(said.contains('1'), "{said}");
    let seen = app.wait_for(3);
    assert_eq!(seen[2].body, seen[0].body);
    assert_eq!(seen[2].header("hooklatch-id"), Some(id.as_str()));
    assert_eq!(seen[2].header("hooklatch-attempt"), Some("1"), "attempts count from 1 again");
    wait_for_dead(&gateway, 0);
}

#[test]
fn a_410_is_dead_at_once() {
    let app = App::start();
    app.script([Reply::status(410)]);
    let gateway = gateway(&app);
    event("gone").send(&gateway).assert_accepted();
    wait_for_dead(&gateway, 1);
    assert_eq!(app.seen().len(), 1);
}

#[test]
fn a_provider_s_resend_of_a_dead_event_is_requeued() {
    let app = App::start();
    app.script([Reply::status(410)]);
    let gateway = gateway(&app);
    let id = event("resent").send(&gateway).assert_accepted();
    wait_for_dead(&gateway, 1);
    let again = event("resent").send(&gateway);
    assert_eq!((again.status, again.outcome()), (200, "requeued"), "{}", again.text());
    assert_eq!(again.id(), id);
    assert_eq!(app.wait_for(2)[1].header("hooklatch-attempt"), Some("1"));
    wait_for_dead(&gateway, 0);
    assert_eq!(event("resent").send(&gateway).outcome(), "duplicate");
}

#[test]
fn dead_letters_are_dropped_only_with_a_filter_or_all() {
    let app = App::start();
    app.always(Reply::status(410));
    let gateway = gateway(&app);
    for n in 0..3 {
        event(&format!("d{n}")).send(&gateway).assert_accepted();
    }
    let dead = wait_for_dead(&gateway, 3);
    let refused = gateway.cli(&["dead", "drop"]).failed(2);
    assert!(refused.contains("--all"), "{refused}");
    let one = dead[0]["id"].as_str().unwrap();
    let dry = gateway.cli(&["dead", "drop", "--id", one, "--dry-run"]).ok();
    assert!(dry.contains('1'), "{dry}");
    wait_for_dead(&gateway, 3);
    gateway.cli(&["dead", "drop", "--id", one]).ok();
    wait_for_dead(&gateway, 2);
    gateway.cli(&["dead", "drop", "--all"]).ok();
    wait_for_dead(&gateway, 0);
}

#[test]
fn delivered_events_are_listed_shown_and_replayed() {
    let app = App::start();
    let gateway = gateway(&app);
    let id = event("fine").send(&gateway).assert_accepted();
    app.wait_for(1);
    wait_until("it is listed as delivered", SOON, || {
        events(&gateway.admin_get("/api/v1/events?status=delivered")).len() == 1
    });
    let listed =
        gateway.cli(&["events", "list", "--route", "github", "--status", "delivered", "--json"]).json();
    assert_eq!(events(&listed)[0]["id"], id.as_str());
    assert!(events(&gateway.cli(&["events", "list", "--route", "other", "--json"]).json()).is_empty());
    let shown = gateway.cli(&["events", "show", &id]).ok();
    assert!(shown.contains("X-GitHub-Delivery") || shown.contains("x-github-delivery"), "{shown}");
    gateway.cli(&["events", "replay", &id]).ok();
    assert_eq!(app.wait_for(2)[1].header("hooklatch-id"), Some(id.as_str()));
    gateway.cli(&["events", "show", "hl_00000000000000000000000"]).failed(1);
}

#[test]
fn a_disk_that_does_not_answer_holds_up_who_asked_for_it_and_not_the_health() {
    let app = App::start();
    app.script([Reply::status(410)]);
    let gateway = Setup::new(
        r#"
        [routes.github]
        path = "/github"
        provider = "github"
        secrets = [{ value = "canary-secret-of-a-route" }]
        deliver_to = ["app"]
        [destinations.app]
        url = "$APP"
        "#,
    )
    .set("APP", app.url())
    .store("disk")
    .start();
    let id = event("a").send(&gateway).assert_accepted();
    wait_for_dead(&gateway, 1);
    // Another process writes to the dead letters and does not come to an end: a replay, which must take the letter out,
    // waits for it.
    let other = rusqlite::Connection::open(gateway.dir().join("data/dead.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let replay =
            scope.spawn(|| gateway.admin_request("POST", &format!("/api/v1/events/{id}/replay"), ""));
        app.wait_for(2);
        for target in ["/healthz", "/metrics", "/api/v1/status", "/healthz"] {
            let asked = Instant::now();
            assert_eq!(gateway.admin_request("GET", target, "").status, 200);
            assert!(asked.elapsed() < Duration::from_secs(2), "{target} took {:?}", asked.elapsed());
        }
        assert!(!replay.is_finished(), "the replay did not wait, so nothing was shown");
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(replay.join().unwrap().json()["destinations"], 1);
    });
}

/// Dead letters on disk, with a bound of 1 MiB, that go after `retention`.
fn bounded(retention: &str) -> String {
    format!(
        r#"
        [routes.github]
        path = "/github"
        provider = "github"
        max_body = "64KiB"
        secrets = [{{ value = "{SECRET}" }}]
        deliver_to = ["app"]
        [destinations.app]
        url = "$APP"
        [dead]
        max_bytes = "1MiB"
        retention = "{retention}"
        "#
    )
}

#[test]
fn dead_letters_are_bounded_and_announced_before_they_go() {
    let app = App::start();
    app.always(Reply::status(410));
    let toml = bounded("20h").replace("$APP", &app.url());
    let setup = Setup::new(&toml).server("max_body = \"64KiB\"").buffer("max_bytes = \"64MiB\"");
    let mut gateway = setup.store("disk").start();
    let says = |gateway: &Gateway, what: &str| gateway.log_lines().iter().any(|line| line.contains(what));
    let send = |gateway: &Gateway, id: &str| {
        let body = format!("{{\"n\":\"{id}{}\"}}", "x".repeat(60_000));
        Signed::github("/github", SECRET, id, body.as_bytes()).send(gateway).assert_accepted()
    };
    send(&gateway, "first");
    wait_for_dead(&gateway, 1);
    assert_eq!(gateway.metric("hooklatch_dead_nearly_full"), 0.0);
    for n in 0..13 {
        send(&gateway, &n.to_string());
    }
    wait_for_dead(&gateway, 14);
    assert_eq!(gateway.metric("hooklatch_dead_nearly_full"), 1.0);
    // At the bound nothing more goes there, and nothing is lost.
    for n in 13..24 {
        send(&gateway, &n.to_string());
    }
    wait_until("the bound is met", SOON, || {
        gateway.metric("hooklatch_limit_hits_total{limit=\"dead.max_bytes\"}") > 0.0
    });
    let (dead, pending) = ("hooklatch_dead_events", "hooklatch_buffer_events");
    let all = |gateway: &Gateway| {
        [dead, pending]
            .map(|name| gateway.metric(&format!("{name}{{destination=\"app\"}}")))
            .iter()
            .sum::<f64>()
    };
    assert_eq!(all(&gateway), 25.0);
    assert!(gateway.metric("hooklatch_dead_bytes") <= f64::from(1 << 20));

    gateway.kill();
    gateway.start_again();
    gateway.wait_for_log("they are nearly full", |line| {
        line.to_string().contains("over 80 % of dead.max_bytes")
    });
    gateway.wait_for_log("they go soon", |line| line.to_string().contains("go within a day"));
    assert!(!says(&gateway, "dead letters were removed"));
    assert_eq!(all(&gateway), 25.0);

    gateway.kill();
    gateway.rewrite(&bounded("1s").replace("$APP", &app.url()));
    std::thread::sleep(Duration::from_secs(1));
    gateway.start_again();
    gateway.wait_for_log("they are gone", |line| line.to_string().contains("dead letters were removed"));
    wait_for_dead(&gateway, 0);
}
