//! The words of a form's `parameters` table, each asked for once.

use super::super::faults::Faults;
use super::super::spec::SchemeSpec;

/// What was typed, and what of it was not asked for yet.
pub(super) struct Parameters<'s> {
    left: Vec<(&'s str, &'s [String])>,
    form: &'s str,
}

const KEY: &str = "parameters";

impl<'s> Parameters<'s> {
    pub(super) fn new(spec: &'s SchemeSpec) -> Self {
        let left = spec.parameters.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
        Self { left, form: &spec.algorithm }
    }

    /// The values of `name`; empty where it is not written.
    pub(super) fn list(&mut self, name: &str) -> &'s [String] {
        match self.left.iter().position(|(word, _)| *word == name) {
            Some(at) => self.left.swap_remove(at).1,
            None => &[],
        }
    }

    /// The values of `name`, at least one.
    pub(super) fn some(&mut self, name: &str, example: &str, faults: &mut Faults) -> &'s [String] {
        let values = self.list(name);
        if values.is_empty() {
            let message = format!("{} needs the parameter {name}", self.form);
            faults.add(KEY, message, format!("write {name} = {example}"));
        }
        values
    }

    /// The value of `name`, where it is written.
    pub(super) fn text(&mut self, name: &str, faults: &mut Faults) -> Option<&'s str> {
        match self.list(name) {
            [] => None,
            [value] => Some(value),
            [..] => faults.none(KEY, format!("the parameter {name} is one text, not a list"), ""),
        }
    }

    /// Reports what nobody asked for.
    pub(super) fn finish(self, faults: &mut Faults) {
        for (name, _) in self.left {
            let message = format!("{} has no parameter {name}", self.form);
            faults.add(KEY, message, "leave it out");
        }
    }
}
