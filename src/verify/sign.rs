//! Signing as the provider would: for `hooklatch sign` and `send`, and for apps that check again.

use std::fmt;
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use super::Refusal;
use super::asymmetric::PrivateKey;
use super::claims::{Audience, Rules, TokenScheme, hex_digest};
use super::clear::ClearScheme;
use super::derived::request_hash;
use super::forms::Form;
use super::jwt::{self, JwtAlgorithm, JwtKey, JwtSigner};
use super::mac::Hash;
use super::place::{Place, View};
use super::pointed;
use super::scheme::{Method, Scheme};
use super::signed::{Key, SignedScheme};
use super::template::Parts;
use super::timestamp::TimePlace;
use super::verifier::{Check, Verifier};
use crate::clock::Millis;
use crate::headers::{Headers, HeadersBuilder};
use crate::secret::Secret;
use crate::select::{Message, Pointer, form};

/// A signature, ready to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// The headers to add; they replace those of the same names.
    pub headers: Headers,
    /// The URL to send to, where the signature stands in it.
    pub url: Option<String>,
    /// The body to send, where the signature stands in it.
    pub body: Option<Vec<u8>>,
}

/// Signs with a private key, whose public one a [`Verifier`] has.
pub struct Signer(With);

enum With {
    Signed(Arc<SignedScheme>, Key),
    Token(Arc<TokenScheme>, JwtSigner),
    Form(Arc<dyn Form>, PrivateKey),
}

/// A key is shown to nobody.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads a private key for `scheme`: PEM (PKCS#8, PKCS#1, SEC1), or the seed of an Ed25519 key in hex. Where the
    /// scheme's secrets hold an id too, so does this one.
    ///
    /// # Errors
    /// A scheme without one, or a text that is none.
    pub fn new(scheme: &Scheme, private_key: &Secret) -> Result<Self, String> {
        match &scheme.0 {
            Method::Signed(signed) if scheme.has_private_key() => {
                Ok(Self(With::Signed(Arc::clone(signed), signed.private_key(private_key)?)))
            }
            Method::Token(token) if token.algorithms.iter().any(|way| way.asymmetric().is_some()) => {
                let key = PrivateKey::parse(private_key.expose())?;
                Ok(Self(With::Token(Arc::clone(token), JwtSigner::Private(Box::new(key)))))
            }
            Method::Form(form) if scheme.has_private_key() => {
                let key = PrivateKey::parse(private_key.expose())?;
                Ok(Self(With::Form(Arc::clone(form), key)))
            }
            _ => Err("this scheme is signed with the shared secret, not with a private key".to_owned()),
        }
    }

    /// As [`Verifier::sign`], with the private key.
    ///
    /// # Errors
    /// As [`Verifier::sign`].
    pub fn sign(&self, message: &Message<'_>, id: &str, now: Millis) -> Result<Signature, String> {
        match &self.0 {
            With::Signed(scheme, key) => scheme.sign(key, message, id, now),
            With::Token(scheme, key) => scheme.sign(key, message, now),
            With::Form(form, key) => form.sign(key, message, now),
        }
    }
}

/// What is missing where only a public key is there.
pub(super) const NEEDS_PRIVATE_KEY: &str = "the provider signs with a private key, and a public one only checks: give its own with --private-key-file";

impl Verifier {
    /// Signs `message` as the provider would at `now` with the first secret. `id` is the event id for schemes that sign
    /// one, and whatever else is signed, stands in a header and is missing; a time that does not stand in a header is
    /// the one that stands there.
    ///
    /// # Errors
    /// A scheme that cannot be signed with what is at hand: a sentence that says what is missing.
    pub fn sign(&self, message: &Message<'_>, id: &str, now: Millis) -> Result<Signature, String> {
        let none = || "there is no secret to sign with".to_owned();
        match &self.check {
            Check::Signed(scheme, keys) => scheme.sign(keys.first().ok_or_else(none)?, message, id, now),
            Check::Clear(scheme, secrets) => scheme.sign(secrets.first().ok_or_else(none)?, message),
            Check::Token(scheme, keys) => match keys.first().ok_or_else(none)? {
                JwtKey::Symmetric(secret) => scheme.sign(&JwtSigner::Symmetric(secret.clone()), message, now),
                JwtKey::Public(_) => Err(NEEDS_PRIVATE_KEY.to_owned()),
            },
            Check::Form(keyed) => keyed.sign(message, id, now),
            Check::Unread => Err(none()),
        }
    }
}

impl SignedScheme {
    fn sign(&self, key: &Key, message: &Message<'_>, id: &str, now: Millis) -> Result<Signature, String> {
        let mut added = HeadersBuilder::default();
        let (timestamp, in_list) = self.time_to_sign(message, now, &mut added)?;
        let own_id = match &self.id {
            Some(selector) => match selector.header_name() {
                Some(name) => {
                    added.push(name.as_bytes(), id.as_bytes());
                    id.to_owned()
                }
                None => selector.extract(message).ok_or("the request lacks the event id that is signed")?,
            },
            None => String::new(),
        };
        let template = self.signed.first().ok_or("the scheme signs nothing")?;
        let added = added.build();
        let headers = replaced(message.headers, &added);
        let lacking = template.headers().filter(|name| headers.get(name).is_none());
        let made_up = Headers::from_pairs(lacking.map(|name| (name, id)));
        let added = Headers::from_pairs(added.iter().chain(made_up.iter()));
        let headers = replaced(message.headers, &added);
        let message = &Message { headers: &headers, ..*message };

        let refused = |refusal: Refusal| format!("{} It cannot be signed.", refusal.message);
        let json = self.json(message).map_err(refused)?;
        let fields = self.form(message).map_err(refused)?.unwrap_or_default();
        // Items of the signature's own list are the signer's to choose: beside the time, what else is signed of them.
        let time = in_list.map(|name| (name, timestamp.as_str()));
        let items: Vec<_> = template
            .items()
            .filter(|name| Some(*name) != in_list)
            .map(|name| (name, id))
            .chain(time)
            .collect();
        let list = self.writing.write(b"", &items);
        let parts = Parts {
            view: View { message, json: &json },
            list: &list,
            format: &self.writing.format,
            timestamp: timestamp.as_bytes(),
            time_header: self.time_header(),
            own_field: self.place.field(),
            id: &own_id,
            url: message.url,
            form: &fields,
        };
        let pieces = template.render(&parts).map_err(refused)?;
        let signature = key.prove(&pieces)?;
        let value = self.writing.write(&signature, &items);
        put(&self.place, value.as_bytes(), message, &added)
    }

    /// The time as it is signed, and the item of the list in which it stands, if it does; in a header it is added.
    fn time_to_sign<'s>(
        &'s self,
        message: &Message<'_>,
        now: Millis,
        added: &mut HeadersBuilder,
    ) -> Result<(String, Option<&'s str>), String> {
        let Some(timestamp) = &self.timestamp else { return Ok((String::new(), None)) };
        match &timestamp.place {
            TimePlace::Key(name) => Ok((timestamp.unit.write(now), Some(&**name))),
            TimePlace::Own(place @ Place::Headers(_)) => {
                let time = timestamp.unit.write(now);
                added.push(place.shown().as_bytes(), time.as_bytes());
                Ok((time, None))
            }
            TimePlace::Own(place) => {
                let refused = |refusal: Refusal| refusal.message;
                let json = self.json(message).map_err(refused)?;
                let found = place.read_one(&View { message, json: &json }).map_err(refused)?;
                let text = found.and_then(|text| String::from_utf8(text.into_owned()).ok());
                let shown = timestamp.shown();
                let missing = || format!("the request has no {shown}, where this scheme's timestamp stands");
                Ok((text.ok_or_else(missing)?, None))
            }
        }
    }
}

impl ClearScheme {
    fn sign(&self, secret: &Secret, message: &Message<'_>) -> Result<Signature, String> {
        put(&self.place, &self.written(secret), message, &Headers::default())
    }
}

impl TokenScheme {
    fn sign(&self, key: &JwtSigner, message: &Message<'_>, now: Millis) -> Result<Signature, String> {
        let fits =
            |algorithm: &&JwtAlgorithm| algorithm.is_symmetric() == matches!(key, JwtSigner::Symmetric(_));
        let unfit = "none of the scheme's algorithms works with such a key";
        let mut tokens = self.algorithms.iter().filter(fits).map(|algorithm| match &self.rules {
            None => jwt::sign_detached(message.body, true, Map::new(), *algorithm, key),
            Some(rules) => jwt::sign(&self.claims(rules, message, now)?, *algorithm, key),
        });
        // A private key works with some of the algorithms only: the first that it does counts.
        let first = tokens.next().ok_or(unfit)?;
        let token = first.or_else(|error| tokens.find_map(Result::ok).ok_or(error))?;
        put(&self.place, format!("{}{token}", self.prefix()).as_bytes(), message, &Headers::default())
    }

    /// What a token for `message` claims at `now`: the body itself where it is to be the token.
    fn claims(&self, rules: &Rules, message: &Message<'_>, now: Millis) -> Result<Value, String> {
        let mut claims = Map::new();
        if self.place == Place::Whole {
            claims = serde_json::from_slice(message.body)
                .map_err(|_| "the body becomes the token, so it must be a JSON object of claims")?;
        }
        claims.insert("iat".to_owned(), now.seconds().into());
        for (name, value) in &rules.claims {
            claims.insert(name.to_string(), (**value).into());
        }
        let mut put = |name: &Option<Box<str>>, value: String| {
            claims.extend(name.as_ref().map(|name| (name.to_string(), value.into())));
        };
        put(&rules.url_hash, hex_digest(message.url.as_bytes()));
        put(&rules.request_hash, request_hash(message.method, message.url).unwrap_or_default());
        put(&rules.body_claim, String::from_utf8_lossy(message.body).into_owned());
        if let Some((name, encoding)) = &rules.body_hash
            && self.place != Place::Whole
        {
            put(&Some(name.clone()), encoding.encode(&Hash::Sha256.digest([message.body])));
        }
        let audience = rules.audience.as_ref().map(|audience| match audience {
            Audience::Url => message.url,
            Audience::Text(text) => text,
        });
        put(&audience.map(|_| "aud".into()), audience.unwrap_or_default().to_owned());
        match rules.required.iter().find(|name| !claims.contains_key(&***name)) {
            Some(name) => Err(format!("the token must have a claim {name}, and nothing says what it is")),
            None => Ok(Value::Object(claims)),
        }
    }
}

/// `value` where the signature belongs, beside the headers that were `added`.
fn put(place: &Place, value: &[u8], message: &Message<'_>, added: &Headers) -> Result<Signature, String> {
    let text = || std::str::from_utf8(value).map_err(|_| "the signature is no text".to_owned());
    let mut signature = Signature { headers: added.clone(), ..Signature::default() };
    match place.each().first().unwrap_or(place) {
        Place::Headers(_) => {
            let name = place.shown();
            let lines = added.iter().chain([(name.as_bytes(), value)]);
            signature.headers = Headers::from_pairs(lines);
        }
        Place::Query(name) => signature.url = Some(with_parameter(message.url, name, text()?)),
        Place::Form(name) => {
            let body = std::str::from_utf8(message.body).map_err(|_| "the body is no form")?;
            signature.body = Some(with_field(body, name, text()?).into_bytes());
        }
        Place::Body { pointer, shown } => {
            let body = with_value(message.body, pointer, text()?);
            signature.body =
                Some(body.ok_or_else(|| format!("the body has no {shown} to put the signature into"))?);
        }
        Place::Each { shown, .. } => {
            let body = with_each(message.body, shown, text()?);
            signature.body =
                Some(body.ok_or_else(|| format!("the body has no {shown} to put the signature into"))?);
        }
        Place::Whole | Place::Several(_) => signature.body = Some(value.to_vec()),
    }
    Ok(signature)
}

fn with_parameter(url: &str, name: &str, value: &str) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    format!("{base}?{}", with_field(query, name, value))
}

/// A form with the field `name` in it, at its end.
fn with_field(encoded: &str, name: &str, value: &str) -> String {
    let is_other = |piece: &&str| {
        !piece.is_empty() && form::pairs(piece.as_bytes()).all(|(other, _)| *other != *name.as_bytes())
    };
    let escaped = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let own = format!("{}={}", escaped(name), escaped(value));
    let pieces: Vec<&str> = encoded.split('&').filter(is_other).chain([own.as_str()]).collect();
    pieces.join("&")
}

/// A JSON body with another value where `pointer` points.
fn with_value(body: &[u8], pointer: &Pointer, value: &str) -> Option<Vec<u8>> {
    let old = pointer.raw(body)?;
    let start = (old.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    let value = serde_json::to_vec(value).ok()?;
    Some([body.get(..start)?, &value, body.get(start + old.len()..)?].concat())
}

/// As [`with_value`], wherever `pointer` points, of which a step is `*`.
fn with_each(body: &[u8], pointer: &str, value: &str) -> Option<Vec<u8>> {
    let pointer = Pointer::parse(pointer).ok()?;
    let steps: Vec<String> = pointer.steps().map(str::to_owned).collect();
    let mut places = pointed::values(body, &[steps]).filter(|places| !places.is_empty())?;
    places.sort_unstable_by_key(|place| place.start);
    let value = serde_json::to_vec(value).ok()?;
    let (mut changed, mut from) = (Vec::with_capacity(body.len()), 0);
    for place in places {
        changed.extend_from_slice(body.get(from..place.start)?);
        changed.extend_from_slice(&value);
        from = place.end;
    }
    changed.extend_from_slice(body.get(from..)?);
    Some(changed)
}

/// `first` with the lines of `second`, which replace those of the same name.
pub fn replaced(first: &Headers, second: &Headers) -> Headers {
    let kept = first
        .iter()
        .filter(|(name, _)| std::str::from_utf8(name).is_ok_and(|name| second.get(name).is_none()));
    Headers::from_pairs(kept.chain(second.iter()))
}

#[cfg(test)]
mod tests;
