//! A destination that is slow, down, gone, or back: breaker, probes, ramp, pauses, age.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::{Instant, sleep};

use super::double::{Act, Double, answer};
use super::rig::{MS, NOW, Rig, SECONDS, ok};
use crate::buffer::{DeadReason, EventFilter, Status};
use crate::delivery::health::LaneState;
use crate::delivery::settings::{DestinationOptions, OnGone};
use crate::delivery::standing::{Pause, PausedBy};
use crate::event::{Answer, EventId, Outcome};

/// An app that is down until it is told otherwise.
fn down() -> (Double, Arc<AtomicBool>) {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let app =
        Double::new(
            move |_, _| {
                if is_up.load(Ordering::SeqCst) { ok() } else { Act::Answer(answer(503, "", "down")) }
            },
        );
    (app, up)
}

/// A lane in front of `app` whose breaker has tripped, and the events that wait.
async fn tripped(app: Double, change: impl FnOnce(&mut DestinationOptions)) -> (Rig, Vec<EventId>) {
    let rig = Rig::new(app, change).ticking(MS(250));
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(rig.keep(&format!("e{n}")).await);
    }
    // The first attempts fail within a moment, their retries a second later.
    sleep(SECONDS(3)).await;
    assert!(matches!(rig.health.state(), LaneState::Tripped { .. }), "{:?}", rig.health.state());
    (rig, ids)
}

fn alerts(rig: &Rig, alert: &str) -> bool {
    let line = format!("hooklatch_alerts_total{{alert=\"{alert}\",destination=\"app\"}} 1");
    rig.metrics.encode().contains(&line)
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_down_gets_one_probe_at_a_time_and_no_event_loses_an_attempt() {
    let (app, up) = down();
    let (rig, ids) = tripped(app, |_| {}).await;
    assert!(alerts(&rig, "breaker_open"));
    let made = |id: &EventId| rig.view(*id).attempts.len();
    let (before, sent): (Vec<_>, _) = (ids.iter().map(made).collect(), rig.app.count());
    let until_then = rig.app.count();
    sleep(SECONDS(3600)).await;
    let probes = rig.app.count() - sent;
    assert!((118..=120).contains(&probes), "one every 30 s: {probes}");
    assert_eq!(rig.app.busiest.load(Ordering::SeqCst).min(8), rig.app.busiest.load(Ordering::SeqCst));
    assert_eq!(ids.iter().map(made).collect::<Vec<_>>(), before, "a failed probe is no attempt");
    let bodies = rig.bodies()[until_then..].to_vec();
    assert!(bodies.windows(2).all(|pair| pair[0] != pair[1]), "the same event is no good probe: {bodies:?}");
    up.store(true, Ordering::SeqCst);
    sleep(SECONDS(600)).await;
    for id in &ids {
        assert_eq!(rig.view(*id).status, Status::Delivered);
    }
    assert_eq!(rig.health.state(), LaneState::Flowing);
    assert_eq!(rig.lane.depth(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_weekend_costs_neither_attempts_nor_age() {
    let (app, up) = down();
    let (rig, ids) = tripped(app, |options| options.max_age = SECONDS(3600)).await;
    sleep(SECONDS(2 * 24 * 3600)).await;
    up.store(true, Ordering::SeqCst);
    sleep(SECONDS(3600)).await;
    for id in ids {
        let view = rig.view(id);
        assert_eq!(view.status, Status::Delivered, "{view:?}");
        assert!(view.attempts.len() <= 4, "{view:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_breaks_the_app_does_not_keep_it_from_being_found_well() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let app = Double::new(move |_, seen| {
        let well = is_up.load(Ordering::SeqCst) && seen.body != b"e0";
        if well { ok() } else { Act::Answer(answer(500, "", "")) }
    });
    let (rig, ids) = tripped(app, |_| {}).await;
    up.store(true, Ordering::SeqCst);
    sleep(SECONDS(300)).await;
    let delivered = ids.iter().filter(|id| rig.view(**id).status == Status::Delivered).count();
    assert_eq!(delivered, 19);
    assert_ne!(rig.view(ids[0]).status, Status::Delivered);
}

#[tokio::test(start_paused = true)]
async fn nor_do_many_of_them() {
    let app = Double::new(
        move |_, seen| {
            if seen.body.starts_with(b"e") { Act::Answer(answer(500, "", "")) } else { ok() }
        },
    );
    let (rig, _) = tripped(app, |_| {}).await;
    let mut others = Vec::new();
    for n in 0..40 {
        rig.keep(&format!("e and another {n}")).await;
    }
    for n in 0..3 {
        others.push(rig.keep(&format!("well {n}")).await);
    }
    sleep(SECONDS(30 * 90)).await;
    for id in others {
        assert_eq!(rig.view(id).status, Status::Delivered);
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_event_that_is_down_waits_for_its_probes_too() {
    let (app, up) = down();
    let rig = Rig::new(app, |options| options.breaker_failures = 1).ticking(MS(50));
    let id = rig.keep("only").await;
    sleep(SECONDS(5)).await; // two failures, a second apart
    let made = rig.view(id).attempts.len();
    sleep(SECONDS(600)).await;
    assert_eq!(rig.view(id).attempts.len(), made);
    assert!(rig.app.count() > made + 10, "it is every probe");
    up.store(true, Ordering::SeqCst);
    sleep(SECONDS(60)).await;
    assert_eq!(rig.view(id).status, Status::Delivered);
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_app_is_asked_a_little_more_at_a_time() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let app = Double::new(move |_, _| match is_up.load(Ordering::SeqCst) {
        true => Act::Late(MS(100), answer(200, "", "")),
        false => Act::Answer(answer(503, "", "")),
    });
    let (rig, _) = tripped(app, |_| {}).await;
    for n in 0..200 {
        rig.keep(&format!("n{n}")).await;
    }
    let sent = rig.app.count();
    rig.app.busiest.store(0, Ordering::SeqCst);
    up.store(true, Ordering::SeqCst);
    let mut busiest = Vec::new();
    while rig.app.count() < sent + 150 {
        sleep(MS(100)).await;
        busiest.push(rig.app.busiest.swap(0, Ordering::SeqCst));
    }
    busiest.retain(|busy| *busy > 0);
    assert!(busiest.starts_with(&[1]), "{busiest:?}");
    assert!(busiest.windows(2).all(|pair| pair[1] <= pair[0] + 2), "no herd: {busiest:?}");
    assert_eq!(busiest.iter().max(), Some(&8), "and then all that is allowed: {busiest:?}");
    sleep(SECONDS(60)).await;
    assert_eq!(rig.lane.depth().0, 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_answer_of_an_app_that_is_down_learns_it_at_once() {
    let (rig, _) = tripped(down().0, |_| {}).await;
    let began = Instant::now();
    let outcome = rig.express("now").await.await;
    assert!(matches!(outcome, Ok(Outcome::Failed { answer: None, reply: None })), "{outcome:?}");
    assert_eq!(began.elapsed(), MS(0));
    rig.standing.pause(Pause { by: PausedBy::Operator, since: rig.clock.now(), until: None });
    let outcome = rig.express("now").await.await;
    assert!(matches!(outcome, Ok(Outcome::Failed { answer: None, reply: None })), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_events_alone_pauses_nothing() {
    let rig = Rig::new(Double::always(Act::Answer(answer(422, "", ""))), |_| {}).ticking(MS(50));
    for n in 0..50 {
        rig.keep(&n.to_string()).await;
    }
    sleep(SECONDS(60)).await;
    assert_eq!(rig.health.state(), LaneState::Flowing);
    assert!(rig.app.count() >= 200);
}

#[tokio::test(start_paused = true)]
async fn an_operator_s_pause_holds_everything_until_its_time_or_a_word() {
    let rig = Rig::new(Double::always(ok()), |_| {}).ticking(MS(50));
    let until = Some(NOW.plus(SECONDS(100)));
    rig.standing.pause(Pause { by: PausedBy::Operator, since: NOW, until });
    rig.change(|_| {});
    rig.keep("a").await;
    sleep(SECONDS(95)).await;
    assert_eq!(rig.app.count(), 0);
    sleep(SECONDS(10)).await;
    assert_eq!(rig.app.count(), 1);
    rig.standing.pause(Pause { by: PausedBy::Operator, since: NOW, until: None });
    rig.change(|_| {});
    rig.keep("b").await;
    sleep(SECONDS(10_000)).await;
    assert_eq!(rig.app.count(), 1);
    assert!(rig.standing.resume());
    rig.change(|control| control.hastened += 1);
    sleep(MS(10)).await;
    assert_eq!(rig.bodies(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn an_operator_s_word_is_a_probe_now() {
    let (app, up) = down();
    let (rig, _) = tripped(app, |options| options.probe_after = SECONDS(3600)).await;
    up.store(true, Ordering::SeqCst);
    let sent = rig.app.count();
    sleep(SECONDS(60)).await;
    assert_eq!(rig.app.count(), sent);
    rig.change(|control| control.hastened += 1);
    sleep(SECONDS(60)).await;
    assert_eq!(rig.lane.depth().0, 0);
}

#[tokio::test(start_paused = true)]
async fn an_operator_s_word_makes_everything_due_that_waits() {
    let app = Double::new(|nth, _| if nth < 20 { Act::Answer(answer(404, "", "")) } else { ok() });
    let rig = Rig::new(app, |options| options.retry_delays = vec![SECONDS(3600); 3]).ticking(MS(50));
    for n in 0..20 {
        rig.keep(&n.to_string()).await;
    }
    sleep(SECONDS(60)).await;
    assert_eq!((rig.app.count(), rig.lane.depth().0), (20, 20));
    rig.change(|control| control.hastened += 1);
    sleep(SECONDS(1)).await;
    assert_eq!((rig.app.count(), rig.lane.depth().0), (40, 0));
}

#[tokio::test(start_paused = true)]
async fn gone_can_pause_the_destination_and_raises_an_alert() {
    let app = Double::new(|nth, _| if nth == 0 { Act::Answer(answer(410, "", "")) } else { ok() });
    let rig = Rig::new(app, |options| {
        options.on_gone = OnGone::Pause;
        options.concurrency = 1;
    })
    .ticking(MS(50));
    let first = rig.keep("a").await;
    rig.keep("b").await;
    sleep(SECONDS(3600)).await;
    assert_eq!(rig.view(first).status, Status::Dead(DeadReason::Gone));
    assert_eq!(rig.app.count(), 1, "the second one waits");
    assert_eq!(rig.standing.paused(rig.clock.now()).unwrap().by, PausedBy::Gone);
    assert!(alerts(&rig, "paused_as_gone") && alerts(&rig, "first_dead"));
    rig.standing.resume();
    rig.change(|control| control.hastened += 1);
    sleep(SECONDS(1)).await;
    assert_eq!(rig.app.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_first_dead_letter_raises_an_alert_and_the_next_does_not() {
    let rig = Rig::new(Double::always(Act::Answer(answer(400, "", ""))), |o| o.retry_delays = Vec::new());
    for n in 0..5 {
        rig.keep(&n.to_string()).await;
        sleep(SECONDS(1)).await;
    }
    assert_eq!(rig.buffer.stats().dead_events, 5);
    assert!(alerts(&rig, "first_dead"));
    // Once they were dealt with, the next one is news, but for what follows on the heels of the last news.
    for waits in [1, 60] {
        assert_eq!(rig.buffer.drop_dead(&EventFilter::default()), if waits == 1 { 5 } else { 1 });
        sleep(SECONDS(waits)).await;
        rig.keep("later").await;
        sleep(SECONDS(1)).await;
        assert_eq!(alerts(&rig, "first_dead"), waits == 1, "once more after a minute");
    }
    // As long as there is one, a further one is none, however late it comes.
    sleep(SECONDS(120)).await;
    rig.keep("another").await;
    sleep(SECONDS(1)).await;
    assert_eq!(rig.buffer.stats().dead_events, 2);
    let twice = "hooklatch_alerts_total{alert=\"first_dead\",destination=\"app\"} 2\n";
    assert!(rig.metrics.encode().contains(twice), "{}", rig.metrics.encode());
}

#[tokio::test(start_paused = true)]
async fn what_becomes_too_old_is_a_dead_letter_and_replayed_is_young_again() {
    let rig = Rig::new(Double::always(Act::Answer(answer(404, "", ""))), |options| {
        options.max_age = SECONDS(100);
        options.concurrency = 1;
        options.retry_delays = vec![SECONDS(60); 9];
    })
    .ticking(MS(50));
    let id = rig.keep("x").await;
    sleep(SECONDS(300)).await;
    let view = rig.view(id);
    assert_eq!(view.status, Status::Dead(DeadReason::TooOld));
    // At 0 s, at 60 s, and the last one at 100 s, not at 120 s.
    let moments: Vec<_> = rig.moments().iter().map(|moment| moment / 1000).collect();
    assert_eq!(moments, [0, 60, 100]);
    assert!(rig.buffer.requeue_dead(id));
    sleep(SECONDS(1)).await;
    assert_eq!((rig.view(id).status, rig.app.count()), (Status::Pending, 4));
}

#[tokio::test(start_paused = true)]
async fn what_was_never_tried_in_time_is_not_tried_at_all() {
    let rig = Rig::new(Double::always(ok()), |options| options.max_age = SECONDS(100));
    rig.change(|control| control.taking = false);
    let old = rig.keep("old").await;
    // The lane is shut while its destination is not configured: this ages nothing.
    rig.clock.advance(SECONDS(50));
    sleep(MS(10)).await;
    rig.clock.advance(SECONDS(150));
    let young = rig.keep("young").await;
    rig.change(|control| control.taking = true);
    sleep(MS(10)).await;
    assert_eq!(rig.bodies(), ["old", "young"]);
    assert_eq!(rig.view(old).status, Status::Delivered);
    assert_eq!(rig.view(young).status, Status::Delivered);

    let slow = Rig::new(Double::always(Act::Late(SECONDS(150), answer(200, "", ""))), |options| {
        options.max_age = SECONDS(100);
        options.timeout = SECONDS(200);
        options.concurrency = 1;
    })
    .ticking(MS(50));
    slow.keep("first").await;
    let late = slow.keep("second").await;
    sleep(SECONDS(200)).await;
    let view = slow.view(late);
    assert_eq!((view.status, view.attempts.len()), (Status::Dead(DeadReason::TooOld), 0));
    assert_eq!(slow.app.count(), 1);
    assert!(alerts(&slow, "first_dead"), "it is the first one all the same");
}

#[tokio::test(start_paused = true)]
async fn dead_letters_tell_what_was_refused_from_what_was_not_reached() {
    let app = Double::new(|_, seen| match seen.body.as_slice() {
        b"refused" => Act::Answer(answer(422, "", "no such thing")),
        b"failed" => Act::Answer(answer(500, "", "")),
        _ => Act::AnswerAndClose(Vec::new()),
    });
    let rig = Rig::new(app, |options| {
        options.retry_delays = vec![SECONDS(1)];
        options.retry_on = crate::delivery::RetryOn::Of(vec![500..=599]);
    })
    .ticking(MS(50));
    let mut status = Vec::new();
    for body in ["refused", "failed", "unreachable"] {
        let id = rig.keep(body).await;
        sleep(SECONDS(5)).await;
        let view = rig.view(id);
        status.push((view.status, view.attempts.len(), view.attempts[0].answer));
    }
    use DeadReason::{AttemptsExhausted, Refused, Unreachable};
    assert_eq!(
        status,
        [
            (Status::Dead(Refused), 1, Answer::Status(422)),
            (Status::Dead(AttemptsExhausted), 2, Answer::Status(500)),
            (Status::Dead(Unreachable), 2, Answer::Connect),
        ]
    );
}
