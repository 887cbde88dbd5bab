//! What verifies, what does not, and what is said then.

use std::time::Duration;

use super::super::super::mac::{Hash, Mac};
use super::*;

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
    let mut schemes: Vec<_> = ["md5", "sha1", "sha256", "sha384", "sha512"]
        .map(|hash| SchemeSpec { algorithm: format!("hmac-{hash}"), ..plain() })
        .into();
    let signed_by_hash = texts(&["{body}{secret}"]);
    schemes.push(SchemeSpec { algorithm: "sha256".to_owned(), signed: signed_by_hash, ..plain() });
    schemes.push(clear("token", None));
    for spec in &schemes {
        let value = header(&signed(spec, "secret", b"body"), "x-sig");
        for length in 0..value.len() {
            let headers = Headers::from_pairs([("X-Sig", &value[..length])]);
            assert!(check(spec, &["secret"], &headers, b"body").is_err(), "{}: {length}", spec.algorithm);
        }
        let headers = Headers::from_pairs([("X-Sig", format!("{value}00"))]);
        assert!(check(spec, &["secret"], &headers, b"body").is_err(), "{}", spec.algorithm);
    }
}

#[test]
fn what_stands_before_a_signature_must_stand_there() {
    for (spec, prefix) in [(plain(), "sha256="), (clear("token", Some("Token ")), "Token ")] {
        let value = header(&signed(&spec, "secret", b"body"), "x-sig");
        let bare = value.strip_prefix(prefix).unwrap();
        let refused = |value: &str| {
            let headers = Headers::from_pairs([("X-Sig", value)]);
            assert!(check(&spec, &["secret"], &headers, b"body").is_err(), "{value}");
        };
        for at in 0..prefix.len() {
            let mut other = prefix.as_bytes().to_vec();
            other[at] ^= 1;
            refused(&format!("{}{bare}", String::from_utf8(other).unwrap()));
        }
        refused(bare);
        refused(&format!("{prefix}{value}"));
    }
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
    assert_eq!((kind, field.as_str()), (RefusalKind::TimestampOutOfTolerance, "X-Sig"));
    assert!(message.contains("the time in t in X-Sig lies"), "{message}");
    assert!(message.contains("lies 301s behind this server's clock; 5m are allowed"), "{message}");
    let (_, _, message) = refused(at(NOW.minus(beyond)));
    assert!(message.contains("301s ahead of this server's clock"), "{message}");
}

#[test]
fn a_time_that_is_not_in_the_list_is_told_from_one_that_is_there_twice() {
    let told = |value: &str| {
        let headers = Headers::from_pairs([("X-Sig", value)]);
        refused(verifier(&list(), &["s"]).verify(&message(&headers, b"body"), NOW))
    };
    let (kind, field, message) = told("v1=00");
    assert_eq!((kind, field.as_str()), (RefusalKind::MissingSignature, "X-Sig"));
    assert_eq!(message, "The timestamp t in X-Sig, a part of the signature, is missing.");
    let (kind, field, message) = told("t=1,t=2,v1=00");
    assert_eq!((kind, field.as_str()), (RefusalKind::InvalidSignature, "X-Sig"));
    assert!(message.ends_with("is there more than once, with different values."), "{message}");
    // The same twice is one.
    assert!(told("t=1,t=1,v1=00").2.contains("No secret of this route"));
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
        let mut mac = Mac::new(Hash::Sha256, b"s").unwrap();
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
fn what_cannot_be_signed_says_why() {
    let mut in_body = plain();
    in_body.timestamp = Some(TimestampSpec { body: text("/at"), ..Default::default() });
    let mut of_body = plain();
    of_body.signed = texts(&["{body:/id}"]);
    for (spec, part) in [(in_body, "/at"), (of_body, "/id")] {
        let none = Headers::default();
        let error = verifier(&spec, &["s"]).sign(&message(&none, b"{}"), "", NOW).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    let none = Headers::default();
    let unread = Verifier::unread(Arc::new(Scheme::compile(&plain()).unwrap()));
    assert!(unread.sign(&message(&none, b""), "", NOW).unwrap_err().contains("no secret"));
    assert!(unread.verify(&message(&signed(&plain(), "s", b""), b""), NOW).is_err());
}

#[test]
fn a_header_that_is_signed_and_missing_is_made_up_from_the_id() {
    let mut spec = plain();
    spec.signed = texts(&["{header:X-Nonce}{body}"]);
    let headers = signed(&spec, "s", b"body");
    assert_eq!(header(&headers, "x-nonce"), "msg_1");
    assert!(check(&spec, &["s"], &headers, b"body").is_ok());
}

#[test]
fn a_time_that_is_not_enforced_is_signed_and_told_but_not_checked() {
    let mut spec = list();
    spec.timestamp.as_mut().unwrap().enforce = Some(false);
    let headers = signed(&spec, "s", b"body");
    let verifier = verifier(&spec, &["s"]);
    let late = NOW.plus(Duration::from_secs(86_400));
    assert_eq!(verifier.verify(&message(&headers, b"body"), late).unwrap().timestamp, Some(NOW));
    let value = header(&headers, "x-sig").replace("t=17", "t=18");
    assert!(verifier.verify(&message(&Headers::from_pairs([("X-Sig", value)]), b"body"), NOW).is_err());
}

#[test]
fn a_captured_request_is_checked_whenever_it_was_signed() {
    let headers = signed(&list(), "s", b"body");
    let late = NOW.plus(Duration::from_secs(86_400));
    let verifier = verifier(&list(), &["s"]);
    assert!(verifier.verify(&message(&headers, b"body"), late).is_err());
    assert!(verifier.verify_untimed(&message(&headers, b"body")).is_ok());
    assert!(verifier.verify_untimed(&message(&headers, b"bodx")).is_err());
}

#[test]
fn any_of_the_templates_may_match() {
    let mut spec = plain();
    spec.signed = texts(&["{body}", "{body}\n"]);
    let mut other = plain();
    other.signed = texts(&["{body}\n"]);
    assert!(check(&spec, &["s"], &signed(&other, "s", b"body"), b"body").is_ok());
    assert!(check(&spec, &["s"], &signed(&plain(), "s", b"body"), b"body").is_ok());
    assert!(check(&plain(), &["s"], &signed(&other, "s", b"body"), b"body").is_err());
}

#[test]
fn a_request_must_say_what_is_required_of_it() {
    let mut spec = plain();
    spec.require = vec![("header:X-Version".to_owned(), "1".to_owned())];
    let right = signed(&spec, "s", b"body");
    let with =
        |version: &str| Headers::from_pairs(right.iter().chain([(&b"X-Version"[..], version.as_bytes())]));
    assert!(check(&spec, &["s"], &with("1"), b"body").is_ok());
    for headers in [right.clone(), with("2")] {
        let (kind, field, message) = refused(check(&spec, &["s"], &headers, b"body"));
        assert_eq!((kind, field.as_str()), (RefusalKind::InvalidSignature, "x-version"));
        assert_eq!(message, "This route takes only requests whose header:X-Version is \"1\".");
    }
}

#[test]
fn by_how_much_a_token_is_too_old_or_too_young_is_told() {
    let mut spec = jwt();
    spec.jwt = Some(JwtSpec { algorithms: texts(&["HS256"]), ..Default::default() });
    let told = |claim: &str, at: u64| {
        let mut claims = serde_json::json!({});
        claims[claim] = at.into();
        refused(check(&spec, &["s"], &token("s", &claims), b"")).2
    };
    let old = told("exp", NOW.seconds() - 7200);
    assert!(old.contains("expired 2h ago by this server's clock"), "{old}");
    let young = told("nbf", NOW.seconds() + 90);
    assert!(young.contains("valid only in 90s by this server's clock"), "{young}");
}
