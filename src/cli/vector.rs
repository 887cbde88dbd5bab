//! A vector: one request, its provider and secret, and the time of the check. A line of `hooklatch verify --jsonl`, or one
//! of those in a file of `tests/providers`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::clock::{Clock, Millis};
use crate::headers::{Headers, is_token};
use crate::secret::Secret;
use crate::select::Message;
use crate::verify::{Refusal, Verified, Verifier};

/// What a vector calls itself, for the answer. Read apart, so that one with a mistake can still be told by its name.
#[derive(Deserialize)]
pub(super) struct Labels {
    #[serde(default)]
    pub(super) provider: Value,
    #[serde(default)]
    pub(super) name: Value,
}

impl Labels {
    /// # Errors
    /// A line that is no JSON object.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| format!("the line is no JSON object: {error}"))
    }
}

/// What is to be checked.
#[derive(Debug)]
pub(super) struct Vector {
    pub(super) provider: String,
    pub(super) secrets: Vec<Secret>,
    method: String,
    url: String,
    headers: Headers,
    body: Vec<u8>,
    time: Time,
}

/// When it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    Clock,
    At(Millis),
    Unchecked,
}

#[derive(Deserialize)]
struct Line<'a> {
    provider: String,
    #[serde(deserialize_with = "one_or_more")]
    secret: Vec<String>,
    method: Option<String>,
    url: Option<String>,
    #[serde(borrow)]
    headers: Option<&'a RawValue>,
    body: Option<String>,
    body_base64: Option<String>,
    #[serde(default, deserialize_with = "present")]
    now: Option<Value>,
}

impl Vector {
    /// # Errors
    /// What is missing in the line or makes no sense, one sentence.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let pairs = match line.headers {
            Some(raw) => {
                serde_json::from_str::<Pairs>(raw.get()).map_err(|error| format!("headers: {error}"))?.0
            }
            None => Vec::new(),
        };
        for (name, value) in &pairs {
            if !is_token(name.as_bytes()) || value.contains(['\r', '\n', '\0']) {
                return Err(format!("headers: {name:?} and its value cannot stand in a head"));
            }
        }
        let body = match (line.body_base64, line.body) {
            (Some(encoded), _) => {
                STANDARD.decode(encoded).map_err(|error| format!("body_base64: {error}"))?
            }
            (None, Some(text)) => text.into_bytes(),
            (None, None) => Vec::new(),
        };
        Ok(Self {
            provider: line.provider,
            secrets: line.secret.into_iter().map(Secret::new).collect(),
            method: line.method.unwrap_or_else(|| "POST".to_owned()),
            url: line.url.unwrap_or_else(|| "http://localhost/".to_owned()),
            headers: Headers::from_pairs(pairs),
            body,
            time: time(line.now.as_ref())?,
        })
    }

    /// # Errors
    /// Why it is refused.
    pub(super) fn check(&self, verifier: &Verifier, clock: &Clock) -> Result<Verified, Refusal> {
        let (path, query) = path_and_query(&self.url);
        let message = Message {
            method: &self.method,
            path,
            query,
            url: &self.url,
            headers: &self.headers,
            body: &self.body,
        };
        match self.time {
            Time::At(now) => verifier.verify(&message, now),
            Time::Clock => verifier.verify(&message, clock.now()),
            Time::Unchecked => verifier.verify_untimed(&message),
        }
    }
}

fn time(now: Option<&Value>) -> Result<Time, String> {
    match now {
        None => Ok(Time::Clock),
        Some(Value::Null) => Ok(Time::Unchecked),
        Some(Value::Number(number)) => {
            let moment = number.as_f64().and_then(moment);
            moment.map(Time::At).ok_or_else(|| format!("now: {number} is no UNIX time in seconds"))
        }
        Some(other) => Err(format!("now: expected UNIX seconds or null, found {other}")),
    }
}

/// The moment so many seconds after 1970; `None` before it or beyond the year 9999.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
pub(super) fn moment(seconds: f64) -> Option<Millis> {
    (0.0..253_402_300_800.0).contains(&seconds).then(|| Millis((seconds * 1000.0).round() as u64))
}

/// The path, and the query without its `?`, of a URL; the path is `/` where there is none.
pub(super) fn path_and_query(url: &str) -> (&str, Option<&str>) {
    let url = url.split_once('#').map_or(url, |(before, _)| before);
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let target = after.find(['/', '?']).and_then(|at| after.get(at..)).unwrap_or("/");
    match target.split_once('?') {
        Some(("", query)) => ("/", Some(query)),
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// A value that is there, be it `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A string or a list of strings.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(one) => Ok(vec![one]),
        Value::Array(items) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                _ => Err(D::Error::custom("secret: expected a string or a list of strings")),
            })
            .collect(),
        _ => Err(D::Error::custom("secret: expected a string or a list of strings")),
    }
}

/// Header lines: an object of names and strings (or lists of them), or a list of pairs. All are kept, also those whose
/// name stands there twice: which one would count is for the scheme to refuse.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PairsVisitor).map(Self)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Vec<(String, String)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of names and strings, or a list of [name, value]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some((name, values)) = map.next_entry::<String, Values>()? {
            pairs.extend(values.0.into_iter().map(|value| (name.clone(), value)));
        }
        Ok(pairs)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = list.next_element::<(String, String)>()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        one_or_more(deserializer)
            .map(Self)
            .map_err(|_| D::Error::custom("expected a string or a list of strings"))
    }
}
