//! What the user can set about a destination.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::batch::{self, BatchOptions};
use super::request::{RequestTemplate, Unsendable, added_header, signing_key};
use super::retry::RetryOn;
use crate::buffer::MaxPending;
use crate::event::Region;
use crate::headers::HOP_BY_HOP;
use crate::net::TlsSettings;
use crate::secret::Secret;
use crate::units::{Invalid, Rate};

/// Where a destination listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Plain HTTP over TCP.
    Http {
        /// A name or an address literal, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// HTTP over TLS.
    Https {
        /// A name or an address literal, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// HTTP over a unix socket.
    Unix {
        /// The socket's file.
        path: PathBuf,
    },
}

/// As a URL, the port always with it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Http { host, port } => ("http", host, port),
            Self::Https { host, port } => ("https", host, port),
            Self::Unix { path } => return write!(f, "unix:{}", path.display()),
        };
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{host}{close}:{port}")
    }
}

/// The `Host` header that the app sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostRule {
    /// The one the sender used.
    Keep,
    /// The destination's own.
    Destination,
}

/// What a 410 means beside the end of its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGone {
    /// Nothing: the event is dead, the next one is tried.
    Dead,
    /// The destination is paused, until somebody resumes it.
    Pause,
}

/// One of a destination's places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name among the `regions`; `None` where there is only a `url`.
    pub region: Option<Region>,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The path of its URL where it has one other than `/`.
    pub path: Option<String>,
}

/// The value of a header added to each delivery.
#[derive(Clone, Debug)]
pub enum HeaderValueSetting {
    /// As written.
    Plain(String),
    /// From a secret.
    Secret(Secret),
}

/// `[destinations.NAME]` as typed; the defaults are the documented ones.
#[derive(Clone, Debug)]
pub struct DestinationOptions {
    /// Its name.
    pub name: Arc<str>,
    /// From `url`; without meaning where there are `regions`.
    pub endpoint: Endpoint,
    /// The path of `url` where it has one other than `/`: it replaces the request's own.
    pub path: Option<String>,
    /// `regions`, the preferred one first; none where there is a `url`.
    pub regions: Vec<Place>,
    /// `host`; `None` = keep for http and unix, destination for https.
    pub host: Option<HostRule>,
    /// Of one attempt.
    pub timeout: Duration,
    /// Of one connection.
    pub connect_timeout: Duration,
    /// Requests in flight.
    pub concurrency: u32,
    /// Added to each delivery.
    pub headers: Vec<(String, HeaderValueSetting)>,
    /// Whom to trust over TLS, and who we say we are.
    pub tls: TlsSettings,
    /// Secrets of the Standard Webhooks signatures that are added, as typed (`whsec_…` or plain text).
    pub sign: Vec<Secret>,
    /// `sign = "provider"`: signed anew as the provider would, with the first secret of the event's route.
    pub sign_as_provider: bool,
    /// The waits between attempts: one more attempt than there are waits.
    pub retry_delays: Vec<Duration>,
    /// Each wait is lengthened or shortened at random by up to this share, 0 to 1.
    pub retry_jitter: f64,
    /// A bound of its own inside the buffer.
    pub max_pending: MaxPending,
    /// How long an idle connection is kept.
    pub keepalive: Duration,
    /// Most requests as they leave; none where it is as fast as the destination answers.
    pub rate: Option<Rate>,
    /// How many of them may leave at once: never more than rate + burst − 1 in any second.
    pub burst: u32,
    /// Which answers are worth another attempt.
    pub retry_on: RetryOn,
    /// How old an event may become, counted while its lane was open.
    pub max_age: Duration,
    /// Failures in a row, of different events, that trip the breaker.
    pub breaker_failures: u32,
    /// How long a tripped breaker waits before each probe.
    pub probe_after: Duration,
    /// What a 410 means.
    pub on_gone: OnGone,
    /// Several events in one request; `None` where each has its own.
    pub batch: Option<BatchOptions>,
    /// Names it had before: what is pending under them is delivered here.
    pub formerly: Vec<Arc<str>>,
}

impl DestinationOptions {
    /// `[destinations.NAME]` with nothing but a url.
    #[must_use]
    pub fn new(name: Arc<str>, endpoint: Endpoint) -> Self {
        let seconds = Duration::from_secs;
        Self {
            name,
            endpoint,
            path: None,
            regions: Vec::new(),
            host: None,
            timeout: seconds(30),
            connect_timeout: seconds(5),
            concurrency: 8,
            headers: Vec::new(),
            tls: TlsSettings::default(),
            sign: Vec::new(),
            sign_as_provider: false,
            retry_delays: [1, 5, 12, 25, 300, 1800, 7200, 18_000, 43_200].map(seconds).to_vec(),
            retry_jitter: 0.2,
            max_pending: MaxPending::default(),
            keepalive: seconds(4),
            rate: None,
            burst: 1,
            retry_on: RetryOn::Any,
            max_age: seconds(72 * 3600),
            breaker_failures: 10,
            probe_after: seconds(30),
            on_gone: OnGone::Dead,
            batch: None,
            formerly: Vec::new(),
        }
    }
}

impl DestinationOptions {
    /// Where the destination is, the preferred place first; at least one.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        if !self.regions.is_empty() {
            return self.regions.clone();
        }
        vec![Place { region: None, endpoint: self.endpoint.clone(), path: self.path.clone() }]
    }
}

/// Valid [`DestinationOptions`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DestinationSettings {
    options: Arc<DestinationOptions>,
    /// One a place.
    templates: Arc<[RequestTemplate]>,
}

impl DestinationSettings {
    /// Checks `options`.
    ///
    /// # Errors
    /// Every key that cannot be worked with.
    pub fn new(options: DestinationOptions) -> Result<Self, Vec<Invalid>> {
        let mut invalid = check_numbers(&options);
        invalid.extend(options.places().iter().filter_map(check_path));
        invalid.extend(check_tls(&options));
        invalid.extend(options.headers.iter().filter_map(|(name, value)| check_header(name, value)));
        invalid.extend(options.sign.iter().filter_map(check_signing));
        invalid.extend(batch::complaints(&options));
        if !invalid.is_empty() {
            return Err(invalid);
        }
        let templates = options
            .places()
            .iter()
            .map(|place| RequestTemplate::new(&options, place))
            .collect::<Result<_, _>>()
            .map_err(|Unsendable(reason)| vec![Invalid::new("url", reason, "")])?;
        Ok(Self { options: Arc::new(options), templates })
    }

    /// What all requests to one place of this destination have in common, by its position.
    pub(super) fn template(&self, position: usize) -> Option<&RequestTemplate> {
        self.templates.get(position)
    }
}

fn check_numbers(options: &DestinationOptions) -> Vec<Invalid> {
    let mut invalid = Vec::new();
    if options.timeout.is_zero() {
        invalid.push(Invalid::new("timeout", "no app answers in no time", "write a duration like \"30s\""));
    }
    if options.connect_timeout.is_zero() {
        invalid.push(Invalid::new(
            "connect_timeout",
            "no connection opens in no time",
            "write a duration like \"5s\"",
        ));
    }
    if options.concurrency == 0 {
        invalid.push(Invalid::new(
            "concurrency",
            "0 requests in flight would deliver nothing",
            "write 1 or more",
        ));
    }
    if !(0.0..=1.0).contains(&options.retry_jitter) {
        invalid.push(Invalid::new(
            "retry.jitter",
            "the jitter is a share of the wait",
            "write a number from 0 to 1",
        ));
    }
    if options.retry_delays.len() > 100 {
        invalid.push(Invalid::new("retry.delays", "at most 100 waits", ""));
    }
    if options.burst == 0 {
        invalid.push(Invalid::new("burst", "a burst of 0 lets nothing through", "write 1 or more"));
    }
    if options.max_age.is_zero() {
        invalid.push(Invalid::new(
            "max_age",
            "an event of any age would be too old",
            "write a duration like \"72h\"",
        ));
    }
    if options.breaker_failures == 0 {
        invalid.push(Invalid::new("breaker.failures", "no failure at all would pause it", "write 1 or more"));
    }
    if options.probe_after.is_zero() {
        invalid.push(Invalid::new(
            "breaker.probe_after",
            "a probe at once is no pause",
            "write a duration like \"30s\"",
        ));
    }
    invalid
}

fn check_path(place: &Place) -> Option<Invalid> {
    let path = place.path.as_deref()?;
    let sendable = path.bytes().all(|byte| byte > b' ' && byte < 0x7f && byte != b'#');
    if path.starts_with('/') && sendable {
        return None;
    }
    let key = if place.region.is_some() { "regions" } else { "url" };
    Some(Invalid::new(key, "the path of the URL cannot be sent as it is", "percent-encode it"))
}

fn check_tls(options: &DestinationOptions) -> Option<Invalid> {
    let spoken = options.places().iter().any(|place| matches!(place.endpoint, Endpoint::Https { .. }));
    let hint = "write url = \"https://…\", or leave `tls` out";
    (!spoken && !options.tls.is_default())
        .then(|| Invalid::new("tls", "no TLS is spoken with this destination", hint))
}

/// What a user may not add: headers that frame the message, belong to the connection, or are hooklatch's word.
fn check_header(name: &str, value: &HeaderValueSetting) -> Option<Invalid> {
    let refuse = |message: String, hint: &str| Some(Invalid::new("headers", message, hint));
    let lower = name.to_ascii_lowercase();
    if lower == "content-length" || HOP_BY_HOP.contains(&lower.as_str()) {
        return refuse(format!("{name} is said by the connection itself"), "leave it out");
    }
    if lower.starts_with("hooklatch-") {
        return refuse(format!("{name} is hooklatch's own"), "choose another name");
    }
    match added_header(name, value) {
        Ok(_) => None,
        Err(Unsendable(reason)) => refuse(reason, ""),
    }
}

fn check_signing(secret: &Secret) -> Option<Invalid> {
    let Unsendable(reason) = signing_key(secret).err()?;
    Some(Invalid::new(
        "sign",
        reason,
        "write the secret as it was given to you, \"whsec_…\", or a text of your own",
    ))
}

impl std::ops::Deref for DestinationSettings {
    type Target = DestinationOptions;

    fn deref(&self) -> &DestinationOptions {
        &self.options
    }
}
