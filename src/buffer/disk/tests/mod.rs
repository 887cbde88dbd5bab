//! The spool as those around it use it, over a disk that forgets; and the whole buffer, over a real one.

mod flips;
mod model;
mod oracle;
mod restart;
mod rig;
mod running;
mod scale;
