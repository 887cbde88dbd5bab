//! `hooklatch dead`: events that could not be delivered.

use serde_json::{Map, Value};

use super::api::Access;
use super::events;
use super::filter::{Filter, Listing, One};
use super::human;
use super::out::{Failure, Out, Outcome};
use super::replay::Replay;
use crate::units::Rate;

/// Lists, shows, replays and drops events that could not be delivered.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// List dead letters, newest first
    List(Listing),
    /// Show one dead letter whole: headers, body, every attempt
    Show(One),
    /// Send dead letters again with fresh attempts; without a filter all of them
    Replay {
        /// No more than so many in a time, like 10/s: it goes on beside everything else, `status` shows how far it is
        #[arg(long, value_name = "R")]
        rate: Option<Rate>,
        #[command(flatten)]
        change: Change,
    },
    /// Forget dead letters for good; needs a filter or --all
    Drop {
        /// All of them
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(clap::Args, Debug)]
struct Change {
    #[command(flatten)]
    filter: Filter,
    /// Only count what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    access: Access,
}

/// Does it.
///
/// # Errors
/// A gateway that gives no answer, an event that is not there.
pub fn run(args: &Args, out: &mut Out) -> Outcome {
    match &args.command {
        Command::List(Listing { filter, limit, access }) => {
            super::with_api(access, async |api| events::list(&api, access, &dead(filter), *limit, out).await)
        }
        Command::Show(one) => events::show(one, out),
        Command::Replay { rate, change } => {
            let replay = Replay { list: "dead", noun: "dead letter", rate: *rate, dry_run: change.dry_run };
            super::with_api(&change.access, async |api| {
                replay.run(&api, &change.access, change.filter.to_json(), None, out).await
            })
        }
        Command::Drop { all, change } => {
            let mut body = change.filter.to_json();
            match (all, change.filter.is_empty()) {
                (false, true) => {
                    return Err(Failure::usage(
                        "what is dropped is gone: choose with --route, --destination, --type, --since, --until or \
                         --id, or say --all",
                    ));
                }
                (true, false) => return Err(Failure::usage("--all and a filter contradict each other")),
                (true, true) => {
                    body.insert("all".to_owned(), true.into());
                }
                (false, false) => {}
            }
            change.drop(body, out)
        }
    }
}

fn dead(filter: &Filter) -> Vec<(&'static str, String)> {
    let mut pairs = filter.pairs();
    pairs.push(("status", "dead".to_owned()));
    pairs
}

impl Change {
    fn drop(&self, mut body: Map<String, Value>, out: &mut Out) -> Outcome {
        if self.dry_run {
            body.insert("dry_run".to_owned(), true.into());
        }
        super::with_api(&self.access, async |api| {
            let answer = api.post("dead/drop", Some(&Value::Object(body))).await?;
            if self.access.json {
                return out.json(&answer);
            }
            let count = answer.get("dropped").and_then(Value::as_u64).unwrap_or(0);
            let would = if self.dry_run { "would be " } else { "" };
            out.line(format_args!("{} {would}dropped", human::count(count, "dead letter")))
        })
    }
}
