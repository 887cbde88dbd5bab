//! What a provider's file says, compiled.

use std::sync::Arc;
use std::time::Duration;

use super::handshake::{AnswerSpec, HandshakeSpec, Handshakes};
use super::redaction::Redaction;
use super::sample::Sample;
use super::scheme::Scheme;
use super::spec::{ProviderSpec, SchemeSpec};
use crate::select::Selector;
use crate::units::{Invalid, UnitError, parse_duration, parse_size};

/// What a provider's file says.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The word for `provider = "…"`.
    pub name: Arc<str>,
    /// As its own people write it.
    pub display_name: String,
    /// Where it documents its webhooks.
    pub docs: String,
    /// Its scheme.
    pub scheme: Arc<Scheme>,
    /// The words of its scheme as its file has them.
    pub written: SchemeSpec,
    /// What its file was proven with.
    pub vectors: Option<VectorKind>,
    /// Where its console shows the secret, a sentence, where its documentation says so.
    pub secret_hint: Option<String>,
    /// Whether its customer chooses where the secret stands: a route may say so.
    pub free_signature: bool,
    /// Where its event id stands.
    pub event_id: Option<Selector>,
    /// Whether every event carries that id.
    pub event_id_required: bool,
    /// Where its event type stands.
    pub event_type: Option<Selector>,
    /// Where the event's own time stands; [`super::event_time`] reads what it finds.
    pub event_time: Option<Selector>,
    /// Its challenges.
    pub handshakes: Handshakes,
    /// The words of its challenges as its file has them.
    pub handshakes_written: Vec<HandshakeSpec>,
    /// What must stand in each of its requests, because it signs those of all its customers alike.
    pub pins: Arc<[Pin]>,
    /// The answer to an event that it wants, where it wants one in particular.
    pub answer: WantedAnswer,
    /// The largest body it sends, in bytes, where its documentation says so.
    pub max_body: Option<u64>,
    /// For how long it retries, where its documentation says so.
    pub retries_for: Option<Duration>,
    /// The event that `hooklatch send` sends.
    pub sample: Option<Sample>,
}

/// A place in a request, and the route's setting that must stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// As written, for messages.
    pub shown: Box<str>,
    /// Where.
    pub at: Selector,
    /// The setting's name.
    pub setting: Box<str>,
}

impl Pin {
    fn compile((word, setting): &(String, String), faults: &mut Vec<Invalid>) -> Option<Self> {
        if setting.is_empty() {
            let hint = "write \"body:/TopicArn\" = \"topic_arn\"";
            faults.push(Invalid::new("pin", "which setting of the route must stand there is not said", hint));
        }
        let at =
            Selector::parse(word).map_err(|message| faults.push(Invalid::new("pin", message, ""))).ok()?;
        Some(Self { shown: word.as_str().into(), at, setting: setting.as_str().into() })
    }
}

/// The answer that a provider wants: the defaults of a route's `ack_status` and `ack_body`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedAnswer {
    /// The status, a success.
    pub status: Option<u16>,
    /// The body.
    pub body: Option<String>,
    /// How long it waits for one, where its documentation says so.
    pub deadline: Option<Duration>,
}

impl WantedAnswer {
    fn compile(spec: &AnswerSpec, faults: &mut Vec<Invalid>) -> Self {
        if spec.status.is_some_and(|status| !(200..300).contains(&status)) {
            let message = "an event that is accepted is answered with a success";
            faults.push(Invalid::new("answer.status", message, "write 200 to 299"));
        }
        if matches!(spec.status, Some(204 | 205)) && spec.body.as_ref().is_some_and(|body| !body.is_empty()) {
            let message = "an answer of this status has no body";
            faults.push(Invalid::new("answer.body", message, "leave it out"));
        }
        Self {
            status: spec.status,
            body: spec.body.clone(),
            deadline: unit("answer.deadline", spec.deadline.as_deref(), parse_duration, faults),
        }
    }
}

/// What stands behind a provider's file: the best of the valid vectors in its `tests/providers/NAME.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorKind {
    /// Signed by the provider's own libraries, its documentation or an independent implementation.
    ThirdParty,
    /// Made from its documented scheme.
    Constructed,
}

impl VectorKind {
    /// The word for it in a provider's file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ThirdParty => "third-party",
            Self::Constructed => "constructed",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::ThirdParty, Self::Constructed].into_iter().find(|kind| kind.word() == word)
    }
}

impl Provider {
    /// The names of the settings that a route of it may give: those of its challenges and of its pins, sorted.
    #[must_use]
    pub fn settings(&self) -> Vec<String> {
        let mut names = self.handshakes.settings();
        names.extend(self.pins.iter().map(|pin| pin.setting.to_string()));
        names.sort();
        names.dedup();
        names
    }

    /// Where a secret stands in its requests, challenges included: to be shown to nobody.
    #[must_use]
    pub fn redaction(&self) -> Redaction {
        self.scheme.redaction().and(self.handshakes.redaction())
    }

    /// Compiles `spec`.
    ///
    /// # Errors
    /// Every word of it that makes no sense.
    pub fn compile(spec: &ProviderSpec) -> Result<Self, Vec<Invalid>> {
        let mut faults = Vec::new();
        if spec.display_name.is_empty() {
            faults.push(Invalid::new("display_name", "a provider needs its name as people write it", ""));
        }
        if !spec.docs.starts_with("https://") {
            let hint = "write docs = \"https://…\"";
            faults.push(Invalid::new("docs", "where the provider documents its webhooks is not said", hint));
        }
        let scheme = keep(Scheme::compile(&spec.scheme), &mut faults);
        let secret = scheme.as_ref().map(Scheme::redaction).unwrap_or_default();
        for (key, words) in [("event_id", &spec.event_id), ("event_type", &spec.event_type)] {
            for word in words.iter().filter(|word| secret.covers(word)) {
                let message = format!("the secret itself stands at {word:?}, and this is logged and listed");
                faults.push(Invalid::new(key, message, "leave it out"));
            }
        }
        let event_id = selector("event_id", &spec.event_id, &mut faults);
        if spec.event_id_required && spec.event_id.is_empty() {
            let hint = "write event_id, or leave event_id_required out";
            faults.push(Invalid::new(
                "event_id_required",
                "an id is required, but event_id is not said",
                hint,
            ));
        }
        if spec.free_signature && spec.scheme.algorithm != "token" {
            let message = "only a secret that the customer himself puts there stands where he likes";
            faults.push(Invalid::new(
                "free_signature",
                message,
                "leave it out, or write algorithm = \"token\"",
            ));
        }
        let event_type = selector("event_type", &spec.event_type, &mut faults);
        let event_time = selector("event_time", spec.event_time.as_slice(), &mut faults);
        let handshakes = keep(Handshakes::compile(&spec.handshakes), &mut faults).unwrap_or_default();
        let pins = spec.pins.iter().filter_map(|pin| Pin::compile(pin, &mut faults)).collect();
        let answer = spec.answer.as_ref().map(|written| WantedAnswer::compile(written, &mut faults));
        let sample = spec.sample.as_ref().and_then(|written| keep(Sample::compile(written), &mut faults));
        let max_body = unit("max_body", spec.max_body.as_deref(), parse_size, &mut faults);
        let retries_for = unit("retries_for", spec.retries_for.as_deref(), parse_duration, &mut faults);
        let vectors = spec.vectors.as_deref().and_then(|word| {
            let kind = VectorKind::parse(word);
            if kind.is_none() {
                let hint = "write \"third-party\" or \"constructed\"";
                faults.push(Invalid::new("vectors", format!("there are no {word:?} vectors"), hint));
            }
            kind
        });
        match scheme {
            Some(scheme) if faults.is_empty() => Ok(Self {
                name: spec.name.as_str().into(),
                display_name: spec.display_name.clone(),
                docs: spec.docs.clone(),
                scheme: Arc::new(scheme),
                written: spec.scheme.clone(),
                vectors,
                secret_hint: spec.secret_hint.clone(),
                free_signature: spec.free_signature,
                event_id,
                event_id_required: spec.event_id_required,
                event_type,
                event_time,
                handshakes,
                handshakes_written: spec.handshakes.clone(),
                pins,
                answer: answer.unwrap_or_default(),
                max_body,
                retries_for,
                sample,
            }),
            _ => Err(faults),
        }
    }
}

fn keep<T>(compiled: Result<T, Vec<Invalid>>, faults: &mut Vec<Invalid>) -> Option<T> {
    compiled.map_err(|mut found| faults.append(&mut found)).ok()
}

fn selector(key: &'static str, words: &[String], faults: &mut Vec<Invalid>) -> Option<Selector> {
    let mut parts = Vec::with_capacity(words.len());
    for word in words {
        match Selector::parse(word) {
            Ok(part) => parts.push(part),
            Err(message) => faults.push(Invalid::new(key, message, "")),
        }
    }
    (!parts.is_empty()).then(|| Selector::joined(parts))
}

fn unit<T>(
    key: &'static str,
    text: Option<&str>,
    parse: fn(&str) -> Result<T, UnitError>,
    faults: &mut Vec<Invalid>,
) -> Option<T> {
    parse(text?).map_err(|error| faults.push(Invalid::new(key, error.to_string(), ""))).ok()
}
