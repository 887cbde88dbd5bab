//! The template of what is signed, compiled once. For a request it is rendered into pieces that are fed to the MAC one
//! by one: the body is never copied.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::derived;
use super::filter::{self, Filter};
use super::format::Format;
use super::place::{View, refuse, twice};
use super::{Refusal, RefusalKind};
use crate::headers::is_token;
use crate::select::{Pointer, form};

/// The most form parameters that are sorted for `{form_sorted}`: sorting is done before anything is verified.
pub(super) const MAX_FORM_FIELDS: usize = 1000;
/// The longest JSON value that is signed, in bytes.
const MAX_JSON_BYTES: usize = 64 * 1024;

/// A compiled template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Box<[Part]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Word(Word, Box<[Filter]>),
    /// Left out where one of its words is missing.
    Optional(Box<[Part]>),
}

/// What a template names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Body,
    Timestamp,
    Id,
    Secret,
    SecretId,
    Url,
    UrlBase,
    Path,
    Query,
    QuerySorted,
    Method,
    Header(Box<str>),
    QueryField(Box<str>),
    FormField(Box<str>),
    Json {
        pointer: Pointer,
        shown: Box<str>,
    },
    /// Another item of the signature's list.
    Item(Box<str>),
    FormSorted,
    /// The headers that this one lists.
    ListedHeaders(Box<str>),
    EncodedTarget,
    UrlAndForm,
    /// All parameters but the signature itself.
    JoinedParameters,
}

/// A form parameter's name and value, decoded.
pub(super) type Field<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// What the words of a template stand for in one request.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) view: View<'a>,
    /// The signature's list.
    pub(super) list: &'a str,
    pub(super) format: &'a Format,
    pub(super) timestamp: &'a [u8],
    /// The header in which the timestamp stands.
    pub(super) time_header: Option<&'a str>,
    /// The field in which the signature stands.
    pub(super) own_field: &'a str,
    pub(super) id: &'a str,
    pub(super) url: &'a str,
    pub(super) form: &'a [Field<'a>],
}

/// A piece of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(Cow<'a, [u8]>),
    /// What each secret has of its own.
    Secret,
    SecretId,
}

/// What is signed, in order.
pub(super) type Pieces<'a> = SmallVec<[Piece<'a>; 4]>;

const WORDS: &str = "{body} {timestamp} {id} {secret} {secret_id} {url} {url_base} {path} {query} {query_sorted} {method} \
                     {header:NAME} {query:NAME} {form:NAME} {body:/pointer} {item:NAME} {form_sorted} \
                     {listed_headers:NAME} {path_query_encoded} {url_and_form} {parameters_joined} {?…}; \"{{\" and \
                     \"}}\" are braces";

impl Template {
    /// Compiles `text`.
    ///
    /// # Errors
    /// A message and a hint.
    pub(super) fn compile(text: &str) -> Result<Self, (String, String)> {
        parts(text, true).map(Self)
    }

    /// Whether `wanted` is true of one of its words, those of optional parts included.
    pub(super) fn any(&self, wanted: impl Fn(&Word, &[Filter]) -> bool) -> bool {
        any(&self.0, &wanted)
    }

    /// Whether `word` is part of it.
    pub(super) fn has(&self, word: &Word) -> bool {
        self.any(|own, _| own == word)
    }

    /// Whether `word` is always part of it as it is.
    pub(super) fn always_has(&self, word: &Word) -> bool {
        self.0
            .iter()
            .any(|part| matches!(part, Part::Word(own, filters) if own == word && filters.is_empty()))
    }

    /// Whether it is the body and nothing else.
    pub(super) fn is_body(&self) -> bool {
        matches!(&*self.0, [Part::Word(Word::Body, filters)] if filters.is_empty())
    }

    /// Whether it always holds headers that one of them lists, the timestamp's among them.
    pub(super) fn always_lists_headers(&self) -> bool {
        self.0
            .iter()
            .any(|part| matches!(part, Part::Word(Word::ListedHeaders(_), filters) if filters.is_empty()))
    }

    /// Whether it always holds the whole body, as it is or as a digest of it.
    pub(super) fn holds_body(&self) -> bool {
        self.0.iter().any(|part| match part {
            // Sorted forms are no whole bodies: where a name ends and its value begins is not signed.
            Part::Word(Word::Body, filters) => filters.iter().all(Filter::keeps_all),
            _ => false,
        })
    }

    /// The names of the headers that must be there.
    pub(super) fn headers(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Word(Word::Header(name), _) => Some(&**name),
            _ => None,
        })
    }

    /// The other items of the signature's list in it.
    pub(super) fn items(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Word(Word::Item(name), _) => Some(&**name),
            _ => None,
        })
    }

    /// The names of the form's fields in it.
    pub(super) fn form_fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Word(Word::FormField(name), _) => Some(&**name),
            _ => None,
        })
    }

    /// What is signed.
    ///
    /// # Errors
    /// A word that the request lacks, or has twice with different values.
    pub(super) fn render<'a>(&'a self, parts: &Parts<'a>) -> Result<Pieces<'a>, Refusal> {
        let mut pieces = Pieces::new();
        render(&self.0, parts, &mut pieces)?;
        Ok(pieces)
    }
}

fn any(parts: &[Part], wanted: &impl Fn(&Word, &[Filter]) -> bool) -> bool {
    parts.iter().any(|part| match part {
        Part::Literal(_) => false,
        Part::Word(word, filters) => wanted(word, filters),
        Part::Optional(inner) => any(inner, wanted),
    })
}

fn render<'a>(parts: &'a [Part], values: &Parts<'a>, pieces: &mut Pieces<'a>) -> Result<(), Refusal> {
    for part in parts {
        match part {
            Part::Literal(text) => pieces.push(Piece::Text(Cow::Borrowed(text.as_bytes()))),
            Part::Word(Word::Secret, _) => pieces.push(Piece::Secret),
            Part::Word(Word::SecretId, _) => pieces.push(Piece::SecretId),
            Part::Word(Word::FormSorted, _) => {
                for (name, value) in values.form {
                    pieces.push(Piece::Text(Cow::Borrowed(name)));
                    pieces.push(Piece::Text(Cow::Borrowed(value)));
                }
            }
            Part::Word(word, filters) => {
                let mut text = word.value(values)?.ok_or_else(|| word.missing())?;
                for filter in filters {
                    text = filter.apply(text).ok_or_else(|| word.unreadable())?;
                }
                pieces.push(Piece::Text(text));
            }
            Part::Optional(inner) => {
                let before = pieces.len();
                match render(inner, values, pieces) {
                    Ok(()) => {}
                    Err(refusal) if refusal.kind == RefusalKind::MissingSignature => pieces.truncate(before),
                    Err(refusal) => return Err(refusal),
                }
            }
        }
    }
    Ok(())
}

impl Word {
    /// What it stands for; `None` where the request lacks it.
    fn value<'a>(&'a self, parts: &Parts<'a>) -> Result<Option<Cow<'a, [u8]>>, Refusal> {
        let View { message, json } = parts.view;
        let text = |text: &'a str| Some(Cow::Borrowed(text.as_bytes()));
        Ok(match self {
            Self::Body => Some(Cow::Borrowed(message.body)),
            Self::Timestamp => Some(Cow::Borrowed(parts.timestamp)),
            Self::Id => text(parts.id),
            Self::Url => text(parts.url),
            Self::UrlBase => text(parts.url.split(['?', '#']).next().unwrap_or_default()),
            Self::Path => text(message.path),
            Self::Query => text(message.query.unwrap_or_default()),
            Self::QuerySorted => {
                let mut pieces: Vec<&str> = message.query.unwrap_or_default().split('&').collect();
                pieces.sort_unstable();
                Some(Cow::Owned(pieces.join("&").into_bytes()))
            }
            Self::Method => text(message.method),
            Self::Header(name) => {
                let value = message.headers.get_unambiguous(name).map_err(|_| twice("header", name))?;
                value.map(Cow::Borrowed)
            }
            Self::QueryField(name) => form::unambiguous(message.query.unwrap_or_default().as_bytes(), name)
                .ok_or_else(|| twice("query parameter", name))?,
            Self::FormField(name) => form::field(message, name).ok_or_else(|| twice("form field", name))?,
            Self::Json { pointer, .. } => {
                pointer.scalar(json, MAX_JSON_BYTES).map(|text| Cow::Owned(text.into_bytes()))
            }
            Self::Item(name) => parts.format.item(parts.list, name).map(|text| match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }),
            Self::ListedHeaders(name) => {
                let listed = derived::listed_headers(message.headers, name, parts.time_header);
                Some(Cow::Owned(listed.ok_or_else(|| self.unreadable())?))
            }
            Self::EncodedTarget => {
                Some(Cow::Owned(derived::encoded_target(message.path, message.query).into_bytes()))
            }
            Self::UrlAndForm => {
                let text = derived::url_and_form(message, parts.url);
                Some(Cow::Owned(text.ok_or_else(|| self.unreadable())?))
            }
            Self::JoinedParameters => {
                let text = derived::joined_parameters(message, parts.own_field);
                Some(Cow::Owned(text.ok_or_else(|| self.unreadable())?))
            }
            // These are pieces of their own.
            Self::Secret | Self::SecretId | Self::FormSorted => None,
        })
    }

    fn shown(&self) -> (&str, &str) {
        match self {
            Self::Header(name) | Self::ListedHeaders(name) => ("header", name),
            Self::QueryField(name) => ("query parameter", name),
            Self::FormField(name) => ("form field", name),
            Self::Item(name) => ("item", name),
            Self::Json { shown, .. } => ("JSON value", shown),
            _ => ("part", "body"),
        }
    }

    fn missing(&self) -> Refusal {
        let (kind, name) = self.shown();
        let message = format!("The {kind} {name}, a part of the signature, is missing.");
        refuse(RefusalKind::MissingSignature, name, message)
    }

    fn unreadable(&self) -> Refusal {
        let (kind, name) = self.shown();
        let message =
            format!("The {kind} {name}, a part of the signature, is not written as the scheme wants it.");
        refuse(RefusalKind::InvalidSignature, name, message)
    }

    fn parse(word: &str) -> Result<Self, (String, String)> {
        Ok(match word {
            "body" => Self::Body,
            "timestamp" => Self::Timestamp,
            "id" => Self::Id,
            "secret" => Self::Secret,
            "secret_id" => Self::SecretId,
            "url" => Self::Url,
            "url_base" => Self::UrlBase,
            "path" => Self::Path,
            "query" => Self::Query,
            "query_sorted" => Self::QuerySorted,
            "method" => Self::Method,
            "form_sorted" => Self::FormSorted,
            "path_query_encoded" => Self::EncodedTarget,
            "url_and_form" => Self::UrlAndForm,
            "parameters_joined" => Self::JoinedParameters,
            _ => match word.split_once(':') {
                Some(("header", name)) if is_token(name.as_bytes()) => Self::Header(name.into()),
                Some(("listed_headers", name)) if is_token(name.as_bytes()) => {
                    Self::ListedHeaders(name.into())
                }
                Some(("header" | "listed_headers", name)) => {
                    let hint = "write it like {header:X-Webhook-Id}".to_owned();
                    return Err((format!("{name:?} is not a header's name"), hint));
                }
                Some(("query", name)) if !name.is_empty() => Self::QueryField(name.into()),
                Some(("form", name)) if !name.is_empty() => Self::FormField(name.into()),
                Some(("item", name)) if !name.is_empty() => Self::Item(name.into()),
                Some(("body", pointer)) => Self::Json {
                    shown: pointer.into(),
                    pointer: Pointer::parse(pointer)
                        .map_err(|message| (message, "write it like {body:/data/id}".to_owned()))?,
                },
                _ => return Err((format!("there is no word {{{word}}}"), format!("the words are {WORDS}"))),
            },
        })
    }
}

/// The parts of `text`; optional ones only on the outside.
fn parts(text: &str, outside: bool) -> Result<Box<[Part]>, (String, String)> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    let single = || (format!("a single brace stands in {text:?}"), format!("the words are {WORDS}"));
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        literal.push_str(before);
        if let Some(after) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
            literal.extend(brace.chars().next());
            rest = after;
            continue;
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal).into()));
        }
        let inner = brace.strip_prefix('{').ok_or_else(single)?;
        if let (Some(optional), true) = (inner.strip_prefix('?'), outside) {
            let end = closing(optional).ok_or_else(single)?;
            let (inside, after) = optional.split_at(end);
            parts.push(Part::Optional(self::parts(inside, false)?));
            rest = after.strip_prefix('}').unwrap_or_default();
            continue;
        }
        let (word, after) = inner.split_once('}').ok_or_else(single)?;
        parts.push(word_with_filters(word)?);
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.into()));
    }
    Ok(parts.into())
}

/// Where the brace stands that closes an optional part: the first that closes no word and is not doubled.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut inside) = (0, false);
    while let Some(byte) = bytes.get(at) {
        let doubled = !inside && bytes.get(at + 1) == Some(byte);
        match byte {
            b'{' | b'}' if doubled => at += 1,
            b'{' => inside = true,
            b'}' if inside => inside = false,
            b'}' => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn word_with_filters(text: &str) -> Result<Part, (String, String)> {
    let mut pieces = text.split('|');
    let word = Word::parse(pieces.next().unwrap_or_default())?;
    let filters = pieces.map(|name| {
        let hint = || format!("the words behind a \"|\" are {}", filter::WORDS);
        Filter::parse(name).ok_or_else(|| (format!("there is no word |{name}"), hint()))
    });
    let filters: Box<[Filter]> = filters.collect::<Result<_, _>>()?;
    if !filters.is_empty() && matches!(word, Word::Secret | Word::SecretId | Word::FormSorted) {
        let message = format!("nothing can be done to {{{text}}} before it is signed");
        return Err((message, "leave what follows the \"|\" out".to_owned()));
    }
    Ok(Part::Word(word, filters))
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
mod tests;
