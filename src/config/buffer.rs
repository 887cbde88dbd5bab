//! `[buffer]` and `[dead]`: where events wait, and where those go that cannot be delivered.

use std::path::PathBuf;
use std::time::Duration;

use super::server::section;
use super::walk::{Table, Value, set};
use super::{Context, schema};
use crate::buffer::{BufferOptions, BufferSettings, Store};
use crate::dedupe::DedupeOptions;
use crate::event::Ack;
use crate::ingress::{Action, RouteSettings, ServerOptions};
use crate::units::Invalid;

/// The store where the file names none.
pub(super) const DEFAULT_STORE: Store = Store::Disk;

/// What `[buffer]` and `[dead]` say, before the rest of the file is known.
pub(super) struct Buffer<'a> {
    pub(super) options: BufferOptions,
    /// `None` where the word for it was mistyped.
    store: Option<Store>,
    table: Table<'a>,
    dead: Table<'a>,
}

/// Reads the tables; [`Buffer::settings`] ends the reading.
pub(super) fn read<'a>(root: &Table<'a>, context: &Context<'_>) -> Buffer<'a> {
    let table = section(root, "buffer", &schema::BUFFER);
    let dead = section(root, "dead", &schema::DEAD);
    let store = match table.get("store").map(|value| value.word(&["memory", "disk"])) {
        None => Some(DEFAULT_STORE),
        Some(Some("disk")) => Some(Store::Disk),
        Some(Some(_)) => Some(Store::Memory),
        Some(None) => None,
    };
    // What only a disk cannot work with is not said of a store that nobody can tell.
    let mut options = defaults(store.unwrap_or(Store::Memory));
    options.path = folder(&table, options.path, store, context);
    options.max_bytes = default_max_bytes(options.store, context);
    set(&mut options.max_bytes, table.get("max_bytes").and_then(Value::size));
    set(&mut options.max_events, table.get("max_events").and_then(|value| value.integer(1..=1_000_000_000)));
    set(&mut options.retention, table.get("retention").and_then(Value::duration));
    set(&mut options.dead_retention, dead.get("retention").and_then(Value::duration));
    set(&mut options.dead_max_bytes, dead.get("max_bytes").and_then(Value::size));
    if store == Some(Store::Memory) {
        refuse_what_needs_a_disk(&table, &dead);
    }
    Buffer { options, store, table, dead }
}

fn defaults(store: Store) -> BufferOptions {
    match store {
        Store::Memory => BufferOptions::memory(),
        Store::Disk => BufferOptions::default(),
    }
}

/// `buffer.max_bytes` where the file says nothing: in memory, a matter of how much of it this process may have now.
pub(super) fn default_max_bytes(store: Store, context: &Context<'_>) -> u64 {
    const SMALLEST: u64 = 64 << 10;
    let documented = defaults(store).max_bytes;
    match store {
        Store::Memory => context.environment.share(documented, SMALLEST),
        Store::Disk => documented,
    }
}

/// `path`, or its default; a word of warning where it lies on a file system that forgets.
fn folder(table: &Table<'_>, default: PathBuf, store: Option<Store>, context: &Context<'_>) -> PathBuf {
    let warn = |span, kind: &str| {
        table.walk.warn(
            span,
            format!("this folder lies on {kind}: what is in it is gone after a restart of the machine or container"),
            "put it on a disk or a mounted volume",
        );
    };
    let Some(value) = table.get("path") else {
        let folder = context.environment.state_directory.clone().unwrap_or(default);
        // In memory little is lost with the folder, and nobody chose it.
        if let (Some(Store::Disk), Some(kind)) = (store, context.environment.default_folder_forgets) {
            warn(
                table.span(),
                &format!("{kind}, and it is {}, as `path` in [buffer] is not set", folder.display()),
            );
        }
        return folder;
    };
    let Some(text) = value.str("write it like \"./hooklatch-data\"") else { return default };
    if text.is_empty() || text.contains('\0') {
        value.mistake("`path` of the buffer is a folder", "write it like \"./hooklatch-data\"");
        return default;
    }
    let path = PathBuf::from(text);
    if let Some(kind) = super::environment::forgetful_file_system(&path) {
        warn(value.span(), kind);
    }
    path
}

/// A memory buffer keeps dead letters and what it delivered as long as it has room and the process lives.
fn refuse_what_needs_a_disk(table: &Table<'_>, dead: &Table<'_>) {
    const HELP: &str = "write store = \"disk\" in [buffer], or leave this out";
    let in_memory =
        "in memory dead letters count against `buffer.max_bytes` and stay until they are replayed or dropped";
    let delivered =
        "in memory delivered events stay readable as long as a sixteenth of `buffer.max_bytes` has room";
    for (table, key, what) in
        [(table, "retention", delivered), (dead, "retention", in_memory), (dead, "max_bytes", in_memory)]
    {
        if let Some(value) = table.get(key) {
            value.mistake(format!("`{key}` in {} needs store = \"disk\": {what}", table.name), HELP);
        }
    }
}

impl Buffer<'_> {
    /// When a sender of a route that says nothing gets its 2xx.
    pub(super) fn default_ack(&self) -> Ack {
        match self.options.store {
            Store::Memory => Ack::Memory,
            Store::Disk => Ack::Durable,
        }
    }

    /// Whether the file asks for a store in memory, or for none. Not where it asks for one that is mistyped.
    pub(super) fn is_in_memory(&self) -> bool {
        self.store == Some(Store::Memory)
    }

    /// The settings, now that the rest of the file says how large an event can be and for how long its id is
    /// remembered.
    pub(super) fn settings(
        self,
        server: &ServerOptions,
        dedupe: &DedupeOptions,
        routes: &[RouteSettings],
    ) -> Option<BufferSettings> {
        let Self { mut options, table, dead, .. } = self;
        options.max_event = largest_event(server, routes);
        options.remembered_ids = dedupe.max_ids.into();
        options.remembered_for = longest_ttl(dedupe, routes);
        let settings = BufferSettings::new(options).map_err(|complaints| {
            let (of_dead, of_buffer): (Vec<_>, Vec<_>) =
                complaints.into_iter().partition(|complaint| complaint.key.starts_with("dead."));
            let within = |complaint: Invalid| {
                let key = complaint.key.strip_prefix("dead.").unwrap_or(complaint.key);
                Invalid { key, ..complaint }
            };
            table.invalid(of_buffer);
            dead.invalid(of_dead.into_iter().map(within).collect());
        });
        table.done();
        dead.done();
        settings.ok()
    }
}

/// Body and head of the largest event that some route takes.
fn largest_event(server: &ServerOptions, routes: &[RouteSettings]) -> u64 {
    let of_route = |route: &RouteSettings| match &route.action {
        Action::Deliver(corridor) => Some(corridor.max_body),
        Action::Proxy(_) => None,
    };
    let body = routes.iter().filter_map(of_route).max().unwrap_or(0).max(server.max_body);
    // Where one is larger than all together, that has been said.
    let body = body.min(server.max_inflight_bytes);
    body.saturating_add(server.max_head as u64)
}

fn longest_ttl(dedupe: &DedupeOptions, routes: &[RouteSettings]) -> Duration {
    let of_route = |route: &RouteSettings| match &route.action {
        Action::Deliver(corridor) => corridor.dedupe.as_ref().map(|rule| rule.ttl),
        Action::Proxy(_) => None,
    };
    routes.iter().filter_map(of_route).max().unwrap_or_default().max(dedupe.ttl)
}
