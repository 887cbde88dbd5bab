//! What the user can set about the log.

use std::str::FromStr;

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(format!("{text:?} is not a log format; there are \"json\" and \"text\"")),
        }
    }
}

/// From which severity on lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What needs a hand.
    Error,
    /// What will need one.
    Warn,
    /// Besides: a line a request and a line an attempt.
    #[default]
    Info,
    /// What a developer asks for.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The word of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// Whether the event log (a line a request, a line an attempt) is written at this level.
    #[must_use]
    pub fn writes_events(self) -> bool {
        self >= Self::Info
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace]
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| {
                format!(
                    "{text:?} is not a log level; there are \"error\", \"warn\", \"info\", \"debug\" and \"trace\""
                )
            })
    }
}

/// `[log]` as typed; its default is the documented one. Every value that exists is valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// `log.format`.
    pub format: LogFormat,
    /// `log.level`.
    pub level: LogLevel,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_configuration_are_read() {
        assert_eq!("text".parse(), Ok(LogFormat::Text));
        assert_eq!("warn".parse(), Ok(LogLevel::Warn));
        assert!("JSON".parse::<LogFormat>().unwrap_err().contains("\"text\""));
        assert!("warning".parse::<LogLevel>().unwrap_err().contains("\"trace\""));
    }

    #[test]
    fn the_event_log_is_written_from_info_on() {
        assert!(LogOptions::default().level.writes_events());
        assert!(LogLevel::Debug.writes_events() && !LogLevel::Warn.writes_events());
    }
}
