//! A walk over a parsed file that keeps the places: typed readers that record a mistake and go on.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema::{self, Schema};
use super::suggest::nearest;
use crate::units::{self, Invalid, Rate};

/// How far a mistake can be trusted where the file has syntax errors too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// It is about the words at its place.
    Local,
    /// It is about something that stands elsewhere or is missing, perhaps only because of a syntax error.
    Whole,
}

/// One thing to say, with its place.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: String,
    /// Another place and what stands there.
    pub(super) other: Option<(Range<usize>, &'static str)>,
    pub(super) scope: Scope,
}

/// The walk: what was found wrong so far.
pub(super) struct Walk {
    pub(super) problems: RefCell<Vec<Problem>>,
    pub(super) warnings: RefCell<Vec<Problem>>,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self { problems: RefCell::default(), warnings: RefCell::default() }
    }

    /// Records a mistake about the words at `span`.
    pub(super) fn mistake(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.push(span, message.into(), help.into(), None, Scope::Local);
    }

    /// Records a mistake that depends on the rest of the file.
    pub(super) fn mistake_of_whole(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(span, message.into(), help.into(), None, Scope::Whole);
    }

    pub(super) fn push(
        &self,
        span: Range<usize>,
        message: String,
        help: String,
        other: Option<(Range<usize>, &'static str)>,
        scope: Scope,
    ) {
        self.problems.borrow_mut().push(Problem { span, message, help, other, scope });
    }

    pub(super) fn warn(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let problem =
            Problem { span, message: message.into(), help: help.into(), other: None, scope: Scope::Whole };
        self.warnings.borrow_mut().push(problem);
    }
}

/// A value with its place.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) walk: &'a Walk,
    value: &'a Spanned<DeValue<'a>>,
}

/// `"a string"`, `"an integer"` …, as the messages say it.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

impl<'a> Value<'a> {
    pub(super) fn span(self) -> Range<usize> {
        self.value.span()
    }

    pub(super) fn mistake(self, message: impl Into<String>, help: impl Into<String>) {
        // What the parser puts where a value is missing has no place; the syntax error was reported.
        if !self.is_placeholder() {
            self.walk.mistake(self.span(), message, help);
        }
    }

    fn is_placeholder(self) -> bool {
        self.span() == (0..0)
    }

    fn wrong_kind<T>(self, expected: &str, help: impl Into<String>) -> Option<T> {
        self.mistake(format!("expected {expected}, found {}", kind(self.value.get_ref())), help);
        None
    }

    pub(super) fn as_str(self) -> Option<&'a str> {
        self.value.get_ref().as_str()
    }

    pub(super) fn as_bool(self) -> Option<bool> {
        self.value.get_ref().as_bool()
    }

    pub(super) fn is_array(self) -> bool {
        self.value.get_ref().is_array()
    }

    pub(super) fn is_table(self) -> bool {
        self.value.get_ref().is_table()
    }

    /// A string; `help` is an example of how to write it.
    pub(super) fn str(self, help: &str) -> Option<&'a str> {
        match self.as_str() {
            Some(text) => Some(text),
            None => self.wrong_kind("a string", help),
        }
    }

    /// A string as it stands.
    pub(super) fn string(self) -> Option<String> {
        self.str("").map(str::to_owned)
    }

    /// Any value as JSON; dates are texts.
    pub(super) fn json(self) -> Option<serde_json::Value> {
        use serde_json::Value as Json;
        Some(match self.value.get_ref() {
            DeValue::String(text) => Json::String(text.to_string()),
            DeValue::Boolean(truth) => Json::Bool(*truth),
            DeValue::Datetime(date) => Json::String(date.to_string()),
            DeValue::Integer(_) => Json::from(self.integer(0..=u64::MAX)?),
            DeValue::Float(_) => Json::from(self.float()?),
            DeValue::Array(_) => self.array("")?.map(Value::json).collect::<Option<_>>()?,
            DeValue::Table(_) => {
                let member =
                    |(key, _, value): (&str, Range<usize>, Self)| Some((key.to_owned(), value.json()?));
                Json::Object(self.entries("")?.into_iter().map(member).collect::<Option<_>>()?)
            }
        })
    }

    pub(super) fn bool(self) -> Option<bool> {
        match self.as_bool() {
            Some(value) => Some(value),
            None => {
                let quoted = matches!(self.as_str(), Some("true" | "false"));
                self.wrong_kind("true or false", if quoted { "write it without quotes" } else { "" })
            }
        }
    }

    /// A whole number within `range`.
    pub(super) fn integer(self, range: RangeInclusive<u64>) -> Option<u64> {
        let DeValue::Integer(integer) = self.value.get_ref() else {
            let quoted = self.as_str().is_some_and(|text| text.parse::<u64>().is_ok());
            return self.wrong_kind("a whole number", if quoted { "write it without quotes" } else { "" });
        };
        let value = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        let value = value.and_then(|value| u64::try_from(value).ok()).filter(|value| range.contains(value));
        if value.is_none() {
            let bounds = format!("write a whole number from {} to {}", range.start(), range.end());
            self.mistake(format!("{integer} is out of range"), bounds);
        }
        value
    }

    /// A number, whole or not, never NaN or infinite.
    pub(super) fn float(self) -> Option<f64> {
        let value = match self.value.get_ref() {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::Integer(integer) => {
                i32::from_str_radix(integer.as_str(), integer.radix()).ok().map(f64::from)
            }
            _ => return self.wrong_kind("a number", ""),
        };
        let value = value.filter(|value| value.is_finite());
        if value.is_none() {
            self.mistake("not a number to calculate with", "");
        }
        value
    }

    pub(super) fn array(self, help: &str) -> Option<impl ExactSizeIterator<Item = Value<'a>> + use<'a>> {
        let walk = self.walk;
        match self.value.get_ref() {
            DeValue::Array(items) => Some(items.iter().map(move |value| Value { walk, value })),
            _ => self.wrong_kind("a list", help),
        }
    }

    /// A table with the keys of `schema`, named `name` in messages.
    pub(super) fn table(
        self,
        name: impl Into<String>,
        schema: &'static Schema,
        help: &str,
    ) -> Option<Table<'a>> {
        match self.value.get_ref() {
            DeValue::Table(table) => {
                Some(Table::new(self.walk, Some(table), self.span(), name.into(), schema))
            }
            _ => self.wrong_kind("a table", help),
        }
    }

    /// The entries of a table whose keys are the user's own: name, the name's place, value; in the file's order.
    pub(super) fn entries(self, help: &str) -> Option<Vec<(&'a str, Range<usize>, Value<'a>)>> {
        let walk = self.walk;
        let DeValue::Table(table) = self.value.get_ref() else { return self.wrong_kind("a table", help) };
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), key.span(), Value { walk, value }))
            .collect();
        entries.sort_by_key(|(_, span, _)| span.start);
        Some(entries)
    }

    /// A string that `read` understands; its error is the message.
    pub(super) fn parsed<T, E: Display>(
        self,
        read: impl FnOnce(&str) -> Result<T, E>,
        help: &str,
    ) -> Option<T> {
        match read(self.str(help)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(error.to_string(), "");
                None
            }
        }
    }

    pub(super) fn duration(self) -> Option<Duration> {
        self.parsed(units::parse_duration, "write a duration with its unit, like \"30s\"")
    }

    pub(super) fn size(self) -> Option<u64> {
        self.parsed(units::parse_size, "write a size with its unit, like \"64KiB\"")
    }

    pub(super) fn rate(self) -> Option<Rate> {
        self.parsed(str::parse, "write a rate with its period, like \"100/s\"")
    }

    /// A size that this machine can hold in memory.
    pub(super) fn small_size(self) -> Option<usize> {
        let size = self.size()?;
        match usize::try_from(size) {
            Ok(size) => Some(size),
            Err(_) => {
                self.mistake("more than this machine can address", "");
                None
            }
        }
    }

    /// One of `words`.
    pub(super) fn word(self, words: &[&'static str]) -> Option<&'static str> {
        let list = words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        let typed = self.str(&format!("write one of {list}"))?;
        if let Some(word) = words.iter().find(|word| **word == typed) {
            return Some(word);
        }
        let help = match nearest(typed, words.iter().copied()) {
            Some(word) => format!("did you mean {word:?}?"),
            None => format!("write one of {list}"),
        };
        self.mistake(format!("{typed:?} is not one of the words for this key"), help);
        None
    }

    /// A list of strings, each with its place.
    pub(super) fn strings(self, help: &str) -> Option<Vec<(&'a str, Value<'a>)>> {
        let items = self.array(help)?;
        Some(items.filter_map(|item| item.str("").map(|text| (text, item))).collect())
    }

    /// A string or a list of strings.
    pub(super) fn one_or_more(self) -> Option<Vec<(&'a str, Value<'a>)>> {
        match self.as_str() {
            Some(text) => Some(vec![(text, self)]),
            None if self.is_array() => self.strings(""),
            None => self.wrong_kind("a string or a list of strings", ""),
        }
    }
}

/// A table of the file, or the absence of one: every key reads as missing then.
pub(super) struct Table<'a> {
    pub(super) walk: &'a Walk,
    table: Option<&'a DeTable<'a>>,
    span: Range<usize>,
    /// As the messages name it, `[routes.github]`.
    pub(super) name: String,
    schema: &'static Schema,
    /// Which keys of the schema somebody asked for, one bit each.
    read: Cell<u64>,
    /// What unknown keys were most likely meant to be.
    meant: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        walk: &'a Walk,
        table: Option<&'a DeTable<'a>>,
        span: Range<usize>,
        name: String,
        schema: &'static Schema,
    ) -> Self {
        let table = Self { walk, table, span, name, schema, read: Cell::new(0), meant: RefCell::default() };
        table.refuse_strangers();
        table
    }

    /// Reports keys that are not in the schema.
    fn refuse_strangers(&self) {
        for (key, _) in self.table.into_iter().flatten() {
            let (span, key) = (key.span(), key.get_ref().as_ref());
            if self.schema.keys.contains(&key) {
                continue;
            }
            if let Some((_, feature)) = self.schema.later.iter().find(|(later, _)| *later == key) {
                let message = format!("`{key}` in {} is not yet supported ({feature})", self.name);
                self.walk.mistake(span, message, "leave it out");
                continue;
            }
            let words =
                self.schema.keys.iter().chain(self.schema.later.iter().map(|(later, _)| later)).copied();
            let meant = nearest(key, words);
            self.meant.borrow_mut().extend(meant);
            let help = match (meant, schema::homes_of(key)) {
                (Some(word), _) => format!("did you mean `{word}`?"),
                (None, Some(homes)) => format!("`{key}` is a key of {homes}"),
                _ => format!("it knows {}", self.schema.keys.join(", ")),
            };
            self.walk.mistake(span, format!("unknown key `{}` in {}", key.escape_debug(), self.name), help);
        }
    }

    /// Where the table begins.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    fn lookup(&self, key: &str) -> Option<Value<'a>> {
        let value = self.table?.get(key)?;
        Some(Value { walk: self.walk, value })
    }

    /// The value of `key`, if it stands there.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        let index = self.schema.keys.iter().position(|known| *known == key);
        debug_assert!(index.is_some(), "{key} is read but not in the schema of {}", self.schema.table);
        self.read.set(self.read.get() | index.map_or(0, |index| 1 << index));
        self.lookup(key)
    }

    /// As [`Self::get`]; its absence is a mistake.
    pub(super) fn require(&self, key: &'static str, help: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() && !self.is_misspelled(key) {
            self.walk.mistake_of_whole(self.span(), format!("{} needs `{key}`", self.name), help);
        }
        value
    }

    /// Whether an unknown key was most likely meant to be `key`: it is then not missing, but misspelled.
    pub(super) fn is_misspelled(&self, key: &str) -> bool {
        self.meant.borrow().contains(&key)
    }

    /// Where the value of `key` stands (`"retry.jitter"` goes down), else the table's own place.
    pub(super) fn place_of(&self, key: &str) -> Range<usize> {
        let mut parts = key.split('.');
        let mut value = parts.next().and_then(|first| self.lookup(first));
        for part in parts {
            let Some(inner) = value else { break };
            let DeValue::Table(table) = inner.value.get_ref() else { break };
            let Some(deeper) = table.get(part) else { break };
            value = Some(Value { walk: self.walk, value: deeper });
        }
        value.map_or_else(|| self.span(), Value::span)
    }

    /// Reports what a room refuses, at the places of its keys.
    pub(super) fn invalid(&self, complaints: Vec<Invalid>) {
        for Invalid { key, message, hint } in complaints {
            let span = self.place_of(key);
            let missing = span == self.span;
            if self.is_known_already(key, &span, missing) {
                continue;
            }
            let message = if missing { format!("`{key}` in {}: {message}", self.name) } else { message };
            self.walk.mistake(span, message, hint);
        }
    }

    /// Whether what a room says of `key` was said before: a value that could not be read was reported, and is not
    /// there for its room either.
    fn is_known_already(&self, key: &str, span: &Range<usize>, missing: bool) -> bool {
        let first = key.split('.').next().unwrap_or(key);
        if self.is_misspelled(first) {
            return true;
        }
        self.walk.problems.borrow().iter().any(|problem| {
            if missing {
                problem.span == *span && problem.message.contains(&format!("`{key}`"))
            } else {
                span.start <= problem.span.start && problem.span.end <= span.end
            }
        })
    }

    /// Ends the reading; in debug builds it asserts that no key of the schema was forgotten.
    pub(super) fn done(self) {
        let all = (1u64 << self.schema.keys.len()) - 1;
        debug_assert_eq!(self.read.get(), all, "keys of {} that nobody reads", self.schema.table);
    }
}

/// Puts `value` into `slot`, if there is one.
pub(super) fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}
