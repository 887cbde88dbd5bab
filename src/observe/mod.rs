//! What the operator sees: metrics and the log. Both are cheap enough for the hot path.

mod event_log;
mod json;
mod line;
mod log_writer;
mod logging;
mod metrics;
mod outcome;
mod settings;

pub use event_log::{AttemptLine, EventLog, RequestLine};
pub use log_writer::LogWriter;
pub use logging::{Logging, count_panics};
pub use metrics::{
    DestinationGauges, DestinationMetrics, Gauges, MAX_EVENT_TYPES, Metrics, RouteMetrics, SecretMetrics,
};
pub use outcome::{Alert, AttemptResult, RequestOutcome};
pub use settings::{LogFormat, LogLevel, LogOptions};
