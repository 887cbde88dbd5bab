//! Replays and drops of many: by filter, at once or at a rate.

use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::filter::{Choice, MAX_PAGE};
use super::reply::Refusal;
use crate::buffer::{Buffer, EventView, Status};
use crate::clock::Millis;
use crate::event::EventId;
use crate::limit::{Meter, Pace};
use crate::units::Rate;

/// Replays at a rate that may go on at the same time.
const MOST: usize = 4;

/// The replays that go on at a rate.
#[derive(Clone, Debug, Default)]
pub(super) struct Replays(Arc<Mutex<Vec<Replay>>>);

/// One of them.
#[derive(Clone, Debug)]
struct Replay {
    number: EventId,
    started_at: Millis,
    rate: Rate,
    matching: usize,
    replayed: usize,
}

impl Replays {
    /// Those that go on, for people.
    pub(super) fn shown(&self) -> Value {
        let shown = |replay: &Replay| {
            json!({
                "started_at": replay.started_at.rfc3339(),
                "rate": replay.rate.to_string(),
                "matching": replay.matching,
                "replayed": replay.replayed,
            })
        };
        self.0.lock().iter().map(shown).collect()
    }

    /// Replays what `choice` means at `rate`, from now on and beside everything else. `number` names it, `matching` is
    /// how many there are.
    ///
    /// # Errors
    /// Too many go on already.
    pub(super) fn start(
        &self,
        buffer: Buffer,
        choice: Choice,
        rate: Rate,
        matching: usize,
        (number, now): (EventId, Millis),
    ) -> Result<(), Refusal> {
        {
            let mut going_on = self.0.lock();
            if going_on.len() >= MOST {
                let message = format!("{MOST} replays go on already; `status` shows how far they are.");
                return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message));
            }
            going_on.push(Replay { number, started_at: now, rate, matching, replayed: 0 });
        }
        let this = self.clone();
        tokio::spawn(async move {
            let replayed = this.run(buffer, Arc::new(choice), rate, number).await;
            this.0.lock().retain(|replay| replay.number != number);
            tracing::info!(request_id = %number, replayed, matching, "a replay at {rate} has ended");
        });
        Ok(())
    }

    async fn run(&self, buffer: Buffer, choice: Arc<Choice>, rate: Rate, number: EventId) -> usize {
        let (pace, meter) = (Pace::new(rate, 1), Meter::new(Instant::now()));
        let (mut cursor, mut replayed) = (None, 0);
        loop {
            let (list, chosen, from) = (buffer.clone(), Arc::clone(&choice), cursor);
            let page = tokio::task::spawn_blocking(move || list.list(&chosen.filter, from, MAX_PAGE)).await;
            let Ok((page, next)) = page else { return replayed };
            for view in page {
                while let Err(at) = meter.take(pace, Instant::now()) {
                    sleep_until(at).await;
                }
                let (buffer, chosen, id) = (buffer.clone(), Arc::clone(&choice), view.event.id);
                let done = tokio::task::spawn_blocking(move || again(&buffer, &chosen, id)).await;
                replayed += usize::from(done.unwrap_or(false));
                if let Some(shown) = self.0.lock().iter_mut().find(|replay| replay.number == number) {
                    shown.replayed = replayed;
                }
            }
            if next.is_none() {
                return replayed;
            }
            cursor = next;
        }
    }
}

/// Sends an event again, where one destination was asked for to that one alone, under whatever name it stands there;
/// whether it goes out. What finds no room stays as it is.
fn again(buffer: &Buffer, choice: &Choice, id: EventId) -> bool {
    let dead = choice.filter.status == Some("dead");
    if choice.filter.destination.is_none() {
        return if dead { buffer.requeue_dead(id) } else { matches!(buffer.replay(id), Ok(Some(1..))) };
    }
    let at = |name: &&str| {
        if dead {
            buffer.requeue_dead_at(id, name)
        } else {
            matches!(buffer.replay_at(id, name), Ok(Some(1..)))
        }
    };
    choice.filter.destinations().filter(at).count() > 0
}

/// How many events went out again, or would, where that is to be counted `only`. Newest first, and each once: one that
/// ends again meanwhile is behind the cursor.
pub(super) fn replay(buffer: &Buffer, choice: &Choice, only: bool) -> usize {
    let mut count = 0;
    each_page(buffer, choice, |view| {
        if (only && ended(view, choice)) || (!only && again(buffer, choice, view.event.id)) {
            count += 1;
        }
    });
    count
}

/// Whether it is delivered or dead where the choice looks.
fn ended(view: &EventView, choice: &Choice) -> bool {
    view.destinations
        .iter()
        .any(|place| place.status != Status::Pending && choice.filter.wants_place(&place.name, place.status))
}

/// How many dead letters went: an event that is dead at two destinations is two.
pub(super) fn drop_dead(buffer: &Buffer, choice: &Choice) -> usize {
    if !choice.dry_run {
        return buffer.drop_dead(&choice.filter);
    }
    let mut count = 0;
    each_page(buffer, choice, |view| {
        let dead = view.destinations.iter().filter(|place| matches!(place.status, Status::Dead(_)));
        count += dead.filter(|place| choice.filter.wants_destination(&place.name)).count();
    });
    count
}

fn each_page(buffer: &Buffer, choice: &Choice, mut each: impl FnMut(&EventView)) {
    let mut cursor = None;
    loop {
        let (page, next) = buffer.list(&choice.filter, cursor, MAX_PAGE);
        page.iter().for_each(&mut each);
        if next.is_none() {
            return;
        }
        cursor = next;
    }
}
