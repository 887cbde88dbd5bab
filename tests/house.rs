//! The house keeps its floors: every `crate::` and `super::` path in `src/` goes down, never up or sideways.
//!
//! The table below is the architecture; ARCHITECTURE.md explains it. A room that is missing here fails the test, so
//! that a new one is placed on purpose. Beside it: what `make fuzz` builds is locked to what the house needs.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by floor, lowest first. A room may import rooms of lower floors only.
const FLOORS: [&[&str]; 10] = [
    &["clock", "headers", "secret", "units"],
    &["event", "net", "select"],
    &["observe"],
    &["buffer", "dedupe", "limit", "verify"],
    &["delivery", "ingress"],
    &["admin"],
    &["config"],
    &["gateway"],
    &["cli"],
    &["main"],
];

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The module path of a file below `src`: `src/buffer/memory/mod.rs` is `["buffer", "memory"]`.
fn module_of(file: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

/// The words and punctuation of Rust source; comments, strings, characters and lifetimes are left out.
fn tokens(source: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = source.chars().collect();
    let (mut i, mut line, mut found) = (0, 1, Vec::new());
    while i < chars.len() {
        let start = i;
        match chars[i] {
            '/' if chars.get(i + 1) == Some(&'/') => {
                while i < chars.len() && chars[i] != '\n' {
                    i += 1;
                }
            }
            '/' if chars.get(i + 1) == Some(&'*') => {
                i += 2;
                while i + 1 < chars.len() && !(chars[i] == '*' && chars[i + 1] == '/') {
                    i += 1;
                }
                i += 2;
            }
            'r' if raw_string_hashes(&chars, i).is_some() => {
                let hashes = raw_string_hashes(&chars, i).expect("just seen");
                i += 2 + hashes;
                while i < chars.len()
                    && !(chars[i] == '"' && (1..=hashes).all(|n| chars.get(i + n) == Some(&'#')))
                {
                    i += 1;
                }
                i += 1 + hashes;
            }
            '"' => {
                i += 1;
                while i < chars.len() && chars[i] != '"' {
                    i += if chars[i] == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            '\'' if chars.get(i + 1) == Some(&'\\') => {
                i += 3;
                while i < chars.len() && chars[i] != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' if chars.get(i + 2) == Some(&'\'') => i += 3,
            c if c.is_alphanumeric() || c == '_' => {
                while i < chars.len() && (chars[i].is_alphanumeric() || chars[i] == '_') {
                    i += 1;
                }
                found.push((line, chars[start..i].iter().collect()));
            }
            ':' if chars.get(i + 1) == Some(&':') => {
                i += 2;
                found.push((line, "::".to_owned()));
            }
            c => {
                i += 1;
                if !c.is_whitespace() {
                    found.push((line, c.to_string()));
                }
            }
        }
        line += chars[start..i.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    found
}

fn raw_string_hashes(chars: &[char], at: usize) -> Option<usize> {
    let before_is_word =
        at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_') && chars[at - 1] != 'b';
    let hashes = chars.get(at + 1..)?.iter().take_while(|c| **c == '#').count();
    (!before_is_word && chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// The rooms that the path beginning at `tokens[at]` (just behind `crate::`) names: one, or those of a `{…}` group.
fn rooms_at(tokens: &[(usize, String)], at: usize) -> Vec<String> {
    let word = |i: usize| tokens.get(i).map_or("", |(_, t)| t.as_str());
    if word(at) != "{" {
        return vec![word(at).to_owned()];
    }
    let (mut i, mut depth, mut expects, mut rooms) = (at + 1, 1, true, Vec::new());
    while depth > 0 && i < tokens.len() {
        match word(i) {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => expects = true,
            room if depth == 1 && expects => {
                rooms.push(room.to_owned());
                expects = false;
            }
            _ => {}
        }
        i += 1;
    }
    rooms
}

/// Every room that `source`, of module `module`, reaches by `crate::` or by enough `super::`, with the line.
fn reached(module: &[String], source: &str) -> Vec<(usize, String)> {
    let tokens = tokens(source);
    let word = |i: usize| tokens.get(i).map_or("", |(_, t)| t.as_str());
    let (mut reached, mut depth, mut inline_modules) = (Vec::new(), 0usize, Vec::new());
    let mut i = 0;
    while i < tokens.len() {
        match word(i) {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if inline_modules.last() == Some(&depth) {
                    inline_modules.pop();
                }
            }
            "mod" if word(i + 2) == "{" => inline_modules.push(depth),
            "crate" if word(i + 1) == "::" => {
                let line = tokens[i].0;
                reached.extend(rooms_at(&tokens, i + 2).into_iter().map(|room| (line, room)));
            }
            "super" if word(i + 1) == "::" && (i < 2 || word(i - 2) != "super") => {
                let (line, mut ups) = (tokens[i].0, 0);
                while word(i) == "super" && word(i + 1) == "::" {
                    ups += 1;
                    i += 2;
                }
                if ups >= module.len() + inline_modules.len() {
                    reached.extend(rooms_at(&tokens, i).into_iter().map(|room| (line, room)));
                }
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    reached
}

/// What is wrong with the imports of one file.
fn complaints(file: &str, module: &[String], source: &str) -> Vec<String> {
    let Some(room) = module.first() else { return Vec::new() };
    let Some(floor) = floor_of(room) else {
        return vec![format!("{file}: the room `{room}` stands on no floor; give it one in tests/house.rs")];
    };
    reached(module, source)
        .into_iter()
        .filter(|(_, target)| target != room && target != "self")
        .filter_map(|(line, target)| match floor_of(&target) {
            Some(below) if below < floor => None,
            Some(other) => {
                Some(format!("{file}:{line}: `{room}` (floor {floor}) imports `{target}` (floor {other})"))
            }
            None => Some(format!("{file}:{line}: `{room}` imports `{target}`, which is no room")),
        })
        .collect()
}

#[test]
fn imports_only_go_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 100, "the walk found only {} files", files.len());
    let wrong: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let relative = file.strip_prefix(&src).expect("below src");
            let source = fs::read_to_string(file).expect("source is UTF-8");
            complaints(&format!("src/{}", relative.display()), &module_of(relative), &source)
        })
        .collect();
    assert!(wrong.is_empty(), "imports that run up or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn the_check_sees_what_it_should() {
    let module = |path: &str| path.split("::").map(str::to_owned).collect::<Vec<_>>();
    let wrong = |path: &str, source: &str| complaints("x.rs", &module(path), source).len();
    assert_eq!(wrong("buffer::memory", "use crate::event::Event; use super::settings::A;"), 0);
    assert_eq!(wrong("buffer::memory", "use crate::delivery::Lane;"), 1, "upward");
    assert_eq!(wrong("buffer::memory", "use crate::dedupe::Dedupe;"), 1, "sideways");
    assert_eq!(wrong("buffer", "use crate::{event::{Ack, Event}, ingress, clock};"), 1, "in a group");
    assert_eq!(wrong("buffer::memory", "use super::super::admin::X;"), 1, "by super");
    assert_eq!(wrong("buffer", "fn f() { super::gateway::run() }"), 1, "outside use");
    assert_eq!(wrong("buffer", "mod tests { use super::*; use super::super::clock::Clock; }"), 0);
    assert_eq!(wrong("buffer", "mod tests { use super::super::cli::X; }"), 1);
    assert_eq!(
        wrong(
            "buffer",
            "// crate::cli\n/* crate::cli */ const A: &str = \"crate::cli\"; const C: char = '\"';"
        ),
        0
    );
    assert_eq!(wrong("buffer", "const A: &str = r#\"crate::cli \" \"#; use crate::cli::B;"), 1);
    assert_eq!(wrong("attic", "use crate::event::Event;"), 1, "a room without a floor");
}

type Locked = BTreeMap<String, BTreeSet<String>>;

/// The versions of each crate in a lock file, and the names of what hooklatch itself needs.
fn locked(lock: &str) -> (Locked, BTreeSet<String>) {
    let lock: toml::Table = lock.parse().expect("a lock file is TOML");
    let text = |value: &toml::Value| value.as_str().expect("a text").to_owned();
    let (mut versions, mut needed) = (Locked::new(), BTreeSet::new());
    for package in lock["package"].as_array().expect("a list of packages") {
        versions.entry(text(&package["name"])).or_default().insert(text(&package["version"]));
        if package["name"].as_str() == Some("hooklatch") {
            // Where two versions of a crate are locked, the version follows the name.
            let names = package["dependencies"].as_array().expect("a list of names").iter().map(text);
            needed.extend(names.filter_map(|name| name.split(' ').next().map(str::to_owned)));
        }
    }
    (versions, needed)
}

#[test]
fn the_fuzz_target_is_locked_to_what_the_house_needs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).expect("a file of the checkout");
    let manifest: toml::Table = read("Cargo.toml").parse().expect("a manifest is TOML");
    let needed: BTreeSet<String> =
        manifest["dependencies"].as_table().expect("a table").keys().cloned().collect();
    let ((house, _), (fuzz, fuzzed)) = (locked(&read("Cargo.lock")), locked(&read("fuzz/Cargo.lock")));
    // `cargo metadata --manifest-path fuzz/Cargo.toml` adds what is missing, `cargo update` there brings the versions up.
    assert_eq!(fuzzed, needed, "fuzz/Cargo.lock is behind Cargo.toml");
    let other = |(name, versions): &(&String, &BTreeSet<String>)| {
        house.get(*name).is_some_and(|own| !versions.is_subset(own))
    };
    assert_eq!(fuzz.iter().find(other), None, "fuzz/Cargo.lock has another version than Cargo.lock");
}
