//! The configuration: what the user typed, turned into each room's settings, or every mistake of it at once.
//!
//! [`Config::load`] reads the file with a parser that goes on after a mistake and keeps the place of every key, walks
//! it with readers that record a mistake and go on, and hands each room its options; what a room refuses is reported
//! at the place of its key. A value of a room's settings type that exists is valid.
//!
//! # Paths
//! `providers_dir` and a secret's `file = "PATH"` are relative to the folder of the configuration file, as in nginx, so
//! that both can be moved together. What hooklatch makes itself (`buffer.path`, sockets) is relative to the working directory.

mod batch;
mod buffer;
mod catalog;
mod corridor;
mod dedupe;
mod deliver_to;
mod destinations;
mod environment;
mod handshake;
mod heal;
mod ip_lists;
mod mask;
mod pace;
mod path;
mod provider_file;
mod regions;
mod report;
mod restart;
mod routes;
mod schema;
mod scheme;
mod secrets;
mod server;
mod source;
mod suggest;
mod syntax;
mod table;
mod tls;
mod turns;
mod url;
mod walk;
mod warnings;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use crate::admin::AdminSettings;
use crate::buffer::BufferSettings;
use crate::dedupe::DedupeSettings;
use crate::delivery::DestinationSettings;
use crate::ingress::{RejectedSettings, RouteSettings, ServerSettings};
use crate::observe::LogOptions;

pub use catalog::Catalog;
pub use environment::Environment;
pub use ip_lists::IpLists;
pub use provider_file::read_provider;
pub use report::{Diagnostic, Report, Severity};
pub use secrets::{SecretStore, SecretUse, Stamp};

use source::Source;
use walk::{Problem, Scope, Table, Walk};

/// The largest configuration file that is read, in bytes: enough for 100,000 routes.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// A configuration that can be run.
#[derive(Debug)]
pub struct Config {
    /// `[server]` and `[listeners.NAME]`.
    pub server: ServerSettings,
    /// `[routes.NAME]`, in the file's order.
    pub routes: Vec<RouteSettings>,
    /// `[destinations.NAME]`, by name.
    pub destinations: Vec<DestinationSettings>,
    /// `[buffer]`.
    pub buffer: BufferSettings,
    /// `[dedupe]`.
    pub dedupe: DedupeSettings,
    /// `[rejected]`.
    pub rejected: RejectedSettings,
    /// How often the lists of providers' addresses are read anew; zero: never.
    pub refresh_ip_lists: Duration,
    /// `[admin]` and `[metrics]`.
    pub admin: AdminSettings,
    /// `[log]`.
    pub log: LogOptions,
    /// What is legal but rarely meant, in order of position.
    pub warnings: Vec<Diagnostic>,
    /// The secrets that were read, without their values.
    pub secrets: Vec<SecretUse>,
    /// The providers that its routes may name.
    pub catalog: Arc<Catalog>,
    restart: restart::Fixed,
}

impl Config {
    /// Reads the file at `path`, and the secrets it names through `secrets`, which remembers them: on a later load
    /// with the same store a secret's file that has vanished or is empty keeps its old value, with a warning.
    ///
    /// # Errors
    /// Every mistake of the file. `secrets` is then as it was.
    pub fn load(path: &Path, secrets: &mut SecretStore) -> Result<Self, Report> {
        Self::parse(path, &Self::read_text(path)?, secrets, &Environment::of_process())
    }

    /// The text of the file at `path`, for [`Self::parse`].
    ///
    /// # Errors
    /// A file that cannot be read, is over [`MAX_FILE_BYTES`] or not UTF-8.
    pub fn read_text(path: &Path) -> Result<String, Report> {
        read_file(path).map_err(|(message, help)| {
            let file: Arc<str> = Arc::from(path.display().to_string());
            Report { mistakes: vec![Diagnostic::of_file(&file, message, help)], file }
        })
    }

    /// As [`Self::load`], with the file's text and the machine given.
    ///
    /// # Errors
    /// Every mistake of the file.
    pub fn parse(
        path: &Path,
        text: &str,
        secrets: &mut SecretStore,
        environment: &Environment,
    ) -> Result<Self, Report> {
        let file: Arc<str> = Arc::from(path.display().to_string());
        secrets.begin();
        let context = Context {
            environment,
            catalog: OnceCell::new(),
            folder: path.parent().unwrap_or(Path::new("")),
            secrets: RefCell::new(secrets),
            uses: RefCell::default(),
        };
        let mut config = None;
        let mut found =
            walk(&file, text, &schema::ROOT, "the configuration", |root| config = read(root, &context));
        found.mistakes.extend(context.catalog().broken.iter().cloned());
        let (secrets, uses) = (context.secrets.into_inner(), context.uses.into_inner());
        match config {
            Some(config) if found.mistakes.is_empty() => {
                secrets.commit();
                Ok(Self { warnings: found.warnings, secrets: uses, ..config })
            }
            _ => Err(Report { file, mistakes: found.mistakes }),
        }
    }

    /// The names of keys in which `new` differs from `old` and that only a restart can change.
    #[must_use]
    pub fn needs_restart(old: &Self, new: &Self) -> Vec<&'static str> {
        old.restart.changed(&new.restart)
    }

    /// What goes where, one line a route, the most specific first: what `hooklatch check` prints.
    #[must_use]
    pub fn table(&self) -> String {
        table::render(self)
    }
}

/// The file's text, or what is wrong with it and what to do.
fn read_file(path: &Path) -> Result<String, (String, String)> {
    let unreadable = |error: std::io::Error| (format!("cannot read the file: {error}"), String::new());
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(("the file is larger than 64MiB: that is no configuration".to_owned(), String::new()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        (format!("line {line} is not UTF-8"), "save the file as UTF-8".to_owned())
    })
}

/// What all readers share.
struct Context<'c> {
    environment: &'c Environment,
    /// The providers; set by `providers_dir`, else those that are shipped.
    catalog: OnceCell<Arc<Catalog>>,
    /// The folder that `providers_dir` and a secret's `file` are relative to.
    folder: &'c Path,
    secrets: RefCell<&'c mut SecretStore>,
    uses: RefCell<Vec<SecretUse>>,
}

impl Context<'_> {
    fn catalog(&self) -> &Arc<Catalog> {
        self.catalog.get_or_init(|| Arc::clone(Catalog::shipped()))
    }
}

/// Reads the whole file; `None` where it has mistakes, all of which are then recorded.
fn read(root: Table<'_>, context: &Context<'_>) -> Option<Config> {
    own_providers(&root, context);
    let server = server::server(&root, context);
    let buffer = buffer::read(&root, context);
    let (dedupe, dedupe_options) = server::dedupe(&root);
    let rejected = server::rejected(&root);
    let refresh_ip_lists = server::refresh_ip_lists(&root);
    let admin = server::admin(&root, context);
    let log = server::log(&root);
    let destinations = destinations::destinations(&root, context, server.region);
    let around = routes::Surroundings {
        server: &server.options,
        dedupe: &dedupe_options,
        buffer: &buffer,
        destinations: &destinations,
    };
    let routes = routes::routes(&root, context, &around);
    warnings::of_whole(&root, &server.options, &routes, &destinations);
    let buffer = buffer.settings(&server.options, &dedupe_options, &routes);
    root.done();
    let (buffer, admin) = (buffer?, admin?);
    Some(Config {
        restart: restart::Fixed::new(
            server.listen,
            server.long,
            server.options.workers,
            &buffer,
            &admin,
            buffer::default_max_bytes(buffer.store, context),
            log,
        ),
        server: server.settings?,
        routes,
        destinations: destinations.into_values().filter_map(|read| read.settings).collect(),
        buffer,
        dedupe: dedupe?,
        rejected: rejected?,
        refresh_ip_lists,
        admin,
        log,
        catalog: Arc::clone(context.catalog()),
        warnings: Vec::new(),
        secrets: Vec::new(),
    })
}

/// Reads the folder of provider files of one's own; their mistakes are told as those of the catalogue.
fn own_providers(root: &Table<'_>, context: &Context<'_>) {
    let Some(value) = root.get("providers_dir") else { return };
    let Some(folder) = value.str("write a path, like \"./providers\"") else { return };
    match Catalog::overlaid(&context.folder.join(folder)) {
        Ok(catalog) => {
            let _ = context.catalog.set(Arc::new(catalog));
        }
        Err(message) => value.mistake(message, "a path is relative to the folder of this file"),
    }
}

/// What was found.
struct Found {
    mistakes: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

/// Reads `text` with `read` as a table with the keys of `schema`, named `name` in messages; tells everything that was
/// found wrong, in order of position.
fn walk(
    file: &Arc<str>,
    text: &str,
    schema: &'static schema::Schema,
    name: &str,
    read: impl FnOnce(Table<'_>),
) -> Found {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return walk_table(Source::new(Arc::clone(file), text), &table, Vec::new(), schema, name, read);
    }
    let (healed, mut syntax) = match heal::heal(text) {
        Some((healed, problems)) => (Cow::Owned(healed), problems),
        None => (Cow::Borrowed(text), Vec::new()),
    };
    let (table, errors) = DeTable::parse_recoverable(&healed);
    syntax.extend(errors.iter().map(|error| syntax::problem(&healed, error)));
    walk_table(Source::new(Arc::clone(file), text), &table, syntax, schema, name, read)
}

fn walk_table(
    mut source: Source<'_>,
    table: &Spanned<DeTable<'_>>,
    mut syntax: Vec<Problem>,
    schema: &'static schema::Schema,
    name: &str,
    read: impl FnOnce(Table<'_>),
) -> Found {
    source.hide(mask::secret_spans(source.text, table.get_ref()), !syntax.is_empty());
    let walk = Walk::new();
    read(Table::new(&walk, Some(table.get_ref()), 0..0, name.to_owned(), schema));
    let (mut problems, warnings) = (walk.problems.into_inner(), walk.warnings.into_inner());
    if !syntax.is_empty() {
        // The first error of a line is the mistake, the others follow from it.
        syntax.sort_by_key(|problem| problem.span.start);
        syntax.dedup_by_key(|problem| source.line_of(problem.span.start));
        // What a syntax error swallowed must not be called missing, nor its remains wrong.
        let lines: Vec<usize> = syntax.iter().map(|problem| source.line_of(problem.span.start)).collect();
        problems.retain(|problem| {
            problem.scope == Scope::Local && lines.binary_search(&source.line_of(problem.span.start)).is_err()
        });
        problems.extend(syntax);
    }
    let present = |mut problems: Vec<Problem>, severity| {
        problems.sort_by_key(|problem| problem.span.start);
        problems.into_iter().map(|problem| diagnostic(&source, problem, severity)).collect()
    };
    Found { mistakes: present(problems, Severity::Mistake), warnings: present(warnings, Severity::Warning) }
}

fn diagnostic(source: &Source<'_>, problem: Problem, severity: Severity) -> Diagnostic {
    let note = problem.other.map_or(String::new(), |(span, what)| {
        let (line, column) = source.place(span.start);
        format!("{what} {}:{line}:{column}", source.file)
    });
    // Nothing but the file as a whole has the empty place.
    let whole = problem.span == (0..0) && problem.scope == Scope::Whole;
    Diagnostic {
        severity,
        file: Arc::clone(&source.file),
        place: (!whole).then(|| source.place(problem.span.start)),
        message: problem.message,
        help: problem.help,
        note,
        snippet: (!whole).then(|| source.snippet(&problem.span)),
    }
}

/// What is wrong with the name of a route, a destination, a listener or a secret. Names stand in headers, labels and
/// logs.
fn name_mistake(name: &str) -> Option<&'static str> {
    let right = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    (!right).then_some("a name has 1 to 64 letters of the alphabet, digits, `-` and `_`")
}

/// Where `hooklatch` looks for its configuration when no file is named.
#[must_use]
pub fn default_paths() -> [PathBuf; 2] {
    [PathBuf::from("./conf/hooklatch.toml"), PathBuf::from("/etc/hooklatch/hooklatch.toml")]
}
