//! `hooklatch explain`: why a request was refused, and what to do about it.

use serde_json::Value;

use super::api::Access;
use super::events;
use super::out::{Out, Outcome};
use super::view::text;

/// Tells why a request was refused: which step failed, and which usual cause explains it.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The request_id of its refusal, hl_…; `hooklatch events list --status rejected` lists them
    id: String,
    #[command(flatten)]
    access: Access,
}

/// Does it.
///
/// # Errors
/// A gateway that gives no answer, a request that is not kept.
pub fn run(args: &Args, out: &mut Out) -> Outcome {
    super::with_api(&args.access, async |api| {
        let explained = api.get(&format!("events/{}/explain", events::checked(&args.id)?)).await?;
        if args.access.json { out.json(&explained) } else { print(out, &explained) }
    })
}

fn print(out: &mut Out, explained: &Value) -> Outcome {
    for (label, key) in [("id", "id"), ("received", "received_at"), ("route", "route"), ("failed at", "step")]
    {
        out.line(format_args!("{label:9} {}", text(explained, key)))?;
    }
    out.line(format_args!("{:9} {}: {}\n", "refused", text(explained, "error"), text(explained, "message")))?;
    for cause in explained.get("causes").and_then(Value::as_array).into_iter().flatten() {
        out.line(format_args!("→ {}", text(cause, "message")))?;
    }
    out.line(text(explained, "hint"))
}
