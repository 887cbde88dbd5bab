//! Every kind of challenge there is among the providers, and what a stranger makes of them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::verify::mac::{Hash, Mac};

const KEY: &[u8] = b"z3ZX4v7mAAUGykl3EcmkqbartmuW8VFOOzCloLx9Q45P0hLrFu";

/// A request to be answered.
struct Sent<'a> {
    method: &'a str,
    url: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
}

const NONE: Sent<'_> = Sent { method: "POST", url: "https://example.com/webhook", headers: &[], body: b"" };

fn get(url: &str) -> Sent<'_> {
    Sent { method: "GET", url, ..NONE }
}

fn post(body: &str) -> Sent<'_> {
    Sent { body: body.as_bytes(), ..NONE }
}

fn with<T>(sent: &Sent<'_>, look: impl FnOnce(&Message<'_>) -> T) -> T {
    let headers = Headers::from_pairs(sent.headers.iter().copied());
    let query = sent.url.split_once('?').map(|(_, query)| query);
    look(&Message {
        method: sent.method,
        path: "/webhook",
        query,
        url: sent.url,
        headers: &headers,
        body: sent.body,
    })
}

fn keys(settings: &[(&str, &str)]) -> Keys {
    let settings: BTreeMap<_, _> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
    Keys::new(Some(Zeroizing::new(KEY.to_vec())), settings)
}

fn compiled(specs: &[HandshakeSpec]) -> Handshakes {
    Handshakes::compile(specs).unwrap()
}

fn answer(challenges: &Challenges, stage: Stage, sent: &Sent<'_>) -> Option<(u16, String)> {
    let reply = with(sent, |message| challenges.of(message, stage).find_map(|it| it.answer(message)))?.0;
    Some((reply.status, String::from_utf8(reply.body).unwrap()))
}

fn unsigned(challenges: &Challenges, sent: &Sent<'_>) -> Option<(u16, String)> {
    answer(challenges, Stage::Unchecked, sent)
}

fn spec(method: &str, when: &[(&str, WhenSpec)]) -> HandshakeSpec {
    HandshakeSpec {
        methods: vec![method.to_owned()],
        when: when.iter().map(|(word, must)| ((*word).to_owned(), must.clone())).collect(),
        signed: Some(false),
        ..HandshakeSpec::default()
    }
}

fn is(text: &str) -> WhenSpec {
    WhenSpec::Is(vec![text.to_owned()])
}

const THERE: WhenSpec = WhenSpec::There(true);

fn crc() -> HandshakeSpec {
    HandshakeSpec {
        json: Some(json!({"response_token": "sha256={base64(hmac-sha256(query:crc_token))}"})),
        ..spec("GET", &[("query:crc_token", THERE)])
    }
}

fn verify_token() -> Vec<HandshakeSpec> {
    let token = ("query:hub.verify_token", is("{handshake:verify_token}"));
    vec![
        HandshakeSpec {
            text: Some("{query:hub.challenge}".to_owned()),
            ..spec("GET", &[("query:hub.mode", is("subscribe")), token])
        },
        HandshakeSpec { status: Some(403), ..spec("GET", &[("query:hub.mode", THERE)]) },
    ]
}

/// The gold vector of a challenge-response check, from an independent implementation.
#[test]
fn a_token_is_signed_with_the_routes_key() {
    let challenges = compiled(&[crc()]).bind(keys(&[]));
    let sent = get("https://example.com/webhook?crc_token=9b4507b3-9040-4669-9ca3-6b94edb50553");
    let expected =
        json!({"response_token": "sha256=Cytd4Sq+NvEcV3MMrXxWJGJx5A+y/lXzzU2Maartkx8="}).to_string();
    assert_eq!(unsigned(&challenges, &sent), Some((200, expected)));
    assert_eq!(unsigned(&challenges, &Sent { method: "POST", ..sent }), None);
}

#[test]
fn what_is_signed_for_strangers_is_no_event() {
    let challenges = compiled(&[crc()]).bind(keys(&[]));
    for token in [
        "{\"a\":1}",
        "%7B%22a%22%3A1%7D",
        "a%3Ab",
        "v0%3A1%3Ab",
        "a%20b",
        "a%0Ab",
        "%22",
        "a%26b",
        "a%2Cb",
        "%00",
        "%C3%A9",
        "",
        "1&crc_token=2",
    ] {
        let url = format!("https://example.com/webhook?crc_token={token}");
        assert_eq!(unsigned(&challenges, &get(&url)), None, "{token}");
    }
    let most = format!("https://example.com/webhook?crc_token={}", "a".repeat(128));
    assert!(unsigned(&challenges, &get(&most)).is_some());
    assert_eq!(unsigned(&challenges, &get(&format!("{most}a"))), None);
    // What passes is recognised when it comes back as a body.
    for body in ["a", "12345", "true", "aGk=", "1700000000.abc", ""] {
        assert!(challenges.could_hold(body.as_bytes()), "{body}");
        assert_eq!(challenges.could_have_signed(body.as_bytes()), !body.is_empty(), "{body}");
    }
    for body in ["{}", "[1]", "a b", "a:b", "\"a\"", &"a".repeat(129)] {
        assert!(!challenges.could_hold(body.as_bytes()), "{body}");
        assert!(!challenges.could_have_signed(body.as_bytes()), "{body}");
    }
    let echo = HandshakeSpec { text: Some("{query:c}".to_owned()), ..spec("GET", &[("query:c", THERE)]) };
    let echo = compiled(&[echo]).bind(keys(&[]));
    assert!(!echo.could_hold(b"a") && !echo.could_have_signed(b"a"), "an echo signs nothing");
}

/// What a challenge signs, of whatever words, is known again; what it does not sign is an event's business.
#[test]
fn whatever_a_challenge_signs_is_known_again() {
    let spec = HandshakeSpec {
        text: Some("{hex(hmac-sha256('v0:', query:c, '; ', handshake:token, query:d, endpoint))}".to_owned()),
        length: Some((2, 3)),
        ..spec("GET", &[("query:c", THERE)])
    };
    let challenges = compiled(&[spec]).bind(keys(&[("token", "secret")]));
    let signed = "v0:ab; secretxyzhttps://e.com/hook";
    let mut mac = Mac::new(Hash::Sha256, KEY).unwrap();
    mac.update(signed.as_bytes());
    let sent = get("https://e.com/hook?c=ab&d=xyz");
    assert_eq!(unsigned(&challenges, &sent), Some((200, hex::encode(mac.finish()))));
    for known in [signed, "v0:zzz; secret==http://other.example:8/a/b"] {
        assert!(challenges.could_have_signed(known.as_bytes()), "{known}");
    }
    for other in [
        "",
        "v0:ab; ",
        "v0:abcd; secretxyzhttps://e.com/hook",
        "v0:a; secretxyzhttps://e.com/hook",
        "v0:ab; secretx:zhttps://e.com/hook",
        "v0:ab; Secretxyzhttps://e.com/hook",
        "v0:ab; secretxyzhttps://e.com/hook?c=ab",
        "v0:ab; secretxyzhttps://e.com/a b",
        "v0:ab; secretxyzftp://e.com/hook",
    ] {
        assert!(!challenges.could_have_signed(other.as_bytes()), "{other}");
    }
}

/// The vector of Braintree's own library (`tests/unit/test_webhooks.py`); its key is the SHA-1 of the private key.
#[test]
fn a_narrower_charset_and_length_hold() {
    use sha1::{Digest, Sha1};
    let spec = HandshakeSpec {
        charset: Some("hex".to_owned()),
        length: Some((20, 32)),
        text: Some("{handshake:public_key}|{hex(hmac-sha1(query:bt_challenge))}".to_owned()),
        ..spec("GET", &[("query:bt_challenge", THERE)])
    };
    let settings = BTreeMap::from([("public_key".to_owned(), Secret::new("integration_public_key"))]);
    let key = Zeroizing::new(Sha1::digest(b"integration_private_key").to_vec());
    let challenges = compiled(&[spec]).bind(Keys::new(Some(key), settings));
    let ask = |challenge: &str| {
        unsigned(&challenges, &get(&format!("https://example.com/webhook?bt_challenge={challenge}")))
    };
    let expected = "integration_public_key|d9b899556c966b3f06945ec21311865d35df3ce4";
    assert_eq!(ask("20f9f8ed05f77439fe955c977e4c8a53"), Some((200, expected.to_owned())));
    for wrong in
        ["20f9f8ed05f77439fe9", "20f9f8ed05f77439fe955c977e4c8a530", "20F9F8ED05F77439FE955C977E4C8A53"]
    {
        assert_eq!(ask(wrong), None, "{wrong}");
    }
}

/// Inputs of eBay's own library (its test computes the hash itself).
#[test]
fn a_hash_of_challenge_setting_and_endpoint() {
    let spec = HandshakeSpec {
        json: Some(json!({"challengeResponse":
            "{hex(sha256(query:challenge_code, handshake:verification_token, endpoint))}"})),
        ..spec("GET", &[("query:challenge_code", THERE)])
    };
    let code = "71745723-d031-455c-bfa5-f90d11b4f20a";
    let challenges = compiled(&[spec]).bind(keys(&[("verification_token", code)]));
    let url = format!("http://www.testendpoint.com/webhook?challenge_code={code}");
    let expected =
        json!({"challengeResponse": "048de9ffd0e35021fefc0388d5c52e0f475324f582f3778ca81a53354ccbbc97"});
    assert_eq!(unsigned(&challenges, &get(&url)), Some((200, expected.to_string())));
}

#[test]
fn a_verify_token_is_compared_and_a_wrong_one_is_told_no() {
    let handshakes = compiled(&verify_token());
    assert_eq!(handshakes.settings(), ["verify_token"]);
    let challenges = handshakes.bind(keys(&[("verify_token", "meatyhamhock")]));
    let ask = |token: &str| {
        let url = format!(
            "https://example.com/?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}"
        );
        unsigned(&challenges, &get(&url))
    };
    assert_eq!(ask("meatyhamhock"), Some((200, "1158201444".to_owned())));
    assert_eq!(ask("meatyhamhoc"), Some((403, String::new())));
    assert_eq!(ask(""), Some((403, String::new())));
    // Without the setting nobody is told yes.
    let without = handshakes.bind(keys(&[]));
    let url = "https://example.com/?hub.mode=subscribe&hub.challenge=1&hub.verify_token=";
    assert_eq!(unsigned(&without, &get(url)), Some((403, String::new())));
    let guesses = get("https://example.com/?hub.mode=subscribe&hub.verify_token=x");
    assert!(with(&guesses, |m| challenges.of(m, Stage::Unchecked).next().unwrap().uses_secret()));
}

#[test]
fn echoes_in_text_headers_and_json() {
    let challenges = compiled(&[
        HandshakeSpec {
            headers: vec![("Content-Type".to_owned(), "text/plain".to_owned())],
            text: Some("{query:validationToken}".to_owned()),
            ..spec("POST", &[("query:validationToken", THERE)])
        },
        HandshakeSpec {
            headers: vec![("Validation-Token".to_owned(), "{header:Validation-Token}".to_owned())],
            ..spec("POST", &[("header:Validation-Token", THERE)])
        },
        HandshakeSpec {
            json: Some(json!({"challenge": "{body:/challenge}"})),
            ..spec("POST", &[("body:/challenge", THERE), ("body:/event", WhenSpec::There(false))])
        },
        HandshakeSpec {
            headers: vec![(
                "WebHook-Allowed-Origin".to_owned(),
                "{header:WebHook-Request-Origin}".to_owned(),
            )],
            ..spec("OPTIONS", &[("header:WebHook-Request-Origin", THERE)])
        },
        spec("HEAD", &[]),
    ])
    .bind(keys(&[]));
    let full = |sent: &Sent<'_>| {
        with(sent, |message| challenges.of(message, Stage::Unchecked).find_map(|it| it.answer(message)))
            .unwrap()
            .0
    };
    let token = full(&Sent { url: "https://example.com/webhook?validationToken=a%20b", ..NONE });
    assert_eq!((token.status, &token.body[..]), (200, &b"a b"[..]));
    assert_eq!(token.headers.get_all("content-type").collect::<Vec<_>>(), [b"text/plain"]);
    assert_eq!(token.headers.get("x-content-type-options"), Some(&b"nosniff"[..]));
    let header = full(&Sent { headers: &[("validation-token", "t1")], ..NONE });
    assert_eq!((header.headers.get("Validation-Token"), header.body.len()), (Some(&b"t1"[..]), 0));
    let monday = full(&post(r#"{"challenge":"3eZ\"b"}"#));
    assert_eq!(monday.body, br#"{"challenge":"3eZ\"b"}"#);
    assert_eq!(monday.headers.get("content-type"), Some(&b"application/json"[..]));
    assert_eq!(unsigned(&challenges, &post(r#"{"challenge":"x","event":{"type":"update"}}"#)), None);
    let options =
        Sent { method: "OPTIONS", headers: &[("WebHook-Request-Origin", "events.example")], ..NONE };
    assert_eq!(full(&options).headers.get("WebHook-Allowed-Origin"), Some(&b"events.example"[..]));
    assert_eq!(unsigned(&challenges, &Sent { method: "HEAD", ..NONE }), Some((200, String::new())));
    for sent in [post("{}"), get("https://example.com/webhook?validationToken=a"), post("")] {
        assert_eq!(unsigned(&challenges, &sent), None);
    }
    // Control characters are echoed to nobody.
    let line_end = Sent { url: "https://example.com/webhook?validationToken=a%0d%0aset-cookie:b", ..NONE };
    assert_eq!(unsigned(&challenges, &line_end), None);
}

#[test]
fn a_signed_one_is_answered_after_the_check_alone() {
    let ping = HandshakeSpec {
        signed: None,
        json: Some(json!({"type": 1})),
        ..spec("POST", &[("body:/type", is("1")), ("body:/event", WhenSpec::There(false))])
    };
    let challenges = compiled(&[ping]).bind(keys(&[]));
    let sent = post(r#"{"type":1}"#);
    assert_eq!(unsigned(&challenges, &sent), None);
    assert_eq!(answer(&challenges, Stage::Checked, &sent), Some((200, r#"{"type":1}"#.to_owned())));
    for other in [r#"{"type":2}"#, r#"{"type":1,"event":{}}"#, r#"{"type":1,"event":null}"#] {
        assert_eq!(answer(&challenges, Stage::Checked, &post(other)), None, "{other}");
    }
}

#[test]
fn a_secret_is_handed_over_only_if_it_looks_like_one() {
    let capture = HandshakeSpec {
        capture: Some("header:X-Hook-Secret".to_owned()),
        headers: vec![("X-Hook-Secret".to_owned(), "{header:X-Hook-Secret}".to_owned())],
        ..spec("POST", &[("header:X-Hook-Secret", THERE)])
    };
    let handshakes = compiled(&[capture]);
    assert!(handshakes.capture());
    let challenges = handshakes.bind(keys(&[]));
    let offer = |secret: &str| {
        let sent = Sent { headers: &[("X-Hook-Secret", secret)], ..NONE };
        with(&sent, |message| challenges.of(message, Stage::Unchecked).find_map(|it| it.answer(message)))
    };
    let secret = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81";
    let (reply, errands) = offer(secret).unwrap();
    assert_eq!(reply.headers.get("x-hook-secret"), Some(secret.as_bytes()));
    assert!(errands.capture.unwrap().matches(secret.as_bytes()));
    for wrong in ["short", "fifteen letters", "a b c d e f g h i j k l m", &"a".repeat(257)] {
        assert!(offer(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn a_confirmation_is_asked_of_the_providers_own_hosts_alone() {
    let confirm = HandshakeSpec {
        signed: None,
        confirm: Some(ConfirmSpec {
            url: "body:/SubscribeURL".to_owned(),
            hosts: vec!["sns.*.amazonaws.com".to_owned()],
        }),
        ..spec("POST", &[("body:/Type", is("SubscriptionConfirmation"))])
    };
    let challenges = compiled(&[confirm]).bind(keys(&[]));
    let asked = |url: &str| {
        let body = json!({"Type": "SubscriptionConfirmation", "SubscribeURL": url}).to_string();
        with(&post(&body), |message| {
            challenges
                .of(message, Stage::Checked)
                .find_map(|it| it.answer(message))
                .and_then(|(_, e)| e.confirm)
        })
    };
    let long =
        format!("https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token={}", "a".repeat(1000));
    for right in
        [long.as_str(), "https://sns.us-east-1.amazonaws.com:443/?Token=1", "https://sns.x.amazonaws.com/a"]
    {
        assert_eq!(asked(right).as_deref(), Some(right));
    }
    for wrong in [
        "http://sns.eu-west-1.amazonaws.com/",
        "https://sns.eu-west-1.amazonaws.com.evil.example/",
        "https://evil.example/?sns.eu-west-1.amazonaws.com/",
        "https://evil.example/sns.eu-west-1.amazonaws.com/",
        "https://sns.eu-west-1.amazonaws.com@evil.example/",
        "https://user@sns.eu-west-1.amazonaws.com/",
        "https://sns.a.b.amazonaws.com/",
        "https://sns..amazonaws.com/",
        "https://sns.amazonaws.com/",
        "https://xsns.eu-west-1.amazonaws.com/",
        "https://sns.eu-west-1.amazonaws.com:8443/",
        "https://sns.eu-west-1.amazonaws.com\\@evil.example/",
        "https://sns.eu-west-1.amazonaws.com#@evil.example/",
        "https://sns.eu-west-1.amazonaws.com/a b",
        "https://sns.eu-west-1.amazonaws.com/\r\nhost: x",
        "https://SNS.eu-west-1.amazonaws.com/",
        "https://169.254.169.254/",
        "https://sns.eu-west-1.amazonaws.com",
        "",
    ] {
        assert_eq!(asked(wrong), None, "{wrong}");
    }
}

#[test]
fn every_wrong_word_is_reported_at_once() {
    let wrong = HandshakeSpec {
        methods: vec!["GET".to_owned(), "DELETE".to_owned()],
        when: vec![("type".to_owned(), is("x"))],
        signed: None,
        status: Some(301),
        headers: vec![("a b".to_owned(), "x".to_owned())],
        text: Some("{challenge}".to_owned()),
        charset: Some("emoji".to_owned()),
        length: Some((3, 2)),
        capture: Some("secret".to_owned()),
        confirm: Some(ConfirmSpec {
            url: "body:/u".to_owned(),
            hosts: vec!["*.amazonaws.com".to_owned(), "*".to_owned()],
        }),
        json: None,
    };
    let keys: Vec<_> = Handshakes::compile(&[wrong]).unwrap_err().iter().map(|fault| fault.key).collect();
    for key in [
        "method",
        "when",
        "signed",
        "status",
        "headers",
        "text",
        "charset",
        "length",
        "capture",
        "confirm.host",
    ] {
        assert!(keys.contains(&&*format!("handshake.{key}")), "{key}: {keys:?}");
    }
    let faults = |spec: HandshakeSpec| Handshakes::compile(&[spec]).unwrap_err();
    assert_eq!(faults(spec("POST", &[]))[0].key, "handshake.when");
    assert_eq!(
        faults(HandshakeSpec { charset: Some("text".to_owned()), ..crc() })[0].key,
        "handshake.charset"
    );
    assert_eq!(faults(HandshakeSpec { length: Some((1, 129)), ..crc() })[0].key, "handshake.length");
    let both = HandshakeSpec { text: Some("a".to_owned()), ..crc() };
    assert_eq!(faults(both)[0].key, "handshake.text");
    let unsigned = HandshakeSpec {
        confirm: Some(ConfirmSpec { url: "body:/u".to_owned(), hosts: vec!["a.example.com".to_owned()] }),
        ..spec("POST", &[("body:/u", THERE)])
    };
    assert_eq!(faults(unsigned)[0].key, "handshake.confirm");
}

#[test]
fn keys_are_not_shown() {
    let challenges = compiled(&verify_token()).bind(keys(&[("verify_token", "meatyhamhock")]));
    let shown = format!("{challenges:?}");
    assert!(!shown.contains("meatyhamhock") && !shown.contains("z3ZX"), "{shown}");
}

proptest! {
    /// Whatever a stranger sends: nothing is signed but what the charset allows.
    #[test]
    fn no_request_gets_a_signature_over_other_characters(token in "\\PC*|[%0-9A-Fa-f&=+{}\":.a-z]{0,200}", body: Vec<u8>) {
        let challenges = compiled(&[crc()]).bind(keys(&[]));
        let url = format!("https://example.com/webhook?crc_token={token}");
        for method in ["GET", "POST"] {
            let sent = Sent { method, url: &url, headers: &[], body: &body };
            if unsigned(&challenges, &sent).is_some() {
                let value = with(&sent, |m| Selector::parse("query:crc_token").unwrap().extract(m)).unwrap();
                prop_assert!(challenges.could_have_signed(value.as_bytes()));
                let dangerous = value.contains(['{', '"', ':', ' ', '&', ',']);
                prop_assert!(!dangerous, "{}", value);
            }
        }
    }
}
