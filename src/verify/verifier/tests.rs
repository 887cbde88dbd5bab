use std::time::Duration;

use proptest::prelude::*;

use super::super::{SchemeSpec, SignatureSpec, TimestampSpec};
use super::*;
use crate::headers::Headers;

const NOW: Millis = Millis(1_700_000_000_000);

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// `sha256=HEX` in `X-Sig` over the body.
fn plain() -> SchemeSpec {
    SchemeSpec {
        algorithm: "hmac-sha256".to_owned(),
        signature: SignatureSpec {
            headers: vec!["X-Sig".to_owned()],
            prefix: text("sha256="),
            ..Default::default()
        },
        ..Default::default()
    }
}

/// `t=SECONDS,v1=HEX` in `X-Sig` over time and body.
fn list() -> SchemeSpec {
    let mut spec = plain();
    spec.signature.prefix = None;
    spec.signature.format = text("list");
    spec.signature.keys = vec!["v1".to_owned()];
    spec.timestamp = Some(TimestampSpec { key: text("t"), ..Default::default() });
    spec.signed = text("{timestamp}.{body}");
    spec
}

/// `v1,BASE64` in `X-Sig` over id, time and body.
fn versioned() -> SchemeSpec {
    let mut spec = plain();
    spec.signature.prefix = None;
    spec.signature.format = text("versioned");
    spec.signature.version = text("v1");
    spec.signature.encoding = text("base64");
    spec.timestamp = Some(TimestampSpec { header: text("X-Ts"), ..Default::default() });
    spec.id = text("header:X-Id");
    spec.signed = text("{id}.{timestamp}.{body}");
    spec
}

/// Base64 in `X-Sig` over URL and form, or URL alone where it holds the body's digest.
fn url_and_form() -> SchemeSpec {
    let mut spec = plain();
    spec.algorithm = "hmac-sha1".to_owned();
    spec.signature.prefix = None;
    spec.signature.encoding = text("base64");
    spec.signed = text("{url}{form_sorted}");
    spec.body_digest = text("query:digest");
    spec
}

fn clear(algorithm: &str, prefix: Option<&str>) -> SchemeSpec {
    let mut spec = plain();
    spec.algorithm = algorithm.to_owned();
    spec.signature.prefix = prefix.map(str::to_owned);
    spec
}

fn named(secrets: &[&str]) -> Vec<NamedSecret> {
    secrets
        .iter()
        .enumerate()
        .map(|(i, secret)| NamedSecret { name: (i + 1).to_string().into(), secret: Secret::new(*secret) })
        .collect()
}

fn verifier(spec: &SchemeSpec, secrets: &[&str]) -> Verifier {
    Verifier::new(Arc::new(Scheme::compile(spec).unwrap()), &named(secrets)).unwrap()
}

fn message<'a>(headers: &'a Headers, body: &'a [u8]) -> Message<'a> {
    Message { method: "POST", path: "/hook", query: None, url: "https://example.com/hook", headers, body }
}

/// The headers that `secret`'s owner would send with `body` at [`NOW`].
fn signed(spec: &SchemeSpec, secret: &str, body: &[u8]) -> Headers {
    verifier(spec, &[secret]).sign(&message(&Headers::default(), body), "msg_1", NOW).unwrap()
}

fn check(spec: &SchemeSpec, secrets: &[&str], headers: &Headers, body: &[u8]) -> Result<Verified, Refusal> {
    verifier(spec, secrets).verify(&message(headers, body), NOW)
}

fn header(headers: &Headers, name: &str) -> String {
    String::from_utf8(headers.get(name).unwrap().to_vec()).unwrap()
}

fn refused(result: Result<Verified, Refusal>) -> (RefusalKind, String, String) {
    let refusal = result.unwrap_err();
    (refusal.kind, refusal.field.unwrap_or_default(), refusal.message)
}

#[test]
fn any_of_several_secrets_verifies_and_is_named_by_its_position() {
    for spec in [plain(), list(), versioned(), url_and_form()] {
        let headers = signed(&spec, "new", b"a=1&b=2");
        let verified = check(&spec, &["old", "new", "newer"], &headers, b"a=1&b=2").unwrap();
        assert_eq!(verified.secret, 1);
        assert_eq!(verified.timestamp, spec.timestamp.as_ref().map(|_| NOW));
        let (kind, field, _) = refused(check(&spec, &["old"], &headers, b"a=1&b=2"));
        assert_eq!((kind, field.as_str()), (RefusalKind::InvalidSignature, "X-Sig"));
        let (kind, ..) = refused(check(&spec, &["new"], &headers, b"a=1&b=3"));
        assert_eq!(kind, RefusalKind::InvalidSignature);
    }
}

#[test]
fn a_missing_signature_is_told_from_a_wrong_one() {
    let sent = |pairs: &[(&str, &str)]| {
        refused(check(&plain(), &["s"], &Headers::from_pairs(pairs.iter().copied()), b"body"))
    };
    let (kind, field, message) = sent(&[]);
    assert_eq!((kind, field.as_str()), (RefusalKind::MissingSignature, "X-Sig"));
    assert_eq!(message, "The header X-Sig is missing.");
    let (kind, _, message) = sent(&[("x-sig", "foo")]);
    assert_eq!(kind, RefusalKind::InvalidSignature);
    assert_eq!(message, "The signature in X-Sig is not written as \"sha256=\" and hex.");
    let (kind, _, message) = sent(&[("x-sig", "sha256=00ff")]);
    assert_eq!(kind, RefusalKind::InvalidSignature);
    assert_eq!(message, "No secret of this route reproduces the signature in X-Sig.");
    let (kind, _, message) = sent(&[("x-sig", "sha256=00"), ("X-Sig", "sha256=01")]);
    assert_eq!(kind, RefusalKind::InvalidSignature);
    assert!(message.contains("more than once"), "{message}");

    let no_v1 = Headers::from_pairs([("x-sig", "t=1700000000,v0=00")]);
    let (kind, _, message) = refused(check(&list(), &["s"], &no_v1, b"body"));
    assert_eq!(kind, RefusalKind::MissingSignature, "{message}");
}

#[test]
fn no_answer_tells_the_right_signature() {
    for spec in [plain(), list(), versioned(), url_and_form(), clear("token", None)] {
        let right = signed(&spec, "s", b"body");
        let value = header(&right, "x-sig");
        let secret_part = value.rsplit(['=', ',']).find(|part| part.len() > 10).unwrap_or("s=").to_owned();
        for sent in ["", "x", "sha256=00", "v1,AA==", "t=1700000000,v1=00"] {
            let headers = Headers::from_pairs([("X-Sig", sent), ("X-Ts", "1700000000"), ("X-Id", "msg_1")]);
            let (_, _, message) = refused(check(&spec, &["s"], &headers, b"body"));
            assert!(!message.contains(&secret_part), "{message}");
        }
    }
}

#[test]
fn a_truncated_or_empty_signature_is_refused() {
    let value = header(&signed(&plain(), "s", b"body"), "x-sig");
    for length in 0..value.len() {
        let headers = Headers::from_pairs([("X-Sig", &value[..length])]);
        assert!(check(&plain(), &["s"], &headers, b"body").is_err(), "{length}");
    }
    let headers = Headers::from_pairs([("X-Sig", format!("{value}00"))]);
    assert!(check(&plain(), &["s"], &headers, b"body").is_err());
}

#[test]
fn the_time_may_be_off_both_ways_up_to_the_tolerance() {
    let at = |now: Millis| {
        let headers = signed(&list(), "s", b"body");
        verifier(&list(), &["s"]).verify(&message(&headers, b"body"), now)
    };
    let tolerance = Duration::from_secs(300);
    let beyond = Duration::from_millis(300_001);
    assert_eq!(at(NOW.plus(tolerance)).unwrap().timestamp, Some(NOW));
    assert_eq!(at(NOW.minus(tolerance)).unwrap().timestamp, Some(NOW));
    let (kind, field, message) = refused(at(NOW.plus(beyond)));
    assert_eq!((kind, field.as_str()), (RefusalKind::TimestampOutOfTolerance, "t"));
    assert!(message.contains("lies 301s behind this server's clock; 5m are allowed"), "{message}");
    let (_, _, message) = refused(at(NOW.minus(beyond)));
    assert!(message.contains("301s ahead of this server's clock"), "{message}");
}

#[test]
fn how_far_a_time_is_off_is_told_in_a_unit_that_fits() {
    let seconds = |s: u64, ms: u64| Duration::from_millis(s * 1000 + ms);
    for (off, shown) in [
        (seconds(300, 1), "301s"),
        (seconds(3600, 0), "1h"),
        (seconds(3600, 417), "61m"),
        (seconds(7200, 1), "121m"),
        (seconds(50 * 3600, 0), "50h"),
        (seconds(50 * 3600, 1), "51h"),
        (seconds(1_700_000_000, 0), "19676d"),
    ] {
        let headers = signed(&list(), "s", b"body");
        let result = verifier(&list(), &["s"]).verify(&message(&headers, b"body"), NOW.plus(off));
        let (_, _, message) = refused(result);
        assert!(message.contains(&format!("lies {shown} behind")), "{off:?}: {message}");
    }
}

#[test]
fn only_who_signed_right_is_told_of_the_clock() {
    let headers = signed(&list(), "wrong", b"body");
    let late = NOW.plus(Duration::from_secs(3600));
    let (kind, _, message) = refused(verifier(&list(), &["s"]).verify(&message(&headers, b"body"), late));
    assert_eq!(kind, RefusalKind::InvalidSignature);
    assert!(!message.contains("clock"), "{message}");
}

#[test]
fn a_time_is_signed_verbatim_and_must_be_one() {
    for (sent, verifies) in [("1700000000", true), ("01700000000", true), ("1.7e9", false), ("soon", false)] {
        let mut mac = Mac::new(super::super::key::Hash::Sha256, b"s").unwrap();
        mac.update(format!("{sent}.body").as_bytes());
        let value = format!("t={sent},v1={}", hex::encode(mac.finish()));
        let result = check(&list(), &["s"], &Headers::from_pairs([("X-Sig", value)]), b"body");
        if verifies {
            assert_eq!(result.unwrap().timestamp, Some(NOW), "{sent}");
        } else {
            let (kind, _, message) = refused(result);
            assert_eq!(kind, RefusalKind::TimestampOutOfTolerance, "{sent}");
            assert!(message.contains("is not a UNIX time in seconds"), "{message}");
        }
    }
}

#[test]
fn whatever_is_signed_must_be_there_once() {
    let right = signed(&versioned(), "s", b"body");
    let without = |name: &str| {
        Headers::from_pairs(right.iter().filter(|(n, _)| !n.eq_ignore_ascii_case(name.as_bytes())))
    };
    for (name, field) in [("x-ts", "X-Ts"), ("x-id", "x-id"), ("x-sig", "X-Sig")] {
        let (kind, at, message) = refused(check(&versioned(), &["s"], &without(name), b"body"));
        assert_eq!((kind, at.as_str()), (RefusalKind::MissingSignature, field), "{message}");
    }
    let twice = Headers::from_pairs(right.iter().chain([(&b"X-Ts"[..], &b"1700000001"[..])]));
    assert_eq!(refused(check(&versioned(), &["s"], &twice, b"body")).0, RefusalKind::InvalidSignature);

    let mut spec = plain();
    spec.signed = text("{header:X-Topic}{body}");
    let (kind, at, _) = refused(check(&spec, &["s"], &Headers::from_pairs([("X-Sig", "sha256=00")]), b""));
    assert_eq!((kind, at.as_str()), (RefusalKind::MissingSignature, "X-Topic"));
    let twice = Headers::from_pairs([("X-Sig", "sha256=00"), ("X-Topic", "a"), ("X-Topic", "b")]);
    assert_eq!(refused(check(&spec, &["s"], &twice, b"")).0, RefusalKind::InvalidSignature);
}

#[test]
fn the_time_in_a_list_must_stand_there_once() {
    let value = header(&signed(&list(), "s", b"body"), "x-sig");
    let twice = Headers::from_pairs([("X-Sig", format!("{value},t=1"))]);
    assert_eq!(refused(check(&list(), &["s"], &twice, b"body")).0, RefusalKind::MissingSignature);
    let same = Headers::from_pairs([("X-Sig", format!("{value},t=1700000000"))]);
    assert!(check(&list(), &["s"], &same, b"body").is_ok());
}

#[test]
fn any_signature_of_a_list_may_match_up_to_the_limit() {
    let value = header(&signed(&list(), "s", b"body"), "x-sig");
    let (time, right) = value.split_once(',').unwrap();
    let with_wrong = |count: usize| {
        let wrong = format!("v1={}", "00".repeat(32));
        let items: Vec<&str> =
            [time].into_iter().chain(std::iter::repeat_n(wrong.as_str(), count)).chain([right]).collect();
        check(&list(), &["s"], &Headers::from_pairs([("X-Sig", items.join(","))]), b"body")
    };
    let first = format!("{value},v1={},v1=?", "00".repeat(32));
    assert!(check(&list(), &["s"], &Headers::from_pairs([("X-Sig", first)]), b"body").is_ok());
    assert!(with_wrong(1).is_ok());
    assert!(with_wrong(15).is_ok());
    assert!(with_wrong(16).is_err());
}

#[test]
fn of_alternative_headers_the_first_that_is_there_counts() {
    let mut spec = plain();
    spec.signature.headers = vec!["X-New".to_owned(), "X-Old".to_owned()];
    let right = header(&signed(&spec, "s", b"body"), "x-new");
    let sent =
        |pairs: &[(&str, &str)]| check(&spec, &["s"], &Headers::from_pairs(pairs.iter().copied()), b"body");
    assert!(sent(&[("X-Old", &right)]).is_ok());
    assert!(sent(&[("X-Old", "sha256=00"), ("X-New", &right)]).is_ok());
    assert!(sent(&[("X-New", "sha256=00"), ("X-Old", &right)]).is_err());
    assert_eq!(refused(sent(&[])).1, "X-New");
}

#[test]
fn a_digest_takes_the_forms_place_only_in_the_url_that_was_signed() {
    let spec = url_and_form();
    let body = br#"{"a":1}"#;
    let digest = hex::encode(Sha256::digest(body));
    let url = format!("https://example.com/hook?digest={digest}");
    let none = Headers::default();
    let with_url = |url, headers, body| Message { url, ..message(headers, body) };
    let headers = verifier(&spec, &["s"]).sign(&with_url(&url, &none, body), "", NOW).unwrap();
    let check = |message: Message<'_>| verifier(&spec, &["s"]).verify(&message, NOW);
    assert!(check(with_url(&url, &headers, body)).is_ok());
    let (kind, field, _) = refused(check(with_url(&url, &headers, br#"{"a":2}"#)));
    assert_eq!((kind, field.as_str()), (RefusalKind::InvalidSignature, "digest"));

    // A signature of the bare URL, seen on a request without a body, must not cover a body of the attacker's: neither
    // as it is nor with a digest in a query that nobody signed.
    let bare = signed(&spec, "s", b"");
    assert!(check(message(&bare, b"")).is_ok());
    assert!(check(message(&bare, body)).is_err());
    let query = format!("digest={digest}");
    assert!(check(Message { query: Some(&query), ..message(&bare, body) }).is_err());
}

#[test]
fn a_port_counts_unless_the_scheme_says_otherwise() {
    let mut spec = url_and_form();
    let verifies = |spec: &SchemeSpec, signed_url: &str, url: &str| {
        let none = Headers::default();
        let verifier = verifier(spec, &["s"]);
        let headers = verifier.sign(&Message { url: signed_url, ..message(&none, b"") }, "", NOW).unwrap();
        verifier.verify(&Message { url, ..message(&headers, b"") }, NOW).is_ok()
    };
    let (bare, port) = ("https://example.com/hook", "https://example.com:443/hook");
    assert!(!verifies(&spec, port, bare) && !verifies(&spec, bare, port) && verifies(&spec, port, port));
    spec.url_port = text("any");
    assert!(verifies(&spec, port, bare) && verifies(&spec, bare, port) && verifies(&spec, port, port));
    assert!(!verifies(&spec, "https://example.com:8443/hook", bare));
}

#[test]
fn a_form_of_too_many_parameters_is_refused_unsorted() {
    let body = "a&".repeat(MAX_FORM_FIELDS + 1);
    let headers = Headers::from_pairs([("X-Sig", "AAAA")]);
    let (kind, _, message) = refused(check(&url_and_form(), &["s"], &headers, body.as_bytes()));
    assert_eq!(kind, RefusalKind::InvalidSignature);
    assert!(message.contains("more than 1000"), "{message}");
}

#[test]
fn a_token_is_compared_whole() {
    let spec = clear("token", Some("Bearer "));
    let sent = |value: &str| check(&spec, &["one", "two"], &Headers::from_pairs([("X-Sig", value)]), b"");
    assert_eq!(sent("Bearer two").unwrap(), Verified { secret: 1, timestamp: None });
    for value in ["Bearer tw", "Bearer twoo", "Bearer", "two", "bearer two", "Bearer  two", ""] {
        assert!(sent(value).is_err(), "{value}");
    }
    let (kind, _, message) = refused(sent("Bearer three"));
    assert_eq!(kind, RefusalKind::InvalidSignature);
    assert_eq!(message, "No secret of this route is the one in X-Sig.");
    assert_eq!(verifier(&spec, &["one"]).secret_headers(), ["x-sig"]);
    assert_eq!(verifier(&plain(), &["one"]).secret_headers(), Vec::<String>::new());
}

/// The example of RFC 7617 §2.
#[test]
fn basic_credentials_are_decoded_and_compared_whole() {
    let mut spec = clear("basic", None);
    spec.signature.headers.clear();
    let sent = |value: &str| {
        check(&spec, &["Aladdin:open sesame"], &Headers::from_pairs([("Authorization", value)]), b"")
    };
    assert!(sent("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").is_ok());
    assert!(sent("basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ==").is_ok());
    for value in
        ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZR==", "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Basic", "", "é"]
    {
        assert!(sent(value).is_err(), "{value}");
    }
    assert!(check(&spec, &["a:b"], &signed(&spec, "a:b", b""), b"").is_ok());
}

#[test]
fn secrets_that_cannot_work_are_refused_by_name_and_never_shown() {
    let faults = |spec: &SchemeSpec, secrets: &[&str]| {
        Verifier::new(Arc::new(Scheme::compile(spec).unwrap()), &named(secrets)).unwrap_err().join("; ")
    };
    let mut hex = plain();
    hex.key = text("hex");
    let message = faults(&hex, &["0a", "hunter2", "hunter3"]);
    assert_eq!(message, "the secret \"2\" is not hex; the secret \"3\" is not hex");
    let message = faults(&clear("basic", None), &["hunter2"]);
    assert_eq!(message, "the secret \"1\" is not written \"user:password\"");
    let message = faults(&clear("token", None), &["hunter2\r\nx: y", " hunter2"]);
    assert!(message.contains("cannot stand in a header") && !message.contains("hunter2"), "{message}");
    assert!(faults(&plain(), &[]).contains("no secret"));
    for spec in [plain(), clear("token", None)] {
        assert!(!format!("{:?}", verifier(&spec, &["hunter2"])).contains("hunter2"));
    }
}

#[test]
fn what_cannot_be_signed_says_why() {
    let mut in_body = plain();
    in_body.timestamp = Some(TimestampSpec { body: text("/at"), ..Default::default() });
    let mut topic = plain();
    topic.signed = text("{header:X-Topic}{body}");
    for (spec, part) in [(in_body, "/at"), (topic, "X-Topic")] {
        let none = Headers::default();
        let error = verifier(&spec, &["s"]).sign(&message(&none, b"{}"), "", NOW).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

proptest! {
    #[test]
    fn any_request_is_checked_without_a_panic_and_never_accepted_unsigned(
        value in prop::collection::vec(any::<u8>(), 0..120),
        likely in "(t=[0-9]{0,12},)?(v1[=,][0-9a-zA-Z+/=]{0,70}[, ]){0,3}(sha256=[0-9a-f]{64})?",
        time in "[0-9]{0,14}|.{0,8}",
        id in ".{0,20}",
        body in prop::collection::vec(any::<u8>(), 0..200),
        url in ".{0,40}",
    ) {
        let schemes =
            [plain(), list(), versioned(), url_and_form(), clear("token", Some("B ")), clear("basic", None)];
        for spec in schemes {
            let verifier = verifier(&spec, &["a secret:that nobody guessed"]);
            for value in [&value[..], likely.as_bytes()] {
                let headers = Headers::from_pairs([
                    (&b"X-Sig"[..], value), (b"X-Ts", time.as_bytes()), (b"X-Id", id.as_bytes()),
                ]);
                let message = Message { url: &url, query: Some(&id), ..message(&headers, &body) };
                prop_assert!(verifier.verify(&message, NOW).is_err());
            }
        }
    }

    #[test]
    fn what_is_signed_verifies_with_that_secret_only(
        secret in "[!-~]{1,40}", other in "[!-~]{1,40}", body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        for spec in [plain(), list(), versioned(), url_and_form(), clear("token", None)] {
            let headers = signed(&spec, &secret, &body);
            prop_assert!(check(&spec, &[&secret], &headers, &body).is_ok());
            prop_assert_eq!(check(&spec, &[&other], &headers, &body).is_ok(), secret == other);
        }
    }
}
