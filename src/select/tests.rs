use proptest::prelude::*;

use super::*;

fn message<'a>(headers: &'a Headers, query: Option<&'a str>, body: &'a [u8]) -> Message<'a> {
    Message { method: "POST", path: "/hook", query, url: "https://example.com/hook", headers, body }
}

fn in_body(pointer: &str, body: &str) -> Option<String> {
    let headers = Headers::default();
    Selector::parse(&format!("body:{pointer}")).unwrap().extract(&message(&headers, None, body.as_bytes()))
}

fn in_query(name: &str, query: &str) -> Option<String> {
    let headers = Headers::default();
    Selector::parse(&format!("query:{name}")).unwrap().extract(&message(&headers, Some(query), b""))
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_header_is_found_whatever_its_case_and_only_where_it_is_unambiguous() {
    let extract = |word: &str, pairs: &[(&str, &str)]| {
        let headers = Headers::from_pairs(pairs.iter().copied());
        Selector::parse(word).unwrap().extract(&message(&headers, None, b""))
    };
    assert_eq!(extract("header:X-Id", &[("x-ID", " 7 ")]), some("7"));
    assert_eq!(extract("header:X-Id", &[("x-id", "7"), ("X-Id", "7")]), some("7"));
    assert_eq!(extract("header:X-Id", &[("x-id", "7"), ("X-Id", "8")]), None);
    assert_eq!(extract("header:X-Id", &[("x-id", "")]), None);
    assert_eq!(extract("header:X-Id", &[]), None);
    let long = "a".repeat(MAX_VALUE_BYTES);
    assert_eq!(extract("header:X-Id", &[("x-id", &long)]), some(&long));
    assert_eq!(extract("header:X-Id", &[("x-id", &format!("{long}a"))]), None);
}

#[test]
fn a_header_that_is_not_utf8_is_no_value() {
    let headers = Headers::from_pairs([(&b"x-id"[..], &b"\xff"[..])]);
    assert_eq!(Selector::parse("header:x-id").unwrap().extract(&message(&headers, None, b"")), None);
}

#[test]
fn scalars_of_a_json_body_are_values_as_they_are_written() {
    let body = r#"{"skip":{"id":[1,{"id":"no"}]},"id":"e\u0076t_1","n":12345678901234567890123,"f":1.50,"b":false,
        "z":null,"o":{"a/b":{"~":["x","y"]}},"":"empty name","s":""}"#;
    assert_eq!(in_body("/id", body), some("evt_1"));
    assert_eq!(in_body("/n", body), some("12345678901234567890123"));
    assert_eq!(in_body("/f", body), some("1.50"));
    assert_eq!(in_body("/b", body), some("false"));
    assert_eq!(in_body("/o/a~1b/~0/1", body), some("y"));
    assert_eq!(in_body("/skip/id/1/id", body), some("no"));
    assert_eq!(in_body("/", body), some("empty name"));
    for none in
        ["/z", "/o", "/o/a~1b/~0", "/s", "/missing", "/id/0", "/o/a~1b/~0/2", "/o/a~1b/~0/-", "/o/a~1b/~0/01"]
    {
        assert_eq!(in_body(none, body), None, "{none}");
    }
}

#[test]
fn reading_a_json_body_stops_at_the_value() {
    assert_eq!(in_body("/id", r#"{"id":"evt_1", this is no JSON"#), some("evt_1"));
    assert_eq!(in_body("/id", r#"{"a": this is no JSON, "id":"evt_1"}"#), None);
    assert_eq!(in_body("/0", "[7,"), some("7"));
    assert_eq!(in_body("/id", r#"{"id":"first","id":"second"}"#), some("first"));
}

#[test]
fn a_long_json_string_is_no_value() {
    let long = "a".repeat(MAX_VALUE_BYTES);
    assert_eq!(in_body("/id", &format!(r#"{{"id":"{long}"}}"#)), some(&long));
    assert_eq!(in_body("/id", &format!(r#"{{"id":"{long}a"}}"#)), None);
    assert_eq!(in_body("/id", &format!(r#"{{"id":{}}}"#, "1".repeat(MAX_VALUE_BYTES + 1))), None);
    let escaped = r"\u0061".repeat(MAX_VALUE_BYTES);
    assert_eq!(in_body("/id", &format!(r#"{{"id":"{escaped}"}}"#)), some(&long));
}

#[test]
fn a_deeply_nested_body_is_refused_not_followed() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(in_body("/0/0/0", &deep), None);
    assert_eq!(in_body("/id", &format!(r#"{{"a":{deep},"id":"x"}}"#)), some("x"));
}

#[test]
fn a_query_parameter_is_decoded_and_unambiguous() {
    assert_eq!(in_query("id", "a=1&id=x%20y+z&b"), some("x y z"));
    assert_eq!(in_query("i d", "i%20d=7"), some("7"));
    assert_eq!(in_query("id", "id=7&id=7"), some("7"));
    for none in ["id=7&id=8", "id=", "id", "", "ID=7", "id=%ff"] {
        assert_eq!(in_query("id", none), None, "{none}");
    }
}

#[test]
fn a_field_of_a_multipart_form_and_the_json_in_it_are_values() {
    let headers = Headers::from_pairs([("Content-Type", "multipart/form-data; boundary=B")]);
    let body =
        b"--B\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{\"event\":{\"id\":\"e1\"}}\r\n--B--";
    let extract = |word: &str| Selector::parse(word).unwrap().extract(&message(&headers, None, body));
    assert_eq!(extract("form:json"), some(r#"{"event":{"id":"e1"}}"#));
    assert_eq!(extract("form:json#/event/id"), some("e1"));
    assert_eq!(extract("form:json#/event"), None);
    assert_eq!(extract("form:other#/event/id"), None);
    assert!(Selector::parse("form:json#event").unwrap_err().contains("not a JSON pointer"));
}

#[test]
fn a_form_parameter_is_looked_for_only_in_a_form() {
    let extract = |content_type: &str| {
        let headers = Headers::from_pairs([("Content-Type", content_type)]);
        let selector = Selector::parse("form:MessageSid").unwrap();
        selector.extract(&message(&headers, Some("MessageSid=no"), b"a=b&MessageSid=SM%31"))
    };
    assert_eq!(extract("Application/x-www-form-urlencoded; charset=utf-8"), some("SM1"));
    assert_eq!(extract("application/json"), None);
}

#[test]
fn a_claim_of_a_token_is_a_value() {
    // {"alg":"HS256"} and {"sub":"s 1","n":{"id":7}}
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzIDEiLCJuIjp7ImlkIjo3fX0.c2ln";
    let extract = |word: &str, value: &str, body: &str| {
        let headers = Headers::from_pairs([("Authorization", value)]);
        Selector::parse(word).unwrap().extract(&message(&headers, None, body.as_bytes()))
    };
    assert_eq!(extract("header:authorization#/sub", token, ""), some("s 1"));
    assert_eq!(extract("header:Authorization#/n/id", &format!("Bearer {token}"), ""), some("7"));
    assert_eq!(extract("jwt:/sub", "", &format!("{token}\n")), some("s 1"));
    assert_eq!(extract("jwt:/none", "", token), None);
    let (longer, gaping) = (format!("{token}.d"), token.replace('.', ".."));
    for none in ["", "a.b", "a.!.c", "eyJhbGciOiJIUzI1NiJ9", longer.as_str(), gaping.as_str()] {
        assert_eq!(extract("jwt:/sub", "", none), None, "{none}");
        assert_eq!(extract("header:authorization#/sub", none, ""), None, "{none}");
    }
    assert!(Selector::parse("jwt:sub").unwrap_err().contains("begins with"));
    assert!(Selector::parse("header:a b#/sub").unwrap_err().contains("not a header's name"));
}

#[test]
fn a_list_is_joined_and_one_missing_part_makes_it_none() {
    let headers = Headers::from_pairs([("a", "1"), ("b", "2")]);
    let extract = |words: &[&str]| {
        let parts = words.iter().map(|word| Selector::parse_dedupe(word).unwrap()).collect();
        Selector::joined(parts).extract(&message(&headers, None, b"body"))
    };
    assert_eq!(extract(&["header:a", "header:b"]), some("1:2"));
    assert_eq!(extract(&["header:a"]), some("1"));
    assert_eq!(extract(&["header:a", "header:c"]), None);
    assert_eq!(extract(&[]), None);
    let digest = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5";
    assert_eq!(extract(&["body:sha256"]), some(digest));
}

#[test]
fn wrong_words_are_refused_with_the_right_ones() {
    for (text, part) in [
        ("id", "write \"header:NAME\""),
        ("cookie:id", "write \"header:NAME\""),
        ("header:", "not a header's name"),
        ("header:a b", "not a header's name"),
        ("query:", "names no parameter"),
        ("form:", "names no parameter"),
        ("body:id", "begins with \"/\""),
        ("body:", "begins with \"/\""),
        ("body:/a~2", "RFC 6901"),
        ("body:/a~", "RFC 6901"),
        ("body:sha256", "only as a key of dedupe"),
    ] {
        let error = Selector::parse(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    let deep = "/a".repeat(33);
    assert!(Selector::parse(&format!("body:{deep}")).unwrap_err().contains("at most 32"));
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in ".*") {
        let _ = Selector::parse(&text);
        let _ = Selector::parse(&format!("body:/{text}"));
    }

    #[test]
    fn any_body_and_query_are_searched_without_a_panic_and_yield_bounded_values(
        body in prop::collection::vec(any::<u8>(), 0..200),
        jsonish in r#"[\[\]{}":,a0-9\\u~ ]{0,80}"#,
        query in ".*",
    ) {
        let headers = Headers::from_pairs([("content-type", "application/x-www-form-urlencoded")]);
        for word in ["body:/a", "body:/0/a", "query:a", "form:a", "header:content-type", "jwt:/a", "header:content-type#/a"] {
            let selector = Selector::parse(word).unwrap();
            for body in [&body[..], jsonish.as_bytes()] {
                if let Some(value) = selector.extract(&message(&headers, Some(&query), body)) {
                    prop_assert!(!value.is_empty() && value.len() <= MAX_VALUE_BYTES);
                }
            }
        }
    }

    #[test]
    fn a_string_in_an_object_is_found_whatever_it_holds(name in ".{0,20}", value in ".{1,100}", other in ".{0,20}") {
        prop_assume!(value.len() <= MAX_VALUE_BYTES && name != other);
        let body = format!(
            "{{{}:[{}],{}:{}}}",
            serde_json::to_string(&other).unwrap(), serde_json::to_string(&name).unwrap(),
            serde_json::to_string(&name).unwrap(), serde_json::to_string(&value).unwrap(),
        );
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        prop_assert_eq!(in_body(&pointer, &body), Some(value));
    }
}

#[test]
fn a_selector_is_shown_as_it_is_written_and_tells_what_is_missing() {
    let words = [
        "header:x-id",
        "header:authorization#/sub",
        "jwt:/a",
        "body:/a~1b/~0/0",
        "query:q",
        "form:f",
        "form:f#/a",
    ];
    for word in words {
        assert_eq!(Selector::parse(word).unwrap().to_string(), word);
    }
    assert_eq!(Selector::parse_dedupe("body:sha256").unwrap().to_string(), "body:sha256");
    let joined =
        Selector::joined(["header:x-id", "body:/id"].map(|word| Selector::parse(word).unwrap()).to_vec());
    assert_eq!(joined.to_string(), "header:x-id + body:/id");
    let headers = Headers::from_pairs([("X-Id", "1")]);
    let missing = |headers, body| {
        let message = Message { method: "POST", path: "/", query: None, url: "", headers, body };
        joined.missing_part(&message)
    };
    assert_eq!(missing(&headers, b"{}"), "body:/id");
    assert_eq!(missing(&Headers::default(), b"{}"), "x-id");
}
