//! The shipped providers against the vectors in `tests/providers/`: what is genuine verifies, nothing else does.
//!
//! A vector names where it comes from (`source`) and how far it can be trusted (`source_kind`): `third-party` is from
//! the provider's own libraries or documentation or an independent implementation, byte for byte;
//! `third-party-derived` is one of those with a moved clock or changed bytes; `constructed` follows the documentation
//! and proves only that we agree with ourselves.

mod challenges;
mod tampered;
mod whole;

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use hooklatch::clock::Millis;
use hooklatch::config::Catalog;
use hooklatch::headers::Headers;
use hooklatch::secret::Secret;
use hooklatch::select::Message;
use hooklatch::verify::{NamedSecret, Provider, Refusal, RefusalKind, Verified, Verifier};

fn providers() -> impl Iterator<Item = &'static Arc<Provider>> {
    Catalog::shipped().all()
}

/// What stands under `key` in a provider's file of vectors; nothing where it has none.
fn listed(name: &str, key: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/providers/{name}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut file: Value = serde_json::from_slice(&text).unwrap();
    serde_json::from_value(file[key].take()).unwrap_or_default()
}

/// A vector's request, owned so that it can be changed.
#[derive(Clone)]
struct Request {
    secret: String,
    method: String,
    url: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    /// `None`: the time is not checked.
    now: Option<Millis>,
}

impl Request {
    fn of(vector: &Value) -> Self {
        let text = |key: &str| vector[key].as_str().unwrap().to_owned();
        let body = match vector["body_base64"].as_str() {
            Some(encoded) => STANDARD.decode(encoded).unwrap(),
            None => text("body").into_bytes(),
        };
        // A header that is there several times has a list of values.
        let lines = |(name, value): (&String, &Value)| {
            let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            let line = |value: &Value| (name.clone(), value.as_str().unwrap().as_bytes().to_vec());
            values.iter().map(line).collect::<Vec<_>>()
        };
        let headers = vector["headers"].as_object().unwrap().iter();
        Self {
            secret: text("secret"),
            method: text("method"),
            url: text("url"),
            headers: headers.flat_map(lines).collect(),
            body,
            now: vector["now"].as_u64().map(|seconds| Millis(seconds * 1000)),
        }
    }

    /// `None` where the secret is none that the scheme can use.
    fn verifier(&self, provider: &Provider) -> Option<Verifier> {
        let secret = NamedSecret { name: "1".into(), secret: Secret::new(self.secret.as_str()) };
        Verifier::new(Arc::clone(&provider.scheme), &[secret]).ok()
    }

    fn check(&self, verifier: &Verifier) -> Result<Verified, Refusal> {
        let headers = Headers::from_pairs(self.headers.iter().map(|(k, v)| (k, v)));
        let after = self.url.split_once("://").unwrap().1;
        let target = after.find(['/', '?']).map_or("/", |at| &after[at..]);
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        let message = Message {
            method: &self.method,
            path,
            query,
            url: &self.url,
            headers: &headers,
            body: &self.body,
        };
        match self.now {
            Some(now) => verifier.verify(&message, now),
            None => verifier.verify_untimed(&message),
        }
    }

    fn accepted(&self, provider: &Provider) -> bool {
        self.verifier(provider).is_some_and(|verifier| self.check(&verifier).is_ok())
    }
}

#[test]
fn every_vector_comes_out_as_it_says() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for provider in providers() {
        let name = &provider.name;
        let (mut valid, mut invalid) = (0, 0);
        for vector in listed(name, "vectors") {
            let expected = vector["valid"].as_bool().unwrap();
            let request = Request::of(&vector);
            let found = request.verifier(provider).map(|verifier| request.check(&verifier));
            if found.as_ref().is_some_and(Result::is_ok) != expected {
                wrong.push(format!("{name}: {}: {found:?}", vector["name"]));
            }
            assert!(vector["source"].is_string() && vector["provider"] == **name, "{name}");
            valid += usize::from(expected);
            invalid += usize::from(!expected);
            checked += 1;
        }
        // What must not verify is made of the valid ones, too.
        if valid == 0 {
            wrong.push(format!("{name}: no valid vector, {invalid} invalid"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked >= 550, "{checked}");
}

#[test]
fn a_stale_vector_is_told_that_it_is_stale_and_no_other_one_is() {
    let late = ["too old", "too new", "late", "early", "stale", "expired", "in the future"];
    let mut wrong = Vec::new();
    for provider in providers() {
        for vector in listed(&provider.name, "vectors") {
            let request = Request::of(&vector);
            let Some(Err(refusal)) = request.verifier(provider).map(|verifier| request.check(&verifier))
            else {
                continue;
            };
            let title = vector["name"].as_str().unwrap();
            let stale = late.iter().any(|word| title.contains(word));
            if stale != (refusal.kind == RefusalKind::TimestampOutOfTolerance) {
                wrong.push(format!("{}: {title}: {refusal:?}", provider.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Providers that are left out: what they sign was read nowhere.
const LEFT_OUT: [&str; 1] = ["signal-sciences"];

#[test]
fn every_vectors_file_is_a_providers_or_one_that_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/providers");
    let mut left_out = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if Catalog::shipped().get(&name).is_none() {
            left_out.push(name);
        }
    }
    left_out.sort();
    assert_eq!(left_out, LEFT_OUT);
    assert!(providers().count() >= 220);
}
