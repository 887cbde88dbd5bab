//! A route as requests meet it: everything resolved beforehand that can be.

use std::sync::Arc;
use std::time::Duration;

use super::Parts;
use super::ack::AckBody;
use super::rates::{Limiter, Rates};
use super::strangers::{Listed, Strangers};
use crate::buffer::{Lane, To};
use crate::clock::Millis;
use crate::event::Ack;
use crate::ingress::client_ip::Client;
use crate::ingress::head::Head;
use crate::ingress::refusal::Refusal;
use crate::ingress::settings::{
    Action, CorridorSettings, DeliverTo, PathPattern, Proof, ProxySettings, RouteSettings, ServerSettings,
    Upstream,
};
use crate::net::{AllowIps, Failover, IpListView};
use crate::observe::{RouteMetrics, SecretMetrics};
use crate::secret::Secret;
use crate::select::Message;
use crate::verify::Pin;

/// One route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: Arc<str>,
    pub(super) metrics: RouteMetrics,
    pub(super) kind: Kind,
    pub(super) rates: Rates,
    path: PathPattern,
    host: Option<String>,
    methods: Option<Vec<String>>,
    allow_ips: Option<AllowIps>,
    pub(super) strangers: Strangers,
}

#[derive(Debug)]
pub(super) enum Kind {
    Deliver(Box<Corridor>),
    Proxy(Arc<ProxySettings>, Arc<Failover>),
}

/// The corridor of a `deliver_to` route.
#[derive(Debug)]
pub(super) struct Corridor {
    pub(super) settings: CorridorSettings,
    /// One for each entry of `settings.deliver_to`.
    lanes: Vec<Lane>,
    pub(super) secrets: Vec<SecretMetrics>,
    /// Of the secrets on trial, by position.
    shadow: Vec<SecretMetrics>,
    pub(super) ack_body: AckBody,
    /// How long a sender waits for its answer at most.
    pub(super) patience: Duration,
    /// The dedupe key is the event's id: one look into the request is enough for both.
    pub(super) key_is_event_id: bool,
    /// Scheme and host that providers sign, without a `/` at the end.
    pub(super) public_base: Option<Box<str>>,
}

impl Route {
    /// `old` is the route of the same name before a reload.
    pub(super) fn build(
        route: RouteSettings,
        server: &ServerSettings,
        parts: &Parts,
        limiter: &Limiter,
        old: Option<&Self>,
    ) -> Self {
        let RouteSettings { name, path, host, methods, allow_ips, rate, rate_per_ip, action } = route;
        let rates = Rates::new(rate, rate_per_ip, limiter, old.map(|old| &old.rates));
        let kind = match action {
            Action::Deliver(settings) => {
                Kind::Deliver(Box::new(Corridor::build(&name, *settings, server, parts)))
            }
            Action::Proxy(settings) => {
                let failover = failover(&settings, parts, old);
                Kind::Proxy(Arc::new(settings), failover)
            }
        };
        Self {
            metrics: parts.metrics.route(&name),
            name,
            rates,
            path,
            host,
            methods,
            allow_ips,
            strangers: Strangers::default(),
            kind,
        }
    }

    /// Whether a client may come in by its address.
    pub(super) fn listed(&self, client: &Client) -> Listed {
        match (&self.allow_ips, &self.kind) {
            (None, _) => Listed::Yes,
            (Some(allow), _) if allow.has(client.ip) => Listed::Yes,
            (Some(allow), Kind::Deliver(_)) if allow.shadow => Listed::InShadow,
            // A published list may be behind: who signs right all the same is looked for among the refused.
            (Some(allow), Kind::Deliver(corridor))
                if !allow.lists.is_empty()
                    && corridor.settings.verifier.is_some()
                    && self.strangers.one_more() =>
            {
                Listed::NoButLookedAt
            }
            _ => Listed::No,
        }
    }

    /// Whether a client of this address comes in at all, counted or not.
    pub(super) fn takes_address_of(&self, client: &Client) -> bool {
        self.allow_ips.as_ref().is_none_or(|allow| allow.shadow || allow.has(client.ip))
    }

    /// Why a request is refused before its body is read; `None` where it is not.
    pub(super) fn refusal_of(
        &self,
        listed: Listed,
        client: &Client,
        head: &Head,
        limiter: &Limiter,
    ) -> Option<Refusal> {
        if listed == Listed::No {
            return Some(Refusal::ip_not_allowed());
        }
        if let Some(refusal) = self.rates.refusal_of(client.ip, limiter, head.started()) {
            return Some(refusal);
        }
        if head.has_underscored_names() && matches!(self.kind, Kind::Deliver(_)) {
            let name = head.headers().iter().map(|(name, _)| name).find(|name| name.contains(&b'_'));
            return Some(Refusal::underscored_name(
                name.map(|name| String::from_utf8_lossy(name).into_owned()),
            ));
        }
        None
    }

    /// The methods of events, as `Allow` lists them: those that are not there for challenges alone.
    pub(super) fn event_methods(&self) -> String {
        let alone = match &self.kind {
            Kind::Deliver(corridor) => &corridor.settings.challenge_methods[..],
            Kind::Proxy(..) => &[],
        };
        let methods = self.methods.iter().flatten().filter(|method| !alone.contains(method));
        methods.map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// When its senders get their 2xx; `None` where the app itself answers.
    pub(super) fn ack_word(&self) -> Option<&'static str> {
        match &self.kind {
            Kind::Deliver(corridor) => Some(corridor.settings.ack.as_str()),
            Kind::Proxy(..) => None,
        }
    }

    pub(super) fn view(&self) -> RouteView {
        let (PathPattern::Exact(path) | PathPattern::Prefix(path)) = &self.path;
        let below = if matches!(self.path, PathPattern::Prefix(_)) { "/*" } else { "" };
        let action = match &self.kind {
            Kind::Deliver(corridor) => ActionView::Deliver(corridor.view()),
            Kind::Proxy(proxy, _) => {
                let places: Vec<String> = proxy.upstreams.iter().map(Upstream::to_string).collect();
                ActionView::Proxy(places.join(", "))
            }
        };
        RouteView {
            name: Arc::clone(&self.name),
            path: format!("{path}{below}"),
            host: self.host.clone(),
            methods: self.methods.clone(),
            allow_ips: self.allow_ips.as_ref().map(|allow| AllowIpsView {
                fixed: allow.fixed.len(),
                lists: allow.lists.iter().map(|list| list.view()).collect(),
                shadow: allow.shadow,
            }),
            action,
        }
    }
}

/// What is known of the upstreams stays known where they stay the same, and is shared with who delivers there.
fn failover(settings: &ProxySettings, parts: &Parts, old: Option<&Route>) -> Arc<Failover> {
    if let Some(destination) = &settings.destination {
        let places = settings.upstreams.iter().map(Upstream::to_string).collect();
        return parts.failovers.of(destination, places);
    }
    match old.map(|old| &old.kind) {
        Some(Kind::Proxy(before, failover)) if before.upstreams == settings.upstreams => Arc::clone(failover),
        _ => Arc::new(Failover::new(settings.upstreams.len())),
    }
}

impl Corridor {
    /// Counts a request that a secret on trial verifies; nothing else comes of it.
    pub(super) fn try_shadow(&self, message: &Message<'_>, now: Millis) {
        let Some(shadow) = &self.settings.shadow else { return };
        let verified = shadow.verifier.verify(message, now).ok();
        if let Some(secret) = verified.and_then(|verified| self.shadow.get(verified.secret)) {
            secret.hit(now);
        }
    }

    /// What in a request of the provider is another customer's.
    pub(super) fn foreign(&self, message: &Message<'_>) -> Option<&Pin> {
        let differs = |(pin, value): &&(Pin, Secret)| {
            !pin.at.extract(message).is_some_and(|found| value.matches(found.as_bytes()))
        };
        self.settings.pins.iter().find(differs).map(|(pin, _)| pin)
    }

    fn secrets(&self) -> Vec<SecretView> {
        let settings = &self.settings;
        let view = |shadow: bool| {
            move |(name, metrics): (&Arc<str>, &SecretMetrics)| SecretView {
                name: Arc::clone(name),
                shadow,
                hits: metrics.hits(),
                last_match: metrics.last_hit(),
                longest_gap: metrics.longest_gap(),
            }
        };
        let accepted = settings.secret_names.iter().zip(&self.secrets).map(view(false));
        let names = settings.shadow.iter().flat_map(|shadow| &shadow.names);
        accepted.chain(names.zip(&self.shadow).map(view(true))).collect()
    }

    /// Where an event of this type goes.
    pub(super) fn destinations<'c>(
        &'c self,
        event_type: Option<&'c str>,
    ) -> impl Iterator<Item = To<'c>> + Clone {
        let all = self.settings.deliver_to.iter().zip(&self.lanes);
        all.filter(move |(entry, _)| entry.takes(event_type))
            .map(|(entry, lane)| To { lane, optional: entry.optional })
    }

    fn view(&self) -> CorridorView {
        let settings = &self.settings;
        CorridorView {
            provider: settings.provider.clone(),
            proof: settings.proof(),
            ack: settings.ack,
            dedupe: settings.dedupe.is_some(),
            deliver_to: settings.deliver_to.clone(),
            secrets: self.secrets(),
            awaits_secret_until: settings.capture.as_ref().map(|capture| capture.until),
        }
    }

    fn build(name: &str, settings: CorridorSettings, server: &ServerSettings, parts: &Parts) -> Self {
        let rule_key = settings.dedupe.as_ref().map(|rule| &rule.key);
        Self {
            lanes: settings.deliver_to.iter().map(|entry| parts.buffer.lane(&entry.to)).collect(),
            secrets: settings.secret_names.iter().map(|secret| parts.metrics.secret(name, secret)).collect(),
            shadow: settings
                .shadow
                .iter()
                .flat_map(|shadow| &shadow.names)
                .map(|secret| parts.metrics.secret(name, secret))
                .collect(),
            ack_body: AckBody::new(settings.ack_body.as_deref()),
            patience: match settings.ack {
                Ack::Delivered => settings.deliver_timeout,
                Ack::Memory | Ack::Durable => server.ack_timeout,
            },
            key_is_event_id: rule_key.is_some() && rule_key == settings.event_id.as_ref(),
            public_base: server.public_url.as_deref().map(|url| url.trim_end_matches('/').into()),
            settings,
        }
    }
}

/// What the admin API shows of a route.
#[derive(Clone, Debug)]
pub struct RouteView {
    /// Its name.
    pub name: Arc<str>,
    /// Its path as configured.
    pub path: String,
    /// Its host; `None` = any.
    pub host: Option<String>,
    /// Its methods; `None` = all.
    pub methods: Option<Vec<String>>,
    /// Which clients; `None` = any.
    pub allow_ips: Option<AllowIpsView>,
    /// What it does.
    pub action: ActionView,
}

/// The clients that a route takes.
#[derive(Clone, Debug)]
pub struct AllowIpsView {
    /// How many ranges are configured.
    pub fixed: usize,
    /// The providers' lists.
    pub lists: Vec<IpListView>,
    /// Others come in, too.
    pub shadow: bool,
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum ActionView {
    /// Checks, keeps, delivers.
    Deliver(CorridorView),
    /// Streams through to this upstream; of several the preferred one stands first.
    Proxy(String),
}

/// One secret of a route, without its value.
#[derive(Clone, Debug)]
pub struct SecretView {
    /// Its name, or its position from 1.
    pub name: Arc<str>,
    /// It is on trial.
    pub shadow: bool,
    /// Requests that it verified since the process started.
    pub hits: u64,
    /// When the last of them came.
    pub last_match: Option<Millis>,
    /// The longest time between two of them.
    pub longest_gap: Duration,
}

/// The corridor of a `deliver_to` route.
#[derive(Clone, Debug)]
pub struct CorridorView {
    /// The provider's name.
    pub provider: Option<Arc<str>>,
    /// What is known of its requests.
    pub proof: Proof,
    /// When a sender gets its 2xx.
    pub ack: Ack,
    /// Whether event ids are remembered.
    pub dedupe: bool,
    /// Where its events go.
    pub deliver_to: Vec<DeliverTo>,
    /// Its secrets, those on trial at the end.
    pub secrets: Vec<SecretView>,
    /// Until when its provider may hand over the secret.
    pub awaits_secret_until: Option<Millis>,
}
