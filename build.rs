//! Embeds the data: every `conf/providers/NAME.toml` and `conf/ip-lists/NAME.toml` goes into the binary.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    embed("conf/providers", "providers.rs", "The providers' files")?;
    embed("conf/ip-lists", "ip_lists.rs", "The files of providers' addresses")
}

/// Writes `FILES`, the name and text of every `.toml` file in `folder`, into `OUT_DIR/into`. The checkout's own place is
/// left to the compiler to fill in, so that what is built stays good in a folder that was moved or copied.
fn embed(folder: &str, into: &str, what: &str) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={folder}");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join(folder))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name =
                path.file_stem().and_then(|stem| stem.to_str()).ok_or("a file name that is no text")?;
            names.push(name.to_owned());
        }
    }
    names.sort();
    let mut list = format!("/// {what}: name and text, sorted by name.\n");
    list.push_str("pub(super) static FILES: &[(&str, &str)] = &[\n");
    for name in names {
        let path = format!("/{folder}/{name}.toml");
        writeln!(list, "    ({name:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {path:?}))),")?;
    }
    list.push_str("];\n");
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join(into), list)?;
    Ok(())
}
