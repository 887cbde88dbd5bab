//! Is it real: signature schemes as data.
//!
//! A scheme is written in a handful of words, the same in a route's own `[routes.NAME.verify]` table and at the top of
//! a provider's file. [`SchemeSpec`] holds them as typed, [`Scheme::compile`] checks them all and reports every wrong
//! one, [`Verifier`] is a compiled scheme with its keys.
//!
//! # The words of a scheme
//!
//! | word | type, default | meaning |
//! |---|---|---|
//! | `algorithm` | string, required | `"hmac-sha256"`, `"hmac-sha1"`, `"hmac-sha512"`; `"token"`: the header holds the secret itself; `"basic"`: HTTP Basic (RFC 7617), the secret is `user:password` |
//! | `key` | string, `"utf8"` | how the secret's text becomes the HMAC key: `"utf8"` (its bytes as they are), `"base64"`, `"whsec"` (an optional `whsec_`, then base64), `"hex"`. Base64 of secrets is read leniently: both alphabets, padding or none |
//! | `signature.header` | string or list, required (`basic`: `"Authorization"`) | where the signature stands; of a list the first header that is present counts |
//! | `signature.prefix` | string, none | what must stand before each signature, `"sha256="`, `"v0="`, `"Bearer "` |
//! | `signature.encoding` | string, `"hex"` | `"hex"` (one case, upper or lower), `"base64"` (padded), `"base64url"` (padded or not); bits beyond the last byte must be zero |
//! | `signature.format` | string, `"plain"` | `"plain"`: the value is one signature; `"list"`: `k=v,k=v`; `"versioned"`: `v1,SIG v1,SIG`, parted by spaces |
//! | `signature.separator` | one character, `","` | `list`: what parts the items; blanks around an item do not count |
//! | `signature.keys` | string or list, required with `list` | the keys that carry signatures; others are ignored |
//! | `signature.version` | string, required with `versioned` | the version that is looked at; others are ignored |
//! | `timestamp.header` / `.body` / `.key` | string, exactly one | a header; a JSON pointer into the body; a key of the signature's `list` |
//! | `timestamp.unit` | string, `"s"` | `"s"` and `"ms"` (UNIX time), `"rfc3339"` |
//! | `timestamp.tolerance` | duration, `"5m"` | how far the time may lie off the clock, behind or ahead |
//! | `signed` | string, `"{body}"` | the template of what is signed, see below |
//! | `id` | selector, none | what `{id}` stands for, `"header:webhook-id"` |
//! | `body_digest` | string, none | a parameter of `{url}`, `"query:NAME"`, that holds the lower-case hex SHA-256 of the body. A URL that has it must hold the right one, and `{form_sorted}` is then empty |
//! | `url_port` | string, `"exact"` | `"exact"`, or `"any"`: `{url}` is tried as it is, then without its port, or with the scheme's default port where it has none |
//!
//! `token` and `basic` take only `algorithm`, `signature.header` and (`token`) `signature.prefix`.
//! A list or a versioned header may hold several signatures, any of which may match; the first 16 are looked at.
//!
//! # The template of `signed`
//!
//! Text with these words in braces; `{{` and `}}` are single braces.
//!
//! | word | stands for |
//! |---|---|
//! | `{body}` | the body, byte for byte |
//! | `{timestamp}` | the timestamp as it was sent, verbatim |
//! | `{id}` | the value of `id` |
//! | `{url}` | the whole public URL |
//! | `{path}`, `{query}` | as they came, still escaped; the query without its `?`, empty without one |
//! | `{method}` | `POST` |
//! | `{header:NAME}` | a header's value |
//! | `{form_sorted}` | the body's form parameters, decoded, sorted by name and value, repeated ones once, names and values written one after the other with nothing between |
//!
//! A `{header:NAME}`, `{id}` or timestamp that the request lacks refuses it.
//!
//! # The words of a provider's file
//!
//! Those of a scheme at the top level, and:
//!
//! | word | type | meaning |
//! |---|---|---|
//! | `display_name`, `docs` | string, required | the provider's own name; the `https://` address of its documentation |
//! | `secret_hint` | string, none | where its console shows the secret, a sentence, where its documentation says so |
//! | `vectors` | string, none | what the file was proven with, the best of the valid vectors in `tests/providers/NAME.json`: `"third-party"` (signed by the provider's own libraries, its documentation or an independent implementation) or `"constructed"` (made from the documented scheme) |
//! | `event_id`, `event_type` | selector or list, none | where they stand; a list is joined with `:` |
//! | `event_id_required` | boolean, `false` | every event carries the id, by the provider's documentation |
//! | `event_time` | selector, none | when the event happened: UNIX seconds or milliseconds (told apart by their size), or RFC 3339 |
//! | `max_body` | size, none | the largest body the provider sends, where it says so |
//! | `retries_for` | duration, none | for how long it retries, where it says so |
//! | `[answer] status`, `body` | 200 to 299, string; none | the answer to an event that the provider wants: the defaults of a route's `ack_status` and `ack_body` |
//! | `[answer] deadline` | duration, none | how long it waits for the answer, where it says so |
//! | `[handshake]`, `[[handshakes]]` | table, list of tables | its challenges, see below |
//! | `[sample] type`, `content_type`, `body` | string, required | the event that `hooklatch send` sends, its `{type}` where none is named |
//! | `[sample] headers` | table, `{}` | headers of that event, signature headers apart |
//!
//! # The words of a handshake
//!
//! Challenges are tried in order; the first that fits answers, and the request is no event.
//!
//! | word | type, default | meaning |
//! |---|---|---|
//! | `method` | string or list, `"POST"` | `"GET"`, `"HEAD"`, `"OPTIONS"`, `"POST"`, `"PUT"`. A route of the provider takes these beside its own, for challenges alone |
//! | `when` | table, required with a body | selectors and what must stand there, all of them: a text, a list of texts (one of them), `true` (anything), `false` (nothing), or `"{handshake:NAME}"`, a setting of the route, compared in constant time |
//! | `signed` | boolean, `true` | answered once the signature is known to be right; `false`: before it is looked at |
//! | `status` | integer, `200` | 200 to 299, or 400 to 499 for "no" |
//! | `headers` | table of templates, none | headers of the answer; `X-Content-Type-Options: nosniff` always is one |
//! | `text`, `json` | template; table whose texts are templates; none | the body. Without either it is empty |
//! | `charset` | string, `"token"` where the answer is made with a secret, else `"text"` | the characters of request values that go into the answer: `"hex"` (lower case), `"alphanumeric"`, `"token"` (letters, digits, `-._~+/=`), `"text"` (no control characters; not with a secret) |
//! | `length` | two integers, `[1, 128]` with a secret, else `[1, 512]` | their least and most bytes. A request with other values is no challenge |
//! | `capture` | selector, none | the value is the secret of the provider's events, for a route with `secrets = [{ captured = "…" }]` that has none yet |
//! | `confirm.url`, `.host` | selector; pattern or list | an address that is asked (GET, https) off the request's path; its host must be one of these, `*` is one label. Only with `signed` |
//!
//! Templates: text with words in braces; `{{` and `}}` are single braces.
//!
//! | word | stands for |
//! |---|---|
//! | `{query:NAME}` and the other selectors | the request's value |
//! | `{endpoint}` | the public URL without its query |
//! | `{handshake:NAME}` | a setting of the route: `handshake = { NAME = { env = "…" } }` |
//! | `{hex(F)}`, `{base64(F)}` | F: `hmac-sha1(A, …)`, `hmac-sha256(…)`, `hmac-sha512(…)` with the key of the route's first secret, or `sha1(…)`, `sha256(…)`; A: one of the words above or `'text'`, written one after the other |
//!
//! In `sample.body` and the values of `sample.headers` these stand for what their names say, any other brace is itself:
//! `{id}` (a fresh event id), `{type}`, `{now}` (UNIX seconds), `{now_ms}` (milliseconds), `{now_rfc3339}`.

pub mod explain;
mod handshake;
mod key;
mod port;
mod provider;
mod sample;
mod scheme;
mod sign;
mod signature;
mod spec;
mod template;
mod timestamp;
mod verifier;

use std::sync::Arc;

use crate::clock::Millis;
use crate::secret::Secret;

pub use handshake::{
    AnswerSpec, Challenge, Challenges, ConfirmSpec, Errands, HandshakeReply, HandshakeSpec, Handshakes, Keys,
    Stage, WhenSpec,
};
pub use provider::{Provider, VectorKind, WantedAnswer};
pub use sample::{Sample, SampleEvent};
pub use scheme::Scheme;
pub use spec::{ProviderSpec, SampleSpec, SchemeSpec, SignatureSpec, TimestampSpec};
pub use timestamp::event_time;
pub use verifier::Verifier;

/// A secret with the name it goes by in metrics and the admin API.
#[derive(Clone, Debug)]
pub struct NamedSecret {
    /// The user's name for it, or its position from 1.
    pub name: Arc<str>,
    /// Its bytes as typed, not yet decoded.
    pub secret: Secret,
}

/// What a request that verified tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Which secret did, by position.
    pub secret: usize,
    /// The time the provider signed.
    pub timestamp: Option<Millis>,
}

/// Why a request did not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind, one of the contract's words.
    pub kind: RefusalKind,
    /// A sentence for the sender. Never tells what the right signature would be.
    pub message: String,
    /// The header or field at fault.
    pub field: Option<String>,
}

/// The kinds of [`Refusal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// No signature where the scheme wants one, or nothing of something that is signed.
    MissingSignature,
    /// No secret reproduces it.
    InvalidSignature,
    /// Signed right, but too long ago or too far ahead.
    TimestampOutOfTolerance,
}

impl RefusalKind {
    /// The word for it in answers: `missing_signature`, `invalid_signature`, `timestamp_out_of_tolerance`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::MissingSignature => "missing_signature",
            Self::InvalidSignature => "invalid_signature",
            Self::TimestampOutOfTolerance => "timestamp_out_of_tolerance",
        }
    }
}
