//! JSON Web Tokens and detached signatures of the same kind: what a scheme wants of a token beside a right signature.

use std::time::Duration;

use serde_json::Value;

use super::asymmetric::{Asymmetric, PublicKey};
use super::derived::request_hash;
use super::encoding::{self, Encoding};
use super::faults::Faults;
use super::format::{Writing, prefixes};
use super::jwt::{self, Claims, JwtAlgorithm, JwtFault, JwtKey};
use super::key::KeyForm;
use super::mac::{Hash, same};
use super::place::{Place, View, refuse};
use super::signed::{Required, check_required, required, signature_place};
use super::spec::{JwtSpec, SchemeSpec};
use super::timestamp::{readable, within};
use super::{NamedSecret, Refusal, RefusalKind, Verified};
use crate::clock::Millis;
use crate::select::Message;
use crate::units::{format_duration, parse_duration};

/// A token, or a detached signature over the body.
#[derive(Debug)]
pub(super) struct TokenScheme {
    pub(super) place: Place,
    prefixes: Box<[Box<str>]>,
    key: KeyForm,
    pub(super) algorithms: Box<[JwtAlgorithm]>,
    /// What the token must claim; `None`: it claims nothing, it signs the body.
    pub(super) rules: Option<Rules>,
    /// A detached signature is over the body as it is.
    unencoded: bool,
    require: Box<[Required]>,
}

/// What a token must claim.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) body_hash: Option<(Box<str>, Encoding)>,
    /// Where the body is empty the token may lack its hash.
    unless_empty: bool,
    pub(super) body_claim: Option<Box<str>>,
    pub(super) url_hash: Option<Box<str>>,
    pub(super) request_hash: Option<Box<str>>,
    pub(super) audience: Option<Audience>,
    pub(super) claims: Box<[(Box<str>, Box<str>)]>,
    /// Claims that must be there, whatever they say.
    pub(super) required: Box<[Box<str>]>,
    /// Claims that a token may lack.
    optional: Box<[Box<str>]>,
    leeway: Duration,
    pub(super) max_age: Option<Duration>,
}

/// Whom a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// The public URL.
    Url,
    Text(Box<str>),
}

impl TokenScheme {
    pub(super) fn compile(spec: &SchemeSpec, faults: &mut Faults) -> Option<Self> {
        let detached = spec.algorithm == "jws";
        let with = format!("algorithm = {:?}", spec.algorithm);
        faults.no_template(spec, &with);
        Writing::refuse_words(&spec.signature, &with, faults);
        let key = faults.word("key", spec.key.as_ref(), KeyForm::parse, super::key::WORDS);
        faults.unused("key", key.other().is_some(), &with);
        let place = signature_place(&spec.signature, faults);
        let require = required(spec, faults);
        let usual = JwtSpec::default();
        let written = spec.jwt.as_ref().unwrap_or(&usual);
        let algorithms = algorithms(written, faults);
        let rules = Rules::compile(written, faults);
        if detached && spec.jwt.as_ref().is_some_and(|jwt| *jwt != only_algorithms(jwt)) {
            faults.add(
                "jwt",
                "a detached signature claims nothing",
                "write jwt = { algorithms = […] } alone, or with unencoded = true",
            );
        }
        faults.unused("jwt.unencoded", written.unencoded && !detached, &with);
        let place = place?;
        let unfit =
            |place: &Place| matches!(place, Place::Each { .. }) || (detached && *place == Place::Whole);
        if place.each().iter().any(unfit) {
            return faults.none("signature.body", "a token does not stand there", "write header = \"NAME\"");
        }
        let prefixes = prefixes(&spec.signature.prefixes);
        let rules = if detached { None } else { Some(rules?) };
        Some(Self {
            place,
            prefixes,
            key,
            algorithms: algorithms?,
            rules,
            unencoded: written.unencoded,
            require,
        })
    }

    pub(super) fn binds_body(&self) -> bool {
        self.place == Place::Whole || self.rules.as_ref().is_none_or(Rules::bind_body)
    }

    pub(super) fn checks_time(&self) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.max_age.is_some())
    }

    pub(super) fn signs_url(&self) -> bool {
        self.rules.as_ref().is_some_and(|rules| {
            rules.url_hash.is_some() || rules.request_hash.is_some() || rules.audience == Some(Audience::Url)
        })
    }

    /// What stands before a token where it is written.
    pub(super) fn prefix(&self) -> &str {
        self.prefixes.first().map_or("", |prefix| prefix)
    }

    /// Whether only a key pair will do.
    pub(super) fn has_private_key(&self) -> bool {
        !self.algorithms.iter().any(|algorithm| algorithm.is_symmetric())
    }

    /// The key that a secret is: a public key where it is written as one, else the text itself. Which of both a token
    /// is checked with is never the token's own choice.
    fn key(&self, NamedSecret { name, secret, .. }: &NamedSecret) -> Result<JwtKey, String> {
        let wrong = |fault: &str| format!("the secret {name:?} {fault}");
        let pairs: Vec<_> = self.algorithms.iter().filter_map(|algorithm| algorithm.asymmetric()).collect();
        // A shared secret may look like a bare key: only PEM and JSON are taken for one where both are possible.
        if self.has_private_key() || (!pairs.is_empty() && PublicKey::is_marked(secret.expose())) {
            let keys = PublicKey::parse_all(secret.expose()).map_err(|fault| wrong(&fault))?;
            return fitting(keys, &pairs).map_err(|fault| wrong(&fault));
        }
        self.key.decode(secret).map(JwtKey::Symmetric).map_err(wrong)
    }

    pub(super) fn keys(&self, secrets: &[NamedSecret]) -> Result<Vec<JwtKey>, Vec<String>> {
        let (mut keys, mut faults) = (Vec::with_capacity(secrets.len()), Vec::new());
        for secret in secrets {
            match self.key(secret) {
                Ok(key) => keys.push(key),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() { Ok(keys) } else { Err(faults) }
    }

    pub(super) fn verify(
        &self,
        keys: &[JwtKey],
        message: &Message<'_>,
        now: Option<Millis>,
    ) -> Result<Verified, Refusal> {
        check_required(&self.require, message)?;
        let found = self.place.read(&View { message, json: message.body })?;
        let mut fault = None;
        for value in &found {
            let text = std::str::from_utf8(&value.text).ok().map(str::trim_ascii);
            let token =
                text.and_then(|text| self.prefixes.iter().find_map(|prefix| text.strip_prefix(&**prefix)));
            let checked = match token {
                Some(token) => self.check(keys, token, &value.shown, message, now),
                None => Err(unreadable(&value.shown)),
            };
            match checked {
                Ok(verified) => return Ok(verified),
                Err(refusal) => fault = fault.or(Some(refusal)),
            }
        }
        Err(fault.unwrap_or_else(|| self.place.missing()))
    }

    fn check(
        &self,
        keys: &[JwtKey],
        token: &str,
        shown: &str,
        message: &Message<'_>,
        now: Option<Millis>,
    ) -> Result<Verified, Refusal> {
        let mut fault = None;
        for (secret, key) in keys.iter().enumerate() {
            let claims = match &self.rules {
                None => jwt::verify_detached(token, message.body, self.unencoded, &self.algorithms, key)
                    .map(|()| None),
                Some(rules) => jwt::verify(token, &self.algorithms, key).map(|claims| Some((rules, claims))),
            };
            match claims {
                Ok(None) => return Ok(Verified { secret, timestamp: None }),
                Ok(Some((rules, claims))) => {
                    let timestamp = rules.check(&claims, message, now)?;
                    return Ok(Verified { secret, timestamp });
                }
                // With keys of both kinds one of them is always the wrong one.
                Err(JwtFault::AlgorithmNotAllowed) if fault.is_some() => {}
                Err(other) => fault = Some(other),
            }
        }
        Err(match fault {
            Some(JwtFault::AlgorithmNotAllowed) => {
                let message =
                    format!("The token in {shown} is signed in a way that this route does not take.");
                refuse(RefusalKind::InvalidSignature, shown, message)
            }
            Some(JwtFault::NotAToken) => unreadable(shown),
            Some(JwtFault::NoKeyMatches) | None => {
                let message = format!("No secret of this route reproduces the signature in {shown}.");
                refuse(RefusalKind::InvalidSignature, shown, message)
            }
        })
    }
}

/// Those of `keys` with which one of the algorithms works.
fn fitting(keys: Vec<PublicKey>, algorithms: &[Asymmetric]) -> Result<JwtKey, String> {
    let fits = |key: &PublicKey| algorithms.iter().any(|algorithm| key.fits(*algorithm));
    let fitting: Vec<PublicKey> = keys.into_iter().filter(fits).collect();
    if !fitting.is_empty() {
        return Ok(JwtKey::Public(fitting));
    }
    let mut kinds: Vec<_> = algorithms.iter().map(|algorithm| algorithm.key_kind()).collect();
    kinds.dedup();
    Err(format!("is not {}, which this scheme needs", kinds.join(" or ")))
}

fn unreadable(shown: &str) -> Refusal {
    refuse(RefusalKind::InvalidSignature, shown, format!("What stands in {shown} is not written as a token."))
}

fn only_algorithms(jwt: &JwtSpec) -> JwtSpec {
    JwtSpec { algorithms: jwt.algorithms.clone(), unencoded: jwt.unencoded, ..JwtSpec::default() }
}

fn algorithms(spec: &JwtSpec, faults: &mut Faults) -> Option<Box<[JwtAlgorithm]>> {
    let hint = "write jwt = { algorithms = [\"HS256\"] }: the ones that the provider signs with";
    if spec.algorithms.is_empty() {
        return faults.none(
            "jwt.algorithms",
            "a token's own word for how it is signed counts for nothing",
            hint,
        );
    }
    let mut read = Vec::with_capacity(spec.algorithms.len());
    for word in &spec.algorithms {
        match JwtAlgorithm::parse(word) {
            Some(algorithm) => read.push(algorithm),
            None => faults.add("jwt.algorithms", format!("there is no algorithm {word:?} for tokens"), hint),
        }
    }
    (read.len() == spec.algorithms.len()).then(|| read.into())
}

impl Rules {
    fn compile(spec: &JwtSpec, faults: &mut Faults) -> Option<Self> {
        let text = |text: &Option<String>| text.as_deref().map(Box::from);
        let written = spec.body_hash_encoding.as_ref();
        let encoding = faults.word("jwt.body_hash_encoding", written, Encoding::parse, encoding::WORDS);
        faults.unused(
            "jwt.body_hash_encoding",
            written.is_some() && spec.body_hash.is_none(),
            "no jwt.body_hash",
        );
        faults.unused(
            "jwt.body_hash_unless_empty",
            spec.body_hash_unless_empty && spec.body_hash.is_none(),
            "no jwt.body_hash",
        );
        let mut duration = |key, text: &Option<String>| match text.as_deref().map(parse_duration) {
            None => Some(None),
            Some(Ok(duration)) => Some(Some(duration)),
            Some(Err(error)) => faults.none(key, error.to_string(), ""),
        };
        let leeway = duration("jwt.leeway", &spec.leeway);
        let max_age = duration("jwt.max_age", &spec.max_age);
        let rules = Self {
            body_hash: text(&spec.body_hash).map(|claim| (claim, encoding)),
            unless_empty: spec.body_hash_unless_empty,
            body_claim: text(&spec.body_claim),
            url_hash: text(&spec.url_hash),
            request_hash: text(&spec.request_hash),
            audience: spec.audience.as_deref().map(|audience| match audience {
                "url" => Audience::Url,
                text => Audience::Text(text.into()),
            }),
            claims: spec
                .claims
                .iter()
                .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                .collect(),
            required: spec.required.iter().map(|name| name.as_str().into()).collect(),
            optional: spec.optional.iter().map(|name| name.as_str().into()).collect(),
            leeway: leeway?.unwrap_or_default(),
            max_age: max_age?,
        };
        for name in &rules.optional {
            if !rules.name(name) {
                let hint = "name claims that the other words of jwt check, or leave it out";
                faults.add("jwt.optional", format!("the claim {name:?} is not checked anyway"), hint);
            }
            if rules.required.contains(name) {
                let message = format!("the claim {name:?} is required, and may be missing");
                faults.add("jwt.optional", message, "leave it out of one of both");
            }
        }
        Some(rules)
    }

    /// Whether they say something about a claim.
    fn name(&self, claim: &str) -> bool {
        let hashes = [
            self.body_hash.as_ref().map(|(name, _)| name),
            self.body_claim.as_ref(),
            self.url_hash.as_ref(),
            self.request_hash.as_ref(),
        ];
        hashes.iter().flatten().any(|name| ***name == *claim)
            || (claim == "aud" && self.audience.is_some())
            || self.claims.iter().any(|(name, _)| **name == *claim)
    }

    fn is_optional(&self, claim: &str) -> bool {
        self.optional.iter().any(|name| **name == *claim)
    }

    /// Whether every token that passes says what the body is.
    fn bind_body(&self) -> bool {
        let hash = self.body_hash.as_ref().map(|(name, _)| name);
        hash.into_iter().chain(&self.body_claim).any(|name| !self.is_optional(name))
    }

    /// Holds the claims of a token that is signed right against the request and the clock; gives the time at which it
    /// was issued.
    fn check(
        &self,
        claims: &Claims,
        message: &Message<'_>,
        now: Option<Millis>,
    ) -> Result<Option<Millis>, Refusal> {
        if let Some(name) = self.required.iter().find(|name| claims.get(name).is_none_or(Value::is_null)) {
            let message = format!("The token lacks the claim {name}: it was made for something else.");
            return Err(refuse(RefusalKind::InvalidSignature, name, message));
        }
        for (name, value) in &self.claims {
            self.equal(claims, name, value.as_bytes())?;
        }
        if let Some(audience) = &self.audience {
            self.check_audience(claims, audience, message.url)?;
        }
        if let Some(name) = &self.url_hash {
            self.equal(claims, name, hex_digest(message.url.as_bytes()).as_bytes())?;
        }
        if let Some(name) = &self.request_hash {
            let hash = request_hash(message.method, message.url).unwrap_or_default();
            self.equal(claims, name, hash.as_bytes())?;
        }
        if let Some(name) = &self.body_claim {
            self.equal(claims, name, message.body)?;
        }
        if let Some((name, encoding)) = &self.body_hash {
            let unhashed = self.unless_empty && message.body.is_empty() && claims.get(name).is_none();
            if !unhashed {
                self.equal(claims, name, encoding.encode(&Hash::Sha256.digest([message.body])).as_bytes())?;
            }
        }
        self.check_times(claims, now)
    }

    /// The claim must be this text.
    fn equal(&self, claims: &Claims, name: &str, wanted: &[u8]) -> Result<(), Refusal> {
        let refusal = |message: String| Err(refuse(RefusalKind::InvalidSignature, name, message));
        match claims.get(name) {
            None if self.is_optional(name) => Ok(()),
            None => {
                refusal(format!("The token lacks the claim {name}, without which it does not prove enough."))
            }
            Some(Value::String(text)) if same(text.as_bytes(), wanted) => Ok(()),
            Some(_) => refusal(format!("The token's claim {name} does not fit this request.")),
        }
    }

    fn check_audience(&self, claims: &Claims, audience: &Audience, url: &str) -> Result<(), Refusal> {
        let wanted = match audience {
            Audience::Url => url,
            Audience::Text(text) => text,
        };
        let fits = match claims.get("aud") {
            None if self.is_optional("aud") => return Ok(()),
            Some(Value::String(text)) => text == wanted,
            Some(Value::Array(several)) => several.iter().any(|one| one == wanted),
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let message = "The token is for another audience (aud) than this route.";
        Err(refuse(RefusalKind::InvalidSignature, "aud", message))
    }

    fn check_times(&self, claims: &Claims, now: Option<Millis>) -> Result<Option<Millis>, Refusal> {
        let (expires, begins, issued) = (time(claims, "exp")?, time(claims, "nbf")?, time(claims, "iat")?);
        let late =
            |name: &str, message: &str| Err(refuse(RefusalKind::TimestampOutOfTolerance, name, message));
        let Some(now) = now else { return Ok(issued) };
        if let Some(expires) = expires.filter(|expires| now >= expires.plus(self.leeway)) {
            let ago = format_duration(readable(now.since(expires)));
            let message = format!(
                "The token is signed right, but expired {ago} ago by this server's clock. It is an old one, or a clock is wrong."
            );
            return late("exp", &message);
        }
        if let Some(begins) = begins.filter(|begins| now.plus(self.leeway) < *begins) {
            let ahead = format_duration(readable(begins.since(now)));
            let message = format!(
                "The token is signed right, but valid only in {ahead} by this server's clock. One of the clocks is wrong."
            );
            return late("nbf", &message);
        }
        match (self.max_age, issued) {
            (Some(most), Some(issued)) => {
                within(issued, now, most.saturating_add(self.leeway), "iat").map(Some)
            }
            (Some(_), None) => late("iat", "The token is signed right, but does not say when it was issued."),
            (None, issued) => Ok(issued),
        }
    }
}

/// A time that a token names.
fn time(claims: &Claims, name: &str) -> Result<Option<Millis>, Refusal> {
    if claims.get(name).is_none() {
        return Ok(None);
    }
    let time = claims.number(name).and_then(|seconds| seconds.checked_mul(1000));
    time.map(|millis| Some(Millis(millis))).ok_or_else(|| {
        let message = format!("The token's claim {name} is no time.");
        refuse(RefusalKind::InvalidSignature, name, message)
    })
}

pub(super) fn hex_digest(bytes: &[u8]) -> String {
    hex::encode(Hash::Sha256.digest([bytes]))
}
