//! The shipped provider files against the vectors in `tests/providers/`, read as the gateway reads them.
//!
//! A vector names where it comes from (`source`) and how far it can be trusted (`source_kind`): `third-party` is from
//! the provider's own libraries or documentation or an independent implementation, byte for byte;
//! `third-party-derived` is one of those with a moved clock or changed bytes; `constructed` follows the documentation
//! and proves only that we agree with ourselves.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test: what is not as expected panics"
)]

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use hooklatch::clock::Millis;
use hooklatch::config::read_provider;
use hooklatch::headers::Headers;
use hooklatch::secret::Secret;
use hooklatch::select::{Message, form};
use hooklatch::verify::{
    Challenges, HandshakeReply, Keys, NamedSecret, Provider, Refusal, RefusalKind, Stage, Verified, Verifier,
    event_time,
};

fn provider(name: &str) -> Provider {
    let file = format!("conf/providers/{name}.toml");
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)).unwrap();
    read_provider(name, &file, &text).unwrap_or_else(|report| panic!("{report}"))
}

fn names() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/providers");
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// A provider's vectors, each as it stands in the file.
fn vectors(name: &str, key: &str) -> Vec<serde_json::Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/providers/{name}.json"));
    let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    serde_json::from_value(file[key].take()).unwrap()
}

/// A vector's request, owned so that it can be changed.
#[derive(Clone)]
struct Request {
    secret: String,
    method: String,
    url: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    now: Millis,
}

impl Request {
    fn of(vector: &serde_json::Value) -> Self {
        let text = |key: &str| vector[key].as_str().unwrap().to_owned();
        let body = match vector["body_base64"].as_str() {
            Some(encoded) => STANDARD.decode(encoded).unwrap(),
            None => text("body").into_bytes(),
        };
        let headers = vector["headers"].as_object().unwrap().iter();
        Self {
            secret: text("secret"),
            method: text("method"),
            url: text("url"),
            headers: headers.map(|(k, v)| (k.clone(), v.as_str().unwrap().as_bytes().to_vec())).collect(),
            body,
            // No time is given only where the scheme has none.
            now: Millis(vector["now"].as_u64().unwrap_or_default() * 1000),
        }
    }

    fn verifier(&self, provider: &Provider) -> Verifier {
        let secret = NamedSecret { name: "1".into(), secret: Secret::new(self.secret.as_str()) };
        Verifier::new(Arc::clone(&provider.scheme), &[secret]).unwrap()
    }

    fn check(&self, verifier: &Verifier) -> Result<Verified, Refusal> {
        let headers = Headers::from_pairs(self.headers.iter().map(|(k, v)| (k, v)));
        let after = self.url.split_once("://").unwrap().1;
        let target = after.find('/').map_or("/", |at| &after[at..]);
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        let message = Message {
            method: &self.method,
            path,
            query,
            url: &self.url,
            headers: &headers,
            body: &self.body,
        };
        verifier.verify(&message, self.now)
    }
}

#[test]
fn every_shipped_file_has_vectors_of_both_kinds_and_they_come_out_as_they_say() {
    let names = names();
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        let provider = provider(&name);
        let (mut valid, mut invalid) = (0, 0);
        for vector in vectors(&name, "vectors") {
            let request = Request::of(&vector);
            let result = request.check(&request.verifier(&provider));
            let expected = vector["valid"].as_bool().unwrap();
            assert_eq!(result.is_ok(), expected, "{name}: {}: {result:?}", vector["name"]);
            assert!(vector["source"].is_string() && vector["source_kind"].is_string());
            valid += usize::from(expected);
            invalid += usize::from(!expected);
        }
        assert!(valid > 0 && invalid > 0, "{name}: {valid} valid, {invalid} invalid");
    }
}

#[test]
fn a_stale_vector_is_told_that_it_is_stale_and_no_other_one_is() {
    for name in names() {
        for vector in vectors(&name, "vectors") {
            let request = Request::of(&vector);
            let Err(refusal) = request.check(&request.verifier(&provider(&name))) else { continue };
            let title = vector["name"].as_str().unwrap();
            let stale = ["too old", "stale", "expired"].iter().any(|word| title.contains(word));
            assert_eq!(refusal.kind == RefusalKind::TimestampOutOfTolerance, stale, "{name}: {title}");
        }
    }
}

/// The names of the headers that the scheme itself writes: what it reads when it verifies.
fn bound_headers(request: &Request, verifier: &Verifier) -> Vec<String> {
    let none = Headers::default();
    let message = Message {
        method: "POST",
        path: "/",
        query: None,
        url: "https://example.com/",
        headers: &none,
        body: &request.body,
    };
    let signed = verifier.sign(&message, "id", request.now).unwrap();
    signed.iter().map(|(name, _)| String::from_utf8(name.to_ascii_lowercase()).unwrap()).collect()
}

/// Whether two bodies are the same form: `%2b` is `%2B`, another spelling of what was signed.
fn same_form(one: &Request, other: &Request) -> bool {
    let sorted = |body| {
        let mut fields: Vec<_> = form::pairs(body).collect();
        fields.sort();
        fields.dedup();
        fields
    };
    let headers = Headers::from_pairs(one.headers.iter().map(|(k, v)| (k, v)));
    form::is_form(&headers) && sorted(&one.body) == sorted(&other.body)
}

#[test]
fn no_flipped_bit_of_a_valid_vector_is_accepted() {
    let mut flips = 0;
    for name in names() {
        let provider = provider(&name);
        for vector in vectors(&name, "vectors").iter().filter(|vector| vector["valid"] == true) {
            let request = Request::of(vector);
            let verifier = request.verifier(&provider);
            let bound = bound_headers(&request, &verifier);
            assert!(request.headers.iter().any(|(header, _)| bound.contains(&header.to_ascii_lowercase())));
            let mut refuse = |changed: &Request, what: &str| {
                flips += 1;
                let accepted = changed.check(&verifier);
                assert!(accepted.is_err(), "{name}: {}: {what}", vector["name"]);
            };
            for (at, (header, value)) in request.headers.iter().enumerate() {
                // Of several signatures one is enough: the others may be anything.
                let several = value.windows(2).filter(|two| *two == b"v1").count() > 1;
                if several || !bound.contains(&header.to_ascii_lowercase()) {
                    continue;
                }
                for bit in 0..value.len() * 8 {
                    let mut changed = request.clone();
                    changed.headers[at].1[bit / 8] ^= 1 << (bit % 8);
                    refuse(&changed, &format!("bit {bit} of {header}"));
                }
            }
            for bit in (0..request.body.len() * 8).filter(|_| provider.scheme.binds_body()) {
                let mut changed = request.clone();
                changed.body[bit / 8] ^= 1 << (bit % 8);
                if !(provider.scheme.signs_url() && same_form(&request, &changed)) {
                    refuse(&changed, &format!("bit {bit} of the body"));
                }
            }
        }
    }
    assert!(flips > 10_000, "{flips}");
}

#[test]
fn samples_are_signed_verified_and_found_by_the_files_own_selectors() {
    let now = Millis(1_768_473_000_123);
    for name in names() {
        let provider = provider(&name);
        let verifier = Verifier::new(
            Arc::clone(&provider.scheme),
            &[NamedSecret {
                name: "1".into(),
                secret: Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            }],
        )
        .unwrap();
        let event = provider.sample.as_ref().unwrap().event("0192f7c1", None, now);
        let url = "https://example.com/hook";
        let message =
            |headers| Message { method: "POST", path: "/hook", query: None, url, headers, body: &event.body };
        let added = verifier.sign(&message(&event.headers), "0192f7c1", now).unwrap();
        let headers = Headers::from_pairs(event.headers.iter().chain(added.iter()));
        let message = message(&headers);
        verifier.verify(&message, now).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
        if let Some(selector) = &provider.event_id {
            let id = selector.extract(&message).unwrap_or_else(|| panic!("{name}: no id"));
            assert!(id.contains("0192f7c1"), "{name}: {id}");
        }
        if let Some(selector) = &provider.event_type {
            let found = selector.extract(&message).unwrap_or_else(|| panic!("{name}: no type"));
            assert!(found.starts_with(provider.sample.as_ref().unwrap().event_type()), "{name}: {found}");
        }
        if let Some(selector) = &provider.event_time {
            let found = selector.extract(&message).unwrap_or_else(|| panic!("{name}: no time"));
            assert_eq!(event_time(&found).unwrap().seconds(), now.seconds(), "{name}: {found}");
        }
    }
}

/// What a provider's handshakes answer to a request, in order: before the signature is looked at, then after.
fn challenged(challenges: &Challenges, request: &Request) -> Option<HandshakeReply> {
    let headers = Headers::from_pairs(request.headers.iter().map(|(k, v)| (k, v)));
    let query = request.url.split_once('?').map(|(_, query)| query);
    let message = Message {
        method: &request.method,
        path: "/",
        query,
        url: &request.url,
        headers: &headers,
        body: &request.body,
    };
    [Stage::Unchecked, Stage::Checked].into_iter().find_map(|stage| {
        let answered = challenges.of(&message, stage).find_map(|challenge| challenge.answer(&message));
        answered.map(|(reply, _)| reply)
    })
}

/// The answer that a vector describes: status, `text` or `json`, and `headers`.
fn assert_answered(reply: &HandshakeReply, expected: &serde_json::Value, title: &str) {
    assert_eq!(u64::from(reply.status), expected["status"].as_u64().unwrap(), "{title}");
    if let Some(text) = expected["text"].as_str() {
        assert_eq!(reply.body, text.as_bytes(), "{title}");
    }
    if let Some(json) = expected.get("json") {
        assert_eq!(&serde_json::from_slice::<serde_json::Value>(&reply.body).unwrap(), json, "{title}");
    }
    for (name, value) in expected["headers"].as_object().into_iter().flatten() {
        let found = reply.headers.get(name).map(|found| String::from_utf8(found.to_vec()).unwrap());
        let found = found.unwrap_or_else(|| panic!("{title}: no {name}"));
        assert!(found.starts_with(value.as_str().unwrap()), "{title}: {name}: {found}");
    }
}

#[test]
fn a_challenge_is_answered_as_its_vector_says_and_events_are_not() {
    let mut answered = 0;
    for name in names() {
        let provider = provider(&name);
        if provider.handshakes.is_empty() {
            continue;
        }
        for vector in vectors(&name, "handshakes") {
            let request = &vector["request"];
            let text = |key: &str, or: &str| request[key].as_str().unwrap_or(or).to_owned();
            let headers = request["headers"].as_object().into_iter().flatten();
            let headers = headers.map(|(k, v)| (k.clone(), v.as_str().unwrap().as_bytes().to_vec()));
            let sent = Request {
                secret: vector["secret"].as_str().unwrap_or_default().to_owned(),
                method: text("method", "POST"),
                url: text("url", "https://example.com/webhook"),
                headers: headers.collect(),
                body: text("body", "").into_bytes(),
                now: Millis(0),
            };
            // A setting that a vector does not give is its secret.
            let setting = |name: &String| {
                let given = vector[name.as_str()].as_str().unwrap_or(&sent.secret);
                (name.clone(), Secret::new(given))
            };
            let settings = provider.handshakes.settings().iter().map(setting).collect();
            let key = provider.scheme.key_of(&Secret::new(sent.secret.as_str()));
            let challenges = provider.handshakes.bind(Keys::new(key, settings));
            let title = format!("{name}: {}", vector["source"]);
            let reply = challenged(&challenges, &sent).unwrap_or_else(|| panic!("{title}: no answer"));
            assert_answered(&reply, &vector["response"], &title);
            for event in vectors(&name, "vectors") {
                assert_eq!(challenged(&challenges, &Request::of(&event)), None, "{name}: {}", event["name"]);
            }
            answered += 1;
        }
    }
    assert!(answered > 0);
}
