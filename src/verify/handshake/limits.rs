//! Which values of a stranger's request go into an answer.
//!
//! A handshake that signs with the key of the events would sign a forged event too, if it signed whatever it is given.
//! So values that meet a secret are short and hold none of the characters without which no event can be written:
//! no quotes, braces, colons, blanks, `&` or line ends.

use crate::units::Invalid;

/// The longest value where a secret is worked with, bytes.
const MOST_WITH_SECRET: usize = 128;
/// The longest value otherwise, bytes; what selectors yield at most.
const MOST: usize = crate::select::MAX_VALUE_BYTES;

/// The characters that a value may consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charset {
    /// `0-9 a-f`.
    Hex,
    /// `0-9 A-Z a-z`.
    Alphanumeric,
    /// `0-9 A-Z a-z - . _ ~ + / =`: what tokens and base64 are written in.
    Token,
    /// All but control characters.
    Text,
}

impl Charset {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "hex" => Self::Hex,
            "alphanumeric" => Self::Alphanumeric,
            "token" => Self::Token,
            "text" => Self::Text,
            _ => return None,
        })
    }

    fn has(self, byte: u8) -> bool {
        match self {
            Self::Hex => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Token => byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte),
            Self::Text => !byte.is_ascii_control(),
        }
    }
}

/// What values a handshake answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    charset: Charset,
    least: usize,
    most: usize,
}

impl Limits {
    /// From the words `charset` and `length`; `secret` says whether the answer is made with a secret.
    pub(super) fn compile(
        charset: Option<&str>,
        length: Option<(usize, usize)>,
        secret: bool,
        faults: &mut Vec<Invalid>,
    ) -> Self {
        let default = if secret { Charset::Token } else { Charset::Text };
        let charset = charset.map_or(Some(default), Charset::parse).unwrap_or_else(|| {
            let hint = "write \"hex\", \"alphanumeric\", \"token\" or \"text\"";
            faults.push(Invalid::new("handshake.charset", "there is no such charset", hint));
            default
        });
        if secret && charset == Charset::Text {
            let message = "an answer that is made with a secret would sign whatever a stranger writes";
            faults.push(Invalid::new("handshake.charset", message, "write \"token\", or leave it out"));
        }
        let bound = if secret { MOST_WITH_SECRET } else { MOST };
        let (least, most) = length.unwrap_or((1, bound));
        if least == 0 || least > most || most > bound {
            let hint = format!("write length = [1, {bound}], or within it");
            faults.push(Invalid::new("handshake.length", "no such lengths are answered", hint));
        }
        Self { charset, least, most }
    }

    /// Whether `value` may go into an answer.
    pub(super) fn allow(&self, value: &[u8]) -> bool {
        (self.least..=self.most).contains(&value.len()) && value.iter().all(|byte| self.charset.has(*byte))
    }

    /// The longest value that may, in bytes.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Whether `body` could be a part of what a challenge makes this handshake sign: of such a body a signature proves
    /// nothing.
    pub(super) fn could_hold(&self, body: &[u8]) -> bool {
        body.len() <= self.most && body.iter().all(|byte| self.charset.has(*byte))
    }
}
