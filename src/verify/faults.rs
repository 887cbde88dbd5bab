//! What is wrong with the words of a scheme: all of it, not only the first.

use super::spec::SchemeSpec;
use crate::units::Invalid;

/// What was found wrong so far.
#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<Invalid>);

impl Faults {
    pub(super) fn add(&mut self, key: &'static str, message: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Invalid::new(key, message, hint));
    }

    /// As [`Self::add`], for where a value was wanted.
    pub(super) fn none<T>(
        &mut self,
        key: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Option<T> {
        self.add(key, message, hint);
        None
    }

    /// Refuses `key` if it was written.
    pub(super) fn unused(&mut self, key: &'static str, written: bool, with: &str) {
        if written {
            self.add(key, format!("{key} has no meaning with {with}"), "leave it out");
        }
    }

    /// Refuses the words of a signature over a template, for an algorithm that has none.
    pub(super) fn no_template(&mut self, spec: &SchemeSpec, with: &str) {
        self.unused("secret_id", spec.secret_id.is_some(), with);
        self.unused("signed", !spec.signed.is_empty(), with);
        self.unused("timestamp", spec.timestamp.is_some(), with);
        self.unused("id", spec.id.is_some(), with);
        self.unused("document", spec.document.is_some(), with);
        self.unused("strict_form", spec.strict_form, with);
        self.unused("body_digest", spec.body_digest.is_some(), with);
        self.unused("url_port", spec.url_port.is_some(), with);
        self.unused("parameters", !spec.parameters.is_empty(), with);
    }

    /// The value of one of a few words, or the default where none is written.
    pub(super) fn word<T: Default>(
        &mut self,
        key: &'static str,
        written: Option<&String>,
        parse: fn(&str) -> Option<T>,
        words: &str,
    ) -> T {
        let Some(text) = written else { return T::default() };
        parse(text).unwrap_or_else(|| {
            self.add(key, format!("{text:?} is no {key}"), format!("write {words}"));
            T::default()
        })
    }

    /// What `read` makes of a text, its error under `key`.
    pub(super) fn keep<T>(&mut self, key: &'static str, read: Result<T, String>, hint: &str) -> Option<T> {
        read.map_err(|message| self.add(key, message, hint)).ok()
    }
}
