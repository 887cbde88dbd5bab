//! `hooklatch spool`: what is in the folder of a stopped gateway, or in a copy of one.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::human;
use super::out::{Failure, Out, Outcome};
use crate::admin;
use crate::buffer::inspect::{self, Stats, Verified};
use crate::config::Catalog;
use crate::gateway::Redactions;

/// Looks into the buffer's folder of a stopped gateway, or a copy of it; reads only.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Check every record, index and name; exit code 1 where something is damaged
    Verify(Place),
    /// Print every event as a line of JSON, without the secrets that it carries
    Dump {
        /// Only what some destination still waits for
        #[arg(long)]
        pending: bool,
        /// It is JSON anyway
        #[arg(long, hide = true)]
        json: bool,
        /// The buffer's path, or spool/ in it
        dir: PathBuf,
    },
    /// Count what is there: segments, events, what waits for which destination
    Stats(Place),
}

#[derive(clap::Args, Debug)]
struct Place {
    /// The buffer's path, or spool/ in it
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Does it.
///
/// # Errors
/// Damage; a folder that is none, or of a newer hooklatch.
pub fn run(args: &Args, out: &mut Out) -> Outcome {
    match &args.command {
        Command::Verify(place) => verify(place, out),
        Command::Dump { pending, dir, .. } => dump(dir, *pending, out),
        Command::Stats(place) => stats(place, out),
    }
}

impl From<String> for Failure {
    /// What is said of a folder that cannot be looked at.
    fn from(sentence: String) -> Self {
        Self::usage(sentence)
    }
}

fn verify(place: &Place, out: &mut Out) -> Outcome {
    let found = inspect::verify(&place.dir)?;
    warn_in_use(found.in_use)?;
    if place.json {
        out.json(&verified_json(&found))?;
    } else {
        let rows: Vec<Vec<String>> = found
            .damaged
            .iter()
            .map(|one| vec![one.file.clone(), one.offset.to_string(), one.len.to_string(), one.what.clone()])
            .collect();
        if !rows.is_empty() {
            human::table(out, &["FILE", "OFFSET", "BYTES", "WHAT"], &rows)?;
            out.line("")?;
        }
        out.line(format_args!(
            "{}, {}, {}: {}",
            human::count(found.segments, "segment"),
            if found.indexes == 1 { "1 index".to_owned() } else { format!("{} indexes", found.indexes) },
            human::count(found.events, "event"),
            if rows.is_empty() { "sound".to_owned() } else { format!("{} damaged", rows.len()) },
        ))?;
    }
    if found.damaged.is_empty() { Ok(()) } else { Err(Failure::Silent) }
}

fn verified_json(found: &Verified) -> Value {
    let damaged = found
        .damaged
        .iter()
        .map(|one| json!({ "file": one.file, "offset": one.offset, "length": one.len, "what": one.what }));
    json!({
        "segments": found.segments,
        "indexes": found.indexes,
        "events": found.events,
        "in_use": found.in_use,
        "damaged": damaged.collect::<Value>(),
    })
}

fn dump(dir: &Path, pending: bool, out: &mut Out) -> Outcome {
    let redactions = Redactions::beside(dir)?;
    let dumped = inspect::dump(dir, pending, |view| {
        let provider = view.event.provider.as_deref().and_then(|name| Catalog::shipped().get(name));
        let redaction = redactions.of(&view.event.route, provider.map(|provider| provider.redaction()));
        out.line(admin::stored(&view, &redaction))
    })?;
    warn_in_use(dumped.in_use)?;
    if dumped.damaged > 0 {
        out.flush()?;
        let damaged = human::count(dumped.damaged, "damaged part");
        return Err(Failure::failed(format!("{damaged} left out; hooklatch spool verify says what")));
    }
    Ok(())
}

fn stats(place: &Place, out: &mut Out) -> Outcome {
    let found = inspect::stats(&place.dir)?;
    warn_in_use(found.in_use)?;
    if place.json {
        return out.json(&stats_json(&found));
    }
    let oldest = |at: Option<crate::clock::Millis>| at.map_or_else(|| "-".to_owned(), |at| at.rfc3339());
    for (name, value) in [
        ("segments", found.segments.to_string()),
        ("spares", found.spares.to_string()),
        ("size", human::size(found.bytes)),
        ("events", found.events.to_string()),
        ("oldest", oldest(found.oldest)),
        ("ids", found.ids.to_string()),
        ("dead letters", found.dead.to_string()),
        ("quarantined", found.quarantined.to_string()),
        ("damaged", found.damaged.to_string()),
    ] {
        out.line(format_args!("{name:<13} {value}"))?;
    }
    out.line("")?;
    let rows: Vec<Vec<String>> = found
        .destinations
        .iter()
        .map(|(name, at)| {
            let name = human::printable(name, false);
            vec![name, at.pending.to_string(), oldest(at.oldest), at.dead.to_string()]
        })
        .collect();
    human::table(out, &["DESTINATION", "PENDING", "OLDEST", "DEAD"], &rows)
}

fn stats_json(found: &Stats) -> Value {
    let destinations = found.destinations.iter().map(|(name, at)| {
        let oldest = at.oldest.map(|at| at.rfc3339());
        json!({ "name": name, "pending": at.pending, "oldest": oldest, "dead": at.dead })
    });
    json!({
        "segments": found.segments,
        "spares": found.spares,
        "bytes": found.bytes,
        "events": found.events,
        "oldest": found.oldest.map(|at| at.rfc3339()),
        "ids": found.ids,
        "dead": found.dead,
        "quarantined": found.quarantined,
        "damaged": found.damaged,
        "in_use": found.in_use,
        "destinations": destinations.collect::<Value>(),
    })
}

fn warn_in_use(in_use: bool) -> Outcome {
    if in_use {
        let said = "a gateway is running on this folder: what it is just writing may look damaged";
        writeln!(std::io::stderr(), "hooklatch: {said}")?;
    }
    Ok(())
}
