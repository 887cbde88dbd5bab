//! From the words of a scheme to a compiled one. Every wrong word is reported, not only the first.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::claims::TokenScheme;
use super::clear::{ClearForm, ClearScheme};
use super::faults::Faults;
use super::forms::{self, Form};
use super::redaction::Redaction;
use super::signed::{Proof, SignedScheme};
use super::spec::SchemeSpec;
use crate::secret::Secret;
use crate::units::Invalid;

/// A compiled scheme: no template is parsed while a request waits.
#[derive(Clone, Debug)]
pub struct Scheme(pub(super) Method);

#[derive(Clone, Debug)]
pub(super) enum Method {
    Signed(Arc<SignedScheme>),
    Clear(Arc<ClearScheme>),
    Token(Arc<TokenScheme>),
    Form(Arc<dyn Form>),
}

impl Scheme {
    /// Compiles `spec`.
    ///
    /// # Errors
    /// Every word of it that makes no sense; `key` as in the module's documentation, `"signature.header"`.
    pub fn compile(spec: &SchemeSpec) -> Result<Self, Vec<Invalid>> {
        let mut faults = Faults::default();
        match method(spec, &mut faults) {
            Some(method) if faults.0.is_empty() => Ok(Self(method)),
            _ => Err(faults.0),
        }
    }

    /// Whether a request that verifies is proven whole (`verified`); else only its sender is known
    /// (`authenticated`): a token, HTTP Basic, or a signature that leaves the body out.
    #[must_use]
    pub fn binds_body(&self) -> bool {
        match &self.0 {
            Method::Signed(scheme) => scheme.binds_body(),
            Method::Clear(_) => false,
            Method::Token(scheme) => scheme.binds_body(),
            Method::Form(form) => form.binds_body(),
        }
    }

    /// Whether the time is part of what is checked: an app behind that checks it again will refuse late deliveries.
    #[must_use]
    pub fn checks_time(&self) -> bool {
        match &self.0 {
            Method::Signed(scheme) => {
                scheme.timestamp.as_ref().is_some_and(|timestamp| timestamp.tolerance.is_some())
            }
            Method::Clear(_) => false,
            Method::Token(scheme) => scheme.checks_time(),
            Method::Form(form) => form.checks_time(),
        }
    }

    /// Whether the public URL is part of what is signed: it must then be known behind a proxy.
    #[must_use]
    pub fn signs_url(&self) -> bool {
        match &self.0 {
            Method::Signed(scheme) => scheme.signs_url(),
            Method::Clear(_) => false,
            Method::Token(scheme) => scheme.signs_url(),
            Method::Form(form) => form.signs_url(),
        }
    }

    /// Whether signing takes a private key, where checking takes the public one.
    #[must_use]
    pub fn has_private_key(&self) -> bool {
        match &self.0 {
            Method::Signed(scheme) => matches!(scheme.proof, Proof::PublicKey(_)),
            Method::Clear(_) => false,
            Method::Token(scheme) => scheme.has_private_key(),
            Method::Form(form) => form.has_private_key(),
        }
    }

    /// The headers in which the signature is looked for, in lower case.
    #[must_use]
    pub fn signature_headers(&self) -> Vec<String> {
        match &self.0 {
            Method::Signed(scheme) => scheme.place.header_names(),
            Method::Clear(scheme) => scheme.place.header_names(),
            Method::Token(scheme) => scheme.place.header_names(),
            Method::Form(form) => form.signature_headers(),
        }
    }

    /// The key that `secret` stands for where the scheme signs with it; `None` where it does not, or the secret is
    /// not written so.
    #[must_use]
    pub fn key_of(&self, secret: &Secret) -> Option<Zeroizing<Vec<u8>>> {
        match &self.0 {
            Method::Signed(scheme) => scheme.shared_key(secret),
            Method::Token(_) | Method::Clear(_) | Method::Form(_) => None,
        }
    }

    /// Where the secret itself stands in a request, or what is as good as it: to be shown to nobody.
    #[must_use]
    pub fn redaction(&self) -> Redaction {
        match &self.0 {
            Method::Clear(scheme) => Redaction::of_place(&scheme.place),
            Method::Token(scheme) if scheme.rules.is_some() => Redaction::of_place(&scheme.place),
            Method::Signed(_) | Method::Token(_) | Method::Form(_) => Redaction::default(),
        }
    }

    /// How a signature comes about, in a word for a table: `"HMAC"`, `"token"` …
    #[must_use]
    pub fn family(&self) -> &'static str {
        match &self.0 {
            Method::Signed(scheme) => match scheme.proof {
                Proof::Hmac(_) => "HMAC",
                Proof::Hash(_) => "hash",
                Proof::PublicKey(_) => "public key",
            },
            Method::Clear(scheme) => match scheme.form {
                ClearForm::Token { .. } => "token",
                ClearForm::Basic => "basic",
            },
            Method::Token(_) => "JWT",
            Method::Form(_) => "form",
        }
    }
}

fn method(spec: &SchemeSpec, faults: &mut Faults) -> Option<Method> {
    let word = spec.algorithm.as_str();
    if let Some(proof) = Proof::parse(word) {
        return SignedScheme::compile(spec, proof, faults).map(|scheme| Method::Signed(Arc::new(scheme)));
    }
    match word {
        "token" | "basic" => ClearScheme::compile(spec, faults).map(|scheme| Method::Clear(Arc::new(scheme))),
        "jwt" | "jws" => TokenScheme::compile(spec, faults).map(|scheme| Method::Token(Arc::new(scheme))),
        "" => faults.none("algorithm", "a scheme needs an algorithm", algorithms()),
        _ => match forms::compile(spec, faults) {
            Some(form) => form.map(Method::Form),
            None => faults.none("algorithm", format!("there is no algorithm {word:?}"), algorithms()),
        },
    }
}

/// The words for `algorithm`, for an error.
fn algorithms() -> String {
    let forms: Vec<String> = forms::WORDS.iter().map(|word| format!(", {word:?}")).collect();
    format!(
        "write \"hmac-sha256\" (or -md5, -sha1, -sha384, -sha512), \"token\", \"basic\", \"jwt\", \"jws\", \"ed25519\", \
         \"ecdsa-p256\", \"ecdsa-p256-sha1\", \"rsa-sha256\" (or -sha1, -sha512), \"rsa-pss-sha256\", a hash such as \
         \"sha256\"{}",
        forms.concat()
    )
}

#[cfg(test)]
mod tests;
