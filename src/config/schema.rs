//! Every key of the configuration: what may stand in which table, and what belongs to a later version.
//!
//! A key that stands here and is read by nobody, or is read and stands nowhere, is found by an assertion of
//! [`super::walk::Table`] in debug builds; a key that is not in `conf/hooklatch.toml` by a test.

use super::suggest::is_near;

/// The keys of one table.
#[derive(Debug)]
pub(super) struct Schema {
    /// The table as the documentation writes it.
    pub(super) table: &'static str,
    /// What it may hold.
    pub(super) keys: &'static [&'static str],
    /// What it may hold one day, and the name of the feature.
    pub(super) later: &'static [(&'static str, &'static str)],
}

pub(super) static ROOT: Schema = Schema {
    table: "the top level",
    keys: &[
        "server",
        "listeners",
        "admin",
        "metrics",
        "buffer",
        "dead",
        "dedupe",
        "rejected",
        "ip_lists",
        "log",
        "routes",
        "destinations",
        "providers_dir",
    ],
    later: &[("include", "more configuration files")],
};

pub(super) static SERVER: Schema = Schema {
    table: "[server]",
    keys: &[
        "listen",
        "workers",
        "max_connections",
        "header_timeout",
        "body_timeout",
        "keepalive_timeout",
        "max_head",
        "max_headers",
        "max_uri",
        "max_inflight_bytes",
        "ack_timeout",
        "max_body",
        "trusted_proxies",
        "client_ip_header",
        "public_url",
        "shutdown_delay",
        "drain_timeout",
        "region",
    ],
    later: &[],
};

pub(super) static LISTENER: Schema = Schema {
    table: "[listeners.NAME]",
    keys: &["address", "mode"],
    later: &[("tls", "TLS on listeners"), ("proxy_protocol", "the PROXY protocol")],
};

pub(super) static ADMIN: Schema =
    Schema { table: "[admin]", keys: &["listen", "token", "read_token"], later: &[] };

pub(super) static METRICS: Schema = Schema { table: "[metrics]", keys: &["listen"], later: &[] };

pub(super) static BUFFER: Schema = Schema {
    table: "[buffer]",
    keys: &["store", "path", "max_bytes", "max_events", "retention"],
    later: &[],
};

pub(super) static DEAD: Schema = Schema { table: "[dead]", keys: &["retention", "max_bytes"], later: &[] };

pub(super) static DEDUPE: Schema = Schema { table: "[dedupe]", keys: &["ttl", "max_ids"], later: &[] };

pub(super) static REJECTED: Schema =
    Schema { table: "[rejected]", keys: &["max_events", "max_bytes", "retention"], later: &[] };

pub(super) static IP_LISTS: Schema = Schema { table: "[ip_lists]", keys: &["refresh"], later: &[] };

pub(super) static ALLOW_IPS: Schema =
    Schema { table: "allow_ips of [routes.NAME]", keys: &["list", "shadow"], later: &[] };

pub(super) static LOG: Schema = Schema { table: "[log]", keys: &["format", "level"], later: &[] };

pub(super) static ROUTE: Schema = Schema {
    table: "[routes.NAME]",
    keys: &[
        "path",
        "host",
        "methods",
        "allow_ips",
        "rate",
        "rate_per_ip",
        "deliver_to",
        "proxy_to",
        "provider",
        "signature",
        "verify",
        "secrets",
        "ack",
        "ack_status",
        "ack_body",
        "answer",
        "dedupe",
        "event_id",
        "event_type",
        "event_time",
        "order_key",
        "priority",
        "priorities",
        "max_body",
        "idle_timeout",
        "public_url",
        "handshake",
    ],
    later: &[],
};

/// Keys of a route that only `deliver_to` gives a meaning.
pub(super) const DELIVER_ONLY: [&str; 17] = [
    "provider",
    "signature",
    "verify",
    "secrets",
    "ack",
    "ack_status",
    "ack_body",
    "answer",
    "dedupe",
    "event_id",
    "event_type",
    "event_time",
    "order_key",
    "priority",
    "priorities",
    "public_url",
    "handshake",
];
/// Keys of a route that only `proxy_to` gives a meaning.
pub(super) const PROXY_ONLY: [&str; 1] = ["idle_timeout"];

pub(super) static DELIVER_TO: Schema =
    Schema { table: "an entry of `deliver_to`", keys: &["to", "types", "optional"], later: &[] };

pub(super) static PRIORITIES: Schema =
    Schema { table: "priorities of [routes.NAME]", keys: &["critical", "normal", "bulk"], later: &[] };

pub(super) static ROUTE_DEDUPE: Schema =
    Schema { table: "dedupe of [routes.NAME]", keys: &["ttl", "key", "required"], later: &[] };

pub(super) static SECRET: Schema = Schema {
    table: "a secret",
    keys: &["env", "file", "credential", "value", "captured", "name", "shadow"],
    later: &[],
};

/// The words of a scheme, and `more`.
macro_rules! scheme_keys {
    ($($more:literal),* $(,)?) => {
        &[
            "algorithm",
            "key",
            "secret_id",
            "signature",
            "timestamp",
            "signed",
            "id",
            "document",
            "strict_form",
            "require",
            "body_digest",
            "url_port",
            "jwt",
            "parameters",
            $($more),*
        ]
    };
}

pub(super) static VERIFY: Schema = Schema { table: "[routes.NAME.verify]", keys: scheme_keys!(), later: &[] };

pub(super) static SIGNATURE: Schema = Schema {
    table: "signature of [routes.NAME.verify]",
    keys: &[
        "header",
        "repeated",
        "query",
        "form",
        "body",
        "prefix",
        "encoding",
        "format",
        "separator",
        "assign",
        "keys",
        "fields",
        "groups",
        "version",
    ],
    later: &[],
};

pub(super) static ROUTE_SIGNATURE: Schema =
    Schema { table: "signature of [routes.NAME]", keys: &["header", "query", "prefix"], later: &[] };

pub(super) static TIMESTAMP: Schema = Schema {
    table: "timestamp of [routes.NAME.verify]",
    keys: &["header", "query", "form", "body", "key", "unit", "tolerance", "enforce"],
    later: &[],
};

pub(super) static SECRET_ID: Schema =
    Schema { table: "secret_id of [routes.NAME.verify]", keys: &["separator", "stands"], later: &[] };

pub(super) static JWT: Schema = Schema {
    table: "jwt of [routes.NAME.verify]",
    keys: &[
        "algorithms",
        "body_hash",
        "body_hash_encoding",
        "body_hash_unless_empty",
        "body_claim",
        "url_hash",
        "request_hash",
        "audience",
        "claims",
        "required",
        "optional",
        "unencoded",
        "leeway",
        "max_age",
    ],
    later: &[],
};

pub(super) static PROVIDER_FILE: Schema = Schema {
    table: "a provider's file",
    keys: scheme_keys![
        "display_name",
        "docs",
        "vectors",
        "secret_hint",
        "free_signature",
        "event_id",
        "event_id_required",
        "event_type",
        "event_time",
        "max_body",
        "retries_for",
        "handshake",
        "handshakes",
        "pin",
        "answer",
        "sample",
    ],
    later: &[],
};

pub(super) static HANDSHAKE: Schema = Schema {
    table: "[handshake] of a provider's file",
    keys: &[
        "method", "when", "signed", "status", "headers", "text", "json", "charset", "length", "capture",
        "confirm",
    ],
    later: &[],
};

pub(super) static CONFIRM: Schema =
    Schema { table: "confirm of [handshake]", keys: &["url", "host"], later: &[] };

pub(super) static ANSWER: Schema =
    Schema { table: "[answer] of a provider's file", keys: &["status", "body", "deadline"], later: &[] };

pub(super) static SAMPLE: Schema = Schema {
    table: "[sample] of a provider's file",
    keys: &["type", "content_type", "headers", "body"],
    later: &[],
};

pub(super) static DESTINATION: Schema = Schema {
    table: "[destinations.NAME]",
    keys: &[
        "url",
        "regions",
        "host",
        "timeout",
        "connect_timeout",
        "concurrency",
        "headers",
        "tls",
        "sign",
        "retry",
        "max_pending",
        "keepalive",
        "rate",
        "burst",
        "breaker",
        "max_age",
        "on_gone",
        "batch",
        "formerly",
    ],
    later: &[],
};

pub(super) static BATCH: Schema = Schema {
    table: "batch of [destinations.NAME]",
    keys: &["max_events", "max_wait", "max_bytes", "format"],
    later: &[],
};

pub(super) static RETRY: Schema =
    Schema { table: "retry of [destinations.NAME]", keys: &["delays", "jitter", "on"], later: &[] };

pub(super) static BREAKER: Schema =
    Schema { table: "breaker of [destinations.NAME]", keys: &["failures", "probe_after"], later: &[] };

pub(super) static REGION: Schema =
    Schema { table: "regions of [destinations.NAME]", keys: &["name", "url"], later: &[] };

pub(super) static TLS: Schema =
    Schema { table: "tls of [destinations.NAME]", keys: &["ca", "cert", "key", "server_name"], later: &[] };

pub(super) static MAX_PENDING: Schema =
    Schema { table: "max_pending of [destinations.NAME]", keys: &["events", "bytes"], later: &[] };

/// The tables of a user's file, in the order in which a misplaced key is looked for.
static ALL: &[&Schema] = &[
    &ROUTE,
    &DELIVER_TO,
    &PRIORITIES,
    &DESTINATION,
    &SERVER,
    &BUFFER,
    &DEAD,
    &DEDUPE,
    &REJECTED,
    &IP_LISTS,
    &ALLOW_IPS,
    &ADMIN,
    &METRICS,
    &LOG,
    &LISTENER,
    &VERIFY,
    &SIGNATURE,
    &TIMESTAMP,
    &JWT,
    &SECRET_ID,
    &RETRY,
    &BREAKER,
    &REGION,
    &TLS,
    &MAX_PENDING,
    &BATCH,
    &ROUTE_DEDUPE,
    &SECRET,
    &ROOT,
];

/// The tables of a user's file.
pub(super) fn all() -> &'static [&'static Schema] {
    ALL
}

/// Whether `key` means something in some table.
pub(super) fn is_known(key: &str) -> bool {
    all()
        .iter()
        .any(|schema| schema.keys.contains(&key) || schema.later.iter().any(|(later, _)| *later == key))
}

/// Whether `key` is known, or a slip or two of the hand away from a longer word that is.
pub(super) fn is_nearly_known(key: &str) -> bool {
    let near = |known: &&'static str| known.len() > 4 && is_near(key, known, 2);
    is_known(key) || all().iter().any(|schema| schema.keys.iter().any(near))
}

/// The tables in which `key` would have a meaning, in words; at most three.
pub(super) fn homes_of(key: &str) -> Option<String> {
    let homes = all().iter().filter(|schema| schema.keys.contains(&key)).take(3);
    let homes: Vec<&str> = homes.map(|schema| schema.table).collect();
    (!homes.is_empty()).then(|| homes.join(" and "))
}
