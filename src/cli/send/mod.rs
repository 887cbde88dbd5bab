//! `hooklatch send`: a simulator of a provider. Signed events with fresh ids over kept-alive connections.

mod report;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::human;
use super::out::{Failure, Out, Outcome, Progress};
use super::providers::CatalogArgs;
use super::simulator::{SigningArgs, Simulator, Wish};
use super::target::Target;
use crate::units::Rate;
pub use worker::request;
use worker::{Job, Tally};

/// Sends a provider's signed events with fresh ids and reports answers and latencies.
#[derive(clap::Args, Debug)]
#[command(mut_group("SecretArgs", |group| group.required(false)))]
pub struct Args {
    /// Where to, like http://127.0.0.1:8080/webhooks/github
    url: String,
    /// The provider to play
    #[arg(short, long, value_name = "P")]
    provider: String,
    /// The event's type, where it is not the sample's
    #[arg(long = "type", value_name = "T")]
    event_type: Option<String>,
    /// A file with the body, where it is not the sample's; an id inside it is the same in all events
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// How many events
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// So many a second, minute or hour, evenly spaced, like 50/s; without it as fast as they are answered
    #[arg(long, value_name = "R")]
    rate: Option<Rate>,
    /// Connections, each with one event at a time
    #[arg(long, value_name = "C", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=4096))]
    concurrency: u16,
    /// The URL that is signed, where it is not the one that is sent to
    #[arg(long, value_name = "U")]
    public_url: Option<String>,
    #[command(flatten)]
    secret: SigningArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Sends until all are answered, or until it is interrupted.
///
/// # Errors
/// What cannot be sent at all; any answer but 2xx (after the report).
pub fn run(args: &Args, out: &mut Out) -> Outcome {
    let job = Arc::new(job(args)?);
    let runtime = super::runtime()?;
    let (tally, took) = runtime.block_on(send_all(&job, args.concurrency))?;
    if tally.answered() == 0 {
        let reason = tally.no_answer.first_reason().unwrap_or("none was sent");
        return Err(Failure::failed(format!(
            "no answer from {}: {reason}\nIs the gateway running (`hooklatch run`) and is this its address?",
            args.url
        )));
    }
    if args.json {
        out.json(&report::json(&tally, took))?;
    } else {
        report::print(out, &tally, took)?;
    }
    if tally.all_accepted() { Ok(()) } else { Err(Failure::Silent) }
}

fn job(args: &Args) -> Result<Job, Failure> {
    let target = Target::parse(&args.url).map_err(Failure::Usage)?;
    let simulator = Simulator::new(&args.catalog.load()?, &args.provider, args.secret.load()?)?;
    let body = match &args.body {
        Some(path) => {
            let bytes = std::fs::read(path)
                .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
            Some(Bytes::from(bytes))
        }
        None => None,
    };
    let wish = Wish { event_type: args.event_type.clone(), body };
    let signed_url = args.public_url.clone().unwrap_or_else(|| match target.endpoint {
        crate::delivery::Endpoint::Unix { .. } => format!("http://localhost{}", target.path_and_query),
        _ => args.url.clone(),
    });
    // What cannot be made is said once and before anything is sent.
    simulator.event(&signed_url, &wish, "0", simulator.now())?;
    Ok(Job::new(simulator, wish, target, signed_url, args.count, args.rate))
}

async fn send_all(job: &Arc<Job>, concurrency: u16) -> Result<(Tally, Duration), Failure> {
    let begun = Instant::now();
    let workers = u64::from(concurrency).min(job.count);
    let mut tasks: Vec<_> = (0..workers).map(|_| tokio::spawn(worker::run(Arc::clone(job), begun))).collect();
    let mut progress = Progress::stderr();
    let mut drawing = tokio::time::interval(progress.interval());
    drawing.tick().await;
    let mut tally = Tally::default();
    let mut interrupted = std::pin::pin!(super::interrupted());
    let mut stopping = false;
    while let Some(task) = tasks.last_mut() {
        tokio::select! {
            ended = task => {
                tasks.pop();
                tally.add(ended.map_err(|error| Failure::failed(format!("a worker ended: {error}")))??);
            }
            _ = drawing.tick() => progress.draw(&line(job, begun)),
            () = &mut interrupted, if !stopping => {
                stopping = true;
                job.stop();
            }
        }
    }
    progress.clear();
    Ok((tally, begun.elapsed()))
}

fn line(job: &Job, begun: Instant) -> String {
    let done = job.done.load(Ordering::Relaxed);
    let refused = job.refused.load(Ordering::Relaxed);
    let seconds = begun.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = done as f64 / seconds.max(1e-9);
    let took = human::duration(begun.elapsed());
    format!("{done} of {} sent in {took}, {rate:.0}/s, {refused} not accepted", job.count)
}
