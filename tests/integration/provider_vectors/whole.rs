//! Every provider's file is complete: its example route can be run, its sample event is signed and found by its own
//! selectors, its facts agree with its vectors, and the page of documentation is the one that the program writes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use hooklatch::clock::Millis;
use hooklatch::config::{Config, Environment, SecretStore};
use hooklatch::headers::Headers;
use hooklatch::secret::Secret;
use hooklatch::select::{Message, form};
use hooklatch::verify::{NamedSecret, VectorKind, Verifier, event_time};

use super::{Request, listed, providers};

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
    assert!(unsignable.is_empty(), "{unsignable:?}");
}

/// What of a request tells its sender's secret, or is as good as it.
fn credential(algorithm: &str, request: &Request) -> String {
    let texts = request.headers.iter().map(|(_, value)| value).chain([&request.body]);
    let mut texts = texts.map(|text| String::from_utf8_lossy(text).into_owned());
    match algorithm {
        "token" => request.secret.clone(),
        "basic" => STANDARD.encode(&request.secret),
        _ => {
            let token = texts.find(|text| text.contains("eyJ") && text.matches('.').count() == 2).unwrap();
            token.rsplit('.').next().unwrap().trim().to_owned()
        }
    }
}

#[test]
fn what_is_shown_of_a_request_holds_no_credential_of_a_shipped_provider() {
    let mut hidden = 0;
    for provider in providers() {
        let (redaction, algorithm) = (provider.redaction(), provider.written.algorithm.as_str());
        if !matches!(algorithm, "token" | "basic" | "jwt") {
            assert!(provider.scheme.redaction().words().is_empty(), "{}", provider.name);
            continue;
        }
        for vector in listed(&provider.name, "vectors").iter().filter(|vector| vector["valid"] == true) {
            let request = Request::of(vector);
            let credential = credential(algorithm, &request);
            let headers = Headers::from_pairs(request.headers.iter().map(|(k, v)| (k, v)));
            let query = request.url.split_once('?').map_or("", |(_, query)| query);
            let parameters =
                || form::pairs(query.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned()));
            let lines = || headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec()));
            let all = lines().chain(parameters()).map(|(_, value)| value).chain([request.body.clone()]);
            let is_shown = |name: &[u8]| !redaction.hides_header(std::str::from_utf8(name).unwrap());
            let shown = lines().filter(|(name, _)| is_shown(name));
            let shown = shown.chain(parameters().filter(|(name, _)| !redaction.hides_parameter(name)));
            let body = redaction.body(&headers, &request.body).into_owned();
            let shown = shown.map(|(_, value)| value).chain([body]);
            let (all, shown) = (all.collect::<Vec<_>>().concat(), shown.collect::<Vec<_>>().concat());
            let holds = |text: &[u8]| String::from_utf8_lossy(text).contains(&credential);
            assert!(holds(&all) && !holds(&shown), "{}: {}", provider.name, vector["name"]);
            hidden += 1;
        }
    }
    assert!(hidden >= 30, "{hidden}");
}

#[test]
fn no_bytes_make_a_shipped_definition_panic_or_accept() {
    let value = prop_oneof![
        3 => "[ -~]{0,80}",
        1 => "([a-z0-9]{1,4}=[A-Za-z0-9+/=_.-]{0,64},? ?){0,20}",
        1 => "[0-9a-f]{64}",
        1 => "[A-Za-z0-9_-]{8,40}\\.[A-Za-z0-9_-]{8,40}\\.[A-Za-z0-9_-]{8,40}",
    ];
    let body = prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => "\\{\"[a-z_]{1,12}\":(\"[a-z0-9]{0,40}\"|[0-9]{1,13}|\\[\\{\\}\\])\\}".prop_map(String::into_bytes),
        1 => "([a-z_]{1,9}=[A-Za-z0-9%+]{0,40}&?){0,8}".prop_map(String::into_bytes),
    ];
    let request =
        (prop::collection::vec(value, 6), body, "([a-zA-Z0-9_]{1,12}=[A-Za-z0-9%+/=]{0,40}&?){0,4}");
    for provider in providers() {
        let name = &provider.name;
        let vectors = listed(name, "vectors");
        let valid = vectors.iter().find(|vector| vector["valid"] == true).unwrap();
        let secret = NamedSecret { name: "1".into(), secret: Secret::new(valid["secret"].as_str().unwrap()) };
        let verifier = Verifier::new(Arc::clone(&provider.scheme), &[secret]).unwrap();
        // Every header that the valid request has, and those where a signature is looked for.
        let mut names: Vec<String> = provider.scheme.signature_headers();
        names.extend(valid["headers"].as_object().unwrap().keys().map(|name| name.to_ascii_lowercase()));
        names.sort_unstable();
        names.dedup();
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 64,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let outcome = runner.run(&request, |(values, body, query)| {
            let headers = Headers::from_pairs(names.iter().zip(values.iter().cycle()));
            let url = format!("https://example.com/hook?{query}");
            let message = Message {
                method: "POST",
                path: "/hook",
                query: Some(&query),
                url: &url,
                headers: &headers,
                body: &body,
            };
            prop_assert!(verifier.verify_untimed(&message).is_err(), "it verifies");
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
