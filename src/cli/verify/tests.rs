use super::*;

const BODY: &str = r#"{"foo":"bar"}"#;
const SIGNATURE: &str = "sha256=4864d2759938a15468b5df9ade20bf161da9b4f737ea61794142f3484236bda3";

fn judged(line: &str) -> Value {
    judge(line.as_bytes(), true, Catalog::shipped(), &Clock::manual(Millis(1_700_000_000_000)))
}

fn github(change: impl FnOnce(&mut Value)) -> Value {
    let mut line = json!({
        "provider": "github", "name": "n", "secret": "mysecret", "method": "POST",
        "url": "https://example.com/webhook", "headers": { "X-Hub-Signature-256": SIGNATURE }, "body": BODY,
        "now": null, "valid": true, "whatever": [1],
    });
    change(&mut line);
    judged(&line.to_string())
}

fn stripe(now: &str) -> Value {
    judged(&format!(
        r#"{{"provider":"stripe","secret":"whsec_test_primary_32_byte_key_material",{now}
        "headers":{{"Stripe-Signature":"t=1700000000,v1=4baa0848f825cb0ac3bb399a74627fed469f817c39cce6dc8c379ee6bbe24675"}},
        "body":"{{\"id\":\"evt_1\",\"ok\":true}}"}}"#
    ))
}

#[test]
fn a_line_is_answered_in_the_words_of_the_contract() {
    let right = github(|_| {});
    assert_eq!(
        right,
        json!({"provider": "github", "name": "n", "verified": true, "outcome": "verified", "error": null,
               "message": null, "field": null})
    );
    let wrong = github(|line| line["secret"] = json!("other"));
    assert_eq!(
        (&wrong["verified"], &wrong["outcome"], &wrong["error"]),
        (&json!(false), &json!("refused"), &json!("invalid_signature"))
    );
    let rotated = github(|line| line["secret"] = json!(["other", "mysecret"]));
    assert_eq!(rotated["outcome"], "verified");
    let token = judged(
        r#"{"provider":"gitlab","secret":"s","headers":{"x-gitlab-token":"s"},"body":"{}","now":1700000000}"#,
    );
    assert_eq!(
        (&token["verified"], &token["outcome"], &token["name"]),
        (&json!(true), &json!("authenticated"), &Value::Null)
    );
}

#[test]
fn the_time_is_the_lines_the_clocks_or_not_checked() {
    assert_eq!(stripe("")["outcome"], "verified");
    assert_eq!(stripe(r#""now":1700000299.5,"#)["outcome"], "verified");
    assert_eq!(stripe(r#""now":1700000301,"#)["error"], "timestamp_out_of_tolerance");
    assert_eq!(stripe(r#""now":1800000000,"#)["error"], "timestamp_out_of_tolerance");
    assert_eq!(stripe(r#""now":null,"#)["outcome"], "verified");
    for odd in ["\"1700000000\"", "-1", "1e300", "[]", "true"] {
        assert_eq!(stripe(&format!("\"now\":{odd},"))["error"], "malformed_line", "{odd}");
    }
}

#[test]
fn an_unchecked_time_excuses_nothing_else() {
    let line = r#"{"provider":"stripe","secret":"s","headers":{"Stripe-Signature":"t=1,v1=00"},"body":"","now":null}"#;
    assert_eq!(judged(line)["error"], "invalid_signature");
}

#[test]
fn bodies_are_text_or_base64() {
    let encoded = github(|line| {
        line.as_object_mut().unwrap().remove("body");
        line["body_base64"] = json!(STANDARD_BODY);
    });
    assert_eq!(encoded["outcome"], "verified");
    assert_eq!(github(|line| line["body_base64"] = json!("%"))["error"], "malformed_line");
    assert_eq!(github(|line| line["body"] = json!({"foo": "bar"}))["error"], "malformed_line");
    assert_eq!(github(|line| line["body"] = json!("{\"foo\":\"baz\"}"))["error"], "invalid_signature");
}

const STANDARD_BODY: &str = "eyJmb28iOiJiYXIifQ==";

#[test]
fn no_header_line_is_dropped_however_it_is_written() {
    let pairs = github(|line| line["headers"] = json!([["x-hub-signature-256", SIGNATURE]]));
    assert_eq!(pairs["outcome"], "verified");
    let same = github(|line| line["headers"] = json!({"X-Hub-Signature-256": [SIGNATURE, SIGNATURE]}));
    assert_eq!(same["outcome"], "verified");
    let zero = format!("sha256={}", "0".repeat(64));
    for twice in [
        json!([["X-Hub-Signature-256", SIGNATURE], ["X-Hub-Signature-256", &zero]]).to_string(),
        json!({"X-Hub-Signature-256": SIGNATURE, "x-hub-signature-256": &zero}).to_string(),
        json!({"X-Hub-Signature-256": [SIGNATURE, &zero]}).to_string(),
        // A reader that keeps only the last one of a name would see one header here.
        format!(r#"{{"X-Hub-Signature-256":"{zero}","X-Hub-Signature-256":"{SIGNATURE}"}}"#),
    ] {
        let line = format!(
            r#"{{"provider":"github","secret":"mysecret","headers":{twice},"body":{},"now":null}}"#,
            json!(BODY)
        );
        assert_eq!(judged(&line)["error"], "invalid_signature", "{twice}");
    }
    for odd in [json!("x"), json!({"a b": "x"}), json!({"a": "x\r\nb: y"}), json!({"a": 1}), json!([["a"]])] {
        assert_eq!(github(|line| line["headers"] = odd.clone())["error"], "malformed_line", "{odd}");
    }
}

#[test]
fn a_line_with_a_mistake_is_answered_by_its_name_and_a_sentence() {
    let unknown = github(|line| line["provider"] = json!("githup"));
    assert_eq!((&unknown["error"], &unknown["name"]), (&json!("unknown_provider"), &json!("n")));
    assert!(unknown["message"].as_str().unwrap().contains("github"), "{unknown}");
    let none = github(|line| line["secret"] = json!(""));
    assert_eq!(none["error"], "unusable_secret");
    let missing = github(|line| drop(line.as_object_mut().unwrap().remove("secret")));
    assert_eq!((&missing["error"], &missing["name"]), (&json!("malformed_line"), &json!("n")));
    assert!(missing["message"].as_str().unwrap().contains("secret"), "{missing}");
    for odd in ["{", "[]", "1", "nonsense", "\u{0}", "{} {}"] {
        assert_eq!(judged(odd)["error"], "malformed_line", "{odd}");
    }
    let bytes = judge(b"\xff\xfe", true, Catalog::shipped(), &Clock::system());
    assert_eq!(bytes["error"], "malformed_line");
}

#[test]
fn urls_have_a_path_and_a_query() {
    for (url, expected) in [
        ("https://example.com/a/b?c=d", ("/a/b", Some("c=d"))),
        ("https://example.com", ("/", None)),
        ("https://example.com?x=/y", ("/", Some("x=/y"))),
        ("https://example.com/#f?g", ("/", None)),
        ("/only/path?", ("/only/path", Some(""))),
    ] {
        assert_eq!(vector::path_and_query(url), expected, "{url}");
    }
}

fn captured(text: &str) -> Capture {
    Capture::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_captured_request_is_read_as_it_came_or_as_a_tool_wrote_it() {
    let wire = captured("POST /hook?a=b HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\n\r\n{}");
    assert_eq!(wire.url(), "https://example.com/hook?a=b");
    let message = wire.message("u");
    assert_eq!((message.method, message.path, message.query), ("POST", "/hook", Some("a=b")));
    assert_eq!((message.body, wire.notes.len()), (&b"{}"[..], 0));
    let edited = captured("POST / HTTP/1.1\nHost: h\nContent-Length: 2\n\n{}\n");
    assert_eq!((edited.message("u").body, edited.notes.len()), (&b"{}"[..], 1));
    let cut = captured("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{}");
    assert_eq!((cut.message("u").body, cut.notes.len()), (&b"{}"[..], 1));
    let chunks = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
    assert_eq!(captured(chunks).message("u").body, b"{}");
    let unchunked = captured("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{}");
    assert_eq!(unchunked.message("u").body, b"{}");
    for (text, part) in [("", "no end"), ("hello\n\n", "no HTTP"), ("POST / HTTP/1.1\r\nA: b\r\n", "no end")]
    {
        let error = Capture::parse(text.as_bytes()).unwrap_err();
        assert!(error.contains(part), "{text:?}: {error}");
    }
}
