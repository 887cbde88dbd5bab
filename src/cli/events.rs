//! `hooklatch events`: what came in lately, and what became of it.

use serde_json::{Value, json};

use super::api::{Access, Api};
use super::filter::{self, Filter, Listing, One};
use super::human;
use super::out::{Failure, Out, Outcome};
use super::replay;
use super::view;
use crate::units::Rate;

/// Lists, shows, replays and releases events of a running gateway.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// List events, newest first
    List {
        #[command(flatten)]
        listing: Listing,
        /// Where they stand
        #[arg(long, value_parser = ["pending", "delivered", "dead", "rejected", "orphaned"])]
        status: Option<String>,
    },
    /// Show one event whole: headers, body, every attempt
    Show(One),
    /// Check refused requests again and let them in, each once
    Release {
        /// The request_ids of their refusals, hl_…
        #[arg(required = true)]
        ids: Vec<String>,
        /// Also what was signed right, but too long ago or too far ahead
        #[arg(long)]
        any_time: bool,
        /// Also from an address that is not in the route's allow_ips
        #[arg(long)]
        any_address: bool,
        #[command(flatten)]
        access: Access,
    },
    /// Send events again to the destinations where they are delivered or dead: those named, or those of a filter
    Replay {
        /// hooklatch's ids, hl_…
        ids: Vec<String>,
        #[command(flatten)]
        filter: Box<Filter>,
        /// Where they stand
        #[arg(long, value_parser = ["delivered", "dead"])]
        status: Option<String>,
        /// No more than so many in a time, like 10/s: it goes on beside everything else, `status` shows how far it is
        #[arg(long, value_name = "R", conflicts_with = "ids")]
        rate: Option<Rate>,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        access: Access,
    },
}

/// Does it.
///
/// # Errors
/// A gateway that gives no answer, an event that is not there.
pub fn run(args: &Args, out: &mut Out) -> Outcome {
    match &args.command {
        Command::List { listing: Listing { filter, limit, access }, status } => {
            super::with_api(access, async |api| {
                let mut pairs = filter.pairs();
                pairs.extend(status.clone().map(|status| ("status", status)));
                list(&api, access, &pairs, *limit, out).await
            })
        }
        Command::Show(one) => show(one, out),
        Command::Release { ids, any_time, any_address, access } => {
            let waived = json!({ "any_time": any_time, "any_address": any_address });
            super::with_api(access, async |api| release(&api, access, ids, &waived, out).await)
        }
        Command::Replay { ids, filter, status, rate, dry_run, access } => {
            let body = filter.to_json();
            match (ids.is_empty(), body.is_empty()) {
                (false, true) if status.is_none() => {
                    super::with_api(access, async |api| replay(&api, access, ids, *dry_run, out).await)
                }
                (true, false) => {
                    let status = status.clone().map(|status| ("status", status));
                    let replay =
                        replay::Replay { list: "events", noun: "event", rate: *rate, dry_run: *dry_run };
                    super::with_api(access, async |api| replay.run(&api, access, body, status, out).await)
                }
                (true, true) => Err(Failure::usage(
                    "name the events, hl_…, or choose some with --route, --destination, --type, --since, --until or --id",
                )),
                (false, _) => Err(Failure::usage("the ids of events and a filter contradict each other")),
            }
        }
    }
}

/// Prints the events that `pairs` choose.
///
/// # Errors
/// Those of the API.
pub async fn list(
    api: &Api,
    access: &Access,
    pairs: &[(&'static str, String)],
    limit: u64,
    out: &mut Out,
) -> Outcome {
    let events = filter::list(api, pairs, limit).await?;
    if access.json {
        return out.json(&json!({ "events": events }));
    }
    if events.is_empty() {
        return out.line("no such events");
    }
    let full = events.len() as u64 == limit;
    if pairs.contains(&("status", "rejected".to_owned())) {
        let rows: Vec<_> = events.iter().map(view::rejected_row).collect();
        human::table(out, &view::REJECTED_HEAD, &rows)?;
        out.line("\n`hooklatch explain ID` tells why")?;
    } else {
        let rows: Vec<_> = events.iter().map(view::row).collect();
        human::table(out, &view::HEAD, &rows)?;
    }
    if full {
        out.line(format_args!("\nthe newest {limit}; there may be more (--limit)"))?;
    }
    Ok(())
}

/// Prints one event whole.
///
/// # Errors
/// Those of the API.
pub(super) fn show(One { id, access }: &One, out: &mut Out) -> Outcome {
    super::with_api(access, async |api| {
        let event = api.get(&format!("events/{}", checked(id)?)).await?;
        if access.json { out.json(&event) } else { view::print(out, &event) }
    })
}

async fn replay(api: &Api, access: &Access, ids: &[String], dry_run: bool, out: &mut Out) -> Outcome {
    let mut answers = Vec::new();
    for id in ids {
        let id = checked(id)?;
        let answer = if dry_run {
            api.get(&format!("events/{id}")).await?;
            json!({ "id": id, "destinations": 0, "dry_run": true })
        } else {
            api.post(&format!("events/{id}/replay"), None).await?
        };
        answers.push(answer);
    }
    if access.json {
        return out.json(&Value::Array(answers));
    }
    let done = if dry_run { "would be sent again" } else { "on the way again" };
    out.line(format_args!("{} {done}", human::count(ids.len() as u64, "event")))
}

async fn release(api: &Api, access: &Access, ids: &[String], waived: &Value, out: &mut Out) -> Outcome {
    let mut answers = Vec::new();
    for id in ids {
        let answer = api.post(&format!("events/{}/release", checked(id)?), Some(waived)).await?;
        if !access.json {
            let event = view::text(&answer, "event");
            out.line(format_args!("{id}: {} as {event}", view::text(&answer, "outcome")))?;
        }
        answers.push(answer);
    }
    if access.json { out.json(&Value::Array(answers)) } else { Ok(()) }
}

/// An id as a path of the API may hold it.
pub fn checked(id: &str) -> Result<&str, Failure> {
    match id.parse::<crate::event::EventId>() {
        Ok(_) => Ok(id),
        Err(error) => Err(Failure::usage(format!(
            "{}: {error}; `hooklatch events list --id ID` finds an event by the provider's id",
            human::printable(id, false)
        ))),
    }
}
