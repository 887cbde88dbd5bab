//! The way to an app, for both doors: addresses, sets of them, names resolved to them, which of them are never connected
//! to, which of several places to go to, and whom to trust there.

pub mod address_rules;
mod failover;
mod ip_list;
mod ip_set;
mod resolver;
mod tls;

pub use failover::{Change, Failover, Failovers};
pub use ip_list::{AllowIps, IpList, IpListView, ListChange, Published};
pub use ip_set::{IpSet, NotAnAddress};
pub use resolver::{ResolveError, Resolver};
pub use tls::{TlsOptions, TlsSettings};
