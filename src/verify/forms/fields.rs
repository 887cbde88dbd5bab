//! Some members of a JSON body, signed with RSA, the signature beside them: `NAME\nVALUE\n` for each that is there.
//!
//! | parameter | meaning |
//! |---|---|
//! | `fields` | names of the members that are signed, in the order in which they are; one that is missing or null is left out |
//! | `version`, `versions` | the member that tells how it is signed, and what its values mean: `["1=rsa-sha1", "2=rsa-sha256"]` |
//! | `certificate` | members that may hold the address of the certificate; at least one must be there |
//! | `certificate_hosts` | the hosts it may lie on, by https: `"sns.*.amazonaws.com"`, where `*` is one label |
//!
//! The certificate itself is the secret: nothing is fetched from an address that a request brings along. The address is
//! checked all the same, so that a message whose sender points elsewhere is refused.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::asymmetric::{Asymmetric, PrivateKey, PublicKey};
use super::super::encoding::Encoding;
use super::super::faults::Faults;
use super::super::place::refuse;
use super::super::sign::Signature;
use super::super::spec::SchemeSpec;
use super::super::strict_json;
use super::super::{NamedSecret, Refusal, RefusalKind, Verified};
use super::parameters::Parameters;
use super::{Form, Keyed, public_keys};
use crate::clock::Millis;
use crate::select::Message;

#[derive(Clone, Debug)]
struct SignedFields {
    fields: Box<[Box<str>]>,
    signature: Box<str>,
    version: Box<str>,
    versions: Box<[(Box<str>, Asymmetric)]>,
    certificate: Box<[Box<str>]>,
    hosts: Box<[Box<str>]>,
}

struct Keys {
    scheme: Arc<SignedFields>,
    keys: Vec<Vec<PublicKey>>,
}

const VERSIONS: &str = "[\"1=rsa-sha1\", \"2=rsa-sha256\"]";

pub(super) fn compile(spec: &SchemeSpec, faults: &mut Faults) -> Option<Arc<dyn Form>> {
    let boxed =
        |names: &[String]| -> Box<[Box<str>]> { names.iter().map(|name| name.as_str().into()).collect() };
    let mut parameters = Parameters::new(spec);
    let fields = boxed(parameters.some("fields", "[\"Message\", \"Timestamp\"]", faults));
    let version = parameters.some("version", "\"SignatureVersion\"", faults).first();
    let certificate = boxed(parameters.some("certificate", "\"SigningCertURL\"", faults));
    let hosts = boxed(parameters.some("certificate_hosts", "\"certs.example.com\"", faults));
    let versions = parameters.some("versions", VERSIONS, faults).iter().filter_map(|text| {
        let named =
            text.split_once('=').and_then(|(value, word)| Some((value.into(), Asymmetric::parse(word)?)));
        if named.is_none() {
            let message = format!("{text:?} does not say how a version is signed");
            faults.add("parameters", message, format!("write versions = {VERSIONS}"));
        }
        named
    });
    let versions = versions.collect();
    parameters.finish(faults);
    let signature = spec.signature.body.as_deref().and_then(|pointer| pointer.strip_prefix('/'));
    let Some(signature) = signature.filter(|name| !name.contains(['/', '~'])) else {
        let message = "which member of the body is the signature is not said";
        return faults.none("signature.body", message, "write signature = { body = \"/Signature\" }");
    };
    let encoded = spec.signature.encoding.as_deref().is_none_or(|encoding| encoding == "base64");
    if !encoded {
        faults.add("signature.encoding", "the signature is base64", "leave it out");
    }
    let version = version?.as_str().into();
    Some(Arc::new(SignedFields {
        fields,
        signature: signature.into(),
        version,
        versions,
        certificate,
        hosts,
    }))
}

impl Form for SignedFields {
    fn prepare(&self, secrets: &[NamedSecret]) -> Result<Box<dyn Keyed>, Vec<String>> {
        let algorithms: Vec<_> = self.versions.iter().map(|(_, algorithm)| *algorithm).collect();
        let keys = public_keys(secrets, &algorithms)?;
        Ok(Box::new(Keys { scheme: Arc::new(self.clone()), keys }))
    }

    /// Members that are not signed can be changed by whoever holds a genuine message.
    fn binds_body(&self) -> bool {
        false
    }

    fn has_private_key(&self) -> bool {
        true
    }

    fn sign(&self, key: &PrivateKey, message: &Message<'_>, _: Millis) -> Result<Signature, String> {
        let Some(Value::Object(mut body)) = strict_json::parse(message.body) else {
            return Err("the body is no JSON object".to_owned());
        };
        let algorithm =
            self.way(&body).ok_or_else(|| format!("the body has no {} that is known", self.version))?;
        let signed = self.signed(&body).ok_or("a member that is signed is not a text")?;
        let signature = Encoding::Base64.encode(&key.sign(algorithm, signed.as_bytes())?);
        body.insert(self.signature.to_string(), signature.into());
        Ok(Signature { body: Some(Value::Object(body).to_string().into_bytes()), ..Signature::default() })
    }
}

impl SignedFields {
    /// What is signed. `None` if a member is no text: it could pass for a missing one.
    fn signed(&self, body: &Map<String, Value>) -> Option<String> {
        let mut text = String::new();
        for name in &self.fields {
            match body.get(&**name) {
                None | Some(Value::Null) => {}
                Some(Value::String(value)) => text.extend([&**name, "\n", value.as_str(), "\n"]),
                Some(_) => return None,
            }
        }
        Some(text)
    }

    /// Whether the certificate is said to lie where it may, wherever it is said.
    fn is_at_home(&self, body: &Map<String, Value>) -> bool {
        let mut said = self.certificate.iter().filter_map(|name| body.get(&**name)).peekable();
        said.peek().is_some()
            && said.all(|address| {
                let host = address.as_str().and_then(https_host);
                host.is_some_and(|host| self.hosts.iter().any(|pattern| host_matches(pattern, host)))
            })
    }

    fn way(&self, body: &Map<String, Value>) -> Option<Asymmetric> {
        let version = body.get(&*self.version)?.as_str()?;
        self.versions.iter().find(|(value, _)| **value == *version).map(|(_, algorithm)| *algorithm)
    }
}

/// The host of an https address without user, port or anything that a reader of it might take differently.
fn https_host(address: &str) -> Option<&str> {
    let after = address.strip_prefix("https://")?;
    let (host, path) = after.split_once('/')?;
    let plain = |text: &str, also: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c));
    (plain(host, "-.") && plain(path, "-._~/")).then_some(host)
}

/// Whether `host` is `pattern`, in which a label `*` stands for any one label.
fn host_matches(pattern: &str, host: &str) -> bool {
    let mut labels = host.split('.');
    let all = pattern.split('.').all(|wanted| {
        labels
            .next()
            .is_some_and(|label| !label.is_empty() && (wanted == "*" || label.eq_ignore_ascii_case(wanted)))
    });
    all && labels.next().is_none()
}

impl Keyed for Keys {
    fn verify(&self, message: &Message<'_>, _: Option<Millis>) -> Result<Verified, Refusal> {
        let scheme = &self.scheme;
        let field = &*scheme.signature;
        let missing =
            |what: &str| refuse(RefusalKind::MissingSignature, field, format!("The body has no {what}."));
        let wrong = |what: &str| refuse(RefusalKind::InvalidSignature, field, what);
        let Some(Value::Object(body)) = strict_json::parse(message.body) else {
            return Err(missing("JSON object in which each name stands once"));
        };
        let signature = body.get(field).and_then(Value::as_str).ok_or_else(|| missing(field))?;
        let algorithm = scheme.way(&body).ok_or_else(|| {
            wrong(&format!("The {} of the body is none that this route takes.", scheme.version))
        })?;
        if !scheme.is_at_home(&body) {
            return Err(wrong(
                "The address of the certificate is missing, or lies on a host that is not the sender's.",
            ));
        }
        let signature = Encoding::Base64.decode_long(signature.as_bytes());
        let signature = signature.ok_or_else(|| wrong("The signature is not written as base64."))?;
        let signed = scheme.signed(&body).ok_or_else(|| wrong("A member that is signed is not a text."))?;
        let matched = self
            .keys
            .iter()
            .position(|keys| keys.iter().any(|key| key.verify(algorithm, signed.as_bytes(), &signature)));
        let secret = matched.ok_or_else(|| {
            wrong(&format!("No certificate of this route reproduces the signature in {field}."))
        })?;
        Ok(Verified { secret, timestamp: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_pinned_label_by_label() {
        for (address, expected) in [
            ("https://sns.us-east-2.amazonaws.com/a.pem", true),
            ("https://SNS.us-east-2.amazonaws.com/a/b.pem", true),
            ("http://sns.us-east-2.amazonaws.com/a.pem", false),
            ("https://sns.us-east-2.amazonaws.com.evil.example/x.pem", false),
            ("https://evil.example/sns.us-east-2.amazonaws.com/", false),
            ("https://sns.us-east-2.amazonaws.com@evil.example/x.pem", false),
            ("https://sns.us-east-2.amazonaws.com:444/x.pem", false),
            ("https://sns.us.east.amazonaws.com/x.pem", false),
            ("https://sns..amazonaws.com/x.pem", false),
            ("https://sns.us-east-2.amazonaws.com", false),
            ("https://sns.us-east-2.amazonaws.com/a?b", false),
            ("https://evil.example\\sns.us-east-2.amazonaws.com/", false),
        ] {
            let matches = https_host(address).is_some_and(|host| host_matches("sns.*.amazonaws.com", host));
            assert_eq!(matches, expected, "{address}");
        }
    }
}
