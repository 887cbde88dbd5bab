//! Secrets to keys, and the keyed MAC: built once a secret, cloned for each request.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac as _};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The hash under an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

/// How a secret's text becomes the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum KeyForm {
    #[default]
    Utf8,
    Base64,
    Whsec,
    Hex,
}

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
            _ => return None,
        })
    }

    /// The key that `secret` stands for; the error says how it should be written, never what it holds.
    pub(super) fn decode(self, secret: &Secret) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        let text = secret.expose();
        let key = match self {
            Self::Utf8 => Some(text.to_vec()),
            Self::Base64 => base64(text),
            Self::Whsec => {
                let text = text.trim_ascii();
                base64(text.strip_prefix(b"whsec_").unwrap_or(text))
            }
            Self::Hex => hex::decode(text.trim_ascii()).ok(),
        };
        match key.map(Zeroizing::new) {
            Some(key) if !key.is_empty() => Ok(key),
            _ => Err(match self {
                Self::Utf8 => "is empty",
                Self::Base64 => "is not base64",
                Self::Whsec => "is not written \"whsec_\" and base64",
                Self::Hex => "is not hex",
            }),
        }
    }
}

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// A MAC with its key; what is fed to a clone leaves the original as it was.
#[derive(Clone)]
pub(super) enum Mac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    /// Twice the size of the others, which are what is used: boxed, so that they are not copied with its room.
    Sha512(Box<Hmac<Sha512>>),
}

impl Mac {
    /// `None` never happens: an HMAC takes a key of any length (RFC 2104 §2).
    pub(super) fn new(hash: Hash, key: &[u8]) -> Option<Self> {
        Some(match hash {
            Hash::Sha1 => Self::Sha1(Hmac::new_from_slice(key).ok()?),
            Hash::Sha256 => Self::Sha256(Hmac::new_from_slice(key).ok()?),
            Hash::Sha512 => Self::Sha512(Box::new(Hmac::new_from_slice(key).ok()?)),
        })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(mac) => mac.update(bytes),
            Self::Sha256(mac) => mac.update(bytes),
            Self::Sha512(mac) => mac.update(bytes),
        }
    }

    /// Whether `tag` is the whole MAC of what was fed; in constant time for a tag of the right length.
    pub(super) fn verify(self, tag: &[u8]) -> bool {
        match self {
            Self::Sha1(mac) => mac.verify_slice(tag),
            Self::Sha256(mac) => mac.verify_slice(tag),
            Self::Sha512(mac) => mac.verify_slice(tag),
        }
        .is_ok()
    }

    /// The MAC, for signing only: nothing is ever compared with it.
    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha512(mac) => mac.finalize().into_bytes().to_vec(),
        }
    }
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
    }

    #[test]
    fn a_secret_that_is_not_written_so_or_decodes_to_nothing_is_an_error() {
        for (form, text) in [
            (KeyForm::Utf8, ""),
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

    /// RFC 4231 §4.3 (SHA-2) and RFC 2202 §3 (SHA-1), test case 2 of each.
    #[test]
    fn the_macs_are_those_of_the_rfcs() {
        for (hash, tag) in [
            (Hash::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (Hash::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                Hash::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd\
                 caeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            let mut mac = Mac::new(hash, b"Jefe").unwrap();
            mac.update(b"what do ya want ");
            mac.update(b"for nothing?");
            assert_eq!(hex::encode(mac.clone().finish()), tag);
            let tag = hex::decode(tag).unwrap();
            assert!(mac.clone().verify(&tag));
            assert!(!mac.clone().verify(&tag[1..]) && !mac.verify(&[]));
        }
    }
}
