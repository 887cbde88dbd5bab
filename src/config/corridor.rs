//! The keys of a route that `deliver_to` gives a meaning: how a request is checked, told from others, answered.

mod check;

use std::sync::Arc;
use std::time::Duration;

use check::Check;

use super::deliver_to::Destinations;
use super::routes::Surroundings;
use super::walk::{Table, Value, set};
use super::{Context, dedupe, handshake, schema, secrets, server};
use crate::event::Ack;
use crate::ingress::{Capture, CorridorSettings, DeliverTo, Evidence, ShadowSecrets};
use crate::secret::Secret;
use crate::select::Selector;
use crate::units::{format_duration, format_size};
use crate::verify::{
    Challenges, Handshakes, Keys, NamedSecret, Pin, Provider, Redaction, Scheme, Verifier, WantedAnswer,
};

/// What is read while a `deliver_to` route is read.
pub(super) struct Corridor<'r, 'a, 'c> {
    pub(super) name: &'r str,
    pub(super) table: &'r Table<'a>,
    pub(super) context: &'r Context<'c>,
    pub(super) around: &'r Surroundings<'r>,
}

/// Marks the keys of this file as read, for a route that is not read to the end.
pub(super) fn touch(table: &Table<'_>) {
    for key in schema::DELIVER_ONLY.iter().chain(&schema::PROXY_ONLY).chain(&["max_body"]) {
        let _ = table.get(key);
    }
}

impl<'a> Corridor<'_, 'a, '_> {
    /// Reads the route; every key is read, whatever is wrong with the others.
    pub(super) fn read(&self, deliver_to: Value<'a>) -> Option<CorridorSettings> {
        let destinations = self.deliver_to(deliver_to);
        let check = self.check();
        let provider = match &check {
            Some(Check::Scheme { provider, .. }) => *provider,
            _ => None,
        };
        let secrets = self.secrets(check.as_ref(), provider);
        let (challenges, pins) = self.challenges(check.as_ref(), provider, secrets.as_ref());
        let ack = self.ack();
        let answer_from_app = self.answer(ack);
        let wanted = provider.map(|provider| provider.answer.clone()).unwrap_or_default();
        let (ack_status, ack_body) = self.ack_answer(answer_from_app, &wanted);
        let redaction = check.as_ref().map(Check::redaction).unwrap_or_default();
        let event_id = self.shown_selector("event_id", &redaction);
        let event_type = self.shown_selector("event_type", &redaction);
        let event_time = self.selector("event_time");
        let id_is_own = event_id.is_some();
        let event_id = event_id.or_else(|| provider.and_then(|provider| provider.event_id.clone()));
        let dedupe = self.dedupe(event_id.as_ref(), id_is_own, provider);
        let max_body = self.max_body(provider);
        let public_url = self.table.get("public_url").and_then(|value| {
            let url = server::public_url(
                value,
                "write the whole URL that the provider signs: \"https://hooks.example.com/twilio\"",
            );
            url.map(str::to_owned)
        });
        let event_type = event_type.or_else(|| provider.and_then(|provider| provider.event_type.clone()));
        let (priorities, order_key) = (self.priorities(event_type.as_ref()), self.order_key(ack));
        let Destinations { entries, longest } = destinations?;
        self.check_deliver_to(deliver_to, &entries, ack, event_type.as_ref());
        self.refuse_signing_again(check.as_ref(), &entries);
        if ack.is_some_and(|ack| ack != Ack::Delivered) {
            self.warn_of_late_deliveries(check.as_ref(), &entries);
        }
        self.warn_of_guessed_url(check.as_ref(), public_url.is_some());
        if ack == Some(Ack::Delivered) {
            self.warn_of_a_slow_answer(&wanted, longest);
        }
        let _ = check?;
        let Secrets { verifier, shadow, evidence, names: secret_names, first: _, capture } = secrets?;
        let verifier = verifier.map(Arc::new);
        Some(CorridorSettings {
            verifier,
            shadow,
            evidence,
            secret_names,
            provider: provider.map(|provider| Arc::clone(&provider.name)),
            challenges,
            redaction,
            pins,
            challenge_methods: self.challenge_methods(provider),
            capture,
            deliver_to: entries,
            ack: ack?,
            ack_status,
            ack_body,
            answer_from_app,
            dedupe,
            event_id,
            event_type,
            order_key,
            priorities,
            event_time: event_time.or_else(|| provider.and_then(|provider| provider.event_time.clone())),
            max_body,
            public_url,
            deliver_timeout: longest,
        })
    }

    /// The route's secrets and what they verify with; `None` = there are mistakes.
    fn secrets(&self, check: Option<&Check<'_>>, provider: Option<&Arc<Provider>>) -> Option<Secrets> {
        let value = self.table.get("secrets");
        let key = format!("routes.{}.secrets", self.name);
        let hands_over = provider.is_some_and(|provider| provider.handshakes.capture());
        let place = secrets::OfRoute {
            captured: hands_over.then(|| self.around.buffer.options.path.join("captured").join(self.name)),
        };
        let found = value.map(|value| (value, secrets::of_route(value, &key, self.context, &place)));
        match (check, found) {
            (Some(Check::Nothing), None) => Some(Secrets::default()),
            (Some(Check::Nothing), Some((value, _))) => {
                value.mistake("`secrets` mean nothing with verify = \"none\"", "leave one of them out");
                None
            }
            (Some(Check::Scheme { .. }), None) if self.table.is_misspelled("secrets") => None,
            (Some(Check::Scheme { .. }), None) => {
                let help = match hands_over {
                    true => {
                        "write secrets = [{ captured = \"1h\" }] to take the one that the provider hands over when \
                             the webhook is set up, or [{ env = \"NAME\" }]"
                    }
                    false => "write secrets = [{ env = \"NAME\" }]",
                };
                let message = format!("{} needs `secrets`", self.table.name);
                self.table.walk.mistake_of_whole(self.table.span(), message, help);
                None
            }
            (Some(Check::Scheme { scheme, .. }), Some((value, found))) => {
                match Secrets::of(scheme, found?, self.context) {
                    Ok(secrets) => Some(secrets),
                    Err(complaints) => {
                        complaints.into_iter().for_each(|complaint| value.mistake(complaint, ""));
                        None
                    }
                }
            }
            (None, _) => None,
        }
    }

    /// The provider's challenges and pins with what the route gives them.
    fn challenges(
        &self,
        check: Option<&Check<'_>>,
        provider: Option<&Arc<Provider>>,
        secrets: Option<&Secrets>,
    ) -> (Challenges, Vec<(Pin, Secret)>) {
        let none = Handshakes::default();
        let handshakes = provider.map_or(&none, |provider| &provider.handshakes);
        let settings = handshake::settings(self.name, self.table, provider.map(|one| &**one), self.context);
        let pins = handshake::pins(provider.map(|one| &**one), &settings);
        let key = match (check, secrets) {
            (Some(Check::Scheme { scheme, .. }), Some(Secrets { first: Some(secret), .. })) => {
                scheme.key_of(secret)
            }
            _ => None,
        };
        (handshakes.bind(Keys::new(key, settings)), pins)
    }

    /// The methods that the provider's challenges bring along, unless the route says which it takes.
    fn challenge_methods(&self, provider: Option<&Arc<Provider>>) -> Vec<String> {
        match provider {
            Some(provider) if self.table.get("methods").is_none() => provider.handshakes.methods(),
            _ => Vec::new(),
        }
    }

    fn ack(&self) -> Option<Ack> {
        let buffer = self.around.buffer;
        let Some(value) = self.table.get("ack") else { return Some(buffer.default_ack()) };
        match value.word(&["memory", "delivered", "durable"])? {
            "memory" => Some(Ack::Memory),
            "delivered" => Some(Ack::Delivered),
            _ if buffer.is_in_memory() => {
                value.mistake(
                    "ack = \"durable\" needs store = \"disk\": nothing is durable that waits in memory",
                    "write store = \"disk\" in [buffer], or here \"memory\" (lost if the process dies) or \
                     \"delivered\" (answered when the app has answered)",
                );
                None
            }
            _ => Some(Ack::Durable),
        }
    }

    fn answer(&self, ack: Option<Ack>) -> bool {
        let Some(value) = self.table.get("answer") else { return false };
        let from_app = value.word(&["hooklatch", "app"]) == Some("app");
        if from_app && ack.is_some_and(|ack| ack != Ack::Delivered) {
            value.mistake(
                "answer = \"app\" needs ack = \"delivered\": otherwise the sender is answered before the app is asked",
                "add ack = \"delivered\" to the route",
            );
        }
        from_app
    }

    /// `ack_status` and `ack_body`.
    fn ack_answer(&self, answer_from_app: bool, wanted: &WantedAnswer) -> (u16, Option<String>) {
        const LONGEST_BODY: usize = 64 << 10;
        let values = [("ack_status", self.table.get("ack_status")), ("ack_body", self.table.get("ack_body"))];
        if answer_from_app {
            for (key, value) in values.into_iter().filter_map(|(key, value)| Some((key, value?))) {
                value.mistake(format!("`{key}` means nothing with answer = \"app\""), "leave it out");
            }
            return (200, None);
        }
        let [(_, status_value), (_, body_value)] = values;
        let mut status = wanted.status.unwrap_or(200);
        set(&mut status, status_value.and_then(|value| u16::try_from(value.integer(200..=299)?).ok()));
        let body = body_value.and_then(|value| {
            let text = value.str("write a string; {id} in it stands for the event's id")?;
            if text.len() > LONGEST_BODY {
                value.mistake("an answer of more than 64KiB", "write a shorter one");
            } else if matches!(status, 204 | 205) && !text.is_empty() {
                let help = "write ack_body = \"\" or leave it out";
                value.mistake(format!("an answer of status {status} has no body"), help);
            }
            Some(text.to_owned())
        });
        (status, body.or_else(|| wanted.body.clone()))
    }

    pub(super) fn selector(&self, key: &'static str) -> Option<Selector> {
        dedupe::selectors(self.table.get(key)?, |text| Selector::parse(text).map(Some))
    }

    /// A selector whose value is logged and listed.
    fn shown_selector(&self, key: &'static str, redaction: &Redaction) -> Option<Selector> {
        dedupe::selectors(self.table.get(key)?, |text| match redaction.covers(text) {
            true => Err(format!("the secret itself stands at {text:?}, and `{key}` is logged and listed")),
            false => Selector::parse(text).map(Some),
        })
    }

    fn max_body(&self, provider: Option<&Arc<Provider>>) -> u64 {
        let inflight = self.around.server.max_inflight_bytes;
        let of_provider = provider.and_then(|provider| provider.max_body).unwrap_or(0);
        let mut max_body = self.around.server.max_body.max(of_provider.min(inflight));
        let Some(value) = self.table.get("max_body") else {
            if of_provider > inflight {
                self.table.walk.warn(
                    self.table.span(),
                    format!(
                        "{}: the provider sends up to {}, `server.max_inflight_bytes` allows {}",
                        self.table.name,
                        format_size(of_provider),
                        format_size(inflight)
                    ),
                    "raise `server.max_inflight_bytes`",
                );
            }
            return max_body;
        };
        set(&mut max_body, value.size());
        if max_body > inflight {
            value.mistake(
                format!(
                    "one body is larger than `server.max_inflight_bytes`, all bodies together ({})",
                    format_size(inflight)
                ),
                "raise `server.max_inflight_bytes`",
            );
        } else if self.around.buffer.is_in_memory() && max_body > self.around.buffer.options.max_bytes / 2 {
            value.walk.warn(
                value.span(),
                "a body of this size takes more than half of `buffer.max_bytes`; it may never find room",
                "raise `buffer.max_bytes`",
            );
        }
        max_body
    }

    /// A sender that waits less long than the app may take gives up first, and sends the event again.
    fn warn_of_a_slow_answer(&self, wanted: &WantedAnswer, timeout: Duration) {
        let Some(deadline) = wanted.deadline.filter(|deadline| timeout > *deadline) else { return };
        self.table.walk.warn(
            self.table.span(),
            format!(
                "{}: with ack = \"delivered\" the sender waits for the app, which may take {}; the provider waits {}",
                self.table.name,
                format_duration(timeout),
                format_duration(deadline)
            ),
            "lower the destination's `timeout`, or leave `ack` out",
        );
    }

    /// Behind TLS termination the URL that a request shows is not the one that the provider signed.
    fn warn_of_guessed_url(&self, check: Option<&Check<'_>>, is_set: bool) {
        let Some(Check::Scheme { scheme, .. }) = check else { return };
        if scheme.signs_url() && !is_set && self.around.server.public_url.is_none() {
            self.table.walk.warn(
                self.table.span(),
                format!(
                    "{}: the signature covers the public URL, which is taken from the request: behind TLS termination \
                     or a rewritten path no signature will match",
                    self.table.name
                ),
                "write public_url = \"https://…\" in [server] or in the route",
            );
        }
    }

    /// `sign = "provider"` of a destination needs a secret of this route that signs as the provider's own does.
    fn refuse_signing_again(&self, check: Option<&Check<'_>>, entries: &[DeliverTo]) {
        let why = match check {
            Some(Check::Scheme { scheme, .. }) if !scheme.has_private_key() => return,
            Some(Check::Scheme { .. }) => "its provider signs with a private key, which nobody else has",
            Some(Check::Nothing) => "the route checks no signature, so there is no secret to sign with",
            None => return,
        };
        let again = |name: &&Arc<str>| {
            self.around.destinations.get(&***name).is_some_and(|read| read.signs_as_provider)
        };
        for name in entries.iter().map(|entry| &entry.to).filter(again) {
            self.table.walk.mistake_of_whole(
                self.table.span(),
                format!("{}: `{name}` has sign = \"provider\", but {why}", self.table.name),
                format!("deliver to a destination without it, or write sign = [{{ env = \"NAME\" }}] in [destinations.{name}]"),
            );
        }
    }

    /// Apps whose own check refuses old timestamps refuse what is delivered late.
    fn warn_of_late_deliveries(&self, check: Option<&Check<'_>>, entries: &[DeliverTo]) {
        let Some(Check::Scheme { scheme, .. }) = check else { return };
        if !scheme.checks_time() {
            return;
        }
        for DeliverTo { to: name, .. } in entries {
            let Some(read) = self.around.destinations.get(&**name) else { continue };
            // Without waits nothing is delivered late; what is signed anew is checked anew.
            if read.signs || read.settings.as_ref().is_none_or(|settings| settings.retry_delays.is_empty()) {
                continue;
            }
            self.table.walk.warn(
                self.table.span(),
                format!(
                    "{}: the signature covers the time, so if `{name}` checks it too, it will refuse what is delivered late",
                    self.table.name
                ),
                format!("let `{name}` check the headers that `sign` adds: write sign = [{{ env = \"NAME\" }}] in [destinations.{name}]"),
            );
        }
    }
}

/// A route's secrets.
#[derive(Default)]
struct Secrets {
    /// `None` where nothing is checked.
    verifier: Option<Verifier>,
    shadow: Option<ShadowSecrets>,
    evidence: Option<Evidence>,
    /// Their names by position.
    names: Vec<Arc<str>>,
    first: Option<Secret>,
    capture: Option<Capture>,
}

impl Secrets {
    fn of(
        scheme: &Arc<Scheme>,
        found: Vec<secrets::Found>,
        context: &Context<'_>,
    ) -> Result<Self, Vec<String>> {
        let capture = found.iter().find_map(|found| found.awaited.clone());
        let (mut named, mut on_trial) = (Vec::new(), Vec::new());
        for (index, found) in found.into_iter().enumerate() {
            let Some(secret) = found.secret else { continue };
            let name = found.name.map_or_else(|| Arc::from((index + 1).to_string()), Arc::from);
            let list = if found.shadow { &mut on_trial } else { &mut named };
            list.push(NamedSecret { name, secret });
        }
        let names = |secrets: &[NamedSecret]| secrets.iter().map(|named| Arc::clone(&named.name)).collect();
        let shadow = match &on_trial[..] {
            [] => None,
            secrets => {
                let verifier = Verifier::new(Arc::clone(scheme), secrets)?;
                Some(ShadowSecrets { verifier, names: names(secrets) })
            }
        };
        // Of a secret that is still to be captured, as of those that are not read, nobody knows a value.
        let unknown = named.is_empty() && (capture.is_some() || !context.secrets.borrow().reads());
        let verifier = match unknown {
            true => Verifier::unread(Arc::clone(scheme)),
            false => Verifier::new(Arc::clone(scheme), &named)?,
        };
        Ok(Self {
            verifier: Some(verifier),
            names: names(&named),
            shadow,
            first: named.first().map(|named| named.secret.clone()),
            evidence: Some(Evidence { scheme: Arc::clone(scheme), secrets: named, shadow: on_trial }),
            capture,
        })
    }
}
