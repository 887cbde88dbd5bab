use proptest::prelude::*;

use super::super::{JwtSpec, SecretIdSpec, SignatureSpec, TimestampSpec};
use super::*;

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn texts(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

fn sound() -> SchemeSpec {
    SchemeSpec {
        algorithm: "hmac-sha256".to_owned(),
        signature: SignatureSpec { headers: vec!["X-Sig".to_owned()], ..Default::default() },
        ..Default::default()
    }
}

fn keys(spec: &SchemeSpec) -> Vec<&'static str> {
    Scheme::compile(spec).unwrap_err().iter().map(|fault| fault.key).collect()
}

fn fault(change: impl FnOnce(&mut SchemeSpec)) -> String {
    let mut spec = sound();
    change(&mut spec);
    let faults = Scheme::compile(&spec).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    format!("{}: {}; {}", faults[0].key, faults[0].message, faults[0].hint)
}

#[test]
fn the_least_scheme_signs_the_body() {
    let scheme = Scheme::compile(&sound()).unwrap();
    assert!(scheme.binds_body() && !scheme.checks_time() && !scheme.signs_url());
    assert_eq!(scheme.redaction().words(), Vec::<String>::new());
}

#[test]
fn every_wrong_word_is_reported_at_once() {
    let spec = SchemeSpec {
        algorithm: "hmac-sha256".to_owned(),
        key: text("rot13"),
        signature: SignatureSpec {
            headers: vec!["X Sig".to_owned()],
            encoding: text("octal"),
            format: text("lost"),
            version: text("v1"),
            ..Default::default()
        },
        timestamp: Some(TimestampSpec {
            header: text("a b"),
            unit: text("h"),
            tolerance: text("5"),
            ..Default::default()
        }),
        signed: vec!["{bdy}".to_owned()],
        id: text("id"),
        url_port: text("8080"),
        ..Default::default()
    };
    assert_eq!(
        keys(&spec),
        [
            "signature.header",
            "signature.version",
            "signature.format",
            "signature.encoding",
            "key",
            "url_port",
            "timestamp.unit",
            "timestamp.tolerance",
            "id",
            "signed",
        ]
    );
}

#[test]
fn an_algorithm_must_be_one_that_is_there() {
    for (word, part) in [
        ("", "needs an algorithm"),
        ("HMAC-SHA256", "there is no algorithm"),
        ("hmac-keccak256", "there is no algorithm"),
        ("hmac-", "there is no algorithm"),
    ] {
        let message = fault(|spec| spec.algorithm = word.to_owned());
        assert!(message.starts_with("algorithm: ") && message.contains(part), "{message}");
        assert!(message.contains("\"hmac-sha256\"") && message.contains("\"jwt\""), "{message}");
    }
}

#[test]
fn what_is_checked_must_be_signed_and_what_is_signed_must_be_found() {
    let time = |header: &str| Some(TimestampSpec { header: text(header), ..Default::default() });
    assert!(fault(|spec| spec.timestamp = time("X-Ts")).contains("anybody could change it"));
    assert!(fault(|spec| spec.signed = texts("{timestamp}{body}")).contains("where it stands is not said"));
    assert!(fault(|spec| spec.signed = texts("{id}{body}")).contains("where it stands is not said"));
    assert!(fault(|spec| spec.id = text("header:x")).contains("no part of what is signed"));
    let mut in_body = sound();
    in_body.timestamp = Some(TimestampSpec { body: text("/at"), ..Default::default() });
    assert!(Scheme::compile(&in_body).unwrap().checks_time());
}

#[test]
fn a_timestamp_stands_in_one_place() {
    let with = |time: TimestampSpec| {
        fault(|spec| {
            spec.timestamp = Some(time);
            spec.signed = texts("{timestamp}.{body}");
        })
    };
    assert!(with(TimestampSpec::default()).starts_with("timestamp: "));
    let two = TimestampSpec { header: text("a"), body: text("/a"), ..Default::default() };
    assert!(with(two).starts_with("timestamp: "));
    let no_list = TimestampSpec { key: text("t"), ..Default::default() };
    assert!(with(no_list).starts_with("timestamp.key: "));
    let no_pointer = TimestampSpec { body: text("at"), ..Default::default() };
    assert!(with(no_pointer).starts_with("timestamp.body: "));
    let never = TimestampSpec { header: text("a"), tolerance: text("0s"), ..Default::default() };
    assert!(with(never).starts_with("timestamp.tolerance: "));
}

#[test]
fn a_digest_proves_something_only_in_a_signed_url() {
    let message = fault(|spec| spec.body_digest = text("query:h"));
    assert!(message.contains("{url} and {form_sorted}"), "{message}");
    let message = fault(|spec| {
        spec.body_digest = text("header:h");
        spec.signed = texts("{url}{form_sorted}");
    });
    assert!(message.contains("\"query:NAME\""), "{message}");
}

#[test]
fn a_secret_in_clear_takes_few_words_binds_nothing_and_is_not_shown() {
    let mut spec = sound();
    spec.algorithm = "token".to_owned();
    let scheme = Scheme::compile(&spec).unwrap();
    assert!(!scheme.binds_body());
    assert_eq!(scheme.redaction().words(), ["header:x-sig"]);
    spec.algorithm = "basic".to_owned();
    spec.signature.headers.clear();
    assert_eq!(Scheme::compile(&spec).unwrap().redaction().words(), ["header:authorization"]);
    spec.signature.prefixes = texts("Basic ");
    spec.signed = texts("{body}");
    spec.key = text("utf8");
    assert_eq!(keys(&spec), ["key", "signed", "signature.prefix"]);
}

#[test]
fn a_signature_that_leaves_the_body_out_only_authenticates() {
    let mut spec = sound();
    spec.signed = texts("{method}{path}");
    assert!(!Scheme::compile(&spec).unwrap().binds_body());
}

#[test]
fn a_hash_without_the_secret_in_it_proves_nothing() {
    let hash = |signed: &str| {
        let mut spec = sound();
        spec.algorithm = "sha256".to_owned();
        spec.signed = texts(signed);
        Scheme::compile(&spec).map_err(|faults| faults[0].message.clone())
    };
    assert!(hash("{secret}{body}").unwrap().binds_body());
    for signed in ["{body}", "{?{secret}}{body}"] {
        assert!(hash(signed).unwrap_err().contains("anybody can hash"), "{signed}");
    }
    assert!(fault(|spec| spec.signed = texts("{secret}{body}")).contains("has no meaning with algorithm"));
}

#[test]
fn every_template_must_sign_the_time_and_bind_the_body() {
    let mut spec = sound();
    spec.signed = vec!["{body}".to_owned(), "{body}\n".to_owned()];
    assert!(Scheme::compile(&spec).unwrap().binds_body());
    spec.signed.push("{path}".to_owned());
    assert!(!Scheme::compile(&spec).unwrap().binds_body());
    spec.timestamp = Some(TimestampSpec { header: text("X-Ts"), ..Default::default() });
    spec.signed = vec!["{timestamp}{body}".to_owned(), "{body}".to_owned()];
    assert_eq!(keys(&spec), ["signed"]);
    spec.signed = vec!["{?{timestamp}}{body}".to_owned()];
    assert_eq!(keys(&spec), ["signed"]);
    spec.signed = vec!["{timestamp}{body}".to_owned(); 5];
    assert!(Scheme::compile(&spec).unwrap_err()[0].message.contains("long list"));
}

#[test]
fn a_signature_may_stand_in_the_body_but_cannot_sign_itself() {
    let mut spec = sound();
    spec.signature.headers.clear();
    spec.signature.body = text("/signature");
    assert_eq!(keys(&spec), ["signed"]);
    spec.signed = texts("{body:/id}");
    assert!(!Scheme::compile(&spec).unwrap().binds_body());
    spec.signature.body = text("whole");
    assert_eq!(keys(&spec), ["signature.body"]);
    spec.signature.body = text("/a/*/b");
    assert_eq!(keys(&spec), ["signature.body"]);
    spec.signature.body = text("signature");
    assert_eq!(keys(&spec), ["signature.body"]);
}

#[test]
fn a_strict_form_binds_the_body_by_its_fields() {
    let mut spec = sound();
    spec.signed = texts("{form:payload}");
    assert!(!Scheme::compile(&spec).unwrap().binds_body());
    spec.strict_form = true;
    assert!(Scheme::compile(&spec).unwrap().binds_body());
    spec.signed = texts("{body}");
    assert_eq!(keys(&spec), ["strict_form"]);
}

#[test]
fn a_time_that_is_not_enforced_has_no_tolerance_and_is_not_checked() {
    let mut spec = sound();
    spec.signed = texts("{timestamp}{body}");
    spec.timestamp = Some(TimestampSpec { header: text("X-Ts"), enforce: Some(false), ..Default::default() });
    assert!(!Scheme::compile(&spec).unwrap().checks_time());
    spec.timestamp.as_mut().unwrap().tolerance = text("5m");
    assert_eq!(keys(&spec), ["timestamp.tolerance"]);
}

#[test]
fn a_scheme_with_key_pairs_takes_no_key_word() {
    let mut spec = sound();
    for word in
        ["ed25519", "ecdsa-p256", "ecdsa-p256-sha1", "rsa-sha1", "rsa-sha256", "rsa-sha512", "rsa-pss-sha256"]
    {
        spec.algorithm = word.to_owned();
        spec.key = None;
        let scheme = Scheme::compile(&spec).unwrap();
        assert!(scheme.has_private_key() && scheme.binds_body(), "{word}");
        spec.key = text("utf8");
        assert_eq!(keys(&spec), ["key"], "{word}");
    }
}

#[test]
fn a_token_names_its_algorithms_and_binds_the_body_only_by_a_claim_that_must_be_there() {
    let mut spec = sound();
    spec.algorithm = "jwt".to_owned();
    assert_eq!(keys(&spec), ["jwt.algorithms"]);
    let jwt = |change: fn(&mut JwtSpec)| {
        let mut jwt = JwtSpec { algorithms: texts("HS256"), ..Default::default() };
        change(&mut jwt);
        Some(jwt)
    };
    let binds = |jwt| Scheme::compile(&SchemeSpec { jwt, ..spec.clone() }).unwrap().binds_body();
    assert!(!binds(jwt(|_| {})));
    assert!(binds(jwt(|jwt| jwt.body_hash = text("sha256"))));
    assert!(binds(jwt(|jwt| jwt.body_claim = text("data"))));
    assert!(!binds(jwt(|jwt| {
        jwt.body_hash = text("sha256");
        jwt.optional = texts("sha256");
    })));
    let wrong = jwt(|jwt| {
        jwt.algorithms.push("none".to_owned());
        jwt.body_hash_encoding = text("hex");
        jwt.body_hash_unless_empty = true;
        jwt.leeway = text("5");
        jwt.max_age = text("x");
    });
    let found = keys(&SchemeSpec { jwt: wrong, ..spec.clone() });
    assert_eq!(
        found,
        [
            "jwt.algorithms",
            "jwt.body_hash_encoding",
            "jwt.body_hash_unless_empty",
            "jwt.leeway",
            "jwt.max_age"
        ]
    );
    assert_eq!(
        keys(&SchemeSpec { jwt: jwt(|jwt| jwt.optional = texts("iss")), ..spec.clone() }),
        ["jwt.optional"]
    );
    let both = jwt(|jwt| {
        jwt.body_claim = text("data");
        jwt.required = texts("data");
        jwt.optional = texts("data");
    });
    assert_eq!(keys(&SchemeSpec { jwt: both, ..spec.clone() }), ["jwt.optional"]);
    spec.algorithm = "jws".to_owned();
    spec.jwt = jwt(|_| {});
    assert!(Scheme::compile(&spec).unwrap().binds_body());
    spec.jwt = jwt(|jwt| jwt.unencoded = true);
    assert!(Scheme::compile(&spec).unwrap().binds_body());
    spec.jwt = jwt(|jwt| jwt.max_age = text("5m"));
    assert_eq!(keys(&spec), ["jwt"]);
    spec.algorithm = "jwt".to_owned();
    spec.jwt = jwt(|jwt| jwt.unencoded = true);
    assert_eq!(keys(&spec), ["jwt.unencoded"]);
}

#[test]
fn only_a_header_without_a_number_is_repeated() {
    type Change = fn(&mut SchemeSpec);
    let with = |change: Change| {
        let mut spec = sound();
        spec.signature.repeated = true;
        change(&mut spec);
        spec
    };
    let right: [Change; 2] =
        [|_| {}, |spec| spec.signature.headers = vec!["X-A".to_owned(), "X-B".to_owned()]];
    for change in right {
        assert!(Scheme::compile(&with(change)).is_ok());
    }
    let wrong: [Change; 3] = [
        |spec| spec.signature.headers = texts("X-Sig-{n}"),
        |spec| spec.signature.query = text("sig"),
        |spec| {
            spec.algorithm = "token".to_owned();
            spec.signature.encoding = None;
        },
    ];
    for change in wrong {
        assert_eq!(keys(&with(change)), ["signature.repeated"]);
    }
}

#[test]
fn an_id_beside_the_key_is_said_whole() {
    let with = |separator: &str, stands: &str| {
        let mut spec = sound();
        spec.signed = texts("{secret_id}{body}");
        spec.secret_id = Some(SecretIdSpec { separator: separator.to_owned(), stands: stands.to_owned() });
        Scheme::compile(&spec).map_err(|faults| faults[0].key)
    };
    assert!(with("|", "after").is_ok());
    assert_eq!(with("", "after").unwrap_err(), "secret_id.separator");
    assert_eq!(with("|", "beside").unwrap_err(), "secret_id.stands");
    assert!(fault(|spec| spec.signed = texts("{secret_id}{body}")).contains("not said"));
}

proptest! {
    #[test]
    fn any_words_are_compiled_or_refused_without_a_panic(
        words in prop::collection::vec(
            prop::option::of(".{0,12}|hmac-sha1|sha1|jwt|rsa-sha1|list|positional|versioned|hex|s|v1|whole|/a/*"), 20,
        ),
    ) {
        let word = |i: usize| words[i].clone();
        let list = |i: usize| word(i).into_iter().collect::<Vec<String>>();
        let _ = Scheme::compile(&SchemeSpec {
            algorithm: word(0).unwrap_or_else(|| "hmac-sha256".to_owned()),
            key: word(1),
            signature: SignatureSpec {
                headers: list(2), query: word(12), form: word(13), body: word(14), prefixes: list(3),
                encoding: word(4), format: word(5), separator: word(6), assign: word(15), keys: list(7),
                fields: list(16), groups: word(17), version: word(8), repeated: words[19].is_some(),
            },
            timestamp: word(9).map(|w| TimestampSpec {
                key: Some(w.clone()), tolerance: Some(w), body: word(18), ..Default::default()
            }),
            signed: list(10),
            id: word(11),
            document: word(19),
            body_digest: word(6),
            url_port: word(7),
            jwt: word(18).map(|w| JwtSpec { algorithms: vec![w.clone()], leeway: Some(w), ..Default::default() }),
            ..Default::default()
        });
    }
}
