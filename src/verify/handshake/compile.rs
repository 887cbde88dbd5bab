//! From the words of a challenge to a compiled one.

use super::confirm::Confirm;
use super::json::Json;
use super::limits::Limits;
use super::spec::{HandshakeSpec, WhenSpec};
use super::words::Template;
use super::{Body, Condition, Handshake, Must};
use crate::headers::is_token;
use crate::select::Selector;
use crate::units::Invalid;

/// Methods whose requests carry no signature.
const BODILESS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];
const METHODS: [&str; 5] = ["GET", "HEAD", "OPTIONS", "POST", "PUT"];

impl Handshake {
    pub(super) fn compile(spec: &HandshakeSpec, faults: &mut Vec<Invalid>) -> Self {
        let methods = methods(&spec.methods, faults);
        let signed = spec.signed.unwrap_or(true);
        let bodiless = |method: &str| BODILESS.contains(&method);
        if signed && methods.iter().any(|method| bodiless(method)) {
            let hint = "write signed = false";
            faults.push(Invalid::new(
                "handshake.signed",
                "a request without a body carries no signature",
                hint,
            ));
        }
        if spec.when.is_empty() && !methods.iter().all(|method| bodiless(method)) {
            let hint = "write when = { \"body:/type\" = \"url_verification\" }";
            faults.push(Invalid::new(
                "handshake.when",
                "what makes a request the challenge is not said",
                hint,
            ));
        }
        let when = spec.when.iter().filter_map(|(word, must)| condition(word, must, faults)).collect();
        let status = spec.status.unwrap_or(200);
        if !matches!(status, 200..=299 | 400..=499) {
            let message = format!("{status} answers no challenge");
            faults.push(Invalid::new("handshake.status", message, "write 200 to 299, or 400 to 499 for no"));
        }
        let mut handshake = Self {
            methods,
            when,
            signed,
            status,
            headers: headers(&spec.headers, faults),
            body: body(spec, faults),
            limits: Limits::compile(None, None, false, &mut Vec::new()),
            capture: spec.capture.as_ref().and_then(|word| selector("handshake.capture", word, faults)),
            confirm: spec.confirm.as_ref().and_then(|spec| Confirm::compile(spec, signed, faults)),
            secret_places: secret_places(spec),
        };
        let secret = handshake.makes_with_secret();
        handshake.limits = Limits::compile(spec.charset.as_deref(), spec.length, secret, faults);
        handshake
    }
}

fn methods(written: &[String], faults: &mut Vec<Invalid>) -> Box<[Box<str>]> {
    if written.is_empty() {
        return Box::from([Box::from("POST")]);
    }
    for method in written.iter().filter(|method| !METHODS.contains(&method.as_str())) {
        let hint = format!("write one of {}", METHODS.map(|method| format!("{method:?}")).join(", "));
        faults.push(Invalid::new("handshake.method", format!("{method:?} is no challenge's method"), hint));
    }
    written.iter().map(|method| method.as_str().into()).collect()
}

pub(super) fn selector(key: &'static str, word: &str, faults: &mut Vec<Invalid>) -> Option<Selector> {
    Selector::parse(word).map_err(|message| faults.push(Invalid::new(key, message, ""))).ok()
}

fn template(key: &'static str, text: &str, faults: &mut Vec<Invalid>) -> Option<Template> {
    Template::compile(text).map_err(|(message, hint)| faults.push(Invalid::new(key, message, hint))).ok()
}

/// The words of selectors whose values are secrets.
fn secret_places(spec: &HandshakeSpec) -> Box<[Box<str>]> {
    let is_setting =
        |value: &String| Template::compile(value).is_ok_and(|text| text.only_setting().is_some());
    let compared = spec.when.iter().filter(|(_, must)| match must {
        WhenSpec::Is(values) => values.iter().any(is_setting),
        WhenSpec::There(_) => false,
    });
    compared.map(|(word, _)| word).chain(&spec.capture).map(|word| word.as_str().into()).collect()
}

fn condition(word: &str, must: &WhenSpec, faults: &mut Vec<Invalid>) -> Option<Condition> {
    let at = selector("handshake.when", word, faults)?;
    let must = match must {
        WhenSpec::There(there) => Must::There(*there),
        WhenSpec::Is(values) => {
            let settings: Vec<_> = values
                .iter()
                .filter_map(|value| Some(Template::compile(value).ok()?.only_setting()?.to_owned()))
                .collect();
            match (settings.first(), values.len()) {
                (None, _) => Must::Is(values.iter().map(|value| value.as_str().into()).collect()),
                (Some(name), 1) => Must::IsSetting(name.as_str().into()),
                (Some(_), _) => {
                    let message = "a setting of the route stands alone, not in a list";
                    faults.push(Invalid::new("handshake.when", message, ""));
                    return None;
                }
            }
        }
    };
    Some(Condition { at, must })
}

fn headers(written: &[(String, String)], faults: &mut Vec<Invalid>) -> Box<[(Box<str>, Template)]> {
    let mut headers = Vec::with_capacity(written.len());
    for (name, value) in written {
        if !is_token(name.as_bytes()) || value.contains(['\r', '\n', '\0']) {
            let message = format!("{name:?} and its value cannot stand in a head");
            faults.push(Invalid::new("handshake.headers", message, ""));
        }
        if let Some(template) = template("handshake.headers", value, faults) {
            headers.push((name.as_str().into(), template));
        }
    }
    headers.into()
}

fn body(spec: &HandshakeSpec, faults: &mut Vec<Invalid>) -> Body {
    match (&spec.text, &spec.json) {
        (Some(_), Some(_)) => {
            let message = "the answer is a `text` or `json`, not both";
            faults.push(Invalid::new("handshake.text", message, "leave one of them out"));
            Body::Empty
        }
        (Some(text), None) => template("handshake.text", text, faults).map_or(Body::Empty, Body::Text),
        (None, Some(json)) => {
            let compiled = Json::compile(json, &mut |text| template("handshake.json", text, faults));
            compiled.map_or(Body::Empty, Body::Json)
        }
        (None, None) => Body::Empty,
    }
}
