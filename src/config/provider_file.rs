//! A provider's file: the words of a scheme at the top, and what else is to be known of the provider.

use std::sync::Arc;

use super::report::Report;
use super::walk::{Table, Value};
use super::{handshake, schema, scheme, walk};
use crate::verify::{Provider, ProviderSpec, SampleSpec};

/// Reads the file `conf/providers/NAME.toml` named `file` in messages.
///
/// # Errors
/// Every mistake of the file.
pub fn read_provider(name: &str, file: &str, text: &str) -> Result<Provider, Report> {
    let file: Arc<str> = Arc::from(file);
    let mut provider = None;
    let found = walk(&file, text, &schema::PROVIDER_FILE, "a provider's file", |table| {
        let spec = spec(name, &table);
        // A file that is not read to the end would only get complaints about what was not read.
        let complete = table.walk.problems.borrow().is_empty();
        match Provider::compile(&spec) {
            Ok(compiled) => provider = Some(compiled),
            Err(complaints) if complete => table.invalid(complaints),
            Err(_) => {}
        }
        table.done();
    });
    let mistakes = found.mistakes;
    match provider {
        Some(provider) if mistakes.is_empty() => Ok(provider),
        _ => Err(Report { file, mistakes }),
    }
}

fn spec(name: &str, table: &Table<'_>) -> ProviderSpec {
    let text = |key: &'static str| table.get(key).and_then(Value::string);
    let texts = |key: &'static str| table.get(key).and_then(scheme::texts).unwrap_or_default();
    let display_name = table.require("display_name", "write the provider's name as people write it");
    let docs = table.require("docs", "write the https:// address of its documentation");
    ProviderSpec {
        name: name.to_owned(),
        display_name: display_name.and_then(Value::string).unwrap_or_default(),
        docs: docs.and_then(Value::string).unwrap_or_default(),
        scheme: scheme::read(table),
        vectors: text("vectors"),
        secret_hint: text("secret_hint"),
        free_signature: table.get("free_signature").and_then(Value::bool).unwrap_or_default(),
        event_id: texts("event_id"),
        event_id_required: table.get("event_id_required").and_then(Value::bool).unwrap_or_default(),
        event_type: texts("event_type"),
        event_time: text("event_time"),
        handshakes: handshake::read(table),
        pins: table.get("pin").map(handshake::texts).unwrap_or_default(),
        answer: table.get("answer").and_then(handshake::answer),
        max_body: text("max_body"),
        retries_for: text("retries_for"),
        sample: table.get("sample").and_then(sample),
    }
}

fn sample(value: Value<'_>) -> Option<SampleSpec> {
    let table = value.table("[sample]", &schema::SAMPLE, "write [sample]")?;
    let text = |key| table.require(key, "").and_then(Value::string).unwrap_or_default();
    let sample = SampleSpec {
        event_type: text("type"),
        content_type: text("content_type"),
        headers: table.get("headers").map(handshake::texts).unwrap_or_default(),
        body: text("body"),
    };
    table.done();
    Some(sample)
}
