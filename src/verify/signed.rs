//! A signature over a template: HMAC, a hash of the secret and the rest, or a public key's.

use zeroize::Zeroizing;

use super::asymmetric::{Asymmetric, PrivateKey, PublicKey};
use super::faults::Faults;
use super::format::Writing;
use super::key::KeyForm;
use super::mac::{Hash, Mac};
use super::place::{Place, PlaceWords, refuse};
use super::spec::{SchemeSpec, SecretIdSpec, SignatureSpec};
use super::template::{Template, Word};
use super::timestamp::{TimePlace, Timestamp};
use super::{NamedSecret, Refusal, RefusalKind};
use crate::secret::Secret;
use crate::select::{Message, Selector};

mod check;

/// The most templates of which any may match.
const MAX_TEMPLATES: usize = 4;

/// How a signature comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Hmac(Hash),
    /// The hash of a text that holds the secret.
    Hash(Hash),
    PublicKey(Asymmetric),
}

/// A signature over a template.
#[derive(Debug)]
pub(super) struct SignedScheme {
    pub(super) proof: Proof,
    pub(super) key: KeyForm,
    pub(super) secret_id: Option<SecretId>,
    pub(super) place: Place,
    pub(super) writing: Writing,
    pub(super) timestamp: Option<Timestamp>,
    /// Any of them may match.
    pub(super) signed: Box<[Template]>,
    pub(super) id: Option<Selector>,
    /// The form field that holds the JSON.
    pub(super) document: Option<Box<str>>,
    /// The form may have no other fields than the signed ones.
    pub(super) strict_form: bool,
    pub(super) require: Box<[Required]>,
    /// The parameter of the signed URL that holds the body's SHA-256.
    pub(super) body_digest: Option<Box<str>>,
    pub(super) any_port: bool,
    /// `{form_sorted}` is signed.
    sorts_form: bool,
    /// The header of a scheme that has nothing but an HMAC of the body in one header: see [`Self::verify_usual`].
    usual: Option<Box<str>>,
}

/// Which part of a secret's text is an id that is signed too, not the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretId {
    separator: Box<str>,
    before: bool,
}

/// A secret, ready to compute with.
pub(super) struct Key {
    /// The position of the secret that it is.
    pub(super) secret: usize,
    pub(super) kind: KeyKind,
    pub(super) id: Box<[u8]>,
}

pub(super) enum KeyKind {
    Mac(Mac),
    Plain(Hash, Zeroizing<Vec<u8>>),
    Public(Asymmetric, Vec<PublicKey>),
    /// Only to sign with.
    Private(Asymmetric, PrivateKey),
}

impl Proof {
    pub(super) fn parse(word: &str) -> Option<Self> {
        if let Some(hash) = word.strip_prefix("hmac-") {
            return Hash::parse(hash).filter(|hash| *hash != Hash::Keccak256).map(Self::Hmac);
        }
        Hash::parse(word).map(Self::Hash).or_else(|| Asymmetric::parse(word).map(Self::PublicKey))
    }
}

impl SignedScheme {
    pub(super) fn compile(spec: &SchemeSpec, proof: Proof, faults: &mut Faults) -> Option<Self> {
        let with = format!("algorithm = {:?}", spec.algorithm);
        faults.unused("jwt", spec.jwt.is_some(), &with);
        faults.unused("parameters", !spec.parameters.is_empty(), &with);
        let place = signature_place(&spec.signature, faults);
        let place = if spec.signature.repeated { place.and_then(|it| repeated(it, faults)) } else { place };
        let is_list = |place: &Place| matches!(place, Place::Whole | Place::Each { .. });
        if place.as_ref().is_some_and(|place| place.each().iter().any(is_list)) {
            let message = "a signature of something else does not stand there";
            faults.add("signature.body", message, "write body = \"/json/pointer\"");
        }
        let writing = Writing::compile(&spec.signature, faults);
        let key = key_form(spec, proof, &with, faults);
        let any_port = faults.word("url_port", spec.url_port.as_ref(), any_port, "\"exact\" or \"any\"");
        let timestamp =
            spec.timestamp.as_ref().and_then(|written| Timestamp::compile(written, &writing.format, faults));
        let id = spec
            .id
            .as_ref()
            .and_then(|text| faults.keep("id", Selector::parse(text), "write \"header:NAME\""));
        let secret_id = spec.secret_id.as_ref().and_then(|written| SecretId::compile(written, faults));
        let document = spec.document.as_ref().and_then(|text| document(text, faults));
        let require = required(spec, faults);
        let signed = templates(spec, faults)?;
        for template in &signed {
            check_template(spec, proof, template, faults);
        }
        let body_digest = spec.body_digest.as_ref().and_then(|text| body_digest(text, &signed, faults));
        let strict_form = spec.strict_form;
        let place = place?;
        let timestamp = timestamp.map(|timestamp| timestamp.beside(&place));
        let sorts_form = signed.iter().any(|template| template.has(&Word::FormSorted));
        let is_usual = matches!(proof, Proof::Hmac(_))
            && writing.is_plain()
            && matches!(&*signed, [template] if template.is_body())
            && timestamp.is_none()
            && id.is_none()
            && require.is_empty()
            && !strict_form;
        let usual = place.header().filter(|_| is_usual).map(Into::into);
        Some(Self {
            proof,
            key,
            secret_id,
            place,
            writing,
            timestamp,
            signed,
            id,
            document,
            strict_form,
            require,
            body_digest,
            any_port,
            sorts_form,
            usual,
        })
    }

    /// Whether whoever signed it signed the body.
    pub(super) fn binds_body(&self) -> bool {
        self.strict_form || self.signed.iter().all(Template::holds_body)
    }

    /// Whether `word` is part of what is signed.
    pub(super) fn signs(&self, word: &Word) -> bool {
        self.signed.iter().any(|template| template.has(word))
    }

    /// The header in which the timestamp stands.
    pub(super) fn time_header(&self) -> Option<&str> {
        match self.timestamp.as_ref().map(|timestamp| &timestamp.place) {
            Some(TimePlace::Own(place)) => place.header(),
            _ => None,
        }
    }

    /// Whether the public URL is part of what is signed.
    pub(super) fn signs_url(&self) -> bool {
        [Word::Url, Word::UrlBase, Word::UrlAndForm].iter().any(|word| self.signs(word))
    }

    /// The key that a secret at this position is, read in this form.
    fn key(
        &self,
        position: usize,
        form: KeyForm,
        NamedSecret { name, secret, .. }: &NamedSecret,
    ) -> Result<Key, String> {
        let wrong = |fault: &str| format!("the secret {name:?} {fault}");
        let (secret, id) = match &self.secret_id {
            Some(secret_id) => secret_id.split(secret).map_err(|fault| wrong(&fault))?,
            None => (secret.clone(), Box::default()),
        };
        let kind = match self.proof {
            Proof::Hmac(hash) => {
                let key = form.decode(&secret).map_err(wrong)?;
                KeyKind::Mac(Mac::new(hash, &key).ok_or_else(|| wrong("is no key"))?)
            }
            Proof::Hash(hash) => KeyKind::Plain(hash, form.decode(&secret).map_err(wrong)?),
            Proof::PublicKey(algorithm) => {
                let keys = PublicKey::parse_all(secret.expose()).map_err(|fault| wrong(&fault))?;
                let keys: Vec<PublicKey> = keys.into_iter().filter(|key| key.fits(algorithm)).collect();
                if keys.is_empty() {
                    return Err(wrong(&format!("is not {}, which this scheme needs", algorithm.key_kind())));
                }
                KeyKind::Public(algorithm, keys)
            }
        };
        Ok(Key { secret: position, kind, id })
    }

    /// The key that both sides compute with; `None` for key pairs, and where the secret is not written so.
    pub(super) fn shared_key(&self, secret: &Secret) -> Option<Zeroizing<Vec<u8>>> {
        if matches!(self.proof, Proof::PublicKey(_)) {
            return None;
        }
        match &self.secret_id {
            Some(secret_id) => self.key.decode(&secret_id.split(secret).ok()?.0).ok(),
            None => self.key.decode(secret).ok(),
        }
    }

    /// The key to sign with, of a scheme that is checked with a public one.
    pub(super) fn private_key(&self, secret: &Secret) -> Result<Key, String> {
        let Proof::PublicKey(algorithm) = self.proof else {
            return Err("this scheme has no key pairs".to_owned());
        };
        let (secret, id) = match &self.secret_id {
            Some(secret_id) => secret_id.split(secret).map_err(|fault| format!("the private key {fault}"))?,
            None => (secret.clone(), Box::default()),
        };
        let key = PrivateKey::parse(secret.expose())?;
        Ok(Key { secret: 0, kind: KeyKind::Private(algorithm, key), id })
    }

    /// The keys of all secrets, in their order; of one that may be read in two ways both.
    pub(super) fn keys(&self, secrets: &[NamedSecret]) -> Result<Vec<Key>, Vec<String>> {
        let (mut keys, mut faults) = (Vec::with_capacity(secrets.len()), Vec::new());
        for (position, secret) in secrets.iter().enumerate() {
            match self.key(position, self.key, secret) {
                Ok(key) => keys.push(key),
                Err(fault) => faults.push(fault),
            }
            keys.extend(self.key.other().and_then(|form| self.key(position, form, secret).ok()));
        }
        if faults.is_empty() { Ok(keys) } else { Err(faults) }
    }
}

impl SecretId {
    fn compile(spec: &SecretIdSpec, faults: &mut Faults) -> Option<Self> {
        if spec.separator.is_empty() {
            return faults.none(
                "secret_id.separator",
                "what parts key and id is not said",
                "write separator = \":\"",
            );
        }
        let before = match spec.stands.as_str() {
            "before" => true,
            "after" => false,
            other => {
                let hint = "write \"before\" or \"after\": where the id stands beside the key";
                return faults.none("secret_id.stands", format!("{other:?} is no secret_id.stands"), hint);
            }
        };
        Some(Self { separator: spec.separator.as_str().into(), before })
    }

    /// Key and id.
    fn split(&self, secret: &Secret) -> Result<(Secret, Box<[u8]>), String> {
        let (text, separator) = (secret.expose(), self.separator.as_bytes());
        let at = if self.before {
            memchr::memmem::find(text, separator)
        } else {
            memchr::memmem::rfind(text, separator)
        };
        let halves = at.and_then(|at| Some((text.get(..at)?, text.get(at + separator.len()..)?)));
        let shown = if self.before { "ID" } else { "KEY" };
        let other = if self.before { "KEY" } else { "ID" };
        let (first, second) =
            halves.ok_or_else(|| format!("is not written \"{shown}{}{other}\"", self.separator))?;
        let (key, id) = if self.before { (second, first) } else { (first, second) };
        Ok((Secret::new(key), id.into()))
    }
}

/// Where the signature stands: a word of `signature = { … }`.
pub(super) fn signature_place(spec: &SignatureSpec, faults: &mut Faults) -> Option<Place> {
    let words = PlaceWords {
        headers: ("signature.header", &spec.headers),
        query: ("signature.query", spec.query.as_deref()),
        form: ("signature.form", spec.form.as_deref()),
        body: ("signature.body", spec.body.as_deref()),
    };
    if words.count() == 0 {
        let hint = "write signature = { header = \"X-Signature\" }";
        return faults.none("signature.header", "where the signature stands is not said", hint);
    }
    words.compile(faults)
}

fn repeated(place: Place, faults: &mut Faults) -> Option<Place> {
    let repeated = place.repeated();
    if repeated.is_none() {
        let message = "only a header without a number may be there several times";
        faults.add("signature.repeated", message, "write header = \"X-Signature\", or leave it out");
    }
    repeated
}

fn key_form(spec: &SchemeSpec, proof: Proof, with: &str, faults: &mut Faults) -> KeyForm {
    if matches!(proof, Proof::PublicKey(_)) {
        faults.unused("key", spec.key.is_some(), with);
        return KeyForm::default();
    }
    faults.word("key", spec.key.as_ref(), KeyForm::parse, super::key::WORDS)
}

fn any_port(word: &str) -> Option<bool> {
    match word {
        "exact" => Some(false),
        "any" => Some(true),
        _ => None,
    }
}

fn document(text: &str, faults: &mut Faults) -> Option<Box<str>> {
    let name = text.strip_prefix("form:").filter(|name| !name.is_empty());
    if name.is_none() {
        faults.add("document", format!("{text:?} names no field of a form"), "write \"form:NAME\"");
    }
    name.map(Into::into)
}

/// What a request must say of itself beside its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Required {
    word: Box<str>,
    selector: Selector,
    value: Box<str>,
}

pub(super) fn required(spec: &SchemeSpec, faults: &mut Faults) -> Box<[Required]> {
    let mut read = Vec::with_capacity(spec.require.len());
    for (word, value) in &spec.require {
        let selector = faults.keep("require", Selector::parse(word), "");
        let required = selector.map(|selector| Required {
            word: word.as_str().into(),
            selector,
            value: value.as_str().into(),
        });
        read.extend(required);
    }
    read.into()
}

pub(super) fn check_required(required: &[Required], message: &Message<'_>) -> Result<(), Refusal> {
    for Required { word, selector, value } in required {
        if selector.extract(message).as_deref() != Some(&**value) {
            let message = format!("This route takes only requests whose {word} is {value:?}.");
            return Err(refuse(
                RefusalKind::InvalidSignature,
                selector.header_name().unwrap_or(word),
                message,
            ));
        }
    }
    Ok(())
}

fn templates(spec: &SchemeSpec, faults: &mut Faults) -> Option<Box<[Template]>> {
    let usual = ["{body}".to_owned()];
    let texts = if spec.signed.is_empty() { &usual[..] } else { &spec.signed };
    if texts.len() > MAX_TEMPLATES {
        let hint = format!("write {MAX_TEMPLATES} at most: each costs a computation");
        faults.add("signed", "that is a long list of things that may be signed", hint);
    }
    let mut read = Vec::with_capacity(texts.len());
    for text in texts {
        match Template::compile(text) {
            Ok(template) => read.push(template),
            Err((message, hint)) => faults.add("signed", message, hint),
        }
    }
    (read.len() == texts.len()).then(|| read.into())
}

/// What the template names must be there, and what is checked must be signed: an unsigned time proves nothing.
fn check_template(spec: &SchemeSpec, proof: Proof, signed: &Template, faults: &mut Faults) {
    let names_time = signed.has(&Word::Timestamp);
    match &spec.timestamp {
        None if names_time => {
            let hint = "write timestamp = { header = \"NAME\" }";
            faults.add("signed", "{timestamp} is signed, but where it stands is not said", hint);
        }
        Some(time) => {
            let in_signed_body = time.body.is_some() && signed.holds_body();
            let listed = time.header.is_some() && signed.always_lists_headers();
            if !signed.always_has(&Word::Timestamp) && !in_signed_body && !listed {
                let message = "the timestamp is no part of what is signed, so anybody could change it";
                let hint = "write it as in \"{timestamp}.{body}\", or leave timestamp out";
                faults.add("signed", message, hint);
            }
        }
        None => {}
    }
    match (&spec.id, signed.has(&Word::Id)) {
        (None, true) => {
            let hint = "write id = \"header:NAME\"";
            faults.add("signed", "{id} is signed, but where it stands is not said", hint);
        }
        (Some(_), false) => {
            let hint = "put {id} into signed, or leave id out";
            faults.add("id", "id is no part of what is signed", hint);
        }
        _ => {}
    }
    if spec.secret_id.is_none() && signed.has(&Word::SecretId) {
        let hint = "write secret_id = { separator = \":\", stands = \"before\" }";
        faults.add("signed", "{secret_id} is signed, but what part of a secret it is is not said", hint);
    }
    if spec.strict_form && signed.form_fields().next().is_none() {
        faults.add(
            "strict_form",
            "no field of a form is signed",
            "put {form:NAME} into signed, or leave it out",
        );
    }
    let inside = spec.signature.form.is_some() || spec.signature.body.is_some();
    if inside && (signed.has(&Word::Body) || signed.has(&Word::FormSorted)) {
        let message = "the signature stands in the body, which is signed: it cannot sign itself";
        faults.add("signed", message, "write what of the body is signed, like {body:/id} or {form:NAME}");
    }
    let hashed = matches!(proof, Proof::Hash(_));
    if hashed && !signed.always_has(&Word::Secret) {
        let message = "anybody can hash a text without the secret in it";
        faults.add("signed", message, "put {secret} into signed, or write an algorithm \"hmac-…\"");
    }
    if !hashed && signed.has(&Word::Secret) {
        let message = format!("{{secret}} has no meaning with algorithm = {:?}", spec.algorithm);
        faults.add("signed", message, "leave it out");
    }
}

fn body_digest(text: &str, signed: &[Template], faults: &mut Faults) -> Option<Box<str>> {
    let name = text.strip_prefix("query:").filter(|name| !name.is_empty());
    if name.is_none() {
        faults.add("body_digest", format!("{text:?} names no parameter of the URL"), "write \"query:NAME\"");
    }
    // Only a digest in a URL that is signed proves anything, and without one the form must be signed.
    if !signed.iter().all(|signed| signed.always_has(&Word::Url) && signed.always_has(&Word::FormSorted)) {
        faults.add(
            "body_digest",
            "body_digest has a meaning only where {url} and {form_sorted} are signed",
            "",
        );
    }
    name.map(Into::into)
}
