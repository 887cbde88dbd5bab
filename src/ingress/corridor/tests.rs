//! The whole corridor in one process: real signatures, dedupe and buffer; heads parsed as the lower half does it.

mod delivered;
mod fanout;
mod handshakes;
mod rates;
mod rejected;
mod rig;
mod strangers;
mod turns;

use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;

use super::*;
use crate::clock::Millis;
use crate::dedupe::Claimed;
use crate::event::Ack;
use crate::ingress::{PathPattern, Proof, ShadowSecrets};
use crate::select::Selector;
use rig::{Rig, Sent, Wants, json, only, outcome, word};

#[tokio::test]
async fn a_signed_request_is_kept_and_answered() {
    let rig = Rig::new(|_| {});
    let reply = rig.send(&Sent::event("e1")).await;
    assert_eq!((reply.status, outcome(&reply).as_str()), (200, "accepted"));
    let id = json(&reply)["id"].as_str().unwrap().to_owned();
    assert_eq!(reply.headers.get("hooklatch-id"), Some(id.as_bytes()));
    assert_eq!(json(&reply)["status"], "accepted");

    let [delivery] = &rig.take("app")[..] else { panic!("one event") };
    let event = &delivery.event;
    assert_eq!(event.id.to_string(), id);
    assert_eq!((&*event.route, event.provider.as_deref()), ("hook", Some("acme")));
    assert_eq!((event.event_id.as_deref(), event.event_type.as_deref()), (Some("e1"), Some("push")));
    assert_eq!((&*event.method, &*event.target), ("POST", "/hooks//%61cme?a=%20b"));
    assert_eq!(event.received_at, rig.clock.now());
    assert_eq!(event.event_time, Some(Millis(1_768_472_990_000)));
    assert_eq!((&*event.forwarded_for, event.forwarded_proto.as_str()), ("203.0.113.9", "http"));
    assert_eq!(&event.body[..], b"{\"a\":1}");
    assert_eq!(event.headers.get("host"), Some(&b"hooks.example"[..]));
    assert!(event.headers.get("x-sig").is_some() && event.headers.get("content-length").is_none());
    assert_eq!(rig.counted("accepted"), 1);
}

#[tokio::test]
async fn a_duplicate_is_answered_as_the_first_and_kept_once() {
    let rig = Rig::new(|_| {});
    let first = rig.send(&Sent::event("e1")).await;
    let again = rig.send(&Sent::event("e1")).await;
    assert_eq!((again.status, outcome(&again).as_str()), (200, "duplicate"));
    assert_eq!(again.body, first.body);
    assert_eq!(rig.take("app").len(), 1);
    rig.clock.advance(Duration::from_secs(3600));
    let later = rig.send(&Sent { signed_at: rig.clock.now(), ..Sent::event("e1") }).await;
    assert_eq!(outcome(&later), "accepted", "the ttl of an hour is over");
}

#[tokio::test]
async fn forged_and_stale_requests_are_refused_and_not_remembered() {
    let rig = Rig::new(|_| {});
    let mut forged = Sent::event("e1");
    forged.tamper = true;
    let stale = Sent { signed_at: rig.clock.now().minus(Duration::from_secs(301)), ..Sent::event("e1") };
    let early = Sent { signed_at: rig.clock.now().plus(Duration::from_secs(301)), ..Sent::event("e1") };
    let unsigned = Sent { sign: false, ..Sent::event("e1") };
    for (sent, error) in [
        (&forged, "invalid_signature"),
        (&stale, "timestamp_out_of_tolerance"),
        (&early, "timestamp_out_of_tolerance"),
        (&unsigned, "missing_signature"),
    ] {
        let reply = rig.send(sent).await;
        assert_eq!((reply.status, word(&reply).as_str()), (401, error));
        assert_eq!(json(&reply)["timestamp"], "2026-01-15T10:30:00Z");
        assert!(json(&reply)["request_id"].as_str().unwrap().starts_with("hl_"));
        assert!(rig.counted(error) > 0, "{error}");
    }
    assert_eq!((rig.take("app").len(), rig.dedupe.size().0, rig.dedupe.in_flight()), (0, 0, 0));
    assert_eq!(outcome(&rig.send(&Sent::event("e1")).await), "accepted");
}

#[tokio::test]
async fn an_event_without_an_id_is_refused_where_one_is_required() {
    let required = Rig::new(|settings| settings.dedupe.as_mut().unwrap().required = true);
    let reply = required.send(&Sent { id: None, ..Sent::event("") }).await;
    assert_eq!((reply.status, word(&reply).as_str()), (400, "missing_event_id"));
    assert_eq!(json(&reply)["field"], "x-event-id");
    let optional = Rig::new(|_| {});
    for _ in 0..2 {
        let reply = optional.send(&Sent { id: None, ..Sent::event("") }).await;
        assert_eq!(outcome(&reply), "accepted");
    }
    assert_eq!(optional.take("app").len(), 2);
    assert_eq!(optional.hits("dedupe.required"), 2);
}

#[tokio::test]
async fn the_bodys_digest_is_a_key_only_where_it_is_chosen() {
    let rig = Rig::new(|settings| {
        settings.dedupe.as_mut().unwrap().key = Selector::parse_dedupe("body:sha256").unwrap();
    });
    assert_eq!(outcome(&rig.send(&Sent::event("e1")).await), "accepted");
    assert_eq!(outcome(&rig.send(&Sent::event("e2")).await), "duplicate");
    let off = Rig::new(|settings| settings.dedupe = None);
    for _ in 0..2 {
        assert_eq!(outcome(&off.send(&Sent::event("e1")).await), "accepted");
    }
}

#[tokio::test]
async fn a_full_buffer_is_a_503_and_the_id_is_welcome_again() {
    let rig = Rig::with_room_for(2, |_| {});
    let mut refused = 0;
    for n in 0..4 {
        let reply = rig.send(&Sent::event(&format!("e{n}"))).await;
        if reply.status == 503 {
            refused += 1;
            assert_eq!(word(&reply), "buffer_full");
            assert_eq!(reply.headers.get("retry-after"), Some(&b"5"[..]));
        }
    }
    assert!(refused > 0 && refused < 4);
    assert_eq!(rig.dedupe.in_flight(), 0);
    assert_eq!(rig.counted("buffer_full"), refused);
    assert_eq!(rig.hits("buffer.max_bytes") + rig.hits("destination.max_pending"), refused);
    rig.deliver_all("app");
    assert_eq!(outcome(&rig.send(&Sent::event("e3")).await), "accepted");
}

#[tokio::test]
async fn a_stopping_gateway_says_so() {
    let rig = Rig::new(|_| {});
    rig.buffer.close();
    let reply = rig.send(&Sent::event("e1")).await;
    assert_eq!((reply.status, word(&reply).as_str()), (503, "shutting_down"));
    assert!(reply.headers.get("retry-after").is_some());
}

#[tokio::test]
async fn a_dead_event_that_comes_again_is_put_back() {
    let rig = Rig::new(|_| {});
    let first = rig.send(&Sent::event("e1")).await;
    rig.kill_all("app");
    assert!(rig.take("app").is_empty());
    let again = rig.send(&Sent::event("e1")).await;
    assert_eq!((outcome(&again).as_str(), &again.body), ("requeued", &first.body));
    assert_eq!(rig.take("app").len(), 1);
    assert_eq!(outcome(&rig.send(&Sent::event("e1")).await), "duplicate");
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_that_comes_in_between_waits_for_the_first_and_shares_its_result() {
    let rig = Rig::new(|_| {});
    for kept in [true, false] {
        let sent = Sent::event(if kept { "kept" } else { "lost" });
        let key = rig.dedupe.key("hook", if kept { b"kept" } else { b"lost" });
        let Claimed::New(claim) = rig.dedupe.claim(key, Duration::from_secs(3600)) else { panic!("free") };
        let second = rig.answer(&sent);
        tokio::pin!(second);
        assert!((&mut second).now_or_never().is_none(), "it waits");
        let id = EventId::new(rig.clock.now(), 77);
        if kept {
            claim.confirm(id, rig.clock.now())
        } else {
            drop(claim)
        }
        let reply = second.await;
        if kept {
            assert_eq!(outcome(&reply), "duplicate");
            assert_eq!(json(&reply)["id"], id.to_string());
        } else {
            assert_eq!((reply.status, word(&reply).as_str()), (503, "ack_timeout"));
            assert!(reply.headers.get("retry-after").is_some());
        }
    }
    assert!(rig.take("app").is_empty(), "a waiter never keeps by itself");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_ack_timeout() {
    let rig = Rig::new(|_| {});
    let key = rig.dedupe.key("hook", b"e1");
    let Claimed::New(claim) = rig.dedupe.claim(key, Duration::from_secs(3600)) else { panic!("free") };
    let begun = tokio::time::Instant::now();
    let reply = rig.send(&Sent::event("e1")).await;
    assert_eq!((reply.status, word(&reply).as_str()), (503, "ack_timeout"));
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(rig.hits("ack_timeout"), 1);
    drop(claim);
}

#[tokio::test]
async fn of_many_at_once_with_one_id_one_is_kept() {
    let rig = Rig::new(|_| {});
    let sent = Sent::event("e1");
    let replies = futures_util::future::join_all((0..20).map(|_| rig.answer(&sent))).await;
    let mut outcomes: Vec<_> = replies.iter().map(outcome).collect();
    outcomes.sort();
    assert_eq!(outcomes.iter().filter(|o| *o == "accepted").count(), 1);
    assert_eq!(outcomes.iter().filter(|o| *o == "duplicate").count(), 19);
    assert!(replies.iter().all(|reply| reply.body == replies[0].body));
    assert_eq!(rig.take("app").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_hangs_up_leaves_the_event_kept_and_remembered_or_neither() {
    for ack in [Ack::Memory, Ack::Delivered] {
        for (polls, apps_answer) in (0..4).flat_map(|polls| (0..=2).map(move |n| (polls, n))) {
            let rig = Rig::new(|settings| {
                settings.ack = ack;
                settings.deliver_to = vec!["app".into(), "other".into()];
            });
            let mut delivered = vec![0, 0];
            {
                let sent = Sent::event("e1");
                let answering = rig.answer(&sent);
                tokio::pin!(answering);
                for poll in 0..polls {
                    if (&mut answering).now_or_never().is_some() {
                        break;
                    }
                    if poll + 1 == polls && ack == Ack::Delivered {
                        for (lane, count) in
                            ["app", "other"].into_iter().zip(&mut delivered).take(apps_answer)
                        {
                            *count += rig.accept_express(lane);
                        }
                    }
                }
            }
            let case = format!("{ack:?}, dropped after {polls} polls, {apps_answer} apps had answered");
            assert_eq!(rig.dedupe.in_flight(), 0, "{case}");
            // Nobody waits for these: an app may see them all the same, but hooklatch has not promised anything.
            if ack == Ack::Delivered {
                let _ = (rig.drop_express("app"), rig.drop_express("other"));
            }
            let kept_before = rig.take("app").len();
            let remembered = rig.dedupe.size().0;
            if ack == Ack::Memory {
                assert_eq!(kept_before, remembered, "{case}");
            }
            let sent = Sent::event("e1");
            let again = rig.answer(&sent);
            tokio::pin!(again);
            let first_look = (&mut again).now_or_never();
            if ack == Ack::Delivered {
                for (lane, count) in ["app", "other"].into_iter().zip(&mut delivered) {
                    *count += rig.accept_express(lane);
                }
            }
            let reply = match first_look {
                Some(reply) => reply,
                None => again.await,
            };
            assert_eq!(outcome(&reply), if remembered == 1 { "duplicate" } else { "accepted" }, "{case}");
            match ack {
                Ack::Delivered => assert_eq!(delivered, [1, 1], "{case}"),
                _ => assert_eq!(kept_before + rig.take("app").len(), 1, "{case}"),
            }
        }
    }
}

#[tokio::test]
async fn the_answer_is_the_one_that_the_route_asks_for() {
    let rig = Rig::new(|settings| {
        settings.ack_status = 202;
        settings.ack_body = Some("<Response id='{id}'/>".to_owned());
    });
    let reply = rig.send(&Sent::event("e1")).await;
    let id = String::from_utf8(reply.headers.get("hooklatch-id").unwrap().to_vec()).unwrap();
    assert_eq!((reply.status, reply.body), (202, format!("<Response id='{id}'/>").into()));
    assert_eq!(reply.headers.get("content-type"), Some(&b"application/xml"[..]));
}

/// What [`Ingress::plan`] says to a request, in a word.
fn planned(rig: &Rig, sent: &Sent<'_>) -> String {
    match rig.plan(sent) {
        Plan::Webhook { max_body, .. } => format!("webhook {max_body}"),
        Plan::Proxy(passage) => {
            format!("proxy {} {}", passage.forwarded_for.unwrap_or_default(), passage.forwarded_proto)
        }
        Plan::Refuse(reply) => format!("{} {}", reply.status, word(&reply)),
    }
}

#[tokio::test]
async fn plans_follow_route_method_and_address() {
    let rig = Rig::with_routes(|routes| {
        routes.push(rig::proxy("app", PathPattern::Prefix(String::new())));
        routes[0].allow_ips = Some(only(["203.0.113.0/24", "198.51.100.7"]));
    });
    let webhook = Sent::event("e1");
    assert_eq!(planned(&rig, &webhook), "webhook 1000");
    assert_eq!(planned(&rig, &Sent { method: "GET", ..webhook }), "405 method_not_allowed");
    assert_eq!(planned(&rig, &Sent { target: "/hooks%2facme", ..webhook }), "404 unknown_route");
    assert_eq!(planned(&rig, &Sent { target: "http://other.example/hooks/acme", ..webhook }), "webhook 1000");
    assert_eq!(planned(&rig, &Sent { target: "http://x/Hooks/acme", ..webhook }), "404 unknown_route");
    assert_eq!(planned(&rig, &Sent { target: "/else", ..webhook }), "proxy 203.0.113.9 http");
    assert_eq!(planned(&rig, &Sent { peer: Wants::Tcp("192.0.2.1"), ..webhook }), "403 ip_not_allowed");
    assert_eq!(
        planned(&rig, &Sent { peer: Wants::Tcp("192.0.2.1"), method: "PUT", ..webhook }),
        "405 method_not_allowed"
    );
    assert_eq!(planned(&rig, &Sent { peer: Wants::Unix, ..webhook }), "403 ip_not_allowed");
    assert_eq!(planned(&rig, &Sent { peer: Wants::Unix, target: "/else", ..webhook }), "proxy  http");
    let behind = [("X-Forwarded-For", "6.6.6.6, 198.51.100.7"), ("X-Forwarded-Proto", "https")];
    let behind = Sent { peer: Wants::Tcp("10.0.0.1"), more: &behind, ..webhook };
    assert_eq!(planned(&rig, &behind), "webhook 1000");
    assert_eq!(planned(&rig, &Sent { target: "/else", ..behind }), "proxy 198.51.100.7 https");
    let forged = [("X-Forwarded-For", "198.51.100.7")];
    let forged = Sent { peer: Wants::Tcp("192.0.2.1"), more: &forged, ..webhook };
    assert_eq!(planned(&rig, &forged), "403 ip_not_allowed");
    let underscored = [("X_Sig", "1")];
    assert_eq!(planned(&rig, &Sent { more: &underscored, ..webhook }), "400 malformed_request");
    assert_eq!(
        planned(&rig, &Sent { more: &underscored, target: "/else", ..webhook }),
        "proxy 203.0.113.9 http"
    );
}

#[tokio::test]
async fn the_signed_url_is_the_routes_the_servers_or_the_requests() {
    for (own, server, proxied, url) in [
        (Some("https://pub.example/own"), Some("https://srv.example"), true, "https://pub.example/own"),
        (None, Some("https://srv.example/"), true, "https://srv.example/hooks//%61cme?a=%20b"),
        (None, None, true, "https://seen.example/hooks//%61cme?a=%20b"),
        (None, None, false, "http://hooks.example/hooks//%61cme?a=%20b"),
    ] {
        let rig = Rig::build(
            100,
            |settings| settings.public_url = own.map(str::to_owned),
            |_| {},
            |options| {
                options.public_url = server.map(str::to_owned);
            },
        );
        let more = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "seen.example")];
        let sent = Sent {
            peer: Wants::Tcp(if proxied { "10.0.0.1" } else { "203.0.113.9" }),
            more: &more,
            ..Sent::event("e")
        };
        let (head, peer, _) = rig.request(&sent);
        let Plan::Webhook { ticket, .. } = rig.ingress.plan(&head, peer) else { panic!("a webhook") };
        let Kind::Deliver(corridor) = &ticket.route.kind else { panic!("a webhook") };
        assert_eq!(event::public_url(corridor, &ticket.client, &head), url);
    }
}

#[tokio::test]
async fn faults_are_answered_counted_and_logged_before_and_after_routing() {
    let rig = Rig::new(|_| {});
    let peer = Peer::Tcp("203.0.113.9:1".parse().unwrap());
    let started = tokio::time::Instant::now();
    let at = At { peer, started, head: None, ticket: None };
    let reply = rig.ingress.refuse(Fault::Malformed("m"), at);
    assert_eq!((reply.status, reply.close, word(&reply).as_str()), (400, true, "malformed_request"));
    let (head, peer, _) = rig.request(&Sent::event("e1"));
    let Plan::Webhook { ticket, .. } = rig.ingress.plan(&head, peer) else { panic!("a webhook") };
    let at = At { peer, started, head: Some(&head), ticket: Some(&ticket) };
    assert_eq!(rig.ingress.refuse(Fault::BodyTooLarge(1000), at).status, 413);
    let metrics = rig.metrics.encode();
    assert!(
        metrics.contains("hooklatch_requests_total{outcome=\"malformed_request\",route=\"\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("hooklatch_requests_total{outcome=\"payload_too_large\",route=\"hook\"} 1"));
    let lines = rig.log_lines();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["outcome"], &lines[0]["client"]),
        (&"malformed_request".into(), &"203.0.113.9".into())
    );
    assert_eq!((&lines[1]["route"], &lines[1]["path"]), (&"hook".into(), &"/hooks//%61cme".into()));
}

#[tokio::test]
async fn every_request_leaves_one_line_without_body_and_query() {
    let rig = Rig::with_routes(|routes| routes.push(rig::proxy("app", PathPattern::Exact("/p".to_owned()))));
    rig.send(&Sent::event("e1")).await;
    rig.send(&Sent { tamper: true, ..Sent::event("e2") }).await;
    rig.send(&Sent { target: "/nowhere", ..Sent::event("e3") }).await;
    let (head, peer, _) = rig.request(&Sent { target: "/p", ..Sent::event("e4") });
    let Plan::Proxy(passage) = rig.ingress.plan(&head, peer) else { panic!("a pass-through") };
    rig.ingress.passed(&passage.ticket, &head, Passed { status: 201, received: 7, sent: 9, broken: false });
    let lines = rig.log_lines();
    let outcomes: Vec<_> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["accepted", "invalid_signature", "unknown_route", "passed"]);
    assert_eq!(
        (&lines[0]["event_id"], &lines[0]["event_type"], &lines[0]["bytes"]),
        (&"e1".into(), &"push".into(), &7.into())
    );
    assert_eq!(lines[1]["id"], Value::Null);
    assert_eq!((&lines[3]["status"], &lines[3]["route"]), (&201.into(), &"app".into()));
    let all = format!("{lines:?}");
    assert!(!all.contains("%20b") && !all.contains("\\\"a\\\":1"), "{all}");
}

#[tokio::test]
async fn a_reload_holds_for_the_next_head_and_not_for_requests_under_way() {
    let rig = Rig::new(|_| {});
    let sent = Sent::event("e1");
    let under_way = rig.answer(&sent);
    rig.apply(|settings| settings.ack_status = 201);
    assert_eq!(under_way.await.status, 200);
    assert_eq!(rig.send(&Sent::event("e2")).await.status, 201);
    assert_eq!(outcome(&rig.send(&sent).await), "duplicate", "a reload forgets no id");
    let equal = vec![
        rig::proxy("a", PathPattern::Prefix(String::new())),
        rig::proxy("b", PathPattern::Prefix(String::new())),
    ];
    assert!(rig.ingress.apply(rig.ingress.server(), equal).is_err());
    assert_eq!(rig.send(&Sent::event("e3")).await.status, 201, "the old routes go on");
}

#[tokio::test]
async fn routes_are_shown_as_they_are() {
    let rig = Rig::with_routes(|routes| routes.push(rig::proxy("app", PathPattern::Prefix(String::new()))));
    let routes = rig.ingress.routes();
    assert_eq!((&*routes[0].name, routes[0].path.as_str()), ("hook", "/hooks/acme"));
    let ActionView::Deliver(corridor) = &routes[0].action else { panic!("{:?}", routes[0].action) };
    assert_eq!((corridor.ack, corridor.proof, corridor.dedupe), (Ack::Memory, Proof::Verified, true));
    assert_eq!((&*routes[1].name, routes[1].path.as_str()), ("app", "/*"));
    assert!(
        matches!(&routes[1].action, ActionView::Proxy(to) if to == "http://127.0.0.1:9"),
        "{:?}",
        routes[1].action
    );
}

#[tokio::test]
async fn the_secret_that_verified_is_counted_by_its_name() {
    let rig = Rig::new(|_| {});
    rig.send(&Sent::event("e1")).await;
    rig.send(&Sent { tamper: true, ..Sent::event("e2") }).await;
    let metrics = rig.metrics.encode();
    assert!(
        metrics.contains("hooklatch_secret_hits_total{route=\"hook\",secret=\"current\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_secret_on_trial_is_counted_and_lets_nobody_in() {
    let rig = Rig::new(|settings| {
        settings.verifier = Some(Rig::other_verifier().into());
        settings.secret_names = vec!["other".into()];
        settings.shadow =
            Some(ShadowSecrets { verifier: Rig::verifier(), names: vec!["old".into(), "current".into()] });
    });
    let refused = rig.send(&Sent::event("e1")).await;
    assert_eq!((refused.status, word(&refused).as_str()), (401, "invalid_signature"));
    assert!(rig.take("app").is_empty());
    rig.send(&Sent { tamper: true, ..Sent::event("e1") }).await;
    let RouteView { action: ActionView::Deliver(view), .. } = &rig.ingress.routes()[0] else { panic!() };
    let seen: Vec<_> = view.secrets.iter().map(|s| (&*s.name, s.shadow, s.hits, s.last_match)).collect();
    let now = Some(rig.clock.now());
    assert_eq!(seen, [("other", false, 0, None), ("old", true, 0, None), ("current", true, 1, now)]);
    let hits = "hooklatch_secret_hits_total{route=\"hook\",secret=\"current\"} 1";
    assert!(rig.metrics.encode().contains(hits), "{}", rig.metrics.encode());
    // Accepted, it goes on counting under the same name.
    rig.apply(|settings| settings.shadow = None);
    assert_eq!(outcome(&rig.send(&Sent::event("e1")).await), "accepted");
    assert!(rig.metrics.encode().contains(&hits.replace("} 1", "} 2")), "{}", rig.metrics.encode());
}
