use proptest::prelude::*;

use super::super::format::Keys;
use super::*;
use crate::headers::Headers;
use crate::select::Message;

const QUERY: &str = "b=2&data.id=AbC&a=%20";

/// What `template` makes of a request with this body, an `X-Id`, and the content type of a form.
fn try_render(template: &str, body: &str) -> Result<String, Refusal> {
    let headers = Headers::from_pairs([
        ("X-Id", "h7"),
        ("X-Two", "1"),
        ("X-Two", "2"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ]);
    let url = format!("https://example.com/a%20b?{QUERY}");
    let message = Message {
        method: "POST",
        path: "/a%20b",
        query: Some(QUERY),
        url: &url,
        headers: &headers,
        body: body.as_bytes(),
    };
    let fields = sorted_form(message.body).unwrap();
    let view = View { message: &message, json: message.body };
    let format = Format::List { separator: ',', assign: '=', keys: Keys::Any };
    let parts = Parts {
        view,
        list: "t=0017,env=live",
        format: &format,
        timestamp: b"0017",
        time_header: None,
        own_field: "b",
        id: "msg_1",
        url: &url,
        form: &fields,
    };
    let template = Template::compile(template).unwrap();
    let mut text = Vec::new();
    for piece in template.render(&parts)? {
        match piece {
            Piece::Text(bytes) => text.extend_from_slice(&bytes),
            Piece::Secret => text.extend_from_slice(b"<secret>"),
            Piece::SecretId => text.extend_from_slice(b"<id>"),
        }
    }
    Ok(String::from_utf8(text).unwrap())
}

fn render(template: &str, body: &str) -> String {
    try_render(template, body).unwrap()
}

#[test]
fn each_word_stands_for_its_part() {
    assert_eq!(render("v0:{timestamp}:{body}", "B"), "v0:0017:B");
    assert_eq!(render("{id}.{header:x-id}.{method}", ""), "msg_1.h7.POST");
    assert_eq!(render("{path}?{query}", ""), "/a%20b?b=2&data.id=AbC&a=%20");
    assert_eq!(
        render("{url} {url_base}", ""),
        format!("https://example.com/a%20b?{QUERY} https://example.com/a%20b")
    );
    assert_eq!(render("{query_sorted}", ""), "a=%20&b=2&data.id=AbC");
    assert_eq!(render("{query:data.id}{query:a}{query:b}", ""), "AbC 2");
    assert_eq!(render("{form:p}", "q=1&p=%7B+%7D"), "{ }");
    assert_eq!(render("{body:/a/b}{body:/n}", r#"{"a":{"b":"x"},"n":1.50}"#), "x1.50");
    assert_eq!(render("{path_query_encoded}", ""), "/a%2520b?b%253D2%2526data.id%253DAbC%2526a%253D%252520");
    assert_eq!(render("{parameters_joined}", "b=2&a=x%26y"), "&a=x_y");
    assert_eq!(render("{url_and_form}", "z=1&y"), "https://example.com/a%20b?a= &b=2&data.id=AbC.yz1");
    assert_eq!(render("{body|json_string}", "a\"b"), r#""a\"b""#);
    assert_eq!(render("{item:env}{?{item:none}}", ""), "live");
    assert_eq!(render("{secret}{body}{secret_id}", "B"), "<secret>B<id>");
    assert_eq!(render("{{{body}}}{{}}", "B"), "{B}{}");
    assert_eq!(render("{form_sorted}", "b=2&a=%31&b=1&b=2&c&a+=+"), "a1a  b1b2c");
    assert_eq!(render("", "B"), "");
}

#[test]
fn filters_are_done_from_left_to_right() {
    assert_eq!(
        render("{body|sha256|hex|upper}", "abc"),
        "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"
    );
    assert_eq!(render("{query:data.id|lower}", ""), "abc");
    assert_eq!(
        render("{url|unescape::/ }", ""),
        format!("https://example.com/a b?{}", "b=2&data.id=AbC&a= ")
    );
    assert_eq!(render("{body|sort_json}", r#"{"b":1,"a":2}"#), r#"{"a":2,"b":1}"#);
    let refusal = try_render("{body|sort_json}", "{").unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::InvalidSignature);
}

#[test]
fn an_optional_part_is_left_out_where_a_word_of_it_is_missing() {
    let manifest = "{?id:{query:data.id};}{?request-id:{header:x-request-id};}ts:{timestamp};";
    assert_eq!(render(manifest, ""), "id:AbC;ts:0017;");
    assert_eq!(render("{?{{{header:x-id}}}}!", ""), "{h7}!");
    assert_eq!(render("{?a}{?{form:none}b}c", ""), "ac");
}

#[test]
fn what_is_missing_or_ambiguous_is_refused() {
    for (template, kind, field) in [
        ("{header:X-None}", RefusalKind::MissingSignature, "X-None"),
        ("{query:none}", RefusalKind::MissingSignature, "none"),
        ("{form:none}", RefusalKind::MissingSignature, "none"),
        ("{body:/none}", RefusalKind::MissingSignature, "/none"),
        ("{header:X-Two}", RefusalKind::InvalidSignature, "X-Two"),
        ("{?{header:X-Two}}", RefusalKind::InvalidSignature, "X-Two"),
        ("{form:twice}", RefusalKind::InvalidSignature, "twice"),
    ] {
        let refusal = try_render(template, "twice=1&twice=2").unwrap_err();
        assert_eq!((refusal.kind, refusal.field.as_deref()), (kind, Some(field)), "{template}");
    }
}

#[test]
fn a_template_holds_the_body_only_where_nothing_of_it_is_lost() {
    let holds = |text: &str| Template::compile(text).unwrap().holds_body();
    for text in ["{body}", "{timestamp}.{body}", "{body|sha256|hex}", "{body|sort_json}"] {
        assert!(holds(text), "{text}");
    }
    for text in [
        "",
        "{timestamp}",
        "{?{body}}",
        "{body|lower}",
        "{body|crc32}",
        "{body:/a}",
        "{form:a}",
        "{form_sorted}",
        "{{body}}",
    ] {
        assert!(!holds(text), "{text}");
    }
}

#[test]
fn wrong_templates_are_refused() {
    for (text, part) in [
        ("{bdy}", "no word {bdy}"),
        ("{}", "no word {}"),
        ("{body", "single brace"),
        ("body}", "single brace"),
        ("{header:}", "not a header's name"),
        ("{header:a b}", "not a header's name"),
        ("{query:}", "no word {query:}"),
        ("{body:a}", "not a JSON pointer"),
        ("{body}{", "single brace"),
        ("{?{body}", "single brace"),
        ("{?a{?b}}", "no word {?b}"),
        ("{body|rot13}", "no word |rot13"),
        ("{body|}", "no word |"),
        ("{secret|hex}", "nothing can be done"),
    ] {
        let (message, _) = Template::compile(text).unwrap_err();
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn a_form_of_too_many_fields_is_not_sorted() {
    assert_eq!(sorted_form("a&".repeat(MAX_FORM_FIELDS).as_bytes()).map(|f| f.len()), Some(1));
    assert!(sorted_form("a&".repeat(MAX_FORM_FIELDS + 1).as_bytes()).is_none());
}

proptest! {
    #[test]
    fn any_text_is_compiled_or_refused_without_a_panic(text in ".*", braces in "[{}a-z:_?|/]{0,40}") {
        let _ = Template::compile(&text);
        let _ = Template::compile(&braces);
    }

    #[test]
    fn a_text_with_its_braces_doubled_is_itself(text in ".{0,60}") {
        prop_assert_eq!(render(&text.replace('{', "{{").replace('}', "}}"), ""), text);
    }
}
