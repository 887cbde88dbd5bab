//! `application/x-www-form-urlencoded` (WHATWG URL §5.1): the parameters of a query or a body, one at a time; and the
//! fields of a body that is such a form, or a `multipart/form-data` one.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::{Message, multipart};
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
    only(pairs(encoded), name)
}

/// Whether the body says of itself that it is such a form, and nothing else.
#[must_use]
pub fn is_form(headers: &Headers) -> bool {
    headers.get_unambiguous("content-type").ok().flatten().is_some_and(|value| {
        let essence = value.split(|b| *b == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    })
}

/// The fields of the form that the body says it is, decoded, in order; none if it does not say that it is one.
pub fn fields<'a>(message: &Message<'a>) -> impl Iterator<Item = (Cow<'a, [u8]>, Cow<'a, [u8]>)> + use<'a> {
    let encoded = is_form(message.headers).then(|| pairs(message.body));
    let parts = multipart::boundary(message.headers).map(|boundary| {
        let parts = multipart::fields(message.body, boundary);
        parts.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)))
    });
    encoded.into_iter().flatten().chain(parts.into_iter().flatten())
}

/// The field `name` of that form; answers as [`unambiguous`].
#[must_use]
#[allow(clippy::option_option, reason = "absent and ambiguous are two answers, as the doc says")]
pub fn field<'a>(message: &Message<'a>, name: &str) -> Option<Option<Cow<'a, [u8]>>> {
    only(fields(message), name)
}

#[allow(clippy::option_option, reason = "absent and ambiguous are two answers")]
fn only<'a>(
    fields: impl Iterator<Item = (Cow<'a, [u8]>, Cow<'a, [u8]>)>,
    name: &str,
) -> Option<Option<Cow<'a, [u8]>>> {
    let mut found: Option<Cow<'a, [u8]>> = None;
    for (_, value) in fields.filter(|(n, _)| n.as_ref() == name.as_bytes()) {
        match &found {
            Some(first) if *first != value => return None,
            _ => found = Some(value),
        }
    }
    Some(found)
}
