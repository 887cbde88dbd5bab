//! The door as a whole, on real sockets.

mod bed;
mod proxy;
mod webhook;
