//! The front door: who may come in, and what becomes of it.
//!
//! The lower half knows bytes: listeners, connections, heads, bodies, streaming through. The upper half decides:
//! routes, addresses, checks, answers. They meet in [`Front`].

mod alarm;
mod body;
mod budget;
mod chunked;
mod client_ip;
mod conn;
mod corridor;
mod door;
mod forward;
mod front;
mod head;
mod listen;
mod parse;
mod passthrough;
mod path;
mod refusal;
mod registry;
mod rejected;
mod router;
mod session;
mod settings;
mod upstream_tls;
mod write;

#[cfg(test)]
mod tests;

pub use corridor::{
    ActionView, AllowIpsView, CONFIRMATIONS, Confirmation, CorridorView, Explained, Ingress, NotReleased,
    Parts, Released, RouteView, Ticket, Waived,
};
pub use door::Door;
pub use front::{At, Fault, Front, Passage, Passed, Plan, Reply};
pub use head::{Framing, Head};
pub use listen::{Bound, OpenFiles, raise_open_files};
pub use refusal::{Refusal, status};
pub use rejected::{Rejected, RejectedOptions, RejectedSettings};
pub use router::{Match, RouteConflict, RouteKey, Router, TableRow};
pub use settings::{
    Action, Capture, CorridorSettings, DedupeRule, DeliverTo, Evidence, ListenAddress, Listener, PathPattern,
    Peer, Priorities, Proof, ProxySettings, RouteSettings, ServerOptions, ServerSettings, ShadowSecrets,
    TrustedProxies, Upstream,
};
pub use upstream_tls::UpstreamTls;
