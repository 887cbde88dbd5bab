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
    /// `secret_id = { … }`.
    pub secret_id: Option<SecretIdSpec>,
    /// `signature = { … }`.
    pub signature: SignatureSpec,
    /// `timestamp = { … }`.
    pub timestamp: Option<TimestampSpec>,
    /// `signed`: one template, or a list of which any may match.
    pub signed: Vec<String>,
    /// `id`.
    pub id: Option<String>,
    /// `document`.
    pub document: Option<String>,
    /// `strict_form`; without it `false`.
    pub strict_form: bool,
    /// `require`: a table of selectors and the value that each must have.
    pub require: Vec<(String, String)>,
    /// `body_digest`.
    pub body_digest: Option<String>,
    /// `url_port`.
    pub url_port: Option<String>,
    /// `jwt = { … }`.
    pub jwt: Option<JwtSpec>,
    /// `parameters`: the words of a form.
    pub parameters: Vec<(String, Vec<String>)>,
}

/// `secret_id = { … }` as typed: a secret's text is a key and an id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretIdSpec {
    /// `separator`: what stands between them.
    pub separator: String,
    /// `stands`: `"before"` or `"after"` the key.
    pub stands: String,
}

/// `signature = { … }` as typed. Exactly one of `header`, `query`, `form` and `body` says where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignatureSpec {
    /// `header`: one name, or a list of which every one that is present counts.
    pub headers: Vec<String>,
    /// `repeated`; without it `false`.
    pub repeated: bool,
    /// `query`: a parameter of the query.
    pub query: Option<String>,
    /// `form`: a field of the form in the body.
    pub form: Option<String>,
    /// `body`: a JSON pointer, or `"whole"`.
    pub body: Option<String>,
    /// `prefix`: one text, or a list of which one must stand there.
    pub prefixes: Vec<String>,
    /// `encoding`.
    pub encoding: Option<String>,
    /// `format`.
    pub format: Option<String>,
    /// `separator`.
    pub separator: Option<String>,
    /// `assign`.
    pub assign: Option<String>,
    /// `keys`: one name or a list.
    pub keys: Vec<String>,
    /// `fields`: one name or a list.
    pub fields: Vec<String>,
    /// `groups`.
    pub groups: Option<String>,
    /// `version`.
    pub version: Option<String>,
}

/// `timestamp = { … }` as typed. Exactly one of `header`, `query`, `form`, `body` and `key` says where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimestampSpec {
    /// `header`: a header's name.
    pub header: Option<String>,
    /// `query`: a parameter of the query.
    pub query: Option<String>,
    /// `form`: a field of the form in the body.
    pub form: Option<String>,
    /// `body`: a JSON pointer.
    pub body: Option<String>,
    /// `key`: a key of the signature's list.
    pub key: Option<String>,
    /// `unit`.
    pub unit: Option<String>,
    /// `tolerance`.
    pub tolerance: Option<String>,
    /// `enforce`; without it `true`.
    pub enforce: Option<bool>,
}

/// `jwt = { … }` as typed: what a token must say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwtSpec {
    /// `algorithms`, required: the only ones that are taken.
    pub algorithms: Vec<String>,
    /// `body_hash`: the claim with the body's SHA-256.
    pub body_hash: Option<String>,
    /// `body_hash_encoding`.
    pub body_hash_encoding: Option<String>,
    /// `body_hash_unless_empty`; without it `false`.
    pub body_hash_unless_empty: bool,
    /// `body_claim`: the claim that holds the body itself.
    pub body_claim: Option<String>,
    /// `url_hash`: the claim with the URL's SHA-256.
    pub url_hash: Option<String>,
    /// `request_hash`: the claim with the SHA-256 of method, path and sorted query.
    pub request_hash: Option<String>,
    /// `audience`: `"url"`, or the text that `aud` must hold.
    pub audience: Option<String>,
    /// `claims`: a table of claims and the text that each must be.
    pub claims: Vec<(String, String)>,
    /// `required`: claims that must be there, whatever they say.
    pub required: Vec<String>,
    /// `optional`: the claims among the above that a token may lack.
    pub optional: Vec<String>,
    /// `unencoded`; without it `false`.
    pub unencoded: bool,
    /// `leeway`: a duration.
    pub leeway: Option<String>,
    /// `max_age`: a duration.
    pub max_age: Option<String>,
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
    /// `free_signature`; without it `false`.
    pub free_signature: bool,
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
    /// `[pin]`: selectors and the names of the route's settings that must stand there.
    pub pins: Vec<(String, String)>,
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
