//! A provider's challenges to a new endpoint: what they look like and what the answers are, as data.
//!
//! Each is compiled with its provider ([`Handshakes::compile`]) and meets the route's secrets when the route is built
//! ([`Handshakes::bind`]). What a stranger chose goes into an answer only within limits ([`limits`]).

mod compile;
mod confirm;
mod json;
mod limits;
mod spec;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::redaction::Redaction;
use crate::headers::{Headers, HeadersBuilder};
use crate::secret::Secret;
use crate::select::{Message, Selector};
use crate::units::Invalid;
use confirm::Confirm;
use json::Json;
use limits::Limits;
use words::Template;

pub use spec::{AnswerSpec, ConfirmSpec, HandshakeSpec, WhenSpec};

/// What a captured secret may be long, bytes: shorter ones are no secrets, longer ones none that a provider makes.
const CAPTURED: std::ops::RangeInclusive<usize> = 16..=256;

/// A provider's challenges, in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct Handshakes(Arc<[Handshake]>);

#[derive(Clone, Debug)]
struct Handshake {
    methods: Box<[Box<str>]>,
    when: Box<[Condition]>,
    signed: bool,
    status: u16,
    headers: Box<[(Box<str>, Template)]>,
    body: Body,
    limits: Limits,
    capture: Option<Selector>,
    confirm: Option<Confirm>,
    /// The words for where a secret stands in it.
    secret_places: Box<[Box<str>]>,
}

#[derive(Clone, Debug)]
struct Condition {
    at: Selector,
    must: Must,
}

#[derive(Clone, Debug)]
enum Must {
    There(bool),
    Is(Box<[Box<str>]>),
    /// Equal to this setting of the route.
    IsSetting(Box<str>),
}

#[derive(Clone, Debug)]
enum Body {
    Empty,
    Text(Template),
    Json(Json),
}

/// What handshakes work with on one route.
#[derive(Clone, Default)]
pub struct Keys {
    /// The first secret's key, as the route's scheme decodes it.
    signing: Option<Zeroizing<Vec<u8>>>,
    settings: BTreeMap<String, Secret>,
}

/// Keys are shown to nobody.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("settings", &self.settings.keys()).finish_non_exhaustive()
    }
}

impl Keys {
    /// The key that `hmac-…()` signs with, and the settings by name.
    #[must_use]
    pub fn new(signing: Option<Zeroizing<Vec<u8>>>, settings: BTreeMap<String, Secret>) -> Self {
        Self { signing, settings }
    }

    fn signing_key(&self) -> Option<&[u8]> {
        self.signing.as_ref().map(|key| key.as_slice())
    }

    fn setting(&self, name: &str) -> Option<&Secret> {
        self.settings.get(name)
    }
}

/// A provider's challenges on one route.
#[derive(Clone, Debug, Default)]
pub struct Challenges {
    handshakes: Handshakes,
    keys: Keys,
}

/// Whether a request's signature was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not yet.
    Unchecked,
    /// It was, and is right.
    Checked,
}

/// A challenge that a request looks like; not yet compared with a secret.
#[derive(Clone, Copy, Debug)]
pub struct Challenge<'c> {
    handshake: &'c Handshake,
    keys: &'c Keys,
}

/// The answer to a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeReply {
    /// HTTP status.
    pub status: u16,
    /// Header lines, `content-type` among them.
    pub headers: Headers,
    /// Body.
    pub body: Vec<u8>,
}

/// What is to be done beside answering a challenge.
#[derive(Clone, Debug, Default)]
pub struct Errands {
    /// The secret that the provider handed over.
    pub capture: Option<Secret>,
    /// The address to ask, over https, so that the provider knows that the endpoint wants its events; its host is
    /// one of those that the provider's file names.
    pub confirm: Option<String>,
}

impl Handshakes {
    /// Compiles every one of `specs`.
    ///
    /// # Errors
    /// Every word that makes no sense.
    pub fn compile(specs: &[HandshakeSpec]) -> Result<Self, Vec<Invalid>> {
        let mut faults = Vec::new();
        let compiled = specs.iter().map(|spec| Handshake::compile(spec, &mut faults)).collect();
        if faults.is_empty() { Ok(Self(compiled)) } else { Err(faults) }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The methods that they take, `POST` left out, sorted.
    #[must_use]
    pub fn methods(&self) -> Vec<String> {
        let methods = self.0.iter().flat_map(|handshake| &handshake.methods);
        let mut methods: Vec<String> =
            methods.filter(|method| &***method != "POST").map(ToString::to_string).collect();
        methods.sort();
        methods.dedup();
        methods
    }

    /// The names of the settings that they take from the route, sorted.
    #[must_use]
    pub fn settings(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.iter().flat_map(Handshake::settings).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Whether one of them signs with the key of the route's events.
    #[must_use]
    pub fn sign(&self) -> bool {
        self.0.iter().any(Handshake::signs)
    }

    /// Whether one of them hands over the secret.
    #[must_use]
    pub fn capture(&self) -> bool {
        self.0.iter().any(|handshake| handshake.capture.is_some())
    }

    /// Where a secret stands in them: what is compared with a setting of the route, and what is captured.
    #[must_use]
    pub fn redaction(&self) -> Redaction {
        Redaction::of_words(self.0.iter().flat_map(|one| &one.secret_places).map(|word| &**word))
    }

    /// Joins them with a route's `keys`. Those that need a setting which the route does not give are left out.
    #[must_use]
    pub fn bind(&self, keys: Keys) -> Challenges {
        let usable = |handshake: &&Handshake| {
            handshake.settings().all(|name| keys.setting(name).is_some())
                && (!handshake.signs() || keys.signing.is_some())
        };
        Challenges { handshakes: Self(self.0.iter().filter(usable).cloned().collect()), keys }
    }
}

impl Challenges {
    /// The challenges that `message` looks like at this `stage`, in order; the first that answers is the answer.
    pub fn of<'c>(&'c self, message: &'c Message<'_>, stage: Stage) -> impl Iterator<Item = Challenge<'c>> {
        let fits = move |handshake: &&Handshake| {
            handshake.signed == (stage == Stage::Checked) && handshake.looks_like(message)
        };
        self.handshakes.0.iter().filter(fits).map(|handshake| Challenge { handshake, keys: &self.keys })
    }

    /// Whether one of them signs with the key of the route's events.
    #[must_use]
    pub fn sign(&self) -> bool {
        self.handshakes.sign()
    }

    /// Whether a signature over `text` proves nothing, because a challenge makes hooklatch sign it for anybody.
    #[must_use]
    pub fn could_have_signed(&self, text: &[u8]) -> bool {
        let signs = |handshake: &Handshake| {
            let mut templates = handshake.templates();
            templates.any(|template| template.could_sign(text, &self.keys, &handshake.limits))
        };
        self.handshakes.0.iter().any(signs)
    }

    /// Whether `body` could be a part of such a text: the rest of it could stand in a header.
    #[must_use]
    pub fn could_hold(&self, body: &[u8]) -> bool {
        self.handshakes.0.iter().any(|handshake| handshake.signs() && handshake.limits.could_hold(body))
    }
}

impl Challenge<'_> {
    /// Whether a secret is used for the answer, or compared: to be tried so many times only.
    #[must_use]
    pub fn uses_secret(&self) -> bool {
        self.handshake.uses_secret()
    }

    /// Whether it hands over the route's secret.
    #[must_use]
    pub fn captures(&self) -> bool {
        self.handshake.capture.is_some()
    }

    /// The answer and what is to be done beside it; `None` where a secret does not agree, or a value is missing or
    /// outside the limits: then it was no challenge.
    #[must_use]
    pub fn answer(&self, message: &Message<'_>) -> Option<(HandshakeReply, Errands)> {
        let Self { handshake, keys } = self;
        let agrees = |condition: &Condition| condition.agrees(message, keys);
        if !handshake.when.iter().all(agrees) {
            return None;
        }
        let errands = Errands {
            capture: match &handshake.capture {
                Some(selector) => Some(captured(&selector.extract(message)?)?),
                None => None,
            },
            confirm: match &handshake.confirm {
                Some(confirm) => Some(confirm.address(message)?),
                None => None,
            },
        };
        Some((handshake.reply(message, keys)?, errands))
    }
}

fn captured(value: &str) -> Option<Secret> {
    let right = CAPTURED.contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    right.then(|| Secret::new(value))
}

impl Condition {
    /// What can be told without a secret.
    fn holds(&self, message: &Message<'_>) -> bool {
        match &self.must {
            Must::There(there) => self.at.is_there(message) == *there,
            Must::Is(values) => {
                self.at.extract(message).is_some_and(|found| values.iter().any(|value| **value == *found))
            }
            Must::IsSetting(_) => self.at.is_there(message),
        }
    }

    fn agrees(&self, message: &Message<'_>, keys: &Keys) -> bool {
        match &self.must {
            Must::IsSetting(name) => self.at.extract(message).is_some_and(|found| {
                keys.setting(name).is_some_and(|secret| secret.matches(found.as_bytes()))
            }),
            Must::There(_) | Must::Is(_) => true,
        }
    }
}

impl Handshake {
    fn templates(&self) -> impl Iterator<Item = &Template> {
        let text = match &self.body {
            Body::Text(text) => Some(text),
            Body::Empty | Body::Json(_) => None,
        };
        let json = match &self.body {
            Body::Json(json) => json.templates(),
            Body::Empty | Body::Text(_) => Vec::new(),
        };
        self.headers.iter().map(|(_, value)| value).chain(text).chain(json)
    }

    fn settings(&self) -> impl Iterator<Item = &str> {
        let compared = self.when.iter().filter_map(|condition| match &condition.must {
            Must::IsSetting(name) => Some(&**name),
            Must::There(_) | Must::Is(_) => None,
        });
        compared.chain(self.templates().flat_map(Template::settings))
    }

    fn signs(&self) -> bool {
        self.templates().any(Template::signs)
    }

    /// Whether the answer itself is made with a secret.
    fn makes_with_secret(&self) -> bool {
        self.templates().any(|template| template.signs() || template.settings().next().is_some())
    }

    fn uses_secret(&self) -> bool {
        self.signs() || self.settings().next().is_some()
    }

    fn looks_like(&self, message: &Message<'_>) -> bool {
        self.methods.iter().any(|method| **method == *message.method)
            && self.when.iter().all(|condition| condition.holds(message))
    }

    fn reply(&self, message: &Message<'_>, keys: &Keys) -> Option<HandshakeReply> {
        let (content_type, body) = match &self.body {
            Body::Empty => (None, Vec::new()),
            Body::Text(template) => {
                let text = template.render(message, keys, &self.limits)?;
                (Some("text/plain; charset=utf-8"), text.into_bytes())
            }
            Body::Json(json) => {
                let value = json.render(message, keys, &self.limits)?;
                (Some("application/json"), value.to_string().into_bytes())
            }
        };
        let mut lines = HeadersBuilder::with_capacity(128);
        let own = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if let Some(content_type) = content_type.filter(|_| !own) {
            lines.push(b"content-type", content_type.as_bytes());
        }
        for (name, template) in &self.headers {
            lines.push(name.as_bytes(), template.render(message, keys, &self.limits)?.as_bytes());
        }
        // What is echoed is a stranger's text: no browser shall take it for a page.
        lines.push(b"x-content-type-options", b"nosniff");
        Some(HandshakeReply { status: self.status, headers: lines.build(), body })
    }
}

#[cfg(test)]
mod tests;
