//! What a large backlog costs: a start, memory, an accept beside it, the way to one event behind all others, a tail of
//! noise. Each is prepared and measured by a process of its own, through the buffer as the gateway uses it.
//!
//! `make scale`, or `target/release/examples/scale FOLDER [start-1 start-10 pending ordered retries refill tails]…`. The folder is made,
//! and removed at the end; 30 GB are needed. As root the page cache is dropped before every start.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench stops at the first surprise, and measures real time"
)]

mod cases;
mod fill;
mod open;
mod process;

use std::path::Path;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["fill", folder, rest @ ..] => fill::run(Path::new(folder), rest),
        ["open", folder, rest @ ..] => open::run(Path::new(folder), rest),
        [folder, cases @ ..] if !folder.starts_with('-') => cases::run(Path::new(folder), cases),
        _ => eprintln!("usage: scale FOLDER [start-1 start-10 pending ordered retries refill tails]…"),
    }
}
