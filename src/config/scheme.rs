//! The words of a signature scheme: `[routes.NAME.verify]` and the top of a provider's file.

use super::schema;
use super::walk::{Table, Value};
use crate::verify::{SchemeSpec, SignatureSpec, TimestampSpec};

/// Reads the words of a scheme from `table`, whose name in messages is `name`.
pub(super) fn read(table: &Table<'_>) -> SchemeSpec {
    let text = |key: &'static str| table.get(key).and_then(Value::string);
    let algorithm = table
        .require(
            "algorithm",
            "write one of \"hmac-sha256\", \"hmac-sha1\", \"hmac-sha512\", \"token\", \"basic\"",
        )
        .and_then(Value::string);
    SchemeSpec {
        algorithm: algorithm.unwrap_or_default(),
        key: text("key"),
        signature: table.get("signature").and_then(|value| signature(value, &table.name)).unwrap_or_default(),
        timestamp: table.get("timestamp").and_then(|value| timestamp(value, &table.name)),
        signed: text("signed"),
        id: text("id"),
        body_digest: text("body_digest"),
        url_port: text("url_port"),
    }
}

fn signature(value: Value<'_>, name: &str) -> Option<SignatureSpec> {
    let help = "write signature = { header = \"X-Signature\" }";
    let table = value.table(format!("signature of {name}"), &schema::SIGNATURE, help)?;
    let text = |key: &'static str| table.get(key).and_then(Value::string);
    let texts = |key: &'static str| table.get(key).and_then(texts).unwrap_or_default();
    let signature = SignatureSpec {
        headers: texts("header"),
        prefix: text("prefix"),
        encoding: text("encoding"),
        format: text("format"),
        separator: text("separator"),
        keys: texts("keys"),
        version: text("version"),
    };
    table.done();
    Some(signature)
}

fn timestamp(value: Value<'_>, name: &str) -> Option<TimestampSpec> {
    let help = "write timestamp = { header = \"X-Timestamp\" }";
    let table = value.table(format!("timestamp of {name}"), &schema::TIMESTAMP, help)?;
    let text = |key: &'static str| table.get(key).and_then(Value::string);
    let timestamp = TimestampSpec {
        header: text("header"),
        body: text("body"),
        key: text("key"),
        unit: text("unit"),
        tolerance: text("tolerance"),
    };
    table.done();
    Some(timestamp)
}

/// A string or a list of strings, without their places.
pub(super) fn texts(value: Value<'_>) -> Option<Vec<String>> {
    Some(value.one_or_more()?.into_iter().map(|(text, _)| text.to_owned()).collect())
}
