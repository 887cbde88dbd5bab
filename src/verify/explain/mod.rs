//! Why a request did not verify: the usual causes, each tried.
//!
//! A cause is named only where the request verifies with it undone, so what is said is proven. For the operator alone: it
//! tells more than a sender may know, though never a secret or a signature.

mod bodies;
mod layout;
mod readings;
mod urls;

use std::fmt;
use std::sync::Arc;

use super::{NamedSecret, Provider, Refusal, RefusalKind, Scheme, Verifier};
use crate::clock::Millis;
use crate::select::Message;

/// What is hashed for one explanation at most, bytes: a second's work, or less.
const MOST_HASHED: usize = 512 << 20;
/// So many causes are enough.
const MOST_CAUSES: usize = 5;

/// A request that did not verify, and what may explain it.
#[derive(Debug)]
pub struct Case<'a> {
    /// The request.
    pub message: Message<'a>,
    /// When it came.
    pub at: Millis,
    /// The scheme it was checked with.
    pub scheme: &'a Arc<Scheme>,
    /// The secrets it was checked with.
    pub secrets: &'a [NamedSecret],
    /// Secrets of others.
    pub others: &'a [Suspect],
    /// The schemes of other providers.
    pub providers: &'a [Arc<Provider>],
}

/// A secret that the request was not checked with.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// Whose it is, as it stands in a sentence: "route `billing`".
    pub of: String,
    /// The secret.
    pub secret: NamedSecret,
}

/// What was found out.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Why it is refused; `None` where it verifies, now.
    pub refusal: Option<Refusal>,
    /// What explains it, the likeliest first; none where no usual cause does.
    pub causes: Vec<Cause>,
    /// Whether the body was too large for all causes to be tried.
    pub cut_short: bool,
    /// What to say where no cause was found.
    pub otherwise: String,
}

/// A cause: the request verifies without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Which.
    pub kind: CauseKind,
    /// A sentence or two: what it is and what to do about it.
    pub message: String,
}

/// The kinds of [`Cause`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CauseKind {
    /// Signed right, too long ago or too far ahead.
    Clock,
    /// Signed with another secret that is known here.
    OtherSecret,
    /// The right secret, written in another encoding.
    SecretEncoding,
    /// A line end at the end of the body came or went.
    TrailingNewline,
    /// The body was written anew on its way.
    BodyRewritten,
    /// Another URL was signed.
    PublicUrl,
    /// It carries what another provider's requests carry.
    OtherProvider,
    /// The provider signed it for another customer.
    OtherRecipient,
}

impl CauseKind {
    /// A word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::OtherSecret => "other_secret",
            Self::SecretEncoding => "secret_encoding",
            Self::TrailingNewline => "trailing_newline",
            Self::BodyRewritten => "body_rewritten",
            Self::PublicUrl => "public_url",
            Self::OtherProvider => "other_provider",
            Self::OtherRecipient => "other_recipient",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Explains `case`. Takes up to a second where the body is large: not for a thread that answers others.
#[must_use]
pub fn explain(case: &Case<'_>) -> Explanation {
    let mut trial = Trial { at: case.at, left: MOST_HASHED, cut_short: false };
    let refusal = Verifier::new(Arc::clone(case.scheme), case.secrets)
        .ok()
        .map(|verifier| verifier.verify(&case.message, case.at).err());
    let mut causes = Vec::new();
    match &refusal {
        Some(None) => {}
        Some(Some(Refusal { kind: RefusalKind::TimestampOutOfTolerance, message, .. })) => {
            causes.push(Cause { kind: CauseKind::Clock, message: message.clone() });
        }
        Some(Some(Refusal { kind: RefusalKind::MissingSignature, .. })) | None => {
            other_providers(case, &mut trial, &mut causes);
        }
        Some(Some(_)) => {
            other_secrets(case, &mut trial, &mut causes);
            readings::try_all(case, &mut trial, &mut causes);
            urls::try_all(case, &mut trial, &mut causes);
            if case.scheme.binds_body() {
                bodies::try_all(case, &mut trial, &mut causes);
            }
            // Where the cause is known, that it would verify elsewhere, too, is no advice.
            if causes.is_empty() {
                other_providers(case, &mut trial, &mut causes);
            }
        }
    }
    causes.truncate(MOST_CAUSES);
    let refusal = refusal.flatten();
    let otherwise = otherwise(case, refusal.as_ref());
    Explanation { refusal, causes, cut_short: trial.cut_short, otherwise }
}

/// What is left where no usual cause explains a refusal.
fn otherwise(case: &Case<'_>, refusal: Option<&Refusal>) -> String {
    if let Some(Refusal { kind: RefusalKind::MissingSignature, message, .. }) = refusal {
        return format!(
            "{message} Either no secret is set for this webhook where the provider sends it, or something on the way removes \
             it, or it is somebody else who sent this."
        );
    }
    let mut text = "None of the usual causes explains it. The likeliest that is left: the provider signs with a secret that \
                    is not configured here, or it is somebody else who sent this."
        .to_owned();
    if case.scheme.signs_url() {
        let url = urls::shown(case.message.url);
        let of_url = format!(
            " The URL is signed, too, and this route takes it for {url}: if the webhook is registered under another one, \
             write that as public_url in the route."
        );
        text.push_str(&of_url);
    }
    text
}

/// Tries, as long as there is work left that may be done.
struct Trial {
    at: Millis,
    left: usize,
    cut_short: bool,
}

impl Trial {
    /// Whether `message` is signed with `secret`, at whatever time.
    fn fits(&mut self, scheme: &Arc<Scheme>, secret: &NamedSecret, message: &Message<'_>) -> bool {
        let cost = message.body.len() + 1024;
        if cost > self.left {
            self.cut_short = true;
            return false;
        }
        self.left -= cost;
        let Ok(verifier) = Verifier::new(Arc::clone(scheme), std::slice::from_ref(secret)) else {
            return false;
        };
        match verifier.verify(message, self.at) {
            Ok(_) => true,
            Err(refusal) => refusal.kind == RefusalKind::TimestampOutOfTolerance,
        }
    }
}

fn other_secrets(case: &Case<'_>, trial: &mut Trial, causes: &mut Vec<Cause>) {
    for suspect in case.others {
        if trial.fits(case.scheme, &suspect.secret, &case.message) {
            let message = format!(
                "It is signed with the secret `{}` of {}. Add that secret here, or point the webhook at its own route.",
                suspect.secret.name, suspect.of
            );
            causes.push(Cause { kind: CauseKind::OtherSecret, message });
        }
    }
}

/// Headers that other providers sign in, and whether the request verifies as theirs.
fn other_providers(case: &Case<'_>, trial: &mut Trial, causes: &mut Vec<Cause>) {
    let own = case.scheme.signature_headers();
    let is_there = |header: &String| case.message.headers.get(header).is_some();
    // Where the header of this route's scheme is there, others of the same name prove nothing.
    let own_is_there = own.iter().any(is_there);
    let (mut proven, mut likely) = (Vec::new(), Vec::new());
    for provider in case.providers {
        let theirs = provider.scheme.signature_headers();
        let Some(header) = theirs.iter().find(|header| is_there(header)) else { continue };
        let secrets = case.secrets.iter().chain(case.others.iter().map(|suspect| &suspect.secret));
        // With that secret the route's own scheme takes it, too: many providers sign alike, and it is the secret that differs.
        let fitting = secrets.take(64).find(|secret| {
            trial.fits(&provider.scheme, secret, &case.message)
                && !trial.fits(case.scheme, secret, &case.message)
        });
        match fitting {
            Some(secret) => proven.push((provider, secret)),
            None if !own_is_there && !own.contains(header) => likely.push((provider, header.clone())),
            None => {}
        }
    }
    for (provider, secret) in &proven {
        let message = format!(
            "It verifies as a request of provider \"{}\" with the secret `{}`. Write provider = \"{}\", or point the webhook at \
             that provider's route.",
            provider.name, secret.name, provider.name
        );
        causes.push(Cause { kind: CauseKind::OtherProvider, message });
    }
    if let (true, Some((_, header))) = (proven.is_empty(), likely.first()) {
        let same = likely.iter().filter(|(_, other)| other == header);
        let names: Vec<String> = same.take(3).map(|(provider, _)| format!("\"{}\"", provider.name)).collect();
        let message = format!(
            "It carries the header {header}, in which requests of provider {} are signed; this route looks for {}. Point the \
             webhook at that provider's route.",
            names.join(" or "),
            own.join(" or ")
        );
        causes.push(Cause { kind: CauseKind::OtherProvider, message });
    }
}

#[cfg(test)]
mod tests;
