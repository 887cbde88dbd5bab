//! A detached JWS (RFC 7515 appendix F) over the request: `METHOD PATH\n`, a line `Name: value\n` for each header that a
//! member of the signature's own header lists, in its order and spelling, and the body.
//!
//! | parameter | meaning |
//! |---|---|
//! | `algorithms` | `["ES512"]`, the only ones that are taken |
//! | `headers` | the member of the JWS header that lists the headers, parted by commas |
//! | `version` | `"MEMBER=VALUE"`: a member of the JWS header that must have this value |
//! | `required` | headers that must be among those listed |

use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::asymmetric::PrivateKey;
use super::super::faults::Faults;
use super::super::jwt::{self, Jws, JwtAlgorithm, JwtKey};
use super::super::sign::Signature;
use super::super::spec::SchemeSpec;
use super::super::{NamedSecret, Refusal, Verified};
use super::parameters::Parameters;
use super::{
    Form, Keyed, Listing, check_time, lines, public_keys, signature_header, signed_header, targets,
    time_to_sign, with_headers,
};
use crate::clock::Millis;
use crate::select::Message;

#[derive(Clone, Debug)]
struct JwsRequest {
    listing: Listing,
    algorithms: Box<[JwtAlgorithm]>,
    list: Box<str>,
    version: Option<(Box<str>, Box<str>)>,
}

struct Keys {
    scheme: Arc<JwsRequest>,
    keys: Vec<JwtKey>,
}

pub(super) fn compile(spec: &SchemeSpec, faults: &mut Faults) -> Option<Arc<dyn Form>> {
    let mut parameters = Parameters::new(spec);
    let words = parameters.some("algorithms", "[\"ES512\"]", faults);
    let list = parameters.some("headers", "\"headers\"", faults).first();
    let version = parameters.text("version", faults);
    let required: Vec<Box<str>> =
        parameters.list("required").iter().map(|name| name.as_str().into()).collect();
    parameters.finish(faults);
    let algorithms: Vec<_> = words.iter().filter_map(|word| JwtAlgorithm::parse(word)).collect();
    if algorithms.len() != words.len() || algorithms.iter().any(|algorithm| algorithm.asymmetric().is_none())
    {
        let message = format!("{words:?} are not ways to sign with a key pair");
        faults.add("parameters", message, "write algorithms = [\"ES512\"]");
    }
    let version = version.and_then(|text| match text.split_once('=') {
        Some((member, value)) => Some((member.into(), value.into())),
        None => {
            faults.none("parameters", format!("{text:?} names no value"), "write version = \"MEMBER=VALUE\"")
        }
    });
    let listing = Listing::compile(spec, required, faults)?;
    let (list, algorithms) = (list?.as_str().into(), algorithms.into());
    Some(Arc::new(JwsRequest { listing, algorithms, list, version }))
}

impl Form for JwsRequest {
    fn prepare(&self, secrets: &[NamedSecret]) -> Result<Box<dyn Keyed>, Vec<String>> {
        let algorithms: Vec<_> =
            self.algorithms.iter().filter_map(|algorithm| algorithm.asymmetric()).collect();
        let keys = public_keys(secrets, &algorithms)?.into_iter().map(JwtKey::Public).collect();
        Ok(Box::new(Keys { scheme: Arc::new(self.clone()), keys }))
    }

    fn binds_body(&self) -> bool {
        true
    }

    fn checks_time(&self) -> bool {
        self.listing.checks_time()
    }

    fn signs_url(&self) -> bool {
        true
    }

    fn signature_headers(&self) -> Vec<String> {
        self.listing.signature_headers()
    }

    fn has_private_key(&self) -> bool {
        true
    }

    fn sign(&self, key: &PrivateKey, message: &Message<'_>, now: Millis) -> Result<Signature, String> {
        let algorithm = *self.algorithms.first().ok_or("the scheme names no algorithm")?;
        let Listing { header, required, timestamp } = &self.listing;
        let mut added = time_to_sign(timestamp.as_ref(), now);
        let headers = with_headers(message.headers, &added);
        let mut members = Map::new();
        members.insert(self.list.to_string(), required.join(",").into());
        members
            .extend(self.version.iter().map(|(member, value)| (member.to_string(), Value::from(&**value))));
        let names: Vec<&str> = required.iter().map(|name| &**name).collect();
        let message = Message { headers: &headers, ..*message };
        let payload = self.payload(&message, message.path, &names).map_err(|refusal| refusal.message)?;
        let token = jwt::sign_detached_with(&payload, false, members, algorithm, key)?;
        added.push((header.to_string(), token));
        Ok(Signature { headers: lines(&added), ..Signature::default() })
    }
}

impl JwsRequest {
    /// What is signed, for a request to `path`.
    fn payload(&self, message: &Message<'_>, path: &str, names: &[&str]) -> Result<Vec<u8>, Refusal> {
        let mut payload = Vec::with_capacity(message.body.len() + 256);
        payload.extend_from_slice(message.method.as_bytes());
        payload.push(b' ');
        payload.extend_from_slice(path.as_bytes());
        payload.push(b'\n');
        for name in names {
            payload.extend_from_slice(name.as_bytes());
            payload.extend_from_slice(b": ");
            payload.extend_from_slice(signed_header(name, message)?);
            payload.push(b'\n');
        }
        payload.extend_from_slice(message.body);
        Ok(payload)
    }

    /// Whether the signature is of the version that is read here.
    fn is_known(&self, jws: &Jws<'_>) -> bool {
        self.version
            .as_ref()
            .is_none_or(|(member, value)| jws.header(member).is_some_and(|given| *given == **value))
    }
}

impl Keyed for Keys {
    fn verify(&self, message: &Message<'_>, now: Option<Millis>) -> Result<Verified, Refusal> {
        let scheme = &self.scheme;
        let listing = &scheme.listing;
        let header = &*listing.header;
        let jws = signature_header(header, message)?.and_then(|value| Jws::parse(value).ok());
        let jws = jws.filter(|jws| scheme.is_known(jws)).ok_or_else(|| {
            listing.wrong(format!(
                "The header {header} is not a detached JWS of the kind that this route checks."
            ))
        })?;
        let list = jws.header(&scheme.list).and_then(Value::as_str).unwrap_or_default();
        let names = listing.names(list.split(','))?;
        // Who signs writes the path without a slash at its end, however it was registered.
        let paths = targets(message).flat_map(|target| {
            let bare = target.path.strip_suffix('/').filter(|path| !path.is_empty());
            [Some(target.path), bare].into_iter().flatten()
        });
        let mut matched = None;
        for path in paths {
            let payload = scheme.payload(message, path, &names)?;
            let verifies = |key: &JwtKey| jws.verify_detached(&payload, &scheme.algorithms, key).is_ok();
            matched = self.keys.iter().position(verifies);
            if matched.is_some() {
                break;
            }
        }
        let secret = matched.ok_or_else(|| listing.no_match())?;
        let timestamp = check_time(listing.timestamp.as_ref(), message, now)?;
        Ok(Verified { secret, timestamp })
    }
}
