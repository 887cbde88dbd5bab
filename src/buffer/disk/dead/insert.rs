//! Letters go in.

use rusqlite::{Connection, TransactionBehavior};

use super::error::DeadError;
use super::file::{self, PAGE};
use super::ledger::Change;
use super::{BATCH, DeadLetter, DeadLetters, Failed, Open, has_event, row};

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::buffer) enum Inserted {
    /// It stands, durably, now or from before: the spool may forget it.
    Stands,
    /// There is no room for it: it stays in the spool.
    NoRoom,
}

/// How many bytes of letters one transaction writes, beyond one letter: SQLite's log grows to that.
const BATCH_BYTES: usize = 8 << 20;

/// How many pages one insert may add beside those of the letter, where several of them split at once.
const MAY_SPLIT: u64 = 12;

impl DeadLetters {
    /// Puts `letters` in; what became of each, in their order. Up to 500 letters of up to 8 MiB are one transaction.
    ///
    /// # Errors
    /// Of the last transaction nothing stands; of those before it, all. Giving the same letters again is right.
    pub fn insert(&self, letters: &[DeadLetter]) -> Result<Vec<Inserted>, DeadError> {
        self.with(|open| {
            let mut inserted = Vec::with_capacity(letters.len());
            while let Some(rest) = letters.get(inserted.len()..).filter(|rest| !rest.is_empty()) {
                let (batch, _) = rest.split_at_checked(batch_of(rest)).unwrap_or((rest, &[]));
                self.insert_batch(open, batch, &mut inserted)?;
            }
            Ok(inserted)
        })
    }

    fn insert_batch(
        &self,
        open: &mut Open,
        letters: &[DeadLetter],
        inserted: &mut Vec<Inserted>,
    ) -> Result<(), Failed> {
        let all = open.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut change = Change::default();
        {
            let mut insert = all.prepare(row::INSERT)?;
            let mut stands = all.prepare("SELECT 1 FROM dead_letters WHERE id = ?1 AND destination = ?2")?;
            for letter in letters {
                let id = letter.event.id.to_string();
                if stands.exists((&id, &*letter.destination))? {
                    inserted.push(Inserted::Stands);
                    continue;
                }
                if !self.has_room(&all, letter)? {
                    inserted.push(Inserted::NoRoom);
                    continue;
                }
                change.events += i64::from(!has_event(&all, &id)?);
                row::write(&mut insert, letter)?;
                change.count(&letter.destination, 1);
                inserted.push(Inserted::Stands);
            }
        }
        let bytes = file::bytes_in_use(&all)?;
        all.commit()?;
        self.ledger.lock().apply(change, bytes);
        Ok(())
    }

    /// A letter takes what it weighs, rounded up to pages, and at worst a page more in the table and in each index.
    fn has_room(&self, connection: &Connection, letter: &DeadLetter) -> Result<bool, Failed> {
        let takes = (row::size(letter) as u64).next_multiple_of(PAGE) + MAY_SPLIT * PAGE;
        Ok(file::bytes_in_use(connection)?.saturating_add(takes) <= self.options.max_bytes)
    }
}

/// How many of `letters` go into one transaction: one at least.
fn batch_of(letters: &[DeadLetter]) -> usize {
    let mut bytes = 0;
    let fit = letters.iter().take(BATCH).take_while(|letter| {
        let fits = bytes < BATCH_BYTES;
        bytes += row::size(letter);
        fits
    });
    fit.count().max(1)
}
