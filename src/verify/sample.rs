//! A provider's sample event, for `hooklatch send`: its body and headers with placeholders.

use super::spec::SampleSpec;
use crate::clock::Millis;
use crate::headers::{Headers, HeadersBuilder, is_token};
use crate::units::Invalid;

/// A provider's sample event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample(SampleSpec);

/// One event made from a [`Sample`], not yet signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleEvent {
    /// `content-type` and the sample's own headers.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

impl Sample {
    /// Checks `spec`.
    ///
    /// # Errors
    /// Every word of it that makes no sense.
    pub fn compile(spec: &SampleSpec) -> Result<Self, Vec<Invalid>> {
        let mut faults = Vec::new();
        for (key, text) in [
            ("sample.type", &spec.event_type),
            ("sample.content_type", &spec.content_type),
            ("sample.body", &spec.body),
        ] {
            if text.is_empty() {
                faults.push(Invalid::new(key, format!("a sample needs a {key}"), ""));
            }
        }
        for (name, value) in &spec.headers {
            if !is_token(name.as_bytes()) || value.contains(['\r', '\n', '\0']) {
                let message = format!("{name:?} and its value cannot stand in a head");
                faults.push(Invalid::new("sample.headers", message, ""));
            }
        }
        if faults.is_empty() { Ok(Self(spec.clone())) } else { Err(faults) }
    }

    /// The event type of the sample where the user names none.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.0.event_type
    }

    /// The sample as an event with this id and type at `now`.
    #[must_use]
    pub fn event(&self, id: &str, event_type: Option<&str>, now: Millis) -> SampleEvent {
        let event_type = event_type.unwrap_or(&self.0.event_type);
        let fill = |text: &str| {
            text.replace("{now}", &now.seconds().to_string())
                .replace("{now_ms}", &now.0.to_string())
                .replace("{now_rfc3339}", &now.rfc3339())
                .replace("{type}", event_type)
                .replace("{id}", id)
        };
        let mut lines = HeadersBuilder::default();
        lines.push(b"content-type", self.0.content_type.as_bytes());
        for (name, value) in &self.0.headers {
            lines.push(name.as_bytes(), fill(value).as_bytes());
        }
        SampleEvent { headers: lines.build(), body: fill(&self.0.body).into_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_and_other_braces_left_alone() {
        let spec = SampleSpec {
            event_type: "push".to_owned(),
            content_type: "application/json".to_owned(),
            headers: vec![("X-Id".to_owned(), "{id}".to_owned()), ("X-Type".to_owned(), "{type}".to_owned())],
            body: r#"{"id":"{id}","at":{now},"ms":{now_ms},"t":"{now_rfc3339}","x":{}}"#.to_owned(),
        };
        let sample = Sample::compile(&spec).unwrap();
        let event = sample.event("7", None, Millis(1_768_473_000_123));
        let body = r#"{"id":"7","at":1768473000,"ms":1768473000123,"t":"2026-01-15T10:30:00.123Z","x":{}}"#;
        assert_eq!(String::from_utf8(event.body).unwrap(), body);
        assert_eq!(event.headers.get("x-type"), Some(&b"push"[..]));
        assert_eq!(event.headers.get("content-type"), Some(&b"application/json"[..]));
        let other = sample.event("7", Some("ping"), Millis(0));
        assert_eq!(other.headers.get("x-type"), Some(&b"ping"[..]));
        assert_eq!(other.headers.get("x-id"), Some(&b"7"[..]));
    }

    #[test]
    fn every_wrong_word_is_reported_at_once() {
        let spec = SampleSpec {
            headers: vec![("a b".to_owned(), "x".to_owned()), ("a".to_owned(), "x\r\nb: y".to_owned())],
            ..SampleSpec::default()
        };
        let keys: Vec<_> = Sample::compile(&spec).unwrap_err().iter().map(|fault| fault.key).collect();
        assert_eq!(
            keys,
            ["sample.type", "sample.content_type", "sample.body", "sample.headers", "sample.headers"]
        );
    }
}
