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
use crate::headers::Headers;
use crate::secret::{Secret, Source};
use crate::select::Message;
use crate::verify::{NamedSecret, Provider, Signature, Signer, Verifier, replaced};

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

/// What to sign with, on the command line. A command that takes it makes the group `SecretArgs` optional.
#[derive(clap::Args, Debug)]
pub struct SigningArgs {
    #[command(flatten)]
    shared: SecretArgs,
    /// Read the provider's private key from this file, for schemes with key pairs: PEM, or an Ed25519 seed in hex
    #[arg(long, value_name = "PATH", conflicts_with = "SecretArgs")]
    private_key_file: Option<PathBuf>,
}

/// What a provider signs with.
pub enum SigningSecret {
    /// The secret that both sides know.
    Shared(Secret),
    /// The provider's own.
    PrivateKey(Secret),
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

impl SigningArgs {
    /// Reads the secret, or the private key.
    ///
    /// # Errors
    /// One that is missing, empty or unreadable.
    pub fn load(&self) -> Result<SigningSecret, Failure> {
        let Some(path) = &self.private_key_file else { return self.shared.load().map(SigningSecret::Shared) };
        let key = Source::File(path.clone()).load();
        key.map(SigningSecret::PrivateKey).map_err(|error| Failure::usage(error.to_string()))
    }
}

/// A provider with a secret.
pub struct Simulator {
    provider: Arc<Provider>,
    key: Key,
    ids: EventIds,
    clock: Clock,
}

enum Key {
    Shared(Box<Verifier>),
    Private(Box<Signer>),
}

/// An event, signed.
#[derive(Clone, Debug)]
pub struct SignedEvent {
    /// The query to send to, where the signature stands in it.
    pub query: Option<String>,
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
    pub fn new(catalog: &Catalog, name: &str, secret: SigningSecret) -> Result<Self, Failure> {
        let provider = providers::find(catalog, name)?;
        let key = match secret {
            SigningSecret::PrivateKey(key) => {
                Signer::new(&provider.scheme, &key).map(|signer| Key::Private(Box::new(signer)))
            }
            SigningSecret::Shared(_) if provider.scheme.has_private_key() => Err(format!(
                "{name} signs with a private key; give one with --private-key-file PATH, and its public key to the route"
            )),
            SigningSecret::Shared(secret) => {
                let named = NamedSecret { name: "1".into(), secret };
                let verifier = Verifier::new(Arc::clone(&provider.scheme), &[named]);
                verifier.map(|verifier| Key::Shared(Box::new(verifier))).map_err(|wrong| wrong.join("\n"))
            }
        };
        let key = key.map_err(Failure::usage)?;
        // Several commands may run at once: their ids differ by the process's.
        let ids = EventIds::starting_at(u64::from(std::process::id()) << 32);
        Ok(Self { provider, key, ids, clock: Clock::system() })
    }

    /// An id that no other event has.
    pub fn fresh_id(&self) -> String {
        self.ids.next(self.clock.now()).to_string().replacen("hl_", "sim_", 1)
    }

    /// What signs `body`, sent to `url`, at `now`.
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
    ) -> Result<Signature, Failure> {
        let target = Target::parse(url).map_err(Failure::Usage)?;
        let (path, query) = target.path_and_query();
        let message = Message { method: "POST", path, query, url, headers, body };
        let signature = match &self.key {
            Key::Shared(verifier) => verifier.sign(&message, id, now),
            Key::Private(signer) => signer.sign(&message, id, now),
        };
        signature.map_err(|why| Failure::failed(format!("cannot sign: {why}")))
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
        let query =
            signature.url.as_deref().and_then(|url| url.split_once('?')).map(|(_, query)| query.to_owned());
        let body = signature.body.map_or(body, Bytes::from);
        Ok(SignedEvent { query, headers: replaced(&headers, &signature.headers), body })
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
