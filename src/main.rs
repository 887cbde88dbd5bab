//! Parse, run, exit code.

fn main() {
    println!("hooklatch {}", env!("CARGO_PKG_VERSION"));
}
