//! Every byte that a CRC covers, against it; the indexes against the log; the names.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::device::DeviceFile;
use super::super::index::{Index, IndexError};
use super::super::record::{self, Kind, SegmentHeader};
use super::super::scan::Scanned;
use super::super::spool::{ids_name, index_name, log_name};
use super::folder::{Folder, NoSegment, Whole, newer};
use super::{Damage, Verified};

/// Where the second copy of a header stands.
const SECOND: usize = 512;

/// Reads all that is there.
///
/// # Errors
/// A sentence: a folder that is no spool, or of a newer version.
pub fn verify(path: &Path) -> Result<Verified, String> {
    let folder = Folder::open(path)?;
    let mut found = Verified { in_use: folder.in_use, ..Verified::default() };
    for number in &folder.logs {
        match folder.read(*number)? {
            Ok(segment) => found.segment(&folder, *number, &segment)?,
            Err(NoSegment::Spare) => {}
            Err(NoSegment::Headless(len)) => {
                found.tell(log_name(*number), 0, len, "a segment, both copies of whose header are damaged");
            }
            Err(NoSegment::Unreadable(error)) => {
                let len = folder.len(&log_name(*number));
                found.tell(log_name(*number), 0, len, &format!("it cannot be read: {error}"));
            }
        }
    }
    for number in folder.indexes.difference(&folder.logs) {
        let name = index_name(*number);
        found.tell(name.clone(), 0, folder.len(&name), "an index whose segment is missing");
    }
    for number in &folder.ids {
        found.index(&folder, &ids_name(*number))?;
    }
    Ok(found)
}

impl Verified {
    fn tell(&mut self, file: String, offset: u64, len: u64, what: &str) {
        self.damaged.push(Damage { file, offset, len, what: what.to_owned() });
    }

    fn segment(&mut self, folder: &Folder, number: u32, segment: &Whole) -> Result<(), String> {
        self.segments += 1;
        let name = log_name(number);
        for at in [0, SECOND] {
            let copy = segment.bytes.get(at..at + SECOND).unwrap_or_default();
            if SegmentHeader::decode(copy) != Ok(segment.header) {
                self.tell(name.clone(), at as u64, SECOND as u64, "one of the two copies of the header");
            }
        }
        let scanned = segment.scan();
        self.events += scanned.rows.rows.len() as u64;
        for (from, to) in &scanned.damaged {
            let what = kind_at(segment, *from);
            self.tell(name.clone(), u64::from(*from), u64::from(to - from), what);
        }
        self.names(&name, segment, &scanned);
        if folder.indexes.contains(&number)
            && let Some(index) = self.index(folder, &index_name(number))?
        {
            self.against(&name, segment, &scanned, &index);
        }
        Ok(())
    }

    /// All names that events and progress speak of.
    fn names(&mut self, file: &str, segment: &Whole, scanned: &Scanned) {
        for row in &scanned.rows.rows {
            if segment.names_of(&scanned.rows, row.source).is_none() {
                let what = "an event, the names of whose destinations are missing";
                self.tell(file.to_owned(), u64::from(row.offset), u64::from(row.len), what);
            } else if segment
                .names_of(&scanned.rows, row.source)
                .is_some_and(|(source, _)| segment.event(row, source).is_none())
            {
                self.tell(
                    file.to_owned(),
                    u64::from(row.offset),
                    u64::from(row.len),
                    "an event that cannot be read",
                );
            }
        }
        let known: BTreeSet<u32> = scanned.rows.lanes.iter().map(|(number, _)| *number).collect();
        for (offset, len) in &scanned.rows.progress {
            let payload = segment.payload(*offset, Kind::Progress).unwrap_or_default();
            let steps = record::decode_progress(&payload).unwrap_or_default();
            if steps.iter().any(|step| !known.contains(&step.lane)) {
                let what = "progress at a destination whose name is missing";
                self.tell(file.to_owned(), u64::from(*offset), u64::from(*len), what);
            }
        }
    }

    /// Every page of an index.
    fn index(
        &mut self,
        folder: &Folder,
        name: &str,
    ) -> Result<Option<Index<impl DeviceFile + use<>>>, String> {
        self.indexes += 1;
        let read = folder.index(name).and_then(|index| {
            index.rows()?;
            index.progress(&mut |_, _| {})?;
            index.ids()?;
            index.names()?;
            index.replaces()?;
            Ok(index)
        });
        match read {
            Ok(index) => Ok(Some(index)),
            Err(IndexError::Newer { version }) => Err(newer(name, version)),
            Err(error) => {
                self.tell(name.to_owned(), 0, folder.len(name), &format!("an index: {error}"));
                Ok(None)
            }
        }
    }

    /// The index against the log: it knows also of records at the end, whose damage the log cannot tell from a torn
    /// commit.
    fn against<F: DeviceFile>(&mut self, file: &str, segment: &Whole, scanned: &Scanned, index: &Index<F>) {
        let of_index = index_name(segment.header.number);
        if (index.number(), index.nonce()) != (segment.header.number, segment.header.nonce) {
            return self.tell(of_index, 0, 0, "an index of another segment");
        }
        let told = |at: u32| scanned.damaged.iter().any(|(from, to)| (*from..*to).contains(&at));
        let here: BTreeSet<_> = scanned.rows.rows.iter().map(|row| (row.seq, row.offset, row.len)).collect();
        let rows = index.rows().unwrap_or_default();
        for row in &rows {
            if !here.contains(&(row.seq, row.offset, row.len)) && !told(row.offset) {
                self.tell(
                    file.to_owned(),
                    u64::from(row.offset),
                    u64::from(row.len),
                    "an event that its index names",
                );
            }
        }
        let places: BTreeSet<u32> = rows.iter().map(|row| row.offset).collect();
        for row in scanned.rows.rows.iter().filter(|row| !places.contains(&row.offset)) {
            let what = format!("an index that lacks the event at {} of {file}", row.offset);
            self.tell(of_index.clone(), 0, 0, &what);
        }
        // Whether it can be read was told with its other pages.
        let _ = index.progress(&mut |offset, payload| {
            let here = segment.payload(offset, Kind::Progress);
            if here.as_deref() != Some(payload) && !told(offset) {
                let len = (payload.len() + record::RECORD_HEADER) as u64;
                self.tell(file.to_owned(), u64::from(offset), len, "progress that its index names");
            }
        });
    }
}

/// What a damaged record says that it is, which is all that is left to say.
fn kind_at(segment: &Whole, offset: u32) -> &'static str {
    match segment.bytes.get(offset as usize + 12) {
        Some(1) => "an event",
        Some(2) => "progress",
        Some(3) => "an id",
        Some(4 | 5) => "a name, which stands twice",
        Some(6) => "which segments this one stands for",
        _ => "a record",
    }
}
