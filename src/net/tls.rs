//! What TLS toward an app is made of: whom to trust, who we say we are, which name to ask for.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::secret::Secret;
use crate::units::Invalid;

/// `tls` of a destination as typed, its files read; the default trusts the system's roots and shows no certificate.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// `ca`: the certificates that are trusted instead of the system's roots, PEM.
    pub ca: Option<Vec<u8>>,
    /// `cert`: our own certificate and what links it to its authority, PEM, our own first.
    pub cert: Option<Vec<u8>>,
    /// `key`: its private key, PEM (PKCS #8, PKCS #1 or SEC 1).
    pub key: Option<Secret>,
    /// `server_name`: the name that is asked for and that the app's certificate must bear, instead of the URL's host.
    pub server_name: Option<String>,
}

impl PartialEq for TlsOptions {
    fn eq(&self, other: &Self) -> bool {
        let same_key = match (&self.key, &other.key) {
            (Some(one), Some(other)) => one.matches(other.expose()),
            (None, None) => true,
            _ => false,
        };
        same_key && (&self.ca, &self.cert, &self.server_name) == (&other.ca, &other.cert, &other.server_name)
    }
}

impl Eq for TlsOptions {}

impl TlsOptions {
    /// Whether nothing is said but by default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Valid [`TlsOptions`], parsed. Cheap to clone; equal where the options are.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings(Arc<Parsed>);

#[derive(Default)]
struct Parsed {
    options: TlsOptions,
    authorities: Option<Authorities>,
    identity: Option<Identity>,
    server_name: Option<ServerName<'static>>,
}

/// The certificates of `ca`.
struct Authorities {
    certificates: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
}

/// Who we say we are: a chain of certificates, our own first, and the key of the first.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    resolver: Arc<SingleCertAndKey>,
}

/// Nothing of a key is ever printed.
impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca", &self.authorities.as_ref().map_or(0, |ca| ca.certificates.len()))
            .field("cert", &self.identity.as_ref().map_or(0, |identity| identity.chain.len()))
            .field("server_name", &self.options.server_name)
            .finish()
    }
}

impl PartialEq for TlsSettings {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.options == other.0.options
    }
}

impl Eq for TlsSettings {}

impl TlsSettings {
    /// Parses `options`.
    ///
    /// # Errors
    /// Every key that cannot be worked with, as `tls.KEY`.
    pub fn new(options: TlsOptions) -> Result<Self, Vec<Invalid>> {
        let mut invalid = Vec::new();
        let mut keep = |complaint| invalid.push(complaint);
        let authorities = options.ca.as_deref().and_then(|ca| authorities(ca).map_err(&mut keep).ok());
        let identity = match (&options.cert, &options.key) {
            (Some(cert), Some(key)) => identity(cert, key).map_err(&mut keep).ok(),
            (Some(_), None) => {
                keep(Invalid::new("tls.cert", "a certificate without its key proves nothing", "add `key`"));
                None
            }
            (None, Some(_)) => {
                keep(Invalid::new("tls.key", "a key without its certificate shows nothing", "add `cert`"));
                None
            }
            (None, None) => None,
        };
        let server_name =
            options.server_name.as_deref().and_then(|name| server_name(name).map_err(&mut keep).ok());
        if !invalid.is_empty() {
            return Err(invalid);
        }
        Ok(Self(Arc::new(Parsed { options, authorities, identity, server_name })))
    }

    /// Whether nothing is said but by default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.0.options.is_default()
    }

    /// What is trusted instead of the system's roots.
    #[must_use]
    pub fn roots(&self) -> Option<Arc<RootCertStore>> {
        Some(Arc::clone(&self.0.authorities.as_ref()?.roots))
    }

    /// The certificates of `ca`, DER.
    #[must_use]
    pub fn authorities(&self) -> Option<&[CertificateDer<'static>]> {
        Some(&self.0.authorities.as_ref()?.certificates)
    }

    /// Who answers where a server asks for a certificate.
    #[must_use]
    pub fn client_cert(&self) -> Option<Arc<dyn ResolvesClientCert>> {
        let resolver: Arc<dyn ResolvesClientCert> =
            Arc::<SingleCertAndKey>::clone(&self.0.identity.as_ref()?.resolver);
        Some(resolver)
    }

    /// The chain of `cert` and the key of its first, DER.
    #[must_use]
    pub fn identity(&self) -> Option<(&[CertificateDer<'static>], &PrivateKeyDer<'static>)> {
        self.0.identity.as_ref().map(|identity| (&identity.chain[..], &identity.key))
    }

    /// The name that is asked for instead of the URL's host.
    #[must_use]
    pub fn server_name(&self) -> Option<&ServerName<'static>> {
        self.0.server_name.as_ref()
    }
}

fn authorities(pem: &[u8]) -> Result<Authorities, Invalid> {
    let certificates = certificates("tls.ca", pem)?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| {
            Invalid::new("tls.ca", format!("a certificate in it cannot be trusted: {error}"), "")
        })?;
    }
    Ok(Authorities { certificates, roots: Arc::new(roots) })
}

fn identity(cert: &[u8], key: &Secret) -> Result<Identity, Invalid> {
    let chain = certificates("tls.cert", cert)?;
    // No error of the key's is repeated: it may hold some of its text.
    let key = PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| {
        Invalid::new(
            "tls.key",
            "it holds no private key in PEM",
            "write the path of a file with -----BEGIN PRIVATE KEY----- in it, without a passphrase",
        )
    })?;
    let provider = rustls::crypto::ring::default_provider();
    let certified = CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider).map_err(|error| {
        let message = match error {
            rustls::Error::InconsistentKeys(_) => "it is not the key of the certificate in `cert`".to_owned(),
            _ => "a key of this kind cannot be used: RSA, ECDSA (P-256, P-384) and Ed25519 can".to_owned(),
        };
        Invalid::new("tls.key", message, "")
    })?;
    Ok(Identity { chain, key, resolver: Arc::new(SingleCertAndKey::from(certified)) })
}

/// The certificates of a PEM file: at least one, each of them whole.
fn certificates(key: &'static str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    let hint = "write the path of a PEM file: -----BEGIN CERTIFICATE----- …";
    let broken = |error: pem::Error| Invalid::new(key, format!("it is not PEM: {error}"), hint);
    let found = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().map_err(broken)?;
    if found.is_empty() {
        return Err(Invalid::new(key, "it holds no certificate in PEM", hint));
    }
    // Both doors read certificates, with parsers of their own, and one of them takes for granted what this asks.
    let sound = |certificate: &CertificateDer<'_>| {
        x509_parser::parse_x509_certificate(certificate).is_ok_and(|(rest, _)| rest.is_empty())
    };
    match found.iter().position(|certificate| !sound(certificate)) {
        None => Ok(found),
        Some(nth) => Err(Invalid::new(key, format!("certificate {} in it is damaged", nth + 1), hint)),
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, Invalid> {
    ServerName::try_from(name.to_owned()).map_err(|_| {
        Invalid::new(
            "tls.server_name",
            format!("{name:?} is not a name that a certificate can bear"),
            "write a host name like \"app.internal\", or an address",
        )
    })
}

#[cfg(test)]
mod tests;
