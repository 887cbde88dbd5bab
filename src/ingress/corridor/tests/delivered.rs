//! `ack = "delivered"`.

use futures_util::FutureExt;

use super::rig::{Rig, Sent, app_reply, json, outcome, word};
use crate::event::{Ack, Answer, Outcome};
use crate::ingress::{CorridorSettings, Reply};

fn to_two(settings: &mut CorridorSettings) {
    settings.ack = Ack::Delivered;
    settings.deliver_to = vec!["app".into(), "other".into()];
}

fn failed(answer: Option<Answer>, status: Option<u16>) -> Outcome {
    Outcome::Failed { answer, reply: status.map(app_reply) }
}

fn delivered() -> Outcome {
    Outcome::Delivered { reply: app_reply(201) }
}

/// Sends `sent`; the destinations that see it answer with these outcomes.
async fn sent_and_answered(rig: &Rig, sent: &Sent<'_>, outcomes: &[(&str, Outcome)]) -> (Reply, Vec<usize>) {
    let answering = rig.answer(sent);
    tokio::pin!(answering);
    assert!((&mut answering).now_or_never().is_none(), "it waits for the destinations");
    let seen = outcomes.iter().map(|(lane, outcome)| rig.express(lane, outcome)).collect();
    (answering.await, seen)
}

#[tokio::test(start_paused = true)]
async fn a_2xx_means_that_every_destination_has_it() {
    let rig = Rig::new(to_two);
    let sent = Sent::event("e1");
    let outcomes = [("other", delivered()), ("app", delivered())];
    let (reply, seen) = sent_and_answered(&rig, &sent, &outcomes).await;
    assert_eq!((reply.status, outcome(&reply).as_str(), seen), (200, "accepted", vec![1, 1]));
    assert_eq!(json(&reply)["status"], "accepted");
    let again = rig.send(&sent).await;
    assert_eq!((outcome(&again).as_str(), again.body), ("duplicate", reply.body));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_and_the_id_forgotten_but_not_who_has_it() {
    let rig = Rig::new(to_two);
    let sent = Sent::event("e1");
    let refused = [("app", delivered()), ("other", failed(Some(Answer::Status(500)), Some(500)))];
    let (reply, _) = sent_and_answered(&rig, &sent, &refused).await;
    assert_eq!((reply.status, word(&reply).as_str()), (502, "upstream_error"));
    assert_eq!((rig.dedupe.in_flight(), rig.dedupe.size().0), (0, 0));
    let retried = [("other", delivered()), ("app", delivered())];
    let (reply, seen) = sent_and_answered(&rig, &sent, &retried).await;
    assert_eq!(outcome(&reply), "accepted");
    assert_eq!(seen, [1, 0], "who has it is not sent it again");
}

#[tokio::test(start_paused = true)]
async fn each_failure_has_its_status() {
    for (outcome, status, error) in [
        (failed(Some(Answer::Status(404)), None), 502, "upstream_error"),
        (failed(Some(Answer::Connect), None), 502, "upstream_error"),
        (failed(Some(Answer::Internal), None), 502, "upstream_error"),
        (failed(None, None), 502, "upstream_error"),
        (failed(Some(Answer::Timeout), None), 504, "upstream_timeout"),
    ] {
        let rig = Rig::new(to_two);
        let outcomes = [("app", outcome), ("other", delivered())];
        let (reply, _) = sent_and_answered(&rig, &Sent::event("e1"), &outcomes).await;
        assert_eq!((reply.status, word(&reply).as_str()), (status, error));
        assert_eq!(rig.counted(error), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_says_nothing_is_a_504_at_the_deadline() {
    let rig = Rig::new(to_two);
    let sent = Sent::event("e1");
    let begun = tokio::time::Instant::now();
    let answering = rig.answer(&sent);
    tokio::pin!(answering);
    assert!((&mut answering).now_or_never().is_none());
    let held = rig.take("other");
    assert_eq!(rig.accept_express("app"), 1);
    let reply = answering.await;
    assert_eq!(
        (reply.status, word(&reply).as_str(), begun.elapsed().as_secs()),
        (504, "upstream_timeout", 30)
    );
    drop(held);
    let (reply, seen) = sent_and_answered(&rig, &sent, &[("app", delivered()), ("other", delivered())]).await;
    assert_eq!((outcome(&reply).as_str(), seen), ("accepted", vec![0, 1]));
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_lets_the_event_fall_is_a_502() {
    let rig = Rig::new(to_two);
    let sent = Sent::event("e1");
    let answering = rig.answer(&sent);
    tokio::pin!(answering);
    assert!((&mut answering).now_or_never().is_none());
    assert_eq!((rig.drop_express("app"), rig.accept_express("other")), (1, 1));
    assert_eq!(answering.await.status, 502);
}

#[tokio::test(start_paused = true)]
async fn the_apps_own_answer_goes_back_where_it_is_wanted() {
    let app = |settings: &mut CorridorSettings| {
        to_two(settings);
        settings.answer_from_app = true;
    };
    // From the first destination where all have it.
    let rig = Rig::new(app);
    let outcomes = [("app", delivered()), ("other", Outcome::Delivered { reply: app_reply(204) })];
    let (reply, _) = sent_and_answered(&rig, &Sent::event("e1"), &outcomes).await;
    assert_eq!(
        (reply.status, &reply.body[..], outcome(&reply).as_str()),
        (201, &b"<Response/>"[..], "accepted")
    );
    assert_eq!(reply.headers.get("x-app"), Some(&b"1"[..]));
    // Never a 2xx where one has it not: the refusing one's.
    let refused = [("app", delivered()), ("other", failed(Some(Answer::Status(422)), Some(422)))];
    let (reply, _) = sent_and_answered(&rig, &Sent::event("e2"), &refused).await;
    assert_eq!((reply.status, &reply.body[..], outcome(&reply).as_str()), (422, &b"<Response/>"[..], ""));
    assert_eq!(rig.counted("upstream_error"), 1);
    // Ours where it gave none.
    let silent = [("app", failed(Some(Answer::Connect), None)), ("other", delivered())];
    let (reply, _) = sent_and_answered(&rig, &Sent::event("e3"), &silent).await;
    assert_eq!((reply.status, word(&reply).as_str()), (502, "upstream_error"));
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_shares_the_firsts_wait() {
    let rig = Rig::new(to_two);
    let sent = Sent::event("e1");
    let (first, second) = (rig.answer(&sent), rig.answer(&sent));
    tokio::pin!(first, second);
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut second).now_or_never().is_none());
    assert_eq!((rig.accept_express("app"), rig.accept_express("other")), (1, 1));
    assert_eq!(outcome(&first.await), "accepted");
    assert_eq!(outcome(&second.await), "duplicate");
}
