//! What is said of a file: every mistake at once, each with its place, its line and the fix.

use std::fmt;
use std::sync::Arc;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Mistake,
    /// Legal, but rarely meant.
    Warning,
}

/// One thing said of a file. Its text never holds a secret: values of secrets are replaced in the shown line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file's path as the user gave it.
    pub file: Arc<str>,
    /// Line and column, both from 1, the column in characters; `None` where it is about the file as a whole.
    pub place: Option<(usize, usize)>,
    /// What is wrong, one sentence.
    pub message: String,
    /// What to write instead; empty where the message says it all.
    pub help: String,
    /// Another place that belongs to it, in words; mostly empty.
    pub note: String,
    pub(super) snippet: Option<Snippet>,
}

/// The offending line as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snippet {
    /// Without tabs, control characters and secrets.
    pub(super) line: String,
    /// How many characters stand before the carets.
    pub(super) start: usize,
    /// How many carets, at least one.
    pub(super) len: usize,
}

impl Diagnostic {
    /// A mistake about a file as a whole.
    pub(super) fn of_file(file: &Arc<str>, message: String, help: String) -> Self {
        Self {
            severity: Severity::Mistake,
            file: Arc::clone(file),
            place: None,
            message,
            help,
            note: String::new(),
            snippet: None,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        let kind = if self.severity == Severity::Warning { " warning:" } else { "" };
        writeln!(f, "{kind} {}", self.message)?;
        if let (Some((line, _)), Some(snippet)) = (self.place, &self.snippet) {
            writeln!(f, "{line:>5} | {}", snippet.line)?;
            let width = line.to_string().len().max(5);
            writeln!(f, "{:width$} | {:start$}{}", "", "", "^".repeat(snippet.len), start = snippet.start)?;
        }
        if !self.note.is_empty() {
            writeln!(f, "  note: {}", self.note)?;
        }
        if !self.help.is_empty() {
            writeln!(f, "  help: {}", self.help)?;
        }
        Ok(())
    }
}

/// Why a configuration cannot be used: every mistake of the file, in order of position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub(super) file: Arc<str>,
    pub(super) mistakes: Vec<Diagnostic>,
}

impl Report {
    /// How many mistakes are printed in full; a file that is no configuration at all yields more than anybody reads.
    const MOST_PRINTED: usize = 200;

    /// The mistakes, in order of position.
    #[must_use]
    pub fn mistakes(&self) -> &[Diagnostic] {
        &self.mistakes
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in self.mistakes.iter().take(Self::MOST_PRINTED) {
            writeln!(f, "{mistake}")?;
        }
        if let Some(more) = self.mistakes.len().checked_sub(Self::MOST_PRINTED).filter(|more| *more > 0) {
            writeln!(f, "and {more} more")?;
        }
        match self.mistakes.len() {
            1 => writeln!(f, "1 mistake in {}", self.file),
            count => writeln!(f, "{count} mistakes in {}", self.file),
        }
    }
}

impl std::error::Error for Report {}
