//! Several events in one request, and what becomes of each.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::double::{Act, Double, Seen, answer};
use super::request::event;
use super::rig::{MS, NOW, Rig, SECONDS, ok};
use crate::buffer::{DeadReason, Status};
use crate::delivery::settings::{DestinationOptions, HeaderValueSetting, OnGone};
use crate::delivery::standing::{Pause, PausedBy};
use crate::delivery::{BatchFormat, BatchOptions, LaneState};
use crate::event::{Ack, Answer, Event, EventId, OrderKey, Outcome, Priority, Turn};
use crate::secret::Secret;

fn batches(max_events: usize, max_wait: Duration) -> impl FnOnce(&mut DestinationOptions) {
    move |options| {
        options.path = Some("/events".to_owned());
        options.batch = Some(BatchOptions { max_events, max_wait, ..BatchOptions::default() });
    }
}

fn rig(app: Double, max_events: usize, change: impl FnOnce(&mut DestinationOptions)) -> Rig {
    Rig::new(app, |options| {
        batches(max_events, MS(500))(options);
        change(options);
    })
    .ticking(MS(10))
}

/// The events of a request, as the app reads them.
fn events(seen: &Seen) -> Vec<Value> {
    serde_json::from_slice(&seen.body).unwrap_or_else(|error| panic!("{error}: {seen:?}"))
}

fn ids(seen: &Seen) -> Vec<EventId> {
    events(seen).iter().map(|event| event["id"].as_str().unwrap().parse().unwrap()).collect()
}

/// How many events each request had.
fn sizes(rig: &Rig) -> Vec<usize> {
    rig.app.seen.lock().iter().map(|seen| events(seen).len()).collect()
}

async fn keep(rig: &Rig, count: usize) -> Vec<EventId> {
    let mut kept = Vec::new();
    for n in 0..count {
        kept.push(rig.keep(&n.to_string()).await);
    }
    kept
}

/// A 207 that says these, in order of the events.
fn multi_status(seen: &Seen, statuses: &[u16]) -> Act {
    let results: Vec<Value> = ids(seen)
        .iter()
        .zip(statuses)
        .map(|(id, status)| json!({"id": id.to_string(), "status": status}))
        .collect();
    Act::Answer(answer(207, "", &json!({ "results": results }).to_string()))
}

#[tokio::test(start_paused = true)]
async fn events_that_come_within_the_wait_go_out_together() {
    let rig = rig(Double::always(ok()), 100, |options| {
        options.sign = vec![Secret::new("of the app")];
        options.headers = vec![("x-from".to_owned(), HeaderValueSetting::Plain("hooklatch".to_owned()))];
    });
    let kept = keep(&rig, 3).await;
    sleep(MS(480)).await;
    assert_eq!(rig.app.count(), 0, "they wait for others");
    assert_eq!(rig.health.gathering(), 3);
    sleep(MS(40)).await;
    let seen = rig.app.request(0);
    assert_eq!((rig.app.count(), ids(&seen)), (1, kept.clone()));
    assert_eq!(seen.line, "POST /events HTTP/1.1");
    assert_eq!(events(&seen)[1]["body"], 1);
    for (name, value) in [
        ("content-type", "application/json"),
        ("hooklatch-batch", "3"),
        ("host", "app"),
        ("x-from", "hooklatch"),
    ] {
        assert_eq!(seen.one(name), value, "{name}");
    }
    for name in [
        "hooklatch-attempt",
        "hooklatch-route",
        "hooklatch-event-id",
        "x-forwarded-for",
        "x-hub-signature-256",
    ] {
        assert_eq!(seen.all(name), Vec::<String>::new(), "{name} is an event's");
    }
    let id = seen.one("hooklatch-id");
    assert!(id.starts_with("hlb_"), "{id}");
    assert_eq!(seen.one("webhook-id"), id);
    let signed = format!("{id}.{}.", seen.one("webhook-timestamp"));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"of the app").unwrap();
    mac.update(signed.as_bytes());
    mac.update(&seen.body);
    assert_eq!(seen.one("webhook-signature"), format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
    for id in kept {
        let view = rig.view(id);
        assert_eq!((view.status, view.attempts.len()), (Status::Delivered, 1));
    }
    assert_eq!((rig.health.gathering(), rig.lane.depth().0), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_leaves_at_once_and_is_one_request_for_the_rate() {
    let rig = rig(Double::always(ok()), 10, |options| options.rate = Some("10/s".parse().unwrap()));
    keep(&rig, 35).await;
    sleep(MS(350)).await;
    assert_eq!(sizes(&rig), [10, 10, 10], "the rest waits for company");
    assert_eq!(rig.moments(), [0, 100, 200]);
    sleep(MS(500)).await;
    assert_eq!(sizes(&rig), [10, 10, 10, 5]);
    let metrics = rig.metrics.encode();
    assert!(metrics.contains("hooklatch_batch_events_count{destination=\"app\"} 4"), "{metrics}");
    assert!(metrics.contains("hooklatch_batch_events_sum{destination=\"app\"} 35"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn lines_of_json_and_bodies_that_are_none() {
    let rig = rig(Double::always(ok()), 3, |options| {
        options.batch = options.batch.map(|batch| BatchOptions { format: BatchFormat::NdJson, ..batch });
    });
    for body in ["{\"a\": 1}", "{\n}", "a=b"] {
        rig.keep(body).await;
    }
    sleep(MS(10)).await;
    let seen = rig.app.request(0);
    assert_eq!(seen.one("content-type"), "application/x-ndjson");
    let text = String::from_utf8(seen.body).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(text.lines().next().unwrap().ends_with(",\"body\":{\"a\": 1}}"), "{text}");
    let encoded = |nth: usize| STANDARD.decode(lines[nth]["body_base64"].as_str().unwrap()).unwrap();
    assert_eq!((lines.len(), encoded(1), encoded(2)), (3, b"{\n}".to_vec(), b"a=b".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn no_request_has_more_bytes_than_it_may() {
    let rig = rig(Double::always(ok()), 100, |options| {
        options.batch = options.batch.map(|batch| BatchOptions { max_bytes: 4000, ..batch });
    });
    let kept = keep(&rig, 30).await;
    sleep(SECONDS(1)).await;
    let seen = rig.app.seen.lock().clone();
    assert!(seen.iter().all(|seen| seen.body.len() <= 4000), "{:?}", sizes(&rig));
    assert!(sizes(&rig)[..4].iter().all(|size| *size > 3), "{:?}", sizes(&rig));
    assert_eq!(seen.iter().flat_map(ids).collect::<Vec<_>>(), kept, "in order of arrival");
}

#[tokio::test(start_paused = true)]
async fn a_207_settles_each_and_what_failed_goes_by_itself() {
    let app = Double::new(|nth, seen| match nth {
        0 => multi_status(seen, &[200, 503, 204, 422, 410]),
        _ => ok(),
    });
    let rig = rig(app, 5, |_| {});
    let kept = keep(&rig, 5).await;
    sleep(MS(100)).await;
    let statuses: Vec<_> = kept.iter().map(|id| rig.view(*id).status).collect();
    use Status::{Delivered, Pending};
    assert_eq!(statuses, [Delivered, Pending, Delivered, Pending, Status::Dead(DeadReason::Gone)]);
    let view = rig.view(kept[3]);
    assert_eq!(view.attempts[0].answer, Answer::Status(422));
    assert!(String::from_utf8_lossy(&view.excerpt).contains("422"), "{:?}", view.excerpt);
    sleep(SECONDS(2)).await;
    assert_eq!(sizes(&rig), [5, 1, 1], "the two others, each alone");
    let again = events(&rig.app.request(1));
    assert_eq!((again[0]["attempt"].as_u64(), again[0]["body"].as_u64()), (Some(2), Some(1)));
    assert!(rig.app.request(0).one("hooklatch-id") != rig.app.request(1).one("hooklatch-id"));
    assert_eq!(rig.view(kept[1]).status, Delivered);
    assert_eq!(rig.lane.depth().0, 0);
    let metrics = rig.metrics.encode();
    for (result, status, count) in
        [("delivered", "2xx", 4), ("retry", "5xx", 1), ("retry", "4xx", 1), ("dead", "4xx", 1)]
    {
        let line = metrics.lines().find(|line| {
            line.starts_with("hooklatch_delivery_attempts_total{")
                && [result, status].iter().all(|value| line.contains(&format!("\"{value}\"")))
        });
        assert!(line.is_some_and(|line| line.ends_with(&format!(" {count}"))), "{result} {status}: {line:?}");
    }
    assert!(rig.events.flush(SECONDS(5)));
    let log = String::from_utf8(rig.log.lock().clone()).unwrap();
    let batch = rig.app.request(0).one("hooklatch-id");
    assert_eq!(log.lines().filter(|line| line.contains(&batch)).count(), 5, "a line an event");
}

#[tokio::test(start_paused = true)]
async fn any_other_answer_is_the_answer_to_all_and_one_failure() {
    let app = Double::new(|nth, _| match nth {
        0 => Act::Answer(answer(500, "", "sorry")),
        _ => ok(),
    });
    let rig = rig(app, 20, |options| options.breaker_failures = 2);
    let kept = keep(&rig, 20).await;
    sleep(MS(1500)).await;
    assert_eq!(sizes(&rig)[..2], [20, 1]);
    assert!(!matches!(rig.health.state(), LaneState::Tripped { .. }), "one request failed, not twenty");
    sleep(SECONDS(1)).await;
    assert_eq!(sizes(&rig), [&[20][..], &[1; 20]].concat(), "each by itself from then on");
    for id in kept {
        let view = rig.view(id);
        let answers: Vec<_> = view.attempts.iter().map(|attempt| (attempt.number, attempt.answer)).collect();
        assert_eq!(answers, [(1, Answer::Status(500)), (2, Answer::Status(200))]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_app_cannot_bear_takes_no_other_with_it() {
    let poison = |seen: &Seen| events(seen).iter().any(|event| event["body"] == 7);
    let app = Double::new(move |_, seen| if poison(seen) { Act::Answer(answer(500, "", "")) } else { ok() });
    let rig = rig(app, 20, |options| options.retry_delays = vec![SECONDS(1), SECONDS(1)]);
    let kept = keep(&rig, 20).await;
    sleep(SECONDS(10)).await;
    for (n, id) in kept.into_iter().enumerate() {
        let expected = if n == 7 { Status::Dead(DeadReason::AttemptsExhausted) } else { Status::Delivered };
        assert_eq!(rig.view(id).status, expected, "{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_207_that_settles_nobody_loses_nobody() {
    let app = Double::new(|nth, _| match nth {
        0 => Act::Answer(answer(207, "", "all fine")),
        2 => Act::Answer(answer(207, "", &format!("{{\"results\":[],\"x\":\"{}\"}}", "y".repeat(100_000)))),
        4 => Act::AnswerAndClose(b"HTTP/1.1 207 X\r\ncontent-length: 500\r\n\r\n{\"results\":[".to_vec()),
        _ => ok(),
    });
    let rig = rig(app, 1, |_| {});
    for (reason, expected, excerpt) in [
        ("the 207 is not {", Answer::Unsettled, "all fine"),
        ("the 207 is longer than what is read of one", Answer::Unsettled, "{\"results\":[],"),
        ("the answer broke off", Answer::Connect, "{\"results\":["),
    ] {
        let id = rig.keep("1").await;
        sleep(MS(100)).await;
        let view = rig.view(id);
        assert_eq!((view.status, view.attempts[0].answer), (Status::Pending, expected), "{reason}");
        assert!(
            view.excerpt.starts_with(excerpt.as_bytes()) && view.excerpt.len() <= 4096,
            "{:?}",
            view.excerpt
        );
        assert!(rig.events.flush(SECONDS(5)));
        let log = String::from_utf8(rig.log.lock().clone()).unwrap();
        let line: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        assert!(line["reason"].as_str().is_some_and(|said| said.starts_with(reason)), "{line}");
        assert_eq!(line["result"], "retry");
        sleep(SECONDS(2)).await;
        assert_eq!(rig.view(id).status, Status::Delivered);
    }
}

#[tokio::test(start_paused = true)]
async fn a_207_that_leaves_some_out_settles_the_others() {
    let app = Double::new(|nth, seen| if nth == 0 { multi_status(seen, &[200, 200]) } else { ok() });
    let rig = rig(app, 3, |_| {});
    let kept = keep(&rig, 3).await;
    sleep(MS(100)).await;
    assert_eq!(rig.view(kept[1]).status, Status::Delivered);
    assert_eq!(rig.view(kept[2]).attempts[0].answer, Answer::Unsettled);
    sleep(SECONDS(2)).await;
    assert_eq!((sizes(&rig), rig.view(kept[2]).status), (vec![3, 1], Status::Delivered));
}

#[tokio::test(start_paused = true)]
async fn a_207_of_nothing_but_failures_is_one_of_the_destination() {
    let app = Double::new(|nth, seen| match nth {
        0..3 => multi_status(seen, &[503; 10]),
        _ => ok(),
    });
    let rig = rig(app, 10, |options| {
        options.breaker_failures = 3;
        options.probe_after = SECONDS(60);
        options.retry_delays = vec![SECONDS(600); 5];
    });
    for _ in 0..3 {
        keep(&rig, 10).await;
        sleep(MS(600)).await;
    }
    assert!(matches!(rig.health.state(), LaneState::Tripped { .. }), "{:?}", rig.health.state());
    let waiting = keep(&rig, 25).await;
    sleep(SECONDS(30)).await;
    assert_eq!((rig.app.count(), rig.health.gathering()), (3, 0), "nothing gathers while it is down");
    sleep(SECONDS(35)).await;
    assert_eq!(sizes(&rig)[3..5], [1, 10], "a probe is one event; then batches again");
    assert!(waiting.iter().all(|id| rig.view(*id).attempts.len() == 1), "and none lost an attempt");
}

#[tokio::test(start_paused = true)]
async fn what_gathers_when_the_destination_goes_down_is_put_back() {
    let app = Double::new(|nth, _| match nth {
        0..3 => Act::Late(MS(600 * nth as u64 + 100), answer(503, "", "")),
        _ => ok(),
    });
    let rig = rig(app, 10, |options| {
        options.batch = options.batch.map(|batch| BatchOptions { max_wait: SECONDS(40), ..batch });
        (options.breaker_failures, options.probe_after) = (3, SECONDS(60));
        options.retry_delays = vec![SECONDS(600); 5];
    });
    keep(&rig, 33).await;
    sleep(SECONDS(1)).await;
    assert_eq!((rig.app.count(), rig.health.gathering()), (3, 3));
    sleep(SECONDS(1)).await;
    assert!(matches!(rig.health.state(), LaneState::Tripped { .. }), "{:?}", rig.health.state());
    assert_eq!(rig.health.gathering(), 0, "the next probe is to be one of them");
    sleep(SECONDS(60)).await;
    assert_eq!(sizes(&rig), [10, 10, 10, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_429_in_a_207_slows_the_lane() {
    let app = Double::new(|nth, seen| match nth {
        0 => {
            let Act::Answer(bytes) = multi_status(seen, &[200, 429]) else { panic!() };
            let text = String::from_utf8(bytes).unwrap();
            Act::Answer(text.replacen("content-length", "Retry-After: 20\r\ncontent-length", 1).into_bytes())
        }
        _ => ok(),
    });
    let rig = rig(app, 2, |_| {});
    let kept = keep(&rig, 2).await;
    sleep(MS(100)).await;
    keep(&rig, 2).await;
    sleep(SECONDS(19)).await;
    assert_eq!(rig.app.count(), 1, "for 20 s nothing leaves");
    assert!(matches!(rig.health.state(), LaneState::Recovering { .. }));
    sleep(SECONDS(2)).await;
    assert_eq!(rig.lane.depth().0, 0);
    assert_eq!(rig.view(kept[1]).attempts.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_410_of_one_event_pauses_where_a_410_does() {
    let app = Double::new(|nth, seen| if nth == 0 { multi_status(seen, &[200, 410]) } else { ok() });
    let rig = rig(app, 2, |options| options.on_gone = OnGone::Pause);
    let kept = keep(&rig, 2).await;
    sleep(MS(100)).await;
    assert_eq!(rig.view(kept[0]).status, Status::Delivered);
    assert_eq!(rig.view(kept[1]).status, Status::Dead(DeadReason::Gone));
    keep(&rig, 2).await;
    sleep(SECONDS(5)).await;
    assert_eq!(rig.app.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_critical_event_leaves_at_once_and_takes_along_who_is_there() {
    let rig = rig(Double::always(ok()), 100, |_| {});
    let bulk = Turn { priority: Priority::Bulk, ..Turn::default() };
    for _ in 0..3 {
        rig.keep_event(Event { turn: bulk, ..event("0") }).await;
    }
    sleep(MS(50)).await;
    assert_eq!(rig.app.count(), 0);
    let critical = Turn { priority: Priority::Critical, ..Turn::default() };
    let id = rig.keep_event(Event { turn: critical, ..event("1") }).await;
    sleep(MS(1)).await;
    assert_eq!((sizes(&rig), ids(&rig.app.request(0)).pop()), (vec![4], Some(id)));
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_one_event_a_key() {
    let rig = rig(Double::always(ok()), 100, |_| {});
    for (key, body) in [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4"), ("b", "5")] {
        let turn = Turn { order_key: Some(OrderKey::new("in", key)), ..Turn::default() };
        rig.keep_event(Event { turn, ..event(body) }).await;
    }
    sleep(SECONDS(2)).await;
    let bodies: Vec<Vec<_>> = rig
        .app
        .seen
        .lock()
        .iter()
        .map(|seen| events(seen).iter().map(|event| event["body"].as_u64().unwrap()).collect())
        .collect();
    assert_eq!(bodies, [vec![1, 3], vec![2, 5], vec![4]]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_events_of_a_former_name_too_and_still_one_a_key() {
    let rig = rig(Double::always(ok()), 100, |_| {});
    let old = rig.buffer.lane("old");
    rig.buffer.set_destinations(&[("old".into(), Default::default()), ("app".into(), Default::default())]);
    rig.change(|control| control.lanes = [old.clone(), rig.lane.clone()].into());
    for (lane, body) in [(&old, "1"), (&rig.lane, "2")] {
        let turn = Turn { order_key: Some(OrderKey::new("in", "a")), ..Turn::default() };
        let event = Event { turn, received_at: NOW, ..event(body) };
        rig.buffer.keep(event, std::slice::from_ref(lane), None, Ack::Memory).await.unwrap();
    }
    rig.keep("3").await;
    sleep(SECONDS(2)).await;
    let bodies: Vec<Vec<_>> = rig
        .app
        .seen
        .lock()
        .iter()
        .map(|seen| events(seen).iter().map(|event| event["body"].as_u64().unwrap()).collect())
        .collect();
    assert_eq!(bodies, [vec![1, 3], vec![2]]);
    assert_eq!((old.depth().0, rig.lane.depth().0), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn retries_and_batches_take_the_slots_of_a_rate_in_turn() {
    let app = Double::new(|nth, _| if nth == 0 { Act::Answer(answer(500, "", "")) } else { ok() });
    let rig = rig(app, 10, |options| options.rate = Some("10/s".parse().unwrap()));
    keep(&rig, 10).await;
    sleep(MS(1500)).await;
    let before = rig.app.count();
    keep(&rig, 40).await;
    sleep(MS(800)).await;
    let later = sizes(&rig)[before..].to_vec();
    let (full, single) =
        (later.iter().filter(|size| **size == 10).count(), later.iter().filter(|size| **size == 1).count());
    assert!(full.abs_diff(single) <= 1 && full + single == later.len(), "{later:?}");
}

#[tokio::test(start_paused = true)]
async fn while_it_drains_a_batch_waits_for_nobody() {
    let rig = rig(Double::always(ok()), 100, |options| {
        options.batch = options.batch.map(|batch| BatchOptions { max_wait: SECONDS(60), ..batch });
    });
    keep(&rig, 3).await;
    sleep(SECONDS(5)).await;
    assert_eq!(rig.app.count(), 0);
    let began = tokio::time::Instant::now();
    rig.change(|control| control.until = Some(began + SECONDS(20)));
    rig.task.await.unwrap();
    assert!(began.elapsed() < SECONDS(1), "{:?}", began.elapsed());
    assert_eq!((rig.app.count(), rig.lane.depth().0), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_gathers_is_put_back_where_nothing_more_is_to_be_begun() {
    for how in ["stop", "gone"] {
        let rig = rig(Double::always(ok()), 100, |_| {});
        let kept = keep(&rig, 3).await;
        sleep(MS(100)).await;
        assert_eq!(rig.health.gathering(), 3);
        rig.change(|control| {
            control.taking = false;
            control.until = (how == "stop").then(|| tokio::time::Instant::now() + SECONDS(20));
        });
        sleep(SECONDS(1)).await;
        let again: Vec<_> = rig.lane.take(9).iter().map(|taken| taken.event.id).collect();
        assert_eq!((again, rig.app.count()), (kept, 0), "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_gathers_waits_out_a_pause() {
    let rig = rig(Double::always(ok()), 100, |_| {});
    keep(&rig, 3).await;
    sleep(MS(100)).await;
    rig.standing.pause(Pause { by: PausedBy::Operator, since: NOW, until: None });
    rig.change(|_| {});
    sleep(SECONDS(5)).await;
    assert_eq!((rig.app.count(), rig.health.gathering()), (0, 0));
    rig.standing.resume();
    rig.change(|control| control.hastened += 1);
    sleep(SECONDS(1)).await;
    assert_eq!(sizes(&rig), [3]);
}

#[tokio::test(start_paused = true)]
async fn somebody_in_a_hurry_need_not_wait_for_a_batch_to_fill() {
    let rig = rig(Double::always(ok()), 100, |options| {
        options.batch = options.batch.map(|batch| BatchOptions { max_wait: SECONDS(60), ..batch });
    });
    keep(&rig, 3).await;
    sleep(SECONDS(1)).await;
    rig.change(|control| control.hastened += 1);
    sleep(MS(1)).await;
    assert_eq!(sizes(&rig), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_reload_gives_other_batches_or_none() {
    let rig = rig(Double::always(ok()), 100, |options| {
        options.batch = options.batch.map(|batch| BatchOptions { max_wait: SECONDS(60), ..batch });
    });
    let change = |change: &dyn Fn(&mut DestinationOptions)| {
        rig.change(|control| {
            let mut options = (*control.work.settings).clone();
            change(&mut options);
            let settings = crate::delivery::DestinationSettings::new(options).unwrap();
            let client = control.work.targets[0].client.clone();
            control.work = std::sync::Arc::new(crate::delivery::attempt::Work::over(settings, &client));
        });
    };
    keep(&rig, 4).await;
    sleep(SECONDS(1)).await;
    change(&|options| {
        options.batch = options.batch.map(|batch| BatchOptions { max_events: 2, ..batch });
    });
    sleep(MS(10)).await;
    assert_eq!(sizes(&rig), [2, 2]);
    keep(&rig, 1).await;
    sleep(SECONDS(1)).await;
    change(&|options| options.batch = None);
    sleep(MS(10)).await;
    assert_eq!(rig.app.request(2).one("hooklatch-attempt"), "1");
    assert_eq!(rig.app.request(2).body, b"0");
}

#[tokio::test(start_paused = true)]
async fn whoever_still_waits_for_the_app_s_own_answer_gets_it() {
    let app = Double::always(Act::Answer(answer(201, "", "yours")));
    let rig = rig(app, 100, |_| {});
    keep(&rig, 2).await;
    let Ok(Outcome::Delivered { reply }) = rig.express("mine").await.await else { panic!("not delivered") };
    assert_eq!(reply.body, "yours");
    assert_eq!(rig.app.request(0).body, b"mine");
}
