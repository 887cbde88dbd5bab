//! A list in a JSON body whose items are signed one by one, each by an HMAC over some of its fields that stands in the
//! item itself. All of them must verify: an item beside a genuine one may be forged.
//!
//! | parameter | meaning |
//! |---|---|
//! | `fields` | JSON pointers into an item, in order; what is missing is an empty text |
//! | `separator` | what stands between the fields, `":"` |
//! | `mac` | `"hmac-sha256"` |
//!
//! `signature.body` is a JSON pointer with a step `*`, which stands for each item of the list.

use std::sync::Arc;

use serde_json::Value;

use super::super::encoding::{self, Encoding};
use super::super::faults::Faults;
use super::super::key::KeyForm;
use super::super::mac::{Hash, Mac};
use super::super::place::refuse;
use super::super::sign::Signature;
use super::super::spec::SchemeSpec;
use super::super::strict_json;
use super::super::{NamedSecret, Refusal, RefusalKind, Verified};
use super::parameters::Parameters;
use super::{Form, Keyed};
use crate::clock::Millis;
use crate::select::{Message, Pointer};

/// The most items of one body: each costs a MAC before anything is known of its sender.
const MAX_ITEMS: usize = 1000;

#[derive(Clone, Debug)]
struct SignedItems {
    hash: Hash,
    key: KeyForm,
    encoding: Encoding,
    separator: Box<str>,
    /// The pointer to the list, and in each item those to its signature and to what is signed.
    list: Box<str>,
    signature: Box<str>,
    fields: Box<[Box<str>]>,
}

struct Secrets {
    scheme: Arc<SignedItems>,
    keys: Vec<Mac>,
}

pub(super) fn compile(spec: &SchemeSpec, faults: &mut Faults) -> Option<Arc<dyn Form>> {
    let mut parameters = Parameters::new(spec);
    let fields = parameters.some("fields", "[\"/id\", \"/amount\"]", faults);
    let separator = parameters.text("separator", faults).unwrap_or(":");
    let mac = parameters.text("mac", faults).unwrap_or("hmac-sha256");
    parameters.finish(faults);
    let hash = mac.strip_prefix("hmac-").and_then(Hash::parse).filter(|hash| Mac::new(*hash, b"").is_some());
    if hash.is_none() {
        faults.add("parameters", format!("there is no mac {mac:?}"), "write mac = \"hmac-sha256\"");
    }
    for field in fields {
        let _: Option<Pointer> = faults.keep("parameters", Pointer::parse(field), "write fields = [\"/id\"]");
    }
    let written = spec.signature.encoding.as_ref();
    let encoding = faults.word("signature.encoding", written, Encoding::parse, encoding::WORDS);
    let key = faults.word("key", spec.key.as_ref(), KeyForm::parse, "\"utf8\", \"base64\" or \"hex\"");
    faults.unused("key", key.other().is_some(), "algorithm = \"signed-items\"");
    let place = spec.signature.body.as_deref().and_then(|pointer| pointer.split_once("/*/"));
    let Some((list, signature)) = place else {
        let message = "where each item's signature stands is not said";
        return faults.none("signature.body", message, "write signature = { body = \"/items/*/signature\" }");
    };
    let scheme = SignedItems {
        hash: hash?,
        key,
        encoding,
        separator: separator.into(),
        list: list.into(),
        signature: format!("/{signature}").into(),
        fields: fields.iter().map(|field| field.as_str().into()).collect(),
    };
    Some(Arc::new(scheme))
}

impl Form for SignedItems {
    fn prepare(&self, secrets: &[NamedSecret]) -> Result<Box<dyn Keyed>, Vec<String>> {
        let mut faults = Vec::new();
        let mut keys = Vec::with_capacity(secrets.len());
        for NamedSecret { name, secret, .. } in secrets {
            let key = self.key.decode(secret);
            match key.and_then(|key| Mac::new(self.hash, &key).ok_or("is no key")) {
                Ok(mac) => keys.push(mac),
                Err(fault) => faults.push(format!("the secret {name:?} {fault}")),
            }
        }
        if faults.is_empty() {
            Ok(Box::new(Secrets { scheme: Arc::new(self.clone()), keys }))
        } else {
            Err(faults)
        }
    }

    /// Fields that are not signed can be changed by whoever holds a genuine message.
    fn binds_body(&self) -> bool {
        false
    }
}

impl SignedItems {
    /// What is signed of `item`. `None` if a field is no text, number or truth value: it could pass for a missing one.
    fn signed(&self, item: &Value) -> Option<String> {
        let mut text = String::new();
        for (index, pointer) in self.fields.iter().enumerate() {
            if index > 0 {
                text.push_str(&self.separator);
            }
            match item.pointer(pointer) {
                None | Some(Value::Null) => {}
                Some(Value::String(value)) => text.push_str(value),
                Some(Value::Bool(value)) => text.push_str(if *value { "true" } else { "false" }),
                Some(Value::Number(value)) => text.push_str(&value.to_string()),
                Some(Value::Array(_) | Value::Object(_)) => return None,
            }
        }
        Some(text)
    }

    fn mac(&self, key: &Mac, item: &Value) -> Option<Mac> {
        let mut mac = key.clone();
        mac.update(self.signed(item)?.as_bytes());
        Some(mac)
    }

    /// The list, if it holds at least one item and not too many.
    fn items<'v>(&self, body: &'v Value) -> Option<&'v Vec<Value>> {
        body.pointer(&self.list)?.as_array().filter(|items| (1..=MAX_ITEMS).contains(&items.len()))
    }

    /// The secret that reproduces the signature of `item`.
    fn matches(&self, keys: &[Mac], item: &Value) -> Option<usize> {
        let signature = self.encoding.decode_long(item.pointer(&self.signature)?.as_str()?.as_bytes())?;
        keys.iter().position(|key| self.mac(key, item).is_some_and(|mac| mac.verify(&signature)))
    }
}

impl Keyed for Secrets {
    fn verify(&self, message: &Message<'_>, _: Option<Millis>) -> Result<Verified, Refusal> {
        let scheme = &self.scheme;
        let body = strict_json::parse(message.body);
        let items = body.as_ref().and_then(|body| scheme.items(body)).ok_or_else(|| {
            let message = format!("The body has no list of signed items at {}.", scheme.list);
            refuse(RefusalKind::MissingSignature, &scheme.list, message)
        })?;
        let mut secret = None;
        for (index, item) in items.iter().enumerate() {
            if item.pointer(&scheme.signature).and_then(Value::as_str).is_none() {
                let message =
                    format!("The item {index} of {} has no signature at {}.", scheme.list, scheme.signature);
                return Err(refuse(RefusalKind::MissingSignature, &scheme.signature, message));
            }
            let matched = scheme.matches(&self.keys, item).ok_or_else(|| {
                let message = format!(
                    "No secret of this route reproduces the signature of item {index} of {}.",
                    scheme.list
                );
                refuse(RefusalKind::InvalidSignature, &scheme.signature, message)
            })?;
            secret.get_or_insert(matched);
        }
        let secret = secret.unwrap_or_default();
        Ok(Verified { secret, timestamp: None })
    }

    fn sign(&self, message: &Message<'_>, _: &str, _: Millis) -> Result<Signature, String> {
        let scheme = &self.scheme;
        let key = self.keys.first().ok_or("there is no secret to sign with")?;
        let mut body = strict_json::parse(message.body).ok_or("the body is no JSON")?;
        let items =
            body.pointer_mut(&scheme.list).and_then(Value::as_array_mut).filter(|items| !items.is_empty());
        for item in items.ok_or_else(|| format!("the body has no list at {}", scheme.list))? {
            let mac = scheme.mac(key, item).ok_or("a signed field is neither text nor number")?;
            let place = item.pointer_mut(&scheme.signature);
            let place = place
                .ok_or_else(|| format!("an item has no {}, where its signature stands", scheme.signature))?;
            *place = scheme.encoding.encode(&mac.finish()).into();
        }
        Ok(Signature { body: Some(body.to_string().into_bytes()), ..Signature::default() })
    }
}
