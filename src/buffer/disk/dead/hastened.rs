//! When an operator last made due what waited at a destination. It stands beside the letters because it is as rare as one
//! and must last as long.

use std::sync::Arc;

use super::error::DeadError;
use super::{DeadLetters, row};
use crate::clock::Millis;

impl DeadLetters {
    /// Notes that what waits at `destination` was made due `at` that moment.
    ///
    /// # Errors
    /// The file cannot be written: what was noted before still stands.
    pub fn hasten(&self, destination: &str, at: Millis) -> Result<(), DeadError> {
        let note = "INSERT OR REPLACE INTO hastened (destination, at) VALUES (?1, ?2)";
        self.with(|open| {
            open.connection.execute(note, (destination, row::moment(at)))?;
            Ok(())
        })
    }

    /// At which destinations what waited was made due, and when last.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn hastened(&self) -> Result<Vec<(Arc<str>, Millis)>, DeadError> {
        self.with(|open| {
            let mut read = open.connection.prepare("SELECT destination, at FROM hastened")?;
            let rows = read.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
            let told = |(destination, at): (String, i64)| {
                (Arc::from(destination), Millis(u64::try_from(at).unwrap_or(0)))
            };
            Ok(rows.map(|row| row.map(told)).collect::<Result<_, _>>()?)
        })
    }
}
