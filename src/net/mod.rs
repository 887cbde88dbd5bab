//! Addresses: sets of them, names resolved to them, and which of them are never connected to.

pub mod address_rules;
mod ip_list;
mod ip_set;
mod resolver;

pub use ip_list::{AllowIps, IpList, IpListView, ListChange, Published};
pub use ip_set::{IpSet, NotAnAddress};
pub use resolver::{ResolveError, Resolver};
