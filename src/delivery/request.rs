//! The request that goes to the app: the sender's own, with what hooklatch knows about it (contract §4).
//!
//! What belongs to a destination is prepared once; an attempt costs one `HeaderMap` and one buffer for the values
//! that change. The sender's values are slices of the event's own bytes.

use std::fmt::Write as _;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use sha2::Sha256;

use super::batch::Batch;
use super::resign;
use super::settings::{DestinationOptions, Endpoint, HeaderValueSetting, HostRule, Place};
use crate::clock::Millis;
use crate::event::Event;
use crate::headers::HOP_BY_HOP;
use crate::secret::Secret;
use crate::verify::Signature;

const ID: HeaderName = HeaderName::from_static("hooklatch-id");
const ROUTE: HeaderName = HeaderName::from_static("hooklatch-route");
const PROVIDER: HeaderName = HeaderName::from_static("hooklatch-provider");
const EVENT_ID: HeaderName = HeaderName::from_static("hooklatch-event-id");
const EVENT_TYPE: HeaderName = HeaderName::from_static("hooklatch-event-type");
const ATTEMPT: HeaderName = HeaderName::from_static("hooklatch-attempt");
const RECEIVED_AT: HeaderName = HeaderName::from_static("hooklatch-received-at");
const BATCH: HeaderName = HeaderName::from_static("hooklatch-batch");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What all requests to one place of a destination have in common.
#[derive(Debug)]
pub struct RequestTemplate {
    /// The path of `url`, and the query that `url` brings along.
    path: Option<(String, Option<String>)>,
    /// The destination's own `Host`.
    host: HeaderValue,
    keep_host: bool,
    added: Vec<(HeaderName, HeaderValue)>,
    signers: Vec<Signer>,
}

/// The keyed MAC of one secret, built once and cloned for each request.
#[derive(Clone)]
struct Signer(Hmac<Sha256>);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer([secret])")
    }
}

/// A request that HTTP has no words for: a method that is no token, a control byte in a header's value. The Door
/// lets none in; one that is there all the same is not altered but given up at once, into the dead letters, where
/// it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsendable(pub String);

impl RequestTemplate {
    /// Prepares the requests to one place of a destination.
    ///
    /// # Errors
    /// A header that HTTP cannot carry or a secret that is not what its prefix says; `DestinationSettings::new`
    /// refuses both.
    pub fn new(settings: &DestinationOptions, place: &Place) -> Result<Self, Unsendable> {
        let path = place.path.as_deref().filter(|path| *path != "/").map(|path| {
            let (path, query) = split_query(path);
            (path.to_owned(), query.map(str::to_owned))
        });
        let host = own_host(&place.endpoint)?;
        let keep_host = match settings.host {
            Some(rule) => rule == HostRule::Keep,
            None => !matches!(place.endpoint, Endpoint::Https { .. }),
        };
        let added = settings
            .headers
            .iter()
            .map(|(name, value)| added_header(name, value))
            .collect::<Result<Vec<_>, _>>()?;
        let signers = settings.sign.iter().map(signer).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { path, host, keep_host, added, signers })
    }

    /// The request of attempt number `attempt` of `event`, made `now`, with the provider's `signature` made anew.
    ///
    /// # Errors
    /// An event that cannot be put into a request.
    pub fn build(
        &self,
        event: &Event,
        attempt: u16,
        now: Millis,
        signature: Option<&Signature>,
    ) -> Result<Request<Full<Bytes>>, Unsendable> {
        let method = Method::from_bytes(event.method.as_bytes())
            .map_err(|_| Unsendable("the method is not one".to_owned()))?;
        let signed_target = signature.and_then(resign::target);
        let uri = self.target(signed_target.unwrap_or(&event.target))?;
        let signed_body = signature.and_then(|signature| signature.body.as_ref());
        let body = signed_body.map_or_else(|| event.body.clone(), |body| Bytes::copy_from_slice(body));
        let mut headers = HeaderMap::with_capacity(32);
        self.senders(event, &mut headers)?;
        ours(event, attempt, &mut headers);
        for (name, value) in &self.added {
            headers.insert(name.clone(), value.clone());
        }
        if !self.signers.is_empty() {
            self.sign(&event.id.to_string(), &body, now, &mut headers);
        }
        if let Some(signature) = signature {
            resign::put(signature, &mut headers)?;
        }
        // hyper says the length of a body that there is; an empty one is said where a body is expected (RFC 9110 §8.6).
        let none_expected = matches!(method, Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE);
        if body.is_empty() && !none_expected {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// The request that carries `batch`, made `now`: what is said of one event stands in the body.
    ///
    /// # Errors
    /// A path that cannot be sent; `DestinationSettings::new` refuses one.
    pub(super) fn build_batch(&self, batch: &Batch, now: Millis) -> Result<Request<Full<Bytes>>, Unsendable> {
        let uri = self.target("/")?;
        let mut headers = HeaderMap::with_capacity(16);
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(batch.format.content_type()));
        let agent = concat!("hooklatch/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Ok(id) = HeaderValue::from_str(&batch.id) {
            headers.insert(ID, id);
        }
        headers.insert(BATCH, HeaderValue::from(batch.deliveries.len()));
        for (name, value) in &self.added {
            headers.insert(name.clone(), value.clone());
        }
        if !self.signers.is_empty() {
            self.sign(&batch.id, &batch.body, now, &mut headers);
        }
        let mut request = Request::new(Full::new(batch.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// The sender's headers, in order; what frames a message is ours to say, and `Expect` was answered already.
    fn senders(&self, event: &Event, headers: &mut HeaderMap) -> Result<(), Unsendable> {
        let block = event.headers.as_bytes();
        for (name, value) in event.headers.iter() {
            let name = HeaderName::from_bytes(name)
                .map_err(|_| Unsendable("a header's name is not one".to_owned()))?;
            if name == CONTENT_LENGTH || name == EXPECT || HOP_BY_HOP.contains(&name.as_str()) {
                continue;
            }
            let value = HeaderValue::from_maybe_shared(block.slice_ref(value))
                .map_err(|_| Unsendable(format!("the value of {name} has a control character")))?;
            // One Host, whatever came: two would be a riddle for the app.
            if name != HOST || !headers.contains_key(HOST) {
                headers.append(name, value);
            }
        }
        let original = headers.get(HOST).cloned();
        if let Some(original) = &original {
            headers.insert(FORWARDED_HOST, original.clone());
        }
        if !self.keep_host || original.is_none() {
            headers.insert(HOST, self.host.clone());
        }
        Ok(())
    }

    /// The path of `url` or the sender's, with the sender's query.
    fn target(&self, target: &str) -> Result<Uri, Unsendable> {
        let target = match &self.path {
            None => sendable_target(target),
            Some((path, own_query)) => {
                let (_, query) = split_query(target);
                let mut replaced = path.clone();
                for (joint, query) in [own_query.as_deref(), query].into_iter().flatten().enumerate() {
                    replaced.push(if joint == 0 { '?' } else { '&' });
                    replaced.push_str(query);
                }
                sendable_target(&replaced)
            }
        };
        PathAndQuery::from_maybe_shared(target)
            .map(Uri::from)
            .map_err(|_| Unsendable("the path cannot be sent".to_owned()))
    }

    /// Standard Webhooks (standard-webhooks.md, "Signature scheme"): `id.timestamp.payload`, one `v1,` a secret.
    fn sign(&self, id: &str, body: &Bytes, now: Millis, headers: &mut HeaderMap) {
        let mut text = String::with_capacity(64 + 48 * self.signers.len());
        // Writing to a String cannot fail.
        let _ = write!(text, "{id}.{}.", now.seconds());
        let signed = text.len();
        for Signer(mac) in &self.signers {
            let mut mac = mac.clone();
            mac.update(text.get(..signed).unwrap_or_default().as_bytes());
            mac.update(body);
            if text.len() > signed {
                text.push(' ');
            }
            text.push_str("v1,");
            STANDARD.encode_string(mac.finalize().into_bytes(), &mut text);
        }
        let signature = text.get(signed..).unwrap_or_default();
        if let (Ok(id), Ok(signature)) = (HeaderValue::from_str(id), HeaderValue::from_str(signature)) {
            headers.insert(WEBHOOK_ID, id);
            headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(now.seconds()));
            headers.insert(WEBHOOK_SIGNATURE, signature);
        }
    }
}

/// What hooklatch knows about the event. Whatever came under these names is replaced.
fn ours(event: &Event, attempt: u16, headers: &mut HeaderMap) {
    let mut values = Values::default();
    let id = values.push(|text| write!(text, "{}", event.id));
    let route = values.push(|text| escaped(text, &event.route));
    let received = values.push(|text| {
        event.received_at.write_rfc3339(text);
        Ok(())
    });
    let client =
        (!event.forwarded_for.is_empty()).then(|| values.push(|text| escaped(text, &event.forwarded_for)));
    let provider = event.provider.as_deref().map(|p| values.push(|text| escaped(text, p)));
    let event_id = event.event_id.as_deref().map(|id| values.push(|text| escaped(text, id)));
    let event_type = event.event_type.as_deref().map(|kind| values.push(|text| escaped(text, kind)));

    let values = Bytes::from(values.0);
    let optional =
        [(PROVIDER, provider), (EVENT_ID, event_id), (EVENT_TYPE, event_type), (FORWARDED_FOR, client)];
    let always = [(ID, id), (ROUTE, route), (RECEIVED_AT, received)];
    for (name, range) in always {
        insert(headers, name, &values, range);
    }
    for (name, range) in optional {
        match range {
            Some(range) => insert(headers, name, &values, range),
            None => drop(headers.remove(name)),
        }
    }
    headers.insert(ATTEMPT, HeaderValue::from(attempt));
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(event.forwarded_proto.as_str()));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, values: &Bytes, range: Range<usize>) {
    // `escaped` leaves nothing that a value may not hold.
    if let Ok(value) = HeaderValue::from_maybe_shared(values.slice(range)) {
        headers.insert(name, value);
    }
}

/// Several values in one allocation.
struct Values(String);

impl Default for Values {
    fn default() -> Self {
        Self(String::with_capacity(192))
    }
}

impl Values {
    fn push(&mut self, write: impl FnOnce(&mut String) -> std::fmt::Result) -> Range<usize> {
        let start = self.0.len();
        // Writing to a String cannot fail.
        let _ = write(&mut self.0);
        start..self.0.len()
    }
}

/// Ids and types are the provider's, maybe out of a JSON body: a control character in one is written `%0A`, the
/// rest as it is (UTF-8 where it is not ASCII).
fn escaped(text: &mut String, value: &str) -> std::fmt::Result {
    if !value.bytes().any(|byte| byte.is_ascii_control()) {
        text.push_str(value);
        return Ok(());
    }
    for c in value.chars() {
        if c.is_ascii_control() { write!(text, "%{:02X}", u32::from(c))? } else { text.push(c) }
    }
    Ok(())
}

/// `target` with what a request line may not hold percent-encoded: a `#` (which would cut it), blanks, quotes and
/// the like that lenient senders leave bare. Everything else stays byte for byte.
fn sendable_target(target: &str) -> Bytes {
    let bare = |byte: u8| byte <= b' ' || byte >= 0x7f || matches!(byte, b'#' | b'"' | b'<' | b'>' | b'`');
    let rooted = target.starts_with('/');
    if rooted && !target.bytes().any(bare) {
        return Bytes::copy_from_slice(target.as_bytes());
    }
    let mut sendable = BytesMut::with_capacity(target.len() + 16);
    if !rooted {
        sendable.extend_from_slice(b"/");
    }
    for byte in target.bytes() {
        if bare(byte) {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            let digit = |n: u8| HEX.get(usize::from(n)).copied().unwrap_or(b'0');
            sendable.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            sendable.extend_from_slice(&[byte]);
        }
    }
    sendable.freeze()
}

fn split_query(target: &str) -> (&str, Option<&str>) {
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

/// `Host` as the destination's own URL says it; `localhost` for a unix socket, as curl does.
fn own_host(endpoint: &Endpoint) -> Result<HeaderValue, Unsendable> {
    let text = match endpoint {
        Endpoint::Http { host, port } => authority(host, *port, 80),
        Endpoint::Https { host, port } => authority(host, *port, 443),
        Endpoint::Unix { .. } => "localhost".to_owned(),
    };
    HeaderValue::from_str(&text).map_err(|_| Unsendable("the destination's host is not one".to_owned()))
}

/// Host and port as they stand in a URL.
pub(super) fn authority(host: &str, port: u16, default: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if port == default { host } else { format!("{host}:{port}") }
}

/// A header that the user adds.
///
/// # Errors
/// A name that is not a token, a value with a control character; never the value itself.
pub(super) fn added_header(
    name: &str,
    value: &HeaderValueSetting,
) -> Result<(HeaderName, HeaderValue), Unsendable> {
    let key = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Unsendable(format!("{name:?} is not a header's name")))?;
    let (bytes, secret) = match value {
        HeaderValueSetting::Plain(text) => (text.as_bytes(), false),
        HeaderValueSetting::Secret(secret) => (secret.expose(), true),
    };
    let mut value = HeaderValue::from_bytes(bytes)
        .map_err(|_| Unsendable(format!("the value of {name} holds a line break or another control byte")))?;
    value.set_sensitive(secret);
    Ok((key, value))
}

fn signer(secret: &Secret) -> Result<Signer, Unsendable> {
    let key = signing_key(secret)?;
    Hmac::new_from_slice(&key)
        .map(Signer)
        .map_err(|_| Unsendable("no key can be made of the secret".to_owned()))
}

/// The key behind a secret as typed: base64 after `whsec_` (standard-webhooks.md, "Signing secret serialization"),
/// else its own bytes.
///
/// # Errors
/// `whsec_` before something that is not base64.
pub(super) fn signing_key(secret: &Secret) -> Result<zeroize::Zeroizing<Vec<u8>>, Unsendable> {
    let Some(encoded) = secret.expose().strip_prefix(b"whsec_") else {
        return Ok(secret.expose().to_vec().into());
    };
    STANDARD
        .decode(encoded)
        .map(zeroize::Zeroizing::new)
        .map_err(|_| Unsendable("after \"whsec_\" stands something that is not base64".to_owned()))
}
