//! `hooklatch providers`: which providers are known, what is known of each, and whether files of one's own are right.

mod check;
mod describe;
mod facts;
mod markdown;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::human;
use super::out::{Failure, Out, Outcome};
use crate::config::Catalog;
use crate::units::format_duration;
use crate::verify::{Provider, VectorKind};

/// Lists the providers whose signatures are understood, or tells all about one.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  hooklatch providers pay hmac-sha512\n  hooklatch providers stripe\n  hooklatch \
                        providers --check ./my-providers"
)]
pub struct Args {
    /// One provider, or words that a line of the list must have
    words: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print the list as Markdown: docs/providers.md
    #[arg(long, conflicts_with_all = ["words", "json"])]
    markdown: bool,
    /// Check the provider files of a folder: each NAME.toml, with the vectors in NAME.json beside it
    #[arg(long, value_name = "DIR", conflicts_with_all = ["words", "json", "markdown", "providers_dir"])]
    check: Option<PathBuf>,
    /// The folder of the vectors, where it is another one
    #[arg(long, value_name = "DIR", requires = "check")]
    vectors: Option<PathBuf>,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Which providers a command knows.
#[derive(clap::Args, Debug)]
pub struct CatalogArgs {
    /// A folder with provider files of one's own, as the configuration's `providers_dir`
    #[arg(long, value_name = "DIR")]
    providers_dir: Option<PathBuf>,
}

impl CatalogArgs {
    /// The shipped providers, and those of the folder.
    ///
    /// # Errors
    /// Every mistake of the files in it.
    pub fn load(&self) -> Result<Catalog, Failure> {
        match &self.providers_dir {
            None => Ok(Catalog::clone(Catalog::shipped())),
            Some(folder) => Catalog::with_own(folder).map_err(|report| Failure::Usage(report.to_string())),
        }
    }
}

/// Prints the list, one provider, or what is wrong with a folder of files.
///
/// # Errors
/// Words that no provider has; with `--check` a file or a vector that is wrong.
pub fn run(args: &Args, out: &mut Out) -> Outcome {
    if let Some(folder) = &args.check {
        return check::run(folder, args.vectors.as_deref().unwrap_or(folder), out);
    }
    let catalog = args.catalog.load()?;
    if args.markdown {
        return out.line(markdown::page(&catalog).trim_end());
    }
    if let [name] = args.words.as_slice()
        && let Some(provider) = catalog.get(name)
    {
        return match args.json {
            true => out.json(&whole(&catalog, provider)),
            false => describe::one(&catalog, provider, out),
        };
    }
    let found: Vec<_> = catalog.all().filter(|provider| has_words(provider, &args.words)).collect();
    if found.is_empty() {
        return Err(Failure::failed(unknown(&catalog, &args.words.join(" "))));
    }
    if args.json {
        return out.json(&found.iter().map(|provider| value(&catalog, provider)).collect());
    }
    let rows: Vec<_> = found.iter().map(|provider| row(provider)).collect();
    human::table(out, &HEAD, &rows)?;
    let whole = human::count(catalog.names().count() as u64, "provider");
    out.line(match args.words.is_empty() {
        true => format!("\n{whole}; `hooklatch providers NAME` tells all about one"),
        false => format!("\n{} of {whole}", found.len()),
    })
}

/// The provider `name`.
///
/// # Errors
/// There is none of that name; says which one may have been meant.
pub fn find(catalog: &Catalog, name: &str) -> Result<Arc<Provider>, Failure> {
    catalog.get(name).cloned().ok_or_else(|| Failure::failed(unknown(catalog, name)))
}

/// What to say where no provider is called `name`.
pub fn unknown(catalog: &Catalog, name: &str) -> String {
    let meant = catalog.nearest(name).map_or_else(
        || "`hooklatch providers` lists them".to_owned(),
        |near| format!("did you mean {near}?"),
    );
    format!("there is no provider {}; {meant}", human::printable(name, false))
}

const HEAD: [&str; 7] = ["NAME", "PROVIDER", "SCHEME", "PROVES", "TIME", "EVENT ID", "VECTORS"];

fn row(provider: &Provider) -> Vec<String> {
    let time = if provider.scheme.checks_time() { "signed" } else { "–" };
    [
        &*provider.name,
        &provider.display_name,
        &provider.written.algorithm,
        proves(provider),
        time,
        event_id(provider),
        provider.vectors.map_or("–", VectorKind::word),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Whether the provider's line has all of `words`, whatever their case.
fn has_words(provider: &Provider, words: &[String]) -> bool {
    let mut text = row(provider).join(" ");
    if !provider.handshakes.is_empty() {
        text.push_str(" handshake");
    }
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(&word.to_lowercase()))
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

/// All about one.
fn whole(catalog: &Catalog, provider: &Provider) -> Value {
    let mut all = value(catalog, provider);
    if let (Value::Object(all), Value::Object(more)) = (&mut all, facts::json(provider)) {
        all.extend(more);
    }
    all
}

fn value(catalog: &Catalog, provider: &Provider) -> Value {
    json!({
        "name": &*provider.name,
        "display_name": provider.display_name,
        "docs": provider.docs,
        "file": catalog.own_file(&provider.name).map(|path| path.display().to_string()),
        "algorithm": provider.written.algorithm,
        "scheme": describe::way(&provider.written),
        "signs_body": provider.scheme.binds_body(),
        "signs_time": provider.scheme.checks_time(),
        "signs_url": provider.scheme.signs_url(),
        "vectors": provider.vectors.map(VectorKind::word),
        "event_id": provider.event_id.is_some(),
        "event_id_required": provider.event_id_required,
        "event_type": provider.event_type.is_some(),
        "handshake": !provider.handshakes.is_empty(),
        "max_body": provider.max_body,
        "retries_for": provider.retries_for.map(format_duration),
        "secret": provider.secret_hint,
        "route": describe::route(provider),
        "sample_type": provider.sample.as_ref().map(|sample| sample.event_type()),
    })
}
