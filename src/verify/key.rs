//! Secrets to keys: how the text that a provider shows becomes the bytes it computes with.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use icu_normalizer::DecomposingNormalizerBorrowed;
use zeroize::Zeroizing;

use super::mac::Hash;
use crate::secret::Secret;

/// How a secret's text becomes the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum KeyForm {
    #[default]
    Utf8,
    Base64,
    Whsec,
    Hex,
    /// The text, or what it stands for in hex where it is hex: for a provider of whom both are said.
    Utf8OrHex,
    /// The SHA-1 of the text.
    Sha1,
    /// The SHA-256 of the text.
    Sha256,
    /// The text and a `&`, as OAuth 1.0a keys end where there is no token secret (RFC 5849 §3.4.2).
    Ampersand,
    /// The text in Unicode's NFKD form.
    Nfkd,
}

/// The words, for an error.
pub(super) const WORDS: &str = "\"utf8\", \"base64\", \"whsec\", \"hex\", \"utf8-or-hex\", \"sha1\", \"sha256\", \"ampersand\" or \"nfkd\"";

/// Whoever made a secret wrote its padding as they liked; nothing is won by refusing it.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

impl KeyForm {
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "utf8" => Self::Utf8,
            "base64" => Self::Base64,
            "whsec" => Self::Whsec,
            "hex" => Self::Hex,
            "utf8-or-hex" => Self::Utf8OrHex,
            "sha1" => Self::Sha1,
            "sha256" => Self::Sha256,
            "ampersand" => Self::Ampersand,
            "nfkd" => Self::Nfkd,
            _ => return None,
        })
    }

    /// The other form of which `secret` may be a key, too.
    pub(super) fn other(self) -> Option<Self> {
        (self == Self::Utf8OrHex).then_some(Self::Hex)
    }

    /// The key that `secret` stands for; the error says how it should be written, never what it holds.
    pub(super) fn decode(self, secret: &Secret) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        let text = secret.expose();
        let key = match self {
            _ if text.is_empty() => None,
            Self::Utf8 | Self::Utf8OrHex => Some(text.to_vec()),
            Self::Base64 => base64(text),
            Self::Whsec => {
                let text = text.trim_ascii();
                base64(text.strip_prefix(b"whsec_").unwrap_or(text))
            }
            Self::Hex => hex::decode(text.trim_ascii()).ok(),
            Self::Sha1 => Some(Hash::Sha1.digest([text])),
            Self::Sha256 => Some(Hash::Sha256.digest([text])),
            Self::Ampersand => Some([text, b"&"].concat()),
            Self::Nfkd => std::str::from_utf8(text).ok().map(|text| {
                DecomposingNormalizerBorrowed::new_nfkd().normalize(text).into_owned().into_bytes()
            }),
        };
        match key.map(Zeroizing::new) {
            Some(key) if !key.is_empty() => Ok(key),
            _ => Err(match self {
                Self::Utf8 | Self::Utf8OrHex | Self::Sha1 | Self::Sha256 | Self::Ampersand => "is empty",
                Self::Nfkd => "is empty or no UTF-8",
                Self::Base64 => "is not base64",
                Self::Whsec => "is not written \"whsec_\" and base64",
                Self::Hex => "is not hex",
            }),
        }
    }
}

/// Bytes from base64 of either alphabet, padded or not, blanks around it cut.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_leniently_as_their_form_says() {
        let decode = |form: KeyForm, text: &str| form.decode(&Secret::new(text)).map(|key| key.to_vec());
        for text in ["aGk/", " aGk/\n", "aGk_"] {
            assert_eq!(decode(KeyForm::Base64, text), Ok(b"hi?".to_vec()), "{text}");
        }
        for text in ["whsec_aA==", "whsec_aA", "aA=", "aB"] {
            assert_eq!(decode(KeyForm::Whsec, text), Ok(b"h".to_vec()), "{text}");
        }
        assert_eq!(decode(KeyForm::Utf8, "whsec_aA=="), Ok(b"whsec_aA==".to_vec()));
        assert_eq!(decode(KeyForm::Hex, "6869"), Ok(b"hi".to_vec()));
        assert_eq!(decode(KeyForm::Ampersand, "hi"), Ok(b"hi&".to_vec()));
        assert_eq!(decode(KeyForm::Nfkd, "\u{e9}\u{fb01}"), Ok("e\u{301}fi".as_bytes().to_vec()));
        let digest = "a9993e364706816aba3e25717850c26c9cd0d89d";
        assert_eq!(decode(KeyForm::Sha1, "abc").map(hex::encode), Ok(digest.to_owned()));
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(decode(KeyForm::Sha256, "abc").map(hex::encode), Ok(digest.to_owned()));
    }

    #[test]
    fn a_secret_that_is_not_written_so_or_decodes_to_nothing_is_an_error() {
        for (form, text) in [
            (KeyForm::Utf8, ""),
            (KeyForm::Sha1, ""),
            (KeyForm::Ampersand, ""),
            (KeyForm::Nfkd, ""),
            (KeyForm::Base64, "a b"),
            (KeyForm::Base64, ""),
            (KeyForm::Whsec, "whsec_"),
            (KeyForm::Whsec, "whsec_!"),
            (KeyForm::Hex, "abc"),
            (KeyForm::Hex, "xy"),
        ] {
            assert!(form.decode(&Secret::new(text)).is_err(), "{form:?} {text:?}");
        }
    }
}
