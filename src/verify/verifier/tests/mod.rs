//! A verifier as requests meet it: this file has the schemes and senders that the tests share.

mod keys;
mod places;
mod properties;
mod requests;

use crate::headers::Headers;

use super::super::{JwtSpec, SchemeSpec, SignatureSpec, TimestampSpec, replaced};
use super::*;

const NOW: Millis = Millis(1_700_000_000_000);

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// `sha256=HEX` in `X-Sig` over the body.
fn plain() -> SchemeSpec {
    SchemeSpec {
        algorithm: "hmac-sha256".to_owned(),
        signature: SignatureSpec {
            headers: vec!["X-Sig".to_owned()],
            prefixes: texts(&["sha256="]),
            ..Default::default()
        },
        ..Default::default()
    }
}

/// `t=SECONDS,v1=HEX` in `X-Sig` over time and body.
fn list() -> SchemeSpec {
    let mut spec = plain();
    spec.signature.prefixes.clear();
    spec.signature.format = text("list");
    spec.signature.keys = vec!["v1".to_owned()];
    spec.timestamp = Some(TimestampSpec { key: text("t"), ..Default::default() });
    spec.signed = texts(&["{timestamp}.{body}"]);
    spec
}

/// `v1,BASE64` in `X-Sig` over id, time and body.
fn versioned() -> SchemeSpec {
    let mut spec = plain();
    spec.signature.prefixes.clear();
    spec.signature.format = text("versioned");
    spec.signature.version = text("v1");
    spec.signature.encoding = text("base64");
    spec.timestamp = Some(TimestampSpec { header: text("X-Ts"), ..Default::default() });
    spec.id = text("header:X-Id");
    spec.signed = texts(&["{id}.{timestamp}.{body}"]);
    spec
}

/// Base64 in `X-Sig` over URL and form, or URL alone where it holds the body's digest.
fn url_and_form() -> SchemeSpec {
    let mut spec = plain();
    spec.algorithm = "hmac-sha1".to_owned();
    spec.signature.prefixes.clear();
    spec.signature.encoding = text("base64");
    spec.signed = texts(&["{url}{form_sorted}"]);
    spec.body_digest = text("query:digest");
    spec
}

fn clear(algorithm: &str, prefix: Option<&str>) -> SchemeSpec {
    let mut spec = plain();
    spec.algorithm = algorithm.to_owned();
    spec.signature.prefixes = prefix.map(str::to_owned).into_iter().collect();
    spec
}

fn named(secrets: &[&str]) -> Vec<NamedSecret> {
    secrets
        .iter()
        .enumerate()
        .map(|(i, secret)| NamedSecret { name: (i + 1).to_string().into(), secret: Secret::new(*secret) })
        .collect()
}

fn verifier(spec: &SchemeSpec, secrets: &[&str]) -> Verifier {
    Verifier::new(Arc::new(Scheme::compile(spec).unwrap()), &named(secrets)).unwrap()
}

fn message<'a>(headers: &'a Headers, body: &'a [u8]) -> Message<'a> {
    Message { method: "POST", path: "/hook", query: None, url: "https://example.com/hook", headers, body }
}

/// The headers that `secret`'s owner would send with `body` at [`NOW`], which says that it is a form.
fn signed(spec: &SchemeSpec, secret: &str, body: &[u8]) -> Headers {
    let form = Headers::from_pairs([("Content-Type", "application/x-www-form-urlencoded")]);
    let signature = verifier(spec, &[secret]).sign(&message(&form, body), "msg_1", NOW).unwrap();
    Headers::from_pairs(signature.headers.iter().chain(form.iter()))
}

fn check(spec: &SchemeSpec, secrets: &[&str], headers: &Headers, body: &[u8]) -> Result<Verified, Refusal> {
    verifier(spec, secrets).verify(&message(headers, body), NOW)
}

fn header(headers: &Headers, name: &str) -> String {
    String::from_utf8(headers.get(name).unwrap().to_vec()).unwrap()
}

fn refused(result: Result<Verified, Refusal>) -> (RefusalKind, String, String) {
    let refusal = result.unwrap_err();
    (refusal.kind, refusal.field.unwrap_or_default(), refusal.message)
}

/// What its owner sends with `message`, and whether that verifies.
fn round_trip(spec: &SchemeSpec, secret: &str, sent: &Message<'_>) -> Result<Verified, Refusal> {
    let signature = verifier(spec, &[secret]).sign(sent, "msg_1", NOW).unwrap();
    let headers = replaced(sent.headers, &signature.headers);
    let url = signature.url.as_deref().unwrap_or(sent.url);
    let query = url.split_once('?').map(|(_, query)| query);
    let body = signature.body.as_deref().unwrap_or(sent.body);
    verifier(spec, &["other", secret]).verify(&Message { headers: &headers, url, query, body, ..*sent }, NOW)
}

/// A token with this body hash, age and audience.
fn jwt() -> SchemeSpec {
    let mut spec = plain();
    spec.algorithm = "jwt".to_owned();
    spec.signature.prefixes = texts(&["Bearer "]);
    spec.jwt = Some(JwtSpec {
        algorithms: texts(&["HS256"]),
        body_hash: text("sha256"),
        audience: text("url"),
        claims: vec![("iss".to_owned(), "sender".to_owned())],
        max_age: text("5m"),
        ..Default::default()
    });
    spec
}

/// A token that claims `claims`, as its owner signs it.
fn token(secret: &str, claims: &serde_json::Value) -> Headers {
    use super::super::jwt::{self, JwtAlgorithm, JwtSigner};
    let key = JwtSigner::Symmetric(secret.as_bytes().to_vec().into());
    let token = jwt::sign(claims, JwtAlgorithm::Hs256, &key).unwrap();
    Headers::from_pairs([("X-Sig", format!("Bearer {token}"))])
}

fn in_form() -> SchemeSpec {
    let mut spec = plain();
    spec.signature = SignatureSpec { form: text("v1"), ..Default::default() };
    spec.signed = texts(&["{form:t}", "{form:t}\n"]);
    spec.strict_form = true;
    spec
}

fn in_body() -> SchemeSpec {
    let mut spec = plain();
    spec.signature = SignatureSpec { body: text("/0"), ..Default::default() };
    spec.signed = texts(&["{?{body:/1}}"]);
    spec.document = text("form:v1");
    spec
}

fn numbered() -> SchemeSpec {
    let mut spec = plain();
    spec.signature.headers = texts(&["X-Sig-{n}", "X-Sig"]);
    spec
}

fn manifest() -> SchemeSpec {
    let mut spec = list();
    spec.signed =
        texts(&["{?id:{query:id|lower};}{?x:{header:x-id|sha256|hex}}ts:{timestamp};{body|sort_json}"]);
    spec
}

fn json() -> SchemeSpec {
    let mut spec = plain();
    spec.signature.format = text("base64json");
    spec.signature.keys = texts(&["v1"]);
    spec.signed = texts(&["{method}{path}{query_sorted}{url_base}{body|crc32}"]);
    spec
}

fn positional() -> SchemeSpec {
    let mut spec = list();
    spec.signature.format = text("positional");
    spec.signature.keys.clear();
    spec.signature.fields = texts(&["t", "v1"]);
    spec.signature.groups = text(" ");
    spec
}
