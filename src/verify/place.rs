//! Where in a request something stands that a scheme looks for: a signature, a token, a timestamp.

use std::borrow::Cow;

use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::faults::Faults;
use super::{Refusal, RefusalKind};
use crate::headers::is_token;
use crate::select::{Message, Pointer, form};

/// How many headers of a numbered or repeated one are looked at.
const MAX_VALUES: usize = 16;
/// The longest value in a body or a form that is read, in bytes: a token, never a document.
const MAX_BYTES: usize = 8 * 1024;

/// A request as a scheme sees it.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) message: &'a Message<'a>,
    /// The JSON into which pointers point: the body, or a field of the form in it.
    pub(super) json: &'a [u8],
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Headers(Box<[HeaderName]>),
    Query(Box<str>),
    Form(Box<str>),
    Body {
        pointer: Pointer,
        shown: Box<str>,
    },
    /// In every element of an array of the body.
    Each {
        array: Option<Pointer>,
        inner: Option<Pointer>,
        shown: Box<str>,
    },
    /// The whole body.
    Whole,
    /// Wherever of these there is something.
    Several(Box<[Place]>),
}

/// A header, or as many as there are of a numbered or repeated one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeaderName {
    One(Box<str>),
    /// It may be there several times, with other values.
    Repeated(Box<str>),
    /// What stands before the number, which counts from 1.
    Numbered(Box<str>),
}

/// A value as it was found, and what to call its place.
pub(super) struct Found<'a> {
    pub(super) shown: Cow<'a, str>,
    pub(super) text: Cow<'a, [u8]>,
}

/// What was found; usually one.
pub(super) type Values<'a> = SmallVec<[Found<'a>; 1]>;

/// The words of a place as they were typed, each with its key for messages.
pub(super) struct PlaceWords<'a> {
    pub(super) headers: (&'static str, &'a [String]),
    pub(super) query: (&'static str, Option<&'a str>),
    pub(super) form: (&'static str, Option<&'a str>),
    pub(super) body: (&'static str, Option<&'a str>),
}

impl PlaceWords<'_> {
    /// How many of the words are written.
    pub(super) fn count(&self) -> usize {
        let others = [self.query.1, self.form.1, self.body.1];
        usize::from(!self.headers.1.is_empty()) + others.iter().flatten().count()
    }

    /// The place; of several words each is one where it may stand.
    pub(super) fn compile(&self, faults: &mut Faults) -> Option<Place> {
        let mut places = Vec::new();
        if let (key, [_, ..]) = self.headers {
            places.push(header_names(key, self.headers.1, faults));
        }
        let parameters = [(self.query, "query"), (self.form, "form")];
        for ((key, name), word) in parameters {
            places.extend(name.map(|name| match (name, word) {
                ("", _) => faults.none(key, "that names nothing", format!("write {word} = \"NAME\"")),
                (name, "query") => Some(Place::Query(name.into())),
                (name, _) => Some(Place::Form(name.into())),
            }));
        }
        let (key, text) = self.body;
        places.extend(text.map(|text| in_body(key, text, faults)));
        let mut places = places.into_iter().collect::<Option<Vec<Place>>>()?;
        match places.pop() {
            Some(only) if places.is_empty() => Some(only),
            last => {
                places.extend(last);
                Some(Place::Several(places.into()))
            }
        }
    }
}

fn header_names(key: &'static str, names: &[String], faults: &mut Faults) -> Option<Place> {
    let mut read = Vec::with_capacity(names.len());
    for name in names {
        let (base, numbered) = match name.strip_suffix("{n}") {
            Some(base) => (base, true),
            None => (name.as_str(), false),
        };
        if !is_token(base.as_bytes()) {
            faults.add(key, format!("{name:?} is not a header's name"), "");
        }
        read.push(if numbered { HeaderName::Numbered(base.into()) } else { HeaderName::One(base.into()) });
    }
    Some(Place::Headers(read.into()))
}

fn in_body(key: &'static str, text: &str, faults: &mut Faults) -> Option<Place> {
    if text == "whole" {
        return Some(Place::Whole);
    }
    let (array, inner) = match text.split_once("/*") {
        Some((array, inner)) if inner.is_empty() || inner.starts_with('/') => (array, inner),
        _ => {
            let pointer = faults.keep(key, Pointer::parse(text), "write body = \"/json/pointer\"")?;
            return Some(Place::Body { pointer, shown: text.into() });
        }
    };
    if inner.contains("/*") {
        return faults.none(key, format!("{text:?} has more than one \"*\""), "write one at most");
    }
    let pointer = |text: &str, faults: &mut Faults| match text {
        "" => Some(None),
        text => faults.keep(key, Pointer::parse(text), "").map(Some),
    };
    Some(Place::Each { array: pointer(array, faults)?, inner: pointer(inner, faults)?, shown: text.into() })
}

impl Place {
    /// The same place, its headers taken as often as they are there; `None` where it names no headers, or numbered ones.
    pub(super) fn repeated(self) -> Option<Self> {
        let Self::Headers(names) = self else { return None };
        let repeated = names.into_iter().map(|name| match name {
            HeaderName::One(name) | HeaderName::Repeated(name) => Some(HeaderName::Repeated(name)),
            HeaderName::Numbered(_) => None,
        });
        repeated.collect::<Option<_>>().map(Self::Headers)
    }

    /// The headers it names, in lower case; of a numbered one the first.
    pub(super) fn header_names(&self) -> Vec<String> {
        match self {
            Self::Headers(names) => names.iter().map(|name| name.first().to_ascii_lowercase()).collect(),
            Self::Several(places) => places.iter().flat_map(Self::header_names).collect(),
            _ => Vec::new(),
        }
    }

    /// Its words, as selectors are written; a numbered header ends in `{n}`, the whole body is `body:whole`.
    pub(super) fn words(&self) -> Vec<String> {
        match self {
            Self::Headers(names) => names
                .iter()
                .map(|name| match name {
                    HeaderName::One(name) | HeaderName::Repeated(name) => format!("header:{name}"),
                    HeaderName::Numbered(stem) => format!("header:{stem}{{n}}"),
                })
                .collect(),
            Self::Query(name) => vec![format!("query:{name}")],
            Self::Form(name) => vec![format!("form:{name}")],
            Self::Body { shown, .. } | Self::Each { shown, .. } => vec![format!("body:{shown}")],
            Self::Whole => vec!["body:whole".to_owned()],
            Self::Several(places) => places.iter().flat_map(Self::words).collect(),
        }
    }

    /// The one header that it is.
    pub(super) fn header(&self) -> Option<&str> {
        match self {
            Self::Headers(names) => match &**names {
                [HeaderName::One(name)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// The parameter or field that it is; empty for what has no such name.
    pub(super) fn field(&self) -> &str {
        let mut names = self.each().iter().rev().filter_map(|place| match place {
            Self::Query(name) | Self::Form(name) => Some(&**name),
            _ => None,
        });
        names.next().unwrap_or("")
    }

    /// The places of which one may hold something.
    pub(super) fn each(&self) -> &[Self] {
        match self {
            Self::Several(places) => places,
            _ => std::slice::from_ref(self),
        }
    }

    /// What to call it in an answer to the sender: the first of several headers.
    pub(super) fn shown(&self) -> Cow<'_, str> {
        match self {
            Self::Headers(names) => names.first().map_or(Cow::Borrowed(""), HeaderName::first),
            Self::Query(name) | Self::Form(name) => Cow::Borrowed(name),
            Self::Body { shown, .. } | Self::Each { shown, .. } => Cow::Borrowed(shown),
            Self::Whole => Cow::Borrowed("body"),
            Self::Several(places) => places.first().map_or(Cow::Borrowed(""), Self::shown),
        }
    }

    /// What kind of place it is: "The header X-Signature …".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Headers(_) => "header",
            Self::Query(_) => "query parameter",
            Self::Form(_) => "form field",
            Self::Body { .. } | Self::Each { .. } => "JSON value",
            Self::Whole => "whole",
            Self::Several(places) => places.first().map_or("", Self::kind),
        }
    }

    /// What stands there: nothing is an empty list.
    ///
    /// # Errors
    /// A value that is there twice and differs: nobody could say which one is meant.
    pub(super) fn read<'a>(&'a self, view: &View<'a>) -> Result<Values<'a>, Refusal> {
        let mut values = Values::new();
        for place in self.each() {
            place.read_into(view, &mut values)?;
        }
        Ok(values)
    }

    fn read_into<'a>(&'a self, view: &View<'a>, values: &mut Values<'a>) -> Result<(), Refusal> {
        let message = view.message;
        match self {
            Self::Headers(names) => {
                for name in names {
                    name.read(message, values)?;
                }
            }
            Self::Query(name) => {
                let query = message.query.unwrap_or_default().as_bytes();
                self.push(form::unambiguous(query, name), values)?;
            }
            Self::Form(name) => self.push(form::field(message, name), values)?,
            Self::Body { pointer, shown } => {
                if let Some(text) = pointer.scalar(view.json, MAX_BYTES) {
                    values.push(Found { shown: Cow::Borrowed(shown), text: Cow::Owned(text.into_bytes()) });
                }
            }
            Self::Each { array, inner, shown } => {
                let texts = each(view.json, array.as_ref(), inner.as_ref()).unwrap_or_default();
                values.extend(
                    texts.into_iter().map(|text| Found {
                        shown: Cow::Borrowed(shown),
                        text: Cow::Owned(text.into_bytes()),
                    }),
                );
            }
            Self::Whole => {
                if !message.body.is_empty() {
                    values.push(Found { shown: self.shown(), text: Cow::Borrowed(message.body) });
                }
            }
            // No place of several is of several itself.
            Self::Several(_) => {}
        }
        Ok(())
    }

    /// The only value there, where one place is meant.
    pub(super) fn read_one<'a>(&'a self, view: &View<'a>) -> Result<Option<Cow<'a, [u8]>>, Refusal> {
        // The usual case, without the list.
        if let Some(name) = self.header() {
            let value = view.message.headers.get_unambiguous(name).map_err(|_| twice("header", name))?;
            return Ok(value.map(Cow::Borrowed));
        }
        Ok(self.read(view)?.into_iter().next().map(|found| found.text))
    }

    #[allow(clippy::option_option, reason = "what `form` answers: absent and ambiguous are two things")]
    fn push<'a>(
        &'a self,
        read: Option<Option<Cow<'a, [u8]>>>,
        values: &mut Values<'a>,
    ) -> Result<(), Refusal> {
        let shown = self.shown();
        let found = read.ok_or_else(|| twice(self.kind(), &shown))?;
        values.extend(found.map(|text| Found { shown, text }));
        Ok(())
    }

    /// There is nothing there.
    pub(super) fn missing(&self) -> Refusal {
        let shown = self.shown();
        let message = match self {
            Self::Whole => "The body, which is the signature, is empty.".to_owned(),
            _ => format!("The {} {shown} is missing.", self.kind()),
        };
        refuse(RefusalKind::MissingSignature, &shown, message)
    }
}

impl HeaderName {
    /// The header's name; of a numbered one the first.
    pub(super) fn first(&self) -> Cow<'_, str> {
        match self {
            Self::One(name) | Self::Repeated(name) => Cow::Borrowed(name),
            Self::Numbered(base) => Cow::Owned(format!("{base}1")),
        }
    }

    fn read<'a>(&'a self, message: &Message<'a>, values: &mut Values<'a>) -> Result<(), Refusal> {
        let headers = message.headers;
        match self {
            Self::One(name) => {
                let value = headers.get_unambiguous(name).map_err(|_| twice("header", name))?;
                values.extend(
                    value.map(|text| Found { shown: Cow::Borrowed(name), text: Cow::Borrowed(text) }),
                );
            }
            Self::Repeated(name) => {
                let lines = headers.get_all(name).take(MAX_VALUES);
                values.extend(
                    lines.map(|text| Found { shown: Cow::Borrowed(name), text: Cow::Borrowed(text) }),
                );
            }
            Self::Numbered(base) => {
                for number in 1..=MAX_VALUES {
                    let name = format!("{base}{number}");
                    let value = headers.get_unambiguous(&name).map_err(|_| twice("header", &name))?;
                    let Some(text) = value else { break };
                    values.push(Found { shown: Cow::Owned(name), text: Cow::Borrowed(text) });
                }
            }
        }
        Ok(())
    }
}

/// The value in every element of an array; `None` where one lacks it, or there are none.
fn each(json: &[u8], array: Option<&Pointer>, inner: Option<&Pointer>) -> Option<Vec<String>> {
    let array = match array {
        Some(pointer) => pointer.raw(json)?.as_bytes(),
        None => json,
    };
    let elements: Vec<&RawValue> = serde_json::from_slice(array).ok()?;
    let texts = elements.iter().map(|element| match inner {
        Some(pointer) => pointer.scalar(element.get().as_bytes(), MAX_BYTES),
        None => serde_json::from_str(element.get()).ok(),
    });
    texts.collect::<Option<Vec<String>>>().filter(|texts| !texts.is_empty())
}

/// Something is there twice and differs.
pub(super) fn twice(kind: &str, name: &str) -> Refusal {
    let message = format!("The {kind} {name} is there more than once, with different values.");
    refuse(RefusalKind::InvalidSignature, name, message)
}

pub(super) fn refuse(kind: RefusalKind, field: &str, message: impl Into<String>) -> Refusal {
    Refusal { kind, message: message.into(), field: Some(field.to_owned()) }
}
