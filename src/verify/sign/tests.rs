use super::*;

#[test]
fn a_parameter_replaces_the_one_of_its_name() {
    assert_eq!(with_parameter("https://example.com/a", "sig", "a+b="), "https://example.com/a?sig=a%2Bb%3D");
    assert_eq!(
        with_parameter("https://example.com/a?sig=1&x=2", "sig", "3"),
        "https://example.com/a?x=2&sig=3"
    );
    assert_eq!(with_field("a=1&s%69g=2&&b", "sig", "3"), "a=1&b&sig=3");
}

#[test]
fn a_value_is_put_into_json_where_the_pointer_points() {
    let put = |body: &str, pointer: &str| {
        let body = with_value(body.as_bytes(), &Pointer::parse(pointer).unwrap(), "x\"y");
        body.map(|body| String::from_utf8(body).unwrap())
    };
    assert_eq!(put(r#"{"a":{"b": "old" },"c":1}"#, "/a/b").as_deref(), Some(r#"{"a":{"b": "x\"y" },"c":1}"#));
    assert_eq!(put("[1, {}]", "/1").as_deref(), Some(r#"[1, "x\"y"]"#));
    assert_eq!(put("{}", "/a"), None);
    assert_eq!(put("", "/a"), None);
}

#[test]
fn headers_replace_those_of_the_same_name() {
    let first = Headers::from_pairs([("X-Id", "old"), ("X-Kept", "1")]);
    let second = Headers::from_pairs([("x-id", "new"), ("X-Sig", "2")]);
    let merged = replaced(&first, &second);
    assert_eq!(merged.as_bytes().as_ref(), b"X-Kept: 1\r\nx-id: new\r\nX-Sig: 2\r\n");
}
