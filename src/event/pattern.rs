//! Event types as the configuration names them.

use std::fmt;

/// `"invoice.paid"`, or `"invoice.*"` for all types that begin so; `"*"` for every event that has a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypePattern {
    start: Box<str>,
    /// Whatever follows.
    open: bool,
}

impl TypePattern {
    /// Reads it.
    ///
    /// # Errors
    /// A sentence: it is empty, or has a `*` before its end.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (start, open) = match text.strip_suffix('*') {
            Some(start) => (start, true),
            None => (text, false),
        };
        if text.is_empty() {
            return Err("an empty event type is none".to_owned());
        }
        if start.contains('*') {
            return Err(format!("in {text:?} a `*` stands for the rest of a type, so only at its end"));
        }
        Ok(Self { start: start.into(), open })
    }

    /// Whether `event_type` is one of these.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        if self.open { event_type.starts_with(&*self.start) } else { *event_type == *self.start }
    }
}

impl fmt::Display for TypePattern {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.start)?;
        f.write_str(if self.open { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_at_the_end_stands_for_any_rest_and_for_none() {
        let matches = |pattern: &str, event_type| TypePattern::parse(pattern).unwrap().matches(event_type);
        assert!(matches("invoice.paid", "invoice.paid") && !matches("invoice.paid", "invoice.paid.late"));
        assert!(!matches("invoice.paid", "Invoice.Paid"), "types are told apart by their case");
        for (event_type, expected) in [("invoice.paid", true), ("invoice.", true), ("invoice", false)] {
            assert_eq!(matches("invoice.*", event_type), expected, "{event_type}");
        }
        assert!(matches("*", "push") && matches("*", ""));
    }

    #[test]
    fn what_would_never_match_is_refused() {
        for text in ["", "*.paid", "invoice.*.paid", "**"] {
            assert!(TypePattern::parse(text).is_err(), "{text}");
        }
    }
}
