//! Parse, run, exit code.

use std::process::ExitCode;

/// Webhook bodies come in all sizes and leave in another order than they came. glibc's allocator keeps an arena a
/// thread and gives little of such churn back to the system; mimalloc hands a page of one size back as a whole, and
/// its fast path is shorter.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hooklatch::cli::main(std::env::args_os())
}
