//! Each cause brought about on purpose, and found; and nothing found where nothing is known.

use super::*;
use crate::headers::Headers;
use crate::secret::Secret;
use crate::verify::{ProviderSpec, SchemeSpec, SignatureSpec, TimestampSpec};

const NOW: Millis = Millis(1_768_473_000_000);
const URL: &str = "https://hooks.example.com/in?a=1";

fn spec(header: &str, signed: &str, key: &str) -> SchemeSpec {
    SchemeSpec {
        algorithm: "hmac-sha256".to_owned(),
        key: Some(key.to_owned()),
        signature: SignatureSpec { headers: vec![header.to_owned()], ..SignatureSpec::default() },
        signed: vec![signed.to_owned()],
        ..SchemeSpec::default()
    }
}

fn scheme(signed: &str, key: &str) -> Arc<Scheme> {
    Arc::new(Scheme::compile(&spec("X-Sig", signed, key)).unwrap())
}

fn named(name: &str, secret: &[u8]) -> NamedSecret {
    NamedSecret { name: name.into(), secret: Secret::new(secret) }
}

fn message<'a>(url: &'a str, headers: &'a Headers, body: &'a [u8]) -> Message<'a> {
    Message { method: "POST", path: "/in", query: Some("a=1"), url, headers, body }
}

/// The headers that a provider adds which signs with `key` (bytes, taken as they are) for `url` and `body`.
fn signed(scheme: &Arc<Scheme>, key: &[u8], url: &str, body: &[u8]) -> Headers {
    let none = Headers::default();
    Verifier::new(Arc::clone(scheme), &[named("p", key)])
        .unwrap()
        .sign(&message(url, &none, body), "", NOW)
        .unwrap()
        .headers
}

/// What is found where the sender used `theirs` (key, URL, body) and the route has `secret` and sees `URL` and `body`.
fn found(scheme: &Arc<Scheme>, headers: &Headers, secret: &[u8], body: &[u8]) -> Explanation {
    explain(&Case {
        message: message(URL, headers, body),
        at: NOW,
        scheme,
        secrets: &[named("main", secret)],
        others: &[],
        providers: &[],
    })
}

fn kinds(explanation: &Explanation) -> Vec<CauseKind> {
    explanation.causes.iter().map(|cause| cause.kind).collect()
}

#[test]
fn a_request_that_verifies_has_no_cause_and_a_forged_one_no_invented_one() {
    let scheme = scheme("{body}", "utf8");
    let headers = signed(&scheme, b"right", URL, b"{\"a\": 1}");
    let right = found(&scheme, &headers, b"right", b"{\"a\": 1}");
    assert!(right.refusal.is_none() && right.causes.is_empty());
    let wrong = found(&scheme, &headers, b"another", b"{\"a\": 1}");
    assert!(wrong.refusal.is_some() && wrong.causes.is_empty() && !wrong.cut_short, "{wrong:?}");
}

#[test]
fn a_body_that_was_touched_is_found_whatever_touched_it() {
    let scheme = scheme("{body}", "utf8");
    let original = "{\"b\": \"caf\\u00e9/\", \"a\": [1, {}]}";
    for (received, kind) in [
        ("{\"b\": \"caf\\u00e9/\", \"a\": [1, {}]}\n", CauseKind::TrailingNewline),
        (" {\"b\": \"caf\\u00e9/\", \"a\": [1, {}]}\r\n", CauseKind::TrailingNewline),
        ("{\"b\":\"café/\",\"a\":[1,{}]}", CauseKind::BodyRewritten),
        ("{\n  \"b\": \"caf\\u00e9\\/\",\n  \"a\": [\n    1,\n    {}\n  ]\n}\n", CauseKind::BodyRewritten),
        ("\u{feff}{\"b\": \"caf\\u00e9/\", \"a\": [1, {}]}", CauseKind::BodyRewritten),
    ] {
        let headers = signed(&scheme, b"k", URL, original.as_bytes());
        assert_eq!(kinds(&found(&scheme, &headers, b"k", received.as_bytes())), [kind], "{received}");
    }
    for (original, received) in [
        ("a\r\nb", "a\nb"),
        ("a\nb", "a\r\nb"),
        ("{\"a\":1}\n", "{ \"a\" : 1 }"),
        ("{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}"),
        ("{\n    \"a\": 1\n}", "{\"a\":1}"),
        ("é", "Ã©"),
        (r#"{"a":"\u003cb\u003e\u0026é"}"#, r#"{"a":"<b>&é"}"#),
        (r#"{"a":"\u00E9"}"#, r#"{"a":"é"}"#),
        (r#"{"a":"\u0022\u002B\u00E9"}"#, r#"{"a":"\"+é"}"#),
        ("{\n\t\"a\": [\n\t\t1\n\t]\n}", "{\"a\":[1]}"),
        ("{\"a\":1,\"b\":\"1.0\"}", "{\"a\": 1.0, \"b\": \"1.0\"}"),
    ] {
        let headers = signed(&scheme, b"k", URL, original.as_bytes());
        let causes = kinds(&found(&scheme, &headers, b"k", received.as_bytes()));
        assert_eq!(causes, [CauseKind::BodyRewritten], "{original:?} {received:?}");
    }
    let headers = signed(&scheme, b"k", URL, b"\xe9");
    assert_eq!(kinds(&found(&scheme, &headers, b"k", "é".as_bytes())), [CauseKind::BodyRewritten]);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for (original, received) in
        [("a=b+c%2f", "a=b%20c%2f"), ("a=b%20c", "a=b+c"), ("a=%2F", "a=%2f"), ("a=b+c%2F", "a=b%20c%2f")]
    {
        let mut lines: Vec<(String, String)> = form.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let added = signed(&scheme, b"k", URL, original.as_bytes());
        lines.extend(added.iter().map(|(k, v)| (text(k), text(v))));
        let headers = Headers::from_pairs(lines);
        let causes = kinds(&found(&scheme, &headers, b"k", received.as_bytes()));
        assert_eq!(causes, [CauseKind::BodyRewritten], "{original} {received}");
    }
}

#[test]
fn a_signature_over_nothing_is_told_in_a_sentence() {
    let scheme = scheme("{body}", "utf8");
    let headers = signed(&scheme, b"k", URL, b"");
    let explanation = found(&scheme, &headers, b"k", b"{}");
    let said = explanation.causes[0].to_string();
    assert!(said.starts_with("The signature fits an empty body. Something between"), "{said}");
}

#[test]
fn what_is_said_where_no_cause_is_found_fits_the_request() {
    let plain = scheme("{body}", "utf8");
    let headers = signed(&plain, b"theirs", URL, b"{}");
    let otherwise = |scheme: &Arc<Scheme>, headers: &Headers, url: &str| {
        let message = message(url, headers, b"{}");
        let secrets = [named("main", b"ours")];
        let case = Case { message, at: NOW, scheme, secrets: &secrets, others: &[], providers: &[] };
        let explanation = explain(&case);
        assert!(explanation.causes.is_empty(), "{explanation:?}");
        explanation.otherwise
    };
    let said = otherwise(&plain, &headers, URL);
    assert!(said.contains("a secret that is not configured here") && !said.contains("URL"), "{said}");
    // The token or signature is not there at all: no other secret would help.
    let said = otherwise(&plain, &Headers::default(), URL);
    assert!(said.contains("The header X-Sig is missing.") && !said.contains("not configured"), "{said}");
    let of_url = scheme("{url}{body}", "utf8");
    let headers = signed(&of_url, b"ours", "https://elsewhere.example/hooks", b"{}");
    let said = otherwise(&of_url, &headers, URL);
    assert!(
        said.contains("takes it for https://hooks.example.com/in:") && said.contains("public_url"),
        "{said}"
    );
}

#[test]
fn a_secret_in_another_encoding_is_found() {
    let body = b"{}";
    // What the provider's key is, how the scheme reads a secret, what the operator gave.
    for (key, form, given) in [
        (&b"a secret key"[..], "utf8", "YSBzZWNyZXQga2V5"),
        (b"a secret key", "utf8", "612073656372657420 6b6579".replace(' ', "").as_str()),
        (b"a secret key", "utf8", "whsec_YSBzZWNyZXQga2V5"),
        (b"whsec_YSBz", "base64", "whsec_YSBz"),
        (b"a secret key", "utf8", " a secret key "),
        (b"a secret key", "utf8", "\"a secret key\""),
        (b"abcdef", "utf8", "sk_abcdef"),
        (b"deadbeef", "hex", "deadbeef"),
        (b"YSBzZWNyZXQga2V5", "base64", "YSBzZWNyZXQga2V5"),
    ] {
        let provider = scheme("{body}", "utf8");
        let headers = signed(&provider, key, URL, body);
        let scheme = scheme("{body}", form);
        let explanation = found(&scheme, &headers, given.as_bytes(), body);
        assert_eq!(kinds(&explanation), [CauseKind::SecretEncoding], "{form} {given}");
        let said = explanation.causes[0].to_string();
        assert!(said.contains("`main`") && !said.contains(given.trim()), "{said}");
    }
    let provider = scheme("{body}", "utf8");
    let headers = signed(&provider, b"deadbeef", URL, body);
    let said = found(&scheme("{body}", "hex"), &headers, b"deadbeef", body).causes[0].to_string();
    assert!(said.contains("its text as it stands is the key"), "{said}");
}

#[test]
fn another_url_is_found_and_told() {
    let scheme = scheme("{url}{body}", "utf8");
    for theirs in [
        "http://hooks.example.com/in?a=1",
        "https://hooks.example.com:443/in?a=1",
        "http://hooks.example.com:80/in?a=1",
        "https://hooks.example.com/in/?a=1",
        "https://hooks.example.com/in",
        "https://inner.example/in?a=1",
        "http://inner.example/in?a=1",
    ] {
        let added = signed(&scheme, b"k", theirs, b"{}");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut lines: Vec<(String, String)> = added.iter().map(|(k, v)| (text(k), text(v))).collect();
        lines.push(("Host".to_owned(), "inner.example".to_owned()));
        let headers = Headers::from_pairs(lines);
        let explanation = found(&scheme, &headers, b"k", b"{}");
        assert_eq!(kinds(&explanation), [CauseKind::PublicUrl], "{theirs}");
        let said = explanation.causes[0].to_string();
        assert!(said.contains(theirs.split('?').next().unwrap()) && !said.contains("a=1"), "{said}");
    }
}

#[test]
fn another_secret_is_found_wherever_it_is_configured() {
    let scheme = scheme("{body}", "utf8");
    let headers = signed(&scheme, b"theirs", URL, b"{}");
    let others = [
        Suspect { of: "route `a`".to_owned(), secret: named("1", b"no") },
        Suspect { of: "route `billing`".to_owned(), secret: named("new", b"theirs") },
    ];
    let explanation = explain(&Case {
        message: message(URL, &headers, b"{}"),
        at: NOW,
        scheme: &scheme,
        secrets: &[named("main", b"ours")],
        others: &others,
        providers: &[],
    });
    assert_eq!(kinds(&explanation), [CauseKind::OtherSecret]);
    let said = explanation.causes[0].to_string();
    assert!(said.contains("`new` of route `billing`") && !said.contains("theirs"), "{said}");
}

#[test]
fn a_skewed_clock_is_told_with_how_much() {
    let mut spec = spec("X-Sig", "{timestamp}.{body}", "utf8");
    spec.timestamp = Some(TimestampSpec { header: Some("X-Time".to_owned()), ..TimestampSpec::default() });
    let scheme = Arc::new(Scheme::compile(&spec).unwrap());
    let headers = signed(&scheme, b"k", URL, b"{}");
    let explanation = explain(&Case {
        message: message(URL, &headers, b"{}"),
        at: NOW.plus(std::time::Duration::from_secs(7200)),
        scheme: &scheme,
        secrets: &[named("main", b"k")],
        others: &[],
        providers: &[],
    });
    assert_eq!(kinds(&explanation), [CauseKind::Clock]);
    assert!(explanation.causes[0].message.contains("2h behind"), "{explanation:?}");
    // Late and touched: the cause is found all the same.
    let touched = explain(&Case {
        message: message(URL, &headers, b"{}\n"),
        at: NOW.plus(std::time::Duration::from_secs(7200)),
        scheme: &scheme,
        secrets: &[named("main", b"k")],
        others: &[],
        providers: &[],
    });
    assert_eq!(kinds(&touched), [CauseKind::TrailingNewline]);
}

fn provider(name: &str, header: &str) -> Arc<Provider> {
    let spec = ProviderSpec {
        name: name.to_owned(),
        display_name: name.to_owned(),
        docs: "https://example.com/".to_owned(),
        scheme: spec(header, "{body}", "utf8"),
        ..ProviderSpec::default()
    };
    Arc::new(Provider::compile(&spec).unwrap())
}

#[test]
fn the_header_of_another_provider_is_recognised() {
    let providers =
        [provider("acme", "X-Acme-Sig"), provider("umbra", "X-Umbra-Sig"), provider("own", "X-Sig")];
    let own = scheme("{body}", "utf8");
    let case = |headers: &Headers, secret: &[u8]| {
        explain(&Case {
            message: message(URL, headers, b"{}"),
            at: NOW,
            scheme: &own,
            secrets: &[named("main", secret)],
            others: &[],
            providers: &providers,
        })
    };
    let headers = signed(&providers[1].scheme, b"k", URL, b"{}");
    let likely = case(&headers, b"other");
    assert_eq!(kinds(&likely), [CauseKind::OtherProvider]);
    let said = likely.causes[0].to_string();
    assert!(said.contains("x-umbra-sig") && said.contains("\"umbra\"") && said.contains("x-sig"), "{said}");
    let proven = case(&headers, b"k");
    assert!(
        proven.causes[0].to_string().contains("verifies as a request of provider \"umbra\""),
        "{proven:?}"
    );
    assert!(case(&Headers::default(), b"k").causes.is_empty());
}

#[test]
fn a_provider_that_signs_as_this_one_does_is_no_cause() {
    let providers = [provider("own", "X-Sig"), provider("twin", "X-Sig")];
    let own = &providers[0].scheme;
    let headers = signed(own, b"k2", URL, b"{}");
    let others = [Suspect { of: "route `billing`".to_owned(), secret: named("live", b"k2") }];
    let secrets = [named("main", b"k")];
    let case = |others| Case {
        message: message(URL, &headers, b"{}"),
        at: NOW,
        scheme: own,
        secrets: &secrets,
        others,
        providers: &providers,
    };
    let explanation = explain(&case(&others));
    assert_eq!(kinds(&explanation), [CauseKind::OtherSecret], "{explanation:?}");
    assert!(explain(&case(&[])).causes.is_empty());
    // Nor is one that signs in another way, where the cause is known: a request may carry the headers of several.
    let umbra = [provider("umbra", "X-Umbra-Sig")];
    let theirs = signed(&umbra[0].scheme, b"k", URL, b"{}");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let both = Headers::from_pairs(headers.iter().chain(theirs.iter()).map(|(k, v)| (text(k), text(v))));
    let explanation =
        explain(&Case { message: message(URL, &both, b"{}"), providers: &umbra, ..case(&others) });
    assert_eq!(kinds(&explanation), [CauseKind::OtherSecret], "{explanation:?}");
    // Also where there is no secret to go by: a request without a signature is no twin's.
    let mut causes = Vec::new();
    let mut trial = Trial { at: NOW, left: MOST_HASHED, cut_short: false };
    other_providers(&case(&others), &mut trial, &mut causes);
    assert!(causes.is_empty(), "{causes:?}");
}

#[test]
fn the_work_for_one_request_has_a_bound() {
    let scheme = scheme("{body}", "utf8");
    let body = format!("[\"{}\"]", "x".repeat(8 << 20)).into_bytes();
    let headers = signed(&scheme, b"k", URL, b"x");
    let secrets: Vec<NamedSecret> = (0..8).map(|n| named(&n.to_string(), b"wrong")).collect();
    let explanation = explain(&Case {
        message: message(URL, &headers, &body),
        at: NOW,
        scheme: &scheme,
        secrets: &secrets,
        others: &[],
        providers: &[],
    });
    assert!(explanation.cut_short && explanation.causes.is_empty());
}
