use std::time::Duration;

use super::*;
use crate::clock::Millis;
use crate::event::{Answer, Region};
use crate::observe::{AttemptResult, RequestOutcome};

fn series(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
}

#[test]
fn every_metric_has_the_name_and_labels_of_the_contract() {
    let metrics = Metrics::new();
    let route = metrics.route("github");
    route.request(RequestOutcome::Accepted);
    route.request(RequestOutcome::InvalidSignature);
    route.request(RequestOutcome::InvalidSignature);
    route.ack(Duration::from_micros(80));
    route.event(Some("push"), RequestOutcome::Accepted);
    metrics.route("").request(RequestOutcome::UnknownRoute);
    let app = metrics.destination("app");
    app.attempt(AttemptResult::Delivered, Answer::Status(204), true);
    app.attempt(AttemptResult::Retry, Answer::Timeout, true);
    app.attempt(AttemptResult::Dead, Answer::Status(410), false);
    app.attempt(AttemptResult::Retry, Answer::Connect, false);
    app.delivered(Duration::from_millis(7), Some(Duration::from_secs(2)));
    metrics.secret("github", "new").hit(Millis(7));
    metrics.limit_hit("server.max_connections");
    metrics.connections(3);
    metrics.connections(-1);
    metrics.reload(true);
    metrics.set_route_info([("github", "memory")]);
    metrics.log_lines_lost(4);
    metrics.panicked();
    metrics.fsync(Duration::from_micros(290));
    metrics.fsync(Duration::from_secs(60));
    metrics.storage_failed(1);
    metrics.corrupt_records(5);
    metrics.spool_written(4096);
    metrics.spool_written(1);
    metrics.set_spool_segments(64);
    metrics.set_spool_segments(63);
    metrics.set_retries_waiting(1_000_000);
    let text = metrics.encode_with(&Gauges {
        dedupe_ids: 11,
        dedupe_evicted: 12,
        dead_bytes: 13,
        dead_nearly_full: true,
        destinations: vec![DestinationGauges {
            name: "app".into(),
            events: 14,
            bytes: 15,
            dead: 16,
            oldest_seconds: 17,
            orphaned: 18,
            breaker_open: true,
            paused: false,
        }],
        regions: [("eu", false), ("us", true)]
            .map(|(name, up)| ("app".into(), Region::new(name).unwrap(), up))
            .to_vec(),
    });
    for line in [
        r#"hooklatch_requests_total{outcome="accepted",route="github"} 1"#,
        r#"hooklatch_requests_total{outcome="invalid_signature",route="github"} 2"#,
        r#"hooklatch_requests_total{outcome="unknown_route",route=""} 1"#,
        r#"hooklatch_ack_seconds_bucket{route="github",le="0.00005"} 0"#,
        r#"hooklatch_ack_seconds_bucket{route="github",le="0.0001"} 1"#,
        r#"hooklatch_ack_seconds_count{route="github"} 1"#,
        r#"hooklatch_events_total{result="accepted",route="github",type="push"} 1"#,
        r#"hooklatch_delivery_attempts_total{destination="app",result="delivered",status="2xx"} 1"#,
        r#"hooklatch_delivery_attempts_total{destination="app",result="retry",status="timeout"} 1"#,
        r#"hooklatch_delivery_attempts_total{destination="app",result="dead",status="4xx"} 1"#,
        r#"hooklatch_delivery_attempts_total{destination="app",result="retry",status="connect"} 1"#,
        r#"hooklatch_first_attempt_total{destination="app",result="delivered"} 1"#,
        r#"hooklatch_first_attempt_total{destination="app",result="failed"} 1"#,
        r#"hooklatch_delivery_seconds_bucket{destination="app",le="0.01"} 1"#,
        r#"hooklatch_event_age_seconds_sum{destination="app"} 2"#,
        r#"hooklatch_secret_hits_total{route="github",secret="new"} 1"#,
        r#"hooklatch_limit_hits_total{limit="server.max_connections"} 1"#,
        "hooklatch_connections 2",
        r#"hooklatch_config_reloads_total{result="ok"} 1"#,
        r#"hooklatch_config_reloads_total{result="failed"} 0"#,
        r#"hooklatch_route_info{ack="memory",route="github"} 1"#,
        "hooklatch_log_lines_lost_total 4",
        r#"hooklatch_fsync_seconds_bucket{le="0.00025"} 0"#,
        r#"hooklatch_fsync_seconds_bucket{le="0.0005"} 1"#,
        r#"hooklatch_fsync_seconds_bucket{le="30"} 1"#,
        "hooklatch_fsync_seconds_count 2",
        "hooklatch_storage_failures_total 1",
        "hooklatch_spool_corrupt_records_total 5",
        "hooklatch_spool_written_bytes_total 4097",
        "hooklatch_spool_segments 63",
        "hooklatch_retries_waiting 1000000",
        "hooklatch_panics_total 1",
        "hooklatch_dedupe_ids 11",
        "hooklatch_dedupe_evicted_total 12",
        "hooklatch_dead_bytes 13",
        "hooklatch_dead_nearly_full 1",
        r#"hooklatch_buffer_events{destination="app"} 14"#,
        r#"hooklatch_buffer_bytes{destination="app"} 15"#,
        r#"hooklatch_dead_events{destination="app"} 16"#,
        r#"hooklatch_oldest_pending_seconds{destination="app"} 17"#,
        r#"hooklatch_region_up{destination="app",region="eu"} 0"#,
        r#"hooklatch_region_up{destination="app",region="us"} 1"#,
        concat!(r#"hooklatch_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
    ] {
        has(&text, line);
    }
}

#[test]
fn the_same_name_goes_on_counting() {
    let metrics = Metrics::new();
    metrics.route("a").request(RequestOutcome::Passed);
    metrics.route("a").request(RequestOutcome::Passed);
    metrics.destination("d").attempt(AttemptResult::Retry, Answer::Status(500), false);
    metrics.destination("d").attempt(AttemptResult::Retry, Answer::Status(599), false);
    let text = metrics.encode();
    has(&text, r#"hooklatch_requests_total{outcome="passed",route="a"} 2"#);
    has(&text, r#"hooklatch_delivery_attempts_total{destination="d",result="retry",status="5xx"} 2"#);
}

#[test]
fn a_destination_that_is_gone_leaves_no_gauge_behind() {
    let metrics = Metrics::new();
    let lane = |name: &str| DestinationGauges {
        name: name.into(),
        events: 1,
        bytes: 1,
        dead: 1,
        oldest_seconds: 1,
        orphaned: 0,
        breaker_open: false,
        paused: false,
    };
    let both = Gauges { destinations: vec![lane("a"), lane("b")], dedupe_evicted: 5, ..Gauges::default() };
    assert!(metrics.encode_with(&both).contains(r#"hooklatch_dead_events{destination="b"} 1"#));
    let one = Gauges { destinations: vec![lane("a")], dedupe_evicted: 7, ..Gauges::default() };
    let text = metrics.encode_with(&one);
    assert!(!text.contains(r#"destination="b""#), "{text}");
    has(&text, "hooklatch_dedupe_evicted_total 7");
    metrics.set_route_info([("a", "memory")]);
    metrics.set_route_info([("a", "delivered")]);
    assert_eq!(metrics.encode().matches("hooklatch_route_info{").count(), 1);
}

#[test]
fn a_hundred_thousand_event_types_make_a_hundred_series() {
    let metrics = Metrics::new();
    let route = metrics.route("a");
    for number in 0..1000 {
        route.event(Some(&format!("type.{number}")), RequestOutcome::Accepted);
    }
    let after_a_thousand = series(&metrics.encode());
    for number in 0..100_000 {
        route.event(Some(&format!("type.{number}")), RequestOutcome::Accepted);
    }
    let text = metrics.encode();
    assert_eq!(series(&text), after_a_thousand);
    assert_eq!(text.matches("hooklatch_events_total{").count(), MAX_EVENT_TYPES + 1);
    has(&text, r#"hooklatch_events_total{result="accepted",route="a",type="type.99"} 2"#);
    has(&text, r#"hooklatch_events_total{result="accepted",route="a",type="other"} 100800"#);
}

#[test]
fn a_type_that_makes_no_good_label_is_other() {
    let metrics = Metrics::new();
    let route = metrics.route("a");
    for odd in [None, Some(""), Some("other"), Some("a\nb"), Some("\u{1b}[31m"), Some(&*"x".repeat(101))] {
        route.event(odd, RequestOutcome::Duplicate);
    }
    has(&metrics.encode(), r#"hooklatch_events_total{result="duplicate",route="a",type="other"} 6"#);
    assert_eq!(metrics.encode().matches("hooklatch_events_total{").count(), 1);
}

#[test]
fn workers_count_together_without_losing_one() {
    let metrics = Metrics::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let route = metrics.route("a");
                for number in 0..1000 {
                    route.request(RequestOutcome::Accepted);
                    route.event(Some(&format!("t{}", number % 120)), RequestOutcome::Accepted);
                }
            });
        }
    });
    let text = metrics.encode();
    has(&text, r#"hooklatch_requests_total{outcome="accepted",route="a"} 4000"#);
    let events: u64 = text
        .lines()
        .filter(|line| line.starts_with("hooklatch_events_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(events, 4000);
    assert!(text.matches("hooklatch_events_total{").count() <= MAX_EVENT_TYPES + 1, "{text}");
}

#[test]
fn the_longest_pause_between_two_hits_of_a_secret_is_known() {
    let secret = Metrics::new().secret("a", "1");
    assert_eq!((secret.last_hit(), secret.longest_gap()), (None, Duration::ZERO));
    for at in [1000, 5000, 5500] {
        secret.hit(Millis(at));
    }
    assert_eq!((secret.last_hit(), secret.longest_gap()), (Some(Millis(5500)), Duration::from_secs(4)));
}
