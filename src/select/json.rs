//! One value out of a JSON body, by its pointer (RFC 6901), without building the rest.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The deepest pointer that is accepted, in steps.
const MAX_STEPS: usize = 32;

/// A JSON pointer, its escapes resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Box<[Box<str>]>);

/// As it is written.
impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps().try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}

impl Pointer {
    /// Reads `/a/b~1c/0`.
    ///
    /// # Errors
    /// A sentence that says how pointers are written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let steps = text.strip_prefix('/').ok_or_else(|| {
            format!("{text:?} is not a JSON pointer; it begins with \"/\", as in \"/data/id\"")
        })?;
        let steps: Box<[Box<str>]> =
            steps.split('/').map(unescape).collect::<Option<_>>().ok_or_else(|| {
                format!(
                    "{text:?} is not a JSON pointer; \"~\" is written \"~0\" and \"/\" in a name \"~1\" (RFC 6901)"
                )
            })?;
        if steps.len() > MAX_STEPS {
            return Err(format!("a JSON pointer may have at most {MAX_STEPS} steps"));
        }
        Ok(Self(steps))
    }

    /// The string (unescaped), number or boolean (as written) that stands there, if it is no longer than `max` bytes.
    ///
    /// Reading stops at the value: what follows it is not looked at, so of a name that stands twice in an object the
    /// first counts.
    #[must_use]
    pub fn scalar(&self, body: &[u8], max: usize) -> Option<String> {
        text_of(self.raw(body)?, max)
    }

    /// Its steps, their escapes resolved.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|step| &**step)
    }

    /// Whether anything stands there, `null` too.
    #[must_use]
    pub fn exists(&self, body: &[u8]) -> bool {
        self.raw(body).is_some()
    }

    /// What stands there as it is written, whatever it is: a piece of `body`.
    #[must_use]
    pub fn raw<'a>(&self, body: &'a [u8]) -> Option<&'a str> {
        let mut found = None;
        let seed = Step { path: &self.0, found: &mut found };
        // Ok or not: an early stop is an error to serde, and so is a body that is no JSON.
        let _ = seed.deserialize(&mut serde_json::Deserializer::from_slice(body));
        found.map(RawValue::get)
    }
}

fn unescape(step: &str) -> Option<Box<str>> {
    let mut pieces = step.split('~');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (escape, rest) = piece.split_at_checked(1)?;
        text.push(match escape {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        text.push_str(rest);
    }
    Some(text.into())
}

/// The value as text. An escape takes at most six bytes of source for one of text, so a longer source is not read.
fn text_of(raw: &str, max: usize) -> Option<String> {
    match raw.as_bytes().first()? {
        b'"' if raw.len() <= max.saturating_mul(6).saturating_add(2) => {
            serde_json::from_str(raw).ok().filter(|text: &String| text.len() <= max)
        }
        b'-' | b'0'..=b'9' | b't' | b'f' if raw.len() <= max => Some(raw.to_owned()),
        _ => None,
    }
}

/// Walks down `path`; at its end puts the value, still raw, into `found` and stops.
struct Step<'p, 'f, 'de> {
    path: &'p [Box<str>],
    found: &'f mut Option<&'de RawValue>,
}

impl<'de> DeserializeSeed<'de> for Step<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.path.is_empty() {
            *self.found = Some(serde::Deserialize::deserialize(deserializer)?);
            return Ok(());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Step<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (step, path) = self.path.split_first().ok_or_else(|| A::Error::custom("no step"))?;
        while let Some(here) = map.next_key_seed(Named(step))? {
            if here {
                map.next_value_seed(Step { path, found: self.found })?;
                return Err(A::Error::custom("found"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (step, path) = self.path.split_first().ok_or_else(|| A::Error::custom("no step"))?;
        let index = index(step).ok_or_else(|| A::Error::custom("not an index"))?;
        for _ in 0..index {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(Step { path, found: self.found })?;
        Err(A::Error::custom("found"))
    }
}

/// An array index of RFC 6901 §4: digits without a leading zero.
fn index(step: &str) -> Option<usize> {
    let digits = step.bytes().all(|b| b.is_ascii_digit());
    if digits && (step == "0" || !step.starts_with('0')) { step.parse().ok() } else { None }
}

/// Compares a name without making a `String` of it.
struct Named<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Named<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}
