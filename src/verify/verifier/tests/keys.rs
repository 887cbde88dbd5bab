//! Secrets, tokens and key pairs.

use sha2::{Digest, Sha256};

use super::super::super::mac::{Hash, Mac};
use super::*;

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
fn a_plain_hash_holds_the_secret() {
    let mut spec = plain();
    spec.signature.prefixes.clear();
    for (word, signed_text, digest) in [
        ("sha1", "{body}{secret}", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("keccak256", "{secret}{body}", ""),
    ] {
        spec.algorithm = word.to_owned();
        spec.signed = texts(&[signed_text]);
        let headers = signed(&spec, "c", b"ab");
        assert!(header(&headers, "x-sig").starts_with(digest));
        assert!(check(&spec, &["x", "c"], &headers, b"ab").is_ok());
        assert!(check(&spec, &["c"], &headers, b"aB").is_err());
        assert!(check(&spec, &["C"], &headers, b"ab").is_err());
    }
}

#[test]
fn an_id_beside_the_key_is_signed_and_no_part_of_it() {
    let mut spec = plain();
    spec.secret_id =
        Some(super::super::super::SecretIdSpec { separator: "|".to_owned(), stands: "after".to_owned() });
    spec.signed = texts(&["{secret_id}.{body}"]);
    let headers = signed(&spec, "key|more|ID", b"body");
    let mut mac = Mac::new(Hash::Sha256, b"key|more").unwrap();
    mac.update(b"ID.body");
    assert_eq!(header(&headers, "x-sig"), format!("sha256={}", hex::encode(mac.finish())));
    assert!(check(&spec, &["key|more|ID"], &headers, b"body").is_ok());
    assert!(check(&spec, &["key|more|id"], &headers, b"body").is_err());
    let faults = Verifier::new(Arc::new(Scheme::compile(&spec).unwrap()), &named(&["hunter2"])).unwrap_err();
    assert_eq!(faults, ["the secret \"1\" is not written \"KEY|ID\""]);
}

#[test]
fn a_secret_of_which_two_readings_are_said_is_right_in_both() {
    let secrets = ["other", "00ff", "no hex"];
    for signed_template in ["{body}", "{method}{body}"] {
        let mut spec = plain();
        spec.signed = texts(&[signed_template]);
        let written = signed(&spec, "00ff", b"body");
        spec.key = text("hex");
        let bytes = signed(&spec, "00ff", b"body");
        assert_ne!(header(&written, "x-sig"), header(&bytes, "x-sig"));
        spec.key = text("utf8-or-hex");
        for headers in [&written, &bytes] {
            assert_eq!(check(&spec, &secrets, headers, b"body").unwrap().secret, 1);
            assert!(check(&spec, &secrets, headers, b"other").is_err());
            assert!(check(&spec, &["other", "no hex"], headers, b"body").is_err());
        }
        assert_eq!(header(&signed(&spec, "00ff", b"body"), "x-sig"), header(&written, "x-sig"));
        assert_eq!(check(&spec, &secrets, &signed(&spec, "no hex", b"body"), b"body").unwrap().secret, 2);
    }
}

#[test]
fn a_token_proves_what_its_claims_say() {
    let hash = hex::encode(Sha256::digest(b"body"));
    let claims = serde_json::json!({
        "iss": "sender", "aud": "https://example.com/hook", "sha256": hash, "iat": 1_700_000_000,
    });
    let sent = |claims: &serde_json::Value| check(&jwt(), &["other", "s"], &token("s", claims), b"body");
    assert_eq!(sent(&claims).unwrap(), Verified { secret: 1, timestamp: Some(NOW) });
    assert!(check(&jwt(), &["s"], &signed(&jwt(), "s", b"body"), b"body").is_ok());
    assert!(check(&jwt(), &["t"], &token("s", &claims), b"body").is_err());
    for (name, value, kind) in [
        ("iss", "stranger".into(), RefusalKind::InvalidSignature),
        ("iss", serde_json::Value::Null, RefusalKind::InvalidSignature),
        ("aud", "https://example.com/other".into(), RefusalKind::InvalidSignature),
        ("sha256", hash.to_uppercase().into(), RefusalKind::InvalidSignature),
        ("sha256", 17.into(), RefusalKind::InvalidSignature),
        ("iat", 1_699_999_699.into(), RefusalKind::TimestampOutOfTolerance),
        ("iat", 1_700_000_301.into(), RefusalKind::TimestampOutOfTolerance),
        ("iat", "now".into(), RefusalKind::InvalidSignature),
        ("exp", 1_700_000_000.into(), RefusalKind::TimestampOutOfTolerance),
        ("exp", (-1).into(), RefusalKind::InvalidSignature),
        ("nbf", 1_700_000_001.into(), RefusalKind::TimestampOutOfTolerance),
    ] {
        let mut changed = claims.clone();
        changed[name] = value;
        let (found, field, message) = refused(sent(&changed));
        assert_eq!((found, field.as_str()), (kind, name), "{message}");
    }
    for name in ["iss", "aud", "sha256", "iat"] {
        let mut changed = claims.clone();
        changed.as_object_mut().unwrap().remove(name);
        assert_eq!(refused(sent(&changed)).1, name);
    }
    let mut several = claims.clone();
    several["aud"] = serde_json::json!(["https://example.com/other", "https://example.com/hook"]);
    assert!(sent(&several).is_ok());
}

#[test]
fn a_body_hash_may_be_missing_only_where_there_is_no_body_and_the_scheme_says_so() {
    let mut spec = jwt();
    spec.jwt = Some(JwtSpec { algorithms: texts(&["HS256"]), body_hash: text("hash"), ..Default::default() });
    let without = token("s", &serde_json::json!({}));
    assert_eq!(
        refused(check(&spec, &["s"], &without, b"")).1,
        "hash",
        "a token that was made for something else"
    );
    let empty = token("s", &serde_json::json!({ "hash": hex::encode(Sha256::digest(b"")) }));
    assert!(check(&spec, &["s"], &empty, b"").is_ok());
    spec.jwt.as_mut().unwrap().body_hash_unless_empty = true;
    assert!(check(&spec, &["s"], &empty, b"").is_ok());
    assert!(check(&spec, &["s"], &without, b"").is_ok());
    assert!(check(&spec, &["s"], &without, b"x").is_err());
    let with = token("s", &serde_json::json!({ "hash": hex::encode(Sha256::digest(b"x")) }));
    assert!(check(&spec, &["s"], &with, b"x").is_ok());
    assert!(check(&spec, &["s"], &with, b"").is_err());
    spec.jwt.as_mut().unwrap().optional = texts(&["hash"]);
    assert!(check(&spec, &["s"], &without, b"x").is_ok());
    assert!(check(&spec, &["s"], &with, b"y").is_err());
}

#[test]
fn a_token_that_is_the_body_is_an_event_by_its_claims() {
    let mut spec = jwt();
    spec.signature.headers.clear();
    spec.signature.prefixes.clear();
    spec.signature.body = text("whole");
    let words = JwtSpec { algorithms: texts(&["HS256"]), ..Default::default() };
    spec.jwt = Some(JwtSpec { required: texts(&["id", "type"]), ..words });
    let sent = |claims: serde_json::Value| {
        let token = token("s", &claims);
        check(
            &spec,
            &["s"],
            &Headers::default(),
            header(&token, "x-sig").trim_start_matches("Bearer ").as_bytes(),
        )
    };
    assert!(sent(serde_json::json!({ "id": "event_1", "type": false })).is_ok());
    for (claims, lacking) in [
        (serde_json::json!({ "sub": "a user", "exp": 2_000_000_000 }), "id"),
        (serde_json::json!({ "id": "event_1", "Type": "a" }), "type"),
        (serde_json::json!({ "id": "event_1", "type": null }), "type"),
    ] {
        let (kind, field, message) = refused(sent(claims));
        assert_eq!((kind, field.as_str()), (RefusalKind::InvalidSignature, lacking));
        assert!(message.contains("for something else"), "{message}");
    }
    let event = |body: &[u8]| verifier(&spec, &["s"]).sign(&message(&Headers::default(), body), "1", NOW);
    assert!(event(br#"{"id":"event_1","type":"a"}"#).is_ok());
    assert!(event(br#"{"id":"event_1"}"#).unwrap_err().contains("a claim type"));
}

#[test]
fn a_public_key_is_no_secret_to_make_tokens_with() {
    let key = include_str!("../../asymmetric/testdata/rsa-public.pem");
    let mut spec = jwt();
    spec.jwt = Some(JwtSpec { algorithms: texts(&["HS256", "RS256"]), ..Default::default() });
    let forged = token(key, &serde_json::json!({}));
    let (kind, _, message) = refused(check(&spec, &[key], &forged, b""));
    assert_eq!(kind, RefusalKind::InvalidSignature);
    assert!(message.contains("in a way that this route does not take"), "{message}");
    spec.jwt = Some(JwtSpec { algorithms: texts(&["HS256"]), ..Default::default() });
    assert!(check(&spec, &[key], &forged, b"").is_ok());
    spec.jwt = Some(JwtSpec { algorithms: texts(&["EdDSA"]), ..Default::default() });
    let faults = Verifier::new(Arc::new(Scheme::compile(&spec).unwrap()), &named(&[key])).unwrap_err();
    assert!(faults[0].contains("is not an Ed25519 key"), "{faults:?}");
}

/// RFC 8032 §7.1, test 3.
#[test]
fn a_key_pair_signs_and_its_public_key_checks() {
    let mut spec = plain();
    spec.algorithm = "ed25519".to_owned();
    spec.signature.prefixes.clear();
    let public = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025";
    let seed = "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7";
    let signature = "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
                     18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a";
    let scheme = Scheme::compile(&spec).unwrap();
    let signer = super::super::super::Signer::new(&scheme, &Secret::new(seed)).unwrap();
    let none = Headers::default();
    let signed = signer.sign(&message(&none, b"\xaf\x82"), "", NOW).unwrap().headers;
    assert_eq!(header(&signed, "x-sig"), signature);
    assert!(check(&spec, &[public], &signed, b"\xaf\x82").is_ok());
    assert!(check(&spec, &[public], &signed, b"\xaf\x83").is_err());
    assert!(
        verifier(&spec, &[public]).sign(&message(&none, b""), "", NOW).unwrap_err().contains("private key")
    );
    let with_time = SchemeSpec {
        signed: texts(&["{timestamp}{body}"]),
        timestamp: Some(TimestampSpec { header: text("X-Ts"), ..Default::default() }),
        ..spec.clone()
    };
    let signer =
        super::super::super::Signer::new(&Scheme::compile(&with_time).unwrap(), &Secret::new(seed)).unwrap();
    let signed = signer.sign(&message(&none, b"body"), "", NOW).unwrap().headers;
    assert_eq!(check(&with_time, &[public], &signed, b"body").unwrap().timestamp, Some(NOW));
    let symmetric = Scheme::compile(&plain()).unwrap();
    assert!(
        super::super::super::Signer::new(&symmetric, &Secret::new(seed))
            .unwrap_err()
            .contains("shared secret")
    );
    for spec in [spec, with_time] {
        let faults =
            Verifier::new(Arc::new(Scheme::compile(&spec).unwrap()), &named(&["hunter2"])).unwrap_err();
        assert!(!faults[0].contains("hunter2"), "{faults:?}");
    }
}
