//! Standard output, errors and exit codes of a command.

use std::fmt;
use std::io::{BufWriter, ErrorKind, IsTerminal, Stdout, Write};
use std::process::ExitCode;

/// Why a command ends without having done its work. Its text says what to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Exit code 1.
    Failed(String),
    /// Wrong usage or configuration: exit code 2.
    Usage(String),
    /// Whoever reads the output has had enough (`hooklatch events list | head`): exit code 0, nothing to say.
    ClosedPipe,
    /// All is printed already; only the exit code 1 is left to say.
    Silent,
}

impl Failure {
    /// Exit code 1 with a sentence.
    pub fn failed(sentence: impl Into<String>) -> Self {
        Self::Failed(sentence.into())
    }

    /// Exit code 2 with a sentence.
    pub fn usage(sentence: impl Into<String>) -> Self {
        Self::Usage(sentence.into())
    }

    /// Prints the sentence to standard error and gives the exit code.
    pub fn report(&self) -> ExitCode {
        let (code, sentence) = match self {
            Self::Failed(sentence) => (1, sentence.as_str()),
            Self::Usage(sentence) => (2, sentence.as_str()),
            Self::ClosedPipe => return ExitCode::SUCCESS,
            Self::Silent => return ExitCode::FAILURE,
        };
        // With standard error closed there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "hooklatch: {}", sentence.trim_end());
        ExitCode::from(code)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }
}

/// How a command ends.
pub type Outcome = Result<(), Failure>;

/// Standard output, buffered. What stands in the buffer is written by [`Out::flush`] and at the end.
pub struct Out(BufWriter<Stdout>);

impl Out {
    /// The process's standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self(BufWriter::new(std::io::stdout()))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// Output that cannot be written.
    pub fn line(&mut self, line: impl fmt::Display) -> Outcome {
        Ok(writeln!(self.0, "{line}")?)
    }

    /// Writes `value` as JSON on several lines.
    ///
    /// # Errors
    /// Output that cannot be written.
    pub fn json(&mut self, value: &serde_json::Value) -> Outcome {
        self.line(format_args!("{value:#}"))
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// Output that cannot be written.
    pub fn flush(&mut self) -> Outcome {
        Ok(self.0.flush()?)
    }
}

/// A line on standard error that is drawn again and again while a command works: in place on a terminal, else only
/// every ten seconds.
pub struct Progress {
    terminal: bool,
    drawn: bool,
}

impl Progress {
    /// On standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), drawn: false }
    }

    /// How long to wait between two drawings.
    #[must_use]
    pub fn interval(&self) -> std::time::Duration {
        std::time::Duration::from_millis(if self.terminal { 200 } else { 10_000 })
    }

    /// Shows `line`.
    pub fn draw(&mut self, line: &str) {
        let mut stderr = std::io::stderr().lock();
        // Progress is a courtesy: without a standard error the work goes on.
        let _ = if self.terminal {
            write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush())
        } else {
            writeln!(stderr, "{line}")
        };
        self.drawn = true;
    }

    /// Removes what was drawn on a terminal, before the result is printed.
    pub fn clear(&mut self) {
        if self.drawn && self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
