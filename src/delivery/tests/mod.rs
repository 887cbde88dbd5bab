//! The back door against doubles of apps: over real sockets in real time, and over pipes in paused time.

mod client;
mod destinations;
mod double;
mod lane;
mod outage;
mod pace;
mod request;
mod rig;
mod scheduler;
