//! What happens to a lane in one run of the property test.

use std::time::Duration;

use proptest::prelude::*;

use crate::delivery::{BatchFormat, BatchOptions};
use crate::event::{Answer, OrderKey, Priority, Turn};

/// What the app does with one request.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    pub answer: Answer,
    pub takes: u64,
    pub retry_after: Option<u64>,
    /// To a batch it is a 207 instead: which answer each event gets.
    pub parts: Option<u8>,
}

impl Reply {
    pub const WELL: Self = Self { answer: Answer::Status(200), takes: 5, retry_after: None, parts: None };

    /// What the `nth` event of a batch hears.
    pub fn part(self, nth: usize) -> Answer {
        const ANSWERS: [Answer; 8] = [
            Answer::Status(200),
            Answer::Status(503),
            Answer::Status(200),
            Answer::Status(422),
            Answer::Unsettled,
            Answer::Status(429),
            Answer::Status(200),
            Answer::Status(410),
        ];
        match self.parts {
            // So that some are trouble for each of their events, too.
            Some(0) => Answer::Status(503),
            Some(first) => ANSWERS[(usize::from(first) + nth) % ANSWERS.len()],
            None => self.answer,
        }
    }
}

/// An event that comes.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Milliseconds after the one before.
    pub after: u64,
    pub turn: Turn,
    pub size: usize,
}

/// What somebody does to the lane.
#[derive(Clone, Copy, Debug)]
pub enum Shock {
    /// Pauses it for so many milliseconds.
    Pause(u64),
    /// Its task panics: whatever is on its way ends without a word.
    Panic,
    /// Reloads, with other batches or none.
    Reload(Option<BatchOptions>),
    /// Asks for an attempt now.
    Hasten,
}

#[derive(Clone, Debug)]
pub struct Script {
    pub arrivals: Vec<Arrival>,
    /// What the app answers, in turn; then it is well.
    pub replies: Vec<Reply>,
    /// Each so many milliseconds after the one before.
    pub shocks: Vec<(u64, Shock)>,
    pub batch: Option<BatchOptions>,
    pub concurrency: u32,
    pub rate: Option<u32>,
    pub burst: u32,
    pub failures: u32,
    pub jitter: f64,
    pub seed: u64,
}

fn reply() -> impl Strategy<Value = Reply> {
    let answer = prop_oneof![
        6 => Just(Answer::Status(200)),
        3 => Just(Answer::Status(503)),
        1 => Just(Answer::Status(429)),
        1 => Just(Answer::Status(404)),
        1 => Just(Answer::Status(410)),
        2 => Just(Answer::Connect),
        1 => Just(Answer::Timeout),
        1 => Just(Answer::Internal),
    ];
    let parts = proptest::option::weighted(0.3, any::<u8>());
    (answer, 1u64..80, proptest::option::weighted(0.2, 0u64..3), parts)
        .prop_map(|(answer, takes, retry_after, parts)| Reply { answer, takes, retry_after, parts })
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let after = prop_oneof![3 => Just(0u64), 1 => 0u64..400];
    let priority = proptest::sample::select(Priority::ALL.to_vec());
    // One class a key: order holds within a class.
    let key = proptest::option::of(0u8..4);
    (after, priority, key, 1usize..400).prop_map(|(after, priority, key, size)| {
        let order_key = key.map(|key| OrderKey::new("in", &format!("{}{key}", priority.as_str())));
        Arrival { after, turn: Turn { priority, order_key }, size }
    })
}

fn batch() -> impl Strategy<Value = Option<BatchOptions>> {
    let options = (1usize..12, 0u64..300, 500usize..6000, any::<bool>());
    proptest::option::weighted(0.6, options).prop_map(|options| {
        let (max_events, wait, max_bytes, json) = options?;
        let format = if json { BatchFormat::Json } else { BatchFormat::NdJson };
        Some(BatchOptions { max_events, max_bytes, max_wait: Duration::from_millis(wait), format })
    })
}

fn shock() -> impl Strategy<Value = (u64, Shock)> {
    let shock = prop_oneof![
        (1u64..500).prop_map(Shock::Pause),
        Just(Shock::Panic),
        batch().prop_map(Shock::Reload),
        Just(Shock::Hasten),
    ];
    (1u64..600, shock)
}

pub fn script() -> impl Strategy<Value = Script> {
    (
        proptest::collection::vec(arrival(), 1..60),
        proptest::collection::vec(reply(), 0..150),
        proptest::collection::vec(shock(), 0..5),
        batch(),
        1u32..9,
        proptest::option::of(5u32..200),
        1u32..6,
        1u32..6,
        0.0f64..=0.5,
        any::<u64>(),
    )
        .prop_map(
            |(arrivals, replies, shocks, batch, concurrency, rate, burst, failures, jitter, seed)| Script {
                arrivals,
                replies,
                shocks,
                batch,
                concurrency,
                rate,
                burst,
                failures,
                jitter,
                seed,
            },
        )
}
