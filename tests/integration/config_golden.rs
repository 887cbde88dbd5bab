//! Configuration files and exactly what is said of them.
//!
//! `tests/config/ok/*.toml` load; a `.stderr` beside one holds its warnings, a `.table` what goes where.
//! `tests/config/bad/*.toml` do not; the `.stderr` beside each holds the whole report.
//! `UPDATE_GOLDEN=1` rewrites what is expected: read the difference before you commit it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use hooklatch::clock::Clock;
use hooklatch::config::{Config, Environment, Report, SecretStore};

/// Stands in the files wherever a secret does; no text of ours may ever repeat it.
const CANARY: &str = "canary";

fn load(path: &Path) -> Result<Config, Report> {
    let text = std::fs::read_to_string(path).unwrap();
    let machine = Environment::default();
    Config::parse(path, &text, &mut SecretStore::new(Clock::system()), &machine)
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(Path::new("tests/config").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() > 3, "{folder} is empty");
    files
}

/// Compares `said` with the file `path` (no file = nothing is to be said), or rewrites it.
fn compare(path: &Path, said: &str, differences: &mut String) {
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected == said {
        return;
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        if said.is_empty() {
            std::fs::remove_file(path).unwrap();
        } else {
            std::fs::write(path, said).unwrap();
        }
        return;
    }
    writeln!(differences, "=== {} expected\n{expected}\n=== got\n{said}", path.display()).unwrap();
}

#[test]
fn right_files_load_with_the_expected_warnings_and_table() {
    let mut differences = String::new();
    for path in files("ok") {
        match load(&path) {
            Err(report) => writeln!(differences, "=== {} was refused\n{report}", path.display()).unwrap(),
            Ok(config) => {
                let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
                compare(&path.with_extension("stderr"), &warnings.join("\n"), &mut differences);
                let table = path.with_extension("table");
                if table.exists() {
                    compare(&table, &config.table(), &mut differences);
                }
                let everything = format!("{config:?}{}{}", config.table(), warnings.join(""));
                assert!(!everything.contains(CANARY), "{} shows a secret", path.display());
            }
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn wrong_files_are_refused_with_exactly_the_expected_report() {
    let mut differences = String::new();
    for path in files("bad") {
        match load(&path) {
            Ok(_) => writeln!(differences, "=== {} was taken", path.display()).unwrap(),
            Err(report) => {
                let said = report.to_string();
                assert!(!said.contains(CANARY), "{} shows a secret:\n{said}", path.display());
                assert!(!format!("{report:?}").contains(CANARY), "{} shows a secret", path.display());
                compare(&path.with_extension("stderr"), &said, &mut differences);
            }
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn twelve_mistakes_are_told_at_once() {
    let report = load(Path::new("tests/config/bad/twelve.toml")).unwrap_err();
    assert_eq!(report.mistakes().len(), 12, "{report}");
    let places: Vec<_> = report.mistakes().iter().map(|mistake| mistake.place).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_one_mistake() {
    let report = Config::load(Path::new("tests/config/none.toml"), &mut SecretStore::unread()).unwrap_err();
    assert_eq!(
        report.to_string(),
        "tests/config/none.toml: cannot read the file: No such file or directory (os error 2)\n\n\
         1 mistake in tests/config/none.toml\n"
    );
}
