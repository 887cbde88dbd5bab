//! `tls` of a destination.

use super::walk::{Table, Value};
use super::{Context, schema, secrets};
use crate::net::{TlsOptions, TlsSettings};

/// Reads `tls = { ca = …, cert = …, key = …, server_name = … }` of `destination`, called `name`, and the files it names.
pub(super) fn read(
    value: Value<'_>,
    destination: &Table<'_>,
    name: &str,
    context: &Context<'_>,
) -> Option<TlsSettings> {
    let table = value.table(
        format!("tls of [destinations.{name}]"),
        &schema::TLS,
        "write tls = { ca = \"ca.pem\", cert = \"client.pem\", key = \"client-key.pem\" }",
    )?;
    let mut complete = true;
    let mut certificates = |key| {
        let value = table.get(key)?;
        let read = secrets::certificates(value, context);
        complete &= read.is_some();
        read
    };
    let (ca, cert) = (certificates("ca"), certificates("cert"));
    let key_of = format!("destinations.{name}.tls.key");
    let key = table.get("key").map(|value| secrets::path_or_secret(value, &key_of, context));
    complete &= !matches!(key, Some(None));
    let options = TlsOptions {
        ca,
        cert,
        key: key.flatten(),
        server_name: table.get("server_name").and_then(Value::string),
    };
    // What a missing file leaves out is no mistake of its own, nor is what `--no-secrets` does not read.
    let settings = if complete {
        TlsSettings::new(options).map_err(|complaints| destination.invalid(complaints)).ok()
    } else {
        None
    };
    table.done();
    settings
}
