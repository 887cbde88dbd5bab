//! `multipart/form-data` (RFC 7578): the fields of a form, one at a time, as they lie in the body.

use crate::headers::Headers;

/// The most parts of a body that are looked at.
pub const MAX_PARTS: usize = 1000;

/// The boundary that the `Content-Type` names, if the body says of itself that it is such a form.
#[must_use]
pub fn boundary(headers: &Headers) -> Option<&[u8]> {
    let value = headers.get_unambiguous("content-type").ok()??;
    let mut pieces = value.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    if !pieces.next()?.eq_ignore_ascii_case(b"multipart/form-data") {
        return None;
    }
    let boundary = parameter(pieces, b"boundary")?;
    // RFC 2046 §5.1.1: 1 to 70 characters.
    (1..=70).contains(&boundary.len()).then_some(boundary)
}

/// The name and value of each field, in order; files too. A part without a name is none.
pub fn fields<'a>(body: &'a [u8], boundary: &[u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
    // The first delimiter may stand at the very start, every other one after a line break.
    let delimiter = [b"\r\n--", boundary].concat();
    let mut rest = body.strip_prefix(delimiter.get(2..).unwrap_or_default()).or_else(|| {
        let at = memchr::memmem::find(body, &delimiter)?;
        body.get(at + delimiter.len()..)
    });
    let parts = std::iter::from_fn(move || {
        // What follows the last delimiter is "--".
        let inner = rest.take()?.strip_prefix(b"\r\n")?;
        let end = memchr::memmem::find(inner, &delimiter)?;
        rest = inner.get(end + delimiter.len()..);
        inner.get(..end)
    });
    parts.take(MAX_PARTS).filter_map(named)
}

/// A part's name and what follows its head.
fn named(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memmem::find(part, b"\r\n\r\n")?;
    let (head, value) = (part.get(..end)?, part.get(end + 4..)?);
    let disposition = head.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).find_map(|line| {
        let (name, value) = split_once(line, b':')?;
        name.trim_ascii().eq_ignore_ascii_case(b"content-disposition").then_some(value)
    })?;
    let pieces = disposition.split(|b| *b == b';').map(<[u8]>::trim_ascii).skip(1);
    Some((parameter(pieces, b"name")?, value))
}

/// The value of `name` among `name=value` and `name="value"` pieces.
fn parameter<'a>(mut pieces: impl Iterator<Item = &'a [u8]>, name: &[u8]) -> Option<&'a [u8]> {
    pieces.find_map(|piece| {
        let (key, value) = split_once(piece, b'=')?;
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = memchr::memchr(at, text)?;
    Some((text.get(..index)?, text.get(index + 1..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(body: &str) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields(body.as_bytes(), b"B").map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn fields_are_read_in_order_and_byte_for_byte() {
        let body = "preamble\r\n--B\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{\"a\":1}\r\n\
                    --B\r\ncontent-type: text/plain\r\ncontent-disposition: form-data; filename=f; name=x\r\n\r\n\r\n--\r\n\
                    --B--\r\nafterwards";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(all(body), [pair("json", "{\"a\":1}"), pair("x", "\r\n--")]);
        assert_eq!(all("--B\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--B--"), [pair("a", "1")]);
        for torn in ["", "--B", "--B--", "--B\r\n", "--B\r\nContent-Disposition: form-data; name=a\r\n\r\n1"]
        {
            assert_eq!(all(torn), [], "{torn:?}");
        }
    }

    #[test]
    fn a_boundary_is_read_where_the_body_says_that_it_is_such_a_form() {
        let of = |value: &str| {
            let headers = Headers::from_pairs([("Content-Type", value)]);
            boundary(&headers).map(|b| String::from_utf8(b.to_vec()).unwrap())
        };
        assert_eq!(of("multipart/form-data; boundary=abc").as_deref(), Some("abc"));
        assert_eq!(of("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"").as_deref(), Some("a b"));
        for none in [
            "multipart/form-data",
            "multipart/mixed; boundary=a",
            "multipart/form-data; boundary=",
            "text/plain",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            body in "(--B|\r\n|--|Content-Disposition: form-data; name=|\"|;|:|[a-z]){0,40}", boundary in ".{0,3}",
        ) {
            prop_assert!(fields(body.as_bytes(), boundary.as_bytes()).count() <= MAX_PARTS);
            prop_assert!(fields(body.as_bytes(), b"B").count() <= MAX_PARTS);
        }
    }
}
