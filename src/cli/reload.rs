//! `hooklatch reload`: a running gateway reads its configuration again.

use serde_json::Value;

use super::api::Access;
use super::human::printable;
use super::out::{Out, Outcome};

/// Makes a running gateway read its configuration again; a bad one changes nothing.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    access: Access,
}

/// Asks for it and tells what came of it.
///
/// # Errors
/// A configuration that was refused; the gateway goes on with the old one.
pub fn run(args: &Args, out: &mut Out) -> Outcome {
    super::with_api(&args.access, async |api| {
        let answer = api.post("reload", None).await?;
        if args.access.json {
            return out.json(&answer);
        }
        let message = answer.get("message").and_then(Value::as_str).unwrap_or_default();
        out.line(format_args!(
            "the configuration was read again and is in force; {}",
            printable(message, true)
        ))
    })
}
