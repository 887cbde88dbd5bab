//! One event to many destinations: by type, all or none, and the optional ones.

use futures_util::FutureExt;

use super::rig::{Rig, Sent, app_reply, outcome, word};
use crate::buffer::MaxPending;
use crate::event::{Ack, Answer, Outcome, TypePattern};
use crate::ingress::{CorridorSettings, DeliverTo};

fn only(name: &str, types: &[&str]) -> DeliverTo {
    let types = types.iter().map(|types| TypePattern::parse(types).unwrap()).collect();
    DeliverTo { types, ..name.into() }
}

fn by_type(settings: &mut CorridorSettings) {
    settings.deliver_to = vec![only("app", &["push"]), only("other", &["invoice.*", "refund"])];
}

/// Sends an event of this type; in which of the two lanes it is.
async fn sent(rig: &Rig, id: &str, event_type: &str) -> (String, usize, usize) {
    let more = [("X-Event-Type", event_type)];
    let reply = rig.send(&Sent { typed: false, more: &more, ..Sent::event(id) }).await;
    (outcome(&reply), rig.take("app").len(), rig.take("other").len())
}

#[tokio::test]
async fn an_event_goes_where_its_type_is_taken() {
    let rig = Rig::new(by_type);
    let accepted = |app, other| ("accepted".to_owned(), app, other);
    assert_eq!(sent(&rig, "e1", "push").await, accepted(1, 0));
    assert_eq!(sent(&rig, "e2", "invoice.paid").await, accepted(0, 1));
    assert_eq!(sent(&rig, "e3", "refund").await, accepted(0, 1));
}

#[tokio::test]
async fn a_type_that_no_destination_takes_is_accepted_counted_and_kept_nowhere() {
    for ack in [Ack::Memory, Ack::Delivered] {
        let rig = Rig::new(|settings| {
            by_type(settings);
            settings.ack = ack;
        });
        assert_eq!(sent(&rig, "e1", "customer.created").await, ("accepted".to_owned(), 0, 0));
        assert_eq!(sent(&rig, "e1", "customer.created").await.0, "duplicate");
        assert_eq!((rig.nowhere(), rig.buffer.stats().events, rig.buffer.stats().history_events), (1, 0, 0));
        let reason = rig.log_lines()[0]["reason"].as_str().unwrap().to_owned();
        assert_eq!(reason, "no destination of the route takes this type");
    }
    // One without a type is for those who take all.
    let rig = Rig::new(|settings| {
        settings.event_type = None;
        settings.deliver_to = vec![only("app", &["*"]), "other".into()];
    });
    assert_eq!(sent(&rig, "e1", "push").await, ("accepted".to_owned(), 0, 1));
}

#[tokio::test]
async fn an_optional_destination_without_room_is_left_out_and_any_other_refuses_for_all() {
    let full = MaxPending { events: Some(1), bytes: None };
    for (optional, expected) in [(true, "accepted"), (false, "")] {
        let rig = Rig::new(|settings| {
            settings.deliver_to = vec!["app".into(), DeliverTo { optional, .."other".into() }];
        });
        rig.buffer.set_destinations(&[("app".into(), MaxPending::default()), ("other".into(), full)]);
        assert_eq!(outcome(&rig.send(&Sent::event("e1")).await), "accepted");
        let reply = rig.send(&Sent::event("e2")).await;
        assert_eq!(outcome(&reply), expected, "{:?}", word(&reply));
        let kept = (rig.take("app").len(), rig.take("other").len());
        assert_eq!(kept, if optional { (2, 1) } else { (1, 1) });
        assert_eq!(rig.hits("destination.max_pending"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn who_did_not_take_it_is_told_to_the_operator_and_not_to_the_sender() {
    let rig = Rig::new(|settings| {
        settings.ack = Ack::Delivered;
        settings.deliver_to = vec!["app".into(), only("other", &["push"])];
    });
    let sent = Sent::event("e1");
    let answering = rig.answer(&sent);
    tokio::pin!(answering);
    assert!((&mut answering).now_or_never().is_none());
    rig.accept_express("app");
    let reply = Some(app_reply(500));
    rig.express("other", &Outcome::Failed { answer: Some(Answer::Status(500)), reply });
    let reply = answering.await;
    assert_eq!((reply.status, word(&reply).as_str()), (502, "upstream_error"));
    assert!(!String::from_utf8_lossy(&reply.body).contains("other"));
    let reason = rig.log_lines()[0]["reason"].as_str().unwrap().to_owned();
    assert_eq!(reason, "other: The application did not accept the event.");
}
