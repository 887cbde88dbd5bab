//! Challenges: each is answered as its vector says, and no event is taken for one.

use hooklatch::headers::Headers;
use hooklatch::secret::Secret;
use hooklatch::select::Message;
use hooklatch::verify::{Challenges, HandshakeReply, Keys, Stage};

use super::{Request, listed, providers};

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
    for provider in providers() {
        let name = &provider.name;
        if provider.handshakes.is_empty() {
            continue;
        }
        for vector in listed(name, "handshakes") {
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
                now: None,
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
            // Discord's own example of a signed request is its challenge.
            for event in listed(name, "vectors").iter().filter(|event| event["body"] != request["body"]) {
                assert_eq!(challenged(&challenges, &Request::of(event)), None, "{name}: {}", event["name"]);
            }
            answered += 1;
        }
    }
    assert!(answered > 0);
}
