//! The command line: one file a command.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. What a command finds out goes to standard output,
//! what went wrong to standard error.

mod api;
mod check;
mod dead;
mod demo;
mod destinations;
mod events;
mod explain;
mod filter;
mod human;
mod latency;
mod listen;
mod out;
mod providers;
mod reload;
mod replay;
mod run;
mod secrets;
mod send;
mod sign;
mod simulator;
mod spool;
mod status;
mod target;
mod vector;
mod verify;
mod view;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use out::{Failure, Out, Outcome};

/// A webhook gateway: verifies, dedupes, keeps and forwards webhooks to the app behind it.
#[derive(Parser, Debug)]
#[command(name = "hooklatch", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "See all of it at work on this machine: hooklatch demo")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Demo(demo::Args),
    Providers(providers::Args),
    Sign(sign::Args),
    Verify(Box<verify::Args>),
    Send(Box<send::Args>),
    Listen(listen::Args),
    Status(status::Args),
    Reload(reload::Args),
    Events(events::Args),
    Dead(dead::Args),
    Explain(explain::Args),
    Destinations(destinations::Args),
    Spool(spool::Args),
}

/// Does what `args` (the program's name first) say.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe leaves nobody to tell; help and version are no mistakes.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let mut out = Out::stdout();
    let outcome = match cli.command {
        // It has exit codes of its own: it lives on after what a command would call its end.
        Command::Run(args) => return run::run(&args),
        Command::Check(args) => check::run(&args, &mut out),
        Command::Demo(args) => demo::run(&args, &mut out),
        Command::Providers(args) => providers::run(&args, &mut out),
        Command::Sign(args) => sign::run(&args, &mut out),
        Command::Verify(args) => verify::run(&args, &mut out),
        Command::Send(args) => send::run(&args, &mut out),
        Command::Listen(args) => listen::run(&args, Out::stdout()),
        Command::Status(args) => status::run(&args, &mut out),
        Command::Reload(args) => reload::run(&args, &mut out),
        Command::Events(args) => events::run(&args, &mut out),
        Command::Dead(args) => dead::run(&args, &mut out),
        Command::Explain(args) => explain::run(&args, &mut out),
        Command::Destinations(args) => destinations::run(&args, &mut out),
        Command::Spool(args) => spool::run(&args, &mut out),
    };
    // What was found out before a failure is printed before the failure is.
    match (outcome, out.flush()) {
        (Ok(()), Ok(())) => ExitCode::SUCCESS,
        (Ok(()), Err(failure)) | (Err(failure), _) => failure.report(),
    }
}

/// A runtime for a command that talks to others.
fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))
}

/// Runs the admin API command `work` to its end.
fn with_api<F>(access: &api::Access, work: impl FnOnce(api::Api) -> F) -> Outcome
where
    F: Future<Output = Outcome>,
{
    let api = api::Api::open(access)?;
    runtime()?.block_on(work(api))
}

/// Returns when somebody wants the process to end: Ctrl-C, SIGTERM, or the terminal was closed.
async fn interrupted() {
    let wait = async |kind| match signal(kind) {
        Ok(mut stream) => {
            stream.recv().await;
        }
        // Without a handler the signal still ends the process, only without ceremony.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::hangup()) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does_in_a_line() {
        for command in Cli::command().get_subcommands() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!((10..90).contains(&about.chars().count()), "{}: {about:?}", command.get_name());
        }
    }
}
