//! Taking up what is in the folder: the indexes are read, what has none is scanned, what is not ours is left alone.

mod folder;
mod tell;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::device::{Device, DeviceFile};
use super::index::{IdRow, Index, IndexError, Row};
use super::ports::{OpenError, Rebuild, SharedNames, SpoolOptions};
use super::record::{self, NotAHeader, SegmentHeader};
use super::scan;
use super::segment::{Numbers, Segment};
use super::spares::spare_name;
use super::spool::{IdsFile, Spool, ids_name, index_name, log_name, quarantine};
use crate::clock::Millis;
use folder::Folder;

/// At most so many pieces of one segment are copied away: each is a file.
const MAX_COPIES: usize = 256;

/// More than any segment that cannot be read may hold.
const UNREAD_SEQS: u64 = 1 << 32;

/// What was found.
#[derive(Debug)]
pub(super) struct Found<D: Device> {
    pub segments: BTreeMap<u32, Arc<Segment<D>>>,
    pub spares: Vec<(String, D::File)>,
    /// The new names of files that were segments.
    pub freed: Vec<String>,
    pub next_spare: u64,
    pub ids: Vec<IdsFile>,
    pub next_number: u32,
    pub next_seq: u64,
    pub now: Millis,
    pub corrupt: u64,
    /// What could not be synced.
    pub failures: Vec<io::Error>,
}

/// Recovery, as far as it got.
struct Recovery<'a, D: Device> {
    device: &'a D,
    options: &'a SpoolOptions,
    names: &'a SharedNames,
    folder: Folder,
    found: Found<D>,
    /// Indexes whose segment somebody removed.
    orphans: Vec<(u32, Index<D::File>)>,
}

/// What an index knows: events, ids without one, whether its segment was merged, its names.
type Known = (Vec<Row>, Vec<IdRow>, bool, Numbers);

pub(super) fn open<D: Device>(
    device: D,
    options: SpoolOptions,
    names: SharedNames,
    now: Millis,
    rebuild: &mut dyn Rebuild,
) -> Result<Spool<D>, OpenError> {
    let folder = folder::list(&device)?;
    let found = Found {
        segments: BTreeMap::new(),
        spares: Vec::new(),
        freed: Vec::new(),
        next_spare: folder.spares.last().map_or(0, |last| last + 1),
        ids: Vec::new(),
        next_number: folder.highest().map_or(1, |highest| highest.saturating_add(1)),
        next_seq: 1,
        now,
        corrupt: 0,
        failures: Vec::new(),
    };
    let mut recovery =
        Recovery { device: &device, options: &options, names: &names, folder, found, orphans: Vec::new() };
    recovery.find_spares();
    recovery.find_segments()?;
    recovery.drop_replaced();
    recovery.find_ids()?;
    recovery.tell(rebuild);
    // What was told was read by these names; by others (an index that is not there, after all) it would be told otherwise.
    if let Err(error) = device.sync_folder() {
        recovery.found.failures.push(error);
    }
    let found = recovery.found;
    let spool = Spool::assemble(device, options, names, found);
    spool.prepare();
    Ok(spool)
}

impl<D: Device> Recovery<'_, D> {
    /// Spares of the right length are taken up; others are of other settings, or were never finished.
    fn find_spares(&mut self) {
        for number in std::mem::take(&mut self.folder.spares) {
            let name = spare_name(number);
            match self.device.open(&name) {
                Ok(file) if self.fits(&file) => self.found.spares.push((name, file)),
                Ok(_) => self.remove(&name),
                Err(error) => tracing::warn!(file = name, "a spare of the spool cannot be opened: {error}"),
            }
        }
    }

    fn fits(&self, file: &D::File) -> bool {
        file.len().is_ok_and(|len| len == u64::from(self.options.segment_bytes))
    }

    fn find_segments(&mut self) -> Result<(), OpenError> {
        for number in self.folder.logs.clone() {
            let name = log_name(number);
            let file = self.device.open(&name).map_err(|error| {
                OpenError(format!("{name} in the spool's folder cannot be opened: {error}"))
            })?;
            let mut bytes = [0; record::HEADER];
            let header = match file.read_at(&mut bytes, 0) {
                Ok(_) => SegmentHeader::decode(&bytes),
                Err(error) => {
                    self.unread(number, file, error)?;
                    continue;
                }
            };
            match header {
                Ok(header) if header.number == number => self.take_up(header, file)?,
                // Its former life: it was renamed, and its new header never came.
                Ok(_) => self.make_spare(number, &file),
                Err(NotAHeader::Newer { version }) => return Err(newer(&name, version)),
                Err(NotAHeader::Invalid) => self.without_header(number, file, &bytes)?,
            }
        }
        Ok(())
    }

    /// A file whose header the disk refuses to read now. Its index knows what that said; without one it stays where it
    /// is, for a start that can read it.
    fn unread(&mut self, number: u32, file: D::File, error: io::Error) -> Result<(), OpenError> {
        let name = log_name(number);
        if let Some(index) = self.index_of(number) {
            tracing::error!(file = name, "the header of a segment of the spool cannot be read: {error}");
            self.found.failures.push(error);
            let (nonce, first_seq) = (index.nonce(), index.first_seq());
            return self
                .take_up(SegmentHeader { number, nonce, first_seq, opened: index.first_received() }, file);
        }
        tracing::error!(
            file = name,
            "a segment of the spool cannot be read, and what waits in it is not delivered before a start that can: {error}"
        );
        self.found.failures.push(error);
        self.folder.indexes.remove(&number); // not one without its segment
        // None of its numbers must be given again.
        self.found.next_seq = self.found.next_seq.max(1).saturating_add(UNREAD_SEQS);
        Ok(())
    }

    fn index_of(&self, number: u32) -> Option<Index<D::File>> {
        let stands = self.folder.indexes.contains(&number);
        stands.then(|| Index::open(self.device.open(&index_name(number)).ok()?).ok()).flatten()
    }

    /// A file with the name of a segment and no header. Its index knows what the header said; without one, a file that
    /// was never written to is a spare, and any other is put aside.
    fn without_header(&mut self, number: u32, file: D::File, bytes: &[u8]) -> Result<(), OpenError> {
        if let Some(index) = self.index_of(number) {
            let (nonce, first_seq) = (index.nonce(), index.first_seq());
            // An empty one: its header is written to stay with its first commit, which never came.
            if index.end() as usize > record::HEADER {
                self.damaged(number, 0, bytes);
            }
            return self
                .take_up(SegmentHeader { number, nonce, first_seq, opened: index.first_received() }, file);
        }
        let mut start = [0; 64];
        let written =
            file.read_at(&mut start, record::HEADER as u64).is_ok() && start.iter().any(|byte| *byte != 0);
        if written && bytes.iter().any(|byte| *byte != 0) && !bytes.starts_with(b"hlspool\0") {
            self.lose(number, "its header is damaged");
        } else if written && bytes.starts_with(b"hlspool\0") {
            self.lose(number, "both copies of its header are damaged");
        } else {
            self.make_spare(number, &file);
        }
        Ok(())
    }

    /// Puts a segment aside whose records cannot be told from others'.
    fn lose(&mut self, number: u32, why: &str) {
        let name = log_name(number);
        let aside = format!("quarantine/{name}");
        self.found.corrupt += 1;
        match self.device.rename(&name, &aside) {
            Ok(()) => tracing::error!(file = name, "a segment of the spool is lost: {why}; moved to {aside}"),
            Err(error) => {
                tracing::error!(file = name, "a segment of the spool is lost: {why}; not moved: {error}")
            }
        }
    }

    fn take_up(&mut self, header: SegmentHeader, file: D::File) -> Result<(), OpenError> {
        let number = header.number;
        self.found.next_seq = self.found.next_seq.max(header.first_seq);
        if self.folder.indexes.contains(&number) {
            let name = index_name(number);
            match self.device.open(&name).map_err(IndexError::Io).and_then(Index::open) {
                Ok(index) if (index.number(), index.nonce()) == (number, header.nonce) => {
                    match self.with_index(&index) {
                        Ok((rows, ids, merged, numbers)) => {
                            let of = (&*rows, &*ids);
                            let segment = Segment::indexed(header, file, index, of, merged, numbers);
                            self.add(segment);
                            return Ok(());
                        }
                        Err(error) => tracing::warn!(file = name, "an index is made anew: {error:?}"),
                    }
                }
                Ok(_) => tracing::warn!(file = name, "an index of another segment is made anew"),
                Err(IndexError::Newer { version }) => return Err(newer(&name, version)),
                Err(error) => tracing::warn!(file = name, "an index is made anew: {error:?}"),
            }
        }
        self.scan(header, file);
        Ok(())
    }

    fn with_index(&self, index: &Index<D::File>) -> Result<Known, IndexError> {
        let (lanes, sources) = index.names()?;
        // All that will be asked of it is read once, so that one that is damaged is made anew now.
        index.progress(&mut |_, _| {})?;
        let ids = index.ids()?;
        let merged = !index.replaces()?.is_empty();
        let numbers = Numbers::new(&lanes, &sources, &mut self.names.write());
        Ok((index.rows()?, ids, merged, numbers))
    }

    fn scan(&mut self, header: SegmentHeader, file: D::File) {
        let (bytes, unread) = read_all(&file);
        let scanned = scan::scan(&header, &bytes);
        for (from, to) in scanned.damaged.iter().take(MAX_COPIES) {
            let hole = bytes.get(*from as usize..*to as usize).unwrap_or_default();
            self.damaged(header.number, *from, hole);
        }
        self.found.corrupt += scanned.damaged.len().saturating_sub(MAX_COPIES) as u64;
        let numbers = Numbers::new(&scanned.rows.lanes, &scanned.rows.sources, &mut self.names.write());
        // What is told from here on counts as kept, and a process that was killed may have left it unsynced; where it
        // met a failed sync, that part is in memory only and no sync writes it any more. So it is written once more,
        // the same bytes in the same place. Where that fails it is told all the same: it is the last that there is.
        let known = bytes.get(..scanned.end as usize).unwrap_or_default();
        let stands = match unread.into_iter().next() {
            None => file.write_at(known, 0).and_then(|()| file.sync()),
            Some(error) => Err(error),
        };
        let segment = Segment::scanned(header, file, scanned.rows, scanned.end, numbers);
        if let Err(error) = stands {
            tracing::error!(
                file = log_name(header.number),
                "a segment of the spool cannot be read whole or synced, what stands in it may not last: {error}"
            );
            self.found.failures.push(error);
            segment.keep_open();
        }
        self.add(segment);
    }

    fn add(&mut self, segment: Segment<D>) {
        self.found.segments.insert(segment.number(), Arc::new(segment));
    }

    fn damaged(&mut self, number: u32, offset: u32, bytes: &[u8]) {
        self.found.corrupt += 1;
        quarantine(self.device, number, offset, bytes);
    }

    /// What a merged segment stands for goes.
    fn drop_replaced(&mut self) {
        let replaced: Vec<u32> =
            self.found.segments.values().flat_map(|segment| segment.replaces()).collect();
        for number in replaced {
            let Some(segment) = self.found.segments.remove(&number) else { continue };
            if self.folder.indexes.remove(&number) {
                let renamed = self.device.rename(&index_name(number), &ids_name(number));
                if renamed.is_ok() {
                    self.folder.ids.insert(number);
                }
            }
            if let Some(segment) = Arc::into_inner(segment) {
                self.make_spare(number, &segment.file);
            }
        }
    }

    /// The segment's file holds nothing that is needed.
    fn make_spare(&mut self, number: u32, file: &D::File) {
        let name = log_name(number);
        if !self.fits(file) {
            return self.remove(&name);
        }
        let spare = spare_name(self.found.next_spare);
        self.found.next_spare += 1;
        match self.device.rename(&name, &spare) {
            Ok(()) => self.found.freed.push(spare),
            Err(error) => tracing::warn!(file = name, "it cannot be renamed to {spare}: {error}"),
        }
    }

    fn remove(&self, name: &str) {
        if let Err(error) = self.device.remove(name) {
            tracing::warn!(file = name, "it cannot be removed: {error}");
        }
    }

    /// Indexes whose segments have gone: kept for their ids. One that still says `.idx` lost its segment by somebody
    /// else's hand.
    fn find_ids(&mut self) -> Result<(), OpenError> {
        for number in self.folder.indexes.clone() {
            if self.found.segments.contains_key(&number) {
                continue;
            }
            if let Some(index) = self.index_of(number) {
                self.orphans.push((number, index));
            }
            // Its ids are not remembered: no id is, longer than its event was safe.
            self.remove(&index_name(number));
        }
        for number in self.folder.ids.clone() {
            let name = ids_name(number);
            let index = self.device.open(&name).map_err(IndexError::Io).and_then(Index::open);
            match index.and_then(|index| Ok((index.ids()?, index.last_seq()?, index))) {
                Ok((ids, last_seq, index)) => self.found.ids.push(IdsFile {
                    number,
                    last_kept: ids.iter().fold(index.last_received(), |last, id| last.max(id.kept_at)),
                    count: u64::from(index.keyed()) + ids.len() as u64,
                    last_seq,
                }),
                Err(IndexError::Newer { version }) => return Err(newer(&name, version)),
                Err(error) => {
                    self.found.corrupt += 1;
                    tracing::error!(
                        file = name,
                        "remembered ids cannot be read, and are forgotten: {error:?}"
                    );
                    self.remove(&name);
                }
            }
        }
        Ok(())
    }
}

/// All of a file. What the disk refuses to read is zeros, and told. What was never written to is zeros as well, and takes no
/// memory: mostly that is the larger part.
fn read_all<F: DeviceFile>(file: &F) -> (Vec<u8>, Vec<io::Error>) {
    const PAGE: usize = 4096;
    const PIECE: usize = 64 * PAGE;
    let len = match file.len() {
        Ok(len) => usize::try_from(len.min(u64::from(u32::MAX))).unwrap_or(0),
        Err(error) => return (Vec::new(), vec![error]),
    };
    let mut bytes = vec![0; len];
    let (mut buffer, mut unread) = (vec![0; PIECE.min(len)], Vec::new());
    let mut copy = |to: &mut [u8], at: usize| {
        let from = buffer.get_mut(..to.len()).unwrap_or_default();
        let read = file.read_at(from, at as u64)?;
        let from = from.get(..read).unwrap_or_default();
        if from.iter().any(|byte| *byte != 0) {
            to.get_mut(..read).unwrap_or_default().copy_from_slice(from);
        }
        Ok::<_, io::Error>(())
    };
    for (number, piece) in bytes.chunks_mut(PIECE).enumerate() {
        if copy(piece, number * PIECE).is_ok() {
            continue;
        }
        for (nth, page) in piece.chunks_mut(PAGE).enumerate() {
            unread.extend(copy(page, number * PIECE + nth * PAGE).err());
        }
    }
    (bytes, unread)
}

fn newer(name: &str, version: u16) -> OpenError {
    OpenError(format!(
        "{name} in the spool's folder was written by a newer hooklatch (format {version}, this one reads up to {}); \
         start that one, or name another buffer.path",
        record::VERSION
    ))
}
