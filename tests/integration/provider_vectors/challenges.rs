//! Challenges: each is answered as its vector says, and no event is taken for one.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use hooklatch::headers::Headers;
use hooklatch::secret::Secret;
use hooklatch::select::Message;
use hooklatch::verify::{Challenges, HandshakeReply, Keys, Provider, Stage};

use super::{Request, listed, providers};
use crate::harness::{App, Setup};

/// What a provider's handshakes answer to a request, in order: before the signature is looked at, then after.
fn challenged(challenges: &Challenges, request: &Request) -> Option<HandshakeReply> {
    let stages = [Stage::Unchecked, Stage::Checked];
    stages.into_iter().find_map(|stage| challenged_at(stage, challenges, request))
}

fn challenged_at(stage: Stage, challenges: &Challenges, request: &Request) -> Option<HandshakeReply> {
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
    let answered = challenges.of(&message, stage).find_map(|challenge| challenge.answer(&message));
    answered.map(|(reply, _)| reply)
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

/// The request of a vector of a challenge.
fn sent(vector: &Value) -> Request {
    let request = &vector["request"];
    let text = |key: &str, or: &str| request[key].as_str().unwrap_or(or).to_owned();
    let headers = request["headers"].as_object().into_iter().flatten();
    let headers = headers.map(|(k, v)| (k.clone(), v.as_str().unwrap().as_bytes().to_vec()));
    Request {
        secret: vector["secret"].as_str().unwrap_or_default().to_owned(),
        method: text("method", "POST"),
        url: text("url", "https://example.com/webhook"),
        headers: headers.collect(),
        body: text("body", "").into_bytes(),
        now: None,
    }
}

/// A setting of the route that a vector is for; one that it does not give is its secret.
fn setting<'v>(vector: &'v Value, name: &str) -> &'v str {
    vector[name].as_str().unwrap_or_else(|| vector["secret"].as_str().unwrap_or_default())
}

/// A provider's challenges on the route that a vector is for.
fn bound(provider: &Provider, vector: &Value) -> Challenges {
    let settings = provider.handshakes.settings();
    let settings = settings.iter().map(|name| (name.clone(), Secret::new(setting(vector, name)))).collect();
    let key = provider.scheme.key_of(&Secret::new(vector["secret"].as_str().unwrap_or_default()));
    provider.handshakes.bind(Keys::new(key, settings))
}

#[test]
fn a_challenge_is_answered_as_its_vector_says_and_events_are_not() {
    let mut answered = 0;
    for provider in providers() {
        let name = &provider.name;
        if provider.handshakes.is_empty() {
            continue;
        }
        for vector in listed(name, "handshakes") {
            let sent = sent(&vector);
            let challenges = bound(provider, &vector);
            let title = format!("{name}: {}", vector["source"]);
            let reply = challenged(&challenges, &sent).unwrap_or_else(|| panic!("{title}: no answer"));
            assert_answered(&reply, &vector["response"], &title);
            // Discord's own example of a signed request is its challenge.
            for event in
                listed(name, "vectors").iter().filter(|event| event["body"] != vector["request"]["body"])
            {
                assert_eq!(challenged(&challenges, &Request::of(event)), None, "{name}: {}", event["name"]);
            }
            answered += 1;
        }
    }
    assert!(answered > 0);
}

/// The challenge of a vector with another value in its only parameter.
fn asking(request: &Request, value: &str) -> Request {
    let (before, _) = request.url.split_once('=').unwrap_or((&request.url, ""));
    Request { url: format!("{before}={value}"), ..request.clone() }
}

/// Every text in an answer: of a JSON object each member, and what stands in it between its marks.
fn texts(answer: &str) -> Vec<String> {
    let members = match serde_json::from_str::<Value>(answer) {
        Ok(Value::Object(members)) => members.values().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => vec![answer.to_owned()],
    };
    let split = |text: &String| text.split(['|', '=']).map(str::to_owned).collect::<Vec<_>>();
    let pieces: Vec<String> = members.iter().flat_map(split).collect();
    members.into_iter().chain(pieces).filter(|text| !text.is_empty()).collect()
}

/// The events over which `signature`, which was given for `value`, may be right: the value where the template's only
/// word is that holds a body, the signature where the scheme looks for one.
fn forged(
    provider: &Provider,
    valid: &Request,
    template: &str,
    value: &str,
    signature: &str,
) -> Vec<Request> {
    let written = &provider.written;
    let literal = template.find('{').map_or("", |at| &template[..at]);
    let Some(rest) = value.strip_prefix(literal) else { return Vec::new() };
    let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut fields = Vec::new();
    if let Some(field) = &written.signature.form {
        fields.push(format!("{field}={}", escaped(signature)));
    }
    let signed = template.split_once("{form:").and_then(|(_, word)| word.split_once('}'));
    let body = match signed {
        Some((field, _)) => {
            fields.push(format!("{field}={}", escaped(rest)));
            fields.join("&")
        }
        None => rest.to_owned(),
    };
    let prefixes = written.signature.prefixes.iter().map(String::as_str).chain([""]);
    let event = |prefix: &str| {
        let mut headers = valid.headers.clone();
        for (name, line) in &mut headers {
            if written.signature.headers.iter().any(|header| header.eq_ignore_ascii_case(name)) {
                *line = format!("{prefix}{signature}").into_bytes();
            }
        }
        Request { headers, body: body.clone().into_bytes(), ..valid.clone() }
    };
    prefixes.map(event).collect()
}

/// A stranger asks for a signature over the longest text that is answered, and sends the text as an event.
#[test]
fn no_signature_got_by_a_challenge_is_an_event_of_a_shipped_provider() {
    let signing: Vec<_> = providers().filter(|provider| provider.handshakes.sign()).collect();
    let vector = |provider: &Provider| listed(&provider.name, "handshakes").into_iter().next().unwrap();
    let mut toml = String::new();
    for provider in &signing {
        let (name, vector) = (&provider.name, vector(provider));
        let given = |setting_name: &String| {
            format!("{setting_name} = {{ value = {:?} }}", setting(&vector, setting_name))
        };
        let settings: Vec<String> = provider.settings().iter().map(given).collect();
        toml += &format!(
            "[routes.{name}]\npath = \"/{name}\"\nprovider = \"{name}\"\nsecrets = [{{ value = {:?} }}]\n\
             handshake = {{ {} }}\ndeliver_to = [\"app\"]\n",
            sent(&vector).secret,
            settings.join(", ")
        );
    }
    let app = App::start();
    let toml = format!("{toml}[destinations.app]\nurl = \"$APP\"\n").replace("handshake = {  }\n", "");
    let gateway = Setup::new(&toml).set("APP", app.url()).start();
    let (mut right, mut asked) = (Vec::new(), 0);
    for provider in signing {
        let (name, vector) = (&provider.name, vector(provider));
        let (challenges, challenge) = (bound(provider, &vector), sent(&vector));
        let events = listed(name, "vectors");
        let valid = Request::of(events.iter().find(|event| event["valid"] == true).unwrap());
        let valid = Request { secret: challenge.secret.clone(), now: None, ..valid };
        let verifier = valid.verifier(provider).unwrap();
        let body = ["{body}".to_owned()];
        let written = &provider.written.signed;
        for template in if written.is_empty() { &body[..] } else { written } {
            let literal = template.find('{').map_or("", |at| &template[..at]);
            let value = |length: usize| format!("{literal}{}", "a".repeat(length));
            let answered = |value: &String| {
                challenged_at(Stage::Unchecked, &challenges, &asking(&challenge, value)).is_some()
            };
            // What only the provider can ask, with a signature, a stranger cannot.
            let Some(value) = (1..=128).rev().map(value).find(answered) else { continue };
            let asking = asking(&challenge, &value);
            let query = asking.url.split_once('?').unwrap().1;
            let answer = gateway.send(&asking.method, &format!("/{name}?{query}"), &[], b"");
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
            asked += 1;
            for signature in texts(&answer.text()) {
                for event in forged(provider, &valid, template, &value, &signature) {
                    if event.check(&verifier).is_ok() {
                        right.push(name.to_string());
                    }
                    let headers = event.headers.iter();
                    let headers: Vec<_> = headers
                        .map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap()))
                        .collect();
                    let reply = gateway.send("POST", &format!("/{name}"), &headers, &event.body);
                    assert_eq!(reply.status, 401, "{name}: {}", reply.text());
                }
            }
        }
    }
    right.dedup();
    // Signed right, and refused all the same.
    assert!(asked >= 3 && right.len() >= 3, "{asked} {right:?}");
    assert!(app.seen().is_empty());
}
