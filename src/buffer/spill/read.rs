//! Reading a spill. Its bytes are not trusted: what cannot be read is skipped and counted.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::super::disk::progress::{Progress, What};
use super::super::disk::record::{
    HEADER, Kind, Malformed, NotAHeader, Record, Resync, SegmentHeader, decode_event, decode_event_head,
    decode_lane, decode_progress, decode_source, parse,
};
use super::super::disk::source::Source;
use super::{Spilled, SpilledPlace, TakenSpill, folder_of, sync_folder};

/// Files whose events were handed out.
#[derive(Debug)]
pub(in crate::buffer) struct Read {
    folder: PathBuf,
    /// With how many records could not be read.
    files: Vec<(PathBuf, u64)>,
    events: u64,
}

/// Hands every event that was spilled below `state` to `take`, oldest first.
///
/// # Errors
/// A sentence: a file cannot be read, or was written by a newer hooklatch. Those before it were handed out, and stay.
pub(in crate::buffer) fn read(state: &Path, mut take: impl FnMut(Spilled)) -> Result<Read, String> {
    let folder = folder_of(state);
    let mut found = Read { files: Vec::new(), events: 0, folder };
    for path in files(&found.folder).map_err(|error| unreadable(&found.folder, &error))? {
        // As a whole, beside what its events take: both together are at most twice the bound of the buffer that was.
        let bytes = std::fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        let mut events = 0;
        let damaged = read_file(&bytes, |spilled| {
            events += 1;
            take(spilled);
        });
        let damaged = damaged.map_err(|version| {
            format!(
                "{} was written by a newer hooklatch (format {version}); start that one, or move the file away",
                path.display()
            )
        })?;
        found.events += events;
        found.files.push((path, damaged));
    }
    Ok(found)
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}; undelivered events of the last run are in it", path.display())
}

/// The spill's files, oldest first; none where there is no folder.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Read {
    /// The events stand in the new buffer, as durably as it can keep them: their files go, or are kept aside where
    /// something in them could not be read. That a file cannot be removed is no reason to let go of what others held.
    pub fn remove(self) -> TakenSpill {
        let mut taken = TakenSpill { events: self.events, ..TakenSpill::default() };
        for (path, damaged) in &self.files {
            let kept = path.with_extension("damaged");
            let removed =
                if *damaged == 0 { std::fs::remove_file(path) } else { std::fs::rename(path, &kept) };
            if let Err(error) = removed {
                taken.left.push(format!("cannot remove {}: {error}", path.display()));
            } else if *damaged > 0 {
                taken.kept.push(kept);
            }
            taken.damaged += damaged;
        }
        if !self.files.is_empty()
            && let Err(error) = sync_folder(&self.folder)
        {
            taken.left.push(format!("cannot sync {}: {error}", self.folder.display()));
        }
        taken
    }
}

/// Hands out the events of one file; how many records could not be read. `Err` is a newer format's version.
fn read_file(bytes: &[u8], mut take: impl FnMut(Spilled)) -> Result<u64, u16> {
    let header = match SegmentHeader::decode(bytes) {
        Ok(header) => header,
        Err(NotAHeader::Newer { version }) => return Err(version),
        // Without its nonce nothing in it can be believed.
        Err(NotAHeader::Invalid) => return Ok(1),
    };
    let records = records(bytes, &header);
    let mut names = ReadNames::default();
    let mut damaged = header.first_seq.saturating_sub(records.len() as u64);
    let payload = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
    for (kind, range) in &records {
        damaged += u64::from(names.define(*kind, payload(range)).is_err());
    }
    names.resolve();
    let mut current = None;
    for (kind, range) in &records {
        let read = match kind {
            Kind::Event => {
                if let Some((spilled, _)) = current.take() {
                    take(spilled);
                }
                names.event(payload(range)).map(|event| current = Some(event))
            }
            Kind::Progress => decode_progress(payload(range)).map(|steps| apply(&mut current, steps)),
            _ => Ok(()),
        };
        damaged += u64::from(read.is_err());
    }
    if let Some((spilled, _)) = current {
        take(spilled);
    }
    Ok(damaged)
}

/// Where the valid records are.
fn records(bytes: &[u8], header: &SegmentHeader) -> Vec<(Kind, Range<usize>)> {
    let mut resync = Resync::new(bytes, header.nonce);
    let (mut at, mut last, mut found) = (HEADER, 0, Vec::new());
    while (found.len() as u64) < header.first_seq {
        match parse(bytes.get(at..).unwrap_or_default(), header.nonce) {
            Ok(Record { len_total, seq, kind, payload, .. }) => {
                at += len_total;
                if seq > last {
                    last = seq;
                    found.push((kind, at - payload.len()..at));
                }
            }
            Err(_) => match resync.next_valid(at + 1) {
                Some(next) => at = next,
                None => break,
            },
        }
    }
    found
}

/// An event's place in its list and the number by which its progress names it.
type Current = Option<(Spilled, Arc<ReadSource>)>;

/// What happened to the event before; what is said of another one, which could not be read, is left out.
fn apply(current: &mut Current, steps: Vec<Progress>) {
    let Some((spilled, source)) = current else { return };
    for step in steps.into_iter().filter(|step| step.seq == spilled.event.id.seq()) {
        let at = source.source.lanes.iter().position(|lane| *lane == step.lane);
        if let Some(place) = at.and_then(|at| spilled.places.get_mut(at)) {
            place.what = step.what;
            place.attempts = step.attempts;
            place.since = step.since;
        }
    }
}

/// A source and its destinations' names, in the order of their numbers in it.
#[derive(Debug)]
struct ReadSource {
    source: Source,
    destinations: Vec<Arc<str>>,
}

#[derive(Default)]
struct ReadNames {
    lanes: HashMap<u32, Arc<str>>,
    unresolved: HashMap<u32, Source>,
    sources: HashMap<u32, Arc<ReadSource>>,
}

impl ReadNames {
    fn define(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Malformed> {
        match kind {
            Kind::Lane => {
                let (number, name) = decode_lane(payload)?;
                self.lanes.insert(number, name.into());
            }
            Kind::Source => {
                let (number, route, provider, lanes) = decode_source(payload)?;
                let provider = provider.map(Into::into);
                self.unresolved.insert(number, Source { route: route.into(), provider, lanes: lanes.into() });
            }
            _ => {}
        }
        Ok(())
    }

    fn resolve(&mut self) {
        for (number, source) in self.unresolved.drain() {
            let names = source.lanes.iter().map(|lane| self.lanes.get(lane).cloned());
            if let Some(destinations) = names.collect() {
                self.sources.insert(number, Arc::new(ReadSource { source, destinations }));
            }
        }
    }

    fn event(&self, payload: &[u8]) -> Result<(Spilled, Arc<ReadSource>), Malformed> {
        let head = decode_event_head(payload)?;
        let source = self.sources.get(&head.source).ok_or(Malformed)?;
        // A copy of its own: the event must not keep the whole file in memory.
        let (event, head) = decode_event(Bytes::copy_from_slice(payload), 0, &source.source)?;
        let fresh = |destination: &Arc<str>| SpilledPlace {
            destination: Arc::clone(destination),
            what: What::Requeued,
            attempts: Vec::new(),
            since: None,
        };
        let places = source.destinations.iter().map(fresh).collect();
        Ok((Spilled { event: Arc::new(event), key: head.key, places }, Arc::clone(source)))
    }
}
