//! Schedulers without their tasks, so that a bench (`benches/lanes.rs`) can measure them alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::flights::{Done, Ended};
use super::retry::Dice;
use super::scheduler::{Next, Now, Scheduler, Start};
use super::settings::{DestinationOptions, Endpoint};
use super::standing::Record;
use crate::buffer::Buffer;
use crate::clock::Clock;
use crate::event::Answer;

/// The schedulers of many destinations, named `d0`, `d1`, ….
#[derive(Debug)]
pub struct Schedulers {
    clock: Clock,
    options: DestinationOptions,
    all: Vec<Scheduler>,
}

impl Schedulers {
    /// Those of `destinations` destinations over `buffer`.
    ///
    /// # Errors
    /// None: nothing is read from a folder.
    pub fn new(buffer: &Buffer, destinations: usize, clock: Clock) -> Result<Self, String> {
        let record = Record::open(None, clock.clone())?;
        let scheduler = |number: usize| {
            let name: Arc<str> = format!("d{number}").into();
            let mut scheduler = Scheduler::new(record.lane(&name), Dice::random(), Instant::now());
            scheduler.set_lanes(&[buffer.lane(&name)]);
            scheduler
        };
        let endpoint = Endpoint::Http { host: "localhost".to_owned(), port: 80 };
        let options = DestinationOptions::new("d".into(), endpoint);
        Ok(Self { clock, options, all: (0..destinations).map(scheduler).collect() })
    }

    /// Starts what may start in each lane in turn, and ends it with a 200, until nothing waits; how many that were.
    pub fn run(&mut self) -> usize {
        let mut count = 0;
        let mut in_flight = Vec::with_capacity(16);
        for scheduler in &mut self.all {
            loop {
                let now = Now { at: Instant::now(), wall: self.clock.now() };
                match scheduler.next(&self.options, now) {
                    Next::Start(Start { cargo, departure, flight }) => {
                        drop((cargo, departure));
                        in_flight.push(flight);
                        continue;
                    }
                    Next::Again => continue,
                    Next::Full | Next::Wait(_) => {}
                }
                if in_flight.is_empty() {
                    break;
                }
                for flight in in_flight.drain(..) {
                    let (took, ended) = (Duration::from_millis(1), Ended::with(Answer::Status(200)));
                    let done = Done { at: now.wall, took, ended };
                    scheduler.ended(&self.options, flight, &done, now);
                    count += 1;
                }
            }
        }
        count
    }
}
