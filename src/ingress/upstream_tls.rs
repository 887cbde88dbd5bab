//! TLS toward the app of a pass-through, in pingora's words.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::pki_types::CertificateDer;

use crate::net::TlsSettings;

/// Whom to trust, what to show, which name to ask for. Cheap to clone. The default trusts the system's roots.
#[derive(Clone, Default)]
pub struct UpstreamTls {
    ca: Option<Arc<CaType>>,
    identity: Option<Arc<CertKey>>,
    server_name: Option<String>,
    /// Connections are shared by those alone that trust and show the same.
    group: u64,
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamTls")
            .field("ca", &self.ca.as_ref().map_or(0, |ca| ca.len()))
            .field("cert", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
}

impl From<&TlsSettings> for UpstreamTls {
    fn from(settings: &TlsSettings) -> Self {
        if settings.is_default() {
            return Self::default();
        }
        let mut group = DefaultHasher::new();
        settings.authorities().hash(&mut group);
        settings.identity().map(|(chain, _)| chain).hash(&mut group);
        settings.server_name().hash(&mut group);
        let identity = settings.identity().map(|(chain, key)| {
            let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
            Arc::new(CertKey::new(chain, key.secret_der().to_vec()))
        });
        Self {
            ca: settings.authorities().map(|ca| ca.iter().map(wrapped).collect()),
            identity,
            server_name: settings.server_name().map(|name| name.to_str().into_owned()),
            group: group.finish(),
        }
    }
}

/// `parse_x509` panics on what is no certificate; [`TlsSettings`] holds none that its parser does not read.
fn wrapped(certificate: &CertificateDer<'static>) -> WrappedX509 {
    WrappedX509::new(certificate.to_vec(), parse_x509)
}

impl UpstreamTls {
    /// The name that the server called `host` is asked for, and has to prove.
    pub(super) fn server_name<'a>(&'a self, host: &'a str) -> &'a str {
        self.server_name.as_deref().unwrap_or(host)
    }

    /// Makes `peer` verified by these.
    pub(super) fn apply(&self, peer: &mut HttpPeer) {
        peer.options.ca.clone_from(&self.ca);
        peer.client_cert_key.clone_from(&self.identity);
        peer.group_key = self.group;
    }
}
