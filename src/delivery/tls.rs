//! TLS toward destinations: verified, always; HTTP/2 where the server offers it.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::net::TlsSettings;

/// What is offered by ALPN (RFC 7301), the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How destinations are verified, and what they are shown. Cheap to clone; clones share what was read: the system's
/// roots are read once, when the first destination that trusts them is connected to.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    system: Arc<OnceLock<Result<Arc<RootCertStore>, String>>>,
    own: TlsSettings,
    config: Arc<OnceLock<Result<Arc<ClientConfig>, String>>>,
}

impl Tls {
    /// Trusts the system's roots.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// Trusts `roots` in the place of the system's.
    #[must_use]
    pub fn with_roots(roots: RootCertStore) -> Self {
        let tls = Self::default();
        let _ = tls.system.set(Ok(Arc::new(roots)));
        tls
    }

    /// The same, as far as `own` says nothing else.
    #[must_use]
    pub fn with(&self, own: &TlsSettings) -> Self {
        if own.is_default() {
            return self.clone();
        }
        Self { system: Arc::clone(&self.system), own: own.clone(), config: Arc::default() }
    }

    /// The settings of one destination.
    #[must_use]
    pub fn own(&self) -> &TlsSettings {
        &self.own
    }

    /// Speaks TLS on `stream` with the server called `host`.
    ///
    /// # Errors
    /// A sentence: no such name, no roots, a certificate that does not verify.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let name = match self.own.server_name() {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|_| format!("{host} is not a name that a certificate can bear"))?,
        };
        let config = self.config().await?;
        let connecting = TlsConnector::from(config).connect(name, stream);
        connecting.await.map_err(|error| format!("TLS with {host} failed: {error}"))
    }

    /// Reading the system's roots takes some milliseconds of disk and parsing, so it happens off the runtime's
    /// threads. There is no fallback: without roots nothing verifies, and the sentence says so.
    async fn config(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.config.get() {
            return config.clone();
        }
        let this = self.clone();
        let make = move || {
            let make = || {
                let roots = match this.own.roots() {
                    Some(roots) => roots,
                    None => this.system.get_or_init(system_roots).clone()?,
                };
                client_config(roots, &this.own)
            };
            this.config.get_or_init(make).clone()
        };
        tokio::task::spawn_blocking(make)
            .await
            .map_err(|error| format!("the system's root certificates could not be read: {error}"))?
    }
}

fn system_roots() -> Result<Arc<RootCertStore>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!("this machine has no root certificates (install ca-certificates){reason}"));
    }
    Ok(Arc::new(roots))
}

fn client_config(roots: Arc<RootCertStore>, own: &TlsSettings) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match own.client_cert() {
        Some(resolver) => builder.with_client_cert_resolver(resolver),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    config.enable_sni = true;
    Ok(Arc::new(config))
}
