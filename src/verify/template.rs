//! The template of what is signed, compiled once into segments that are fed to the MAC one by one: the body is never
//! copied.

use std::borrow::Cow;

use crate::headers::is_token;
use crate::select::{Message, form};

/// The most form parameters that are sorted for `{form_sorted}`: sorting is done before anything is verified.
pub(super) const MAX_FORM_FIELDS: usize = 1000;

/// A compiled template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Box<[Segment]>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(Box<str>),
    Body,
    Timestamp,
    Id,
    Url,
    Path,
    Query,
    Method,
    Header(Box<str>),
    FormSorted,
}

/// A form parameter's name and value, decoded.
pub(super) type Field<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// What the words of a template stand for in one request.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) message: &'a Message<'a>,
    pub(super) timestamp: &'a [u8],
    pub(super) id: &'a str,
    pub(super) url: &'a str,
    pub(super) form: &'a [Field<'a>],
}

const WORDS: &str = "{body} {timestamp} {id} {url} {path} {query} {method} {header:NAME} {form_sorted}; \"{{\" and \"}}\" are braces";

impl Template {
    /// Compiles `text`.
    ///
    /// # Errors
    /// A message and a hint.
    pub(super) fn compile(text: &str) -> Result<Self, (String, String)> {
        let mut segments = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
                literal.extend(brace.chars().next());
                rest = after;
                continue;
            }
            let (word, after) =
                brace.strip_prefix('{').and_then(|inner| inner.split_once('}')).ok_or_else(|| {
                    (format!("a single brace stands in {text:?}"), format!("the words are {WORDS}"))
                })?;
            if !literal.is_empty() {
                segments.push(Segment::Literal(std::mem::take(&mut literal).into()));
            }
            segments.push(Segment::parse(word)?);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            segments.push(Segment::Literal(literal.into()));
        }
        Ok(Self(segments.into()))
    }

    /// Whether `segment` is part of it.
    pub(super) fn has(&self, segment: &Segment) -> bool {
        self.0.contains(segment)
    }

    /// The names of the headers that are part of it.
    pub(super) fn headers(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Header(name) => Some(&**name),
            _ => None,
        })
    }

    /// Gives `sink` the signed text, piece by piece.
    pub(super) fn feed(&self, parts: &Parts<'_>, mut sink: impl FnMut(&[u8])) {
        let message = parts.message;
        for segment in &self.0 {
            match segment {
                Segment::Literal(text) => sink(text.as_bytes()),
                Segment::Body => sink(message.body),
                Segment::Timestamp => sink(parts.timestamp),
                Segment::Id => sink(parts.id.as_bytes()),
                Segment::Url => sink(parts.url.as_bytes()),
                Segment::Path => sink(message.path.as_bytes()),
                Segment::Query => sink(message.query.unwrap_or_default().as_bytes()),
                Segment::Method => sink(message.method.as_bytes()),
                Segment::Header(name) => sink(message.headers.get(name).unwrap_or_default()),
                Segment::FormSorted => {
                    for (name, value) in parts.form {
                        sink(name);
                        sink(value);
                    }
                }
            }
        }
    }
}

impl Segment {
    fn parse(word: &str) -> Result<Self, (String, String)> {
        Ok(match word {
            "body" => Self::Body,
            "timestamp" => Self::Timestamp,
            "id" => Self::Id,
            "url" => Self::Url,
            "path" => Self::Path,
            "query" => Self::Query,
            "method" => Self::Method,
            "form_sorted" => Self::FormSorted,
            _ => match word.strip_prefix("header:") {
                Some(name) if is_token(name.as_bytes()) => Self::Header(name.into()),
                Some(name) => {
                    let hint = "write it like {header:X-Webhook-Id}".to_owned();
                    return Err((format!("{name:?} is not a header's name"), hint));
                }
                None => {
                    return Err((format!("there is no word {{{word}}}"), format!("the words are {WORDS}")));
                }
            },
        })
    }
}

/// The parameters of the form in `body`, decoded, sorted by name and value, repeated ones once; `None` if there are
/// more than [`MAX_FORM_FIELDS`].
pub(super) fn sorted_form(body: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields: Vec<_> = form::pairs(body).take(MAX_FORM_FIELDS + 1).collect();
    if fields.len() > MAX_FORM_FIELDS {
        return None;
    }
    fields.sort_unstable();
    fields.dedup();
    Some(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::headers::Headers;

    fn render(template: &str, body: &str) -> String {
        let headers = Headers::from_pairs([("X-Id", "h7")]);
        let message = Message {
            method: "POST",
            path: "/a%20b",
            query: Some("x=1"),
            url: "https://example.com/a%20b?x=1",
            headers: &headers,
            body: body.as_bytes(),
        };
        let fields = sorted_form(message.body).unwrap();
        let parts =
            Parts { message: &message, timestamp: b"0017", id: "msg_1", url: message.url, form: &fields };
        let mut text = Vec::new();
        Template::compile(template).unwrap().feed(&parts, |piece| text.extend_from_slice(piece));
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn each_word_stands_for_its_part() {
        assert_eq!(render("v0:{timestamp}:{body}", "B"), "v0:0017:B");
        assert_eq!(render("{id}.{header:x-id}.{method}", ""), "msg_1.h7.POST");
        assert_eq!(render("{path}?{query} {url}", ""), "/a%20b?x=1 https://example.com/a%20b?x=1");
        assert_eq!(render("{{{body}}}{{}}", "B"), "{B}{}");
        assert_eq!(render("{form_sorted}", "b=2&a=%31&b=1&b=2&c&a+=+"), "a1a  b1b2c");
        assert_eq!(render("", "B"), "");
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
            ("{body}{", "single brace"),
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
        fn any_text_is_compiled_or_refused_without_a_panic(text in ".*", braces in "[{}a-z:_]{0,40}") {
            let _ = Template::compile(&text);
            let _ = Template::compile(&braces);
        }

        #[test]
        fn a_text_with_its_braces_doubled_is_itself(text in ".{0,60}") {
            prop_assert_eq!(render(&text.replace('{', "{{").replace('}', "}}"), ""), text);
        }
    }
}
