//! Templates of a handshake's answer: text with words of the request, of the route's settings, and digests of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::limits::Limits;
use super::{Keys, Message};
use crate::select::Selector;
use crate::verify::mac::{Hash, Mac};

const WORDS: &str = "the words are {query:N} {header:N} {body:/ptr} {form:N} {endpoint} {handshake:NAME} {hex(F)} \
    {base64(F)}, F one of hmac-sha1(…) hmac-sha256(…) hmac-sha512(…) sha1(…) sha256(…); \"{{\" and \"}}\" are braces";

/// A compiled template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Box<[Piece]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Plain(Word),
    Digest { encoding: Encoding, function: Function, of: Box<[Word]> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Literal(Box<str>),
    Request(Selector),
    /// The public URL without its query.
    Endpoint,
    /// A secret that the route gives under this name.
    Setting(Box<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Hex,
    Base64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Hmac(Hash),
    Sha1,
    Sha256,
}

impl Template {
    /// Compiles `text`; the error is a message and a hint.
    pub(super) fn compile(text: &str) -> Result<Self, (String, String)> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
                literal.extend(brace.chars().next());
                rest = after;
                continue;
            }
            let inner = brace.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let (word, after) =
                inner.ok_or_else(|| (format!("a single brace stands in {text:?}"), WORDS.to_owned()))?;
            if !literal.is_empty() {
                pieces.push(Piece::Plain(Word::Literal(std::mem::take(&mut literal).into())));
            }
            pieces.push(Piece::parse(word).map_err(|message| (message, WORDS.to_owned()))?);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Plain(Word::Literal(literal.into())));
        }
        Ok(Self(pieces.into()))
    }

    /// Whether it signs with the key of the route's events.
    pub(super) fn signs(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Digest { function: Function::Hmac(_), .. }))
    }

    /// The settings of the route that it takes.
    pub(super) fn settings(&self) -> impl Iterator<Item = &str> {
        self.words().filter_map(|word| match word {
            Word::Setting(name) => Some(&**name),
            _ => None,
        })
    }

    /// The setting that it is, and nothing else.
    pub(super) fn only_setting(&self) -> Option<&str> {
        match &*self.0 {
            [Piece::Plain(Word::Setting(name))] => Some(name),
            _ => None,
        }
    }

    /// Whether some request makes it sign `text` with the key of the route's events.
    pub(super) fn could_sign(&self, text: &[u8], keys: &Keys, limits: &Limits) -> bool {
        self.0.iter().any(|piece| match piece {
            Piece::Digest { function: Function::Hmac(_), of, .. } => could_be(of, text, keys, limits),
            _ => false,
        })
    }

    fn words(&self) -> impl Iterator<Item = &Word> {
        self.0.iter().flat_map(|piece| match piece {
            Piece::Plain(word) => std::slice::from_ref(word),
            Piece::Digest { of, .. } => of,
        })
    }

    /// The text for `message`; `None` where something it needs is not there or outside `limits`.
    pub(super) fn render(&self, message: &Message<'_>, keys: &Keys, limits: &Limits) -> Option<String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Plain(word) => {
                    text.push_str(std::str::from_utf8(&word.value(message, keys, limits)?).ok()?)
                }
                Piece::Digest { encoding, function, of } => {
                    let parts: Option<Vec<_>> =
                        of.iter().map(|word| word.value(message, keys, limits)).collect();
                    let digest = function.of(&parts?, keys)?;
                    text.push_str(&match encoding {
                        Encoding::Hex => hex::encode(digest),
                        Encoding::Base64 => STANDARD.encode(digest),
                    });
                }
            }
        }
        Some(text)
    }
}

impl Piece {
    fn parse(text: &str) -> Result<Self, String> {
        let call = |name: &str| {
            text.strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('('))
                .and_then(|rest| rest.strip_suffix(')'))
        };
        let (encoding, inner) = match (call("hex"), call("base64")) {
            (Some(inner), _) => (Encoding::Hex, inner),
            (_, Some(inner)) => (Encoding::Base64, inner),
            _ => return Word::parse(text).map(Self::Plain),
        };
        let function = inner.split_once('(').and_then(|(name, rest)| Some((name, rest.strip_suffix(')')?)));
        let (name, arguments) = function.ok_or_else(|| format!("{inner:?} is no function"))?;
        let function = match name {
            "hmac-sha1" => Function::Hmac(Hash::Sha1),
            "hmac-sha256" => Function::Hmac(Hash::Sha256),
            "hmac-sha512" => Function::Hmac(Hash::Sha512),
            "sha1" => Function::Sha1,
            "sha256" => Function::Sha256,
            _ => return Err(format!("there is no function {name:?}")),
        };
        let of: Result<Box<[Word]>, String> =
            arguments.split(',').map(|argument| Word::parse(argument.trim())).collect();
        Ok(Self::Digest { encoding, function, of: of? })
    }
}

impl Word {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "endpoint" {
            return Ok(Self::Endpoint);
        }
        if let Some(name) = text.strip_prefix("handshake:") {
            return if name.is_empty() {
                Err("which setting is not said".to_owned())
            } else {
                Ok(Self::Setting(name.into()))
            };
        }
        if let Some(literal) = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            return Ok(Self::Literal(literal.into()));
        }
        Selector::parse(text).map(Self::Request).map_err(|_| format!("there is no word {{{text}}}"))
    }

    fn value(&self, message: &Message<'_>, keys: &Keys, limits: &Limits) -> Option<Vec<u8>> {
        Some(match self {
            Self::Literal(text) => text.as_bytes().to_vec(),
            Self::Request(selector) => {
                selector.extract(message).filter(|value| limits.allow(value.as_bytes()))?.into_bytes()
            }
            Self::Endpoint => message.url.split('?').next().unwrap_or_default().as_bytes().to_vec(),
            Self::Setting(name) => keys.setting(name)?.expose().to_vec(),
        })
    }
}

impl Function {
    fn of(self, parts: &[Vec<u8>], keys: &Keys) -> Option<Vec<u8>> {
        Some(match self {
            Self::Hmac(hash) => {
                let mut mac = Mac::new(hash, keys.signing_key()?)?;
                parts.iter().for_each(|part| mac.update(part));
                mac.finish()
            }
            Self::Sha1 => digest::<Sha1>(parts),
            Self::Sha256 => digest::<Sha256>(parts),
        })
    }
}

/// Whether some request makes `text` of `words`, one written after the other.
fn could_be(words: &[Word], text: &[u8], keys: &Keys, limits: &Limits) -> bool {
    let Some((first, rest)) = words.split_first() else { return text.is_empty() };
    let goes_on = |own: &[u8]| text.strip_prefix(own).is_some_and(|text| could_be(rest, text, keys, limits));
    let begins = |most: usize| (0..=most.min(text.len())).filter_map(|end| text.get(..end));
    match first {
        Word::Literal(literal) => goes_on(literal.as_bytes()),
        Word::Setting(name) => keys.setting(name).is_some_and(|secret| goes_on(secret.expose())),
        Word::Request(_) => begins(limits.most()).any(|own| limits.allow(own) && goes_on(own)),
        // A stranger chooses the host where no public URL is configured.
        Word::Endpoint => {
            let is_url = text.starts_with(b"http://") || text.starts_with(b"https://");
            let end = text.iter().position(|byte| *byte == b'?' || !byte.is_ascii_graphic());
            is_url && begins(end.unwrap_or(text.len())).any(goes_on)
        }
    }
}

fn digest<D: Digest>(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut digest = D::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_template_is_refused_with_the_words_there_are() {
        for text in [
            "{",
            "}",
            "{}",
            "{body}",
            "{query:}",
            "{handshake:}",
            "{hex}",
            "{hex(}",
            "{hex(query:a)}",
            "{hex(md5(query:a))}",
            "{base64(sha256(nothing))}",
            "{hex(sha256())}",
        ] {
            let (message, hint) = Template::compile(text).unwrap_err();
            assert!(!message.is_empty() && hint.contains("{endpoint}"), "{text}");
        }
        assert!(Template::compile("a{{b}}{query:c}{hex(sha256('x', query:d, endpoint))}").is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_compiled_or_refused(text in ".*", words in "[{}()':,a-z0-9-]{0,60}") {
            let _ = Template::compile(&text);
            let _ = Template::compile(&words);
        }
    }
}
