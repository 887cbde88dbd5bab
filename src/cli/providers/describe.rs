//! All that is known of one provider, and a route to paste.

use super::{event_id, proves};
use crate::cli::out::{Out, Outcome};
use crate::config::Catalog;
use crate::units::{format_duration, format_size};
use crate::verify::{Provider, SchemeSpec, VectorKind};

/// Prints all that is known of `provider`.
///
/// # Errors
/// Output that cannot be written.
pub(super) fn one(catalog: &Catalog, provider: &Provider, out: &mut Out) -> Outcome {
    let name = &provider.name;
    out.line(format_args!("{} ({name})", provider.display_name))?;
    let facts = facts(catalog, provider);
    let width = facts.iter().map(|(fact, _)| fact.len()).max().unwrap_or(0);
    for (fact, text) in facts {
        out.line(format_args!("  {fact:width$}  {text}"))?;
    }
    out.line("\nA route:\n")?;
    for line in route(provider).lines() {
        out.line(format_args!("  {line}"))?;
    }
    let variable = variable(provider);
    out.line(format_args!(
        "\nTry it:\n\n  hooklatch send http://127.0.0.1:8080/webhooks/{name} -p {name} --secret-env {variable}"
    ))
}

fn facts(catalog: &Catalog, provider: &Provider) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("documentation", provider.docs.clone()),
        ("a signature is", way(&provider.written)),
        ("a signature proves", proves(provider).to_owned()),
    ];
    if provider.free_signature {
        let text = "is yours to name in its console: say signature = { header = \"…\" } in the route if it is another";
        facts.push(("the header", text.to_owned()));
    }
    facts.extend(provider.secret_hint.clone().map(|hint| ("the secret", hint)));
    facts.extend(provider.vectors.map(|kind| ("proven by", proven(kind).to_owned())));
    facts.extend(catalog.own_file(&provider.name).map(|path| ("its file", path.display().to_string())));
    if provider.scheme.checks_time() {
        let text =
            "is signed: old requests are refused, and so are late deliveries by an app that checks again";
        facts.push(("the time", text.to_owned()));
    }
    if provider.scheme.signs_url() {
        let text = "is signed: behind a proxy that ends TLS, set server.public_url or the route's";
        facts.push(("the public URL", text.to_owned()));
    }
    let ids = match event_id(provider) {
        "always" => "in every event",
        "mostly" => "in events, but not always: those without one are not deduped",
        _ => "none: say event_id or dedupe = { key = \"body:sha256\" } in the route",
    };
    facts.push(("event ids", ids.to_owned()));
    facts.extend(super::facts::facts(provider));
    facts.extend(provider.max_body.map(|bytes| ("largest body", format_size(bytes))));
    facts.extend(provider.retries_for.map(|time| ("retries for", format_duration(time))));
    facts.extend(provider.sample.as_ref().map(|sample| ("sample event", sample.event_type().to_owned())));
    facts
}

/// How much the vectors in `tests/providers` prove.
fn proven(kind: VectorKind) -> &'static str {
    match kind {
        VectorKind::ThirdParty => {
            "vectors of the provider's own libraries, its documentation or an independent implementation"
        }
        VectorKind::Constructed => "vectors made from its documented scheme: we agree with ourselves",
    }
}

/// The scheme in a phrase: `hmac-sha256 of "{timestamp}.{body}" in hex, in Stripe-Signature`.
pub(super) fn way(scheme: &SchemeSpec) -> String {
    let signature = &scheme.signature;
    let named = |kind: &str, name: &Option<String>| name.as_ref().map(|name| format!("{kind} {name}"));
    let elsewhere = [
        named("the query parameter", &signature.query),
        named("the form field", &signature.form),
        named("the body at", &signature.body).filter(|_| signature.body.as_deref() != Some("whole")),
    ];
    let places: Vec<String> =
        signature.headers.iter().cloned().chain(elsewhere.into_iter().flatten()).collect();
    let place = match places.as_slice() {
        [] if signature.body.is_some() => "the body".to_owned(),
        [] => "Authorization".to_owned(),
        places => places.join(" or "),
    };
    match scheme.algorithm.as_str() {
        "token" => format!("the secret itself, in {place}"),
        "basic" => format!("user and password (HTTP Basic), in {place}"),
        "jwt" => format!("a JSON Web Token, in {place}"),
        "jws" => format!("a detached JSON Web Signature of the body, in {place}"),
        form if !scheme.parameters.is_empty() => format!("{form}, in {place}"),
        algorithm => {
            let signed = scheme.signed.first().map_or("{body}", String::as_str).escape_debug();
            let encoding = scheme.signature.encoding.as_deref().unwrap_or("hex");
            format!("{algorithm} of \"{signed}\" in {encoding}, in {place}")
        }
    }
}

/// The environment variable that the examples read the secret from.
fn variable(provider: &Provider) -> String {
    format!("{}_SECRET", upper(&provider.name))
}

fn upper(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

/// A route that takes the provider's events, ready to paste.
pub(super) fn route(provider: &Provider) -> String {
    let name = &provider.name;
    let mut lines = vec![
        format!("[routes.{name}]"),
        format!("path       = \"/webhooks/{name}\""),
        format!("provider   = \"{name}\""),
        match provider.handshakes.capture() {
            // The provider hands the secret over with its first request.
            true => "secrets    = [{ captured = \"1h\" }]".to_owned(),
            false => format!("secrets    = [{{ env = \"{}\" }}]", variable(provider)),
        },
        "deliver_to = [\"app\"]".to_owned(),
    ];
    if provider.scheme.signs_url() {
        lines.push(format!("public_url = \"https://hooks.example.com/webhooks/{name}\""));
    }
    let settings: Vec<String> = provider
        .settings()
        .iter()
        .map(|setting| format!("{setting} = {{ env = \"{}\" }}", upper(&format!("{name}_{setting}"))))
        .collect();
    if !settings.is_empty() {
        lines.push(format!("handshake  = {{ {} }}", settings.join(", ")));
    }
    lines.join("\n")
}
