//! What the user can set about the front door: the server and its routes.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::upstream_tls::UpstreamTls;
use crate::clock::Millis;
use crate::event::{Ack, ByClass, Priority, TypePattern};
use crate::net::{AllowIps, Change, IpSet};
use crate::secret::Secret;
use crate::select::Selector;
use crate::units::{Invalid, Rate};
use crate::verify::{Challenges, NamedSecret, Pin, Redaction, Scheme, Verifier};

/// Where the front door listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `host:port`, resolved when bound.
    Tcp(String),
    /// A unix socket.
    Unix(PathBuf),
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: ListenAddress,
    /// The mode of a socket's file; `None` leaves it to the umask.
    pub mode: Option<u32>,
}

/// Whose word about the client's address is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Peers by address; `"@private"` is already spelled out here.
    pub addresses: IpSet,
    /// Peers of unix sockets.
    pub unix: bool,
}

/// `[server]` as typed; its default is the documented one.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Accept threads; 0 = one a core.
    pub workers: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Whole-head deadline.
    pub header_timeout: Duration,
    /// Whole-body deadline of webhook routes.
    pub body_timeout: Duration,
    /// Idle time of a connection.
    pub keepalive_timeout: Duration,
    /// Largest head, bytes.
    pub max_head: usize,
    /// Most header lines.
    pub max_headers: usize,
    /// Longest request target, bytes.
    pub max_uri: usize,
    /// Bodies being read, over all connections, bytes.
    pub max_inflight_bytes: u64,
    /// An event that is not kept by then is answered 503.
    pub ack_timeout: Duration,
    /// Largest body of a webhook, bytes, where neither route nor provider says otherwise.
    pub max_body: u64,
    /// Peers whose `client_ip_header` is believed.
    pub trusted_proxies: TrustedProxies,
    /// The one header that is read, lower case.
    pub client_ip_header: String,
    /// Scheme and host that providers sign, without a path; `None` = from the request.
    pub public_url: Option<String>,
    /// How long a stop still accepts.
    pub shutdown_delay: Duration,
    /// How long it then waits for work in flight.
    pub drain_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            listeners: vec![Listener {
                address: ListenAddress::Tcp("127.0.0.1:8080".to_owned()),
                mode: None,
            }],
            workers: 0,
            max_connections: 10_000,
            header_timeout: seconds(10),
            body_timeout: seconds(30),
            keepalive_timeout: seconds(75),
            max_head: 16 << 10,
            max_headers: 100,
            max_uri: 8 << 10,
            max_inflight_bytes: 256 << 20,
            ack_timeout: seconds(5),
            max_body: 1 << 20,
            trusted_proxies: TrustedProxies::default(),
            client_ip_header: "x-forwarded-for".to_owned(),
            public_url: None,
            shutdown_delay: Duration::ZERO,
            drain_timeout: seconds(20),
        }
    }
}

/// Valid [`ServerOptions`].
#[derive(Clone, Debug)]
pub struct ServerSettings(Arc<ServerOptions>);

impl ServerSettings {
    /// Checks `options`.
    ///
    /// # Errors
    /// Every key that cannot be worked with.
    pub fn new(options: ServerOptions) -> Result<Self, Vec<Invalid>> {
        let mut invalid = Vec::new();
        for (key, value) in [
            ("header_timeout", options.header_timeout),
            ("body_timeout", options.body_timeout),
            ("keepalive_timeout", options.keepalive_timeout),
            ("ack_timeout", options.ack_timeout),
        ] {
            if value.is_zero() {
                invalid.push(Invalid::new(
                    key,
                    "a deadline of zero would refuse everything",
                    "write a duration like \"10s\"",
                ));
            }
        }
        if options.max_connections == 0 {
            invalid.push(Invalid::new(
                "max_connections",
                "0 connections would serve nobody",
                "write 1 or more",
            ));
        }
        if options.max_headers == 0 {
            invalid.push(Invalid::new(
                "max_headers",
                "a request has at least a Host header",
                "write 1 or more",
            ));
        }
        if options.max_head < 1024 {
            invalid.push(Invalid::new(
                "max_head",
                "no provider's head fits into less than 1KiB",
                "write \"16KiB\"",
            ));
        }
        if options.max_uri == 0 || options.max_uri > options.max_head {
            invalid.push(Invalid::new(
                "max_uri",
                "the target is a part of the head",
                "write a size of at most `max_head`",
            ));
        }
        if options.max_body > options.max_inflight_bytes {
            invalid.push(Invalid::new(
                "max_body",
                "one body is larger than `max_inflight_bytes`, all bodies together",
                "raise `server.max_inflight_bytes`",
            ));
        }
        if invalid.is_empty() { Ok(Self(Arc::new(options))) } else { Err(invalid) }
    }
}

impl std::ops::Deref for ServerSettings {
    type Target = ServerOptions;

    fn deref(&self) -> &ServerOptions {
        &self.0
    }
}

/// Which paths a route answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// This path, normalised.
    Exact(String),
    /// This path and everything below; `/*` is `""`.
    Prefix(String),
}

/// `[routes.NAME]`, checked: built by `config`, which has looked up its provider and read its secrets.
#[derive(Debug)]
pub struct RouteSettings {
    /// Its name.
    pub name: Arc<str>,
    /// Which paths.
    pub path: PathPattern,
    /// Which host, lower case without port; `None` = any.
    pub host: Option<String>,
    /// Which methods; `None` = all.
    pub methods: Option<Vec<String>>,
    /// Which clients; `None` = any.
    pub allow_ips: Option<AllowIps>,
    /// How many requests it takes; `None` = any number.
    pub rate: Option<Rate>,
    /// How many of them from one client.
    pub rate_per_ip: Option<Rate>,
    /// What it does.
    pub action: Action,
}

/// What a route does with a request.
#[derive(Debug)]
pub enum Action {
    /// Checks it, keeps it, answers.
    Deliver(Box<CorridorSettings>),
    /// Streams it through.
    Proxy(ProxySettings),
}

/// The settings of the corridor of one `deliver_to` route.
#[derive(Debug)]
pub struct CorridorSettings {
    /// Checks the signature; `None` = `verify = "none"`.
    pub verifier: Option<Arc<Verifier>>,
    /// Checks with the secrets that are on trial: counted, not accepted.
    pub shadow: Option<ShadowSecrets>,
    /// What it checks with, for whoever explains a refusal; `None` = `verify = "none"`.
    pub evidence: Option<Evidence>,
    /// The names of its secrets by their position, for `hooklatch_secret_hits_total`.
    pub secret_names: Vec<Arc<str>>,
    /// The provider's name.
    pub provider: Option<Arc<str>>,
    /// The provider's challenges.
    pub challenges: Challenges,
    /// Where a secret stands in its requests.
    pub redaction: Redaction,
    /// What must stand in each request that verified.
    pub pins: Vec<(Pin, Secret)>,
    /// Methods that the route takes for challenges alone.
    pub challenge_methods: Vec<String>,
    /// The provider is to hand over the secret.
    pub capture: Option<Capture>,
    /// Where its events go, at least one destination; none twice.
    pub deliver_to: Vec<DeliverTo>,
    /// When the sender gets its 2xx.
    pub ack: Ack,
    /// The status of that answer.
    pub ack_status: u16,
    /// Its body, with `{id}` for the event's id; `None` = the documented one.
    pub ack_body: Option<String>,
    /// `answer = "app"`: the destination's answer goes back.
    pub answer_from_app: bool,
    /// Deduplication; `None` = off.
    pub dedupe: Option<DedupeRule>,
    /// Where the event's id stands.
    pub event_id: Option<Selector>,
    /// Where its type stands.
    pub event_type: Option<Selector>,
    /// Where its own time stands.
    pub event_time: Option<Selector>,
    /// What has to be equal of events that are delivered one after the other; `None` = in any order.
    pub order_key: Option<Selector>,
    /// Which events go first.
    pub priorities: Priorities,
    /// Largest body, bytes.
    pub max_body: u64,
    /// The whole URL the provider signed; `None` = `server.public_url` and the request's target.
    pub public_url: Option<String>,
    /// `ack = "delivered"`: the longest of the destinations' time-outs, after which the sender gets 504.
    pub deliver_timeout: Duration,
}

impl CorridorSettings {
    /// What is known of a request that the route takes.
    #[must_use]
    pub fn proof(&self) -> Proof {
        match &self.verifier {
            Some(verifier) if verifier.scheme().binds_body() => Proof::Verified,
            Some(_) => Proof::Authenticated,
            None => Proof::Unchecked,
        }
    }
}

/// What is known of a request that a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Its signature vouches for its sender and its body.
    Verified,
    /// For its sender alone: a token, HTTP Basic, or a signature that leaves the body out.
    Authenticated,
    /// Nothing: `verify = "none"`.
    Unchecked,
}

impl Proof {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Authenticated => "authenticated",
            Self::Unchecked => "unchecked",
        }
    }
}

/// Secrets on trial.
#[derive(Debug)]
pub struct ShadowSecrets {
    /// Checks with them.
    pub verifier: Verifier,
    /// Their names by position.
    pub names: Vec<Arc<str>>,
}

/// What the requests of a route are checked with.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The scheme.
    pub scheme: Arc<Scheme>,
    /// The secrets that are accepted.
    pub secrets: Vec<NamedSecret>,
    /// The secrets on trial.
    pub shadow: Vec<NamedSecret>,
}

/// A secret that the provider hands over in a challenge, to a route that has none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Where it is kept.
    pub file: PathBuf,
    /// Until when it is taken.
    pub until: Millis,
}

/// A destination of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverTo {
    /// Its name.
    pub to: Arc<str>,
    /// Only events of these types; empty: all, those without a type included.
    pub types: Vec<TypePattern>,
    /// An event is accepted even if there is no room for it here.
    pub optional: bool,
}

impl DeliverTo {
    /// Whether it gets an event of this type.
    #[must_use]
    pub fn takes(&self, event_type: Option<&str>) -> bool {
        self.types.is_empty()
            || event_type.is_some_and(|event_type| self.types.iter().any(|types| types.matches(event_type)))
    }
}

impl From<&str> for DeliverTo {
    /// All events.
    fn from(name: &str) -> Self {
        Self { to: name.into(), types: Vec::new(), optional: false }
    }
}

/// The classes of a route's events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Priorities {
    /// Of these types are the events of each class.
    pub by_type: ByClass<Vec<TypePattern>>,
    /// The class of all others.
    pub otherwise: Priority,
}

impl Priorities {
    /// The class of an event of this type: the first that names it.
    #[must_use]
    pub fn of(&self, event_type: Option<&str>) -> Priority {
        let named = |types: &[TypePattern]| {
            event_type.is_some_and(|event_type| types.iter().any(|types| types.matches(event_type)))
        };
        let first = self.by_type.iter().find(|(_, types)| named(types));
        first.map_or(self.otherwise, |(class, _)| class)
    }
}

/// How one route tells two events apart.
#[derive(Clone, Debug)]
pub struct DedupeRule {
    /// What makes an event's key.
    pub key: Selector,
    /// How long it is remembered.
    pub ttl: Duration,
    /// Whether an event without a key is refused.
    pub required: bool,
}

/// Where a `proxy_to` route streams to.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// The app, at one place or, the preferred one first, at several of which one is gone to; at least one.
    pub upstreams: Vec<Upstream>,
    /// The destination that these are, where they are one: who delivers there knows of them, too.
    pub destination: Option<Arc<str>>,
    /// Of the upstreams that speak it.
    pub tls: UpstreamTls,
    /// `Host` as the sender wrote it (the default for http and unix), or the upstream's own.
    pub keep_host: bool,
    /// No connection by then: 502.
    pub connect_timeout: Duration,
    /// Nothing read or written for so long ends it.
    pub idle_timeout: Duration,
    /// How long idle connections to the app are kept.
    pub keepalive: Duration,
    /// Largest body; `None` = any.
    pub max_body: Option<u64>,
}

impl ProxySettings {
    /// Says in the log what became of the upstream at `position`.
    pub(super) fn note(&self, position: usize, change: Change) {
        // Of a single one there is nothing to say that the requests themselves do not.
        let Some(upstream) = self.upstreams.get(position).filter(|_| self.upstreams.len() > 1) else {
            return;
        };
        match change {
            Change::None => {}
            Change::WentDown => {
                tracing::warn!(%upstream, "an app cannot be reached; requests go to the next one in `regions`");
            }
            Change::CameBack => tracing::info!(%upstream, "an app can be reached again"),
        }
    }
}

/// The address of a pass-through's app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Over TCP; a literal address, resolved beforehand only if it is one.
    Tcp {
        /// A name or an address literal, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whether TLS is spoken.
        tls: bool,
    },
    /// Over a unix socket.
    Unix(PathBuf),
}

/// As a URL.
impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, tls } => {
                let scheme = if *tls { "https" } else { "http" };
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "{scheme}://{open}{host}{close}:{port}")
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The peer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Over a unix socket.
    Unix,
}
