//! What of a request is shown to nobody: the places where a secret itself stands.
//!
//! A token, HTTP Basic credentials or a JSON Web Token name their sender to whoever reads them, so a listing must not
//! hold them. A MAC or a signature over the body is none of that: it is worth nothing beside another body.
//!
//! Nothing is shown on suspicion that it is harmless: a body in which the place cannot be looked for (broken JSON, a form
//! that does not end) is left out whole.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use serde_json::Value;

use super::place::Place;
use super::pointed::{self, range_of};
use crate::headers::{Headers, is_token};
use crate::select::{Pointer, form, multipart};

/// What is shown instead.
pub const REDACTED: &str = "[redacted]";

/// Headers that say nothing of a sender, whatever the scheme.
const HARMLESS: [&str; 7] =
    ["accept", "accept-encoding", "content-length", "content-type", "date", "host", "user-agent"];

/// The places of a request whose values are shown to nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction(BTreeSet<Hidden>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hidden {
    /// The headers of this name, in lower case.
    Header(Box<str>),
    /// Those of this name and a number.
    Numbered(Box<str>),
    Query(Box<str>),
    Form(Box<str>),
    /// A JSON pointer, of which a step may be `*`.
    Body(Box<str>),
    /// The whole body is a token.
    Token,
    /// Nobody knows where.
    Anywhere,
}

impl Redaction {
    /// Of a request whose scheme is not known (any more): everything that could hold a secret.
    #[must_use]
    pub fn anywhere() -> Self {
        Self([Hidden::Anywhere].into())
    }

    /// The places in `words`, written as selectors are; of a word that is none nobody knows what it meant.
    #[must_use]
    pub fn of_words<'w>(words: impl IntoIterator<Item = &'w str>) -> Self {
        Self(words.into_iter().map(|word| Hidden::parse(word).unwrap_or(Hidden::Anywhere)).collect())
    }

    /// Where the signature stands, for a scheme whose signature is the secret.
    pub(super) fn of_place(place: &Place) -> Self {
        Self(place.words().iter().map(|word| Hidden::parse(word).unwrap_or(Hidden::Anywhere)).collect())
    }

    /// The words for [`Self::of_words`].
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Whether a selector's value would be a secret.
    #[must_use]
    pub fn covers(&self, selector: &str) -> bool {
        Hidden::parse(selector).is_some_and(|place| self.0.contains(&place))
    }

    /// Whether the value of this header is not shown.
    #[must_use]
    pub fn hides_header(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.0.iter().any(|hidden| match hidden {
            Hidden::Header(own) => **own == *name,
            Hidden::Numbered(stem) => name
                .strip_prefix(&**stem)
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())),
            Hidden::Anywhere => !HARMLESS.contains(&&*name),
            _ => false,
        })
    }

    /// Whether the value of this parameter of the query, its name decoded, is not shown.
    #[must_use]
    pub fn hides_parameter(&self, name: &[u8]) -> bool {
        self.0.iter().any(|hidden| match hidden {
            Hidden::Query(own) => own.as_bytes() == name,
            Hidden::Anywhere => true,
            _ => false,
        })
    }

    /// The body without the values that are not shown.
    #[must_use]
    pub fn body<'b>(&self, headers: &Headers, body: &'b [u8]) -> Cow<'b, [u8]> {
        let places = self.in_body();
        if body.is_empty() || (places.is_empty() && !self.hides_body()) {
            return Cow::Borrowed(body);
        }
        self.cuts(headers, body, &places).map_or(Cow::Borrowed(REDACTED.as_bytes()), |cuts| cuts.made(body))
    }

    /// The values that [`Self::body`] leaves out: as they stand there, and what they say without the escapes of JSON or a
    /// form. `None` where nobody knows them, for the place cannot be looked for.
    #[must_use]
    pub fn hidden_values(&self, headers: &Headers, body: &[u8]) -> Option<Vec<Vec<u8>>> {
        if self.0.contains(&Hidden::Anywhere) {
            return None;
        }
        let places = self.in_body();
        if body.is_empty() || (places.is_empty() && !self.hides_body()) {
            return Some(Vec::new());
        }
        let mut values = Vec::new();
        for range in self.cuts(headers, body, &places)?.ranges {
            let raw = body.get(range).unwrap_or_default();
            if let Ok(json) = serde_json::from_slice(raw) {
                add_texts(&json, &mut values);
            }
            // A text without its quotes: what an answer says around it stays as it is.
            let bare = raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\"")).unwrap_or(raw);
            let as_field = [b"a=", bare].concat();
            values.extend(form::pairs(&as_field).next().map(|(_, value)| value.into_owned()));
            values.push(bare.to_vec());
        }
        Some(values)
    }

    fn hides_body(&self) -> bool {
        self.0.contains(&Hidden::Token) || self.0.contains(&Hidden::Anywhere)
    }

    /// What is to be cut out of the body; `None` where that cannot be told.
    fn cuts(&self, headers: &Headers, body: &[u8], places: &[Vec<String>]) -> Option<Cuts> {
        if self.0.contains(&Hidden::Anywhere) {
            return None;
        }
        if form::is_form(headers) {
            return Some(in_form(body, places));
        }
        if let Some(boundary) = multipart::boundary(headers) {
            return in_multipart(body, boundary, places);
        }
        if body.trim_ascii_start().starts_with(b"{") || body.trim_ascii_start().starts_with(b"[") {
            return pointed::values(body, places).map(|ranges| Cuts { ranges, with: "\"[redacted]\"" });
        }
        let token = self.0.contains(&Hidden::Token) && places.is_empty();
        if token { proof_of_token(body) } else { None }
    }

    /// The places in a body, each as the steps to it. What stands in a form's field may be sent as a JSON member by
    /// mistake, and the other way round.
    fn in_body(&self) -> Vec<Vec<String>> {
        let steps = |hidden: &Hidden| match hidden {
            Hidden::Form(name) => Some(vec![name.to_string()]),
            Hidden::Body(pointer) => {
                let pointer = Pointer::parse(pointer).ok()?;
                Some(pointer.steps().map(str::to_owned).collect())
            }
            _ => None,
        };
        self.0.iter().filter_map(steps).collect()
    }
}

impl Hidden {
    fn parse(word: &str) -> Option<Self> {
        let (kind, name) = word.split_once(':').unwrap_or((word, ""));
        Some(match (kind, name) {
            ("anywhere", "") => Self::Anywhere,
            ("body", "whole") => Self::Token,
            ("body", pointer) => Self::Body(Pointer::parse(pointer).ok().map(|_| pointer.into())?),
            ("header", name) => {
                let name = name.to_ascii_lowercase();
                match name.strip_suffix("{n}") {
                    Some(stem) if is_token(stem.as_bytes()) => Self::Numbered(stem.into()),
                    _ if is_token(name.as_bytes()) => Self::Header(name.into()),
                    _ => return None,
                }
            }
            (_, "") => return None,
            ("query", name) => Self::Query(name.into()),
            ("form", name) => Self::Form(name.split_once("#/").map_or(name, |(field, _)| field).into()),
            _ => return None,
        })
    }
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Numbered(stem) => write!(f, "header:{stem}{{n}}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Form(name) => write!(f, "form:{name}"),
            Self::Body(pointer) => write!(f, "body:{pointer}"),
            Self::Token => f.write_str("body:whole"),
            Self::Anywhere => f.write_str("anywhere"),
        }
    }
}

/// Pieces of a body, and what stands there instead.
struct Cuts {
    ranges: Vec<Range<usize>>,
    with: &'static str,
}

impl Cuts {
    fn made(mut self, body: &[u8]) -> Cow<'_, [u8]> {
        if self.ranges.is_empty() {
            return Cow::Borrowed(body);
        }
        self.ranges.sort_unstable_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
        let (mut shown, mut from) = (Vec::with_capacity(body.len()), 0);
        for range in &self.ranges {
            // What lies in a piece that is cut already.
            if range.start < from {
                continue;
            }
            shown.extend_from_slice(body.get(from..range.start).unwrap_or_default());
            shown.extend_from_slice(self.with.as_bytes());
            from = range.end;
        }
        shown.extend_from_slice(body.get(from..).unwrap_or_default());
        Cow::Owned(shown)
    }
}

/// The texts in `json`, and its numbers.
fn add_texts(json: &Value, texts: &mut Vec<Vec<u8>>) {
    match json {
        Value::String(text) => texts.push(text.clone().into_bytes()),
        Value::Number(number) => texts.push(number.to_string().into_bytes()),
        Value::Array(elements) => elements.iter().for_each(|element| add_texts(element, texts)),
        Value::Object(members) => members.values().for_each(|member| add_texts(member, texts)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn is_hidden(name: &[u8], places: &[Vec<String>]) -> bool {
    places.iter().any(|steps| steps.last().is_some_and(|last| last.as_bytes() == name))
}

fn in_form(body: &[u8], places: &[Vec<String>]) -> Cuts {
    let mut ranges = Vec::new();
    for piece in body.split(|byte| *byte == b'&') {
        let hidden = form::pairs(piece).any(|(name, _)| is_hidden(&name, places));
        let value = memchr::memchr(b'=', piece).and_then(|at| piece.get(at + 1..)).unwrap_or_default();
        if hidden && !value.is_empty() {
            ranges.extend(range_of(body, value));
        }
    }
    Cuts { ranges, with: REDACTED }
}

fn in_multipart(body: &[u8], boundary: &[u8], places: &[Vec<String>]) -> Option<Cuts> {
    // What follows a part that does not end, or more parts than are looked at, could be anything.
    memchr::memmem::find(body, &[b"--", boundary, b"--"].concat())?;
    let fields: Vec<_> = multipart::fields(body, boundary).collect();
    if fields.len() >= multipart::MAX_PARTS {
        return None;
    }
    let hidden = fields.iter().filter(|(name, _)| is_hidden(name, places));
    let ranges = hidden.map(|(_, value)| range_of(body, value)).collect::<Option<_>>()?;
    Some(Cuts { ranges, with: REDACTED })
}

/// The signature of a JSON Web Token: what it claims is the event, and without it the token is worth nothing.
fn proof_of_token(body: &[u8]) -> Option<Cuts> {
    let token = body.trim_ascii();
    let is_part = |part: &&[u8]| {
        !part.is_empty() && part.iter().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b))
    };
    let parts: Vec<_> = token.split(|byte| *byte == b'.').filter(is_part).collect();
    let [_, _, proof] = parts[..] else { return None };
    // As many bytes as three parts and two dots have: no part was left out.
    let whole = parts.iter().map(|part| part.len()).sum::<usize>() + 2 == token.len();
    Some(Cuts { ranges: vec![range_of(body, proof)?], with: REDACTED }).filter(|_| whole)
}

#[cfg(test)]
mod tests;
