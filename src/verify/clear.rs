//! The secret itself in the request: a token, or HTTP Basic. It names the sender and proves nothing of the body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::faults::Faults;
use super::format::{Writing, prefixes};
use super::place::{HeaderName, Place, View, refuse};
use super::signed::{Required, check_required, required, signature_place};
use super::spec::SchemeSpec;
use super::{NamedSecret, Refusal, RefusalKind, Verified};
use crate::secret::Secret;
use crate::select::Message;

/// The secret itself in the request.
#[derive(Debug)]
pub(super) struct ClearScheme {
    pub(super) place: Place,
    pub(super) form: ClearForm,
    require: Box<[Required]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClearForm {
    /// After one of these prefixes.
    Token { prefixes: Box<[Box<str>]> },
    /// HTTP Basic, RFC 7617.
    Basic,
}

impl ClearScheme {
    pub(super) fn compile(spec: &SchemeSpec, faults: &mut Faults) -> Option<Self> {
        let basic = spec.algorithm == "basic";
        let with = format!("algorithm = {:?}", spec.algorithm);
        faults.unused("key", spec.key.is_some(), &with);
        faults.no_template(spec, &with);
        faults.unused("jwt", spec.jwt.is_some(), &with);
        let signature = &spec.signature;
        Writing::refuse_words(signature, &with, faults);
        faults.unused("signature.prefix", basic && !signature.prefixes.is_empty(), &with);
        faults.unused("signature.query", basic && signature.query.is_some(), &with);
        faults.unused("signature.form", basic && signature.form.is_some(), &with);
        faults.unused("signature.body", basic && signature.body.is_some(), &with);
        let require = required(spec, faults);
        let place = if basic && signature.headers.is_empty() {
            Place::Headers([HeaderName::One("Authorization".into())].into())
        } else {
            signature_place(signature, faults)?
        };
        if place.each().contains(&Place::Whole) {
            let hint = "write body = \"/json/pointer\"";
            return faults.none(
                "signature.body",
                "a secret that is the whole body leaves no room for an event",
                hint,
            );
        }
        if place.each().len() > 1 && place.each().iter().any(|one| matches!(one, Place::Each { .. })) {
            let hint = "write body alone";
            return faults.none("signature.body", "a pointer with \"*\" has no alternatives", hint);
        }
        let form = match basic {
            true => ClearForm::Basic,
            false => ClearForm::Token { prefixes: prefixes(&signature.prefixes) },
        };
        Some(Self { place, form, require })
    }

    /// What is wrong with secrets that can never be sent so.
    pub(super) fn check_secrets(&self, secrets: &[NamedSecret]) -> Result<(), Vec<String>> {
        let faults: Vec<String> = secrets
            .iter()
            .filter_map(|NamedSecret { name, secret, .. }| {
                self.fault(secret).map(|fault| format!("the secret {name:?} {fault}"))
            })
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn fault(&self, secret: &Secret) -> Option<&'static str> {
        let bytes = secret.expose();
        if bytes.is_empty() {
            return Some("is empty");
        }
        match self.form {
            ClearForm::Basic if !bytes.contains(&b':') => Some("is not written \"user:password\""),
            ClearForm::Token { .. }
                if matches!(self.place, Place::Headers(_))
                    && (bytes.iter().any(|b| matches!(b, b'\r' | b'\n' | 0))
                        || bytes.trim_ascii() != bytes) =>
            {
                Some("cannot stand in a header as it is")
            }
            _ => None,
        }
    }

    pub(super) fn verify(&self, secrets: &[Secret], message: &Message<'_>) -> Result<Verified, Refusal> {
        check_required(&self.require, message)?;
        let found = self.place.read(&View { message, json: message.body })?;
        if found.is_empty() {
            return Err(self.place.missing());
        }
        let mut results = found.iter().map(|value| {
            let given = self.given(&value.text).ok_or_else(|| {
                let message = format!(
                    "The {} {} is not written as this route expects.",
                    self.place.kind(),
                    value.shown
                );
                refuse(RefusalKind::InvalidSignature, &value.shown, message)
            })?;
            matching(secrets, &given).ok_or_else(|| {
                let message = format!("No secret of this route is the one in {}.", value.shown);
                refuse(RefusalKind::InvalidSignature, &value.shown, message)
            })
        });
        let first = results.next().unwrap_or_else(|| Err(self.place.missing()));
        let secret = match &self.place {
            // An event in a forged element would pass with the others.
            Place::Each { .. } => results.try_fold(first?, |first, result| result.map(|_| first))?,
            _ => match first {
                Ok(secret) => secret,
                Err(refusal) => results.find_map(Result::ok).ok_or(refusal)?,
            },
        };
        Ok(Verified { secret, timestamp: None })
    }

    /// The secret as it was sent.
    fn given(&self, value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match &self.form {
            ClearForm::Token { prefixes } => {
                let given = prefixes.iter().find_map(|prefix| value.strip_prefix(prefix.as_bytes()))?;
                Some(Zeroizing::new(given.to_vec()))
            }
            ClearForm::Basic => basic_credentials(value),
        }
    }

    /// The secret as it is sent.
    pub(super) fn written(&self, secret: &Secret) -> Zeroizing<Vec<u8>> {
        let mut value = Zeroizing::new(Vec::new());
        match &self.form {
            ClearForm::Token { prefixes } => {
                value.extend_from_slice(prefixes.first().map_or(&b""[..], |prefix| prefix.as_bytes()));
                value.extend_from_slice(secret.expose());
            }
            ClearForm::Basic => {
                value.extend_from_slice(b"Basic ");
                value.extend_from_slice(Zeroizing::new(STANDARD.encode(secret.expose())).as_bytes());
            }
        }
        value
    }
}

/// The position of the secret that `given` is. All are compared, so that the time does not tell which one came near.
fn matching(secrets: &[Secret], given: &[u8]) -> Option<usize> {
    let mut matched = None;
    for (position, secret) in secrets.iter().enumerate() {
        if secret.matches(given) && matched.is_none() {
            matched = Some(position);
        }
    }
    matched
}

/// `user:password` out of `Basic dXNlcjpwYXNzd29yZA==` (RFC 7617 §2; the word's case does not count).
fn basic_credentials(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (word, encoded) = value.split_at_checked(6)?;
    if !word.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    STANDARD.decode(encoded.trim_ascii()).ok().map(Zeroizing::new)
}
