//! A provider's challenge to a new endpoint: what it looks like and what the answer is, as data.

use super::spec::HandshakeSpec;
use crate::select::{Message, Selector};
use crate::units::Invalid;

/// A provider's challenge to a new endpoint, answered by hooklatch after the signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    when: Vec<(Selector, String)>,
    text: Selector,
    status: u16,
}

/// The answer to a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeReply {
    /// HTTP status.
    pub status: u16,
    /// `content-type`.
    pub content_type: &'static str,
    /// Body.
    pub body: Vec<u8>,
}

impl Handshake {
    /// Compiles `spec`.
    ///
    /// # Errors
    /// Every word of it that makes no sense.
    pub fn compile(spec: &HandshakeSpec) -> Result<Self, Vec<Invalid>> {
        let mut faults = Vec::new();
        let mut when = Vec::new();
        for (word, value) in &spec.when {
            match Selector::parse(word) {
                Ok(selector) => when.push((selector, value.clone())),
                Err(message) => faults.push(Invalid::new("handshake.when", message, "")),
            }
        }
        if spec.when.is_empty() {
            let hint = "write when = { \"body:/type\" = \"url_verification\" }";
            faults.push(Invalid::new(
                "handshake.when",
                "what makes a request the challenge is not said",
                hint,
            ));
        }
        let text = Selector::parse(&spec.text)
            .map_err(|message| faults.push(Invalid::new("handshake.text", message, "")))
            .ok();
        let status = spec.status.unwrap_or(200);
        if !(200..300).contains(&status) {
            let hint = "write 200 to 299";
            faults.push(Invalid::new("handshake.status", format!("{status} is no success"), hint));
        }
        match text {
            Some(text) if faults.is_empty() => Ok(Self { when, text, status }),
            _ => Err(faults),
        }
    }

    /// The answer, if `message` (already verified) is the challenge.
    #[must_use]
    pub fn answer(&self, message: &Message<'_>) -> Option<HandshakeReply> {
        if !self.when.iter().all(|(selector, value)| selector.extract(message).as_ref() == Some(value)) {
            return None;
        }
        let body = self.text.extract(message)?.into_bytes();
        Some(HandshakeReply { status: self.status, content_type: "text/plain; charset=utf-8", body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Headers;

    fn spec(status: Option<u16>) -> HandshakeSpec {
        HandshakeSpec {
            when: vec![
                ("body:/type".to_owned(), "url_verification".to_owned()),
                ("header:x-kind".to_owned(), "probe".to_owned()),
            ],
            text: "body:/challenge".to_owned(),
            status,
        }
    }

    fn answer(body: &str) -> Option<HandshakeReply> {
        let headers = Headers::from_pairs([("X-Kind", "probe")]);
        let message = Message {
            method: "POST",
            path: "/",
            query: None,
            url: "https://example.com/",
            headers: &headers,
            body: body.as_bytes(),
        };
        Handshake::compile(&spec(None)).unwrap().answer(&message)
    }

    #[test]
    fn only_the_challenge_is_answered() {
        let reply = answer(r#"{"type":"url_verification","challenge":"3eZ\"b"}"#).unwrap();
        assert_eq!((reply.status, reply.body.as_slice()), (200, &b"3eZ\"b"[..]));
        assert_eq!(reply.content_type, "text/plain; charset=utf-8");
        for body in [
            r#"{"type":"event_callback","challenge":"x"}"#,
            r#"{"type":"url_verification"}"#,
            r#"{"challenge":"x"}"#,
            "",
        ] {
            assert_eq!(answer(body), None, "{body}");
        }
    }

    #[test]
    fn every_wrong_word_is_reported_at_once() {
        let wrong = HandshakeSpec {
            when: vec![("type".to_owned(), "x".to_owned())],
            text: "challenge".to_owned(),
            status: Some(404),
        };
        let keys: Vec<_> = Handshake::compile(&wrong).unwrap_err().iter().map(|fault| fault.key).collect();
        assert_eq!(keys, ["handshake.when", "handshake.text", "handshake.status"]);
        let never = HandshakeSpec { when: Vec::new(), ..spec(None) };
        assert_eq!(Handshake::compile(&never).unwrap_err()[0].key, "handshake.when");
    }
}
