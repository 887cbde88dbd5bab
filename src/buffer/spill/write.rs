//! Writing a spill.

use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::super::disk::progress::{Progress, What};
use super::super::disk::record::{
    HEADER, Kind, SegmentHeader, begin, encode_event, encode_lane, encode_progress, encode_source, finish,
    seal,
};
use super::super::disk::source::{Names, Source};
use super::{FILE_MODE, FOLDER_MODE, SpillReport, Spilled, SpilledPlace, folder_of, sync_folder};
use crate::clock::Millis;

/// A file that is being written. Dropped before [`Self::finish`], it is removed.
#[derive(Debug)]
pub(in crate::buffer) struct Writer {
    state: PathBuf,
    /// Where it is until it is whole.
    unfinished: PathBuf,
    path: PathBuf,
    file: File,
    header: SegmentHeader,
    names: Names,
    records: u32,
    events: u64,
    finished: bool,
}

impl Writer {
    /// Begins a file in the spill's folder below `state`.
    ///
    /// # Errors
    /// A sentence.
    pub fn create(state: &Path, now: Millis) -> Result<Self, String> {
        let folder = folder_of(state);
        let failed = |error: io::Error| format!("cannot write to {}: {error}", folder.display());
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&folder).map_err(failed)?;
        let mut name = now.0;
        while folder.join(format!("{name:013}.log")).exists() {
            name = name.saturating_add(1);
        }
        let path = folder.join(format!("{name:013}.log"));
        let unfinished = path.with_extension("new");
        // What a crash left here was never finished.
        let _ = std::fs::remove_file(&unfinished);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&unfinished)
            .map_err(failed)?;
        file.write_all(&[0; HEADER]).map_err(failed)?;
        let nonce = RandomState::new().hash_one(now.0) as u32;
        let header = SegmentHeader { number: 0, nonce, first_seq: 0, opened: now };
        Ok(Self {
            state: state.to_owned(),
            unfinished,
            path,
            file,
            header,
            names: Names::default(),
            records: 0,
            events: 0,
            finished: false,
        })
    }

    /// Writes `events`, which are a page of many: all of them are held in memory once more.
    ///
    /// # Errors
    /// A sentence.
    pub fn push(&mut self, events: &[Spilled]) -> Result<(), String> {
        let mut out = Vec::new();
        for spilled in events {
            self.put(&mut out, spilled);
        }
        self.events += events.len() as u64;
        self.file.write_all(&out).map_err(|error| self.failed(&error))
    }

    fn put(&mut self, out: &mut Vec<u8>, spilled: &Spilled) {
        let numbers: Vec<u32> =
            spilled.places.iter().map(|place| self.lane(out, &place.destination)).collect();
        let source = self.source(out, spilled, &numbers);
        self.record(out, Kind::Event, |out| encode_event(out, &spilled.event, source, spilled.key, true));
        let steps = spilled.places.iter().zip(&numbers);
        // What never began is told by the absence of a step.
        let untold = |place: &SpilledPlace| place.attempts.is_empty() && place.since.is_none();
        let began = steps.filter(|(place, _)| place.what != What::Requeued || !untold(place));
        let steps: Vec<Progress> = began
            .map(|(place, lane)| Progress {
                seq: spilled.event.id.seq(),
                lane: *lane,
                what: place.what,
                attempts: place.attempts.clone(),
                since: place.since,
            })
            .collect();
        if !steps.is_empty() {
            self.record(out, Kind::Progress, |out| encode_progress(out, &steps));
        }
    }

    /// A destination's number, defined where it is new.
    fn lane(&mut self, out: &mut Vec<u8>, name: &str) -> u32 {
        let known = self.names.lane_count();
        let number = self.names.lane(name);
        if number >= known {
            self.record(out, Kind::Lane, |out| encode_lane(out, number, name));
        }
        number
    }

    /// A source's number, defined where it is new.
    fn source(&mut self, out: &mut Vec<u8>, spilled: &Spilled, lanes: &[u32]) -> u32 {
        let mut lanes = lanes.to_vec();
        lanes.sort_unstable();
        let (route, provider) = (spilled.event.route.clone(), spilled.event.provider.clone());
        let source = Source { route, provider, lanes: lanes.into() };
        let next = self.sources().count();
        let number = self.names.source(source.clone());
        if number as usize >= next {
            self.define(out, number, &source);
        }
        number
    }

    fn sources(&self) -> impl Iterator<Item = (u32, Source)> {
        (0..).map_while(|number| Some((number, Source::clone(self.names.source_of(number)?))))
    }

    fn define(&mut self, out: &mut Vec<u8>, number: u32, source: &Source) {
        let provider = source.provider.as_deref();
        self.record(out, Kind::Source, |out| {
            encode_source(out, number, &source.route, provider, &source.lanes);
        });
    }

    fn record(&mut self, out: &mut Vec<u8>, kind: Kind, payload: impl FnOnce(&mut Vec<u8>)) {
        let start = begin(out);
        payload(out);
        finish(out, start, kind);
        self.records = self.records.saturating_add(1);
        if let Some(record) = out.get_mut(start..) {
            seal(record, self.header.nonce, self.records, 0);
        }
    }

    /// Ends the file: from here on it will be found.
    ///
    /// # Errors
    /// A sentence.
    pub fn finish(mut self) -> Result<SpillReport, String> {
        let mut out = Vec::new();
        for number in 0..self.names.lane_count() {
            let name = self.names.lane_name(number).cloned().unwrap_or_default();
            self.record(&mut out, Kind::Lane, |out| encode_lane(out, number, &name));
        }
        let sources: Vec<_> = self.sources().collect();
        for (number, source) in sources {
            self.define(&mut out, number, &source);
        }
        self.header.first_seq = self.records.into();
        self.store(&out).map_err(|error| self.failed(&error))?;
        self.finished = true;
        Ok(SpillReport { events: self.events, path: Some(self.path.clone()) })
    }

    fn store(&mut self, last: &[u8]) -> io::Result<()> {
        self.file.write_all(last)?;
        self.file.rewind()?;
        self.file.write_all(&self.header.encode())?;
        self.file.sync_all()?;
        std::fs::rename(&self.unfinished, &self.path)?;
        sync_folder(&folder_of(&self.state))?;
        // The folder itself may be new.
        sync_folder(&self.state)
    }

    fn failed(&self, error: &io::Error) -> String {
        format!("cannot write {}: {error}", self.path.display())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_file(&self.unfinished);
        }
    }
}
