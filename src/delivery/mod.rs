//! The back door: when, how fast and how often an event goes to its destination.
//!
//! Each destination has a lane of its own: one task (`lane`), its connections (`client` over `connector`), its
//! schedule (`retry`). A lane takes events from the [`Buffer`](crate::buffer::Buffer), makes attempts (`attempt`) with
//! the requests that `request` builds, and settles or defers each event by how its attempt ended. One destination
//! that hangs holds up nothing but itself. [`Destinations`] starts the lanes, hands them new settings, drains them.

mod attempt;
mod client;
mod connector;
mod destinations;
mod lane;
mod request;
mod retry;
mod settings;

pub use client::{BodyEnd, HttpClient, NoAnswer, Reply, ReplyBody};
pub use connector::{Connector, Tls};
pub use destinations::{DestinationHealth, Destinations, Undelivered};
pub use settings::{DestinationOptions, DestinationSettings, Endpoint, HeaderValueSetting, HostRule};

#[cfg(test)]
mod tests;
