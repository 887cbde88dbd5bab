//! The load generator of `make bench`, and what hooklatch is measured against. None of it is in the shipped binary.
//!
//! `benches/run.sh` calls it; by hand:
//!
//! ```text
//! load bare 127.0.0.1:9000                    # pingora, answering 200 after the body
//! load pass 127.0.0.1:9000 127.0.0.1:9001     # pingora, streaming to an app
//! load app  127.0.0.1:9001                    # an app that answers 200
//! load sink 127.0.0.1:9001                    # an app that takes a connection and never answers
//! load generate http://127.0.0.1:9000/github --pid PID
//! load latency http://127.0.0.1:9000/github --app 127.0.0.1:9001   # one event at a time, from the sender to the app
//! load fdatasync FOLDER                       # the disk's own
//! load report FILE                            # the table
//! ```
//!
//! Everything is on loopback, bounded in time, and ends by itself (the servers: after ten minutes).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a measuring tool: a failure panics, and the time it measures is the machine's"
)]

mod app;
mod busy;
mod fdatasync;
mod generate;
mod http;
mod latency;
mod reference;
mod report;
mod requests;
mod storage;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measures hooklatch against its references; called by benches/run.sh")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A bare pingora app that answers 200 after reading the body
    Bare { listen: SocketAddr },
    /// pingora's own pass-through
    Pass { listen: SocketAddr, app: SocketAddr },
    /// An app that answers 200 as fast as it can
    App { listen: SocketAddr },
    /// An app that accepts connections and never answers
    Sink { listen: SocketAddr },
    /// Sends signed events and prints what came of them as a line of JSON
    Generate(generate::Args),
    /// Sends signed events one at a time and tells how long each took to the app
    Latency(latency::Args),
    /// How long the disk of FOLDER takes for an fdatasync into blocks that were written before
    Fdatasync {
        folder: PathBuf,
        /// Rest so many milliseconds before each
        #[arg(long, default_value_t = 0)]
        rest: u64,
    },
    /// Makes a table of a file of such lines
    Report { file: PathBuf },
    /// Half of the median rate that such a file holds of NAME
    Half { file: PathBuf, name: String },
}

fn main() {
    match Cli::parse().command {
        Command::Bare { listen } => reference::bare(listen),
        Command::Pass { listen, app } => reference::pass(listen, app),
        Command::App { listen } => {
            end_by_itself();
            app::serve(listen, &app::Counter::default(), &app::Held::default());
        }
        Command::Sink { listen } => {
            end_by_itself();
            app::sink(listen);
        }
        Command::Generate(args) => generate::run(&args),
        Command::Latency(args) => latency::run(&args),
        Command::Fdatasync { folder, rest } => {
            fdatasync::run(&folder, std::time::Duration::from_millis(rest));
        }
        Command::Report { file } => report::print(&file),
        Command::Half { file, name } => report::half(&file, &name),
    }
}

/// No server outlives its script by much, however that ended.
fn end_by_itself() {
    std::thread::spawn(|| {
        std::thread::sleep(std::time::Duration::from_secs(600));
        std::process::exit(0);
    });
}
