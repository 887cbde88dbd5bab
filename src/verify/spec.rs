//! The words of a signature scheme and of a provider's file, as typed. Plain data: nothing here is checked yet, so
//! that the reader of the file can hand over everything it found and every mistake is reported at once.

use super::handshake::{AnswerSpec, HandshakeSpec};

/// A signature scheme as typed. [`super::Scheme::compile`] finds what cannot work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemeSpec {
    /// `algorithm`, required.
    pub algorithm: String,
    /// `key`.
    pub key: Option<String>,
    /// `signature = { … }`.
    pub signature: SignatureSpec,
    /// `timestamp = { … }`.
    pub timestamp: Option<TimestampSpec>,
    /// `signed`.
    pub signed: Option<String>,
    /// `id`.
    pub id: Option<String>,
    /// `body_digest`.
    pub body_digest: Option<String>,
    /// `url_port`.
    pub url_port: Option<String>,
}

/// `signature = { … }` as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignatureSpec {
    /// `header`: one name, or a list of which the first that is present counts.
    pub headers: Vec<String>,
    /// `prefix`.
    pub prefix: Option<String>,
    /// `encoding`.
    pub encoding: Option<String>,
    /// `format`.
    pub format: Option<String>,
    /// `separator`.
    pub separator: Option<String>,
    /// `keys`: one name or a list.
    pub keys: Vec<String>,
    /// `version`.
    pub version: Option<String>,
}

/// `timestamp = { … }` as typed. Exactly one of `header`, `body` and `key` says where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimestampSpec {
    /// `header`: a header's name.
    pub header: Option<String>,
    /// `body`: a JSON pointer.
    pub body: Option<String>,
    /// `key`: a key of the signature header's list.
    pub key: Option<String>,
    /// `unit`.
    pub unit: Option<String>,
    /// `tolerance`.
    pub tolerance: Option<String>,
}

/// A provider's file as typed. [`super::Provider::compile`] finds what cannot work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderSpec {
    /// The file's name without `.toml`: the word for `provider = "…"`.
    pub name: String,
    /// `display_name`, required.
    pub display_name: String,
    /// `docs`, required: an `https://` address.
    pub docs: String,
    /// The words of the scheme, at the top of the file.
    pub scheme: SchemeSpec,
    /// `vectors`: `"third-party"` or `"constructed"`.
    pub vectors: Option<String>,
    /// `secret_hint`: a sentence.
    pub secret_hint: Option<String>,
    /// `event_id`: one selector, or a list that is joined with `:`.
    pub event_id: Vec<String>,
    /// `event_id_required`; without it `false`.
    pub event_id_required: bool,
    /// `event_type`: one selector, or a list that is joined with `:`.
    pub event_type: Vec<String>,
    /// `event_time`: one selector.
    pub event_time: Option<String>,
    /// `[handshake]` or `[[handshakes]]`.
    pub handshakes: Vec<HandshakeSpec>,
    /// `[answer]`.
    pub answer: Option<AnswerSpec>,
    /// `max_body`: a size.
    pub max_body: Option<String>,
    /// `retries_for`: a duration.
    pub retries_for: Option<String>,
    /// `[sample]`.
    pub sample: Option<SampleSpec>,
}

/// `[sample]` as typed: what `hooklatch send` sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleSpec {
    /// `type`: what `{type}` stands for where the user names no type.
    pub event_type: String,
    /// `content_type`.
    pub content_type: String,
    /// `headers`: a table of names and values, placeholders allowed.
    pub headers: Vec<(String, String)>,
    /// `body`, placeholders allowed.
    pub body: String,
}
