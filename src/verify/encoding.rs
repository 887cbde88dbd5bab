//! How the bytes of a signature are written.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The longest MAC there is (SHA-512), with room for what a decoder may ask beyond it.
pub(super) type Scratch = [u8; 96];

/// The longest signature of any kind, in bytes: RSA with 8192 bits.
const MAX_BYTES: usize = 1024;

/// How the bytes of a signature are written. One signature is written in one way only: other spellings of the same
/// bytes are refused, so that no bit of a header can change without being noticed. [`Self::Base64UrlAny`] alone leaves the
/// padding open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    #[default]
    /// In lower or in upper case, not in both.
    Hex,
    Base64,
    /// The alphabet of RFC 4648 §5, which leaves the padding to its user: here without.
    Base64Url,
    /// With padding.
    Base64UrlPadded,
    /// With or without, for providers that do not say.
    Base64UrlAny,
}

/// The words, for an error.
pub(super) const WORDS: &str =
    "\"hex\", \"base64\", \"base64url\", \"base64url-padded\" or \"base64url-any\"";

/// Canonical but for the padding.
const URL_SAFE_ANY: GeneralPurpose = GeneralPurpose::new(
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
            "base64url-padded" => Self::Base64UrlPadded,
            "base64url-any" => Self::Base64UrlAny,
            _ => return None,
        })
    }

    /// What it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url without padding",
            Self::Base64UrlPadded => "base64url with padding",
            Self::Base64UrlAny => "base64url",
        }
    }

    /// Puts the bytes that `text` stands for into `scratch`; `None` if it is not written so, or stands for more than
    /// has room there.
    pub(super) fn decode(self, text: &[u8], scratch: &mut [u8]) -> Option<usize> {
        match self {
            Self::Hex => {
                let lower = base16ct::lower::decode(text, scratch).map(<[u8]>::len);
                lower.or_else(|_| base16ct::upper::decode(text, scratch).map(<[u8]>::len)).ok()
            }
            Self::Base64 => STANDARD.decode_slice(text, scratch).ok(),
            Self::Base64Url => URL_SAFE_NO_PAD.decode_slice(text, scratch).ok(),
            Self::Base64UrlPadded => URL_SAFE.decode_slice(text, scratch).ok(),
            Self::Base64UrlAny => URL_SAFE_ANY.decode_slice(text, scratch).ok(),
        }
    }

    /// The bytes that `text` stands for, up to the length of the longest signature there is.
    pub(super) fn decode_long(self, text: &[u8]) -> Option<Vec<u8>> {
        // A decoder of base64 asks for a few bytes more than it fills.
        let mut bytes = vec![0; text.len().min(2 * MAX_BYTES) + 3];
        let length = self.decode(text, &mut bytes).filter(|length| *length <= MAX_BYTES)?;
        bytes.truncate(length);
        Some(bytes)
    }

    pub(super) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => STANDARD.encode(bytes),
            Self::Base64Url | Self::Base64UrlAny => URL_SAFE_NO_PAD.encode(bytes),
            Self::Base64UrlPadded => URL_SAFE.encode(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Encoding; 5] = [
        Encoding::Hex,
        Encoding::Base64,
        Encoding::Base64Url,
        Encoding::Base64UrlPadded,
        Encoding::Base64UrlAny,
    ];

    fn decode(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
        let mut scratch = [0; 96];
        let length = encoding.decode(text.as_bytes(), &mut scratch)?;
        assert_eq!(encoding.decode_long(text.as_bytes()).as_deref(), Some(&scratch[..length]));
        Some(scratch[..length].to_vec())
    }

    #[test]
    fn a_signature_is_written_in_one_way_only() {
        assert_eq!(decode(Encoding::Hex, "0aff"), Some(vec![10, 255]));
        assert_eq!(decode(Encoding::Hex, "0AFF"), Some(vec![10, 255]));
        assert_eq!(decode(Encoding::Base64, "+/8="), Some(vec![0xfb, 0xff]));
        assert_eq!(decode(Encoding::Base64Url, "-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(decode(Encoding::Base64UrlPadded, "-_8="), Some(vec![0xfb, 0xff]));
        for either in ["-_8", "-_8="] {
            assert_eq!(decode(Encoding::Base64UrlAny, either), Some(vec![0xfb, 0xff]));
        }
        for (encoding, text) in [
            (Encoding::Hex, "0aFF"),
            (Encoding::Hex, "0af"),
            (Encoding::Hex, "0x0a"),
            (Encoding::Base64, "+/8"),
            (Encoding::Base64, "+/9="), // the last two bits belong to no byte
            (Encoding::Base64, "-_8="),
            (Encoding::Base64, "+/ 8="),
            (Encoding::Base64Url, "-_8="),
            (Encoding::Base64Url, "-_9"),
            (Encoding::Base64Url, "+/8"),
            (Encoding::Base64UrlPadded, "-_8"),
            (Encoding::Base64UrlPadded, "-_9="),
            (Encoding::Base64UrlPadded, "+/8="),
            (Encoding::Base64UrlAny, "-_9"),
            (Encoding::Base64UrlAny, "-_8=="),
        ] {
            assert_eq!(decode(encoding, text), None, "{encoding:?} {text}");
        }
    }

    #[test]
    fn no_text_stands_for_more_than_the_longest_signature() {
        for encoding in ALL {
            let longest = encoding.encode(&[7; MAX_BYTES]);
            assert_eq!(encoding.decode_long(longest.as_bytes()), Some(vec![7; MAX_BYTES]));
            let longer = encoding.encode(&[7; MAX_BYTES + 1]);
            assert_eq!(encoding.decode_long(longer.as_bytes()), None);
            assert_eq!(decode(encoding, &encoding.encode(&[7; 97])), None);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_decoded_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for encoding in ALL {
                let _ = encoding.decode(&bytes, &mut [0; 96]);
                let _ = encoding.decode_long(&bytes);
            }
        }

        #[test]
        fn what_is_written_reads_back_and_a_flipped_bit_never_reads_the_same(
            bytes in prop::collection::vec(any::<u8>(), 1..=64), at in any::<prop::sample::Index>(), bit in 0..8u32,
        ) {
            for encoding in ALL {
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
