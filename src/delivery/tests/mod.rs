//! The back door against doubles of apps: over real sockets in real time, and over pipes in paused time.

mod batch;
mod client;
mod destinations;
mod double;
mod herd;
mod http2;
mod lane;
mod orphans;
mod outage;
mod pace;
mod regions;
mod request;
mod resign;
mod rig;
mod scheduler;
mod succession;
