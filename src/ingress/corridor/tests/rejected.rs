//! Refused requests: kept, explained, let in once.

use std::time::Duration;

use super::rig::{Rig, Sent, only, outcome};
use crate::event::EventId;
use crate::ingress::{NotReleased, RejectedOptions, RejectedSettings, Waived};
use crate::observe::RequestOutcome;
use crate::verify::explain::CauseKind;

const ANY_TIME: Waived = Waived { time: true, address: false };

fn ids(rig: &Rig) -> Vec<EventId> {
    rig.ingress.rejected().iter().map(|rejected| rejected.id).collect()
}

#[tokio::test]
async fn what_is_refused_for_what_it_is_is_kept_and_nothing_else() {
    let rig = Rig::new(|settings| settings.dedupe.as_mut().unwrap().required = true);
    rig.send(&Sent { tamper: true, ..Sent::event("e1") }).await;
    rig.send(&Sent { sign: false, ..Sent::event("e2") }).await;
    rig.send(&Sent { id: None, ..Sent::event("") }).await;
    rig.send(&Sent { method: "GET", ..Sent::event("e3") }).await;
    rig.send(&Sent { target: "/elsewhere", ..Sent::event("e4") }).await;
    assert_eq!(outcome(&rig.send(&Sent::event("e5")).await), "accepted");
    let kept: Vec<_> = rig.ingress.rejected().iter().map(|rejected| rejected.outcome.as_str()).collect();
    assert_eq!(kept, ["missing_event_id", "missing_signature", "invalid_signature"]);
    let [_, _, forged] = &rig.ingress.rejected()[..] else { panic!() };
    assert_eq!(forged.body.as_deref(), Some(&b"{\"a\":1} "[..]));
    assert_eq!((&*forged.route, forged.client.address()), ("hook", "203.0.113.9"));
    assert!(forged.head.headers().get("x-sig").is_some());
    // Nothing of them is remembered elsewhere.
    assert_eq!((rig.dedupe.size().0, rig.take("app").len()), (1, 1));
}

#[tokio::test]
async fn a_foreign_address_is_kept_without_its_body_and_cannot_be_let_in() {
    let rig = Rig::with_routes(|routes| {
        routes[0].allow_ips = Some(only(["192.0.2.0/24"]));
    });
    assert_eq!(rig.send(&Sent::event("e1")).await.status, 403);
    let [id] = ids(&rig)[..] else { panic!() };
    assert_eq!(rig.ingress.find_rejected(id).unwrap().body, None);
    assert_eq!(rig.ingress.release(id, Waived::default()).await, Err(NotReleased::NoBody));
    assert_eq!(ids(&rig), [id]);
}

#[tokio::test]
async fn after_a_fix_a_request_is_let_in_once_through_dedupe() {
    let rig = Rig::new(|_| {});
    let wrong = |settings: &mut crate::ingress::CorridorSettings| {
        let other = Rig::other_verifier();
        settings.verifier = Some(other.into());
    };
    rig.apply(wrong);
    let refused = rig.send(&Sent::event("e1")).await;
    assert_eq!(refused.status, 401);
    let [id] = ids(&rig)[..] else { panic!() };
    assert!(String::from_utf8_lossy(&refused.body).contains(&id.to_string()), "the sender was told this id");
    let Err(NotReleased::Refused(refusal)) = rig.ingress.release(id, Waived::default()).await else {
        panic!()
    };
    assert_eq!(refusal.outcome, RequestOutcome::InvalidSignature);
    assert_eq!(ids(&rig), [id], "it is still there");

    rig.apply(|_| {});
    // Long after: its own time is the one that counts.
    rig.clock.advance(Duration::from_secs(3600));
    let released = rig.ingress.release(id, Waived::default()).await.unwrap();
    assert_eq!(released.outcome, RequestOutcome::Accepted);
    assert_eq!(rig.ingress.release(id, Waived::default()).await, Err(NotReleased::Unknown));
    let [delivery] = &rig.take("app")[..] else { panic!("one event") };
    assert_eq!((delivery.event.id, &delivery.event.body[..]), (released.event, &b"{\"a\":1}"[..]));
    assert_eq!(delivery.event.event_id.as_deref(), Some("e1"));
    assert_eq!(rig.counted("accepted"), 1);

    // The provider's own retry of it is a duplicate.
    let again = rig.send(&Sent { signed_at: rig.clock.now(), ..Sent::event("e1") }).await;
    assert_eq!(outcome(&again), "duplicate");
}

#[tokio::test]
async fn a_stale_request_is_let_in_only_where_that_is_said() {
    let rig = Rig::new(|_| {});
    let stale = Sent { signed_at: rig.clock.now().minus(Duration::from_secs(900)), ..Sent::event("e1") };
    assert_eq!(rig.send(&stale).await.status, 401);
    let [id] = ids(&rig)[..] else { panic!() };
    let Err(NotReleased::Refused(refusal)) = rig.ingress.release(id, Waived::default()).await else {
        panic!()
    };
    assert_eq!(refusal.outcome, RequestOutcome::TimestampOutOfTolerance);
    assert!(rig.ingress.release(id, ANY_TIME).await.is_ok());
    // A wrong signature is wrong at any time.
    rig.send(&Sent { tamper: true, ..Sent::event("e2") }).await;
    let [forged] = ids(&rig)[..] else { panic!() };
    assert!(rig.ingress.release(forged, ANY_TIME).await.is_err());
    assert_eq!(rig.take("app").len(), 1);
}

#[tokio::test]
async fn who_is_off_the_list_by_now_is_let_in_only_where_that_is_said() {
    let rig = Rig::new(|_| {});
    rig.apply(|settings| settings.verifier = Some(Rig::other_verifier().into()));
    rig.send(&Sent::event("e1")).await;
    let [id] = ids(&rig)[..] else { panic!() };
    // The signature is mended, and the list is another one.
    rig.apply_routes(|routes| routes[0].allow_ips = Some(only(["192.0.2.0/24"])));
    let explained = rig.ingress.explain(id, &[]).unwrap();
    assert_eq!(explained.listed, Some(false));
    for waived in [Waived::default(), ANY_TIME] {
        let Err(NotReleased::Refused(refusal)) = rig.ingress.release(id, waived).await else { panic!() };
        assert_eq!(refusal.outcome, RequestOutcome::IpNotAllowed);
    }
    assert_eq!((ids(&rig).len(), rig.take("app").len()), (1, 0));
    let any_address = Waived { time: false, address: true };
    assert!(rig.ingress.release(id, any_address).await.is_ok());
    assert_eq!(rig.take("app").len(), 1);
}

#[tokio::test]
async fn a_release_that_finds_no_room_keeps_the_request() {
    let rig = Rig::with_room_for(1, |_| {});
    rig.apply(|settings| settings.verifier = Some(Rig::other_verifier().into()));
    for id in ["e1", "e2"] {
        rig.send(&Sent::event(id)).await;
    }
    rig.apply(|_| {});
    let all = ids(&rig);
    let results = [
        rig.ingress.release(all[0], Waived::default()).await,
        rig.ingress.release(all[1], Waived::default()).await,
    ];
    assert!(results[0].is_ok(), "{results:?}");
    let Err(NotReleased::Refused(refusal)) = &results[1] else { panic!("{results:?}") };
    assert_eq!(refusal.outcome, RequestOutcome::BufferFull);
    assert_eq!(ids(&rig), [all[1]]);
}

#[tokio::test]
async fn a_refusal_is_explained_with_what_the_routes_know() {
    let rig = Rig::new(|_| {});
    rig.send(&Sent { tamper: true, ..Sent::event("e1") }).await;
    let [id] = ids(&rig)[..] else { panic!() };
    let explanation = rig.ingress.explain(id, &[]).unwrap().explanation.unwrap();
    assert_eq!(explanation.causes[0].kind, CauseKind::TrailingNewline, "{explanation:?}");
    assert!(explanation.refusal.is_some());
    assert!(rig.ingress.explain(EventId::default(), &[]).is_none());
}

#[tokio::test]
async fn the_list_has_the_bounds_that_are_set() {
    let rig = Rig::new(|_| {});
    let options = RejectedOptions { max_events: 2, ..RejectedOptions::default() };
    rig.ingress.keep_rejected(RejectedSettings::new(options).unwrap());
    for id in ["e1", "e2", "e3"] {
        rig.send(&Sent { tamper: true, ..Sent::event(id) }).await;
    }
    assert_eq!((ids(&rig).len(), rig.hits("rejected")), (2, 1));
    rig.clock.advance(Duration::from_secs(24 * 3600 + 1));
    assert!(ids(&rig).is_empty());
}
