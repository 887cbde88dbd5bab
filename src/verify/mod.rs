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
//! | `algorithm` | string, required | below |
//! | `key` | string, `"utf8"` | how the secret's text becomes the key: `"utf8"` (its bytes as they are), `"base64"`, `"whsec"` (an optional `whsec_`, then base64), `"hex"`, `"utf8-or-hex"` (either, where both are said of a provider), `"sha1"` or `"sha256"` (the hash of its bytes), `"ampersand"` (its bytes and a `&`), `"nfkd"` (its Unicode NFKD form). Base64 of secrets is read leniently: both alphabets, padding or none |
//! | `secret_id` | table, none | `{ separator = "\|", stands = "after" }`: the secret's text is the key and, after or before it, an id that is no part of the key: `{secret_id}` |
//! | `signature` | table | where it stands and how it is written, below |
//! | `timestamp` | table, none | below |
//! | `signed` | string or list, `"{body}"` | the template of what is signed, below; of a list of up to four any may match |
//! | `id` | selector, none | what `{id}` stands for, `"header:webhook-id"` |
//! | `document` | string, none | `"form:NAME"`: the form field with the JSON into which the scheme's pointers point; where the body is no form they point into the body |
//! | `strict_form` | boolean, `false` | a body that is no URL-encoded form is refused, and so is one with other fields than the signed ones and the signature; then `{form:NAME}` binds the body |
//! | `require` | table, none | selectors and the values they must have, `{ "header:X-Algorithm" = "HmacSHA256" }` |
//! | `body_digest` | string, none | a parameter of `{url}`, `"query:NAME"`, that holds the lower-case hex SHA-256 of the body. A URL that has it must hold the right one, and `{form_sorted}` is then empty |
//! | `url_port` | string, `"exact"` | `"exact"`, or `"any"`: `{url}` is tried as it is, then without its port, or with the scheme's default port where it has none |
//! | `jwt` | table | with `jwt` and `jws`, below |
//! | `parameters` | table | the words of a form |
//!
//! | `algorithm` | what it is |
//! |---|---|
//! | `hmac-md5`, `hmac-sha1`, `hmac-sha256`, `hmac-sha384`, `hmac-sha512` | HMAC (RFC 2104) of what is signed |
//! | `md5`, `sha1`, `sha256`, `sha384`, `sha512`, `keccak256` | the hash of what is signed, which holds `{secret}` |
//! | `token` | the secret itself |
//! | `basic` | HTTP Basic (RFC 7617), the secret is `user:password` |
//! | `ed25519`, `ecdsa-p256`, `ecdsa-p256-sha1`, `rsa-sha1`, `rsa-sha256`, `rsa-sha512`, `rsa-pss-sha256` | a key pair; ECDSA in DER with SHA-256 where no hash is named, RSA with PKCS #1 v1.5 padding where not PSS. The secret is the public key: PEM (also of a certificate), JWK, JWKS, base64 of the DER, or an Ed25519 key in hex or base64 |
//! | `jwt` | a JSON Web Token (RFC 7519) |
//! | `jws` | a detached JSON Web Signature over the body (RFC 7515 appendix F, RFC 7797) |
//! | `signed-items`, `signed-fields`, `http-signature`, `jws-request` | the forms: ways that fit no template, with `parameters` of their own, below |
//!
//! `signature`; of `header`, `query`, `form` and `body` one is required (`basic`: `header = "Authorization"`), of
//! several each is one place where it may stand:
//!
//! | word | type, default | meaning |
//! |---|---|---|
//! | `header` | string or list | a header's name; of a list every one that is present is looked at. `X-Signature-{n}` stands for `X-Signature-1`, `-2` …, as far as they go |
//! | `repeated` | boolean, `false` | the header may be there several times, with a signature each: the first 16 are looked at |
//! | `query`, `form` | string | a parameter of the query, a field of the form in the body (URL-encoded or multipart) |
//! | `body` | string | a JSON pointer; `"whole"`: the body is a token. In a pointer of `token` one step may be `*`: every element of an array, all of which must be right |
//! | `prefix` | string or list, none | what must stand before each signature, `"sha256="`, `"v0="`, `"Bearer "`; of a list one of them |
//! | `encoding` | string, `"hex"` | `"hex"` (one case, upper or lower), `"base64"` (padded), `"base64url"` (without padding), `"base64url-padded"`, `"base64url-any"` (either, where a provider does not say which); bits beyond the last byte must be zero |
//! | `format` | string, `"plain"` | `"plain"`: the value is one signature; `"list"`: `k=v,k=v`; `"positional"`: `v,v`; `"values"`: `SIG,SIG`; `"versioned"`: `v1,SIG v1,SIG`, parted by blanks, or by a comma and a blank; `"base64json"`: base64 of a JSON object |
//! | `separator` | one character, `","` | `list`, `positional`, `values`: what parts the items; blanks around an item do not count |
//! | `assign` | one character, `"="` | `list`: what parts key and value |
//! | `keys` | string or list, required with `list` and `base64json` | the keys, fields or members that carry signatures, others are ignored; `"*"`: all. `positional`: the last field if it is not said |
//! | `fields` | list, required with `positional` | the names of the items, in order; what is left over goes by the last one's |
//! | `groups` | one character, none | what parts several whole lists, each with its own timestamp |
//! | `version` | string, required with `versioned` | the version that is looked at; others are ignored |
//!
//! `timestamp`; exactly one of `header`, `query`, `form`, `body` (a JSON pointer) and `key` (of the signature's list)
//! says where it stands:
//!
//! | word | type, default | meaning |
//! |---|---|---|
//! | `unit` | string, `"s"` | `"s"` and `"ms"` (UNIX time), `"epoch"` (either, told apart by its size), `"rfc3339"`, `"iso8601"` (without a zone UTC), `"http-date"` |
//! | `tolerance` | duration, `"5m"` | how far the time may lie off the clock, behind or ahead |
//! | `enforce` | boolean, `true` | `false`: signed, but not held against the clock |
//!
//! `jwt`:
//!
//! | word | type, default | meaning |
//! |---|---|---|
//! | `algorithms` | list, required | `HS256` … `HS512`, `RS256` … `RS512`, `PS256` … `PS512`, `ES256` … `ES512`, `EdDSA`: what is taken. A secret that is written as a public key serves the ones with key pairs alone, any other the `HS` ones |
//! | `body_hash`, `body_hash_encoding` | string, none and `"hex"` | the claim with the SHA-256 of the body |
//! | `body_hash_unless_empty` | boolean, `false` | where the body is empty, tokens lack that claim. Then any token of the same key, whatever it was made for, vouches for a request without a body: only with other claims that tell what it is for |
//! | `body_claim` | string, none | the claim that is the body |
//! | `url_hash` | string, none | the claim with the hex SHA-256 of the URL |
//! | `request_hash` | string, none | the claim with the hex SHA-256 of method, path and sorted query |
//! | `audience` | string, none | `"url"`: the token must be for the public URL; or the text that `aud` must hold |
//! | `claims` | table, none | claims and the text that each must be |
//! | `required` | list, none | claims that must be there, whatever they say: what tells a token that is an event from those that the same key signs for other purposes |
//! | `optional` | list, none | those of the claims above but `required` that a token may lack |
//! | `unencoded` | boolean, `false` | with `jws`: only signatures over the body as it is (RFC 7797) are taken. One over its base64url may have been a token's, whose claims became the body |
//! | `leeway` | duration, `"0s"` | on `exp`, `nbf` and `iat` |
//! | `max_age` | duration, none | how old a token may be by `iat`, which is then required |
//!
//! The forms, each with the words of its `parameters`:
//!
//! | form and word | meaning |
//! |---|---|
//! | `signed-items` | each item of a list in a JSON body is signed on its own, by an HMAC over some of its fields, and all must be right; `signature.body` is a pointer with a step `*`. Other fields are not bound |
//! | `fields` | list, required: JSON pointers into an item; what is missing counts as empty |
//! | `separator`, `mac` | what stands between the fields, `":"`; `"hmac-sha256"` |
//! | `signed-fields` | some members of a JSON body are signed with RSA, `NAME\nVALUE\n` for each that is there; `signature.body` is the member that holds the signature in base64. Other members are not bound |
//! | `fields` | list, required: the members, in the order in which they are signed |
//! | `version`, `versions` | required: the member that says how it is signed, and what its values mean, `["1=rsa-sha1", "2=rsa-sha256"]` |
//! | `certificate`, `certificate_hosts` | required: the members that may hold the certificate's address, of which one must be there, and the hosts on which it may lie (`*` is one label). Nothing is fetched from it: the secret is the certificate |
//! | `http-signature` | `k="v"` parameters in a header, a signature over the headers that it lists (draft-cavage-http-signatures-12); the digest is computed from the body |
//! | `signed_with` | `"ed25519"`, or another key pair's algorithm |
//! | `required` | list, none: what must be among the listed headers, `["(request-target)", "host"]`; `digest` and the timestamp's header always |
//! | `jws-request` | a detached JWS over `METHOD PATH\n`, a line `Name: value\n` for each header that its own header lists, and the body |
//! | `algorithms` | list, required: as `jwt.algorithms`, key pairs only |
//! | `headers`, `version` | required, the member of the JWS header that lists the headers; optional, `"MEMBER=VALUE"`: a member and the value it must have |
//! | `required` | list, none: headers that must be among those listed; the timestamp's header always |
//!
//! `token` and `basic` take only `algorithm`, `require`, where the signature stands and (`token`) its prefix.
//! Of all the signatures of a request any may match; the first 16 are looked at. What stands in one place twice with
//! different values is refused.
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
//! | `{secret}`, `{secret_id}` | the key (of plain hashes only); the id beside it |
//! | `{url}`, `{url_base}` | the whole public URL; without its query |
//! | `{path}`, `{query}` | as they came, still escaped; the query without its `?`, empty without one |
//! | `{query_sorted}` | the pieces of the query as they came, sorted |
//! | `{method}` | `POST` |
//! | `{header:NAME}` | a header's value |
//! | `{query:NAME}`, `{form:NAME}` | a parameter of the query, a field of the form, decoded |
//! | `{body:/POINTER}` | a string, number or boolean of the JSON body |
//! | `{item:NAME}` | another item of the signature's list |
//! | `{form_sorted}` | the body's form parameters, decoded, sorted by name and value, repeated ones once, names and values written one after the other with nothing between. Another body than a URL-encoded form is refused, unless it is empty or `body_digest` stands for it |
//! | `{listed_headers:NAME}` | the headers that this one lists: `name:value`, sorted, parted by `;`. Where a header holds the timestamp it must be among them |
//! | `{path_query_encoded}` | path and query, escaped as `encodeURI(path + "?" + encodeURIComponent(query))` does |
//! | `{url_and_form}` | the URL, its parameters sorted, and those of a form: `BASE?a=1&b=2.c3` |
//! | `{parameters_joined}` | all parameters but the signature, sorted, `&a=1&b=2`, every `&` and `=` in a value a `_` |
//! | `{?…}` | what is between, left out where a word in it is missing |
//!
//! Behind a word, from left to right: `|lower`, `|upper`, `|md5`, `|sha1`, `|sha256`, `|sha384`, `|sha512`,
//! `|keccak256` (bytes), `|hex`, `|base64`, `|crc32` (decimal), `|sort_json` (keys sorted at every depth, no blanks),
//! `|json_string` (as a string in JSON), `|unescape:CHARACTERS` (percent escapes of these decoded):
//! `{body|sha256|hex}`.
//!
//! A word that the request lacks, or has twice with different values, refuses it.
//!
//! The body is bound (`verified`) by `{body}`, also as a digest, by `strict_form`, by the claim `body_hash` or `body_claim`
//! if it is not optional, and by `jws`; else only the sender is known (`authenticated`). `{form_sorted}` does not bind it:
//! names and values run into each other, so `a=bc` is signed as `ab=c` is.
//!
//! # The words of a provider's file
//!
//! Those of a scheme at the top level, and:
//!
//! | word | type | meaning |
//! |---|---|---|
//! | `display_name`, `docs` | string, required | the provider's own name; the `https://` address of its documentation |
//! | `secret_hint` | string, none | where its console shows the secret, a sentence, where its documentation says so |
//! | `free_signature` | boolean, `false` | with `token`: the customer names the header (or parameter) in the provider's console, and a route may say `signature = { header = "…", prefix = "…" }`; what the file says is the usual one |
//! | `vectors` | string, none | what the file was proven with, the best of the valid vectors in `tests/providers/NAME.json`: `"third-party"` (signed by the provider's own libraries, its documentation or an independent implementation) or `"constructed"` (made from the documented scheme) |
//! | `event_id`, `event_type` | selector or list, none | where they stand; a list is joined with `:` |
//! | `event_id_required` | boolean, `false` | every event carries the id, by the provider's documentation |
//! | `event_time` | selector, none | when the event happened: UNIX seconds or milliseconds (told apart by their size), or RFC 3339 |
//! | `max_body` | size, none | the largest body the provider sends, where it says so |
//! | `retries_for` | duration, none | for how long it retries, where it says so |
//! | `[answer] status`, `body` | 200 to 299, string; none | the answer to an event that the provider wants: the defaults of a route's `ack_status` and `ack_body` |
//! | `[answer] deadline` | duration, none | how long it waits for the answer, where it says so |
//! | `[pin]` | table, none | selectors and the names of settings of the route, `"body:/TopicArn" = "topic_arn"`: a request that verified must hold the setting's value there. For providers that sign the requests of all their customers with one key; a route must give the setting |
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

mod asymmetric;
mod claims;
mod clear;
mod derived;
mod encoding;
pub mod explain;
mod faults;
mod filter;
mod format;
mod forms;
mod handshake;
mod jwt;
mod key;
mod mac;
mod place;
mod pointed;
mod port;
mod provider;
mod redaction;
mod sample;
mod scheme;
mod sign;
mod signed;
mod spec;
mod strict_json;
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
pub use provider::{Pin, Provider, VectorKind, WantedAnswer};
pub use redaction::{REDACTED, Redaction};
pub use sample::{Sample, SampleEvent};
pub use scheme::Scheme;
pub use sign::{Signature, Signer, replaced};
pub use spec::{JwtSpec, ProviderSpec, SampleSpec, SchemeSpec, SecretIdSpec, SignatureSpec, TimestampSpec};
pub use timestamp::{DEFAULT_TOLERANCE, event_time};
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
