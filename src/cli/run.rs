//! `hooklatch run`: the gateway itself.

use std::path::PathBuf;
use std::process::ExitCode;

use super::api::config_file;

/// Runs the gateway until SIGTERM or Ctrl-C; SIGHUP reloads the configuration.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The configuration [default: ./conf/hooklatch.toml, then /etc/hooklatch/hooklatch.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs until it is stopped.
pub fn run(args: &Args) -> ExitCode {
    match config_file(args.config.as_deref()) {
        Ok(path) => crate::gateway::run(&path),
        Err(failure) => failure.report(),
    }
}
