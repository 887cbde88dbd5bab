//! Signatures over headers that they list (draft-cavage-http-signatures-12 §2): parameters `k="v"` in a header,
//! `headers` among them, and a line `name: value` for each header listed. The body is bound by its digest, which is
//! computed here and never believed.
//!
//! | parameter | meaning |
//! |---|---|
//! | `signed_with` | `"ed25519"`, or another way to sign with a key pair |
//! | `required` | what the list must hold at least, `["(request-target)", "host", "date", "digest"]`; `digest` always |

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::super::asymmetric::{Asymmetric, PrivateKey, PublicKey};
use super::super::encoding::Encoding;
use super::super::faults::Faults;
use super::super::place::{refuse, twice};
use super::super::sign::Signature;
use super::super::spec::SchemeSpec;
use super::super::{NamedSecret, Refusal, RefusalKind, Verified};
use super::parameters::Parameters;
use super::{
    Form, Keyed, Listing, Target, check_time, lines, public_keys, signature_header, signed_header, targets,
    time_to_sign, with_headers,
};
use crate::clock::Millis;
use crate::select::Message;

const TARGET: &str = "(request-target)";
const DIGEST: &str = "digest";

#[derive(Clone, Debug)]
struct HttpSignature {
    listing: Listing,
    algorithm: Asymmetric,
}

struct Keys {
    scheme: Arc<HttpSignature>,
    keys: Vec<Vec<PublicKey>>,
}

pub(super) fn compile(spec: &SchemeSpec, faults: &mut Faults) -> Option<Arc<dyn Form>> {
    let mut parameters = Parameters::new(spec);
    let word = parameters.text("signed_with", faults).unwrap_or("ed25519");
    let mut required: Vec<Box<str>> =
        parameters.list("required").iter().map(|name| name.to_ascii_lowercase().into()).collect();
    parameters.finish(faults);
    let algorithm = Asymmetric::parse(word).or_else(|| {
        faults.none(
            "parameters",
            format!("there is no way to sign {word:?}"),
            "write signed_with = \"ed25519\"",
        )
    });
    required.push(DIGEST.into());
    let listing = Listing::compile(spec, required, faults)?;
    Some(Arc::new(HttpSignature { listing, algorithm: algorithm? }))
}

impl Form for HttpSignature {
    fn prepare(&self, secrets: &[NamedSecret]) -> Result<Box<dyn Keyed>, Vec<String>> {
        let keys = public_keys(secrets, &[self.algorithm])?;
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
        let Listing { header, required, timestamp } = &self.listing;
        let mut added = time_to_sign(timestamp.as_ref(), now);
        added.push((DIGEST.to_owned(), format!("sha-256={}", body_digest(message))));
        let headers = with_headers(message.headers, &added);
        let mut list = required.join(" ");
        if !required.iter().any(|name| **name == *TARGET) {
            list.insert_str(0, "(request-target) ");
        }
        let message = Message { headers: &headers, ..*message };
        let target = Target { path: message.path, host: None };
        let signed = self.signed(&message, &target, &list).map_err(|refusal| refusal.message)?;
        let signature = STANDARD.encode(key.sign(self.algorithm, &signed)?);
        let value = format!("keyId=\"test\",headers=\"{list}\",signature=\"{signature}\"");
        added.push((header.to_string(), value));
        Ok(Signature { headers: lines(&added), ..Signature::default() })
    }
}

/// The parameters of a signature that are looked at.
#[derive(Debug, Default, PartialEq, Eq)]
struct Given<'a> {
    headers: &'a str,
    signature: &'a str,
}

/// Takes `k="v",k="v"` apart; a parameter that is there twice, or a value with a quote in it, is refused.
fn given(value: &str) -> Option<Given<'_>> {
    let (mut headers, mut signature) = (None, None);
    let mut rest = value.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        match name.trim() {
            "headers" if headers.replace(value).is_some() => return None,
            "signature" if signature.replace(value).is_some() => return None,
            _ => {}
        }
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(rest) => rest.trim_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(Given { headers: headers?, signature: signature? })
}

impl HttpSignature {
    /// The lines that are signed of a request to `target`.
    fn signed(&self, message: &Message<'_>, target: &Target<'_>, list: &str) -> Result<Vec<u8>, Refusal> {
        let names = self.listing.names(list.split_ascii_whitespace())?;
        let mut text = Vec::new();
        for name in names {
            if !text.is_empty() {
                text.push(b'\n');
            }
            let name = name.to_ascii_lowercase();
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(b": ");
            match name.as_str() {
                TARGET => {
                    text.extend_from_slice(message.method.to_ascii_lowercase().as_bytes());
                    text.push(b' ');
                    text.extend_from_slice(target.path.as_bytes());
                    if let Some(query) = message.query {
                        text.push(b'?');
                        text.extend_from_slice(query.as_bytes());
                    }
                }
                DIGEST => text.extend_from_slice(&digest(message)?),
                name => {
                    let value = signed_header(name, message)?;
                    let public = target.host.filter(|_| name == "host").map(str::as_bytes);
                    text.extend_from_slice(public.unwrap_or(value));
                }
            }
        }
        Ok(text)
    }
}

fn body_digest(message: &Message<'_>) -> String {
    STANDARD.encode(Sha256::digest(message.body))
}

/// The value of the `Digest` header (RFC 3230 §4.3.2), if it is that of the body; without one, as it should be.
fn digest(message: &Message<'_>) -> Result<Vec<u8>, Refusal> {
    let right = body_digest(message);
    let Some(value) = message.headers.get_unambiguous(DIGEST).map_err(|_| twice("header", DIGEST))? else {
        return Ok(format!("sha-256={right}").into_bytes());
    };
    let is_right = value
        .split_at_checked(8)
        .is_some_and(|(name, digest)| name.eq_ignore_ascii_case(b"sha-256=") && digest == right.as_bytes());
    if is_right {
        return Ok(value.to_vec());
    }
    Err(refuse(
        RefusalKind::InvalidSignature,
        DIGEST,
        "The header digest is not the SHA-256 of the body in base64.",
    ))
}

impl Keyed for Keys {
    fn verify(&self, message: &Message<'_>, now: Option<Millis>) -> Result<Verified, Refusal> {
        let scheme = &self.scheme;
        let header = &*scheme.listing.header;
        let value = signature_header(header, message)?;
        let unreadable = || {
            let message = format!(
                "The header {header} is not a signature over headers: keyId=\"…\",headers=\"…\",signature=\"…\"."
            );
            refuse(RefusalKind::InvalidSignature, header, message)
        };
        let given = value.and_then(given).ok_or_else(unreadable)?;
        let signature = Encoding::Base64.decode_long(given.signature.as_bytes()).ok_or_else(unreadable)?;
        let mut matched = None;
        for target in targets(message) {
            let signed = scheme.signed(message, &target, given.headers)?;
            let verifies = |key: &PublicKey| key.verify(scheme.algorithm, &signed, &signature);
            matched = self.keys.iter().position(|keys| keys.iter().any(verifies));
            if matched.is_some() {
                break;
            }
        }
        let secret = matched.ok_or_else(|| scheme.listing.no_match())?;
        let timestamp = check_time(scheme.listing.timestamp.as_ref(), message, now)?;
        Ok(Verified { secret, timestamp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_taken_apart() {
        let full = r#"keyid="k",algorithm="ed25519", signature="c2ln",headers="(request-target) host""#;
        assert_eq!(given(full), Some(Given { headers: "(request-target) host", signature: "c2ln" }));
        assert_eq!(
            given(r#"headers="a",signature=x=,created=1"#),
            Some(Given { headers: "a", signature: "x=" })
        );
        for text in [
            "",
            "c2ln",
            r#"signature="c2ln""#,
            r#"headers="a""#,
            r#"headers="a",signature="b",signature="b""#,
            r#"headers="a",signature="b"x"#,
            r#"headers="a",signature="b"#,
        ] {
            assert_eq!(given(text), None, "{text}");
        }
    }
}
