//! Ways of signing that fit no template: each a word of `algorithm`, with `parameters` of its own.
//!
//! | word | what is signed |
//! |---|---|
//! | `signed-items` | each item of a list in a JSON body on its own, by an HMAC over some of its fields |
//! | `signed-fields` | some members of a JSON body, with RSA |
//! | `http-signature` | the headers that the signature lists (draft-cavage-http-signatures), with Ed25519 |
//! | `jws-request` | method, path, the headers that the signature lists, and the body, by a detached JWS |

mod fields;
mod http_signature;
mod items;
mod jws_request;
mod parameters;

use std::fmt;
use std::sync::Arc;

use super::asymmetric::{Asymmetric, PrivateKey, PublicKey};
use super::faults::Faults;
use super::format::Format;
use super::place::{View, refuse, twice};
use super::sign::Signature;
use super::spec::SchemeSpec;
use super::timestamp::{TimePlace, Timestamp};
use super::{NamedSecret, Refusal, RefusalKind, Verified};
use crate::clock::Millis;
use crate::headers::{Headers, HeadersBuilder, is_token};
use crate::select::Message;

/// The words of the forms, for error messages.
pub(super) const WORDS: &[&str] = &["signed-items", "signed-fields", "http-signature", "jws-request"];

/// A compiled form.
pub(super) trait Form: fmt::Debug + Send + Sync {
    /// Prepares the keys.
    ///
    /// # Errors
    /// What is wrong with which secret: "the secret NAME …".
    fn prepare(&self, secrets: &[NamedSecret]) -> Result<Box<dyn Keyed>, Vec<String>>;

    /// Whether a request that verifies is proven whole.
    fn binds_body(&self) -> bool;

    /// Whether the time is part of what is checked.
    fn checks_time(&self) -> bool {
        false
    }

    /// Whether the public URL, or a part of it, is part of what is signed.
    fn signs_url(&self) -> bool {
        false
    }

    /// The headers in which the signature is looked for.
    fn signature_headers(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether signing takes another key than verifying.
    fn has_private_key(&self) -> bool {
        false
    }

    /// Signs `message` as the provider would, with its private key.
    ///
    /// # Errors
    /// A form that has none, or what it takes that is not at hand.
    fn sign(&self, _key: &PrivateKey, _message: &Message<'_>, _now: Millis) -> Result<Signature, String> {
        Err("this scheme is signed with the shared secret, not with a private key".to_owned())
    }
}

/// A form with its keys.
pub(super) trait Keyed: Send + Sync {
    /// Checks `message` at the time `now`; without one the time is not checked.
    ///
    /// # Errors
    /// Why it is refused; a wrong time only where all else is right.
    fn verify(&self, message: &Message<'_>, now: Option<Millis>) -> Result<Verified, Refusal>;

    /// Signs `message` as the provider would, with the first secret.
    ///
    /// # Errors
    /// A form that is signed with a private key, or what it takes that is not at hand.
    fn sign(&self, _message: &Message<'_>, _id: &str, _now: Millis) -> Result<Signature, String> {
        Err("the provider signs with a private key, of which only the public one is here".to_owned())
    }
}

/// The form that `spec.algorithm` names: `None` if it names none, `Some(None)` if its parameters have faults.
#[allow(clippy::option_option, reason = "no form, and a form with faults, are two answers")]
pub(super) fn compile(spec: &SchemeSpec, faults: &mut Faults) -> Option<Option<Arc<dyn Form>>> {
    let compile: fn(&SchemeSpec, &mut Faults) -> Option<Arc<dyn Form>> = match spec.algorithm.as_str() {
        "signed-items" => items::compile,
        "signed-fields" => fields::compile,
        "http-signature" => http_signature::compile,
        "jws-request" => jws_request::compile,
        _ => return None,
    };
    Some(compile(spec, faults))
}

/// A signature in one header, over headers that it lists itself.
#[derive(Clone, Debug)]
struct Listing {
    /// The header.
    header: Box<str>,
    /// What must be among those listed.
    required: Box<[Box<str>]>,
    timestamp: Option<Timestamp>,
}

impl Listing {
    /// `required` and the headers in which the time stands must be listed.
    fn compile(spec: &SchemeSpec, mut required: Vec<Box<str>>, faults: &mut Faults) -> Option<Self> {
        let timestamp =
            spec.timestamp.as_ref().and_then(|time| Timestamp::compile(time, &Format::default(), faults));
        required.extend(time_headers(timestamp.as_ref()));
        Some(Self { header: header_name(spec, faults)?, required: required.into(), timestamp })
    }

    fn checks_time(&self) -> bool {
        self.timestamp.as_ref().is_some_and(|timestamp| timestamp.tolerance.is_some())
    }

    fn signature_headers(&self) -> Vec<String> {
        vec![self.header.to_ascii_lowercase()]
    }

    /// The listed `names`, if there are not too many and none is left out that must be there.
    fn names<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<Vec<&'a str>, Refusal> {
        let Some(names) = listed(names) else {
            return Err(self.wrong(format!("The signature in {} lists too many headers.", self.header)));
        };
        match left_out(&self.required, &names) {
            Some(name) => Err(self.wrong(format!("The signature in {} leaves out {name}.", self.header))),
            None => Ok(names),
        }
    }

    fn wrong(&self, what: String) -> Refusal {
        refuse(RefusalKind::InvalidSignature, &self.header, what)
    }

    /// No key fits.
    fn no_match(&self) -> Refusal {
        self.wrong(format!("No key of this route reproduces the signature in {}.", self.header))
    }
}

/// The one header in which the signature stands.
fn header_name(spec: &SchemeSpec, faults: &mut Faults) -> Option<Box<str>> {
    match spec.signature.headers.as_slice() {
        [name] if is_token(name.as_bytes()) => Some(name.as_str().into()),
        [name] => faults.none("signature.header", format!("{name:?} is not a header's name"), ""),
        _ => {
            let message = "the header in which the signature stands is not said";
            faults.none("signature.header", message, "write signature = { header = \"Signature\" }")
        }
    }
}

/// The names of the headers in which `timestamp` stands: what is checked must be signed.
fn time_headers(timestamp: Option<&Timestamp>) -> Vec<Box<str>> {
    match timestamp.map(|timestamp| &timestamp.place) {
        Some(TimePlace::Own(place)) => place.header_names().into_iter().map(String::into_boxed_str).collect(),
        Some(TimePlace::Key(_)) | None => Vec::new(),
    }
}

/// The public keys of each secret, those that work with one of `algorithms`.
fn public_keys(
    secrets: &[NamedSecret],
    algorithms: &[Asymmetric],
) -> Result<Vec<Vec<PublicKey>>, Vec<String>> {
    let mut faults = Vec::new();
    let mut all = Vec::with_capacity(secrets.len());
    for NamedSecret { name, secret, .. } in secrets {
        match PublicKey::parse_all(secret.expose()) {
            Ok(mut keys) => {
                keys.retain(|key| algorithms.iter().any(|algorithm| key.fits(*algorithm)));
                if keys.is_empty() {
                    let wanted = algorithms.first().map_or("another key", |algorithm| algorithm.key_kind());
                    faults.push(format!("the secret {name:?} is not {wanted}, which the scheme wants"));
                }
                all.push(keys);
            }
            Err(fault) => faults.push(format!("the secret {name:?} {fault}")),
        }
    }
    if faults.is_empty() { Ok(all) } else { Err(faults) }
}

/// Names and values of headers to add.
type Lines = Vec<(String, String)>;

fn lines(added: &Lines) -> Headers {
    Headers::from_pairs(added.iter().map(|(name, value)| (name, value)))
}

/// `headers` with `added` in the place of those of the same names.
fn with_headers(headers: &Headers, added: &Lines) -> Headers {
    let replaced = |name: &[u8]| added.iter().any(|(other, _)| other.as_bytes().eq_ignore_ascii_case(name));
    let mut all = HeadersBuilder::default();
    for (name, value) in headers.iter().filter(|(name, _)| !replaced(name)) {
        all.push(name, value);
    }
    for (name, value) in added {
        all.push(name.as_bytes(), value.as_bytes());
    }
    all.build()
}

/// The headers in which the time to sign stands.
fn time_to_sign(timestamp: Option<&Timestamp>, now: Millis) -> Lines {
    let Some(time) = timestamp else { return Lines::new() };
    time_headers(timestamp).into_iter().map(|name| (name.into_string(), time.unit.write(now))).collect()
}

/// The text of the header in which the signature stands; `None` if it is no text.
fn signature_header<'a>(name: &str, message: &Message<'a>) -> Result<Option<&'a str>, Refusal> {
    let value = message.headers.get_unambiguous(name).map_err(|_| twice("header", name))?;
    let value = value.ok_or_else(|| {
        refuse(RefusalKind::MissingSignature, name, format!("The header {name} is missing."))
    })?;
    Ok(std::str::from_utf8(value).ok())
}

/// The value of a header that is signed.
fn signed_header<'a>(name: &str, message: &Message<'a>) -> Result<&'a [u8], Refusal> {
    let value = message.headers.get_unambiguous(name).map_err(|_| twice("header", name))?;
    value.ok_or_else(|| {
        let message = format!("The header {name}, a part of the signature, is missing.");
        refuse(RefusalKind::MissingSignature, name, message)
    })
}

/// The time of a request that is signed right.
fn check_time(
    timestamp: Option<&Timestamp>,
    message: &Message<'_>,
    now: Option<Millis>,
) -> Result<Option<Millis>, Refusal> {
    let Some(timestamp) = timestamp else { return Ok(None) };
    let TimePlace::Own(place) = &timestamp.place else { return Ok(None) };
    let sent = place.read_one(&View { message, json: message.body })?.ok_or_else(|| place.missing())?;
    timestamp.check(&sent, now)
}

/// Where a request was sent: the query is always the request's own, for the app gets that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target<'a> {
    path: &'a str,
    /// `None`: as its header says.
    host: Option<&'a str>,
}

/// Where `message` may have been sent: as it came, and as its public URL says, for a proxy may rewrite path and host.
fn targets<'a>(message: &Message<'a>) -> impl Iterator<Item = Target<'a>> {
    let as_it_came = Target { path: message.path, host: None };
    let host = message.headers.get("host");
    let differs = |target: &Target<'_>| target.path != message.path || target.host.map(str::as_bytes) != host;
    [Some(as_it_came), public_target(message.url).filter(differs)].into_iter().flatten()
}

fn public_target(url: &str) -> Option<Target<'_>> {
    let (_, rest) = url.split_once("://")?;
    let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    Some(Target { path: if path.is_empty() { "/" } else { path }, host: Some(host) })
}

/// The names in a list of headers; `None` if there are more than anybody would list.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> Option<Vec<&'a str>> {
    const MAX_LISTED: usize = 64;
    let names: Vec<&str> =
        names.map(str::trim).filter(|name| !name.is_empty()).take(MAX_LISTED + 1).collect();
    (names.len() <= MAX_LISTED).then_some(names)
}

/// The first of `required` that is not among `names`.
fn left_out<'r>(required: &'r [Box<str>], names: &[&str]) -> Option<&'r str> {
    let missing = |name: &str| !names.iter().any(|listed| listed.eq_ignore_ascii_case(name));
    required.iter().map(|name| &**name).find(|name| missing(name))
}

#[cfg(test)]
mod tests;
