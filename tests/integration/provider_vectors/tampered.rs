//! What is made from a valid vector by changing it: nothing of it is accepted, and what is only at the edge is.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use hooklatch::clock::Millis;
use hooklatch::select::form;
use hooklatch::units::parse_duration;
use hooklatch::verify::{Provider, RefusalKind, SchemeSpec, Verifier};

use super::{Request, listed, providers};

/// One valid vector, with what is needed to change it.
struct Case {
    provider: &'static Provider,
    request: Request,
    verifier: Verifier,
    title: String,
}

impl Case {
    /// Header lines that the scheme reads, by position: where the signature stands, and what else is signed.
    fn signature_lines(&self) -> Vec<usize> {
        let names = &self.provider.written.signature.headers;
        let basic = self.provider.written.algorithm == "basic" && names.is_empty();
        let is_one = |header: &str| {
            names.iter().any(|name| match name.strip_suffix("{n}") {
                Some(stem) => header.len() > stem.len() && header[..stem.len()].eq_ignore_ascii_case(stem),
                None => name.eq_ignore_ascii_case(header),
            }) || (basic && header.eq_ignore_ascii_case("authorization"))
        };
        self.lines(is_one)
    }

    /// The header lines whose whole value is signed: the time, the id, those that the template names.
    fn signed_lines(&self) -> Vec<usize> {
        let written = &self.provider.written;
        let mut names: Vec<String> = Vec::new();
        names.extend(written.timestamp.as_ref().and_then(|time| time.header.clone()));
        if signed_texts(written).any(|text| text.contains("{id}")) {
            names.extend(written.id.as_ref().and_then(|id| id.strip_prefix("header:")).map(str::to_owned));
        }
        for text in signed_texts(written) {
            let parts = text.split("{header:").skip(1);
            names.extend(parts.filter_map(|rest| rest.split(['}', '|']).next()).map(str::to_owned));
        }
        self.lines(|header| names.iter().any(|name| name.eq_ignore_ascii_case(header)))
    }

    fn lines(&self, is_one: impl Fn(&str) -> bool) -> Vec<usize> {
        let headers = self.request.headers.iter().enumerate();
        headers.filter(|(_, (header, _))| is_one(header)).map(|(at, _)| at).collect()
    }

    /// Where in a signature's header the signature itself stands: the longest run of its letters. `None` where there
    /// are several of that length, of which one is enough.
    fn signature(&self, value: &[u8]) -> Option<std::ops::Range<usize>> {
        let prefix = prefixes(&self.provider.written).find(|prefix| value.starts_with(prefix.as_bytes()));
        let start = prefix.map_or(0, str::len);
        match self.provider.written.signature.format.as_deref() {
            // A form's own header names keys and headers besides.
            _ if !self.provider.written.parameters.is_empty() => return None,
            None | Some("plain") => return Some(start..value.len()),
            // It holds more than the signature, and that is not signed.
            Some("base64json") => return None,
            Some(_) => {}
        }
        let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
        let mut from = None;
        for (at, byte) in value.iter().chain(b" ").enumerate() {
            let inside = byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
            match (inside, from) {
                (true, None) => from = Some(at),
                (false, Some(begun)) => {
                    runs.push(begun..at);
                    from = None;
                }
                _ => {}
            }
        }
        let longest = runs.iter().map(ExactSizeIterator::len).max()?;
        let mut found = runs.into_iter().filter(|run| run.len() == longest);
        let only = found.next();
        found.next().is_none().then_some(only).flatten()
    }

    /// The bytes of the body that are signed as they stand.
    fn signed_body(&self) -> std::ops::Range<usize> {
        let written = &self.provider.written;
        if !self.provider.scheme.binds_body() {
            return 0..0;
        }
        // Of a form that is signed by a field's decoded value a byte may be spelled in several ways, and of JSON that is
        // sorted first.
        let respelled = |text: &str| text.contains("form") || text.contains("sort_json");
        if signed_texts(written).any(respelled) { 0..0 } else { 0..self.request.body.len() }
    }

    fn refuses(&self, changed: &Request, what: &str) {
        let found = changed.check(&self.verifier);
        assert!(found.is_err(), "{}: {}: {what} is accepted", self.provider.name, self.title);
    }
}

/// The templates of what is signed.
fn signed_texts(written: &SchemeSpec) -> impl Iterator<Item = &str> {
    written.signed.iter().map(String::as_str)
}

/// What may stand before a signature.
fn prefixes(written: &SchemeSpec) -> impl Iterator<Item = &str> {
    written.signature.prefixes.iter().map(String::as_str)
}

/// Every valid vector of every provider.
fn cases() -> impl Iterator<Item = Case> {
    providers().flat_map(|provider| {
        listed(&provider.name, "vectors").into_iter().filter(|vector| vector["valid"] == true).map(
            move |vector| {
                let request = Request::of(&vector);
                Case {
                    provider,
                    verifier: request.verifier(provider).unwrap(),
                    request,
                    title: vector["name"].as_str().unwrap().to_owned(),
                }
            },
        )
    })
}

/// How many bits of a piece are flipped, at most: a signature with a key pair takes a millisecond here.
fn step(provider: &Provider, length: usize) -> usize {
    let algorithm = &provider.written.algorithm;
    let fast = algorithm.starts_with("hmac")
        || ["token", "basic", "sha1", "sha256", "sha512"].contains(&&**algorithm);
    if fast { 1 } else { (length / 12).max(1) }
}

#[test]
fn no_changed_byte_of_what_is_signed_is_accepted() {
    let mut flips = 0;
    for case in cases() {
        let mut flip = |pieces: &mut dyn FnMut(&mut Request) -> &mut Vec<u8>,
                        range: std::ops::Range<usize>,
                        what: &str| {
            let step = step(case.provider, range.len());
            for at in range.step_by(step) {
                // Every bit of every byte would be eight times as many: the bit changes with the place.
                for bit in [at % 8, 0] {
                    let mut changed = case.request.clone();
                    pieces(&mut changed)[at] ^= 1 << bit;
                    case.refuses(&changed, &format!("bit {bit} of byte {at} of {what}"));
                    flips += 1;
                }
            }
        };
        for line in case.signature_lines() {
            let (header, value) = &case.request.headers[line];
            if case.signature_lines().len() > 1 {
                continue;
            }
            if let Some(range) = case.signature(value) {
                flip(&mut |request| &mut request.headers[line].1, range, header);
            }
        }
        for line in case.signed_lines() {
            let (header, value) = &case.request.headers[line];
            flip(&mut |request| &mut request.headers[line].1, 0..value.len(), header);
        }
        flip(&mut |request| &mut request.body, case.signed_body(), "the body");
    }
    assert!(flips > 80_000, "{flips}");
}

#[test]
fn a_body_that_is_cut_or_grown_is_refused_where_the_body_is_bound() {
    for case in cases().filter(|case| !case.signed_body().is_empty()) {
        let mut cut = case.request.clone();
        cut.body.pop();
        case.refuses(&cut, "a body without its last byte");
        // Blanks around a body that is a token are no part of it.
        let whole = case.provider.written.signature.body.as_deref() == Some("whole");
        for more in [&b"\n"[..], b" ", b"\0", b"{}"]
            .into_iter()
            .filter(|more| !(whole && more.trim_ascii().is_empty()))
        {
            let mut grown = case.request.clone();
            grown.body.extend_from_slice(more);
            case.refuses(&grown, "a body with something behind it");
        }
        let mut empty = case.request.clone();
        empty.body.clear();
        case.refuses(&empty, "no body");
    }
}

/// A token that the provider's key signed for another purpose says nothing of a body, so it vouches for none, an empty one
/// neither; where it may, it must say for which URL it is.
#[test]
fn a_token_that_was_made_for_something_else_is_refused() {
    let mut tried = 0;
    for case in cases() {
        let Some(jwt) = case.provider.written.jwt.as_ref().filter(|jwt| jwt.body_hash.is_some()) else {
            continue;
        };
        if case.request.secret.contains("PUBLIC KEY") || !jwt.algorithms.iter().any(|word| word == "HS256") {
            continue;
        }
        if jwt.body_hash.iter().any(|name| jwt.optional.contains(name)) {
            assert!(!case.provider.scheme.binds_body(), "{}", case.provider.name);
            continue;
        }
        let given = jwt.claims.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        let mut claims: serde_json::Map<String, Value> = given.collect();
        claims.insert("sub".to_owned(), "a participant of a room".into());
        let token = hs256(&case.request.secret, &Value::Object(claims));
        for line in case.signature_lines() {
            for body in [&b""[..], &case.request.body] {
                let mut other = case.request.clone();
                let prefix = prefixes(&case.provider.written).next().unwrap_or_default();
                other.headers[line].1 = format!("{prefix}{token}").into_bytes();
                other.body = body.to_vec();
                case.refuses(&other, "another token of the same key");
                tried += 1;
            }
        }
    }
    assert!(tried >= 8, "{tried}");
}

/// A token with these claims.
fn hs256(secret: &str, claims: &Value) -> String {
    let parts = [r#"{"alg":"HS256","typ":"JWT"}"#.to_owned(), claims.to_string()];
    let signed = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// Of a form whose fields are all to be signed there is no other form with the same fields beside more.
#[test]
fn no_strict_form_is_sent_as_parts() {
    let mut tried = 0;
    for case in cases().filter(|case| case.provider.written.strict_form) {
        let mut parts = Vec::new();
        for (name, value) in form::pairs(&case.request.body) {
            let name = String::from_utf8_lossy(&name).into_owned();
            parts.extend(
                format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").into_bytes(),
            );
            parts.extend([&value, &b"\r\n"[..]].concat());
        }
        let hidden = "--B\r\nContent-Disposition: form-data; name*=UTF-8''admin\r\n\r\n1\r\n";
        for more in ["", hidden] {
            let mut other = case.request.clone();
            other.body = [&parts, more.as_bytes(), b"--B--\r\n"].concat();
            let line = other.headers.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            line.unwrap().1 = b"multipart/form-data; boundary=B".to_vec();
            case.refuses(&other, "a form in parts");
            tried += 1;
        }
    }
    assert!(tried >= 4, "{tried}");
}

#[test]
fn another_secret_is_refused() {
    let mut tried = 0;
    for case in cases() {
        // Of a certificate, or a set of keys, most bytes are not the key.
        if case.request.secret.contains("CERTIFICATE") || case.request.secret.starts_with('{') {
            continue;
        }
        let mut secret = case.request.secret.clone().into_bytes();
        // Of a key and an id the one that counts stands at the end.
        let at = match case.provider.written.secret_id {
            Some(_) => secret.iter().rposition(u8::is_ascii_alphanumeric).unwrap() - 3,
            None => secret.len() / 2,
        };
        secret[at] = if secret[at] == b'1' { b'0' } else { b'1' };
        let changed =
            Request { secret: String::from_utf8_lossy(&secret).into_owned(), ..case.request.clone() };
        assert!(!changed.accepted(case.provider), "{}: {}", case.provider.name, case.title);
        tried += 1;
    }
    assert!(tried > 200, "{tried}");
}

#[test]
fn a_header_that_is_there_twice_with_different_values_is_refused() {
    for case in cases() {
        // Where several signatures are allowed, a wrong one beside the right one is a secret that is being replaced.
        let repeated = case.provider.written.signature.repeated;
        let signatures = if repeated { Vec::new() } else { case.signature_lines() };
        for line in signatures.into_iter().chain(case.signed_lines()) {
            let (header, value) = case.request.headers[line].clone();
            let mut other = value.clone();
            let last = other.len() - 1;
            other[last] ^= 1;
            for (name, value) in [(header.clone(), other), (header.to_ascii_uppercase(), b"x".to_vec())] {
                for at in [line, line + 1] {
                    let mut changed = case.request.clone();
                    changed.headers.insert(at, (name.clone(), value.clone()));
                    case.refuses(&changed, &format!("a second {name}"));
                }
            }
        }
    }
}

#[test]
fn no_part_of_a_signature_is_accepted() {
    let mut tried = 0;
    for case in cases() {
        // Of several headers one is enough.
        let lines = case.signature_lines();
        let &[line] = &lines[..] else { continue };
        let value = case.request.headers[line].1.clone();
        let Some(range) = case.signature(&value) else { continue };
        // Of hex an even number of digits, of base64 whole groups: what is left can be read.
        let whole = range.len() - 1;
        for length in [0, 4, 32, 40, whole / 8 * 4, whole / 4 * 4, whole / 2 * 2] {
            if length < range.len() {
                let mut changed = case.request.clone();
                changed.headers[line].1.drain(range.start + length..range.end);
                case.refuses(&changed, &format!("{length} bytes of the signature"));
                tried += 1;
            }
        }
    }
    assert!(tried > 1000, "{tried}");
}

#[test]
fn no_other_spelling_of_a_signature_is_accepted() {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut tried = 0;
    for case in cases().filter(|case| case.provider.written.signature.encoding.is_some()) {
        for line in case.signature_lines() {
            // Of several headers one is enough.
            if case.signature_lines().len() > 1 {
                continue;
            }
            let value = case.request.headers[line].1.clone();
            let Some(range) = case.signature(&value) else { continue };
            let mut spellings: Vec<Vec<u8>> = Vec::new();
            let mut respelled = |change: &dyn Fn(&mut Vec<u8>)| {
                let mut signature = value[range.clone()].to_vec();
                change(&mut signature);
                if signature != value[range.clone()] {
                    spellings.push([&value[..range.start], &signature, &value[range.end..]].concat());
                }
            };
            match case.provider.written.signature.encoding.as_deref() {
                Some("hex") => {
                    // One letter in the other case: never written by anybody, and another header for a log.
                    respelled(&|signature| {
                        let letters = signature.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
                        if letters > 1
                            && let Some(first) = signature.iter_mut().find(|byte| byte.is_ascii_alphabetic())
                        {
                            *first ^= 0x20;
                        }
                    });
                }
                _ => {
                    // The bits beyond the last byte.
                    respelled(&|signature| {
                        let padding = signature.iter().rev().take_while(|byte| **byte == b'=').count();
                        let digits = signature.len() - padding;
                        if digits % 4 == 0 {
                            return;
                        }
                        let last = signature.get_mut(digits - 1).unwrap();
                        if let Some(at) = DIGITS.iter().position(|digit| digit == last) {
                            *last = DIGITS[at ^ 1];
                        }
                    });
                    // Padding where there is none, or more of it.
                    if case.provider.written.signature.encoding.as_deref() != Some("base64url-any") {
                        respelled(&|signature| signature.push(b'='));
                    }
                    respelled(&|signature| signature.insert(4, b' '));
                }
            }
            for spelling in spellings {
                let mut changed = case.request.clone();
                changed.headers[line].1 = spelling;
                case.refuses(&changed, "another spelling of the signature");
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
}

#[test]
fn clocks_beyond_the_tolerance_are_refused_and_those_within_it_are_not() {
    let mut tried = 0;
    for case in cases().filter(|case| case.provider.scheme.checks_time()) {
        let Some(time) = &case.provider.written.timestamp else { continue };
        if time.enforce == Some(false) {
            continue;
        }
        let tolerance =
            time.tolerance.as_deref().map_or(Duration::from_secs(300), |text| parse_duration(text).unwrap());
        let signed = match case.request.check(&case.verifier) {
            Ok(verified) => verified.timestamp.unwrap(),
            Err(_) => continue,
        };
        // No clock lies before 1970.
        if signed < Millis(0).plus(tolerance * 2) {
            continue;
        }
        let second = Duration::from_secs(1);
        let at = |now: Millis| Request { now: Some(now), ..case.request.clone() }.check(&case.verifier);
        for now in [signed.plus(tolerance), signed.minus(tolerance), signed] {
            assert!(at(now).is_ok(), "{}: {}: {now:?}", case.provider.name, case.title);
        }
        for now in [signed.plus(tolerance + second), signed.minus(tolerance + second), Millis(0)] {
            let refused = at(now).map_err(|refusal| refusal.kind);
            let refused = refused.expect_err(&format!("{}: {}", case.provider.name, case.title));
            // Of several headers the first that is wrong may be told of.
            if case.signature_lines().len() > 1 {
                continue;
            }
            assert_eq!(
                refused,
                RefusalKind::TimestampOutOfTolerance,
                "{}: {}",
                case.provider.name,
                case.title
            );
        }
        tried += 1;
    }
    assert!(tried > 60, "{tried}");
}
