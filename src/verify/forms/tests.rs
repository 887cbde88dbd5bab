//! Each form by what its provider really sent, and by what somebody could make of it.

use proptest::prelude::*;

use super::*;
use crate::secret::Secret;
use crate::verify::spec::{SignatureSpec, TimestampSpec};

const NOW: Millis = Millis(1_638_186_175_000);

const P521: &str = include_str!("../asymmetric/testdata/p521.pem");
const JWKS: &str = include_str!("../asymmetric/testdata/jwks.json");
const ED25519: &str = include_str!("../asymmetric/testdata/ed25519.pem");
const ED25519_PUBLIC: &str = include_str!("../asymmetric/testdata/ed25519-public.pem");
const RSA: &str = include_str!("../asymmetric/testdata/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../asymmetric/testdata/rsa-public.pem");

fn parameters(words: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    words
        .iter()
        .map(|(name, values)| ((*name).to_owned(), values.iter().map(|v| (*v).to_owned()).collect()))
        .collect()
}

fn items() -> SchemeSpec {
    let item = "/NotificationRequestItem";
    let fields = [
        "pspReference",
        "originalReference",
        "merchantAccountCode",
        "merchantReference",
        "amount/value",
        "amount/currency",
        "eventCode",
        "success",
    ];
    SchemeSpec {
        algorithm: "signed-items".to_owned(),
        key: Some("hex".to_owned()),
        signature: SignatureSpec {
            body: Some(format!("/notificationItems/*{item}/additionalData/hmacSignature")),
            encoding: Some("base64".to_owned()),
            ..Default::default()
        },
        parameters: vec![(
            "fields".to_owned(),
            fields.iter().map(|field| format!("{item}/{field}")).collect(),
        )],
        ..Default::default()
    }
}

fn fields() -> SchemeSpec {
    SchemeSpec {
        algorithm: "signed-fields".to_owned(),
        signature: SignatureSpec { body: Some("/Signature".to_owned()), ..Default::default() },
        parameters: parameters(&[
            (
                "fields",
                &[
                    "Message",
                    "MessageId",
                    "Subject",
                    "SubscribeURL",
                    "Timestamp",
                    "Token",
                    "TopicArn",
                    "Type",
                ],
            ),
            ("version", &["SignatureVersion"]),
            ("versions", &["1=rsa-sha1", "2=rsa-sha256"]),
            ("certificate", &["SigningCertURL", "SigningCertUrl"]),
            ("certificate_hosts", &["sns.*.amazonaws.com", "sns.*.amazonaws.com.cn"]),
        ]),
        ..Default::default()
    }
}

fn http_signature() -> SchemeSpec {
    SchemeSpec {
        algorithm: "http-signature".to_owned(),
        signature: SignatureSpec { headers: vec!["Keygen-Signature".to_owned()], ..Default::default() },
        timestamp: Some(TimestampSpec {
            header: Some("date".to_owned()),
            unit: Some("http-date".to_owned()),
            ..Default::default()
        }),
        parameters: parameters(&[("required", &["(request-target)", "host"])]),
        ..Default::default()
    }
}

fn jws_request() -> SchemeSpec {
    SchemeSpec {
        algorithm: "jws-request".to_owned(),
        signature: SignatureSpec { headers: vec!["Tl-Signature".to_owned()], ..Default::default() },
        timestamp: Some(TimestampSpec {
            header: Some("X-TL-Webhook-Timestamp".to_owned()),
            unit: Some("rfc3339".to_owned()),
            ..Default::default()
        }),
        parameters: parameters(&[
            ("algorithms", &["ES512"]),
            ("headers", &["tl_headers"]),
            ("version", &["tl_version=2"]),
        ]),
        ..Default::default()
    }
}

fn form(spec: &SchemeSpec) -> Arc<dyn Form> {
    let mut faults = Faults::default();
    let form = compile(spec, &mut faults).expect("a form");
    assert!(faults.0.is_empty(), "{:?}", faults.0);
    form.unwrap()
}

fn keyed(spec: &SchemeSpec, secrets: &[&str]) -> Box<dyn Keyed> {
    let named = |(at, secret): (usize, &&str)| NamedSecret {
        name: at.to_string().into(),
        secret: Secret::new(*secret),
    };
    let secrets: Vec<_> = secrets.iter().enumerate().map(named).collect();
    form(spec).prepare(&secrets).unwrap()
}

fn message<'a>(headers: &'a Headers, body: &'a [u8]) -> Message<'a> {
    Message {
        method: "POST",
        path: "/tl-webhook",
        query: None,
        url: "https://e.com/tl-webhook",
        headers,
        body,
    }
}

/// What `spec` says of a body alone.
fn verify_body(spec: &SchemeSpec, secrets: &[&str], body: &str) -> Result<usize, RefusalKind> {
    let headers = Headers::default();
    let verified = keyed(spec, secrets).verify(&message(&headers, body.as_bytes()), Some(NOW));
    verified.map(|verified| verified.secret).map_err(|refusal| refusal.kind)
}

const MISSING: Result<usize, RefusalKind> = Err(RefusalKind::MissingSignature);
const INVALID: Result<usize, RefusalKind> = Err(RefusalKind::InvalidSignature);
const LATE: Result<usize, RefusalKind> = Err(RefusalKind::TimestampOutOfTolerance);

/// Adyen's documented example and key.
const ITEMS: &str = include_str!("testdata/items.json");
const ITEMS_KEY: &str = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056";

#[test]
fn items_are_signed_one_by_one_and_each_must_verify() {
    let other = "00".repeat(32);
    assert_eq!(verify_body(&items(), &[ITEMS_KEY], ITEMS), Ok(0));
    assert_eq!(verify_body(&items(), &[&other, ITEMS_KEY], ITEMS), Ok(1));
    assert_eq!(verify_body(&items(), &[&other], ITEMS), INVALID);
    let key = "74F490DD33F7327BAECC88B2947C011FC02D014A473AAA33A8EC93E4DC069174";
    assert_eq!(verify_body(&items(), &[key], include_str!("testdata/items-colon.json")), Ok(0));
    assert_eq!(verify_body(&items(), &[ITEMS_KEY], include_str!("testdata/items-forged.json")), INVALID);

    let item = ITEMS.split_once('[').unwrap().1.rsplit_once(']').unwrap().0;
    let with = |second: &str| format!("{{\"notificationItems\": [{item}, {second}]}}");
    assert_eq!(verify_body(&items(), &[ITEMS_KEY], &with(item)), Ok(0));
    for forged in ["{}", "null", "1", "[]", "{\"NotificationRequestItem\": {}}"] {
        assert_eq!(verify_body(&items(), &[ITEMS_KEY], &with(forged)), MISSING, "{forged}");
    }
}

#[test]
fn nothing_that_is_signed_of_an_item_can_change() {
    for (from, to) in [
        ("1130", "1131"),
        ("1130", "[1130]"),
        ("1130", "1130.0"),
        ("EUR", "USD"),
        ("AUTHORISATION", "REFUND"),
        ("\"true\"", "true\",\"success\":\"false"),
        ("coqCmt", "CoqCmt"),
        ("CWo0=", "CWo1="), // the last two bits belong to no byte
        ("CWo0=", "CWo0"),
        ("7914073381342284", ""),
    ] {
        let changed = ITEMS.replace(from, to);
        assert_ne!(changed, ITEMS);
        assert!(verify_body(&items(), &[ITEMS_KEY], &changed).is_err(), "{from} to {to}");
    }
    let twice = ITEMS.replace("\"success\": \"true\"", "\"success\": \"true\", \"success\": \"false\"");
    assert_ne!(twice, ITEMS);
    assert_eq!(verify_body(&items(), &[ITEMS_KEY], &twice), MISSING, "an app may take the second");
    for body in ["", "{}", "[]", "{\"notificationItems\": []}", "{\"notificationItems\": {}}", "\u{0}"] {
        assert_eq!(verify_body(&items(), &[ITEMS_KEY], body), MISSING, "{body}");
    }
}

/// Requests and certificate of `aws-php-sns-message-validator` and its like.
const CERTIFICATE: &str = include_str!("testdata/sns.pem");
const FIELDS_V1: &str = include_str!("testdata/sns-v1.json");
const FIELDS_V2: &str = include_str!("testdata/sns-v2.json");
const FIELDS_SUBJECT: &str = include_str!("testdata/sns-subject.json");

#[test]
fn fields_are_signed_as_their_version_says() {
    for body in [FIELDS_V1, FIELDS_V2, FIELDS_SUBJECT] {
        assert_eq!(verify_body(&fields(), &[CERTIFICATE], body), Ok(0));
        assert_eq!(verify_body(&fields(), &[RSA_PUBLIC, CERTIFICATE], body), Ok(1));
        assert_eq!(verify_body(&fields(), &[RSA_PUBLIC], body), INVALID);
    }
    for (from, to) in [
        ("\"Hello world\"", "\"hello world\""),
        ("\"Hello world\"", "[\"Hello world\"]"),
        ("\"Notification\"", "\"SubscriptionConfirmation\""),
        ("\"1\"", "\"2\""),
        ("\"1\"", "1"),
        ("\"1\"", "\"3\""),
        ("\"Type\"", "\"Subject\": \"x\", \"Type\""),
        ("\"Type\"", "\"Message\": \"Hello world\", \"Type\""),
        ("arn:aws:sns:us-east-2:2", "arn:aws:sns:us-east-2:3"),
        ("SigningCertURL\": \"https", "SigningCertURL\": \"http"),
        ("amazonaws.com/Simple", "amazonaws.com.evil.example/Simple"),
        ("SigningCertURL", "CertURL"),
        ("\"Type\"", "\"SigningCertUrl\": \"https://evil.example/\", \"Type\""),
        ("ghtf+deO", "Ghtf+deO"),
    ] {
        let changed = FIELDS_V1.replace(from, to);
        assert_ne!(changed, FIELDS_V1, "{from}");
        assert!(verify_body(&fields(), &[CERTIFICATE], &changed).is_err(), "{from} to {to}");
    }
    let nothing = FIELDS_V1.replace("\"Type\"", "\"Subject\": null, \"Type\"");
    assert_eq!(verify_body(&fields(), &[CERTIFICATE], &nothing), Ok(0));
}

/// `test-resources/webhook-signature.txt` of `truelayer-signing`, with its README's request.
const JWS: &str = "eyJhbGciOiJFUzUxMiIsImtpZCI6IjQ1ZmM3NWNmLTU2NDktNDEzNC04NGIzLTE5MmMyYzc4ZTk5MCIsInRsX3ZlcnNpb24iOiIyIiwidGxfaGVhZGVycyI6IlgtVGwtV2ViaG9vay1UaW1lc3RhbXAsQ29udGVudC1UeXBlIiwiamt1IjoiaHR0cHM6Ly93ZWJob29rcy50cnVlbGF5ZXIuY29tLy53ZWxsLWtub3duL2p3a3MifQ..AB9S1dzZTmw0tofUjJNGO7Kt_jZsahPyIrBTdhfxBWOI3KoLALkMy6ka1MjpZQx06_hQUJnanu9K_LS6V9lNaNGiAX5Cos5RWQfbeBCZWqAvIpXO3FvIzyJKRaTYK8FBG4lfJYPi76_pIkCLGKWeq8__7ElpMVRcLTM5IBKWL8isVZn_";
const JWS_BODY: &[u8] = br#"{"event_type":"example","event_id":"18b2842b-a57b-4887-a0a6-d3c7c36f1020"}"#;
const JWS_HEADERS: [(&str, &str); 3] = [
    ("Tl-Signature", JWS),
    ("X-Tl-webhook-Timestamp", "2021-11-29T11:42:55Z"),
    ("Content-Type", "application/json"),
];

#[test]
fn a_request_is_signed_by_a_detached_jws() {
    let keys = keyed(&jws_request(), &[JWKS]);
    let check = |message: &Message<'_>, now: Option<Millis>| {
        keys.verify(message, now).map(|verified| verified.secret).map_err(|refusal| refusal.kind)
    };
    let headers = Headers::from_pairs(JWS_HEADERS);
    let genuine = message(&headers, JWS_BODY);
    assert_eq!(check(&genuine, Some(NOW)), Ok(0));
    assert_eq!(check(&Message { path: "/tl-webhook/", ..genuine }, Some(NOW)), Ok(0));
    assert_eq!(check(&genuine, None), Ok(0));
    assert_eq!(check(&genuine, Some(NOW.plus(std::time::Duration::from_secs(301)))), LATE);
    assert_eq!(check(&genuine, Some(NOW.minus(std::time::Duration::from_secs(301)))), LATE);
    assert_eq!(check(&Message { method: "PUT", ..genuine }, Some(NOW)), INVALID);
    assert_eq!(check(&Message { path: "/", url: "https://e.com/", ..genuine }, Some(NOW)), INVALID);
    assert_eq!(check(&message(&headers, b"{}"), Some(NOW)), INVALID);
    for (at, name, value, expected) in [
        (0, "X", "", MISSING),
        (0, "Tl-Signature", "x..y", INVALID),
        (1, "X", "", MISSING),
        (1, "X-TL-Webhook-Timestamp", "2021-11-29T11:42:56Z", INVALID),
        (1, "X-TL-Webhook-Timestamp", "never", INVALID),
        (2, "Content-Type", "text/plain", INVALID),
    ] {
        let mut lines = JWS_HEADERS;
        lines[at] = (name, value);
        assert_eq!(
            check(&message(&Headers::from_pairs(lines), JWS_BODY), Some(NOW)),
            expected,
            "{name}: {value}"
        );
    }
    let twice = Headers::from_pairs([JWS_HEADERS.as_slice(), &[("content-type", "text/plain")]].concat());
    assert_eq!(check(&message(&twice, JWS_BODY), Some(NOW)), INVALID);
}

#[test]
fn a_jws_must_list_what_the_scheme_wants_signed() {
    let mut spec = jws_request();
    spec.parameters.push(("required".to_owned(), vec!["X-Other".to_owned()]));
    let headers = Headers::from_pairs(JWS_HEADERS);
    let refusal = keyed(&spec, &[JWKS]).verify(&message(&headers, JWS_BODY), Some(NOW)).unwrap_err();
    assert_eq!(refusal.message, "The signature in Tl-Signature leaves out X-Other.");
    let mut spec = jws_request();
    spec.parameters.retain(|(name, _)| name != "version");
    spec.parameters.push(("version".to_owned(), vec!["tl_version=3".to_owned()]));
    assert!(keyed(&spec, &[JWKS]).verify(&message(&headers, JWS_BODY), Some(NOW)).is_err());
}

/// What a provider would send to `spec`'s route, signed with `key`.
fn sign(spec: &SchemeSpec, key: &str, headers: &Headers, body: &[u8]) -> Signature {
    let key = PrivateKey::parse(key.as_bytes()).unwrap();
    form(spec).sign(&key, &message(headers, body), NOW).unwrap()
}

#[test]
fn headers_are_signed_as_the_signature_lists_them() {
    let host = Headers::from_pairs([("Host", "e.com"), ("Date", "yesterday")]);
    let signed = sign(&http_signature(), ED25519, &host, b"{\"a\":1}");
    let added: Vec<_> = signed.headers.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
    let mut lines = vec![(b"Host".to_vec(), b"e.com".to_vec())];
    lines.extend(added);
    let keys = keyed(&http_signature(), &[ED25519_PUBLIC]);
    let check = |lines: &[(Vec<u8>, Vec<u8>)], change: fn(&mut Message<'_>), now: Option<Millis>| {
        let headers = Headers::from_pairs(lines.iter().map(|(name, value)| (name, value)));
        let mut message = message(&headers, b"{\"a\":1}");
        change(&mut message);
        // As the gateway takes it where no public URL is set.
        let host = headers.get("host").map(String::from_utf8_lossy).unwrap_or_default();
        let url = format!("https://{host}{}", message.path);
        let message = Message { url: &url, ..message };
        keys.verify(&message, now).map(|verified| verified.secret).map_err(|refusal| refusal.kind)
    };
    assert_eq!(check(&lines, |_| {}, Some(NOW)), Ok(0));
    assert_eq!(check(&lines, |_| {}, Some(NOW.plus(std::time::Duration::from_secs(301)))), LATE);
    assert_eq!(check(&lines, |message| message.body = b"{\"a\":2}", Some(NOW)), INVALID);
    assert_eq!(check(&lines, |message| message.path = "/other", Some(NOW)), INVALID);
    assert_eq!(check(&lines, |message| message.query = Some("a"), Some(NOW)), INVALID);
    let undigested: Vec<_> = lines.iter().filter(|(name, _)| name != b"digest").cloned().collect();
    assert_eq!(undigested.len() + 1, lines.len());
    assert_eq!(check(&undigested, |_| {}, Some(NOW)), Ok(0), "the digest is computed where it is not sent");
    assert_eq!(check(&undigested, |message| message.body = b"{\"a\":2}", Some(NOW)), INVALID);
    for (name, value, expected) in [
        ("Host", "evil.example", INVALID),
        ("digest", "sha-256=AAAA", INVALID),
        ("digest", "md5=AAAA", INVALID),
        ("date", "Mon, 29 Nov 2021 11:42:54 GMT", INVALID),
        ("Keygen-Signature", "AAAA", INVALID),
        ("Keygen-Signature", "headers=\"host\",signature=\"AAAA\"", INVALID),
    ] {
        let mut changed = lines.clone();
        let line = changed.iter_mut().find(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes())).unwrap();
        line.1 = value.as_bytes().to_vec();
        assert_eq!(check(&changed, |_| {}, Some(NOW)), expected, "{name}: {value}");
        changed.retain(|(own, _)| !own.eq_ignore_ascii_case(name.as_bytes()));
        let missing = check(&changed, |_| {}, Some(NOW));
        assert_eq!(missing, if name == "digest" { Ok(0) } else { MISSING }, "{name}");
    }
}

#[test]
fn behind_a_proxy_that_rewrites_path_and_host_the_public_url_is_what_was_signed() {
    let content = Headers::from_pairs([("Content-Type", "application/json"), ("Host", "e.com")]);
    for (spec, private, public) in [(http_signature(), ED25519, ED25519_PUBLIC), (jws_request(), P521, JWKS)]
    {
        assert!(form(&spec).signs_url());
        let signed = sign(&spec, private, &content, JWS_BODY);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut added: Lines = signed.headers.iter().map(|(n, v)| (text(n), text(v))).collect();
        added.push(("Host".to_owned(), "app:8080".to_owned()));
        let headers = with_headers(&content, &added);
        let keys = keyed(&spec, &[public]);
        let of = |url, query| {
            let message = Message { path: "/in", url, query, ..message(&headers, JWS_BODY) };
            keys.verify(&message, Some(NOW)).map(|verified| verified.secret).map_err(|refusal| refusal.kind)
        };
        assert_eq!(of("https://e.com/tl-webhook", None), Ok(0));
        assert_eq!(of("https://e.com/other", None), INVALID);
        assert_eq!(of("http://app:8080/in", None), INVALID);
        if spec.algorithm == "http-signature" {
            assert_eq!(of("https://other.example/tl-webhook", None), INVALID);
            // The app gets the request's own query, so that one must be the signed one.
            assert_eq!(of("https://e.com/tl-webhook", Some("a")), INVALID);
        }
    }
}

#[test]
fn a_signature_that_leaves_out_what_must_be_signed_is_refused() {
    let mut lax = http_signature();
    lax.timestamp = None;
    lax.parameters.clear();
    let headers = Headers::from_pairs([("Host", "e.com"), ("Date", "Mon, 29 Nov 2021 11:42:55 GMT")]);
    let signed = sign(&lax, ED25519, &headers, b"{}");
    let all = with_headers(
        &headers,
        &signed
            .headers
            .iter()
            .map(|(n, v)| (String::from_utf8(n.to_vec()).unwrap(), String::from_utf8(v.to_vec()).unwrap()))
            .collect(),
    );
    let message = message(&all, b"{}");
    assert!(keyed(&lax, &[ED25519_PUBLIC]).verify(&message, Some(NOW)).is_ok());
    let refusal = keyed(&http_signature(), &[ED25519_PUBLIC]).verify(&message, Some(NOW)).unwrap_err();
    assert_eq!(refusal.message, "The signature in Keygen-Signature leaves out host.");
}

#[test]
fn what_is_signed_as_the_provider_would_verifies() {
    let none = Headers::default();
    let body = sign(&fields(), RSA, &none, FIELDS_V2.as_bytes()).body.unwrap();
    assert_eq!(verify_body(&fields(), &[RSA_PUBLIC], std::str::from_utf8(&body).unwrap()), Ok(0));
    let key = PrivateKey::parse(RSA.as_bytes()).unwrap();
    let refused = form(&fields()).sign(&key, &message(&none, FIELDS_V1.as_bytes()), NOW).unwrap_err();
    assert!(refused.contains("SHA-1"), "{refused}");

    let content = Headers::from_pairs([("Content-Type", "application/json")]);
    let signed = sign(&jws_request(), P521, &content, JWS_BODY);
    assert!(keyed(&jws_request(), &[JWKS]).verify(&message(&signed.headers, JWS_BODY), Some(NOW)).is_ok());

    let changed = ITEMS.replace("1130", "7");
    let signed = keyed(&items(), &[ITEMS_KEY]).sign(&message(&none, changed.as_bytes()), "", NOW).unwrap();
    let body = String::from_utf8(signed.body.unwrap()).unwrap();
    assert_eq!(verify_body(&items(), &[ITEMS_KEY], &body), Ok(0));
    assert!(form(&items()).sign(&key, &message(&none, changed.as_bytes()), NOW).is_err());
}

#[test]
fn a_form_reports_what_is_wrong_with_its_words() {
    for (word, key) in [
        ("signed-items", "signature.body"),
        ("signed-fields", "signature.body"),
        ("http-signature", "signature.header"),
        ("jws-request", "signature.header"),
    ] {
        assert!(WORDS.contains(&word));
        let spec = SchemeSpec {
            algorithm: word.to_owned(),
            parameters: parameters(&[("colour", &["blue"])]),
            ..Default::default()
        };
        let mut faults = Faults::default();
        assert!(compile(&spec, &mut faults).unwrap().is_none());
        let found: Vec<_> = faults.0.iter().map(|fault| fault.key).collect();
        assert!(found.contains(&key) && found.contains(&"parameters"), "{word}: {:?}", faults.0);
    }
    assert!(
        compile(
            &SchemeSpec { algorithm: "hmac-sha256".to_owned(), ..Default::default() },
            &mut Faults::default()
        )
        .is_none()
    );
}

#[test]
fn a_secret_must_be_what_the_form_computes_with() {
    let fault = |spec: &SchemeSpec, secret: &str| {
        let secret = NamedSecret { name: "live".into(), secret: Secret::new(secret) };
        form(spec).prepare(&[secret]).err().unwrap().remove(0)
    };
    assert_eq!(fault(&items(), "no hex"), "the secret \"live\" is not hex");
    assert_eq!(
        fault(&fields(), ED25519_PUBLIC),
        "the secret \"live\" is not an RSA key, which the scheme wants"
    );
    assert_eq!(
        fault(&http_signature(), RSA_PUBLIC),
        "the secret \"live\" is not an Ed25519 key, which the scheme wants"
    );
    assert!(fault(&jws_request(), "x").starts_with("the secret \"live\" is no public key"));
}

proptest! {
    #[test]
    fn no_request_verifies_by_chance(
        body in prop::collection::vec(any::<u8>(), 0..120), text in "[ -~]{0,120}", value in "[ -~]{0,80}",
    ) {
        let values = [
            value.clone(),
            format!("headers=\"(request-target) host date digest\",signature=\"{value}\""),
            format!("{}.{value}", JWS.split('.').next().unwrap()),
        ];
        for (spec, secret) in
            [(items(), ITEMS_KEY), (fields(), CERTIFICATE), (http_signature(), ED25519_PUBLIC), (jws_request(), JWKS)]
        {
            let keys = keyed(&spec, &[secret]);
            for value in &values {
                let headers = Headers::from_pairs([
                    ("Keygen-Signature", value.as_str()), ("Tl-Signature", value), ("host", value), ("date", &text),
                    ("X-TL-Webhook-Timestamp", &text), ("Content-Type", "application/json"),
                ]);
                for body in [&body[..], text.as_bytes(), &[ITEMS.as_bytes(), b"x", &body].concat()] {
                    prop_assert!(keys.verify(&message(&headers, body), None).is_err());
                }
            }
        }
    }

    #[test]
    fn a_changed_byte_of_a_signed_body_never_passes_as_another_message(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        for (spec, secret, genuine) in [(items(), ITEMS_KEY, ITEMS), (fields(), CERTIFICATE, FIELDS_V1)] {
            let mut body = genuine.as_bytes().to_vec();
            let index = at.index(body.len());
            body[index] = value;
            let keys = keyed(&spec, &[secret]);
            let headers = Headers::default();
            if keys.verify(&message(&headers, &body), None).is_ok() {
                // Only what is not signed may differ: what is signed reads the same.
                let read = |body: &[u8]| super::super::strict_json::parse(body).unwrap();
                let (changed, genuine) = (read(&body), read(genuine.as_bytes()));
                for pointer in ["/Message", "/TopicArn", "/Type", "/notificationItems/0/NotificationRequestItem/amount"] {
                    prop_assert_eq!(changed.pointer(pointer), genuine.pointer(pointer));
                }
            }
        }
    }
}
