//! Checks a request's signature over a template.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::super::encoding::Scratch;
use super::super::format::MAX_SIGNATURES;
use super::super::mac::same;
use super::super::place::{Place, View, refuse, twice};
use super::super::port;
use super::super::sign::NEEDS_PRIVATE_KEY;
use super::super::template::{Field, MAX_FORM_FIELDS, Parts, Piece, Template, sorted_form};
use super::super::timestamp::TimePlace;
use super::super::{Refusal, RefusalKind, Verified};
use super::{Key, KeyKind, SignedScheme, check_required};
use crate::clock::Millis;
use crate::select::{Message, form};

/// How many signatures of a key pair are looked at: each costs a hundred times what a MAC does.
const MAX_PUBLIC: usize = 4;

/// What is the same for every signature of a request.
struct Request<'a> {
    view: View<'a>,
    id: &'a str,
    form: &'a [Field<'a>],
    urls: &'a [Option<Cow<'a, str>>; 3],
    now: Option<Millis>,
}

impl SignedScheme {
    pub(in super::super) fn verify(
        &self,
        keys: &[Key],
        message: &Message<'_>,
        now: Option<Millis>,
    ) -> Result<Verified, Refusal> {
        if let Some(verified) = self.verify_usual(keys, message) {
            return Ok(verified);
        }
        check_required(&self.require, message)?;
        let mut left = MAX_SIGNATURES;
        self.each_group(message, now, |request, group| self.check_group(keys, request, group, &mut left))
    }

    /// Whether `is` is true of one of the texts that a signature of `message` may be over.
    pub(in super::super) fn any_signed(
        &self,
        keys: &[Key],
        message: &Message<'_>,
        is: &dyn Fn(&[u8]) -> bool,
    ) -> bool {
        let found = self.each_group(message, None, |request, group| {
            let time = self.sent_time(&request.view, group)?;
            self.find(keys, request, group, time.as_deref(), |key, pieces| is(&key.joined(pieces)))
        });
        found.is_ok()
    }

    /// Goes through what stands where the signature does, until `look` finds something.
    fn each_group<T>(
        &self,
        message: &Message<'_>,
        now: Option<Millis>,
        mut look: impl FnMut(&Request<'_>, &str) -> Result<Option<T>, Refusal>,
    ) -> Result<T, Refusal> {
        let json = self.json(message)?;
        let view = View { message, json: &json };
        let found = self.place.read(&view)?;
        if found.is_empty() {
            return Err(self.place.missing());
        }
        self.check_form(message)?;
        let id = self.id(message)?;
        let fields = self.form(message)?;
        if fields.is_some() && !message.body.is_empty() && !form::is_form(message.headers) {
            return Err(no_form());
        }
        let fields = fields.unwrap_or_default();
        let urls = self.urls(message.url);
        let request = Request { view, id: &id, form: &fields, urls: &urls, now };

        let mut fault = None;
        for value in &found {
            let text = std::str::from_utf8(&value.text).ok().and_then(|text| self.writing.format.open(text));
            let Some(text) = text else {
                fault.get_or_insert_with(|| self.unreadable(&value.shown));
                continue;
            };
            for group in self.writing.groups(&text) {
                match look(&request, group) {
                    Ok(Some(looked_for)) => return Ok(looked_for),
                    Ok(None) => {}
                    Err(refusal) => fault = fault.or(Some(refusal)),
                }
            }
            fault.get_or_insert_with(|| self.no_match(&value.shown, &text));
        }
        Err(fault.unwrap_or_else(|| self.place.missing()))
    }

    /// The short way of the usual scheme, an HMAC of the body in one header, where it is right. All the rest, and what to
    /// say of a request that is not, is the long way's.
    fn verify_usual(&self, keys: &[Key], message: &Message<'_>) -> Option<Verified> {
        let value = message.headers.get_unambiguous(self.usual.as_deref()?).ok()??;
        let digits = self.writing.prefixes.iter().find_map(|prefix| value.strip_prefix(prefix.as_bytes()))?;
        let mut scratch: Scratch = [0; 96];
        let length = self.writing.encoding.decode(digits, &mut scratch)?;
        let signature = scratch.get(..length)?;
        let key = keys.iter().find(|key| match &key.kind {
            KeyKind::Mac(keyed) => {
                let mut mac = keyed.clone();
                mac.update(message.body);
                mac.verify(signature)
            }
            _ => false,
        })?;
        Some(Verified { secret: key.secret, timestamp: None })
    }

    /// Whether one of the signatures in `group` is right; `left` is how many may still be looked at.
    fn check_group(
        &self,
        keys: &[Key],
        request: &Request<'_>,
        group: &str,
        left: &mut usize,
    ) -> Result<Option<Verified>, Refusal> {
        let time = self.sent_time(&request.view, group)?;
        let most = *left;
        let matched = self.find(keys, request, group, time.as_deref(), |key, pieces| {
            self.matches(key, pieces, group, most)
        })?;
        let Some(secret) = matched else {
            *left = left.saturating_sub(self.writing.format.signatures(group).count());
            return Ok(None);
        };
        let timestamp = match (&self.timestamp, &time) {
            (Some(timestamp), Some(text)) => timestamp.check(text, request.now)?,
            _ => None,
        };
        Ok(Some(Verified { secret, timestamp }))
    }

    /// The secret of the first of `keys` with which `is_right` is true of something that may be signed.
    fn find(
        &self,
        keys: &[Key],
        request: &Request<'_>,
        group: &str,
        timestamp: Option<&[u8]>,
        is_right: impl Fn(&Key, &[Piece<'_>]) -> bool,
    ) -> Result<Option<usize>, Refusal> {
        let parts = Parts {
            view: request.view,
            list: group,
            format: &self.writing.format,
            timestamp: timestamp.unwrap_or_default(),
            time_header: self.time_header(),
            own_field: self.place.field(),
            id: request.id,
            url: request.view.message.url,
            form: request.form,
        };
        for template in &self.signed {
            for url in request.urls.iter().flatten() {
                let pieces = template.render(&Parts { url, ..parts })?;
                if let Some(key) = keys.iter().find(|key| is_right(key, &pieces)) {
                    return Ok(Some(key.secret));
                }
            }
        }
        Ok(None)
    }

    /// Whether `key` reproduces one of the first `most` signatures in `group`.
    fn matches(&self, key: &Key, pieces: &[Piece<'_>], group: &str, most: usize) -> bool {
        let mut signatures = self.writing.format.signatures(group).take(most);
        match &key.kind {
            KeyKind::Mac(keyed) => {
                let mut next = signatures.next();
                if next.is_none() {
                    return false;
                }
                let mut mac = keyed.clone();
                for piece in pieces {
                    mac.update(key.bytes(piece));
                }
                let mut scratch: Scratch = [0; 96];
                while let Some(text) = next {
                    next = signatures.next();
                    let Some(signature) = self.decode(&text, &mut scratch) else { continue };
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
            KeyKind::Plain(hash, _) => {
                let digest = hash.digest(pieces.iter().map(|piece| key.bytes(piece)));
                let mut scratch: Scratch = [0; 96];
                signatures.any(|text| {
                    self.decode(&text, &mut scratch).is_some_and(|signature| same(signature, &digest))
                })
            }
            KeyKind::Private(..) => false,
            KeyKind::Public(algorithm, public) => {
                let signed = key.joined(pieces);
                signatures.take(MAX_PUBLIC).any(|text| {
                    let digits = self.writing.digits(&text).map(str::as_bytes);
                    digits.and_then(|digits| self.writing.encoding.decode_long(digits)).is_some_and(
                        |signature| public.iter().any(|key| key.verify(*algorithm, &signed, &signature)),
                    )
                })
            }
        }
    }

    /// Reads one signature, its prefix before it.
    fn decode<'s>(&self, text: &str, scratch: &'s mut Scratch) -> Option<&'s [u8]> {
        let digits = self.writing.digits(text)?;
        let length = self.writing.encoding.decode(digits.as_bytes(), scratch)?;
        scratch.get(..length)
    }

    /// What to say when no secret fits. It tells how the signature should be written, never what it should be.
    fn no_match(&self, shown: &str, value: &str) -> Refusal {
        let kind = self.place.kind();
        let mut signatures =
            self.writing.groups(value).flat_map(|group| self.writing.format.signatures(group)).peekable();
        if signatures.peek().is_none() {
            let message =
                format!("The {kind} {shown} holds no signature of the kind that this route checks.");
            return refuse(RefusalKind::MissingSignature, shown, message);
        }
        let readable = signatures.any(|text| {
            let digits = self.writing.digits(&text).filter(|digits| !digits.is_empty());
            digits.is_some_and(|digits| self.writing.encoding.decode_long(digits.as_bytes()).is_some())
        });
        if readable {
            let message = format!("No secret of this route reproduces the signature in {shown}.");
            return refuse(RefusalKind::InvalidSignature, shown, message);
        }
        self.unreadable(shown)
    }

    fn unreadable(&self, shown: &str) -> Refusal {
        let message = format!("The signature in {shown} is not written as {}.", self.writing.shown());
        refuse(RefusalKind::InvalidSignature, shown, message)
    }

    /// The timestamp as it was sent; `None` where the scheme has none.
    fn sent_time<'a>(&'a self, view: &View<'a>, group: &'a str) -> Result<Option<Cow<'a, [u8]>>, Refusal> {
        let Some(timestamp) = &self.timestamp else { return Ok(None) };
        let found = match &timestamp.place {
            TimePlace::Own(place) => place.read_one(view)?,
            TimePlace::Key(key) => self.writing.format.item(group, key).map(|text| match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }),
        };
        found.map(Some).ok_or_else(|| {
            let several = match &timestamp.place {
                TimePlace::Key(key) => self.writing.format.has_several(group, key),
                TimePlace::Own(_) => false,
            };
            timestamp.missing(several)
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

    /// The JSON into which pointers point.
    pub(in super::super) fn json<'a>(&self, message: &Message<'a>) -> Result<Cow<'a, [u8]>, Refusal> {
        let Some(name) = &self.document else { return Ok(Cow::Borrowed(message.body)) };
        let field = form::field(message, name).ok_or_else(|| twice("form field", name))?;
        Ok(field.unwrap_or(Cow::Borrowed(message.body)))
    }

    /// The form to sign; `None` where the scheme signs none, and where the signed URL holds the body's digest, which is
    /// then checked in the form's place.
    pub(in super::super) fn form<'a>(
        &self,
        message: &Message<'a>,
    ) -> Result<Option<Vec<Field<'a>>>, Refusal> {
        if let Some(name) = &self.body_digest {
            // The signed URL's own query, not the request's: that one could be written by anybody.
            let query = message.url.split_once('?').map_or("", |(_, query)| query);
            match form::unambiguous(query.as_bytes(), name) {
                Some(Some(digest)) if *digest == *hex::encode(Sha256::digest(message.body)).as_bytes() => {
                    return Ok(None);
                }
                Some(None) => {}
                _ => {
                    let message = format!("The parameter {name} is not the SHA-256 of the body in hex.");
                    return Err(refuse(RefusalKind::InvalidSignature, name, message));
                }
            }
        }
        if !self.sorts_form {
            return Ok(None);
        }
        sorted_form(message.body).map(Some).ok_or_else(|| Refusal {
            kind: RefusalKind::InvalidSignature,
            message: format!("The body has more than {MAX_FORM_FIELDS} form parameters."),
            field: None,
        })
    }

    /// With `strict_form`: every field of the form is signed, or is the signature.
    fn check_form(&self, message: &Message<'_>) -> Result<(), Refusal> {
        if !self.strict_form {
            return Ok(());
        }
        // The parts of a multipart form may be named in ways of which each app reads another one.
        if !form::is_form(message.headers) {
            return Err(no_form());
        }
        let is_signed =
            |template: &Template, name: &[u8]| template.form_fields().any(|signed| signed.as_bytes() == name);
        let is_signature = |name: &[u8]| matches!(&self.place, Place::Form(own) if own.as_bytes() == name);
        for (name, _) in form::fields(message) {
            if !is_signature(&name) && !self.signed.iter().all(|template| is_signed(template, &name)) {
                let name = String::from_utf8_lossy(&name);
                let message = "The form has a field that is no part of what is signed.";
                return Err(refuse(RefusalKind::InvalidSignature, &name, message));
            }
        }
        Ok(())
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

/// The body is no URL-encoded form.
fn no_form() -> Refusal {
    let message = "This route takes only URL-encoded forms, and this body does not say that it is one.";
    refuse(RefusalKind::InvalidSignature, "Content-Type", message)
}

impl Key {
    /// What a piece of the signed text is with this key.
    fn bytes<'a>(&'a self, piece: &'a Piece<'_>) -> &'a [u8] {
        match (piece, &self.kind) {
            (Piece::Text(text), _) => text,
            (Piece::SecretId, _) => &self.id,
            (Piece::Secret, KeyKind::Plain(_, secret)) => secret,
            // No scheme with another kind of key compiles with {secret} in its template.
            (Piece::Secret, _) => &[],
        }
    }

    /// The signature of `pieces`.
    pub(in super::super) fn prove(&self, pieces: &[Piece<'_>]) -> Result<Vec<u8>, String> {
        match &self.kind {
            KeyKind::Mac(keyed) => {
                let mut mac = keyed.clone();
                pieces.iter().for_each(|piece| mac.update(self.bytes(piece)));
                Ok(mac.finish())
            }
            KeyKind::Plain(hash, _) => Ok(hash.digest(pieces.iter().map(|piece| self.bytes(piece)))),
            KeyKind::Private(algorithm, key) => key.sign(*algorithm, &self.joined(pieces)),
            KeyKind::Public(..) => Err(NEEDS_PRIVATE_KEY.to_owned()),
        }
    }

    /// The whole signed text: a public key's algorithm takes it in one piece. Copied unless it is a single piece.
    fn joined<'a>(&'a self, pieces: &'a [Piece<'_>]) -> Cow<'a, [u8]> {
        match pieces {
            [piece] => Cow::Borrowed(self.bytes(piece)),
            _ => Cow::Owned(pieces.iter().map(|piece| self.bytes(piece)).collect::<Vec<_>>().concat()),
        }
    }
}
