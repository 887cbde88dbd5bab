//! What a provider's file says of its requests, each fact in a phrase: for the page of one provider, and as JSON.

use serde_json::{Value, json};

use crate::config::IpLists;
use crate::select::Selector;
use crate::units::format_duration;
use crate::verify::{
    DEFAULT_TOLERANCE, HandshakeSpec, JwtSpec, Provider, SchemeSpec, TimestampSpec, WhenSpec,
};

/// Everything beside what [`super::describe`] says itself.
pub(super) fn facts(provider: &Provider) -> Vec<(&'static str, String)> {
    let scheme = &provider.written;
    let mut facts = Vec::new();
    if let [_, others @ ..] = scheme.signed.as_slice() {
        facts.extend(others.iter().map(|signed| ("or it is over", format!("\"{}\"", signed.escape_debug()))));
    }
    facts.extend(key_of(provider).map(|key| ("the key is", key_form(key).to_owned())));
    facts.extend(scheme.secret_id.as_ref().map(|id| {
        let separator = &id.separator;
        let written =
            if id.stands == "before" { format!("ID{separator}KEY") } else { format!("KEY{separator}ID") };
        ("a secret is", written)
    }));
    facts.extend(scheme.timestamp.as_ref().map(|time| ("its time stands", time_of(time))));
    facts.extend(scheme.jwt.as_ref().map(|jwt| ("the token", token(jwt))));
    if scheme.signature.repeated {
        facts.push(("a signature", "may be there several times, and one must be right".to_owned()));
    }
    if scheme.strict_form {
        facts.push(("a form", "may have no field that is not signed (strict_form)".to_owned()));
    }
    let required = scheme.require.iter().map(|(at, value)| ("it must say", format!("{value:?} at {at}")));
    facts.extend(required);
    for (fact, selector) in selectors(provider) {
        facts.extend(selector.as_ref().map(|selector| (fact, selector.to_string())));
    }
    facts.extend(provider.handshakes_written.iter().map(|spec| ("its challenge", challenge(spec))));
    let settings =
        provider.settings().into_iter().map(|name| ("it needs", format!("handshake = {{ {name} = … }}")));
    facts.extend(settings);
    let pins = provider
        .pins
        .iter()
        .map(|pin| ("must be yours", format!("{} (handshake.{})", pin.shown, pin.setting)));
    facts.extend(pins);
    let answer = &provider.answer;
    if answer.status.is_some() || answer.body.is_some() {
        let status = answer.status.unwrap_or(200);
        let body = answer.body.as_ref().map_or(String::new(), |body| format!(" with the body {body:?}"));
        facts.push(("wants the answer", format!("{status}{body}")));
    }
    facts.extend(answer.deadline.map(|time| ("waits for it", format_duration(time))));
    facts.extend(IpLists::shipped().get(&provider.name).map(|list| {
        let view = list.view();
        (
            "its addresses",
            format!("allow_ips = [\"@{}\"]: {} ranges as of {}", view.name, view.ranges, view.as_of),
        )
    }));
    facts
}

fn selectors(provider: &Provider) -> [(&'static str, &Option<Selector>); 3] {
    [
        ("event id at", &provider.event_id),
        ("event type at", &provider.event_type),
        ("event time at", &provider.event_time),
    ]
}

/// The same for programs, to be added to what the list has of each provider.
pub(super) fn json(provider: &Provider) -> Value {
    let scheme = &provider.written;
    let list = IpLists::shipped().get(&provider.name).map(|list| list.view());
    let [id, of_type, time] =
        selectors(provider).map(|(_, selector)| selector.as_ref().map(ToString::to_string));
    json!({
        "event_id_at": id,
        "event_type_at": of_type,
        "event_time_at": time,
        "key": key_of(provider),
        "signed": signed(scheme),
        "strict_form": scheme.strict_form,
        "require": scheme.require.iter().map(|(at, value)| json!({"at": at, "is": value})).collect::<Vec<_>>(),
        "timestamp": scheme.timestamp.as_ref().map(|time| json!({
            "at": place_of(time),
            "unit": time.unit.as_deref().unwrap_or("s"),
            "tolerance": tolerance(time),
        })),
        "jwt": scheme.jwt.as_ref().map(|jwt| json!({
            "algorithms": jwt.algorithms,
            "max_age": jwt.max_age,
            "leeway": jwt.leeway,
        })),
        "answer": {
            "status": provider.answer.status,
            "body": provider.answer.body,
            "deadline": provider.answer.deadline.map(format_duration),
        },
        "ip_list": list.map(|view| json!({
            "name": format!("@{}", view.name),
            "ranges": view.ranges,
            "as_of": view.as_of,
        })),
        "challenges": provider.handshakes_written.iter().map(challenge).collect::<Vec<_>>(),
        "settings": provider.settings(),
        "pins": provider.pins.iter().map(|pin| json!({"at": pin.shown, "setting": pin.setting})).collect::<Vec<_>>(),
    })
}

/// What may be signed, of a scheme that has templates.
fn signed(scheme: &SchemeSpec) -> Vec<&str> {
    scheme.signed.iter().map(String::as_str).collect()
}

/// The word of `key`, also where it is the usual one; `None` where both sides do not compute with the secret.
fn key_of(provider: &Provider) -> Option<&str> {
    let computed = matches!(provider.scheme.family(), "HMAC" | "hash");
    provider.written.key.as_deref().or(computed.then_some("utf8"))
}

/// The words of `key`, for somebody who holds a secret in his hand.
fn key_form(word: &str) -> &str {
    match word {
        "utf8" => "the secret's text as it stands",
        "base64" => "what the secret stands for in base64",
        "whsec" => "what stands behind whsec_ in base64",
        "hex" => "what the secret stands for in hex",
        "utf8-or-hex" => "the secret's text as it stands, or what it stands for in hex where it is hex",
        "sha1" => "the SHA-1 of the secret",
        "sha256" => "the SHA-256 of the secret",
        other => other,
    }
}

fn place_of(time: &TimestampSpec) -> String {
    let named = |kind: &str, name: &Option<String>| name.as_ref().map(|name| format!("{kind}{name}"));
    [
        named("", &time.header),
        named("the query parameter ", &time.query),
        named("the form field ", &time.form),
        named("the body at ", &time.body),
        named("the signature's item ", &time.key),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(" or ")
}

/// `None` where the time is not held against the clock.
fn tolerance(time: &TimestampSpec) -> Option<String> {
    let checked = time.enforce.unwrap_or(true);
    checked.then(|| time.tolerance.clone().unwrap_or_else(|| format_duration(DEFAULT_TOLERANCE)))
}

fn time_of(time: &TimestampSpec) -> String {
    let unit = match time.unit.as_deref().unwrap_or("s") {
        "s" => "UNIX seconds",
        "ms" => "UNIX milliseconds",
        "epoch" => "UNIX seconds or milliseconds",
        "rfc3339" => "RFC 3339",
        "iso8601" => "ISO 8601, UTC without a zone",
        "http-date" => "an HTTP date",
        other => other,
    };
    match tolerance(time) {
        Some(tolerance) => format!("in {}, as {unit}; it may be {tolerance} off", place_of(time)),
        None => format!("in {}, as {unit}; it is not held against the clock", place_of(time)),
    }
}

fn token(jwt: &JwtSpec) -> String {
    let mut text = format!("is signed with {}", jwt.algorithms.join(" or "));
    for (what, claim) in [
        ("binds the body by", &jwt.body_hash),
        ("holds the body in", &jwt.body_claim),
        ("binds the URL by", &jwt.url_hash),
        ("binds the request by", &jwt.request_hash),
        ("is for (aud)", &jwt.audience),
        ("is no older than", &jwt.max_age),
    ] {
        if let Some(claim) = claim {
            text.push_str(&format!(", {what} {claim}"));
        }
    }
    for claim in &jwt.required {
        text.push_str(&format!(", has {claim}"));
    }
    for (claim, value) in &jwt.claims {
        text.push_str(&format!(", says {claim} = {value:?}"));
    }
    text
}

/// `GET with query:hub.mode = "subscribe": 200, before the signature is checked`.
fn challenge(spec: &HandshakeSpec) -> String {
    let methods = if spec.methods.is_empty() { "POST".to_owned() } else { spec.methods.join(" or ") };
    let conditions = spec.when.iter().map(|(at, must)| match must {
        WhenSpec::There(true) => at.clone(),
        WhenSpec::There(false) => format!("no {at}"),
        WhenSpec::Is(texts) => format!(
            "{at} = {}",
            texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" or ")
        ),
    });
    let conditions: Vec<String> = conditions.collect();
    let with = if conditions.is_empty() { String::new() } else { format!(" with {}", conditions.join(", ")) };
    let does = match (&spec.confirm, &spec.capture) {
        (Some(confirm), _) => {
            format!("confirmed by a GET to {} at {}", confirm.url, confirm.hosts.join(" or "))
        }
        (_, Some(at)) => format!("{}, and the secret at {at} is kept", spec.status.unwrap_or(200)),
        _ => format!("{}", spec.status.unwrap_or(200)),
    };
    let when = if spec.signed.unwrap_or(true) { "after" } else { "before" };
    format!("{methods}{with}: {does}, {when} the signature is checked")
}
