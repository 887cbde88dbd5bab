//! What is signed of a request where it is not a piece of it as it came: parameters sorted and joined, headers that a
//! header lists, a hash of the request line.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::strict_json;
use super::template::{Field, MAX_FORM_FIELDS};
use crate::headers::Headers;
use crate::select::{Message, form};

/// The most headers that one may list.
const MAX_LISTED: usize = 64;

/// What `encodeURIComponent` leaves as it is.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// What `encodeURI` leaves as it is.
const WHOLE: &AsciiSet = &COMPONENT
    .remove(b';')
    .remove(b',')
    .remove(b'/')
    .remove(b'?')
    .remove(b':')
    .remove(b'@')
    .remove(b'&')
    .remove(b'=')
    .remove(b'+')
    .remove(b'$')
    .remove(b'#');

/// What RFC 3986 §2.3 leaves as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The headers that the header `list` names, parted by commas: `name:value`, names in lower case and sorted, joined with
/// `;`. `None` where one is missing, ambiguous or not text, or where `must` is not among them.
pub(super) fn listed_headers(headers: &Headers, list: &str, must: Option<&str>) -> Option<Vec<u8>> {
    let names = std::str::from_utf8(headers.get_unambiguous(list).ok()??).ok()?;
    let mut names: Vec<String> = names
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .take(MAX_LISTED + 1)
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.len() > MAX_LISTED
        || must.is_some_and(|must| !names.iter().any(|name| name.eq_ignore_ascii_case(must)))
    {
        return None;
    }
    let mut text = Vec::new();
    for name in &names {
        if !text.is_empty() {
            text.push(b';');
        }
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        text.extend_from_slice(headers.get_unambiguous(name).ok()??);
    }
    Some(text)
}

/// Path and query as JavaScript writes them with `encodeURI(path + "?" + encodeURIComponent(query))`: what is escaped
/// already is escaped once more.
pub(super) fn encoded_target(path: &str, query: Option<&str>) -> String {
    let mut target = utf8_percent_encode(path, WHOLE).to_string();
    // The query ends where another "?" begins, by the same people's libraries.
    if let Some(query) =
        query.map(|query| query.split('?').next().unwrap_or_default()).filter(|q| !q.is_empty())
    {
        let escaped = utf8_percent_encode(query, COMPONENT).to_string();
        // Writing to a String cannot fail.
        let _ = write!(target, "?{}", utf8_percent_encode(&escaped, WHOLE));
    }
    target
}

/// The URL without its query, then `?` and its parameters sorted, `k=v` joined with `&`, then `.` and those of a POSTed
/// form sorted, `kv` joined with nothing. The `?` is there if either has parameters, the `.` if both have. `None` if
/// there are more than [`MAX_FORM_FIELDS`].
pub(super) fn url_and_form(message: &Message<'_>, url: &str) -> Option<Vec<u8>> {
    let url = url.split('#').next().unwrap_or_default();
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let query = sorted(query.as_bytes())?;
    let posted = if message.method == "POST" && form::is_form(message.headers) {
        sorted(message.body)?
    } else {
        Vec::new()
    };
    let mut text = base.as_bytes().to_vec();
    if !query.is_empty() || !posted.is_empty() {
        text.push(b'?');
    }
    for (at, (name, value)) in query.iter().enumerate() {
        if at > 0 {
            text.push(b'&');
        }
        text.extend_from_slice(name);
        text.push(b'=');
        text.extend_from_slice(value);
    }
    if !query.is_empty() && !posted.is_empty() {
        text.push(b'.');
    }
    for (name, value) in &posted {
        text.extend_from_slice(name);
        text.extend_from_slice(value);
    }
    Some(text)
}

/// Parameters, decoded, sorted by name and value, each as often as it is there.
fn sorted(encoded: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields: Vec<_> = form::pairs(encoded).take(MAX_FORM_FIELDS + 1).collect();
    fields.sort_unstable();
    (fields.len() <= MAX_FORM_FIELDS).then_some(fields)
}

/// The parameters but `except`, sorted by name, each as `&k=v` with every `&` and `=` in a value become `_`: those of a
/// form, else the members of a JSON object, else those of the query. `None` where a name is there twice, or a member is
/// no text and no number.
pub(super) fn joined_parameters(message: &Message<'_>, except: &str) -> Option<Vec<u8>> {
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> = if form::is_form(message.headers) {
        owned(message.body)?
    } else if message.body.is_empty() {
        owned(message.query.unwrap_or_default().as_bytes())?
    } else {
        members(message.body)?
    };
    fields.retain(|(name, _)| name != except.as_bytes());
    fields.sort_unstable();
    if fields.windows(2).any(|pair| matches!(pair, [(first, _), (second, _)] if first == second)) {
        return None;
    }
    let mut text = Vec::new();
    for (name, value) in &fields {
        text.push(b'&');
        text.extend_from_slice(name);
        text.push(b'=');
        text.extend(value.iter().map(|byte| if matches!(byte, b'&' | b'=') { b'_' } else { *byte }));
    }
    Some(text)
}

fn owned(encoded: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let fields: Vec<_> = form::pairs(encoded).take(MAX_FORM_FIELDS + 1).collect();
    let fits = fields.len() <= MAX_FORM_FIELDS;
    fits.then(|| fields.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
}

fn members(body: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let Value::Object(members) = strict_json::parse(body)? else { return None };
    let text = |(name, value): (String, Value)| {
        let value = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        Some((name.into_bytes(), value.into_bytes()))
    };
    members.into_iter().map(text).collect()
}

/// `text` as a JSON string in another JSON text, as JavaScript's `JSON.stringify` writes it, with `&`, `<` and `>`
/// escaped for HTML in a text that was escaped so before. `None` if it is no UTF-8.
pub(super) fn json_string(text: &[u8]) -> Option<Vec<u8>> {
    let quoted = serde_json::to_string(std::str::from_utf8(text).ok()?).ok()?;
    if !quoted.contains(['&', '<', '>']) {
        return Some(quoted.into_bytes());
    }
    let escaped = quoted.replace('&', r"\\u0026").replace('<', r"\\u003c").replace('>', r"\\u003e");
    Some(escaped.into_bytes())
}

/// The SHA-256 in hex of `METHOD&path&query`, the query's parameters sorted, their values sorted and joined with commas,
/// a parameter `jwt` left out: the `qsh` claim of a token that is made for one request.
pub(super) fn request_hash(method: &str, url: &str) -> Option<String> {
    let url = url.split('#').next().unwrap_or_default();
    let (_, after) = url.split_once("://")?;
    let (_, target) = after.split_at(after.find(['/', '?']).unwrap_or(after.len()));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = match path.strip_suffix('/').unwrap_or(path) {
        "" => "/".to_owned(),
        path => path.replace('&', "%26"),
    };
    let fields = sorted(query.as_bytes())?;
    let mut canonical = format!("{}&{path}&", method.to_ascii_uppercase());
    let mut last: Option<&[u8]> = None;
    for (name, value) in fields.iter().filter(|(name, _)| **name != *b"jwt") {
        let (name_text, value) = (std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?);
        let value = utf8_percent_encode(value, UNRESERVED);
        // Writing to a String cannot fail.
        let _ = match last {
            Some(last) if *last == **name => write!(canonical, ",{value}"),
            Some(_) => write!(canonical, "&{}={value}", utf8_percent_encode(name_text, UNRESERVED)),
            None => write!(canonical, "{}={value}", utf8_percent_encode(name_text, UNRESERVED)),
        };
        last = Some(name);
    }
    Some(hex::encode(Sha256::digest(canonical)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message<'a>(headers: &'a Headers, url: &'a str, body: &'a str) -> Message<'a> {
        Message {
            method: "POST",
            path: "/",
            query: url.split_once('?').map(|(_, q)| q),
            url,
            headers,
            body: body.as_bytes(),
        }
    }

    fn text(bytes: Option<Vec<u8>>) -> Option<String> {
        bytes.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn headers_are_those_that_are_listed() {
        let headers = Headers::from_pairs([
            ("X-List", "x-time, X-Topic ,x-list"),
            ("X-Topic", "t"),
            ("X-Time", "17"),
            ("X-Other", "o"),
        ]);
        let listed = |must| text(listed_headers(&headers, "x-list", must));
        assert_eq!(listed(None).unwrap(), "x-list:x-time, X-Topic ,x-list;x-time:17;x-topic:t");
        assert_eq!(listed(Some("X-Time")), listed(None));
        assert_eq!(listed(Some("x-other")), None, "what must be signed is not");
        let missing = Headers::from_pairs([("X-List", "x-none")]);
        assert_eq!(listed_headers(&missing, "x-list", None), None);
        let twice = Headers::from_pairs([("X-List", "a"), ("a", "1"), ("A", "2")]);
        assert_eq!(listed_headers(&twice, "x-list", None), None);
    }

    #[test]
    fn a_target_is_escaped_once_more() {
        assert_eq!(encoded_target("/api/resources", Some("q=1&w=2")), "/api/resources?q%253D1%2526w%253D2");
        assert_eq!(encoded_target("/a%20b/é", None), "/a%2520b/%C3%A9");
        assert_eq!(encoded_target("/a", Some("")), "/a");
    }

    /// The base strings of Plivo's documentation and of its libraries.
    #[test]
    fn a_url_and_a_form_are_glued_as_their_parameters_are_there() {
        let form = Headers::from_pairs([("Content-Type", "application/x-www-form-urlencoded")]);
        let none = Headers::default();
        let glued = |headers, url, body| text(url_and_form(&message(headers, url, body), url)).unwrap();
        let body = "To=%2B1555&From=a+b&Digits=2&Digits=1";
        assert_eq!(
            glued(&form, "https://e.com/a?foo=bar&A=%20", body),
            "https://e.com/a?A= &foo=bar.Digits1Digits2Froma bTo+1555"
        );
        assert_eq!(glued(&form, "https://e.com/a", body), "https://e.com/a?Digits1Digits2Froma bTo+1555");
        assert_eq!(glued(&form, "https://e.com/a?foo=bar#x", ""), "https://e.com/a?foo=bar");
        assert_eq!(glued(&none, "https://e.com/a", "To=1"), "https://e.com/a");
    }

    #[test]
    fn parameters_are_joined_but_the_signature() {
        let form = Headers::from_pairs([("Content-Type", "application/x-www-form-urlencoded")]);
        let json = Headers::from_pairs([("Content-Type", "application/json")]);
        let joined = |headers, url, body| text(joined_parameters(&message(headers, url, body), "sig"));
        assert_eq!(joined(&form, "https://e.com/", "b=x%26y%3D&sig=1&a=2"), Some("&a=2&b=x_y_".to_owned()));
        assert_eq!(
            joined(&json, "https://e.com/", r#"{"b":"x&","sig":"1","a":2}"#),
            Some("&a=2&b=x_".to_owned())
        );
        assert_eq!(joined(&json, "https://e.com/?b=1&a=2", ""), Some("&a=2&b=1".to_owned()));
        assert_eq!(joined(&form, "https://e.com/", "a=1&a=2"), None);
        assert_eq!(joined(&json, "https://e.com/", r#"{"a":1,"a":2}"#), None);
        assert_eq!(joined(&json, "https://e.com/", r#"{"a":[1]}"#), None);
    }

    #[test]
    fn a_text_is_quoted_as_javascript_does() {
        assert_eq!(text(json_string("a\"\\\n\u{1}é/".as_bytes())).unwrap(), "\"a\\\"\\\\\\n\\u0001é/\"");
        assert_eq!(text(json_string(b"<&>")).unwrap(), r#""\\u003c\\u0026\\u003e""#);
        assert_eq!(json_string(&[0xff]), None);
    }

    /// The first two are Atlassian's published values.
    #[test]
    fn a_request_is_hashed_as_its_canonical_form() {
        let hash = |url| request_hash("get", url).unwrap();
        assert_eq!(
            hash("https://api.bitbucket.org/test?param=value"),
            "be16910858a41fd19ea5c1b4e9decca9a784d1024cb00b2158defe2f29dc86dd"
        );
        let plain = |text: &str| hex::encode(Sha256::digest(text));
        assert_eq!(hash("https://e.com"), plain("GET&/&"));
        assert_eq!(hash("https://e.com/a&b/?jwt=x"), plain("GET&/a%26b&"));
        assert_eq!(hash("https://e.com/a?b=2&a=%20*&b=1,"), plain("GET&/a&a=%20%2A&b=1%2C,2"));
    }

    proptest! {
        #[test]
        fn any_request_is_derived_from_without_a_panic(url in ".{0,60}", body in prop::collection::vec(any::<u8>(), 0..80), list in "[ -~]{0,40}") {
            for kind in ["application/x-www-form-urlencoded", "application/json"] {
                let headers = Headers::from_pairs([("content-type", kind), ("list", list.as_str())]);
                let message = Message { method: "POST", path: &url, query: Some(&url), url: &url, headers: &headers, body: &body };
                let _ = url_and_form(&message, &url);
                let _ = joined_parameters(&message, "sig");
                let _ = listed_headers(&headers, "list", None);
                let _ = encoded_target(&url, Some(&url));
                let _ = request_hash(&url, &url);
                let _ = json_string(&body);
            }
        }
    }
}
