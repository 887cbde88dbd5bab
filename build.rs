//! Embeds the data: every `conf/providers/NAME.toml` and `conf/ip-lists/NAME.toml` goes into the binary.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    embed("conf/providers", "providers.rs", "The providers' files")?;
    embed("conf/ip-lists", "ip_lists.rs", "The files of providers' addresses")
}

/// Writes `FILES`, the name and text of every `.toml` file in `folder`, into `OUT_DIR/into`.
fn embed(folder: &str, into: &str, what: &str) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={folder}");
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join(folder);
    let mut names = Vec::new();
    if folder.is_dir() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let name =
                    path.file_stem().and_then(|stem| stem.to_str()).ok_or("a file name that is no text")?;
                names.push((name.to_owned(), path.clone()));
            }
        }
    }
    names.sort();
    let mut list = format!("/// {what}: name and text, sorted by name.\n");
    list.push_str("pub(super) static FILES: &[(&str, &str)] = &[\n");
    for (name, path) in names {
        let path = path.to_str().ok_or("a path that is no text")?;
        writeln!(list, "    ({name:?}, include_str!({path:?})),")?;
    }
    list.push_str("];\n");
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join(into), list)?;
    Ok(())
}
