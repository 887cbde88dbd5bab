//! A front door with real rooms behind it, and senders that sign.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use crate::buffer::{Buffer, BufferOptions, BufferSettings, DeadReason, Delivery, MaxPending, Settled};
use crate::clock::{Clock, Millis};
use crate::dedupe::{Dedupe, DedupeOptions, DedupeSettings};
use crate::event::{Ack, Answer, AppReply, Attempt, Outcome};
use crate::headers::Headers;
use crate::ingress::corridor::{Confirmation, Ingress, Parts, Ticket};
use crate::ingress::parse::{Limits, parse};
use crate::ingress::{
    Action, CorridorSettings, DedupeRule, Evidence, Front, Head, PathPattern, Peer, Plan, Priorities,
    ProxySettings, Reply, RouteSettings, ServerOptions, ServerSettings, TrustedProxies, Upstream,
    UpstreamTls,
};
use crate::net::{AllowIps, Failovers, IpSet};
use crate::observe::{EventLog, Metrics};
use crate::secret::Secret;
use crate::select::{Message, Selector};
use crate::verify::{
    Challenges, HandshakeSpec, Handshakes, Keys, NamedSecret, Redaction, Scheme, SchemeSpec, SignatureSpec,
    TimestampSpec, Verifier, WhenSpec,
};

const NOW: Millis = Millis(1_768_473_000_000);

/// A log that a test can read.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(super) struct Rig {
    pub(super) ingress: Ingress,
    pub(super) clock: Clock,
    pub(super) dedupe: Arc<Dedupe>,
    pub(super) buffer: Buffer,
    pub(super) metrics: Arc<Metrics>,
    pub(super) confirmations: Mutex<tokio::sync::mpsc::Receiver<Confirmation>>,
    log: EventLog,
    lines: Lines,
}

#[derive(Clone, Copy)]
pub(super) enum Wants {
    Tcp(&'static str),
    Unix,
}

/// A request to come.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) id: Option<&'a str>,
    pub(super) body: &'a [u8],
    pub(super) more: &'a [(&'a str, &'a str)],
    /// Whether it says its type, `push`.
    pub(super) typed: bool,
    pub(super) sign: bool,
    pub(super) tamper: bool,
    pub(super) signed_at: Millis,
    pub(super) peer: Wants,
}

impl<'a> Sent<'a> {
    pub(super) fn event(id: &'a str) -> Self {
        Self {
            method: "POST",
            target: "/hooks//%61cme?a=%20b",
            id: Some(id),
            body: b"{\"a\":1}",
            more: &[],
            typed: true,
            sign: true,
            tamper: false,
            signed_at: NOW,
            peer: Wants::Tcp("203.0.113.9"),
        }
    }
}

fn scheme() -> Arc<Scheme> {
    let spec = SchemeSpec {
        algorithm: "hmac-sha256".to_owned(),
        signature: SignatureSpec { headers: vec!["X-Sig".to_owned()], ..SignatureSpec::default() },
        timestamp: Some(TimestampSpec { header: Some("X-Time".to_owned()), ..TimestampSpec::default() }),
        signed: vec!["{timestamp}.{body}".to_owned()],
        ..SchemeSpec::default()
    };
    Arc::new(Scheme::compile(&spec).unwrap())
}

fn named(secrets: &[(&str, &str)]) -> Vec<NamedSecret> {
    let named =
        |(name, secret): &(&str, &str)| NamedSecret { name: (*name).into(), secret: Secret::new(*secret) };
    secrets.iter().map(named).collect()
}

fn verifier(secrets: &[(&str, &str)]) -> Verifier {
    Verifier::new(scheme(), &named(secrets)).unwrap()
}

/// These addresses and no others.
pub(super) fn only<const N: usize>(addresses: [&str; N]) -> AllowIps {
    AllowIps { fixed: IpSet::parse(addresses).unwrap(), ..AllowIps::default() }
}

/// What makes a request a challenge, by a selector each.
pub(super) fn when(conditions: &[(&str, WhenSpec)]) -> Vec<(String, WhenSpec)> {
    conditions.iter().map(|(word, must)| ((*word).to_owned(), must.clone())).collect()
}

/// Challenges with the route's key and one setting, `verify_token = "open sesame"`.
pub(super) fn challenges(specs: &[HandshakeSpec]) -> Challenges {
    let settings = [("verify_token".to_owned(), Secret::new("open sesame"))].into();
    let key = scheme().key_of(&Secret::new("the secret"));
    Handshakes::compile(specs).unwrap().bind(Keys::new(key, settings))
}

fn corridor() -> CorridorSettings {
    let selector = |word| Selector::parse(word).unwrap();
    CorridorSettings {
        verifier: Some(Arc::new(verifier(&[("old", "another secret"), ("current", "the secret")]))),
        shadow: None,
        evidence: Some(Evidence {
            scheme: scheme(),
            secrets: named(&[("old", "another secret"), ("current", "the secret")]),
            shadow: Vec::new(),
        }),
        secret_names: vec!["old".into(), "current".into()],
        provider: Some("acme".into()),
        challenges: Challenges::default(),
        redaction: Redaction::default(),
        pins: Vec::new(),
        challenge_methods: Vec::new(),
        capture: None,
        deliver_to: vec!["app".into()],
        ack: Ack::Memory,
        ack_status: 200,
        ack_body: None,
        answer_from_app: false,
        dedupe: Some(DedupeRule {
            key: selector("header:X-Event-Id"),
            ttl: Duration::from_secs(3600),
            required: false,
        }),
        event_id: Some(selector("header:X-Event-Id")),
        event_type: Some(selector("header:X-Event-Type")),
        event_time: Some(selector("header:X-Event-Time")),
        order_key: None,
        priorities: Priorities::default(),
        max_body: 1000,
        public_url: None,
        deliver_timeout: Duration::from_secs(30),
    }
}

fn hook(corridor: CorridorSettings) -> RouteSettings {
    RouteSettings {
        name: "hook".into(),
        path: PathPattern::Exact("/hooks/acme".to_owned()),
        host: None,
        methods: Some(vec!["POST".to_owned()]),
        allow_ips: None,
        rate: None,
        rate_per_ip: None,
        action: Action::Deliver(Box::new(corridor)),
    }
}

pub(super) fn proxy(name: &str, path: PathPattern) -> RouteSettings {
    let settings = ProxySettings {
        upstreams: vec![Upstream::Tcp { host: "127.0.0.1".to_owned(), port: 9, tls: false }],
        destination: None,
        tls: UpstreamTls::default(),
        keep_host: true,
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(300),
        keepalive: Duration::from_secs(4),
        max_body: None,
    };
    RouteSettings {
        name: name.into(),
        path,
        host: None,
        methods: None,
        allow_ips: None,
        rate: None,
        rate_per_ip: None,
        action: Action::Proxy(settings),
    }
}

impl Rig {
    /// The usual one.
    pub(super) fn verifier() -> Verifier {
        verifier(&[("old", "another secret"), ("current", "the secret")])
    }

    /// One whose secret no sender has.
    pub(super) fn other_verifier() -> Verifier {
        verifier(&[("other", "nobody's")])
    }

    pub(super) fn new(change: impl FnOnce(&mut CorridorSettings)) -> Self {
        Self::build(100, change, |_| {}, |_| {})
    }

    pub(super) fn with_room_for(events: u64, change: impl FnOnce(&mut CorridorSettings)) -> Self {
        Self::build(events, change, |_| {}, |_| {})
    }

    pub(super) fn with_routes(change: impl FnOnce(&mut Vec<RouteSettings>)) -> Self {
        Self::build(100, |_| {}, change, |_| {})
    }

    pub(super) fn build(
        max_events: u64,
        change: impl FnOnce(&mut CorridorSettings),
        change_routes: impl FnOnce(&mut Vec<RouteSettings>),
        change_server: impl FnOnce(&mut ServerOptions),
    ) -> Self {
        let clock = Clock::manual(NOW);
        let metrics = Metrics::new();
        let lines = Lines::default();
        let log = EventLog::to(Box::new(lines.clone()), true, Arc::clone(&metrics));
        let dedupe =
            Dedupe::new(&DedupeSettings::new(DedupeOptions::default()).unwrap(), clock.clone(), [7; 16]);
        let options = BufferOptions { max_events, ..BufferOptions::memory() };
        let buffer =
            Buffer::memory(&BufferSettings::new(options).unwrap(), clock.clone(), Arc::clone(&metrics));
        buffer.set_destinations(&[
            ("app".into(), MaxPending::default()),
            ("other".into(), MaxPending::default()),
        ]);
        let mut options = ServerOptions {
            trusted_proxies: TrustedProxies { addresses: IpSet::parse(["10.0.0.0/8"]).unwrap(), unix: false },
            ..ServerOptions::default()
        };
        change_server(&mut options);
        let mut settings = corridor();
        change(&mut settings);
        let mut routes = vec![hook(settings)];
        change_routes(&mut routes);
        let (confirm, confirmations) = tokio::sync::mpsc::channel(2);
        let parts = Parts {
            clock: clock.clone(),
            dedupe: Arc::clone(&dedupe),
            buffer: buffer.clone(),
            confirmations: confirm,
            failovers: Failovers::default(),
            metrics: Arc::clone(&metrics),
            log: log.clone(),
        };
        let ingress = Ingress::new(parts, ServerSettings::new(options).unwrap(), routes).unwrap();
        let confirmations = Mutex::new(confirmations);
        Self { ingress, clock, dedupe, buffer, metrics, confirmations, log, lines }
    }

    pub(super) fn apply(&self, change: impl FnOnce(&mut CorridorSettings)) {
        let mut settings = corridor();
        change(&mut settings);
        self.ingress.apply(self.ingress.server(), vec![hook(settings)]).unwrap();
    }

    pub(super) fn apply_routes(&self, change: impl FnOnce(&mut Vec<RouteSettings>)) {
        let mut routes = vec![hook(corridor())];
        change(&mut routes);
        self.ingress.apply(self.ingress.server(), routes).unwrap();
    }

    /// Head, peer and body as the lower half hands them over.
    pub(super) fn request(&self, sent: &Sent<'_>) -> (Head, Peer, Bytes) {
        let mut lines: Vec<(String, String)> = vec![
            ("Host".to_owned(), "hooks.example".to_owned()),
            ("Content-Length".to_owned(), sent.body.len().to_string()),
            ("X-Event-Time".to_owned(), "2026-01-15T10:29:50Z".to_owned()),
        ];
        lines.extend(sent.typed.then(|| ("X-Event-Type".to_owned(), "push".to_owned())));
        lines.extend(sent.id.map(|id| ("X-Event-Id".to_owned(), id.to_owned())));
        lines.extend(sent.more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        if sent.sign {
            let none = Headers::default();
            let message = Message {
                method: sent.method,
                path: sent.target,
                query: None,
                url: "",
                headers: &none,
                body: sent.body,
            };
            let signed = verifier(&[("current", "the secret")]).sign(&message, "", sent.signed_at).unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            lines.extend(signed.headers.iter().map(|(name, value)| (text(name), text(value))));
        }
        let mut head = format!("{} {} HTTP/1.1\r\n", sent.method, sent.target);
        for (name, value) in lines {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let limits = Limits { head: 16_384, headers: 100, uri: 8192 };
        let head = parse(head.as_bytes(), limits, Instant::now()).unwrap().unwrap();
        let mut body = sent.body.to_vec();
        if sent.tamper {
            body.push(b' ');
        }
        let peer = match sent.peer {
            Wants::Tcp(ip) => Peer::Tcp((ip.parse::<std::net::IpAddr>().unwrap(), 40_000).into()),
            Wants::Unix => Peer::Unix,
        };
        (head, peer, body.into())
    }

    pub(super) fn plan(&self, sent: &Sent<'_>) -> Plan<Ticket> {
        let (head, peer, _) = self.request(sent);
        self.ingress.plan(&head, peer)
    }

    /// Plans and begins to answer; nothing is awaited yet.
    pub(super) fn answer(&self, sent: &Sent<'_>) -> impl Future<Output = Reply> {
        let (head, peer, body) = self.request(sent);
        let plan = self.ingress.plan(&head, peer);
        async move {
            match plan {
                Plan::Webhook { ticket, .. } => self.ingress.answer(ticket, Box::new(head), body).await,
                Plan::Refuse(reply) => reply,
                Plan::Proxy(_) => panic!("a pass-through has no answer of ours"),
            }
        }
    }

    pub(super) async fn send(&self, sent: &Sent<'_>) -> Reply {
        self.answer(sent).await
    }

    pub(super) fn take(&self, lane: &str) -> Vec<Delivery> {
        self.buffer.lane(lane).take(1000)
    }

    fn settle_all(&self, lane: &str, settled: Settled) {
        for delivery in self.take(lane) {
            self.settle(lane, &delivery, settled);
        }
    }

    fn settle(&self, lane: &str, delivery: &Delivery, settled: Settled) {
        let attempt = Attempt {
            number: 1,
            at: self.clock.now(),
            took: Duration::ZERO,
            answer: Answer::Status(500),
            region: None,
        };
        self.buffer.lane(lane).settle(delivery.event.id, settled, attempt, Bytes::new());
    }

    /// Delivers what was taken.
    pub(super) fn deliver_in_flight(&self, lane: &str, taken: &[Delivery]) {
        for delivery in taken {
            self.settle(lane, delivery, Settled::Delivered);
        }
    }

    pub(super) fn deliver_all(&self, lane: &str) {
        self.settle_all(lane, Settled::Delivered);
    }

    pub(super) fn kill_all(&self, lane: &str) {
        self.settle_all(lane, Settled::Dead(DeadReason::AttemptsExhausted));
    }

    /// Answers every event that a sender waits for at `lane`; how many.
    pub(super) fn express(&self, lane: &str, outcome: &Outcome) -> usize {
        let waiting: Vec<_> = self.take(lane).into_iter().filter_map(|delivery| delivery.express).collect();
        let count = waiting.len();
        for express in waiting {
            let _ = express.send(outcome.clone());
        }
        count
    }

    pub(super) fn accept_express(&self, lane: &str) -> usize {
        self.express(lane, &Outcome::Delivered { reply: app_reply(200) })
    }

    /// Lets every event that a sender waited for fall.
    pub(super) fn drop_express(&self, lane: &str) -> usize {
        self.take(lane).into_iter().filter(|delivery| delivery.express.is_some()).count()
    }

    pub(super) fn counted(&self, outcome: &str) -> u64 {
        self.metric(&format!("hooklatch_requests_total{{outcome=\"{outcome}\",route=\"hook\"}} "))
    }

    /// How often a limit was hit.
    pub(super) fn hits(&self, limit: &str) -> u64 {
        self.metric(&format!("hooklatch_limit_hits_total{{limit=\"{limit}\"}} "))
    }

    /// How many events went nowhere.
    pub(super) fn nowhere(&self) -> u64 {
        self.metric("hooklatch_events_nowhere_total{route=\"hook\"} ")
    }

    fn metric(&self, name: &str) -> u64 {
        let metrics = self.metrics.encode();
        metrics.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap_or(0)
    }

    pub(super) fn log_lines(&self) -> Vec<Value> {
        assert!(self.log.flush(Duration::from_secs(10)));
        let text = String::from_utf8(self.lines.0.lock().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(super) fn app_reply(status: u16) -> AppReply {
    let headers = Headers::from_pairs([("content-type", "text/xml"), ("x-app", "1")]);
    AppReply { status, headers, body: Bytes::from_static(b"<Response/>") }
}

pub(super) fn json(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_default()
}

pub(super) fn word(reply: &Reply) -> String {
    json(reply)["error"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn outcome(reply: &Reply) -> String {
    String::from_utf8(reply.headers.get("hooklatch-outcome").unwrap_or_default().to_vec()).unwrap()
}
