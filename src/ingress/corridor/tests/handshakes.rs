//! Challenges through the whole corridor.

use std::os::unix::fs::PermissionsExt;

use super::rig::{Rig, Sent, Wants, challenges, json, outcome, when, word};
use crate::ingress::Capture;
use crate::secret::Secret;
use crate::select::Selector;
use crate::verify::{ConfirmSpec, HandshakeSpec, Pin, WhenSpec};

const THERE: WhenSpec = WhenSpec::There(true);

fn is(text: &str) -> WhenSpec {
    WhenSpec::Is(vec![text.to_owned()])
}

fn echo() -> HandshakeSpec {
    HandshakeSpec {
        when: when(&[("body:/type", is("challenge"))]),
        text: Some("{body:/word}".to_owned()),
        ..HandshakeSpec::default()
    }
}

fn crc() -> HandshakeSpec {
    HandshakeSpec {
        methods: vec!["GET".to_owned()],
        when: when(&[("query:crc", THERE)]),
        signed: Some(false),
        text: Some("{hex(hmac-sha256(query:crc))}".to_owned()),
        ..HandshakeSpec::default()
    }
}

/// A route that takes GET for challenges.
fn rig(specs: &[HandshakeSpec]) -> Rig {
    Rig::build(
        100,
        |settings| {
            settings.challenges = challenges(specs);
            settings.challenge_methods = vec!["GET".to_owned()];
        },
        |routes| routes[0].methods = Some(vec!["POST".to_owned(), "GET".to_owned()]),
        |_| {},
    )
}

fn get(target: &str) -> Sent<'_> {
    Sent { method: "GET", target, sign: false, body: b"", ..Sent::event("e1") }
}

#[tokio::test]
async fn a_providers_challenge_is_answered_once_it_verified() {
    let rig = rig(&[echo()]);
    let challenge = Sent { body: b"{\"type\":\"challenge\",\"word\":\"abc\"}", ..Sent::event("e1") };
    let reply = rig.send(&challenge).await;
    assert_eq!((reply.status, &reply.body[..]), (200, &b"abc"[..]));
    assert_eq!(reply.headers.get("x-content-type-options"), Some(&b"nosniff"[..]));
    assert_eq!(rig.counted("handshake"), 1);
    let forged = rig.send(&Sent { tamper: true, ..challenge }).await;
    assert_eq!(word(&forged), "invalid_signature");
    assert!(rig.take("app").is_empty());
}

#[tokio::test]
async fn a_method_that_is_there_for_challenges_brings_no_event() {
    let rig = rig(&[crc()]);
    let reply = rig.send(&get("/hooks/acme?crc=abc")).await;
    assert_eq!((reply.status, reply.body.len()), (200, 64));
    for target in ["/hooks/acme", "/hooks/acme?crc=a%20b"] {
        let reply = rig.send(&get(target)).await;
        assert_eq!((reply.status, word(&reply).as_str()), (405, "method_not_allowed"), "{target}");
        assert_eq!(reply.headers.get("allow"), Some(&b"POST"[..]));
    }
    let signed = rig.send(&Sent { sign: true, ..get("/hooks/acme") }).await;
    assert_eq!(signed.status, 405, "not even a signed one");
    assert_eq!(outcome(&rig.send(&Sent::event("e2")).await), "accepted");
}

/// A stranger has a text signed and sends it as an event.
#[tokio::test]
async fn a_signature_got_by_a_challenge_is_worth_nothing() {
    let rig = rig(&[crc()]);
    let seconds = rig.clock.now().seconds().to_string();
    let wanted = format!("/hooks/acme?crc={seconds}.12345");
    let stolen = rig.send(&get(&wanted)).await;
    assert_eq!(stolen.status, 200);
    let signature = std::str::from_utf8(&stolen.body).unwrap();
    let forged = Sent {
        body: b"12345",
        sign: false,
        more: &[("X-Sig", signature), ("X-Time", &seconds)],
        ..Sent::event("e1")
    };
    let reply = rig.send(&forged).await;
    assert_eq!((reply.status, word(&reply).as_str()), (401, "invalid_signature"));
    assert!(json(&reply)["message"].as_str().unwrap().contains("challenge"), "{reply:?}");
    assert!(rig.take("app").is_empty());
}

#[tokio::test]
async fn guesses_and_signatures_are_few() {
    let token =
        HandshakeSpec { when: when(&[("query:token", is("{handshake:verify_token}"))]), text: None, ..crc() };
    for spec in [crc(), token] {
        let rig = rig(&[spec]);
        let mut statuses = Vec::new();
        for n in 0..40 {
            let target = format!("/hooks/acme?crc=a{n}&token=guess{n}");
            statuses.push(rig.send(&get(&target)).await.status);
        }
        let refused = statuses.iter().filter(|status| **status == 429).count();
        // 30 at once, and what comes back while the test runs.
        assert!((5..=10).contains(&refused) && statuses[0] != 429, "{statuses:?}");
        assert_eq!(rig.hits("handshake"), refused as u64);
        assert_eq!(outcome(&rig.send(&Sent::event("e1")).await), "accepted", "events are not held up");
        // Nor is the provider's own challenge, which comes from another address.
        let provider = get("/hooks/acme?crc=abc&token=guess");
        let reply = rig.send(&Sent { peer: Wants::Tcp("198.51.100.4"), ..provider }).await;
        assert_ne!(reply.status, 429, "{reply:?}");
    }
}

#[tokio::test]
async fn the_first_secret_is_kept_and_no_other_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("captured/hook");
    let spec = HandshakeSpec {
        when: when(&[("header:x-hook-secret", THERE)]),
        signed: Some(false),
        headers: vec![("X-Hook-Secret".to_owned(), "{header:x-hook-secret}".to_owned())],
        capture: Some("header:x-hook-secret".to_owned()),
        ..HandshakeSpec::default()
    };
    let rig = Rig::new(|settings| settings.challenges = challenges(std::slice::from_ref(&spec)));
    let secret = "b537207f20cbfa02357cf448134da559";
    let offer = Sent { sign: false, body: b"", more: &[("X-Hook-Secret", secret)], ..Sent::event("e1") };
    assert_eq!(rig.send(&offer).await.status, 401, "this route does not wait for one");

    let until = rig.clock.now().plus(std::time::Duration::from_secs(60));
    let wait = |until| {
        let capture = Capture { file: file.clone(), until };
        rig.apply(|settings| {
            settings.challenges = challenges(std::slice::from_ref(&spec));
            settings.capture = Some(capture);
        });
    };
    wait(rig.clock.now().minus(std::time::Duration::from_secs(1)));
    assert_eq!(rig.send(&offer).await.status, 401, "the time is over");
    assert!(!file.exists());

    wait(until);
    let reply = rig.send(&offer).await;
    assert_eq!((reply.status, reply.headers.get("x-hook-secret")), (200, Some(secret.as_bytes())));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let second = Sent { more: &[("X-Hook-Secret", "another secret of a stranger")], ..offer };
    let second = Sent { more: &[("X-Hook-Secret", "another-secret-of-a-stranger")], ..second };
    let reply = rig.send(&second).await;
    assert_eq!((reply.status, word(&reply).as_str()), (401, "invalid_signature"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
    assert!(!format!("{:?}", rig.log_lines()).contains(secret));
}

/// A provider that signs for all its customers with one key: what it signed for another one is not ours.
#[tokio::test]
async fn a_request_for_another_customer_is_refused_be_it_event_or_challenge() {
    let pin = Pin {
        shown: "body:/topic".into(),
        at: Selector::parse("body:/topic").unwrap(),
        setting: "topic_arn".into(),
    };
    let rig = Rig::new(|settings| {
        settings.pins = vec![(pin, Secret::new("arn:ours"))];
        settings.challenges = challenges(&[echo()]);
    });
    for body in [
        &b"{\"topic\":\"arn:theirs\"}"[..],
        b"{\"topic\":\"\"}",
        b"{}",
        b"{\"type\":\"challenge\",\"word\":\"abc\",\"topic\":\"arn:theirs\"}",
    ] {
        let reply = rig.send(&Sent { body, ..Sent::event("e1") }).await;
        assert_eq!((reply.status, word(&reply).as_str()), (401, "invalid_signature"));
        assert_eq!(json(&reply)["field"], "body:/topic");
    }
    let explained = rig.ingress.explain(rig.ingress.rejected()[0].id, &[]).unwrap().explanation.unwrap();
    assert_eq!(explained.causes[0].kind.as_str(), "other_recipient");
    assert!(explained.refusal.is_some() && !explained.causes[0].message.contains("arn:"), "{explained:?}");
    let ours = b"{\"topic\":\"arn:ours\"}";
    assert_eq!(outcome(&rig.send(&Sent { body: ours, ..Sent::event("e1") }).await), "accepted");
}

#[tokio::test]
async fn a_confirmation_is_queued_and_a_full_queue_says_so() {
    let spec = HandshakeSpec {
        when: when(&[("body:/Type", is("SubscriptionConfirmation"))]),
        confirm: Some(ConfirmSpec {
            url: "body:/SubscribeURL".to_owned(),
            hosts: vec!["sns.*.amazonaws.com".to_owned()],
        }),
        ..HandshakeSpec::default()
    };
    let rig = Rig::new(|settings| settings.challenges = challenges(&[spec]));
    let body = br#"{"Type":"SubscriptionConfirmation","SubscribeURL":"https://sns.eu-west-1.amazonaws.com/?Token=1"}"#;
    let sent = Sent { body, ..Sent::event("e1") };
    assert_eq!(rig.send(&Sent { tamper: true, ..sent }).await.status, 401);
    let statuses =
        [rig.send(&sent).await, rig.send(&sent).await, rig.send(&sent).await].map(|reply| reply.status);
    assert_eq!(statuses, [200, 200, 503]);
    let first = rig.confirmations.lock().try_recv().unwrap();
    assert_eq!(
        (&*first.route, first.address.as_str()),
        ("hook", "https://sns.eu-west-1.amazonaws.com/?Token=1")
    );
    assert!(rig.take("app").is_empty());
}
