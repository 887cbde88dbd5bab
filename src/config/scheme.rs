//! The words of a signature scheme: `[routes.NAME.verify]` and the top of a provider's file.

use super::handshake::texts as pairs;
use super::schema;
use super::walk::{Table, Value};
use crate::verify::{JwtSpec, SchemeSpec, SecretIdSpec, SignatureSpec, TimestampSpec};

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
        secret_id: table.get("secret_id").and_then(|value| secret_id(value, &table.name)),
        signature: table.get("signature").and_then(|value| signature(value, &table.name)).unwrap_or_default(),
        timestamp: table.get("timestamp").and_then(|value| timestamp(value, &table.name)),
        signed: table.get("signed").and_then(texts).unwrap_or_default(),
        id: text("id"),
        document: text("document"),
        strict_form: table.get("strict_form").and_then(Value::bool).unwrap_or_default(),
        require: table.get("require").map(pairs).unwrap_or_default(),
        body_digest: text("body_digest"),
        url_port: text("url_port"),
        jwt: table.get("jwt").and_then(|value| jwt(value, &table.name)),
        parameters: table.get("parameters").map(parameters).unwrap_or_default(),
    }
}

fn secret_id(value: Value<'_>, name: &str) -> Option<SecretIdSpec> {
    let help = "write secret_id = { separator = \":\", stands = \"before\" }";
    let table = value.table(format!("secret_id of {name}"), &schema::SECRET_ID, help)?;
    let text = |key: &'static str| table.require(key, help).and_then(Value::string).unwrap_or_default();
    let secret_id = SecretIdSpec { separator: text("separator"), stands: text("stands") };
    table.done();
    Some(secret_id)
}

fn signature(value: Value<'_>, name: &str) -> Option<SignatureSpec> {
    let help = "write signature = { header = \"X-Signature\" }";
    let table = value.table(format!("signature of {name}"), &schema::SIGNATURE, help)?;
    let text = |key: &'static str| table.get(key).and_then(Value::string);
    let texts = |key: &'static str| table.get(key).and_then(texts).unwrap_or_default();
    let signature = SignatureSpec {
        headers: texts("header"),
        repeated: table.get("repeated").and_then(Value::bool).unwrap_or_default(),
        query: text("query"),
        form: text("form"),
        body: text("body"),
        prefixes: texts("prefix"),
        encoding: text("encoding"),
        format: text("format"),
        separator: text("separator"),
        assign: text("assign"),
        keys: texts("keys"),
        fields: texts("fields"),
        groups: text("groups"),
        version: text("version"),
    };
    table.done();
    Some(signature)
}

/// `signature = { … }` of a route: where a secret stands that the provider's customer puts there.
pub(super) fn place(value: Value<'_>, name: &str) -> Option<SignatureSpec> {
    let help = "write signature = { header = \"X-Token\" }";
    let table = value.table(format!("signature of {name}"), &schema::ROUTE_SIGNATURE, help)?;
    let texts = |key: &'static str| table.get(key).and_then(texts).unwrap_or_default();
    let place = SignatureSpec {
        headers: texts("header"),
        query: table.get("query").and_then(Value::string),
        prefixes: texts("prefix"),
        ..SignatureSpec::default()
    };
    table.done();
    Some(place)
}

fn timestamp(value: Value<'_>, name: &str) -> Option<TimestampSpec> {
    let help = "write timestamp = { header = \"X-Timestamp\" }";
    let table = value.table(format!("timestamp of {name}"), &schema::TIMESTAMP, help)?;
    let text = |key: &'static str| table.get(key).and_then(Value::string);
    let timestamp = TimestampSpec {
        header: text("header"),
        query: text("query"),
        form: text("form"),
        body: text("body"),
        key: text("key"),
        unit: text("unit"),
        tolerance: text("tolerance"),
        enforce: table.get("enforce").and_then(Value::bool),
    };
    table.done();
    Some(timestamp)
}

fn jwt(value: Value<'_>, name: &str) -> Option<JwtSpec> {
    let help = "write jwt = { algorithms = [\"HS256\"] }";
    let table = value.table(format!("jwt of {name}"), &schema::JWT, help)?;
    let text = |key: &'static str| table.get(key).and_then(Value::string);
    let texts = |key: &'static str| table.get(key).and_then(texts).unwrap_or_default();
    let jwt = JwtSpec {
        algorithms: texts("algorithms"),
        body_hash: text("body_hash"),
        body_hash_encoding: text("body_hash_encoding"),
        body_hash_unless_empty: table.get("body_hash_unless_empty").and_then(Value::bool).unwrap_or_default(),
        body_claim: text("body_claim"),
        url_hash: text("url_hash"),
        request_hash: text("request_hash"),
        audience: text("audience"),
        claims: table.get("claims").map(pairs).unwrap_or_default(),
        required: texts("required"),
        optional: texts("optional"),
        unencoded: table.get("unencoded").and_then(Value::bool).unwrap_or_default(),
        leeway: text("leeway"),
        max_age: text("max_age"),
    };
    table.done();
    Some(jwt)
}

/// A string or a list of strings, without their places.
pub(super) fn texts(value: Value<'_>) -> Option<Vec<String>> {
    Some(value.one_or_more()?.into_iter().map(|(text, _)| text.to_owned()).collect())
}

/// A table of a form's own keys with strings or lists of them.
fn parameters(value: Value<'_>) -> Vec<(String, Vec<String>)> {
    let entries = value.entries("write a table of names and strings").unwrap_or_default();
    entries.into_iter().filter_map(|(key, _, value)| Some((key.to_owned(), texts(value)?))).collect()
}
