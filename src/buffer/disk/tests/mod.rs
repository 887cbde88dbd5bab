//! The spool as those around it use it, over a disk that forgets.

mod flips;
mod model;
mod oracle;
