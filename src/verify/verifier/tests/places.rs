//! Where signatures, tokens and what is signed stand.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::super::super::mac::{Hash, Mac};
use super::super::super::template::MAX_FORM_FIELDS;
use super::*;

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
    spec.signed = texts(&["{header:X-Topic}{body}"]);
    let (kind, at, _) = refused(check(&spec, &["s"], &Headers::from_pairs([("X-Sig", "sha256=00")]), b""));
    assert_eq!((kind, at.as_str()), (RefusalKind::MissingSignature, "X-Topic"));
    let twice = Headers::from_pairs([("X-Sig", "sha256=00"), ("X-Topic", "a"), ("X-Topic", "b")]);
    assert_eq!(refused(check(&spec, &["s"], &twice, b"")).0, RefusalKind::InvalidSignature);
}

#[test]
fn the_time_in_a_list_must_stand_there_once() {
    let value = header(&signed(&list(), "s", b"body"), "x-sig");
    let twice = Headers::from_pairs([("X-Sig", format!("{value},t=1"))]);
    assert_eq!(refused(check(&list(), &["s"], &twice, b"body")).0, RefusalKind::InvalidSignature);
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
fn of_alternative_headers_every_one_that_is_there_counts() {
    let mut spec = plain();
    spec.signature.headers = vec!["X-New".to_owned(), "X-Old".to_owned()];
    let right = header(&signed(&spec, "s", b"body"), "x-new");
    let sent =
        |pairs: &[(&str, &str)]| check(&spec, &["s"], &Headers::from_pairs(pairs.iter().copied()), b"body");
    assert!(sent(&[("X-Old", &right)]).is_ok());
    assert!(sent(&[("X-Old", "sha256=00"), ("X-New", &right)]).is_ok());
    assert!(sent(&[("X-New", "sha256=00"), ("X-Old", &right)]).is_ok());
    assert!(sent(&[("X-New", "sha256=00"), ("X-Old", "sha256=01")]).is_err());
    assert!(sent(&[("X-New", &right), ("X-Old", "sha256=01"), ("X-Old", "sha256=02")]).is_err());
    assert_eq!(refused(sent(&[])).1, "X-New");
}

#[test]
fn a_header_may_be_there_several_times_where_the_scheme_says_so() {
    let mut spec = plain();
    let right = header(&signed(&spec, "s", b"body"), "x-sig");
    let lines = |wrong: usize| {
        let wrong = (0..wrong).map(|n| format!("sha256={n:064x}"));
        Headers::from_pairs(wrong.chain([right.clone()]).map(|value| ("X-Sig", value)))
    };
    let (kind, field, message) = refused(check(&spec, &["s"], &lines(1), b"body"));
    assert_eq!((kind, field.as_str()), (RefusalKind::InvalidSignature, "X-Sig"));
    assert!(message.contains("more than once"), "{message}");
    spec.signature.repeated = true;
    for wrong in [0, 1, 15] {
        assert_eq!(check(&spec, &["t", "s"], &lines(wrong), b"body").unwrap().secret, 1, "{wrong}");
        assert!(check(&spec, &["s"], &lines(wrong), b"other").is_err());
    }
    assert!(check(&spec, &["s"], &lines(16), b"body").is_err());
    // Lines without any signature count, too.
    let mut listed = spec.clone();
    listed.signature.format = text("list");
    listed.signature.keys = texts(&["v1"]);
    let others = |count: usize| {
        let others = (0..count).map(|n| format!("v0={n}"));
        Headers::from_pairs(others.chain([format!("v1={right}")]).map(|value| ("X-Sig", value)))
    };
    assert!(check(&listed, &["s"], &others(15), b"body").is_ok());
    assert!(check(&listed, &["s"], &others(16), b"body").is_err());
    assert_eq!(refused(check(&spec, &["s"], &Headers::default(), b"body")).0, RefusalKind::MissingSignature);
    assert!(check(&spec, &["s"], &signed(&spec, "s", b"body"), b"body").is_ok());
}

#[test]
fn a_digest_takes_the_forms_place_only_in_the_url_that_was_signed() {
    let spec = url_and_form();
    let body = br#"{"a":1}"#;
    let digest = hex::encode(Sha256::digest(body));
    let url = format!("https://example.com/hook?digest={digest}");
    let none = Headers::default();
    let with_url = |url, headers, body| Message { url, ..message(headers, body) };
    let headers = verifier(&spec, &["s"]).sign(&with_url(&url, &none, body), "", NOW).unwrap().headers;
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
fn a_sorted_form_is_a_form_and_not_the_whole_body() {
    let spec = url_and_form();
    assert!(!Scheme::compile(&spec).unwrap().binds_body());
    let headers = signed(&spec, "s", b"Body=hello&From=me");
    // The same text is signed, so this one passes too: why such a scheme knows the sender alone.
    assert!(check(&spec, &["s"], &headers, b"Bod=yhello&From=me").is_ok());
    assert!(check(&spec, &["s"], &headers, b"Body=hello&From=you").is_err());
    let json = br#"{"Body":"hello"}"#;
    for other in ["application/json", "multipart/form-data; boundary=B", ""] {
        for body in [&b"Body=hello&From=me"[..], json] {
            let signature = header(&signed(&spec, "s", body), "x-sig");
            let headers = Headers::from_pairs([("X-Sig", signature.as_str()), ("Content-Type", other)]);
            let (kind, field, _) = refused(check(&spec, &["s"], &headers, body));
            assert_eq!((kind, field.as_str()), (RefusalKind::InvalidSignature, "Content-Type"), "{other}");
        }
    }
    let empty = Headers::from_pairs([("X-Sig", header(&signed(&spec, "s", b""), "x-sig"))]);
    assert!(check(&spec, &["s"], &empty, b"").is_ok());
}

#[test]
fn a_port_counts_unless_the_scheme_says_otherwise() {
    let mut spec = url_and_form();
    let verifies = |spec: &SchemeSpec, signed_url: &str, url: &str| {
        let none = Headers::default();
        let verifier = verifier(spec, &["s"]);
        let headers =
            verifier.sign(&Message { url: signed_url, ..message(&none, b"") }, "", NOW).unwrap().headers;
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
fn a_signature_stands_in_the_query_a_form_or_the_json_body_too() {
    let none = Headers::default();
    let mut in_query = plain();
    in_query.signature = SignatureSpec { query: text("sig"), ..Default::default() };
    assert_eq!(round_trip(&in_query, "s", &message(&none, b"body")).unwrap().secret, 1);
    let (kind, field, what) = refused(check(&in_query, &["s"], &none, b"body"));
    assert_eq!((kind, field.as_str()), (RefusalKind::MissingSignature, "sig"));
    assert_eq!(what, "The query parameter sig is missing.");
    let twice = Message { query: Some("sig=00&sig=01"), ..message(&none, b"body") };
    assert_eq!(refused(verifier(&in_query, &["s"]).verify(&twice, NOW)).0, RefusalKind::InvalidSignature);

    let mut in_body = plain();
    in_body.signature = SignatureSpec { body: text("/meta/sig"), ..Default::default() };
    in_body.signed = texts(&["{timestamp}{body:/token}"]);
    in_body.timestamp = Some(TimestampSpec { body: text("/at"), ..Default::default() });
    let body = br#"{"meta":{"sig":""},"at":1700000000,"token":"t"}"#;
    assert_eq!(
        round_trip(&in_body, "s", &message(&none, body)).unwrap(),
        Verified { secret: 1, timestamp: Some(NOW) }
    );

    let form = Headers::from_pairs([("Content-Type", "application/x-www-form-urlencoded")]);
    let mut in_form = plain();
    in_form.signature = SignatureSpec { form: text("sig"), ..Default::default() };
    in_form.signed = texts(&["{form:payload}"]);
    in_form.strict_form = true;
    assert!(round_trip(&in_form, "s", &message(&form, b"payload=%7B%7D")).is_ok());
    let (kind, field, _) = refused(round_trip(&in_form, "s", &message(&form, b"payload=%7B%7D&more=1")));
    assert_eq!((kind, field.as_str()), (RefusalKind::InvalidSignature, "more"));
    // The same bytes that do not say that they are a form hold no fields.
    assert!(verifier(&in_form, &["s"]).verify(&message(&none, b"payload=1&sig=00"), NOW).is_err());
}

#[test]
fn a_strict_form_is_url_encoded_and_says_so_once() {
    let mut spec = in_form();
    spec.signed = texts(&["{form:payload}"]);
    let form = Headers::from_pairs([("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")]);
    let sent = verifier(&spec, &["s"]).sign(&message(&form, b"payload=1"), "", NOW).unwrap();
    let body = String::from_utf8(sent.body.unwrap()).unwrap();
    let (_, signature) = body.split_once("v1=").unwrap();
    let sent = |headers: &Headers, body: &str| {
        verifier(&spec, &["s"]).verify(&message(headers, body.as_bytes()), NOW)
    };
    assert!(sent(&form, &body).is_ok());
    let same = Headers::from_pairs(form.iter().chain(form.iter()));
    assert!(sent(&same, &body).is_ok());

    // The same fields in a multipart form, beside which an app may see others.
    let part =
        |name: &str, value: &str| format!("--B\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n");
    let genuine = part("name=payload", "1") + &part("name=v1", signature);
    let multipart = Headers::from_pairs([("Content-Type", "multipart/form-data; boundary=B")]);
    for more in [String::new(), part("name*=UTF-8''admin", "1"), part("name=payload", "1").repeat(1000)] {
        let (kind, field, _) = refused(sent(&multipart, &format!("{genuine}{more}--B--\r\n")));
        assert_eq!((kind, field.as_str()), (RefusalKind::InvalidSignature, "Content-Type"));
    }
    for other in ["multipart/form-data; boundary=B", "application/json"] {
        for pairs in [
            [form.get("content-type").unwrap(), other.as_bytes()],
            [other.as_bytes(), form.get("content-type").unwrap()],
        ] {
            let twice = Headers::from_pairs(pairs.map(|value| ("Content-Type", value)));
            assert!(sent(&twice, &body).is_err(), "{other}");
        }
    }
}

#[test]
fn pointers_point_into_the_document_where_there_is_one() {
    let mut spec = plain();
    spec.signature = SignatureSpec { body: text("/sig"), ..Default::default() };
    spec.signed = texts(&["{body:/time}{body:/type}"]);
    spec.document = text("form:json");
    let mut mac = Mac::new(Hash::Sha256, b"s").unwrap();
    mac.update(b"17created");
    let json = format!(r#"{{"time":"17","type":"created","sig":"{}"}}"#, hex::encode(mac.finish()));
    let part = format!("--B\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{json}\r\n--B--\r\n");
    let multipart = Headers::from_pairs([("Content-Type", "multipart/form-data; boundary=B")]);
    assert!(check(&spec, &["s"], &multipart, part.as_bytes()).is_ok());
    assert!(check(&spec, &["s"], &Headers::default(), json.as_bytes()).is_ok());
    assert!(check(&spec, &["t"], &multipart, part.as_bytes()).is_err());
    assert!(check(&spec, &["s"], &multipart, part.replace("17", "18").as_bytes()).is_err());
}

#[test]
fn numbered_headers_are_looked_at_as_far_as_they_go() {
    let mut spec = plain();
    spec.signature.prefixes.clear();
    spec.signature.headers = texts(&["X-Sig-{n}"]);
    let right = signed(&spec, "s", b"body");
    let value = header(&right, "x-sig-1");
    let sent =
        |pairs: &[(&str, &str)]| check(&spec, &["s"], &Headers::from_pairs(pairs.iter().copied()), b"body");
    assert!(sent(&[("X-Sig-1", "00"), ("X-Sig-2", "01"), ("X-Sig-3", &value)]).is_ok());
    assert!(sent(&[("X-Sig-1", "00"), ("X-Sig-3", &value)]).is_err());
    assert_eq!(refused(sent(&[("X-Sig-2", &value)])).1, "X-Sig-1");
}

#[test]
fn all_signatures_of_a_request_share_the_limit() {
    let mut spec = list();
    spec.signature.headers = texts(&["X-Sig", "X-Also"]);
    let value = header(&signed(&spec, "s", b"body"), "x-sig");
    let flood = format!("t=1700000000{}", format!(",v1={}", "00".repeat(32)).repeat(15));
    let sent = |first: &str| {
        check(&spec, &["s"], &Headers::from_pairs([("X-Sig", first), ("X-Also", &value)]), b"body")
    };
    assert!(sent(&flood).is_ok());
    assert!(sent(&format!("{flood},v1={}", "00".repeat(32))).is_err());
}

#[test]
fn each_group_has_a_time_of_its_own() {
    let mut spec = list();
    spec.signature.groups = text(" ");
    let value = header(&signed(&spec, "s", b"body"), "x-sig");
    let old = verifier(&spec, &["s"]);
    let none = Headers::default();
    let old = old.sign(&message(&none, b"body"), "", NOW.minus(Duration::from_secs(3600))).unwrap();
    let old = header(&old.headers, "x-sig");
    let sent = |value: String| check(&spec, &["s"], &Headers::from_pairs([("X-Sig", value)]), b"body");
    assert!(sent(format!("{old} {value}")).is_ok());
    assert!(sent(format!("v1=00 {value}")).is_ok());
    assert_eq!(refused(sent(old.clone())).0, RefusalKind::TimestampOutOfTolerance);
    // A time of one group does not belong to the signature of another.
    let (time, _) = value.split_once(',').unwrap();
    let (_, signature) = old.split_once(',').unwrap();
    assert_eq!(refused(sent(format!("{time},{signature}"))).0, RefusalKind::InvalidSignature);
}

#[test]
fn a_token_in_every_element_must_be_right_in_each() {
    let mut spec = clear("token", None);
    spec.signature = SignatureSpec { body: text("/value/*/state"), ..Default::default() };
    let none = Headers::default();
    let sent = |body: &str| check(&spec, &["one", "two"], &none, body.as_bytes());
    assert_eq!(sent(r#"{"value":[{"state":"two"},{"state":"one"}]}"#).unwrap().secret, 1);
    for body in [
        r#"{"value":[{"state":"two"},{"state":"six"}]}"#,
        r#"{"value":[{"state":"two"},{}]}"#,
        r#"{"value":[]}"#,
        r#"{"value":{"state":"two"}}"#,
        r#"{"value":[{"state":"two"}"#,
        "",
    ] {
        assert!(sent(body).is_err(), "{body}");
    }
}

#[test]
fn a_token_stands_in_the_query_or_the_body_too() {
    let none = Headers::default();
    for signature in [
        SignatureSpec { query: text("code"), ..Default::default() },
        SignatureSpec { body: text("/token"), ..Default::default() },
    ] {
        let spec = SchemeSpec { signature, ..clear("token", None) };
        let sent = message(&none, br#"{"token":""}"#);
        assert_eq!(round_trip(&spec, " any text", &sent).unwrap().secret, 1);
        assert!(verifier(&spec, &["s"]).verify(&sent, NOW).is_err());
    }
}
