//! Every provider's file is complete: its example route can be run, its sample event is signed and found by its own
//! selectors, its facts agree with its vectors, and the page of documentation is the one that the program writes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;

use hooklatch::clock::Millis;
use hooklatch::config::{Config, Environment, SecretStore};
use hooklatch::headers::Headers;
use hooklatch::secret::Secret;
use hooklatch::select::Message;
use hooklatch::verify::{NamedSecret, VectorKind, Verifier, event_time};

use super::{listed, providers};

fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hooklatch"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_page_of_documentation_is_the_one_that_the_program_writes() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page == printed(&["providers", "--markdown"]),
        "run `make providers-doc` and commit docs/providers.md"
    );
}

#[test]
fn each_files_word_for_its_vectors_is_the_best_of_its_valid_ones() {
    for provider in providers() {
        let vectors = listed(&provider.name, "vectors");
        let foreign = |vector: &&Value| {
            vector["valid"] == true && vector["source_kind"].as_str().unwrap().starts_with("third-party")
        };
        let kind = match vectors.iter().find(foreign) {
            Some(_) => VectorKind::ThirdParty,
            None => VectorKind::Constructed,
        };
        assert_eq!(provider.vectors, Some(kind), "{}", provider.name);
    }
}

#[test]
fn the_example_routes_of_all_providers_make_a_configuration() {
    let shown: Vec<Value> = serde_json::from_str(&printed(&["providers", "--json"])).unwrap();
    let mut text = "[destinations.app]\nurl = \"http://127.0.0.1:3000\"\n".to_owned();
    for provider in shown {
        text.push_str(provider["route"].as_str().unwrap());
        text.push('\n');
    }
    let path = Path::new("routes.toml");
    let config = Config::parse(path, &text, &mut SecretStore::unread(), &Environment::of_process());
    let config = config.unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(config.routes.len(), providers().count());
}

#[test]
fn samples_are_signed_verified_and_found_by_the_files_own_selectors() {
    let now = Millis(1_768_473_000_123);
    let (mut signed, mut unsignable) = (0, Vec::new());
    for provider in providers() {
        let name = &provider.name;
        let sample = provider.sample.as_ref().unwrap_or_else(|| panic!("{name} has no sample"));
        // A vector's secret is written as the scheme wants it; what is signed with a key pair cannot be signed with it.
        let vectors = listed(name, "vectors");
        let valid = vectors.iter().find(|vector| vector["valid"] == true).unwrap();
        let secret = Secret::new(valid["secret"].as_str().unwrap());
        let named = NamedSecret { name: "1".into(), secret };
        let verifier = Verifier::new(Arc::clone(&provider.scheme), &[named]).unwrap();
        let event = sample.event("0192f7c1", None, now);
        let unsigned = Message {
            method: "POST",
            path: "/hook",
            query: None,
            url: "https://example.com/hook",
            headers: &event.headers,
            body: &event.body,
        };
        let Ok(signature) = verifier.sign(&unsigned, "0192f7c1", now) else {
            if !provider.scheme.has_private_key() {
                unsignable.push(name);
            }
            continue;
        };
        let headers = Headers::from_pairs(event.headers.iter().chain(signature.headers.iter()));
        let url = signature.url.as_deref().unwrap_or(unsigned.url);
        let body = signature.body.as_deref().unwrap_or(&event.body);
        let query = url.split_once('?').map(|(_, query)| query);
        let message = Message { query, url, headers: &headers, body, ..unsigned };
        verifier.verify(&message, now).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
        signed += 1;
        if let Some(selector) = &provider.event_id {
            let id = selector.extract(&message).unwrap_or_else(|| panic!("{name}: no id"));
            assert!(id.contains("0192f7c1"), "{name}: {id}");
        }
        if let Some(selector) = &provider.event_type {
            let found = selector.extract(&message).unwrap_or_else(|| panic!("{name}: no type"));
            assert!(found.starts_with(sample.event_type()), "{name}: {found}");
        }
        if let Some(selector) = &provider.event_time {
            let found = selector.extract(&message).unwrap_or_else(|| panic!("{name}: no time"));
            assert_eq!(event_time(&found).unwrap().seconds(), now.seconds(), "{name}: {found}");
        }
    }
    assert!(signed >= 200, "{signed}");
    // A secret in every element of a list, an item of the signature's own header: only a request has them.
    assert!(unsignable.len() <= 4, "{unsignable:?}");
}
