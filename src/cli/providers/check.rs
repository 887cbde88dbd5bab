//! `hooklatch providers --check DIR`: are the provider files of a folder right, and do their vectors come out as they say?

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::describe;
use crate::cli::human;
use crate::cli::out::{Failure, Out, Outcome};
use crate::cli::vector::{Labels, Vector};
use crate::clock::Clock;
use crate::config::{Catalog, Config, Environment, SecretStore};
use crate::verify::{NamedSecret, Provider, Verifier};

/// The file with a provider's vectors.
#[derive(Deserialize)]
struct VectorFile<'a> {
    #[serde(borrow)]
    vectors: Vec<&'a RawValue>,
}

/// What a vector says of itself beside its request.
#[derive(Deserialize)]
struct Expected {
    valid: bool,
}

/// Prints a line a provider: how many vectors came out as they say, or what is wrong.
///
/// # Errors
/// Something is wrong (after all of it was printed).
pub(super) fn run(folder: &Path, vectors: &Path, out: &mut Out) -> Outcome {
    let catalog = Catalog::with_own(folder).map_err(|report| Failure::Usage(report.to_string()))?;
    let own: Vec<_> = catalog.all().filter(|provider| catalog.own_file(&provider.name).is_some()).collect();
    if own.is_empty() {
        return Err(Failure::failed(format!("{} holds no NAME.toml", folder.display())));
    }
    let mut right = true;
    for provider in own {
        let name = &provider.name;
        let mut faults = Vec::new();
        let count = checked(provider, &vectors.join(format!("{name}.json")), &mut faults);
        faults.extend(example(provider, folder));
        if faults.is_empty() {
            out.line(format_args!("{name}: {} right", human::count(count, "vector")))?;
        }
        right &= faults.is_empty();
        for fault in faults {
            out.line(format_args!("{name}: {}", human::printable(fault.trim_end(), true)))?;
        }
    }
    if right { Ok(()) } else { Err(Failure::Silent) }
}

/// How many vectors stand in the file at `path`; those that do not come out as they say are `faults`.
fn checked(provider: &Arc<Provider>, path: &Path, faults: &mut Vec<String>) -> u64 {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            faults.push(format!("its vectors cannot be read from {}: {error}", path.display()));
            return 0;
        }
    };
    let file: VectorFile<'_> = match serde_json::from_str(&text) {
        Ok(file) => file,
        Err(error) => {
            faults.push(format!("{}: {error}", path.display()));
            return 0;
        }
    };
    let (mut right, mut accepted) = (0, 0);
    for (raw, at) in file.vectors.into_iter().zip(1..) {
        let name = Labels::read(raw.get().as_bytes()).map(|labels| labels.name).unwrap_or_default();
        let called = name.as_str().map_or_else(|| format!("vector {at}"), |name| format!("{name:?}"));
        match outcome(provider, raw.get()) {
            Ok(valid) => {
                right += 1;
                accepted += u64::from(valid);
            }
            Err(fault) => faults.push(format!("{called}: {fault}")),
        }
    }
    if accepted == 0 && faults.is_empty() {
        faults.push(format!("{} holds no valid vector: nothing is proven", path.display()));
    }
    right
}

/// Whether the vector is a valid one, where it comes out as it says.
fn outcome(provider: &Arc<Provider>, raw: &str) -> Result<bool, String> {
    let expected: Expected = serde_json::from_str(raw).map_err(|error| error.to_string())?;
    let vector = Vector::read(raw.as_bytes())?;
    let named: Vec<_> = vector
        .secrets
        .iter()
        .map(|secret| NamedSecret { name: "1".into(), secret: secret.clone() })
        .collect();
    let found = match Verifier::new(Arc::clone(&provider.scheme), &named) {
        Ok(verifier) => {
            vector.check(&verifier, &Clock::system()).map(|_| ()).map_err(|refusal| refusal.message)
        }
        Err(wrong) => Err(wrong.join("\n")),
    };
    match (expected.valid, found) {
        (true, Err(why)) => Err(format!("should verify, but: {why}")),
        (false, Ok(())) => Err("should be refused, but verifies".to_owned()),
        (valid, _) => Ok(valid),
    }
}

/// What is wrong with the route that the provider is shown with.
fn example(provider: &Provider, folder: &Path) -> Option<String> {
    let folder = std::path::absolute(folder).ok()?;
    let text = format!(
        "providers_dir = {:?}\n{}\n[destinations.app]\nurl = \"http://127.0.0.1:3000\"\n",
        folder.display().to_string(),
        describe::route(provider)
    );
    let parsed = Config::parse(
        Path::new("example.toml"),
        &text,
        &mut SecretStore::unread(),
        &Environment::of_process(),
    );
    parsed.err().map(|report| format!("its example route is refused\n{report}"))
}
