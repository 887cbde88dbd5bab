//! What a signature header holds: its format, and how one signature in it is written.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// How many signatures of one header are looked at: rotation needs two or three, a flood of them costs a MAC each.
pub(super) const MAX_SIGNATURES: usize = 16;

/// The longest MAC there is (SHA-512), with room for what a decoder may ask beyond it.
pub(super) type Scratch = [u8; 96];

/// How the bytes of a signature are written. One signature is written in one way only: other spellings of the same
/// bytes are refused, so that no bit of a header can change without being noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    #[default]
    Hex,
    Base64,
    Base64Url,
}

/// Canonical but for the padding, which RFC 4648 §5 leaves to the user.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(false),
);

impl Encoding {
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "hex" => Self::Hex,
            "base64" => Self::Base64,
            "base64url" => Self::Base64Url,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
        }
    }

    /// The bytes that `text` stands for; `None` if it is not written so, or stands for more than any MAC is long.
    pub(super) fn decode(self, text: &[u8], scratch: &mut Scratch) -> Option<usize> {
        match self {
            Self::Hex => {
                let length = text.len() / 2;
                hex::decode_to_slice(text, scratch.get_mut(..length)?).ok()?;
                one_case(text).then_some(length)
            }
            Self::Base64 => STANDARD.decode_slice(text, scratch).ok(),
            Self::Base64Url => URL_SAFE.decode_slice(text, scratch).ok(),
        }
    }

    pub(super) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => STANDARD.encode(bytes),
            Self::Base64Url => URL_SAFE.encode(bytes),
        }
    }
}

/// Whether hex digits are all lower or all upper case. Bit 5 tells the cases of a letter apart.
fn one_case(digits: &[u8]) -> bool {
    let (mut lower, mut upper) = (false, false);
    for digit in digits {
        lower |= *digit & 0x60 == 0x60;
        upper |= *digit & 0x60 == 0x40;
    }
    !(lower && upper)
}

/// How several values share one header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    /// The value is one signature.
    #[default]
    Plain,
    /// `k=v,k=v`.
    List { separator: u8, keys: Box<[Box<str>]> },
    /// `v1,SIG v1,SIG`.
    Versioned { version: Box<str> },
}

impl Format {
    /// The first [`MAX_SIGNATURES`] signatures in `value`, in order, each with its prefix.
    pub(super) fn signatures<'a>(&'a self, value: &'a str) -> Signatures<'a> {
        Signatures { format: self, rest: Some(value), left: MAX_SIGNATURES }
    }

    /// The value of `key` in a list; `None` where it is missing or there twice with different values.
    pub(super) fn item<'a>(&self, value: &'a str, key: &str) -> Option<&'a str> {
        let Self::List { separator, .. } = self else { return None };
        let mut found = None;
        for item in value.split(char::from(*separator)) {
            match (key_and_value(item), found) {
                (Some((name, text)), Some(first)) if name == key && text != first => return None,
                (Some((name, text)), _) if name == key => found = Some(text),
                _ => {}
            }
        }
        found
    }

    /// The header's value with `signature` (its prefix included) in it; in a list after `timestamp` and its key.
    pub(super) fn write(&self, signature: &str, timestamp: Option<(&str, &str)>) -> String {
        match self {
            Self::Plain => signature.to_owned(),
            Self::Versioned { version } => format!("{version},{signature}"),
            Self::List { separator, keys } => {
                let key = keys.first().map_or("", |key| key);
                match timestamp {
                    Some((name, time)) => {
                        format!("{name}={time}{}{key}={signature}", char::from(*separator))
                    }
                    None => format!("{key}={signature}"),
                }
            }
        }
    }
}

/// Walks the signatures of a header; see [`Format::signatures`].
#[derive(Clone)]
pub(super) struct Signatures<'a> {
    format: &'a Format,
    rest: Option<&'a str>,
    left: usize,
}

impl<'a> Iterator for Signatures<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        loop {
            let rest = self.rest.take()?;
            let split =
                |at: char| rest.split_once(at).map_or((rest, None), |(item, rest)| (item, Some(rest)));
            let item = match self.format {
                Format::Plain => return Some(rest),
                Format::List { separator, keys } => {
                    let (item, rest) = split(char::from(*separator));
                    self.rest = rest;
                    key_and_value(item).filter(|(key, _)| keys.iter().any(|k| **k == **key))
                }
                Format::Versioned { version } => {
                    let (entry, rest) = split(' ');
                    self.rest = rest;
                    entry.split_once(',').filter(|(v, _)| **v == **version)
                }
            };
            if let Some((_, signature)) = item {
                return Some(signature);
            }
        }
    }
}

/// `k=v`, blanks around it cut.
fn key_and_value(item: &str) -> Option<(&str, &str)> {
    item.trim_ascii().split_once('=')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
        let mut scratch = [0; 96];
        let length = encoding.decode(text.as_bytes(), &mut scratch)?;
        Some(scratch[..length].to_vec())
    }

    fn all(format: &Format, value: &str) -> Vec<String> {
        format.signatures(value).map(str::to_owned).collect()
    }

    fn list(keys: &[&str]) -> Format {
        Format::List { separator: b',', keys: keys.iter().map(|key| Box::from(*key)).collect() }
    }

    #[test]
    fn a_signature_is_written_in_one_way_only() {
        assert_eq!(decode(Encoding::Hex, "0aff"), Some(vec![10, 255]));
        assert_eq!(decode(Encoding::Hex, "0AFF"), Some(vec![10, 255]));
        assert_eq!(decode(Encoding::Base64, "+/8="), Some(vec![0xfb, 0xff]));
        assert_eq!(decode(Encoding::Base64Url, "-_8="), Some(vec![0xfb, 0xff]));
        assert_eq!(decode(Encoding::Base64Url, "-_8"), Some(vec![0xfb, 0xff]));
        for (encoding, text) in [
            (Encoding::Hex, "0aFF"),
            (Encoding::Hex, "0af"),
            (Encoding::Hex, "0x0a"),
            (Encoding::Base64, "+/8"),
            (Encoding::Base64, "+/9="), // the last two bits belong to no byte
            (Encoding::Base64, "-_8="),
            (Encoding::Base64, "+/ 8="),
            (Encoding::Base64Url, "-_9"),
            (Encoding::Base64Url, "+/8="),
        ] {
            assert_eq!(decode(encoding, text), None, "{encoding:?} {text}");
        }
    }

    #[test]
    fn a_list_is_searched_for_its_keys() {
        assert_eq!(all(&list(&["v1"]), "t=1, v1=a=b,v0=no,V1=no,v1 =no,v1=,v1=c ,v1"), ["a=b", "", "c"]);
        assert_eq!(all(&list(&["h1", "h2"]), "h2=x,h1=y"), ["x", "y"]);
        assert_eq!(list(&["v1"]).item("t=1,v1=x, t=1", "t"), Some("1"));
        assert_eq!(list(&["v1"]).item("t=1,v1=x,t=2", "t"), None);
        assert_eq!(list(&["v1"]).item("v1=x", "t"), None);
    }

    #[test]
    fn a_versioned_header_is_searched_for_its_version() {
        let format = Format::Versioned { version: "v1".into() };
        assert_eq!(all(&format, "v1,a v1a,no v2,no v1,b  v1, x"), ["a", "b", ""]);
    }

    #[test]
    fn a_flood_of_signatures_is_looked_at_up_to_the_limit() {
        let flood = "v1=x,".repeat(1000);
        assert_eq!(all(&list(&["v1"]), &flood).len(), MAX_SIGNATURES);
        let format = Format::Versioned { version: "v1".into() };
        assert_eq!(all(&format, &"v1,x ".repeat(1000)).len(), MAX_SIGNATURES);
    }

    proptest! {
        #[test]
        fn any_header_is_taken_apart_without_a_panic(
            value in ".{0,100}|(v1[=,]?[^ ,]{0,5}[ ,=]?){0,40}", bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut scratch = [0; 96];
            for format in [Format::Plain, list(&["v1", ""]), Format::Versioned { version: "v1".into() }] {
                prop_assert!(format.signatures(&value).count() <= MAX_SIGNATURES);
                let _ = format.item(&value, "t");
            }
            for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
                let _ = encoding.decode(&bytes, &mut scratch);
                let _ = encoding.decode(value.as_bytes(), &mut scratch);
            }
        }

        #[test]
        fn what_is_written_reads_back_and_a_flipped_bit_never_reads_the_same(
            bytes in prop::collection::vec(any::<u8>(), 1..=64), at in any::<prop::sample::Index>(), bit in 0..8u32,
        ) {
            for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
                let mut text = encoding.encode(&bytes);
                prop_assert_eq!(decode(encoding, &text), Some(bytes.clone()));
                let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
                let mut flipped = std::mem::take(&mut text).into_bytes();
                let index = at.index(flipped.len());
                flipped[index] ^= 1 << bit;
                // A single letter has no other beside it whose case it could contradict.
                prop_assume!(encoding != Encoding::Hex || letters != 1);
                let flipped = String::from_utf8_lossy(&flipped).into_owned();
                prop_assert_ne!(decode(encoding, &flipped), Some(bytes.clone()));
            }
        }
    }
}
