//! Plays a provider: makes events with fresh ids and signs them as it would.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::out::Failure;
use super::providers;
use super::target::Target;
use crate::clock::{Clock, Millis};
use crate::config::Catalog;
use crate::event::EventIds;
use crate::headers::{Headers, HeadersBuilder};
use crate::secret::{Secret, Source};
use crate::select::Message;
use crate::verify::{NamedSecret, Provider, Verifier};

/// The secret shared with the provider, on the command line.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
pub struct SecretArgs {
    /// Read the secret from this environment variable
    #[arg(long, value_name = "NAME")]
    secret_env: Option<String>,
    /// Read the secret from this file
    #[arg(long, value_name = "PATH")]
    secret_file: Option<PathBuf>,
    /// The secret itself; only for test ones, other users of the machine can see it
    #[arg(long, value_name = "S")]
    secret: Option<String>,
}

impl SecretArgs {
    /// Reads the secret.
    ///
    /// # Errors
    /// One that is missing, empty or unreadable.
    pub fn load(&self) -> Result<Secret, Failure> {
        let source = self
            .secret_env
            .clone()
            .map(Source::Env)
            .or_else(|| self.secret_file.clone().map(Source::File))
            .or_else(|| self.secret.clone().map(Source::Value))
            .ok_or_else(|| Failure::usage("name a secret: --secret-env, --secret-file or --secret"))?;
        source.load().map_err(|error| Failure::usage(error.to_string()))
    }
}

/// A provider with a secret.
pub struct Simulator {
    provider: Arc<Provider>,
    verifier: Verifier,
    ids: EventIds,
    clock: Clock,
}

/// An event, signed.
#[derive(Clone, Debug)]
pub struct SignedEvent {
    /// Every header but `Host` and `Content-Length`.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
}

/// What an event is made of where it is not the provider's sample.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Another type than the sample's.
    pub event_type: Option<String>,
    /// Another body than the sample's.
    pub body: Option<Bytes>,
}

impl Simulator {
    /// The provider `name` with `secret`.
    ///
    /// # Errors
    /// An unknown provider, a secret that is not written as the provider's are.
    pub fn new(catalog: &Catalog, name: &str, secret: Secret) -> Result<Self, Failure> {
        let provider = providers::find(catalog, name)?;
        let named = NamedSecret { name: "1".into(), secret };
        let verifier = Verifier::new(Arc::clone(&provider.scheme), &[named])
            .map_err(|wrong| Failure::usage(wrong.join("\n")))?;
        // Several commands may run at once: their ids differ by the process's.
        let ids = EventIds::starting_at(u64::from(std::process::id()) << 32);
        Ok(Self { provider, verifier, ids, clock: Clock::system() })
    }

    /// An id that no other event has.
    pub fn fresh_id(&self) -> String {
        self.ids.next(self.clock.now()).to_string().replacen("hl_", "sim_", 1)
    }

    /// The headers that sign `body`, sent to `url`, at `now`.
    ///
    /// # Errors
    /// A scheme that needs more than is at hand.
    pub fn sign(
        &self,
        url: &str,
        headers: &Headers,
        body: &[u8],
        id: &str,
        now: Millis,
    ) -> Result<Headers, Failure> {
        let target = Target::parse(url).map_err(Failure::Usage)?;
        let (path, query) = target.path_and_query();
        let message = Message { method: "POST", path, query, url, headers, body };
        self.verifier.sign(&message, id, now).map_err(|why| Failure::failed(format!("cannot sign: {why}")))
    }

    /// A whole event as the provider sends it to `url` at `now`.
    ///
    /// # Errors
    /// A provider without a sample where no body is given, and those of [`Simulator::sign`].
    pub fn event(&self, url: &str, wish: &Wish, id: &str, now: Millis) -> Result<SignedEvent, Failure> {
        let sample = match &self.provider.sample {
            Some(sample) => Some(sample.event(id, wish.event_type.as_deref(), now)),
            None if wish.body.is_some() => None,
            None => {
                return Err(Failure::usage(format!(
                    "{} has no sample event here; give one with --body FILE",
                    self.provider.display_name
                )));
            }
        };
        let (headers, sample_body) =
            sample.map_or_else(Default::default, |event| (event.headers, event.body));
        let body = wish.body.clone().unwrap_or_else(|| Bytes::from(sample_body));
        let signature = self.sign(url, &headers, &body, id, now)?;
        Ok(SignedEvent { headers: replaced(&headers, &signature), body })
    }

    /// Whether the provider signs the URL it sends to.
    #[must_use]
    pub fn signs_url(&self) -> bool {
        self.provider.scheme.signs_url()
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.clock.now()
    }
}

/// `first` with the lines of `second`, which replace those of the same name.
fn replaced(first: &Headers, second: &Headers) -> Headers {
    let mut lines = HeadersBuilder::with_capacity(first.as_bytes().len() + second.as_bytes().len());
    for (name, value) in first.iter() {
        if std::str::from_utf8(name).is_ok_and(|name| second.get(name).is_none()) {
            lines.push(name, value);
        }
    }
    for (name, value) in second.iter() {
        lines.push(name, value);
    }
    lines.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_headers_replace_those_of_the_sample() {
        let first = Headers::from_pairs([("X-Id", "old"), ("X-Kept", "1")]);
        let second = Headers::from_pairs([("x-id", "new"), ("X-Sig", "2")]);
        let merged = replaced(&first, &second);
        assert_eq!(merged.as_bytes().as_ref(), b"X-Kept: 1\r\nx-id: new\r\nX-Sig: 2\r\n");
    }
}
