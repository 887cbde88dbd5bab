//! `hooklatch providers`: which providers are known, and what is known of them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::human;
use super::out::{Failure, Out, Outcome};
use crate::config::Catalog;
use crate::units::{format_duration, format_size};
use crate::verify::Provider;

/// Lists the providers whose signatures are understood, or tells all about one.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// One provider
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the table, or one provider.
///
/// # Errors
/// A name that no provider has.
pub fn run(args: &Args, out: &mut Out) -> Outcome {
    if let Some(name) = &args.name {
        let provider = find(name)?;
        return if args.json { out.json(&value(&provider)) } else { describe(&provider, out) };
    }
    let catalog = Catalog::shipped();
    let all: Vec<_> = catalog.names().filter_map(|name| catalog.get(name)).collect();
    if args.json {
        return out.json(&all.iter().map(|provider| value(provider)).collect());
    }
    let rows: Vec<_> = all.iter().map(|provider| row(provider)).collect();
    human::table(out, &["NAME", "PROVIDER", "PROVES", "TIME", "EVENT ID", "DOCUMENTATION"], &rows)
}

/// The provider `name`.
///
/// # Errors
/// There is none of that name; says which one may have been meant.
pub fn find(name: &str) -> Result<Arc<Provider>, Failure> {
    let catalog = Catalog::shipped();
    catalog.get(name).cloned().ok_or_else(|| {
        let meant = catalog.nearest(name).map_or_else(
            || "`hooklatch providers` lists them".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        Failure::failed(format!("there is no provider {}; {meant}", human::printable(name, false)))
    })
}

/// What a right signature proves.
fn proves(provider: &Provider) -> &'static str {
    if provider.scheme.binds_body() { "sender and body" } else { "sender" }
}

fn event_id(provider: &Provider) -> &'static str {
    match (&provider.event_id, provider.event_id_required) {
        (Some(_), true) => "always",
        (Some(_), false) => "mostly",
        (None, _) => "none",
    }
}

fn row(provider: &Provider) -> Vec<String> {
    let time = if provider.scheme.checks_time() { "signed" } else { "–" };
    [&*provider.name, &provider.display_name, proves(provider), time, event_id(provider), &provider.docs]
        .map(str::to_owned)
        .to_vec()
}

fn value(provider: &Provider) -> Value {
    json!({
        "name": &*provider.name,
        "display_name": provider.display_name,
        "docs": provider.docs,
        "signs_body": provider.scheme.binds_body(),
        "signs_time": provider.scheme.checks_time(),
        "signs_url": provider.scheme.signs_url(),
        "event_id": provider.event_id.is_some(),
        "event_id_required": provider.event_id_required,
        "event_type": provider.event_type.is_some(),
        "handshake": !provider.handshakes.is_empty(),
        "max_body": provider.max_body,
        "retries_for": provider.retries_for.map(format_duration),
        "sample_type": provider.sample.as_ref().map(|sample| sample.event_type()),
    })
}

fn describe(provider: &Provider, out: &mut Out) -> Outcome {
    let name = &provider.name;
    out.line(format_args!("{} ({name})", provider.display_name))?;
    let mut facts =
        vec![("documentation", provider.docs.clone()), ("a signature proves", proves(provider).to_owned())];
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
    if !provider.handshakes.is_empty() {
        facts.push(("its challenge", "is answered by hooklatch".to_owned()));
    }
    facts.extend(provider.max_body.map(|bytes| ("largest body", format_size(bytes))));
    facts.extend(provider.retries_for.map(|time| ("retries for", format_duration(time))));
    facts.extend(provider.sample.as_ref().map(|sample| ("sample event", sample.event_type().to_owned())));
    let width = facts.iter().map(|(fact, _)| fact.len()).max().unwrap_or(0);
    for (fact, text) in facts {
        out.line(format_args!("  {fact:width$}  {text}"))?;
    }
    let variable = format!("{}_SECRET", name.to_ascii_uppercase().replace('-', "_"));
    out.line(format_args!(
        "\nA route:\n\n  [routes.{name}]\n  path       = \"/webhooks/{name}\"\n  provider   = \"{name}\"\n  \
         secrets    = [{{ env = \"{variable}\" }}]\n  deliver_to = [\"app\"]"
    ))?;
    out.line(format_args!(
        "\nTry it:\n\n  hooklatch send http://127.0.0.1:8080/webhooks/{name} -p {name} --secret-env {variable}"
    ))
}
