//! Classes and order keys, as the events carry them.

use super::rig::{Rig, Sent};
use crate::event::{ByClass, OrderKey, Priority, TypePattern};
use crate::ingress::Priorities;
use crate::select::Selector;

#[tokio::test]
async fn an_event_has_the_class_of_its_type_and_the_key_of_its_route() {
    let types = |list: &[&str]| list.iter().map(|types| TypePattern::parse(types).unwrap()).collect();
    let rig = Rig::new(|settings| {
        settings.order_key = Some(Selector::parse("body:/customer").unwrap());
        settings.priorities = Priorities {
            by_type: ByClass::new(|class| match class {
                Priority::Critical => types(&["charge.dispute.*"]),
                Priority::Normal => types(&["charge.*"]),
                Priority::Bulk => Vec::new(),
            }),
            otherwise: Priority::Bulk,
        };
    });
    let sent = |id, event_type, body| {
        let more: &'static [(&str, &str)] = Box::leak(Box::new([("X-Event-Type", event_type)]));
        Sent { typed: false, more, body, ..Sent::event(id) }
    };
    for sent in [
        sent("e1", "charge.dispute.created", b"{\"customer\":\"c1\"}"),
        sent("e2", "charge.paid", b"{\"customer\":\"c2\"}"),
        sent("e3", "page", b"{\"customer\":\"c1\"}"),
        Sent { typed: false, ..Sent::event("e4") },
    ] {
        assert_eq!(rig.send(&sent).await.status, 200);
    }
    let mut taken = rig.take("app");
    taken.sort_by_key(|delivery| delivery.event.id);
    let turns: Vec<_> = taken.iter().map(|delivery| delivery.event.turn).collect();
    let key = |value| Some(OrderKey::new("hook", value));
    let found: Vec<_> = turns.iter().map(|turn| (turn.priority, turn.order_key)).collect();
    assert_eq!(
        found,
        [(Priority::Critical, key("c1")), (Priority::Normal, key("c2")), (Priority::Bulk, None)],
        "the other one of c1 waits"
    );
    assert_eq!(rig.hits("order_key"), 1, "one has no key");
    rig.deliver_in_flight("app", &taken);
    assert_eq!(rig.take("app")[0].event.turn.order_key, key("c1"));
}
