//! Selectors: the `"header:NAME"`, `"body:/json/pointer"`, `"query:NAME"`, `"form:NAME"` words with which the
//! configuration and the provider files say where in a request something stands. `"form:NAME#/json/pointer"` looks
//! into the JSON that a form's field holds, `"header:NAME#/json/pointer"` into the claims of the JSON Web Token in a header
//! (`Bearer` or the like before it), `"jwt:/json/pointer"` into those of the token that is the body.
//!
//! A selector never guesses: what is missing, empty, not UTF-8, longer than [`MAX_VALUE_BYTES`], or there twice with
//! different values in headers, query or form is no value. In JSON the first of a name that stands twice in an object
//! counts: what follows a value is not read, for on most requests that is nearly all of the body. Nothing is won by such a
//! body. Who can write it could as well write one with another id; what is decided by several members of a signed body reads
//! it whole and refuses it (`verify/strict_json.rs`).

pub mod form;
mod json;
pub mod multipart;
mod token;

use std::fmt;

use sha2::{Digest, Sha256};

use crate::headers::{Headers, is_token};

pub use json::Pointer;

/// The longest value that a selector yields, in bytes; a list as a whole included.
pub const MAX_VALUE_BYTES: usize = 512;

/// A request as selectors and signature schemes see it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `POST`.
    pub method: &'a str,
    /// The path as it came, still escaped, without the query.
    pub path: &'a str,
    /// What follows the `?`, as it came; `None` without one.
    pub query: Option<&'a str>,
    /// The whole public URL that the provider signed, as far as hooklatch knows it.
    pub url: &'a str,
    /// The sender's headers.
    pub headers: &'a Headers,
    /// The body.
    pub body: &'a [u8],
}

/// Where in a request a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Place);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A header's value; the name in lower case.
    Header(Box<str>),
    /// A claim of the JSON Web Token in a header.
    HeaderClaim(Box<str>, Pointer),
    /// A claim of the JSON Web Token that is the body.
    BodyClaim(Pointer),
    /// A string, number or boolean of a JSON body.
    Body(Pointer),
    /// The SHA-256 of the body, in lower-case hex.
    BodyDigest,
    /// A parameter of the query, decoded.
    Query(Box<str>),
    /// A field of the form in the body, decoded.
    Form(Box<str>),
    /// A string, number or boolean of the JSON in a field of the form in the body.
    FormJson(Box<str>, Pointer),
    /// Several values, joined with `:`; one missing: none.
    Joined(Vec<Selector>),
}

const WORDS: &str = "\"header:NAME\", \"body:/json/pointer\", \"query:NAME\" or \"form:NAME\"";

/// As it is written in a configuration; the parts of a joined one with ` + ` between them.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Header(name) => write!(f, "header:{name}"),
            Place::HeaderClaim(name, pointer) => write!(f, "header:{name}#{pointer}"),
            Place::BodyClaim(pointer) => write!(f, "jwt:{pointer}"),
            Place::Body(pointer) => write!(f, "body:{pointer}"),
            Place::BodyDigest => f.write_str("body:sha256"),
            Place::Query(name) => write!(f, "query:{name}"),
            Place::Form(name) => write!(f, "form:{name}"),
            Place::FormJson(name, pointer) => write!(f, "form:{name}#{pointer}"),
            Place::Joined(parts) => {
                for (at, part) in parts.iter().enumerate() {
                    write!(f, "{}{part}", if at == 0 { "" } else { " + " })?;
                }
                Ok(())
            }
        }
    }
}

impl Selector {
    /// Reads one of `"header:NAME"`, `"body:/json/pointer"` (RFC 6901), `"query:NAME"`, `"form:NAME"`,
    /// `"form:NAME#/json/pointer"`, `"header:NAME#/json/pointer"`, `"jwt:/json/pointer"`.
    ///
    /// # Errors
    /// A sentence that says which words there are, or what is wrong with the name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (word, name) =
            text.split_once(':').ok_or_else(|| format!("{text:?} is not a selector; write {WORDS}"))?;
        let place = match word {
            "header" if is_token(name.as_bytes()) => Place::Header(name.to_ascii_lowercase().into()),
            "header" => match name.split_once("#/") {
                Some((header, pointer)) if is_token(header.as_bytes()) => Place::HeaderClaim(
                    header.to_ascii_lowercase().into(),
                    Pointer::parse(&format!("/{pointer}"))?,
                ),
                _ => return Err(format!("{name:?} is not a header's name")),
            },
            "jwt" => Place::BodyClaim(Pointer::parse(name)?),
            "body" if name == "sha256" => {
                return Err("\"body:sha256\" has a meaning only as a key of dedupe".to_owned());
            }
            "body" => Place::Body(Pointer::parse(name)?),
            "query" | "form" if name.is_empty() => {
                return Err(format!("{text:?} names no parameter; write \"{word}:NAME\""));
            }
            "query" => Place::Query(name.into()),
            "form" => match name.split_once('#') {
                Some((field, pointer)) if !field.is_empty() => {
                    Place::FormJson(field.into(), Pointer::parse(pointer)?)
                }
                _ => Place::Form(name.into()),
            },
            _ => return Err(format!("{text:?} is not a selector; write {WORDS}")),
        };
        Ok(Self(place))
    }

    /// As [`Self::parse`], and `"body:sha256"` too: a part of a dedupe key.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_dedupe(text: &str) -> Result<Self, String> {
        if text == "body:sha256" { Ok(Self(Place::BodyDigest)) } else { Self::parse(text) }
    }

    /// All of `parts`, joined with `:`; a list where one is missing yields none.
    #[must_use]
    pub fn joined(mut parts: Vec<Self>) -> Self {
        match (parts.len(), parts.pop()) {
            (1, Some(only)) => only,
            (_, last) => {
                parts.extend(last);
                Self(Place::Joined(parts))
            }
        }
    }

    /// The name of the header it looks at, in lower case, if it is one.
    #[must_use]
    pub fn header_name(&self) -> Option<&str> {
        match &self.0 {
            Place::Header(name) => Some(name),
            _ => None,
        }
    }

    /// The first of its parts that has no value in `message`, as it is written; the name alone of a header. Of one that has
    /// a value: the whole.
    #[must_use]
    pub fn missing_part(&self, message: &Message<'_>) -> String {
        match &self.0 {
            Place::Header(name) => name.to_string(),
            Place::Joined(parts) => match parts.iter().find(|part| part.extract(message).is_none()) {
                Some(part) => part.missing_part(message),
                None => self.to_string(),
            },
            _ => self.to_string(),
        }
    }

    /// The value in `message`; `None` where there is none, it is empty, longer than 512 bytes or ambiguous.
    #[must_use]
    pub fn extract(&self, message: &Message<'_>) -> Option<String> {
        self.extract_up_to(message, MAX_VALUE_BYTES)
    }

    /// As [`Self::extract`], for a value of up to `most` bytes.
    #[must_use]
    pub fn extract_up_to(&self, message: &Message<'_>, most: usize) -> Option<String> {
        let value = match &self.0 {
            Place::Header(name) => {
                let value = message.headers.get_unambiguous(name).ok()??;
                bounded(std::str::from_utf8(value).ok()?, most)?.to_owned()
            }
            Place::HeaderClaim(name, pointer) => {
                let value = message.headers.get_unambiguous(name).ok()??;
                pointer.scalar(&token::claims(value)?, most)?
            }
            Place::BodyClaim(pointer) => pointer.scalar(&token::claims(message.body)?, most)?,
            Place::Body(pointer) => pointer.scalar(message.body, most)?,
            Place::BodyDigest => hex::encode(Sha256::digest(message.body)),
            Place::Query(name) => parameter(message.query.unwrap_or_default().as_bytes(), name)?,
            Place::Form(name) => String::from_utf8(form::field(message, name)??.into_owned()).ok()?,
            Place::FormJson(name, pointer) => {
                pointer.scalar(&form::field(message, name)??, MAX_VALUE_BYTES)?
            }
            Place::Joined(parts) => join(parts, message)?,
        };
        bounded(&value, most)?;
        Some(value)
    }

    /// Whether anything stands there at all, be it empty, too long, several different values or a JSON object.
    #[must_use]
    pub fn is_there(&self, message: &Message<'_>) -> bool {
        let named = |encoded: &[u8], name: &str| form::pairs(encoded).any(|(n, _)| *n == *name.as_bytes());
        match &self.0 {
            Place::Header(name) | Place::HeaderClaim(name, _) => message.headers.get(name).is_some(),
            Place::BodyClaim(_) => !message.body.is_empty(),
            Place::Body(pointer) => pointer.exists(message.body),
            Place::BodyDigest => true,
            Place::Query(name) => named(message.query.unwrap_or_default().as_bytes(), name),
            Place::Form(name) | Place::FormJson(name, _) => {
                form::fields(message).any(|(n, _)| *n == *name.as_bytes())
            }
            Place::Joined(parts) => parts.iter().all(|part| part.is_there(message)),
        }
    }
}

fn bounded(value: &str, most: usize) -> Option<&str> {
    (!value.is_empty() && value.len() <= most).then_some(value)
}

fn join(parts: &[Selector], message: &Message<'_>) -> Option<String> {
    let values: Option<Vec<String>> = parts.iter().map(|part| part.extract(message)).collect();
    Some(values?.join(":"))
}

/// The decoded value of `name` in `encoded`, where it stands once or always the same.
fn parameter(encoded: &[u8], name: &str) -> Option<String> {
    let value = form::unambiguous(encoded, name)??;
    String::from_utf8(value.into_owned()).ok()
}

#[cfg(test)]
mod tests;
