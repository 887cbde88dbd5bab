//! Finding and listing.

use super::super::listing::{PER_CALL, PER_PAGE};
use super::*;

fn list(rig: &Rig, filter: EventFilter) -> Vec<EventId> {
    let (views, cursor) = rig.buffer.list(&filter, None, 100);
    assert_eq!(cursor, None);
    views.iter().map(|view| view.event.id).collect()
}

#[test]
fn pages_go_from_newest_to_oldest_without_a_gap() {
    let rig = Rig::new(10_000, &["app"]);
    let mut kept: Vec<_> = (0..1700).map(|_| rig.keep(event("x"), &["app"]).unwrap()).collect();
    kept.reverse();
    for limit in [1, 7, 512, 513, 5000] {
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let (page, next) = rig.buffer.list(&EventFilter::default(), cursor, limit);
            assert!(page.len() <= limit.min(PER_PAGE));
            seen.extend(page.iter().map(|view| view.event.id));
            assert!(seen.len() <= kept.len(), "nothing comes twice");
            if next.is_none() {
                break;
            }
            cursor = next;
        }
        assert_eq!(seen, kept, "{limit}");
    }
}

#[test]
fn a_call_looks_at_a_bounded_number_of_events_and_says_where_to_go_on() {
    let rig = Rig::new(100_000, &["app"]);
    let needle = rig.keep(Event { event_id: Some("needle".into()), ..event("x") }, &["app"]).unwrap();
    assert_eq!(rig.fill(PER_CALL + 10, &["app"]), PER_CALL + 10);
    let filter = EventFilter { id: Some("needle".into()), ..EventFilter::default() };
    let (none, cursor) = rig.buffer.list(&filter, None, 10);
    assert!(none.is_empty() && cursor.is_some());
    let (found, end) = rig.buffer.list(&filter, cursor, 10);
    assert_eq!((found[0].event.id, end), (needle, None));
}

#[test]
fn each_word_of_a_filter_narrows_the_list() {
    let rig = Rig::new(1000, &["app", "audit"]);
    let charge = Event {
        route: "stripe".into(),
        event_type: Some("charge.dispute.created".into()),
        event_id: Some("evt_1".into()),
        received_at: Millis(2000),
        ..event("x")
    };
    let push = Event { event_type: Some("push".into()), received_at: Millis(3000), ..event("x") };
    let first = rig.keep(charge, &["app"]).unwrap();
    let second = rig.keep(push, &["app", "audit"]).unwrap();
    start(&rig.lane("app"), 2);
    settle(&rig.lane("app"), first, DEAD);
    settle(&rig.lane("app"), second, Settled::Delivered);

    let all = EventFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let id = first.to_string();
    for (filter, expected) in [
        (all(), vec![second, first]),
        (EventFilter { route: text("stripe"), ..all() }, vec![first]),
        (EventFilter { route: text("strip"), ..all() }, vec![]),
        (EventFilter { destination: text("audit"), ..all() }, vec![second]),
        (EventFilter { destination: text("nowhere"), ..all() }, vec![]),
        (EventFilter { destination: text("new"), formerly: vec!["audit".into()], ..all() }, vec![second]),
        (EventFilter { status: Some("dead"), ..all() }, vec![first]),
        (EventFilter { status: Some("delivered"), ..all() }, vec![second]),
        (EventFilter { status: Some("pending"), ..all() }, vec![second]),
        (EventFilter { status: Some("pending"), destination: text("app"), ..all() }, vec![]),
        (EventFilter { status: Some("lost"), ..all() }, vec![]),
        (EventFilter { event_type: text("charge.*"), ..all() }, vec![first]),
        (EventFilter { event_type: text("charge"), ..all() }, vec![]),
        (EventFilter { event_type: text("*"), ..all() }, vec![second, first]),
        (EventFilter { id: text("evt_1"), ..all() }, vec![first]),
        (EventFilter { id: text(&id), ..all() }, vec![first]),
        (EventFilter { id: text("evt_2"), ..all() }, vec![]),
        (EventFilter { since: Some(Millis(3000)), ..all() }, vec![second]),
        (EventFilter { until: Some(Millis(3000)), ..all() }, vec![first]),
        (EventFilter { since: Some(Millis(2000)), until: Some(Millis(3001)), ..all() }, vec![second, first]),
    ] {
        assert_eq!(list(&rig, filter.clone()), expected, "{filter:?}");
    }
}

#[test]
fn find_wants_the_whole_id() {
    let rig = Rig::new(10, &["app"]);
    let id = rig.keep(event("x"), &["app"]).unwrap();
    assert_eq!(rig.buffer.find(id).unwrap().event.id, id);
    assert!(rig.buffer.find(EventId::new(Millis(id.at().0 + 1), id.seq())).is_none());
    assert!(rig.buffer.find(EventId::new(id.at(), id.seq() + 1)).is_none());
}
