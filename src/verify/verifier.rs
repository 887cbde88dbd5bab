//! A scheme with its secrets: checks requests.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::key::Mac;
use super::port;
use super::scheme::{ClearForm, ClearScheme, HmacScheme, Method, Scheme};
use super::signature::Scratch;
use super::template::{Field, MAX_FORM_FIELDS, Parts, Segment, sorted_form};
use super::timestamp::{Place, Timestamp, Verbatim};
use super::{NamedSecret, Refusal, RefusalKind, Verified};
use crate::clock::Millis;
use crate::secret::Secret;
use crate::select::{MAX_VALUE_BYTES, Message, form};
use crate::units::format_duration;

/// A scheme with its secrets: checks requests.
pub struct Verifier(pub(super) Check);

pub(super) enum Check {
    Hmac(Arc<HmacScheme>, Vec<Mac>),
    Clear(Arc<ClearScheme>, Vec<Secret>),
}

/// A keyed MAC is as good as its key: nothing of it is shown.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Check::Hmac(scheme, keys) => {
                f.debug_struct("Verifier").field("scheme", scheme).field("secrets", &keys.len()).finish()
            }
            Check::Clear(scheme, keys) => {
                f.debug_struct("Verifier").field("scheme", scheme).field("secrets", &keys.len()).finish()
            }
        }
    }
}

impl Verifier {
    /// Prepares the keys of `secrets` for `scheme`.
    ///
    /// # Errors
    /// No secret at all, or one that is not written as the scheme's `key` says; its name, never its value.
    pub fn new(scheme: Arc<Scheme>, secrets: &[NamedSecret]) -> Result<Self, Vec<String>> {
        if secrets.is_empty() {
            return Err(vec!["there is no secret to verify with".to_owned()]);
        }
        let mut faults = Vec::new();
        let check = match &scheme.0 {
            Method::Hmac(scheme) => {
                let mut keys = Vec::with_capacity(secrets.len());
                for NamedSecret { name, secret } in secrets {
                    let key = scheme.key.decode(secret);
                    match key.and_then(|key| Mac::new(scheme.hash, &key).ok_or("is no key")) {
                        Ok(mac) => keys.push(mac),
                        Err(fault) => faults.push(format!("the secret {name:?} {fault}")),
                    }
                }
                Check::Hmac(Arc::clone(scheme), keys)
            }
            Method::Clear(scheme) => {
                for NamedSecret { name, secret } in secrets {
                    if let Some(fault) = scheme.fault(secret) {
                        faults.push(format!("the secret {name:?} {fault}"));
                    }
                }
                let keys = secrets.iter().map(|named| named.secret.clone()).collect();
                Check::Clear(Arc::clone(scheme), keys)
            }
        };
        if faults.is_empty() { Ok(Self(check)) } else { Err(faults) }
    }

    /// Checks `message` at the time `now`.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify(&self, message: &Message<'_>, now: Millis) -> Result<Verified, Refusal> {
        match &self.0 {
            Check::Hmac(scheme, keys) => scheme.verify(keys, message, now),
            Check::Clear(scheme, secrets) => scheme.verify(secrets, message),
        }
    }

    /// The headers that hold the secret itself, in lower case: to be shown to nobody.
    #[must_use]
    pub fn secret_headers(&self) -> Vec<String> {
        match &self.0 {
            Check::Hmac(..) => Vec::new(),
            Check::Clear(scheme, _) => scheme.headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
        }
    }
}

/// The first of `names` that the message has, and its value.
fn signature_header<'a>(
    names: &'a [Box<str>],
    message: &Message<'a>,
) -> Result<(&'a str, &'a [u8]), Refusal> {
    for name in names {
        match message.headers.get_unambiguous(name) {
            Ok(Some(value)) => return Ok((name, value)),
            Ok(None) => {}
            Err(_) => return Err(refuse(RefusalKind::InvalidSignature, name, twice(name))),
        }
    }
    let first = names.first().map_or("", |name| name);
    Err(refuse(RefusalKind::MissingSignature, first, format!("The header {first} is missing.")))
}

fn twice(name: &str) -> String {
    format!("The header {name} is there more than once, with different values.")
}

fn refuse(kind: RefusalKind, field: &str, message: impl Into<String>) -> Refusal {
    Refusal { kind, message: message.into(), field: Some(field.to_owned()) }
}

impl HmacScheme {
    fn verify(&self, keys: &[Mac], message: &Message<'_>, now: Millis) -> Result<Verified, Refusal> {
        let (header, value) = signature_header(&self.headers, message)?;
        let value = std::str::from_utf8(value).map_err(|_| self.unreadable(header))?;
        let timestamp = match &self.timestamp {
            Some(timestamp) => Some((timestamp, self.sent_time(timestamp, message, value)?)),
            None => None,
        };
        let sent = timestamp.as_ref().map_or(&b""[..], |(_, text)| text);
        let id = self.id(message)?;
        self.check_headers(message)?;
        let fields = self.form(message)?;
        let urls = self.urls(message.url);
        let parts = Parts { message, timestamp: sent, id: &id, url: message.url, form: &fields };

        let matched = urls.iter().flatten().find_map(|url| {
            let parts = Parts { url, ..parts };
            keys.iter().position(|key| self.matches(key, &parts, value))
        });
        let secret = matched.ok_or_else(|| self.no_match(header, value))?;
        let timestamp = match timestamp {
            Some((timestamp, text)) => Some(check_time(timestamp, &text, now)?),
            None => None,
        };
        Ok(Verified { secret, timestamp })
    }

    /// Whether `key` reproduces one of the signatures in `value`.
    fn matches(&self, key: &Mac, parts: &Parts<'_>, value: &str) -> bool {
        let mut signatures = self.format.signatures(value);
        let mut next = signatures.next();
        let mut mac = key.clone();
        self.signed.feed(parts, |piece| mac.update(piece));
        let mut scratch: Scratch = [0; 96];
        while let Some(text) = next {
            next = signatures.next();
            let Some(signature) = self.decode(text, &mut scratch) else { continue };
            // The usual case is one signature: the MAC is not copied for the last.
            if next.is_none() {
                return mac.verify(signature);
            }
            if mac.clone().verify(signature) {
                return true;
            }
        }
        false
    }

    /// Reads one signature, its prefix before it.
    fn decode<'s>(&self, text: &str, scratch: &'s mut Scratch) -> Option<&'s [u8]> {
        let digits = text.strip_prefix(&*self.prefix)?;
        let length = self.encoding.decode(digits.as_bytes(), scratch)?;
        scratch.get(..length)
    }

    /// What to say when no secret fits. It tells how the signature should be written, never what it should be.
    fn no_match(&self, header: &str, value: &str) -> Refusal {
        let mut signatures = self.format.signatures(value).peekable();
        if signatures.peek().is_none() {
            return refuse(
                RefusalKind::MissingSignature,
                header,
                format!("The header {header} holds no signature of the kind that this route checks."),
            );
        }
        let mut scratch: Scratch = [0; 96];
        if signatures.any(|text| self.decode(text, &mut scratch).is_some_and(|bytes| !bytes.is_empty())) {
            let message = format!("No secret of this route reproduces the signature in {header}.");
            return refuse(RefusalKind::InvalidSignature, header, message);
        }
        self.unreadable(header)
    }

    fn unreadable(&self, header: &str) -> Refusal {
        let encoding = self.encoding.name();
        let message = match &*self.prefix {
            "" => format!("The signature in {header} is not written as {encoding}."),
            prefix => format!("The signature in {header} is not written as {prefix:?} and {encoding}."),
        };
        refuse(RefusalKind::InvalidSignature, header, message)
    }

    /// The timestamp as it was sent; `value` is the signature header's.
    fn sent_time<'a>(
        &self,
        timestamp: &Timestamp,
        message: &Message<'a>,
        value: &'a str,
    ) -> Result<Verbatim<'a>, Refusal> {
        let shown = timestamp.place.shown();
        let found = match &timestamp.place {
            Place::Header(name) => message
                .headers
                .get_unambiguous(name)
                .map_err(|_| refuse(RefusalKind::InvalidSignature, name, twice(name)))?
                .map(Cow::Borrowed),
            Place::Key(key) => self.format.item(value, key).map(|text| Cow::Borrowed(text.as_bytes())),
            Place::Body { pointer, .. } => {
                pointer.scalar(message.body, MAX_VALUE_BYTES).map(|text| Cow::Owned(text.into_bytes()))
            }
        };
        found.ok_or_else(|| {
            let message = format!("The timestamp {shown}, a part of the signature, is missing.");
            refuse(RefusalKind::MissingSignature, shown, message)
        })
    }

    fn id(&self, message: &Message<'_>) -> Result<String, Refusal> {
        let Some(selector) = &self.id else { return Ok(String::new()) };
        selector.extract(message).ok_or_else(|| {
            let field = selector.header_name().unwrap_or("id");
            let message = format!("The event id {field}, a part of the signature, is missing.");
            refuse(RefusalKind::MissingSignature, field, message)
        })
    }

    /// Each header that is signed must be there, once.
    fn check_headers(&self, message: &Message<'_>) -> Result<(), Refusal> {
        for name in self.signed.headers() {
            match message.headers.get_unambiguous(name) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    let message = format!("The header {name}, a part of the signature, is missing.");
                    return Err(refuse(RefusalKind::MissingSignature, name, message));
                }
                Err(_) => return Err(refuse(RefusalKind::InvalidSignature, name, twice(name))),
            }
        }
        Ok(())
    }

    /// The form to sign. Where the signed URL holds the body's digest the digest is checked in the form's place.
    pub(super) fn form<'a>(&self, message: &Message<'a>) -> Result<Vec<Field<'a>>, Refusal> {
        if let Some(name) = &self.body_digest {
            // The signed URL's own query, not the request's: that one could be written by anybody.
            let query = message.url.split_once('?').map_or("", |(_, query)| query);
            match form::unambiguous(query.as_bytes(), name) {
                Some(Some(digest)) if *digest == *hex::encode(Sha256::digest(message.body)).as_bytes() => {
                    return Ok(Vec::new());
                }
                Some(None) => {}
                _ => {
                    let message = format!("The parameter {name} is not the SHA-256 of the body in hex.");
                    return Err(refuse(RefusalKind::InvalidSignature, name, message));
                }
            }
        }
        if !self.signed.has(&Segment::FormSorted) {
            return Ok(Vec::new());
        }
        sorted_form(message.body).ok_or_else(|| Refusal {
            kind: RefusalKind::InvalidSignature,
            message: format!("The body has more than {MAX_FORM_FIELDS} form parameters."),
            field: None,
        })
    }

    /// The URLs that the provider may have signed.
    fn urls<'a>(&self, url: &'a str) -> [Option<Cow<'a, str>>; 3] {
        if !self.any_port {
            return [Some(Cow::Borrowed(url)), None, None];
        }
        [
            Some(Cow::Borrowed(url)),
            port::without(url).map(Cow::Owned),
            port::with_default(url).map(Cow::Owned),
        ]
    }
}

/// Only who signed right gets here: the answer may say how the clocks differ.
fn check_time(timestamp: &Timestamp, text: &[u8], now: Millis) -> Result<Millis, Refusal> {
    let shown = timestamp.place.shown();
    let late = |message: String| Err(refuse(RefusalKind::TimestampOutOfTolerance, shown, message));
    let Some(time) = timestamp.unit.read(text) else {
        return late(format!("The signature is right, but {shown} is not {}.", timestamp.unit.name()));
    };
    let (off, way) = if time > now { (time.since(now), "ahead of") } else { (now.since(time), "behind") };
    if off <= timestamp.tolerance {
        return Ok(time);
    }
    let (off, most) = (format_duration(readable(off)), format_duration(timestamp.tolerance));
    late(format!(
        "The signature is right, but the time in {shown} lies {off} {way} this server's clock; {most} are \
         allowed. One of the clocks is wrong, or the request is an old one."
    ))
}

/// Rounded up to a unit in which a reader thinks: up, so that it never reads as if it were within the tolerance.
fn readable(off: Duration) -> Duration {
    let unit: u64 = match off.as_secs() {
        0..600 => 1,
        600..172_800 => 60,
        172_800..2_592_000 => 3600,
        _ => 86_400,
    };
    let seconds = off.as_secs().saturating_add(u64::from(off.subsec_nanos() > 0));
    Duration::from_secs(seconds.div_ceil(unit).saturating_mul(unit))
}

impl ClearScheme {
    /// What is wrong with a secret that can never be sent so.
    fn fault(&self, secret: &Secret) -> Option<&'static str> {
        let bytes = secret.expose();
        if bytes.is_empty() {
            return Some("is empty");
        }
        match self.form {
            ClearForm::Basic if !bytes.contains(&b':') => Some("is not written \"user:password\""),
            ClearForm::Token { .. }
                if bytes.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) || bytes.trim_ascii() != bytes =>
            {
                Some("cannot stand in a header as it is")
            }
            _ => None,
        }
    }

    fn verify(&self, secrets: &[Secret], message: &Message<'_>) -> Result<Verified, Refusal> {
        let (header, value) = signature_header(&self.headers, message)?;
        let credentials;
        let given = match &self.form {
            ClearForm::Token { prefix } => value.strip_prefix(prefix.as_bytes()),
            ClearForm::Basic => {
                credentials = basic_credentials(value);
                credentials.as_ref().map(|bytes| bytes.as_slice())
            }
        };
        let given = given.ok_or_else(|| {
            let message = format!("The header {header} is not written as this route expects.");
            refuse(RefusalKind::InvalidSignature, header, message)
        })?;
        // All are compared, so that the time does not tell which one came near.
        let mut matched = None;
        for (position, secret) in secrets.iter().enumerate() {
            if secret.matches(given) && matched.is_none() {
                matched = Some(position);
            }
        }
        let secret = matched.ok_or_else(|| {
            let message = format!("No secret of this route is the one in {header}.");
            refuse(RefusalKind::InvalidSignature, header, message)
        })?;
        Ok(Verified { secret, timestamp: None })
    }
}

/// `user:password` out of `Basic dXNlcjpwYXNzd29yZA==` (RFC 7617 §2; the word's case does not count).
fn basic_credentials(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (word, encoded) = value.split_at_checked(6)?;
    if !word.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    STANDARD.decode(encoded.trim_ascii()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests;
