//! `rate` and `rate_per_ip`, on paused time.

use std::time::Duration;

use super::planned;
use super::rig::{Rig, Sent, Wants, json};
use crate::ingress::front::Plan;
use crate::ingress::{PathPattern, RouteSettings};

const LIMITED: &str = "429 rate_limited";

fn limited(rate: Option<&str>, per_ip: Option<&str>) -> impl Fn(&mut Vec<RouteSettings>) {
    move |routes| {
        routes[0].rate = rate.map(|rate| rate.parse().unwrap());
        routes[0].rate_per_ip = per_ip.map(|rate| rate.parse().unwrap());
    }
}

fn from(peer: &'static str) -> Sent<'static> {
    Sent { peer: Wants::Tcp(peer), ..Sent::event("e1") }
}

#[tokio::test(start_paused = true)]
async fn above_its_rate_a_route_refuses_before_it_looks_at_anything_else() {
    let rig = Rig::with_routes(|routes| {
        limited(Some("3/s"), None)(routes);
        routes.push(super::rig::proxy("app", PathPattern::Prefix(String::new())));
    });
    // A whole second's worth may come at once, signed or forged.
    for sent in [from("192.0.2.1"), Sent { sign: false, ..from("192.0.2.2") }, from("192.0.2.3")] {
        assert_eq!(planned(&rig, &sent), "webhook 1000");
    }
    let Plan::Refuse(reply) = rig.plan(&from("192.0.2.4")) else { panic!("let in") };
    assert_eq!((reply.status, json(&reply)["error"].as_str()), (429, Some("rate_limited")));
    assert_eq!(reply.headers.get("retry-after"), Some(&b"1"[..]));
    assert_eq!((rig.counted("rate_limited"), rig.hits("rate")), (1, 1));
    // A request that is none of the route's does not use it up, and the other route is another one.
    assert_eq!(planned(&rig, &Sent { method: "GET", ..from("192.0.2.1") }), "405 method_not_allowed");
    assert_eq!(planned(&rig, &Sent { target: "/else", ..from("192.0.2.1") }), "proxy 192.0.2.1 http");
    tokio::time::advance(Duration::from_millis(334)).await;
    assert_eq!(planned(&rig, &from("192.0.2.1")), "webhook 1000");
    assert_eq!(planned(&rig, &from("192.0.2.1")), LIMITED);
}

#[tokio::test(start_paused = true)]
async fn one_client_uses_up_its_own_rate_and_nobody_elses() {
    let rig = Rig::with_routes(limited(Some("10/h"), Some("2/m")));
    let noisy = from("192.0.2.1");
    for _ in 0..2 {
        assert_eq!(planned(&rig, &noisy), "webhook 1000");
    }
    for _ in 0..50 {
        assert_eq!(planned(&rig, &noisy), LIMITED);
    }
    let Plan::Refuse(reply) = rig.plan(&noisy) else { panic!("let in") };
    assert_eq!(reply.headers.get("retry-after"), Some(&b"30"[..]));
    assert_eq!((rig.hits("rate_per_ip"), rig.hits("rate")), (51, 0));
    // What was refused did not count against the route: eight more of the ten come.
    for n in 0..4 {
        let peer = ["192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8:0:1::1"][n];
        assert_eq!([planned(&rig, &from(peer)), planned(&rig, &from(peer))], ["webhook 1000"; 2], "{peer}");
    }
    assert_eq!(planned(&rig, &from("192.0.2.5")), LIMITED);
    assert_eq!(rig.hits("rate"), 1);
    // Behind a trusted proxy the client counts, not the proxy.
    tokio::time::advance(Duration::from_secs(3600)).await;
    for (client, expected) in [
        ("198.51.100.1", "webhook 1000"),
        ("198.51.100.2", "webhook 1000"),
        ("198.51.100.1", "webhook 1000"),
        ("198.51.100.1", LIMITED),
    ] {
        let forwarded = [("X-Forwarded-For", client)];
        assert_eq!(planned(&rig, &Sent { more: &forwarded, ..from("10.0.0.1") }), expected, "{client}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_does_not_give_back_what_was_used() {
    let rig = Rig::with_routes(limited(Some("2/h"), Some("1/h")));
    assert_eq!(planned(&rig, &from("192.0.2.1")), "webhook 1000");
    rig.apply_routes(limited(Some("2/h"), Some("1/h")));
    assert_eq!(planned(&rig, &from("192.0.2.1")), LIMITED, "its own is used up");
    assert_eq!(planned(&rig, &from("192.0.2.2")), "webhook 1000");
    assert_eq!(planned(&rig, &from("192.0.2.3")), LIMITED, "all of the route is used up");
    rig.apply_routes(limited(None, None));
    assert_eq!(planned(&rig, &from("192.0.2.1")), "webhook 1000");
}
