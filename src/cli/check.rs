//! `hooklatch check`: every mistake of a configuration, or the table of what goes where.

use std::io::Write;
use std::path::PathBuf;

use super::api::config_file;
use super::out::{Failure, Out, Outcome};
use crate::clock::Clock;
use crate::config::{Config, SecretStore};

/// Checks a configuration: prints what goes where, or every mistake.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The configuration [default: ./conf/hooklatch.toml, then /etc/hooklatch/hooklatch.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do not read the secrets: for a machine that has none, such as a build server
    #[arg(long)]
    no_secrets: bool,
}

/// Prints the table, and warnings to standard error.
///
/// # Errors
/// A configuration that cannot be run.
pub fn run(args: &Args, out: &mut Out) -> Outcome {
    let path = config_file(args.config.as_deref())?;
    let mut secrets = if args.no_secrets { SecretStore::unread() } else { SecretStore::new(Clock::system()) };
    let config = match Config::load(&path, &mut secrets) {
        Ok(config) => config,
        Err(report) => return Err(Failure::Usage(format!("the configuration cannot be used\n\n{report}"))),
    };
    for warning in &config.warnings {
        writeln!(std::io::stderr(), "{warning}")?;
    }
    out.line(config.table().trim_end())?;
    let unread = if args.no_secrets { " (its secrets were not read)" } else { "" };
    out.line(format_args!("\n{} is fine{unread}", path.display()))
}
