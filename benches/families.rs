//! What checking costs by the way of signing, 1 KB of body each: `cargo bench --bench families`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench: criterion's macros, and fixed inputs")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hooklatch::clock::Millis;
use hooklatch::headers::Headers;
use hooklatch::secret::Secret;
use hooklatch::select::Message;
use hooklatch::verify::{JwtSpec, NamedSecret, Scheme, SchemeSpec, SignatureSpec, Signer, Verifier};

const NOW: Millis = Millis(1_700_000_000_000);
const SECRET: &str = "c2VjcmV0IG9mIHRoaXJ0eS10d28gYnl0ZXMgaGVyZS4=";

const RSA: (&str, &str) = (
    include_str!("../src/verify/asymmetric/testdata/rsa.pem"),
    include_str!("../src/verify/asymmetric/testdata/rsa-public.pem"),
);
const P256: (&str, &str) = (
    include_str!("../src/verify/asymmetric/testdata/p256.pem"),
    include_str!("../src/verify/asymmetric/testdata/p256-public.pem"),
);
const P521: (&str, &str) = (
    include_str!("../src/verify/asymmetric/testdata/p521.pem"),
    include_str!("../src/verify/asymmetric/testdata/p521-public.pem"),
);
const ED25519: (&str, &str) = (
    include_str!("../src/verify/asymmetric/testdata/ed25519.pem"),
    include_str!("../src/verify/asymmetric/testdata/ed25519-public.pem"),
);

fn words(algorithm: &str) -> SchemeSpec {
    SchemeSpec {
        algorithm: algorithm.to_owned(),
        signature: SignatureSpec { headers: vec!["X-Signature".to_owned()], ..SignatureSpec::default() },
        ..SchemeSpec::default()
    }
}

fn jwt(algorithm: &str) -> SchemeSpec {
    let jwt = JwtSpec {
        algorithms: vec![algorithm.to_owned()],
        body_hash: Some("sha256".to_owned()),
        ..JwtSpec::default()
    };
    SchemeSpec { jwt: Some(jwt), ..words("jwt") }
}

fn items() -> SchemeSpec {
    SchemeSpec {
        algorithm: "signed-items".to_owned(),
        signature: SignatureSpec { body: Some("/items/*/signature".to_owned()), ..SignatureSpec::default() },
        parameters: vec![("fields".to_owned(), vec!["/id".to_owned(), "/amount".to_owned()])],
        ..SchemeSpec::default()
    }
}

fn body() -> Vec<u8> {
    let padding = "x".repeat(900);
    format!(r#"{{"items":[{{"id":"1","amount":10,"note":"{padding}","signature":""}}]}}"#).into_bytes()
}

struct Case {
    verifier: Verifier,
    headers: Headers,
    body: Vec<u8>,
}

impl Case {
    /// A request that `private` signed, or the secret where there is no such key.
    fn new(spec: &SchemeSpec, secret: &str, private: Option<&str>) -> Self {
        let scheme = Arc::new(Scheme::compile(spec).unwrap());
        let named = NamedSecret { name: "1".into(), secret: Secret::new(secret) };
        let verifier = Verifier::new(Arc::clone(&scheme), &[named]).unwrap();
        let usual =
            Headers::from_pairs([("Host", "hooks.example.com"), ("Content-Type", "application/json")]);
        let body = body();
        let request = message(&usual, &body);
        let signed = match private {
            Some(key) => Signer::new(&scheme, &Secret::new(key)).unwrap().sign(&request, "msg_1", NOW),
            None => verifier.sign(&request, "msg_1", NOW),
        };
        let signed = signed.unwrap();
        let headers = Headers::from_pairs(usual.iter().chain(signed.headers.iter()));
        let case = Self { verifier, headers, body: signed.body.unwrap_or(body) };
        assert!(case.check());
        case
    }

    fn check(&self) -> bool {
        let message = message(black_box(&self.headers), black_box(&self.body));
        self.verifier.verify(&message, NOW).is_ok()
    }
}

fn message<'a>(headers: &'a Headers, body: &'a [u8]) -> Message<'a> {
    let url = "https://hooks.example.com/hook";
    Message { method: "POST", path: "/hook", query: None, url, headers, body }
}

fn families(criterion: &mut Criterion) {
    let hash = SchemeSpec { signed: vec!["{secret}{body}".to_owned()], ..words("sha256") };
    let sorted = SchemeSpec { signed: vec!["{body|sort_json}".to_owned()], ..words("hmac-sha256") };
    let mut group = criterion.benchmark_group("families");
    group.throughput(Throughput::Bytes(body().len() as u64));
    for (name, spec, secret, private) in [
        ("hmac-sha256", words("hmac-sha256"), SECRET, None),
        ("hmac-sha512", words("hmac-sha512"), SECRET, None),
        ("sha256", hash, SECRET, None),
        ("hmac-sha256 sort_json", sorted, SECRET, None),
        ("token", words("token"), SECRET, None),
        ("signed-items", items(), SECRET, None),
        ("ed25519", words("ed25519"), ED25519.1, Some(ED25519.0)),
        ("ecdsa-p256", words("ecdsa-p256"), P256.1, Some(P256.0)),
        ("ecdsa-p256-sha1", words("ecdsa-p256-sha1"), P256.1, Some(P256.0)),
        ("rsa-sha256 2048", words("rsa-sha256"), RSA.1, Some(RSA.0)),
        ("rsa-pss-sha256 2048", words("rsa-pss-sha256"), RSA.1, Some(RSA.0)),
        ("jwt HS256", jwt("HS256"), SECRET, None),
        ("jwt ES256", jwt("ES256"), P256.1, Some(P256.0)),
        ("jwt RS256", jwt("RS256"), RSA.1, Some(RSA.0)),
        ("jwt ES512", jwt("ES512"), P521.1, Some(P521.0)),
    ] {
        let case = Case::new(&spec, secret, private);
        group.bench_function(name, |bencher| bencher.iter(|| case.check()));
    }
    group.finish();
}

criterion_group!(benches, families);
criterion_main!(benches);
