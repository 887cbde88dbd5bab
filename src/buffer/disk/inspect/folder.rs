//! Which files there are, and one segment read whole.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::super::device::DeviceFile;
use super::super::index::{Index, IndexError, Row};
use super::super::record::{self, Kind, NotAHeader, SegmentHeader};
use super::super::scan::{self, Scanned};
use super::super::segment::Rows;
use super::super::source::Source;
use super::super::spool::{index_name, log_name};
use super::file::ReadOnly;
use crate::event::Event;

/// The spool's folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub path: PathBuf,
    pub dead: PathBuf,
    pub logs: BTreeSet<u32>,
    pub indexes: BTreeSet<u32>,
    pub ids: BTreeSet<u32>,
    pub spares: u64,
    pub bytes: u64,
    pub quarantined: u64,
    pub in_use: bool,
}

/// A segment, in memory.
pub(super) struct Whole {
    pub header: SegmentHeader,
    pub bytes: Bytes,
}

/// Why there is no segment in a file of that name.
pub(super) enum NoSegment {
    /// What is left of a former life, or never written.
    Spare,
    /// Records, and no header that says whose.
    Headless(u64),
    Unreadable(String),
}

impl Folder {
    /// `path` is `buffer.path`, or the folder `spool` in it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let below = path.join("spool");
        let (root, path) = match below.is_dir() {
            true => (path.to_owned(), below),
            false => (path.join(".."), path.to_owned()),
        };
        let mut folder = Self {
            dead: root.join("dead.sqlite"),
            in_use: is_locked(&root.join("LOCK")),
            quarantined: fs::read_dir(path.join("quarantine")).map_or(0, |files| files.count() as u64),
            path,
            logs: BTreeSet::new(),
            indexes: BTreeSet::new(),
            ids: BTreeSet::new(),
            spares: 0,
            bytes: 0,
        };
        let cannot = |error| format!("the folder {} cannot be read: {error}", folder.path.display());
        let files = fs::read_dir(&folder.path).map_err(cannot)?;
        let mut ours = below_is_spool(&folder.path);
        for file in files {
            let file = file.map_err(|error| format!("the folder cannot be read: {error}"))?;
            let (Ok(name), Ok(found)) = (file.file_name().into_string(), file.metadata()) else { continue };
            if found.is_file() && folder.take_in(&name) {
                folder.bytes += found.len();
                ours = true;
            }
        }
        if ours {
            Ok(folder)
        } else {
            Err(format!("{} holds no spool of hooklatch's", folder.path.display()))
        }
    }

    /// Whether it is one of ours.
    fn take_in(&mut self, name: &str) -> bool {
        let Some((number, kind)) = name.split_once('.') else { return false };
        if let Some(spare) = number.strip_prefix("spare-") {
            let is_one = kind == "log" && spare.parse::<u64>().is_ok();
            self.spares += u64::from(is_one);
            return is_one;
        }
        let Ok(parsed) = number.parse::<u32>() else { return false };
        match kind {
            _ if format!("{parsed:010}") != number => false,
            "log" => self.logs.insert(parsed),
            "idx" => self.indexes.insert(parsed),
            "ids" => self.ids.insert(parsed),
            _ => false,
        }
    }

    /// A segment; none where its file holds none, whatever the reason.
    pub fn segment(&self, number: u32) -> Result<Option<Whole>, String> {
        Ok(self.read(number)?.ok())
    }

    /// A segment, or why there is none.
    pub fn read(&self, number: u32) -> Result<Result<Whole, NoSegment>, String> {
        let name = log_name(number);
        let bytes = match fs::read(self.path.join(&name)) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) => return Ok(Err(NoSegment::Unreadable(error.to_string()))),
        };
        match SegmentHeader::decode(bytes.get(..record::HEADER).unwrap_or(&bytes)) {
            Ok(header) if header.number == number => Ok(Ok(Whole { header, bytes })),
            Ok(_) => Ok(Err(NoSegment::Spare)),
            Err(NotAHeader::Newer { version }) => Err(newer(&name, version)),
            Err(NotAHeader::Invalid) => {
                // As at a start: its index knows what the header said.
                if let Ok(index) = self.index(&index_name(number)) {
                    let (nonce, first_seq, opened) =
                        (index.nonce(), index.first_seq(), index.first_received());
                    return Ok(Ok(Whole {
                        header: SegmentHeader { number, nonce, first_seq, opened },
                        bytes,
                    }));
                }
                let start = bytes.get(record::HEADER..).unwrap_or_default();
                let head = bytes.get(..record::HEADER).unwrap_or(&bytes);
                let is_blank = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
                let spare = is_blank(head) || is_blank(start.get(..64).unwrap_or(start));
                Ok(Err(if spare { NoSegment::Spare } else { NoSegment::Headless(bytes.len() as u64) }))
            }
        }
    }

    pub fn index(&self, name: &str) -> Result<Index<ReadOnly>, IndexError> {
        Index::open(ReadOnly::open(&self.path.join(name))?)
    }

    pub fn len(&self, name: &str) -> u64 {
        ReadOnly::open(&self.path.join(name)).and_then(|file| file.len()).unwrap_or(0)
    }
}

fn below_is_spool(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "spool")
}

pub(super) fn newer(name: &str, version: u16) -> String {
    format!("{name} was written by a newer hooklatch (format {version}): look at it with that one")
}

/// Whether somebody holds the lock, as the kernel tells: asking for it ourselves could make a start fail.
fn is_locked(lock: &Path) -> bool {
    let Ok(found) = fs::metadata(lock) else { return false };
    let whose = format!(":{} ", found.ino());
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    locks.lines().any(|line| line.contains("FLOCK") && line.contains(&whose))
}

impl Whole {
    pub fn scan(&self) -> Scanned {
        scan::scan(&self.header, &self.bytes)
    }

    /// A source and the names of its destinations, if all are known.
    pub fn names_of<'a>(&self, rows: &'a Rows, source: u32) -> Option<(&'a Source, Vec<&'a Arc<str>>)> {
        let (_, source) = rows.sources.iter().find(|(number, _)| *number == source)?;
        let name = |lane: &u32| rows.lanes.iter().find(|(number, _)| number == lane).map(|(_, name)| name);
        Some((source, source.lanes.iter().map(name).collect::<Option<_>>()?))
    }

    pub fn event(&self, row: &Row, source: &Source) -> Option<Event> {
        let payload = self.payload(row.offset, Kind::Event)?;
        record::decode_event(payload, row.seq, source).ok().map(|(event, _)| event)
    }

    pub fn payload(&self, offset: u32, kind: Kind) -> Option<Bytes> {
        let found = record::parse(self.bytes.get(offset as usize..)?, self.header.nonce).ok()?;
        (found.kind == kind).then(|| self.bytes.slice_ref(found.payload))
    }
}
