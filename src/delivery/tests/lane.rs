use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::double::{Act, Double, answer};
use super::request::event;
use super::rig::{MS, NOW, Rig, SECONDS, ok};
use crate::buffer::{DeadReason, Status};
use crate::delivery::connector::Connector;
use crate::event::{Answer, Event, Outcome};
use crate::headers::Headers;

#[tokio::test(start_paused = true)]
async fn events_go_out_in_order_of_arrival() {
    let rig = Rig::new(Double::always(ok()), |options| options.concurrency = 1);
    for n in 0..30 {
        rig.keep(&n.to_string()).await;
    }
    sleep(SECONDS(1)).await;
    assert_eq!(rig.bodies(), (0..30).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(rig.lane.depth(), (0, 0));
    assert_eq!(rig.app.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_are_in_flight_than_allowed() {
    let rig = Rig::new(Double::always(Act::Late(MS(100), answer(200, "", ""))), |o| o.concurrency = 3);
    for n in 0..31 {
        rig.keep(&n.to_string()).await;
    }
    sleep(MS(50)).await;
    assert_eq!(rig.health.in_flight(), 3);
    sleep(SECONDS(5)).await;
    assert_eq!(rig.app.count(), 31);
    assert_eq!(rig.app.busiest.load(Ordering::SeqCst), 3);
    assert_eq!(rig.moments().last(), Some(&1000), "the slots were kept full");
    assert_eq!(rig.health.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_app_that_hangs_costs_an_attempt_after_the_timeout() {
    let app = Double::new(|nth, _| if nth == 0 { Act::Hang } else { ok() });
    let rig = Rig::new(app, |options| options.timeout = MS(700)).ticking(MS(10));
    let id = rig.keep("x").await;
    sleep(MS(600)).await;
    assert_eq!(rig.view(id).attempts.len(), 0);
    sleep(MS(200)).await;
    let view = rig.view(id);
    assert_eq!((view.status, view.attempts[0].answer), (Status::Pending, Answer::Timeout));
    assert_eq!(view.attempts[0].took, MS(700));
    assert_eq!(rig.app.busy.load(Ordering::SeqCst), 0, "the app is told by closing the connection");
    sleep(SECONDS(2)).await;
    let view = rig.view(id);
    assert_eq!((view.status, view.attempts[1].answer), (Status::Delivered, Answer::Status(200)));
    assert_eq!(rig.app.connections(), 2, "a connection that owes an answer is not used again");
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_at_the_times_of_the_schedule_and_then_die() {
    let rig = Rig::new(Double::always(Act::Answer(answer(500, "", "sorry"))), |_| {}).ticking(MS(250));
    let id = rig.keep("x").await;
    sleep(SECONDS(24 * 3600)).await;
    let mut sum = 0;
    let expected = [0, 1, 5, 12, 25, 300, 1800, 7200, 18_000, 43_200].map(|wait| {
        sum += wait * 1000;
        sum
    });
    let moments = rig.moments();
    assert_eq!(moments.len(), 10, "10 attempts within 24 hours");
    for (moment, expected) in moments.iter().zip(expected) {
        assert!(moment.abs_diff(expected) <= 250 * 10, "{moments:?}");
    }
    let numbers: Vec<_> = rig.app.seen.lock().iter().map(|s| s.one("hooklatch-attempt")).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]);
    let view = rig.view(id);
    assert_eq!(view.status, Status::Dead(DeadReason::AttemptsExhausted));
    assert_eq!((view.attempts.len(), view.excerpt.as_ref()), (10, &b"sorry"[..]));
    let ids: Vec<_> = rig.app.seen.lock().iter().map(|s| s.one("hooklatch-id")).collect();
    assert!(ids.iter().all(|other| *other == id.to_string()));
}

#[tokio::test(start_paused = true)]
async fn no_retry_leaves_before_its_time() {
    let rig =
        Rig::new(Double::always(Act::Answer(answer(500, "", ""))), |o| o.retry_delays = vec![SECONDS(5)]);
    rig.keep("x").await;
    sleep(SECONDS(1)).await;
    // Tokio's time runs on for a minute, the wall clock stands well before the due time, then just before it.
    rig.clock.advance(MS(3000));
    sleep(SECONDS(60)).await;
    rig.clock.advance(MS(1999));
    sleep(SECONDS(5)).await;
    assert_eq!(rig.app.count(), 1);
    rig.clock.advance(MS(1));
    sleep(SECONDS(1)).await;
    assert_eq!(rig.app.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn retry_after_lengthens_a_wait_and_never_shortens_it() {
    let app = Double::new(|nth, _| match nth {
        0 => Act::Answer(answer(503, "Retry-After: 90\r\n", "")),
        1 => Act::Answer(answer(429, "retry-after: Thu, 15 Jan 2026 10:33:00 GMT\r\n", "")),
        2 => Act::Answer(answer(503, "retry-after: 1\r\n", "")),
        _ => ok(),
    });
    let rig = Rig::new(app, |options| options.retry_delays = vec![SECONDS(10); 3]).ticking(MS(100));
    rig.keep("x").await;
    sleep(SECONDS(600)).await;
    // From 10:30:00: 90 s after the first; at 10:33:00; 10 s after that, as the schedule says.
    let moments = rig.moments();
    for (moment, expected) in moments.iter().zip([0, 90_000, 180_000, 190_000]) {
        assert!(moment.abs_diff(expected) <= 1000, "{moments:?}");
    }
    assert_eq!(moments.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn gone_kills_at_once_and_a_redirect_is_not_followed() {
    let app = Double::new(|nth, _| match nth {
        0 => Act::Answer(answer(410, "", "gone for good")),
        _ => Act::Answer(answer(307, "location: http://127.0.0.1:1/elsewhere\r\n", "")),
    });
    let rig = Rig::new(app, |options| {
        options.concurrency = 1;
        options.retry_delays = Vec::new();
    });
    let gone = rig.keep("a").await;
    let redirected = rig.keep("b").await;
    sleep(SECONDS(1)).await;
    let view = rig.view(gone);
    assert_eq!((view.status, view.excerpt.as_ref()), (Status::Dead(DeadReason::Gone), &b"gone for good"[..]));
    let view = rig.view(redirected);
    assert_eq!(view.status, Status::Dead(DeadReason::AttemptsExhausted));
    assert_eq!(view.attempts[0].answer, Answer::Status(307));
    assert_eq!((rig.app.count(), rig.app.connections()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn four_kib_of_the_last_answer_are_kept() {
    let long = "0123456789abcdef".repeat(1000);
    let rig = Rig::new(Double::always(Act::Answer(answer(400, "", &long))), |o| o.retry_delays = Vec::new());
    let id = rig.keep("x").await;
    sleep(SECONDS(1)).await;
    assert_eq!(rig.view(id).excerpt, long[..4096]);
}

#[tokio::test(start_paused = true)]
async fn due_retries_and_fresh_events_take_turns() {
    // The first four events fail once; when they are due, six fresh ones wait as well.
    let app = Double::new(|nth, _| {
        if nth < 4 { Act::Answer(answer(500, "", "")) } else { Act::Late(MS(10), answer(200, "", "")) }
    });
    let rig = Rig::new(app, |options| {
        options.concurrency = 1;
        options.retry_delays = vec![SECONDS(60)];
    });
    for n in 0..4 {
        rig.keep(&format!("r{n}")).await;
    }
    sleep(SECONDS(1)).await;
    rig.clock.advance(SECONDS(61));
    for n in 0..6 {
        rig.keep(&format!("f{n}")).await;
    }
    sleep(SECONDS(5)).await;
    let bodies = rig.bodies()[4..].to_vec();
    assert_eq!(bodies.len(), 10);
    let (mut retries, mut fresh) = (0, 0);
    for body in &bodies[..8] {
        if body.starts_with('r') {
            retries += 1
        } else {
            fresh += 1
        }
        assert!(i32::abs_diff(retries, fresh) <= 1, "{bodies:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_free_slots_is_shared_between_retries_and_fresh_events() {
    let app = Double::new(|nth, _| match nth {
        0..4 => Act::Answer(answer(500, "", "")),
        _ => Act::Late(MS(10), answer(200, "", "")),
    });
    let rig = Rig::new(app, |options| {
        options.concurrency = 4;
        options.retry_delays = vec![SECONDS(60)];
    });
    for n in 0..4 {
        rig.keep(&format!("r{n}")).await;
    }
    sleep(SECONDS(1)).await;
    rig.clock.advance(SECONDS(61));
    for n in 0..6 {
        rig.keep(&format!("f{n}")).await;
    }
    sleep(SECONDS(40)).await;
    let first: Vec<_> = rig.bodies()[4..8].iter().map(|body| body.starts_with('r')).collect();
    assert_eq!(first.iter().filter(|retry| **retry).count(), 2, "{:?}", rig.bodies());
    assert_eq!(rig.app.count(), 14);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_is_noticed_within_half_a_minute() {
    let rig = Rig::new(Double::always(Act::Answer(answer(500, "", ""))), |options| {
        options.retry_delays = vec![SECONDS(12 * 3600)];
    });
    rig.keep("x").await;
    sleep(SECONDS(1)).await;
    rig.clock.advance(SECONDS(13 * 3600));
    sleep(SECONDS(31)).await;
    assert_eq!(rig.app.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_app_goes_first_and_gets_its_answer() {
    let app = Double::always(Act::Late(
        MS(10),
        answer(
            201,
            "X-App: yes\r\nConnection: x-hop\r\nx-hop: 1\r\nContent-Type: text/xml\r\n",
            "<Response/>",
        ),
    ));
    let rig = Rig::new(app, |options| options.concurrency = 1);
    for n in 0..20 {
        rig.keep(&n.to_string()).await;
    }
    sleep(MS(15)).await;
    let waiting = rig.express("now").await;
    let Ok(Outcome::Delivered { reply }) = waiting.await else { panic!("not delivered") };
    assert_eq!((reply.status, reply.body.as_ref()), (201, &b"<Response/>"[..]));
    assert_eq!(reply.headers, Headers::from_pairs([("x-app", "yes"), ("content-type", "text/xml")]));
    assert_eq!(rig.bodies()[2], "now", "after the two that were on their way");
    assert_eq!(rig.app.request(2).one("hooklatch-attempt"), "1");
    sleep(SECONDS(1)).await;
    assert_eq!(rig.app.count(), 21);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_learns_of_the_failure_of_its_one_attempt() {
    let app = Double::new(|nth, _| match nth {
        0 => Act::Answer(answer(422, "", "no")),
        1 => Act::Hang,
        2 => Act::AnswerAndClose(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec()),
        _ => Act::AnswerAndClose(Vec::new()),
    });
    let rig = Rig::new(app, |options| options.timeout = MS(200));
    let failed = |outcome| match outcome {
        Ok(Outcome::Failed { answer, reply }) => (answer, reply.map(|reply| reply.body)),
        other => panic!("{other:?}"),
    };
    let (answer, reply) = failed(rig.express("").await.await);
    assert_eq!((answer, reply.as_deref()), (Some(Answer::Status(422)), Some(&b"no"[..])));
    assert_eq!(failed(rig.express("").await.await), (Some(Answer::Timeout), None));
    assert_eq!(failed(rig.express("").await.await), (Some(Answer::Connect), None), "half an answer is none");
    assert_eq!(failed(rig.express("").await.await), (Some(Answer::Connect), None));
    sleep(SECONDS(3600)).await;
    assert_eq!(rig.app.count(), 4, "one attempt each");
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_hung_up_before_its_turn_is_not_delivered_for() {
    let rig = Rig::new(Double::always(Act::Late(MS(100), answer(200, "", ""))), |o| o.concurrency = 1);
    rig.keep("first").await;
    sleep(MS(10)).await;
    drop(rig.express("gone").await);
    let waiting = rig.express("waiting").await;
    assert!(matches!(waiting.await, Ok(Outcome::Delivered { .. })));
    assert_eq!(rig.bodies(), ["first", "waiting"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_a_sender_is_cut_at_one_mib() {
    let long = "x".repeat((1 << 20) + 1);
    let rig = Rig::new(Double::always(Act::Answer(answer(200, "", &long))), |_| {});
    let Ok(Outcome::Delivered { reply }) = rig.express("").await.await else { panic!("not delivered") };
    assert_eq!(reply.body.len(), 1 << 20);
    assert!(rig.metrics.encode().contains("hooklatch_limit_hits_total{limit=\"answer_bytes\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_an_attempt_defers_its_event_and_harms_no_other() {
    let app = Double::always(ok());
    let (pipes, ends) = mpsc::unbounded_channel();
    app.pipes(ends);
    let rig = Rig::over(Connector::panics_once(pipes), app, |_| {}).ticking(MS(10));
    let unlucky = rig.keep("unlucky").await;
    let lucky = rig.keep("lucky").await;
    sleep(MS(500)).await;
    let view = rig.view(unlucky);
    assert_eq!((view.status, view.attempts[0].answer), (Status::Pending, Answer::Internal));
    assert_eq!(rig.view(lucky).status, Status::Delivered);
    sleep(SECONDS(2)).await;
    assert_eq!(rig.view(unlucky).status, Status::Delivered);
    assert_eq!(rig.health.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_dies_at_once_and_is_kept_for_reading() {
    let rig = Rig::new(Double::always(ok()), |_| {});
    let control = Event { headers: Headers::from_pairs([("x-a", "\u{1}")]), ..event("") };
    let id = rig.keep_event(control).await;
    sleep(SECONDS(1)).await;
    let view = rig.view(id);
    assert_eq!(view.status, Status::Dead(DeadReason::Internal));
    assert_eq!((view.attempts.len(), view.attempts[0].answer), (1, Answer::Internal));
    assert_eq!(rig.app.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_draining_lane_delivers_what_becomes_due_and_stops_when_nothing_more_can() {
    let app = Double::new(|nth, seen| match seen.body.as_slice() {
        b"soon" if nth < 2 => Act::Answer(answer(500, "", "")),
        b"late" => Act::Answer(answer(503, "retry-after: 3600\r\n", "")),
        _ => ok(),
    });
    let rig = Rig::new(app, |options| options.concurrency = 2).ticking(MS(10));
    let soon = rig.keep("soon").await;
    let late = rig.keep("late").await;
    let began = Instant::now();
    let until = began + SECONDS(20);
    rig.control.send_modify(|control| control.until = Some(until));
    rig.task.await.unwrap();
    let took = began.elapsed();
    assert!(took >= MS(900) && took < SECONDS(3), "{took:?}");
    let view = |id| rig.buffer.find(id).unwrap().destinations.remove(0).status;
    assert_eq!((view(soon), view(late)), (Status::Delivered, Status::Pending));
    assert_eq!(rig.lane.depth().0, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_at_the_deadline_is_put_back() {
    let rig = Rig::new(Double::always(Act::Hang), |options| options.concurrency = 2).ticking(MS(10));
    for n in 0..5 {
        rig.keep(&n.to_string()).await;
    }
    let waiting = rig.express("waiting").await;
    sleep(MS(50)).await;
    let began = Instant::now();
    rig.control.send_modify(|control| control.until = Some(began + SECONDS(3)));
    rig.task.await.unwrap();
    assert_eq!(began.elapsed(), SECONDS(3));
    assert_eq!(rig.lane.depth().0, 5);
    assert_eq!(rig.lane.take(10).len(), 5, "all of them can be taken again");
    assert!(waiting.await.is_err(), "the sender is told that no outcome will come");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_in_flight_may_finish_before_the_deadline() {
    let rig = Rig::new(Double::always(Act::Late(SECONDS(2), answer(200, "", ""))), |_| {}).ticking(MS(10));
    rig.keep("x").await;
    sleep(MS(50)).await;
    rig.control.send_modify(|control| control.until = Some(Instant::now() + SECONDS(20)));
    let began = Instant::now();
    rig.task.await.unwrap();
    assert!(began.elapsed() < SECONDS(3));
    assert_eq!(rig.lane.depth().0, 0);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_leaves_its_mark_in_metrics_log_and_health() {
    let app = Double::new(|nth, _| if nth == 0 { Act::Answer(answer(503, "", "")) } else { ok() });
    let rig = Rig::new(app, |_| {}).ticking(MS(10));
    let id = rig.keep("x").await;
    sleep(MS(500)).await;
    assert_eq!(rig.health.failures_in_a_row(), 1);
    sleep(SECONDS(2)).await;
    assert_eq!(rig.health.failures_in_a_row(), 0);
    assert!(rig.health.last_success().unwrap() >= NOW.plus(SECONDS(1)));
    let metrics = rig.metrics.encode();
    for (result, status) in [("retry", "5xx"), ("delivered", "2xx")] {
        let line = metrics.lines().find(|line| {
            line.starts_with("hooklatch_delivery_attempts_total{")
                && [result, status, "app"].iter().all(|value| line.contains(&format!("\"{value}\"")))
        });
        assert!(line.is_some_and(|line| line.ends_with(" 1")), "{result} {status}: {line:?}");
    }
    assert!(rig.events.flush(SECONDS(5)));
    let log = String::from_utf8(rig.log.lock().clone()).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{log}");
    for (line, attempt) in lines.iter().zip([1, 2]) {
        assert_eq!(line["id"], id.to_string());
        assert_eq!(line["attempt"], attempt);
        assert_eq!(line["destination"], "app");
    }
}
