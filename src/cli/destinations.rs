//! `hooklatch destinations`: how they are, and an operator's hand on one of them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::api::{Access, Api};
use super::human;
use super::out::{Failure, Out, Outcome};
use super::status;
use crate::units::{format_duration, parse_duration};

/// Lists, pauses, resumes, retries and drains destinations.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// List destinations: whether events flow, and what waits
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Send nothing to a destination until it is resumed; its events wait and lose no attempt
    Pause {
        #[command(flatten)]
        named: Named,
        /// Only for so long, like 10m
        #[arg(long = "for", value_name = "D", value_parser = parse_duration)]
        time: Option<Duration>,
    },
    /// End a pause, by hand or by a 410
    Resume(Named),
    /// Try now what waits for its next attempt, and whether a destination that is down is back
    Retry(Named),
    /// Try now what waits, and tell when all that is pending at this moment has left
    Drain {
        #[command(flatten)]
        named: Named,
        /// Wait until it has
        #[arg(long)]
        wait: bool,
        /// Wait no longer than this
        #[arg(long, value_name = "D", value_parser = parse_duration, requires = "wait")]
        timeout: Option<Duration>,
    },
}

/// A destination of a gateway.
#[derive(clap::Args, Debug)]
struct Named {
    /// The destination
    name: String,
    #[command(flatten)]
    access: Access,
}

/// How often a drain looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Does it.
///
/// # Errors
/// A gateway that gives no answer, a destination that is not configured, a drain that is not done in time.
pub fn run(args: &Args, out: &mut Out) -> Outcome {
    match &args.command {
        Command::List { access } => super::with_api(access, async |api| {
            let answer = api.get("destinations").await?;
            if access.json {
                out.json(&answer)
            } else {
                status::print_destinations(out, &status::list_of(&answer))
            }
        }),
        Command::Pause { named: Named { name, access }, time } => super::with_api(access, async |api| {
            let body = time.map(|time| json!({"for": format_duration(time)}));
            let answer = change(&api, name, "pause", body.as_ref()).await?;
            told(out, access, &answer, || match answer.pointer("/paused/until").and_then(Value::as_str) {
                Some(until) => format!("{name} is paused until {}", human::printable(until, false)),
                None => format!("{name} is paused; hooklatch destinations resume {name} ends it"),
            })
        }),
        Command::Resume(Named { name, access }) => super::with_api(access, async |api| {
            let answer = change(&api, name, "resume", None).await?;
            told(out, access, &answer, || match answer.get("was_paused").and_then(Value::as_bool) {
                Some(false) => format!("{name} was not paused"),
                _ => format!("{name} is resumed"),
            })
        }),
        Command::Retry(Named { name, access }) => super::with_api(access, async |api| {
            let answer = change(&api, name, "retry", None).await?;
            told(out, access, &answer, || format!("{} of {name} tried now", pending(&answer)))
        }),
        Command::Drain { named: Named { name, access }, wait, timeout } => {
            super::with_api(access, async |api| {
                let answer = change(&api, name, "drain", None).await?;
                if *wait {
                    drained(&api, name, &answer, *timeout).await?;
                }
                told(out, access, &answer, || match wait {
                    true => format!("{} of {name} left: delivered or dead", pending(&answer)),
                    false => format!("{} of {name} tried now", pending(&answer)),
                })
            })
        }
    }
}

async fn change(api: &Api, name: &str, verb: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if name.is_empty() || !is_name {
        return Err(Failure::usage(format!(
            "{:?} is not a destination's name",
            human::printable(name, false)
        )));
    }
    api.post(&format!("destinations/{name}/{verb}"), body).await
}

fn told(out: &mut Out, access: &Access, answer: &Value, text: impl FnOnce() -> String) -> Outcome {
    if access.json { out.json(answer) } else { out.line(text()) }
}

fn pending(answer: &Value) -> String {
    human::count(answer.get("pending").and_then(Value::as_u64).unwrap_or(0), "pending event")
}

/// Returns when nothing is pending that came before the drain was asked for.
async fn drained(api: &Api, name: &str, asked: &Value, timeout: Option<Duration>) -> Outcome {
    let asked_at = asked.get("asked_at").and_then(Value::as_str).unwrap_or_default();
    let began = Instant::now();
    loop {
        let all = status::list_of(&api.get("destinations").await?);
        let destination = all.iter().find(|shown| shown.get("name").and_then(Value::as_str) == Some(name));
        let gone = || Failure::failed(format!("{name} is no longer configured: what is pending waits"));
        let Some(shown) = destination else { return Err(gone()) };
        // Both are RFC 3339 in UTC with as many digits: as texts they sort as the moments do.
        let oldest = shown.get("oldest_pending").and_then(Value::as_str);
        if oldest.is_none_or(|oldest| oldest > asked_at) {
            return Ok(());
        }
        if shown.get("configured") == Some(&Value::Bool(false)) {
            return Err(gone());
        }
        if shown.get("state").and_then(Value::as_str) == Some("paused") {
            return Err(Failure::failed(format!("{name} was paused: what is pending waits")));
        }
        if timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            let left = shown.get("pending_events").and_then(Value::as_u64).unwrap_or(0);
            return Err(Failure::failed(format!("{} still", human::count(left, "pending event"))));
        }
        sleep(LOOK_EVERY).await;
    }
}
