//! What a signature's place holds: one signature or several, perhaps among other things.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::encoding::{self, Encoding};
use super::faults::Faults;
use super::spec::SignatureSpec;
use crate::select::Pointer;

/// How many signatures of one request are looked at: rotation needs two or three, a flood of them costs a MAC each.
pub(super) const MAX_SIGNATURES: usize = 16;

/// The longest JSON object that holds a signature, in bytes of its base64.
const MAX_JSON_BYTES: usize = 8 * 1024;

/// How signatures are written: what surrounds them, and the encoding of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Writing {
    pub(super) format: Format,
    /// What parts several whole values of the format.
    pub(super) groups: Option<char>,
    /// One of them stands before each signature.
    pub(super) prefixes: Box<[Box<str>]>,
    pub(super) encoding: Encoding,
}

/// How several values share one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    /// The value is one signature.
    #[default]
    Plain,
    /// `k=v,k=v`.
    List { separator: char, assign: char, keys: Keys },
    /// `v,v,v`: the fields go by their order, what is left over by the last name.
    Positional { separator: char, fields: Box<[Box<str>]>, keys: Keys },
    /// `v1,SIG v1,SIG`.
    Versioned { version: Box<str> },
    /// `SIG,SIG`.
    Values { separator: char },
    /// The base64 of a JSON object.
    Json { members: Box<[Box<str>]> },
}

/// Which items carry signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    Any,
    These(Box<[Box<str>]>),
}

impl Keys {
    fn compile(keys: &[String]) -> Self {
        if keys == ["*"] { Self::Any } else { Self::These(boxed(keys)) }
    }

    fn has(&self, key: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(keys) => keys.iter().any(|own| **own == *key),
        }
    }

    fn first(&self) -> &str {
        match self {
            Self::Any => "",
            Self::These(keys) => keys.first().map_or("", |key| key),
        }
    }
}

/// The prefixes of which one stands before a value; the empty one where none is written.
pub(super) fn prefixes(written: &[String]) -> Box<[Box<str>]> {
    if written.is_empty() { [Box::from("")].into() } else { boxed(written) }
}

fn boxed(texts: &[String]) -> Box<[Box<str>]> {
    texts.iter().map(|text| text.as_str().into()).collect()
}

impl Writing {
    pub(super) fn compile(spec: &SignatureSpec, faults: &mut Faults) -> Self {
        let format = Format::compile(spec, faults);
        let encoding =
            faults.word("signature.encoding", spec.encoding.as_ref(), Encoding::parse, encoding::WORDS);
        let groups = spec.groups.as_deref().and_then(|text| match single(text, &[]) {
            Some(groups) => Some(groups),
            None => {
                faults.none("signature.groups", "that cannot part lists", "write one character such as \" \"")
            }
        });
        Self { format, groups, prefixes: prefixes(&spec.prefixes), encoding }
    }

    /// Refuses the words of a way to write signatures, for an algorithm that has its own.
    pub(super) fn refuse_words(spec: &SignatureSpec, with: &str, faults: &mut Faults) {
        faults.unused("signature.repeated", spec.repeated, with);
        faults.unused("signature.encoding", spec.encoding.is_some(), with);
        faults.unused("signature.format", spec.format.is_some(), with);
        faults.unused("signature.separator", spec.separator.is_some(), with);
        faults.unused("signature.assign", spec.assign.is_some(), with);
        faults.unused("signature.keys", !spec.keys.is_empty(), with);
        faults.unused("signature.fields", !spec.fields.is_empty(), with);
        faults.unused("signature.groups", spec.groups.is_some(), with);
        faults.unused("signature.version", spec.version.is_some(), with);
    }

    /// The whole values in `value`: usually one, itself.
    pub(super) fn groups<'a>(&self, value: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let (mut whole, parted) = match self.groups {
            None => (Some(value), None),
            Some(at) => (None, Some(value.split(at).filter(|group| !group.trim_ascii().is_empty()))),
        };
        let mut parted = parted.into_iter().flatten();
        std::iter::from_fn(move || whole.take().or_else(|| parted.next())).take(MAX_SIGNATURES)
    }

    /// Whether a value is one signature, and all of it.
    pub(super) fn is_plain(&self) -> bool {
        self.format == Format::Plain && self.groups.is_none()
    }

    /// What follows the prefix of one signature.
    pub(super) fn digits<'a>(&self, text: &'a str) -> Option<&'a str> {
        self.prefixes.iter().find_map(|prefix| text.strip_prefix(&**prefix))
    }

    /// How a reader of an error is told that they are written.
    pub(super) fn shown(&self) -> String {
        let encoding = self.encoding.name();
        match &*self.prefixes {
            [prefix] if !prefix.is_empty() => format!("{prefix:?} and {encoding}"),
            _ => encoding.to_owned(),
        }
    }

    /// The value with the signature of these bytes in it; in a list behind these other items.
    pub(super) fn write(&self, signature: &[u8], items: &[(&str, &str)]) -> String {
        let prefix = self.prefixes.first().map_or("", |prefix| prefix);
        self.format.write(&format!("{prefix}{}", self.encoding.encode(signature)), items)
    }
}

impl Format {
    fn compile(spec: &SignatureSpec, faults: &mut Faults) -> Self {
        let word = spec.format.as_deref().unwrap_or("plain");
        let with = format!("signature.format = {word:?}");
        let (list, positional) = (word == "list", word == "positional");
        let keyed = list || positional || word == "base64json";
        faults.unused("signature.keys", !keyed && !spec.keys.is_empty(), &with);
        let parted = list || positional || word == "values";
        faults.unused("signature.separator", !parted && spec.separator.is_some(), &with);
        faults.unused("signature.assign", !list && spec.assign.is_some(), &with);
        faults.unused("signature.fields", !positional && !spec.fields.is_empty(), &with);
        faults.unused("signature.version", word != "versioned" && spec.version.is_some(), &with);
        if keyed && !positional && spec.keys.is_empty() {
            let hint = "write keys = [\"v1\"]";
            faults.add("signature.keys", "which keys carry signatures is not said", hint);
        }
        match word {
            "plain" => Self::Plain,
            "list" => {
                let assign = one_of(spec.assign.as_deref(), '=', &[], "signature.assign", faults);
                let separator =
                    one_of(spec.separator.as_deref(), ',', &[assign], "signature.separator", faults);
                Self::List { separator, assign, keys: Keys::compile(&spec.keys) }
            }
            "positional" => {
                if spec.fields.is_empty() {
                    let hint = "write fields = [\"t\", \"v1\"]";
                    faults.add("signature.fields", "what the fields are is not said", hint);
                }
                let separator = one_of(spec.separator.as_deref(), ',', &[], "signature.separator", faults);
                let last = spec.fields.last().map(std::slice::from_ref).unwrap_or_default();
                let keys = Keys::compile(if spec.keys.is_empty() { last } else { &spec.keys });
                Self::Positional { separator, fields: boxed(&spec.fields), keys }
            }
            "versioned" => {
                let version = spec.version.clone().unwrap_or_default();
                if version.is_empty() || version.contains([',', ' ']) {
                    let hint = "write version = \"v1\"";
                    faults.add("signature.version", "which version carries signatures is not said", hint);
                }
                Self::Versioned { version: version.into() }
            }
            "values" => {
                let separator = one_of(spec.separator.as_deref(), ',', &[], "signature.separator", faults);
                Self::Values { separator }
            }
            "base64json" => Self::Json { members: boxed(&spec.keys) },
            other => {
                let hint =
                    "write \"plain\", \"list\", \"positional\", \"versioned\", \"values\" or \"base64json\"";
                faults.add("signature.format", format!("{other:?} is no signature.format"), hint);
                Self::Plain
            }
        }
    }

    /// Whether its items have names, one of which may hold the timestamp.
    pub(super) fn has_items(&self) -> bool {
        matches!(self, Self::List { .. } | Self::Positional { .. } | Self::Json { .. })
    }

    /// What the value is made of, its outer base64 taken off; `None` if it is not written so.
    pub(super) fn open<'a>(&self, value: &'a str) -> Option<Cow<'a, str>> {
        match self {
            Self::Json { .. } if value.len() > MAX_JSON_BYTES => None,
            Self::Json { .. } => String::from_utf8(STANDARD.decode(value).ok()?).ok().map(Cow::Owned),
            _ => Some(Cow::Borrowed(value)),
        }
    }

    /// The first [`MAX_SIGNATURES`] signatures in what [`Self::open`] gave, in order, each with its prefix.
    pub(super) fn signatures<'a>(&'a self, value: &'a str) -> Signatures<'a> {
        Signatures { format: self, rest: Some(value), place: 0, left: MAX_SIGNATURES }
    }

    /// The value of the item `key`; `None` where it is missing or there twice with different values.
    pub(super) fn item<'a>(&self, value: &'a str, key: &str) -> Option<Cow<'a, str>> {
        match self {
            Self::List { separator, assign, .. } => {
                let items = value.split(*separator).filter_map(|item| key_and_value(item, *assign));
                let mut found = None;
                for (_, text) in items.filter(|(name, _)| *name == key) {
                    match found {
                        Some(first) if first != text => return None,
                        _ => found = Some(text),
                    }
                }
                found.map(Cow::Borrowed)
            }
            Self::Positional { separator, fields, .. } => {
                let position = fields.iter().position(|field| **field == *key)?;
                value.split(*separator).nth(position).map(|text| Cow::Borrowed(text.trim_ascii()))
            }
            Self::Json { .. } => member(value, key).map(Cow::Owned),
            _ => None,
        }
    }

    /// Whether the item `key` is there twice with different values.
    pub(super) fn has_several(&self, value: &str, key: &str) -> bool {
        let Self::List { separator, assign, .. } = self else { return false };
        let items = value.split(*separator).filter_map(|item| key_and_value(item, *assign));
        let mut values = items.filter(|(name, _)| *name == key).map(|(_, text)| text);
        values.next().is_some_and(|first| values.any(|other| other != first))
    }

    fn write(&self, signature: &str, items: &[(&str, &str)]) -> String {
        match self {
            Self::Plain | Self::Values { .. } => signature.to_owned(),
            Self::Versioned { version } => format!("{version},{signature}"),
            Self::List { separator, assign, keys } => {
                let key = keys.first();
                let others: Vec<String> =
                    items.iter().map(|(name, value)| format!("{name}{assign}{value}{separator}")).collect();
                format!("{}{key}{assign}{signature}", others.concat())
            }
            Self::Positional { separator, fields, keys } => {
                let field = |name: &str| match items.iter().find(|(key, _)| *key == name) {
                    _ if keys.has(name) => signature.to_owned(),
                    Some((_, value)) => (*value).to_owned(),
                    None => name.to_owned(),
                };
                let fields: Vec<String> = fields.iter().map(|name| field(name)).collect();
                fields.join(separator.encode_utf8(&mut [0; 4]))
            }
            Self::Json { members } => {
                let mut object = serde_json::Map::new();
                object.extend(items.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
                object.extend(members.first().map(|name| (name.to_string(), signature.into())));
                STANDARD.encode(serde_json::Value::Object(object).to_string())
            }
        }
    }
}

/// The one character that `text` is, if it may part the items of a value.
fn single(text: &str, taken: &[char]) -> Option<char> {
    let mut chars = text.chars();
    let first = chars.next().filter(|c| c.is_ascii_graphic() || *c == ' ')?;
    (chars.next().is_none() && !taken.contains(&first)).then_some(first)
}

fn one_of(
    written: Option<&str>,
    usual: char,
    taken: &[char],
    key: &'static str,
    faults: &mut Faults,
) -> char {
    let Some(text) = written else { return usual };
    single(text, taken).unwrap_or_else(|| {
        faults.add(
            key,
            format!("{text:?} cannot part the items of a list"),
            "write one character such as \",\" or \";\"; blanks around an item do not count",
        );
        usual
    })
}

/// A member of a JSON object, a string.
fn member(object: &str, name: &str) -> Option<String> {
    let pointer = Pointer::parse(&format!("/{}", name.replace('~', "~0").replace('/', "~1"))).ok()?;
    pointer.scalar(object.as_bytes(), MAX_JSON_BYTES)
}

/// Walks the signatures of a value; see [`Format::signatures`].
#[derive(Clone)]
pub(super) struct Signatures<'a> {
    format: &'a Format,
    rest: Option<&'a str>,
    /// How many items were taken.
    place: usize,
    left: usize,
}

impl<'a> Signatures<'a> {
    /// Cuts the next item off.
    fn cut(&mut self, at: char) -> Option<&'a str> {
        let rest = self.rest?;
        let (item, rest) = rest.split_once(at).map_or((rest, None), |(item, rest)| (item, Some(rest)));
        (self.rest, self.place) = (rest, self.place + 1);
        Some(item)
    }
}

impl<'a> Iterator for Signatures<'a> {
    type Item = Cow<'a, str>;

    fn next(&mut self) -> Option<Cow<'a, str>> {
        self.left = self.left.checked_sub(1)?;
        loop {
            let signature = match self.format {
                Format::Plain => return self.rest.take().map(Cow::Borrowed),
                Format::List { separator, assign, keys } => key_and_value(self.cut(*separator)?, *assign)
                    .and_then(|(key, text)| keys.has(key).then_some(text)),
                Format::Positional { separator, fields, keys } => {
                    let name = fields.get(self.place).or(fields.last());
                    let text = self.cut(*separator)?.trim_ascii();
                    name.is_some_and(|name| keys.has(name)).then_some(text)
                }
                Format::Versioned { version } => {
                    let item = self.cut(' ')?;
                    // Some part them by ", ".
                    let item = item.strip_suffix(',').filter(|_| self.rest.is_some()).unwrap_or(item);
                    item.split_once(',').filter(|(v, _)| **v == **version).map(|(_, text)| text)
                }
                Format::Values { separator } => Some(self.cut(*separator)?.trim_ascii()),
                Format::Json { members } => {
                    let name = members.get(self.place)?;
                    self.place += 1;
                    match member(self.rest?, name) {
                        Some(text) => return Some(Cow::Owned(text)),
                        None => continue,
                    }
                }
            };
            if let Some(text) = signature {
                return Some(Cow::Borrowed(text));
            }
        }
    }
}

/// `k=v`, blanks around it cut.
fn key_and_value(item: &str, assign: char) -> Option<(&str, &str)> {
    item.trim_ascii().split_once(assign)
}

#[cfg(test)]
mod tests;
