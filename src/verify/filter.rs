//! What may be done to a word of a template before it is signed: digests, encodings, canonical forms.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::derived::json_string;
use super::mac::Hash;

/// The deepest JSON that is sorted, in levels.
const MAX_DEPTH: usize = 64;

/// One step of what is done to a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Lower,
    Upper,
    Digest(Hash),
    Hex,
    Base64,
    /// The checksum of zlib and PNG (RFC 1952 §8), in decimal.
    Crc32,
    SortJson,
    JsonString,
    /// Percent escapes of these characters are decoded, all others stay.
    Unescape(Box<[u8]>),
}

pub(super) const WORDS: &str = "lower, upper, md5, sha1, sha256, sha384, sha512, keccak256, hex, base64, crc32, sort_json, json_string, unescape:CHARACTERS";

impl Filter {
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "lower" => Self::Lower,
            "upper" => Self::Upper,
            "hex" => Self::Hex,
            "base64" => Self::Base64,
            "crc32" => Self::Crc32,
            "sort_json" => Self::SortJson,
            "json_string" => Self::JsonString,
            _ => match word.strip_prefix("unescape:") {
                Some(characters) if !characters.is_empty() && characters.is_ascii() => {
                    Self::Unescape(characters.as_bytes().into())
                }
                Some(_) => return None,
                None => Self::Digest(Hash::parse(word)?),
            },
        })
    }

    /// Whether nothing of what goes in can be changed unnoticed by what comes out.
    pub(super) fn keeps_all(&self) -> bool {
        matches!(self, Self::Digest(_) | Self::Hex | Self::Base64 | Self::SortJson | Self::JsonString)
    }

    /// What becomes of `text`; `None` where that is not what the filter takes.
    pub(super) fn apply<'a>(&self, text: Cow<'a, [u8]>) -> Option<Cow<'a, [u8]>> {
        Some(match self {
            Self::Lower => Cow::Owned(text.to_ascii_lowercase()),
            Self::Upper => Cow::Owned(text.to_ascii_uppercase()),
            Self::Digest(hash) => Cow::Owned(hash.digest([&*text])),
            Self::Hex => Cow::Owned(hex::encode(text).into_bytes()),
            Self::Base64 => Cow::Owned(STANDARD.encode(text).into_bytes()),
            Self::Crc32 => Cow::Owned(crc32fast::hash(&text).to_string().into_bytes()),
            Self::SortJson => {
                let mut sorted = Vec::with_capacity(text.len());
                sort_json(&text, MAX_DEPTH, &mut sorted)?;
                Cow::Owned(sorted)
            }
            Self::JsonString => Cow::Owned(json_string(&text)?),
            Self::Unescape(characters) => unescape(text, characters),
        })
    }
}

/// Writes the JSON in `text` without blanks, the keys of each object sorted, numbers as they were written and strings
/// as `JSON.stringify` writes them. `None` for what is no JSON, too deep, or has a key twice.
fn sort_json(text: &[u8], depth: usize, sorted: &mut Vec<u8>) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    match text.trim_ascii().first()? {
        b'{' => {
            let Unique(members) = serde_json::from_slice(text).ok()?;
            sorted.push(b'{');
            for (index, (name, value)) in members.iter().enumerate() {
                if index > 0 {
                    sorted.push(b',');
                }
                serde_json::to_writer(&mut *sorted, name).ok()?;
                sorted.push(b':');
                sort_json(value.get().as_bytes(), depth, sorted)?;
            }
            sorted.push(b'}');
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_slice(text).ok()?;
            sorted.push(b'[');
            for (index, value) in elements.iter().enumerate() {
                if index > 0 {
                    sorted.push(b',');
                }
                sort_json(value.get().as_bytes(), depth, sorted)?;
            }
            sorted.push(b']');
        }
        b'"' => {
            let text: String = serde_json::from_slice(text).ok()?;
            serde_json::to_writer(&mut *sorted, &text).ok()?;
        }
        _ => sorted.extend_from_slice(serde_json::from_slice::<&RawValue>(text).ok()?.get().as_bytes()),
    }
    Some(())
}

/// The members of an object, none of whose names stands twice: of two, signer and app could take different ones.
struct Unique<'a>(BTreeMap<String, &'a RawValue>);

impl<'de> serde::Deserialize<'de> for Unique<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> serde::de::Visitor<'de> for Members {
            type Value = Unique<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if members.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a name stands twice"));
                    }
                }
                Ok(Unique(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

fn unescape<'a>(text: Cow<'a, [u8]>, characters: &[u8]) -> Cow<'a, [u8]> {
    if !text.contains(&b'%') {
        return text;
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = &*text;
    while let Some((first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => {
                let mut byte = [0];
                hex::decode_to_slice([*high, *low], &mut byte)
                    .ok()
                    .map(|()| byte)
                    .filter(|[byte]| characters.contains(byte))
            }
            _ => None,
        };
        match escaped {
            Some([byte]) => {
                decoded.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn apply(word: &str, text: &str) -> Option<String> {
        let filter = Filter::parse(word).unwrap();
        filter.apply(Cow::Borrowed(text.as_bytes())).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    #[test]
    fn each_filter_does_what_its_name_says() {
        assert_eq!(apply("lower", "AbÉ").as_deref(), Some("abÉ"));
        assert_eq!(apply("upper", "ab").as_deref(), Some("AB"));
        assert_eq!(apply("hex", "hi").as_deref(), Some("6869"));
        assert_eq!(apply("base64", "hi?").as_deref(), Some("aGk/"));
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(apply("crc32", "123456789").as_deref(), Some("3421780262"));
        let digest = Filter::parse("md5").unwrap().apply(Cow::Borrowed(b"abc")).unwrap();
        assert_eq!(hex::encode(digest), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(apply("unescape:/:", "%2Fa%3a%20%2").as_deref(), Some("/a:%20%2"));
        assert_eq!(apply("unescape:/", "/a").as_deref(), Some("/a"));
        for none in ["", "sha3", "unescape:", "unescape:é", "Lower"] {
            assert_eq!(Filter::parse(none), None, "{none}");
        }
    }

    #[test]
    fn json_is_written_with_its_keys_sorted_and_its_numbers_as_they_were() {
        let text =
            "{\"b\" : [ 1.50, 1e3, {\"z\":null,\"a\":true}],\n\"a\":\"\\u00e9\\/\\n\\u0007\", \"\":-0}";
        let sorted = "{\"\":-0,\"a\":\"é/\\n\\u0007\",\"b\":[1.50,1e3,{\"a\":true,\"z\":null}]}";
        assert_eq!(apply("sort_json", text).as_deref(), Some(sorted));
        assert_eq!(apply("sort_json", " 17 ").as_deref(), Some("17"));
        for none in ["", "{", "{\"a\":1,\"a\":2}", "{\"a\":1}x", "nul", "\"\\ud800\""] {
            assert_eq!(apply("sort_json", none), None, "{none}");
        }
        assert_eq!(apply("sort_json", &format!("{}1{}", "[".repeat(64), "]".repeat(64))), None);
        assert_eq!(apply("sort_json", &"[".repeat(100_000)), None);
    }

    proptest! {
        #[test]
        fn any_text_is_filtered_without_a_panic(text in ".{0,60}|[\\[\\]{}\":,0-9a%]{0,60}") {
            for word in ["lower", "upper", "sha1", "hex", "base64", "crc32", "sort_json", "unescape:/%"] {
                let _ = apply(word, &text);
            }
        }

        #[test]
        fn sorting_twice_is_sorting_once(
            object in prop::collection::btree_map(".{0,8}", prop::option::of(any::<i64>()), 0..8),
        ) {
            let text = serde_json::to_string(&object).unwrap();
            prop_assert_eq!(apply("sort_json", &text), Some(text.clone()));
        }
    }
}
