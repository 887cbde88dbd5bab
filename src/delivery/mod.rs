//! The back door: when, how fast and how often an event goes to its destination.
//!
//! Each destination has a lane of its own: one task (`lane`), its connections (`client` over `pool` and
//! `connector`). A lane takes
//! events from the [`Buffer`](crate::buffer::Buffer) when its `scheduler` says so, makes attempts (`attempt`) with the
//! requests that `request` builds (one an event, or one for a `batch` of them), and settles or defers each event by how its attempt ended (`retry`). What bounds it
//! stands in `gate`: its `breaker`, the `ramp` after it, its rate (`departures`). What it remembers over a restart is in
//! `standing`, what follows from another name in `succession`. One destination that hangs holds up nothing but itself. [`Destinations`] starts the lanes, hands them new
//! settings, drains them.

mod alarm;
mod attempt;
mod batch;
mod breaker;
mod client;
mod connector;
mod departures;
mod destinations;
mod flights;
mod gate;
mod health;
mod lane;
mod measure;
mod open_time;
mod orphans;
mod pool;
mod ramp;
mod request;
mod resign;
mod retry;
mod scheduler;
mod settings;
mod standing;
mod succession;
mod tls;

pub use batch::{BatchFormat, BatchOptions};
pub use client::{BodyEnd, HttpClient, NoAnswer, Reply, ReplyBody};
pub use connector::Connector;
pub use destinations::{DestinationHealth, Destinations, RegionHealth, Undelivered, UnknownDestination};
pub use health::LaneState;
#[doc(hidden)]
pub use measure::Schedulers;
pub use orphans::ORPHANS_KEPT_FOR;
pub use resign::RouteSigner;
pub use retry::RetryOn;
pub use settings::{
    DestinationOptions, DestinationSettings, Endpoint, HeaderValueSetting, HostRule, OnGone, Place,
};
pub use standing::{Pause, PausedBy};
pub use tls::Tls;

#[cfg(test)]
mod tests;
