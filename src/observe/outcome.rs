//! How requests and attempts end, in the words that metrics, log and refusals share.

/// How a request ended: the `outcome` label of `hooklatch_requests_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RequestOutcome {
    /// Kept (or delivered), answered 2xx.
    Accepted,
    /// Seen before.
    Duplicate,
    /// Seen before, dead, put back.
    Requeued,
    /// A provider's challenge, answered.
    Handshake,
    /// Streamed through.
    Passed,
    /// Broken framing (from here on the error words of a refusal, in the order of their status).
    MalformedRequest,
    /// No id where the route requires one.
    MissingEventId,
    /// No signature.
    MissingSignature,
    /// A wrong one.
    InvalidSignature,
    /// Signed right at the wrong time.
    TimestampOutOfTolerance,
    /// Not on the allowlist.
    IpNotAllowed,
    /// No such route.
    UnknownRoute,
    /// Not with this method.
    MethodNotAllowed,
    /// Head or body too slow.
    RequestTimeout,
    /// Body too large.
    PayloadTooLarge,
    /// Target too long.
    UriTooLong,
    /// Head too large, too many lines.
    HeadersTooLarge,
    /// Over a rate.
    RateLimited,
    /// The app's fault.
    UpstreamError,
    /// The app took too long.
    UpstreamTimeout,
    /// No room.
    BufferFull,
    /// The disk's fault.
    StorageFailed,
    /// Not kept in time.
    AckTimeout,
    /// Stopping.
    ShuttingDown,
}

impl RequestOutcome {
    /// Every outcome, in the order of its number.
    pub const ALL: [Self; 24] = [
        Self::Accepted,
        Self::Duplicate,
        Self::Requeued,
        Self::Handshake,
        Self::Passed,
        Self::MalformedRequest,
        Self::MissingEventId,
        Self::MissingSignature,
        Self::InvalidSignature,
        Self::TimestampOutOfTolerance,
        Self::IpNotAllowed,
        Self::UnknownRoute,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::PayloadTooLarge,
        Self::UriTooLong,
        Self::HeadersTooLarge,
        Self::RateLimited,
        Self::UpstreamError,
        Self::UpstreamTimeout,
        Self::BufferFull,
        Self::StorageFailed,
        Self::AckTimeout,
        Self::ShuttingDown,
    ];

    /// The word of the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Requeued => "requeued",
            Self::Handshake => "handshake",
            Self::Passed => "passed",
            Self::MalformedRequest => "malformed_request",
            Self::MissingEventId => "missing_event_id",
            Self::MissingSignature => "missing_signature",
            Self::InvalidSignature => "invalid_signature",
            Self::TimestampOutOfTolerance => "timestamp_out_of_tolerance",
            Self::IpNotAllowed => "ip_not_allowed",
            Self::UnknownRoute => "unknown_route",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::PayloadTooLarge => "payload_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::RateLimited => "rate_limited",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::BufferFull => "buffer_full",
            Self::StorageFailed => "storage_failed",
            Self::AckTimeout => "ack_timeout",
            Self::ShuttingDown => "shutting_down",
        }
    }
}

/// How an attempt to deliver ended: the `result` label of `hooklatch_delivery_attempts_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AttemptResult {
    /// 2xx.
    Delivered,
    /// There will be another.
    Retry,
    /// That was the last.
    Dead,
    /// It was a probe of a destination that is down, and failed: it counts as no attempt.
    Probe,
}

/// What somebody should know of a destination: the `alert` label of `hooklatch_alerts_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alert {
    /// Its breaker tripped.
    BreakerOpen,
    /// It answered 410 and is paused.
    PausedAsGone,
    /// The first of its events is a dead letter.
    FirstDead,
}

impl Alert {
    /// Every alert.
    pub const ALL: [Self; 3] = [Self::BreakerOpen, Self::PausedAsGone, Self::FirstDead];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BreakerOpen => "breaker_open",
            Self::PausedAsGone => "paused_as_gone",
            Self::FirstDead => "first_dead",
        }
    }
}

impl AttemptResult {
    /// Every result, in the order of its number.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::Retry, Self::Dead, Self::Probe];

    /// The word of the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry => "retry",
            Self::Dead => "dead",
            Self::Probe => "probe",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_name_one_outcome_each() {
        let mut words = std::collections::HashSet::new();
        for (number, outcome) in RequestOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, number, "{outcome:?}");
            assert!(words.insert(outcome.as_str()), "{outcome:?}");
        }
        assert_eq!(RequestOutcome::TimestampOutOfTolerance.as_str(), "timestamp_out_of_tolerance");
        for (number, result) in AttemptResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, number, "{result:?}");
        }
    }
}
