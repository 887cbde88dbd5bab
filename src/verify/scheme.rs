//! From the words of a scheme to a compiled one. Every wrong word is reported, not only the first.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::key::{Hash, KeyForm};
use super::signature::{Encoding, Format};
use super::spec::{SchemeSpec, SignatureSpec, TimestampSpec};
use super::template::{Segment, Template};
use super::timestamp::{DEFAULT_TOLERANCE, Place, Timestamp, Unit};
use crate::headers::is_token;
use crate::secret::Secret;
use crate::select::{Pointer, Selector};
use crate::units::{Invalid, parse_duration};

/// A compiled scheme: no template is parsed while a request waits.
#[derive(Clone, Debug)]
pub struct Scheme(pub(super) Method);

#[derive(Clone, Debug)]
pub(super) enum Method {
    Hmac(Arc<HmacScheme>),
    Clear(Arc<ClearScheme>),
}

/// An HMAC over a template.
#[derive(Debug)]
pub(super) struct HmacScheme {
    pub(super) hash: Hash,
    pub(super) key: KeyForm,
    pub(super) headers: Box<[Box<str>]>,
    pub(super) prefix: Box<str>,
    pub(super) encoding: Encoding,
    pub(super) format: Format,
    pub(super) timestamp: Option<Timestamp>,
    pub(super) signed: Template,
    pub(super) id: Option<Selector>,
    /// The parameter of the signed URL that holds the body's SHA-256.
    pub(super) body_digest: Option<Box<str>>,
    pub(super) any_port: bool,
}

/// The secret itself in a header.
#[derive(Debug)]
pub(super) struct ClearScheme {
    pub(super) headers: Box<[Box<str>]>,
    pub(super) form: ClearForm,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClearForm {
    /// After this prefix.
    Token { prefix: Box<str> },
    /// HTTP Basic, RFC 7617.
    Basic,
}

impl Scheme {
    /// Compiles `spec`.
    ///
    /// # Errors
    /// Every word of it that makes no sense; `key` as in the module's documentation, `"signature.header"`.
    pub fn compile(spec: &SchemeSpec) -> Result<Self, Vec<Invalid>> {
        let mut faults = Faults::default();
        let method = match spec.algorithm.as_str() {
            "hmac-sha256" => hmac(spec, Hash::Sha256, &mut faults),
            "hmac-sha1" => hmac(spec, Hash::Sha1, &mut faults),
            "hmac-sha512" => hmac(spec, Hash::Sha512, &mut faults),
            "token" | "basic" => clear(spec, &mut faults),
            "" => faults.none("algorithm", "a scheme needs an algorithm", ALGORITHMS),
            other if LATER.contains(&other) => {
                faults.none("algorithm", format!("{other:?} is not yet supported"), ALGORITHMS)
            }
            other => faults.none("algorithm", format!("there is no algorithm {other:?}"), ALGORITHMS),
        };
        match method {
            Some(method) if faults.0.is_empty() => Ok(Self(method)),
            _ => Err(faults.0),
        }
    }

    /// Whether a request that verifies is proven whole (`verified`); else only its sender is known
    /// (`authenticated`): a token, HTTP Basic, or a signature that leaves the body out.
    #[must_use]
    pub fn binds_body(&self) -> bool {
        match &self.0 {
            Method::Hmac(scheme) => {
                scheme.signed.has(&Segment::Body) || scheme.signed.has(&Segment::FormSorted)
            }
            Method::Clear(_) => false,
        }
    }

    /// Whether the time is part of what is checked: an app behind that checks it again will refuse late deliveries.
    #[must_use]
    pub fn checks_time(&self) -> bool {
        matches!(&self.0, Method::Hmac(scheme) if scheme.timestamp.is_some())
    }

    /// Whether the public URL is part of what is signed: it must then be known behind a proxy.
    #[must_use]
    pub fn signs_url(&self) -> bool {
        matches!(&self.0, Method::Hmac(scheme) if scheme.signed.has(&Segment::Url))
    }

    /// The key that `secret` stands for where the scheme signs with it; `None` where it does not, or the secret is
    /// not written so.
    #[must_use]
    pub fn key_of(&self, secret: &Secret) -> Option<Zeroizing<Vec<u8>>> {
        match &self.0 {
            Method::Hmac(scheme) => scheme.key.decode(secret).ok(),
            Method::Clear(_) => None,
        }
    }

    /// The headers in which it looks for a signature or a secret, in lower case.
    #[must_use]
    pub fn signature_headers(&self) -> Vec<String> {
        let headers = match &self.0 {
            Method::Hmac(scheme) => &scheme.headers,
            Method::Clear(scheme) => &scheme.headers,
        };
        headers.iter().map(|name| name.to_ascii_lowercase()).collect()
    }

    /// The headers that hold the secret itself, in lower case: to be shown to nobody.
    #[must_use]
    pub fn secret_headers(&self) -> Vec<String> {
        match &self.0 {
            Method::Hmac(_) => Vec::new(),
            Method::Clear(scheme) => scheme.headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
        }
    }
}

const ALGORITHMS: &str = "write \"hmac-sha256\", \"hmac-sha1\", \"hmac-sha512\", \"token\" or \"basic\"";

/// Ways of signing that are known and have no code yet.
const LATER: [&str; 10] =
    ["hmac-md5", "md5", "sha1", "sha256", "sha512", "ed25519", "ecdsa-p256", "rsa-sha1", "rsa-sha256", "jwt"];

/// What was found wrong so far.
#[derive(Default)]
struct Faults(Vec<Invalid>);

impl Faults {
    fn add(&mut self, key: &'static str, message: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Invalid::new(key, message, hint));
    }

    fn none<T>(
        &mut self,
        key: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Option<T> {
        self.add(key, message, hint);
        None
    }

    /// Refuses `key` if it was written.
    fn unused(&mut self, key: &'static str, written: bool, with: &str) {
        if written {
            self.add(key, format!("{key} has no meaning with {with}"), "leave it out");
        }
    }

    /// The value of one of a few words, or the default where none is written.
    fn word<T: Default>(
        &mut self,
        key: &'static str,
        written: Option<&String>,
        parse: fn(&str) -> Option<T>,
        words: &str,
    ) -> T {
        let Some(text) = written else { return T::default() };
        parse(text).unwrap_or_else(|| {
            self.add(key, format!("{text:?} is no {key}"), format!("write {words}"));
            T::default()
        })
    }
}

fn clear(spec: &SchemeSpec, faults: &mut Faults) -> Option<Method> {
    let basic = spec.algorithm == "basic";
    let with = format!("algorithm = {:?}", spec.algorithm);
    faults.unused("key", spec.key.is_some(), &with);
    faults.unused("signed", spec.signed.is_some(), &with);
    faults.unused("timestamp", spec.timestamp.is_some(), &with);
    faults.unused("id", spec.id.is_some(), &with);
    faults.unused("body_digest", spec.body_digest.is_some(), &with);
    faults.unused("url_port", spec.url_port.is_some(), &with);
    let signature = &spec.signature;
    faults.unused("signature.encoding", signature.encoding.is_some(), &with);
    faults.unused("signature.format", signature.format.is_some(), &with);
    faults.unused("signature.separator", signature.separator.is_some(), &with);
    faults.unused("signature.keys", !signature.keys.is_empty(), &with);
    faults.unused("signature.version", signature.version.is_some(), &with);
    faults.unused("signature.prefix", basic && signature.prefix.is_some(), &with);
    let headers = match signature.headers.as_slice() {
        [] if basic => Box::from([Box::from("Authorization")]),
        _ => header_names(signature, faults),
    };
    let form = if basic {
        ClearForm::Basic
    } else {
        ClearForm::Token { prefix: signature.prefix.clone().unwrap_or_default().into() }
    };
    Some(Method::Clear(Arc::new(ClearScheme { headers, form })))
}

fn hmac(spec: &SchemeSpec, hash: Hash, faults: &mut Faults) -> Option<Method> {
    let signature = &spec.signature;
    let headers = header_names(signature, faults);
    let format = format(signature, faults);
    let encodings = "\"hex\", \"base64\" or \"base64url\"";
    let encoding = faults.word("signature.encoding", signature.encoding.as_ref(), Encoding::parse, encodings);
    let keys = "\"utf8\", \"base64\", \"whsec\" or \"hex\"";
    let key = faults.word("key", spec.key.as_ref(), KeyForm::parse, keys);
    let any_port = faults.word("url_port", spec.url_port.as_ref(), any_port, "\"exact\" or \"any\"");
    let timestamp = spec.timestamp.as_ref().and_then(|written| timestamp(written, &format, faults));
    let id = spec.id.as_ref().and_then(|text| {
        Selector::parse(text).map_err(|message| faults.add("id", message, "write \"header:NAME\"")).ok()
    });
    let template = spec.signed.as_deref().unwrap_or("{body}");
    let signed = match Template::compile(template) {
        Ok(signed) => signed,
        Err((message, hint)) => return faults.none("signed", message, hint),
    };
    check_template(spec, &signed, faults);
    let body_digest = spec.body_digest.as_ref().and_then(|text| body_digest(text, &signed, faults));
    let prefix = signature.prefix.clone().unwrap_or_default().into();
    let scheme = HmacScheme {
        hash,
        key,
        headers,
        prefix,
        encoding,
        format,
        timestamp,
        signed,
        id,
        body_digest,
        any_port,
    };
    Some(Method::Hmac(Arc::new(scheme)))
}

fn any_port(word: &str) -> Option<bool> {
    match word {
        "exact" => Some(false),
        "any" => Some(true),
        _ => None,
    }
}

fn header_names(signature: &SignatureSpec, faults: &mut Faults) -> Box<[Box<str>]> {
    if signature.headers.is_empty() {
        faults.add(
            "signature.header",
            "where the signature stands is not said",
            "write signature = { header = \"X-Signature\" }",
        );
    }
    for name in &signature.headers {
        if !is_token(name.as_bytes()) {
            faults.add("signature.header", format!("{name:?} is not a header's name"), "");
        }
    }
    signature.headers.iter().map(|name| name.as_str().into()).collect()
}

fn format(signature: &SignatureSpec, faults: &mut Faults) -> Format {
    let word = signature.format.as_deref().unwrap_or("plain");
    let with = format!("signature.format = {word:?}");
    if word != "list" {
        faults.unused("signature.keys", !signature.keys.is_empty(), &with);
        faults.unused("signature.separator", signature.separator.is_some(), &with);
    }
    if word != "versioned" {
        faults.unused("signature.version", signature.version.is_some(), &with);
    }
    match word {
        "plain" => Format::Plain,
        "list" => {
            if signature.keys.is_empty() {
                let hint = "write keys = [\"v1\"]";
                faults.add("signature.keys", "which keys carry signatures is not said", hint);
            }
            let separator = match signature.separator.as_deref().map(str::as_bytes) {
                None => b',',
                Some(&[byte]) if byte.is_ascii_graphic() && byte != b'=' => byte,
                Some(_) => {
                    let hint = "write one character such as \",\" or \";\"";
                    faults.add("signature.separator", "that cannot part the items of a list", hint);
                    b','
                }
            };
            Format::List { separator, keys: signature.keys.iter().map(|key| key.as_str().into()).collect() }
        }
        "versioned" => {
            let version = signature.version.clone().unwrap_or_default();
            if version.is_empty() || version.contains([',', ' ']) {
                let hint = "write version = \"v1\"";
                faults.add("signature.version", "which version carries signatures is not said", hint);
            }
            Format::Versioned { version: version.into() }
        }
        other => {
            let hint = "write \"plain\", \"list\" or \"versioned\"";
            faults.add("signature.format", format!("{other:?} is no signature.format"), hint);
            Format::Plain
        }
    }
}

fn timestamp(spec: &TimestampSpec, format: &Format, faults: &mut Faults) -> Option<Timestamp> {
    let unit = faults.word("timestamp.unit", spec.unit.as_ref(), Unit::parse, "\"s\", \"ms\" or \"rfc3339\"");
    let tolerance = match spec.tolerance.as_deref().map(parse_duration) {
        None => DEFAULT_TOLERANCE,
        Some(Ok(tolerance)) if !tolerance.is_zero() => tolerance,
        Some(Ok(_)) => {
            let hint = "write \"5m\"; a time that is not to be checked is left out";
            faults.none("timestamp.tolerance", "with a tolerance of zero nothing would ever verify", hint)?
        }
        Some(Err(error)) => faults.none("timestamp.tolerance", error.to_string(), "")?,
    };
    let place = match (&spec.header, &spec.body, &spec.key) {
        (Some(name), None, None) if is_token(name.as_bytes()) => Place::Header(name.as_str().into()),
        (Some(name), None, None) => {
            faults.none("timestamp.header", format!("{name:?} is not a header's name"), "")?
        }
        (None, Some(text), None) => match Pointer::parse(text) {
            Ok(pointer) => Place::Body { pointer, shown: text.as_str().into() },
            Err(message) => faults.none("timestamp.body", message, "")?,
        },
        (None, None, Some(key)) if matches!(format, Format::List { .. }) => Place::Key(key.as_str().into()),
        (None, None, Some(_)) => {
            let message = "the signature's header is no list, so it has no keys";
            faults.none(
                "timestamp.key",
                message,
                "write signature.format = \"list\", or header = \"NAME\"",
            )?
        }
        _ => {
            let message = "where the timestamp stands must be said once";
            faults.none(
                "timestamp",
                message,
                "write one of header = \"NAME\", body = \"/pointer\", key = \"t\"",
            )?
        }
    };
    Some(Timestamp { place, unit, tolerance })
}

/// What the template names must be there, and what is checked must be signed: an unsigned time proves nothing.
fn check_template(spec: &SchemeSpec, signed: &Template, faults: &mut Faults) {
    let names_time = signed.has(&Segment::Timestamp);
    match &spec.timestamp {
        None if names_time => {
            let hint = "write timestamp = { header = \"NAME\" }";
            faults.add("signed", "{timestamp} is signed, but where it stands is not said", hint);
        }
        Some(time) => {
            let in_signed_body = time.body.is_some() && signed.has(&Segment::Body);
            if !names_time && !in_signed_body {
                let message = "the timestamp is no part of what is signed, so anybody could change it";
                faults.add(
                    "signed",
                    message,
                    "write it as in \"{timestamp}.{body}\", or leave timestamp out",
                );
            }
        }
        None => {}
    }
    match (&spec.id, signed.has(&Segment::Id)) {
        (None, true) => {
            let hint = "write id = \"header:NAME\"";
            faults.add("signed", "{id} is signed, but where it stands is not said", hint);
        }
        (Some(_), false) => {
            let hint = "put {id} into signed, or leave id out";
            faults.add("id", "id is no part of what is signed", hint);
        }
        _ => {}
    }
}

fn body_digest(text: &str, signed: &Template, faults: &mut Faults) -> Option<Box<str>> {
    let name = text.strip_prefix("query:").filter(|name| !name.is_empty());
    if name.is_none() {
        faults.add("body_digest", format!("{text:?} names no parameter of the URL"), "write \"query:NAME\"");
    }
    // Only a digest in a URL that is signed proves anything, and without one the form must be signed.
    if !(signed.has(&Segment::Url) && signed.has(&Segment::FormSorted)) {
        faults.add(
            "body_digest",
            "body_digest has a meaning only where {url} and {form_sorted} are signed",
            "",
        );
    }
    name.map(Into::into)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn sound() -> SchemeSpec {
        SchemeSpec {
            algorithm: "hmac-sha256".to_owned(),
            signature: SignatureSpec { headers: vec!["X-Sig".to_owned()], ..Default::default() },
            ..Default::default()
        }
    }

    fn keys(spec: &SchemeSpec) -> Vec<&'static str> {
        Scheme::compile(spec).unwrap_err().iter().map(|fault| fault.key).collect()
    }

    fn fault(change: impl FnOnce(&mut SchemeSpec)) -> String {
        let mut spec = sound();
        change(&mut spec);
        let faults = Scheme::compile(&spec).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        format!("{}: {}; {}", faults[0].key, faults[0].message, faults[0].hint)
    }

    #[test]
    fn the_least_scheme_signs_the_body() {
        let scheme = Scheme::compile(&sound()).unwrap();
        assert!(scheme.binds_body() && !scheme.checks_time() && !scheme.signs_url());
        assert_eq!(scheme.secret_headers(), Vec::<String>::new());
    }

    #[test]
    fn every_wrong_word_is_reported_at_once() {
        let spec = SchemeSpec {
            algorithm: "hmac-sha256".to_owned(),
            key: text("rot13"),
            signature: SignatureSpec {
                headers: vec!["X Sig".to_owned()],
                encoding: text("octal"),
                format: text("lost"),
                version: text("v1"),
                ..Default::default()
            },
            timestamp: Some(TimestampSpec {
                header: text("a b"),
                unit: text("h"),
                tolerance: text("5"),
                ..Default::default()
            }),
            signed: text("{bdy}"),
            id: text("id"),
            url_port: text("8080"),
            ..Default::default()
        };
        assert_eq!(
            keys(&spec),
            [
                "signature.header",
                "signature.version",
                "signature.format",
                "signature.encoding",
                "key",
                "url_port",
                "timestamp.unit",
                "timestamp.tolerance",
                "id",
                "signed",
            ]
        );
    }

    #[test]
    fn an_algorithm_must_be_one_that_is_there() {
        for (word, part) in [
            ("", "needs an algorithm"),
            ("ed25519", "not yet supported"),
            ("hmac-md5", "not yet supported"),
            ("HMAC-SHA256", "there is no algorithm"),
        ] {
            let message = fault(|spec| spec.algorithm = word.to_owned());
            assert!(message.starts_with("algorithm: ") && message.contains(part), "{message}");
            assert!(message.contains("\"hmac-sha512\""), "{message}");
        }
    }

    #[test]
    fn what_is_checked_must_be_signed_and_what_is_signed_must_be_found() {
        let time = |header: &str| Some(TimestampSpec { header: text(header), ..Default::default() });
        assert!(fault(|spec| spec.timestamp = time("X-Ts")).contains("anybody could change it"));
        assert!(
            fault(|spec| spec.signed = text("{timestamp}{body}")).contains("where it stands is not said")
        );
        assert!(fault(|spec| spec.signed = text("{id}{body}")).contains("where it stands is not said"));
        assert!(fault(|spec| spec.id = text("header:x")).contains("no part of what is signed"));
        let mut in_body = sound();
        in_body.timestamp = Some(TimestampSpec { body: text("/at"), ..Default::default() });
        assert!(Scheme::compile(&in_body).unwrap().checks_time());
    }

    #[test]
    fn a_timestamp_stands_in_one_place() {
        let with = |time: TimestampSpec| {
            fault(|spec| {
                spec.timestamp = Some(time);
                spec.signed = text("{timestamp}.{body}");
            })
        };
        assert!(with(TimestampSpec::default()).starts_with("timestamp: "));
        let two = TimestampSpec { header: text("a"), body: text("/a"), ..Default::default() };
        assert!(with(two).starts_with("timestamp: "));
        let no_list = TimestampSpec { key: text("t"), ..Default::default() };
        assert!(with(no_list).starts_with("timestamp.key: "));
        let no_pointer = TimestampSpec { body: text("at"), ..Default::default() };
        assert!(with(no_pointer).starts_with("timestamp.body: "));
        let never = TimestampSpec { header: text("a"), tolerance: text("0s"), ..Default::default() };
        assert!(with(never).starts_with("timestamp.tolerance: "));
    }

    #[test]
    fn formats_take_their_own_words_and_need_them() {
        assert!(fault(|spec| spec.signature.format = text("list")).starts_with("signature.keys: "));
        assert!(fault(|spec| spec.signature.format = text("versioned")).starts_with("signature.version: "));
        assert!(fault(|spec| spec.signature.separator = text(";")).starts_with("signature.separator: "));
        assert!(fault(|spec| spec.signature.keys = vec!["v1".to_owned()]).starts_with("signature.keys: "));
        for separator in ["", "=", " ", ", ", "é"] {
            let message = fault(|spec| {
                spec.signature.format = text("list");
                spec.signature.keys = vec!["v1".to_owned()];
                spec.signature.separator = text(separator);
            });
            assert!(message.starts_with("signature.separator: "), "{message}");
        }
    }

    #[test]
    fn a_digest_proves_something_only_in_a_signed_url() {
        let message = fault(|spec| spec.body_digest = text("query:h"));
        assert!(message.contains("{url} and {form_sorted}"), "{message}");
        let message = fault(|spec| {
            spec.body_digest = text("header:h");
            spec.signed = text("{url}{form_sorted}");
        });
        assert!(message.contains("\"query:NAME\""), "{message}");
    }

    #[test]
    fn a_secret_in_clear_takes_few_words_binds_nothing_and_is_not_shown() {
        let mut spec = sound();
        spec.algorithm = "token".to_owned();
        let scheme = Scheme::compile(&spec).unwrap();
        assert!(!scheme.binds_body());
        assert_eq!(scheme.secret_headers(), ["x-sig"]);
        spec.algorithm = "basic".to_owned();
        spec.signature.headers.clear();
        assert_eq!(Scheme::compile(&spec).unwrap().secret_headers(), ["authorization"]);
        spec.signature.prefix = text("Basic ");
        spec.signed = text("{body}");
        spec.key = text("utf8");
        assert_eq!(keys(&spec), ["key", "signed", "signature.prefix"]);
    }

    #[test]
    fn a_signature_that_leaves_the_body_out_only_authenticates() {
        let mut spec = sound();
        spec.signed = text("{method}{path}");
        assert!(!Scheme::compile(&spec).unwrap().binds_body());
    }

    proptest! {
        #[test]
        fn any_words_are_compiled_or_refused_without_a_panic(
            words in prop::collection::vec(prop::option::of(".{0,12}|hmac-sha1|list|versioned|hex|s|v1"), 12),
        ) {
            let word = |i: usize| words[i].clone();
            let list = |i: usize| word(i).into_iter().collect();
            let _ = Scheme::compile(&SchemeSpec {
                algorithm: word(0).unwrap_or_else(|| "hmac-sha256".to_owned()),
                key: word(1),
                signature: SignatureSpec {
                    headers: list(2), prefix: word(3), encoding: word(4), format: word(5), separator: word(6),
                    keys: list(7), version: word(8),
                },
                timestamp: word(9).map(|w| TimestampSpec { key: Some(w.clone()), tolerance: Some(w), ..Default::default() }),
                signed: word(10),
                id: word(11),
                body_digest: word(6),
                url_port: word(7),
            });
        }
    }
}
