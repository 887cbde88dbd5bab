//! `hooklatch demo`: the whole gateway at work on this machine, with nothing to configure.

mod app;
mod gateway;
mod show;

use std::sync::Arc;

use super::out::{Out, Outcome};

/// Shows the gateway at work on this machine: genuine, repeated, forged and stale events.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// End after the show instead of staying up to be tried
    #[arg(long)]
    once: bool,
}

/// Starts a sample app and a gateway in front of it, sends events, tells what happened, and stays up.
///
/// # Errors
/// A gateway that does not start, or does not do what it should.
pub fn run(args: &Args, out: &mut Out) -> Outcome {
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let app = Arc::new(app::App::start().await?);
        let mut gateway = gateway::Gateway::start(app.address()).await?;
        let play = async {
            show::show(out, &gateway, &app).await?;
            if args.once { Ok(()) } else { stay_up(out, &gateway, &app).await }
        };
        let outcome = tokio::select! {
            played = play => played,
            () = super::interrupted() => Ok(()),
        };
        gateway.stop().await;
        outcome
    })
}

async fn stay_up(out: &mut Out, gateway: &gateway::Gateway, app: &Arc<app::App>) -> Outcome {
    show::invite(out, gateway)?;
    out.flush()?;
    loop {
        tokio::select! {
            seen = app.next() => {
                out.line(show::line_of(&seen))?;
                out.flush()?;
            }
            status = gateway.ended() => {
                return Err(super::out::Failure::failed(format!(
                    "the gateway ended by itself ({status}); its log: {}",
                    gateway.log_path().display()
                )));
            }
        }
    }
}
