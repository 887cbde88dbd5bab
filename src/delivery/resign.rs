//! `sign = "provider"`: what goes out is signed anew, as the provider would have signed it now, for apps whose own check
//! refuses what was signed too long ago.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::request::Unsendable;
use crate::clock::Millis;
use crate::event::Event;
use crate::select::Message;
use crate::verify::{Signature, Verifier};

/// How the events of one route are signed.
#[derive(Clone, Debug)]
pub struct RouteSigner {
    /// The route's scheme; its first secret signs.
    pub verifier: Arc<Verifier>,
    /// The whole URL that is signed, where the route says it.
    pub public_url: Option<String>,
    /// Scheme and host that are signed, without a `/` at the end, where the server says them.
    pub public_base: Option<String>,
}

/// How the events of each route are signed, by the route's name. Cheap to clone; clones see what is [`Self::set`].
#[derive(Clone, Debug, Default)]
pub(super) struct RouteSigners(Arc<ArcSwap<HashMap<Arc<str>, RouteSigner>>>);

impl RouteSigners {
    pub(super) fn set(&self, signers: HashMap<Arc<str>, RouteSigner>) {
        self.0.store(Arc::new(signers));
    }

    /// What signs `event` at the time `now`.
    ///
    /// # Errors
    /// A sentence: no such route any more, or one that its scheme cannot sign.
    pub(super) fn sign(&self, event: &Event, now: Millis) -> Result<Signature, String> {
        let signers = self.0.load();
        let signer = signers.get(&event.route).ok_or_else(|| {
            format!(
                "it cannot be signed again: no route called {:?} checks signatures now, so there is no secret",
                event.route
            )
        })?;
        signer.sign(event, now)
    }
}

impl RouteSigner {
    fn sign(&self, event: &Event, now: Millis) -> Result<Signature, String> {
        let (path, query) = match event.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&*event.target, None),
        };
        let url = self.url(event);
        let message = Message {
            method: &event.method,
            path,
            query,
            url: &url,
            headers: &event.headers,
            body: &event.body,
        };
        let own_id = event.id.to_string();
        // The id that the provider gave it is the one that it would sign again.
        let id = event.event_id.as_deref().unwrap_or(&own_id);
        self.verifier.sign(&message, id, now).map_err(|reason| format!("it cannot be signed again: {reason}"))
    }

    /// The URL that the sender asked for, as the front door knew it.
    fn url(&self, event: &Event) -> String {
        if let Some(url) = &self.public_url {
            return url.clone();
        }
        if let Some(base) = &self.public_base {
            return [base, &*event.target].concat();
        }
        let host = event.headers.get("host").map(String::from_utf8_lossy).unwrap_or_default();
        [event.forwarded_proto.as_str(), "://", &host, &event.target].concat()
    }
}

/// Puts the headers of a signature in the place of those of the same names.
pub(super) fn put(signature: &Signature, headers: &mut HeaderMap) -> Result<(), Unsendable> {
    for (name, value) in signature.headers.iter() {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else {
            return Err(Unsendable("the new signature cannot stand in a header".to_owned()));
        };
        headers.insert(name, value);
    }
    Ok(())
}

/// The path and query to ask for instead of the event's own, where the signature stands in the URL.
pub(super) fn target(signature: &Signature) -> Option<&str> {
    let url = signature.url.as_deref()?;
    let behind_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    Some(behind_scheme.find(['/', '?']).and_then(|at| behind_scheme.get(at..)).unwrap_or("/"))
}
