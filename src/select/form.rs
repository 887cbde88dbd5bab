//! `application/x-www-form-urlencoded` (WHATWG URL §5.1): the parameters of a query or a body, one at a time.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::headers::Headers;

/// The parameters in `encoded`, name and value decoded, in order. A piece without `=` is a name with an empty value,
/// an empty piece is none.
pub fn pairs(encoded: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    encoded.split(|b| *b == b'&').filter(|piece| !piece.is_empty()).map(|piece| {
        let mut halves = piece.splitn(2, |b| *b == b'=');
        (decode(halves.next().unwrap_or_default()), decode(halves.next().unwrap_or_default()))
    })
}

fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if text.contains(&b'+') {
        let blanks: Vec<u8> = text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
        Cow::Owned(percent_decode(&blanks).collect())
    } else {
        percent_decode(text).into()
    }
}

/// The value of the parameter `name`: `Some(None)` where there is none, `None` where it stands twice with different
/// values.
#[must_use]
#[allow(clippy::option_option, reason = "absent and ambiguous are two answers, as the doc says")]
pub fn unambiguous<'a>(encoded: &'a [u8], name: &str) -> Option<Option<Cow<'a, [u8]>>> {
    let mut found: Option<Cow<'a, [u8]>> = None;
    for (_, value) in pairs(encoded).filter(|(n, _)| n.as_ref() == name.as_bytes()) {
        match &found {
            Some(first) if *first != value => return None,
            _ => found = Some(value),
        }
    }
    Some(found)
}

/// Whether the body says of itself that it is such a form.
#[must_use]
pub fn is_form(headers: &Headers) -> bool {
    headers.get("content-type").is_some_and(|value| {
        let essence = value.split(|b| *b == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    })
}
