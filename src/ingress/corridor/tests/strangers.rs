//! Clients that are not on the route's list of addresses.

use std::sync::Arc;

use super::rig::{Rig, Sent, Wants, outcome, word};
use crate::ingress::Waived;
use crate::net::{AllowIps, IpList};

fn published() -> Arc<IpList> {
    let (none, date) = (String::new(), "2026-01-15".to_owned());
    Arc::new(IpList::new("acme", none.clone(), none, None, date, vec!["192.0.2.0/24".to_owned()]).unwrap())
}

fn rig(allow: AllowIps) -> Rig {
    Rig::with_routes(|routes| routes[0].allow_ips = Some(allow))
}

fn off_list(rig: &Rig) -> usize {
    let metrics = rig.metrics.encode();
    let line =
        metrics.lines().find_map(|line| line.strip_prefix("hooklatch_off_list_total{route=\"hook\"} "));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn in_shadow_mode_strangers_come_in_and_those_who_sign_right_are_counted() {
    let rig = rig(AllowIps { lists: vec![published()], shadow: true, ..AllowIps::default() });
    assert_eq!(outcome(&rig.send(&Sent::event("e1")).await), "accepted");
    let forged = rig.send(&Sent { tamper: true, ..Sent::event("e2") }).await;
    assert_eq!(word(&forged), "invalid_signature");
    assert_eq!(off_list(&rig), 1);
    let listed = Sent { peer: Wants::Tcp("192.0.2.7"), ..Sent::event("e3") };
    assert_eq!(outcome(&rig.send(&listed).await), "accepted");
    assert_eq!((off_list(&rig), rig.take("app").len()), (1, 2));
}

#[tokio::test]
async fn a_published_list_that_is_behind_shows_and_refuses_all_the_same() {
    let list = published();
    let rig = rig(AllowIps { lists: vec![Arc::clone(&list)], ..AllowIps::default() });
    for n in 0..5 {
        let reply = rig.send(&Sent::event(&format!("e{n}"))).await;
        assert_eq!((reply.status, word(&reply).as_str()), (403, "ip_not_allowed"));
    }
    // One a second is looked at; however slow this machine is, not each of them.
    let counted = off_list(&rig);
    assert!((1..5).contains(&counted), "{counted}");
    // What was looked at has its body: once the list is right, and not before, it can be let in.
    let rejected = rig.ingress.rejected();
    assert_eq!(rejected.len(), 5);
    let looked_at = rejected.iter().find(|rejected| rejected.body.is_some()).unwrap();
    assert!(rig.ingress.release(looked_at.id, Waived::default()).await.is_err());
    let published = ["192.0.2.0/24", "203.0.113.0/24"].map(str::to_owned);
    list.replace(published.to_vec(), "now".to_owned()).unwrap();
    assert!(rig.ingress.release(looked_at.id, Waived::default()).await.is_ok());
    assert_eq!(outcome(&rig.send(&Sent::event("e9")).await), "accepted", "without a reload");
}

#[tokio::test]
async fn a_forged_stranger_is_told_no_more_than_any_other() {
    let rig = rig(AllowIps { lists: vec![published()], ..AllowIps::default() });
    let reply = rig.send(&Sent { tamper: true, ..Sent::event("e1") }).await;
    assert_eq!((reply.status, word(&reply).as_str()), (403, "ip_not_allowed"));
    assert_eq!(off_list(&rig), 0);
}
