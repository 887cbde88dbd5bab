//! `docs/providers.md`: the list of the providers, written by the program that knows them.

use std::fmt::Write;

use super::describe::way;
use super::{event_id, proves};
use crate::config::Catalog;
use crate::units::{format_duration, format_size};
use crate::verify::{Provider, VectorKind};

const HEAD: &str = "\
# Providers

Written by `make providers-doc` from [conf/providers](../conf/providers); a test holds this page equal to what the program
knows. `hooklatch providers NAME` shows one of them with a route to paste,
[adding-a-provider.md](adding-a-provider.md) how to add another.

- *Proves*: what a request that verifies proves. \"Sender and body\": nobody changed the body. \"Sender\": the secret was
  there, or the signature leaves the body out; such requests are `authenticated`, not `verified`.
- *Time*: whether the scheme signs a time, so that an old request is refused.
- *Event id*: what tells a repeated event from a new one. Without one, say `dedupe = { key = \"body:sha256\" }`.
- *Vectors*: what stands behind the file. \"third-party\": requests that the provider's own libraries, its documentation or
  an independent implementation signed verify here, byte for byte. \"constructed\": made from the documented scheme with
  another implementation of HMAC; they prove that we follow what we read.

";

/// The whole page.
pub(super) fn page(catalog: &Catalog) -> String {
    let mut page = HEAD.to_owned();
    let third_party = catalog.all().filter(|one| one.vectors == Some(VectorKind::ThirdParty)).count();
    let all = catalog.names().count();
    let _ = writeln!(page, "{all} providers, {third_party} of them proven by third-party vectors.\n");
    page.push_str("| name | provider | a signature is | proves | time | event id | more | vectors |\n");
    page.push_str("|---|---|---|---|---|---|---|---|\n");
    for provider in catalog.all() {
        page.push_str(&line(provider));
    }
    page
}

fn line(provider: &Provider) -> String {
    let mut more = Vec::new();
    if !provider.handshakes.is_empty() {
        more.push("its challenge is answered".to_owned());
    }
    if provider.scheme.signs_url() {
        more.push("signs the public URL".to_owned());
    }
    more.extend(provider.retries_for.map(|time| format!("retries for {}", format_duration(time))));
    more.extend(provider.max_body.map(|bytes| format!("bodies up to {}", format_size(bytes))));
    format!(
        "| `{}` | [{}]({}) | {} | {} | {} | {} | {} | {} |\n",
        provider.name,
        cell(&provider.display_name),
        provider.docs,
        cell(&way(&provider.written)),
        proves(provider),
        if provider.scheme.checks_time() { "signed" } else { "–" },
        event_id(provider),
        more.join("; "),
        provider.vectors.map_or("–", VectorKind::word),
    )
}

/// Text that stays in its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
