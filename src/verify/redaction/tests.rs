use proptest::prelude::*;

use super::*;
use crate::verify::{JwtSpec, Scheme, SchemeSpec, SignatureSpec};

const SECRET: &str = "hunter2";

fn of(words: &[&str]) -> Redaction {
    Redaction::of_words(words.iter().copied())
}

fn typed(content_type: &str) -> Headers {
    Headers::from_pairs([("Content-Type", content_type)])
}

fn shown(redaction: &Redaction, content_type: &str, body: &str) -> String {
    String::from_utf8(redaction.body(&typed(content_type), body.as_bytes()).into_owned()).unwrap()
}

#[test]
fn a_scheme_hides_the_places_in_which_its_secret_stands_and_no_other_scheme_hides_any() {
    let places = SignatureSpec {
        headers: vec!["X-Token".into(), "X-Key-{n}".into()],
        query: Some("code".into()),
        form: Some("token".into()),
        body: Some("/a/b".into()),
        ..SignatureSpec::default()
    };
    let spec = |algorithm: &str, jwt: Option<JwtSpec>| SchemeSpec {
        algorithm: algorithm.into(),
        signature: places.clone(),
        signed: if jwt.is_none() && algorithm != "token" { vec!["{body:/id}".into()] } else { Vec::new() },
        jwt,
        ..SchemeSpec::default()
    };
    let only = |algorithm: &str| JwtSpec { algorithms: vec![algorithm.into()], ..JwtSpec::default() };
    let hidden = |spec: &SchemeSpec| Scheme::compile(spec).unwrap().redaction().words();
    let all = ["header:x-token", "header:x-key-{n}", "query:code", "form:token", "body:/a/b"];
    assert_eq!(hidden(&spec("token", None)), all);
    assert_eq!(hidden(&spec("jwt", Some(only("HS256")))), all);
    let none: [&str; 0] = [];
    assert_eq!(hidden(&spec("hmac-sha256", None)), none);
    assert_eq!(hidden(&spec("jws", Some(only("ES256")))), none);
}

#[test]
fn headers_are_hidden_by_name_in_any_case_and_numbered_ones_by_their_stem() {
    let redaction = of(&["header:X-Token", "header:X-Key-{n}"]);
    for hidden in ["x-token", "X-TOKEN", "X-Key-1", "x-key-12"] {
        assert!(redaction.hides_header(hidden), "{hidden}");
    }
    for shown in ["X-Tokens", "X-Key-", "X-Key-a", "X-Key"] {
        assert!(!redaction.hides_header(shown), "{shown}");
    }
    assert!(Redaction::anywhere().hides_header("X-Anything"));
    assert!(!Redaction::anywhere().hides_header("content-TYPE"));
}

#[test]
fn a_value_in_json_is_hidden_wherever_its_name_stands_and_nothing_else_is_touched() {
    let redaction = of(&["body:/hook/key", "body:/value/*/state"]);
    for (body, expected) in [
        (r#" {"a" : 1.50, "hook":{"key": "hunter2"}}"#, r#" {"a" : 1.50, "hook":{"key": "[redacted]"}}"#),
        (
            r#"{"hook":{"key":"hunter2","key":"hunter2"}}"#,
            r#"{"hook":{"key":"[redacted]","key":"[redacted]"}}"#,
        ),
        (r#"{"hook":1,"hook":{"k\u0065y":["hunter2"]}}"#, r#"{"hook":1,"hook":{"k\u0065y":"[redacted]"}}"#),
        (
            r#"{"value":[{"state":"hunter2","n":1},{"state":"hunter2"}]}"#,
            r#"{"value":[{"state":"[redacted]","n":1},{"state":"[redacted]"}]}"#,
        ),
        (r#"{"key":"shown"}"#, r#"{"key":"shown"}"#),
        ("[]", "[]"),
    ] {
        assert_eq!(shown(&redaction, "application/json", body), expected);
    }
    for broken in
        [r#"{"hook":{"key":"hunter2"}"#, r#"{"hook":{"key":"hunter2"}} x"#, "\"hunter2\"", "hunter2", "17"]
    {
        assert_eq!(shown(&redaction, "application/json", broken), REDACTED, "{broken}");
    }
    assert_eq!(shown(&redaction, "application/json", ""), "");
}

#[test]
fn a_field_of_a_form_is_hidden_however_its_name_is_escaped() {
    let redaction = of(&["form:to ken"]);
    let form = "application/x-www-form-urlencoded";
    assert_eq!(
        shown(&redaction, form, "a=1&to+ken=hunter2&to%20ken=hunter2=x&tok=2"),
        "a=1&to+ken=[redacted]&to%20ken=[redacted]&tok=2"
    );
    let multipart = "multipart/form-data; boundary=B";
    let body = "--B\r\nContent-Disposition: form-data; name=\"to ken\"\r\n\r\nhunter2\r\n\
                --B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B--\r\n";
    assert_eq!(shown(&redaction, multipart, body), body.replace(SECRET, REDACTED));
    // A part that does not end is none, and what it holds is not looked for.
    let open = "--B\r\nContent-Disposition: form-data; name=\"to ken\"\r\n\r\nhunter2";
    assert_eq!(shown(&redaction, multipart, open), REDACTED);
    assert_eq!(shown(&redaction, "text/plain", "to ken=hunter2"), REDACTED);
    // Sent the wrong way round.
    assert_eq!(
        shown(&redaction, "application/json", r#"{"to ken":"hunter2"}"#),
        r#"{"to ken":"[redacted]"}"#
    );
    assert_eq!(shown(&of(&["body:/a/token"]), form, "token=hunter2&a=1"), "token=[redacted]&a=1");
}

#[test]
fn of_a_body_that_is_a_token_all_but_its_proof_is_shown() {
    let redaction = of(&["body:whole"]);
    assert_eq!(shown(&redaction, "application/jwt", "eyJh.eyJi.c2ln\n"), "eyJh.eyJi.[redacted]\n");
    assert_eq!(shown(&redaction, "application/json", r#"{"a":1}"#), r#"{"a":1}"#);
    for none in ["eyJh.eyJi", "a.b.c.d", "a..c", "\"a.b.c\"", "a.b .c"] {
        assert_eq!(shown(&redaction, "application/jwt", none), REDACTED, "{none}");
    }
}

#[test]
fn words_are_read_as_they_are_written_and_what_is_none_hides_everything() {
    let words = ["header:x-a", "header:x-b-{n}", "query:c", "form:d", "body:/e/*/f", "body:whole"];
    assert_eq!(of(&words).words(), words);
    assert_eq!(of(&of(&words).words().iter().map(String::as_str).collect::<Vec<_>>()), of(&words));
    assert_eq!(of(&["form:json#/token"]).words(), ["form:json"]);
    for none in ["", "cookie:a", "header:a b", "query:", "form:", "body:a"] {
        assert_eq!(of(&[none]), Redaction::anywhere(), "{none}");
    }
    let redaction = of(&["header:X-Token", "body:/a"]);
    assert!(redaction.covers("header:x-TOKEN") && redaction.covers("body:/a"));
    assert!(!redaction.covers("query:a") && !redaction.covers("body:/a/b"));
}

proptest! {
    #[test]
    fn no_body_makes_it_panic_and_none_that_holds_the_secret_shows_it(
        before in "[\\[\\]{}\":,a-c&=% -]{0,20}",
        after in "[\\[\\]{}\":,a-c&=% -]{0,20}",
        bytes in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let types = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "text/plain"];
        for words in [&["body:/a"][..], &["body:/*/b", "form:c"], &["body:whole"], &["anywhere"]] {
            for content_type in types {
                let _ = of(words).body(&typed(content_type), &bytes);
            }
        }
        let at = of(&["body:/a"]);
        let json = format!("{{{before}\"a\":\"hunter2\"{after}}}");
        // In what is JSON it stands at the place; in what is none it could stand anywhere.
        if shown(&at, "application/json", &json).contains(SECRET) {
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_ne!(value.get("a").and_then(serde_json::Value::as_str), Some(SECRET));
        }
    }

    #[test]
    fn what_is_shown_of_json_says_the_same_but_for_the_secret(
        members in prop::collection::btree_map("[a-z]{1,3}", ".{0,8}", 0..6),
    ) {
        let mut object = serde_json::to_value(&members).unwrap();
        object["key"] = SECRET.into();
        let shown = shown(&of(&["body:/key"]), "application/json", &object.to_string());
        object["key"] = REDACTED.into();
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), object);
    }
}
