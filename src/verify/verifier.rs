//! A scheme with its secrets: checks requests.

use std::fmt;
use std::sync::Arc;

use super::claims::TokenScheme;
use super::clear::ClearScheme;
use super::forms::Keyed;
use super::jwt::JwtKey;
use super::scheme::{Method, Scheme};
use super::signed::{Key, SignedScheme};
use super::{NamedSecret, Refusal, RefusalKind, Verified};
use crate::clock::Millis;
use crate::secret::Secret;
use crate::select::Message;

/// A scheme with its secrets: checks requests.
pub struct Verifier {
    scheme: Arc<Scheme>,
    pub(super) check: Check,
}

pub(super) enum Check {
    Signed(Arc<SignedScheme>, Vec<Key>),
    Clear(Arc<ClearScheme>, Vec<Secret>),
    Token(Arc<TokenScheme>, Vec<JwtKey>),
    Form(Box<dyn Keyed>),
    /// Secrets that were not read verify nothing.
    Unread,
}

/// A key is as good as its secret: nothing of it is shown.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Prepares the keys of `secrets` for `scheme`.
    ///
    /// # Errors
    /// No secret at all, or one that is not written as the scheme's `key` says; its name, never its value.
    pub fn new(scheme: Arc<Scheme>, secrets: &[NamedSecret]) -> Result<Self, Vec<String>> {
        if secrets.is_empty() {
            return Err(vec!["there is no secret to verify with".to_owned()]);
        }
        let check = match &scheme.0 {
            Method::Signed(signed) => Check::Signed(Arc::clone(signed), signed.keys(secrets)?),
            Method::Clear(clear) => {
                clear.check_secrets(secrets)?;
                let secrets = secrets.iter().map(|named| named.secret.clone()).collect();
                Check::Clear(Arc::clone(clear), secrets)
            }
            Method::Token(token) => Check::Token(Arc::clone(token), token.keys(secrets)?),
            Method::Form(form) => Check::Form(form.prepare(secrets)?),
        };
        Ok(Self { scheme, check })
    }

    /// One that verifies nothing: for a configuration that is only looked at, whose secrets are not read.
    #[must_use]
    pub fn unread(scheme: Arc<Scheme>) -> Self {
        Self { scheme, check: Check::Unread }
    }

    /// Checks `message` at the time `now`.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify(&self, message: &Message<'_>, now: Millis) -> Result<Verified, Refusal> {
        self.check(message, Some(now))
    }

    /// As [`Self::verify`], whenever it was signed: for requests that were captured.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify_untimed(&self, message: &Message<'_>) -> Result<Verified, Refusal> {
        self.check(message, None)
    }

    fn check(&self, message: &Message<'_>, now: Option<Millis>) -> Result<Verified, Refusal> {
        match &self.check {
            Check::Signed(scheme, keys) => scheme.verify(keys, message, now),
            Check::Clear(scheme, secrets) => scheme.verify(secrets, message),
            Check::Token(scheme, keys) => scheme.verify(keys, message, now),
            Check::Form(keyed) => keyed.verify(message, now),
            Check::Unread => Err(Refusal {
                kind: RefusalKind::InvalidSignature,
                message: "The secrets of this route were not read.".to_owned(),
                field: None,
            }),
        }
    }

    /// Whether `is` is true of one of the texts that a signature of `message` may be over, be it right or not.
    #[must_use]
    pub fn any_signed(&self, message: &Message<'_>, is: &dyn Fn(&[u8]) -> bool) -> bool {
        match &self.check {
            Check::Signed(scheme, keys) => scheme.any_signed(keys, message, is),
            // No handshake signs with the keys of these: see [`Scheme::key_of`].
            Check::Clear(..) | Check::Token(..) | Check::Form(_) | Check::Unread => false,
        }
    }

    /// Its scheme.
    #[must_use]
    pub fn scheme(&self) -> &Arc<Scheme> {
        &self.scheme
    }
}

#[cfg(test)]
mod tests;
