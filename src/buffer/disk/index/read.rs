//! How an index is read: by whole columns, or a few pages of one.

use std::sync::Arc;

use super::layout::{self, Fields, HEAD, Header, Kind, Section, Sections};
use super::{IdRow, IndexError, Row, pages};
use crate::buffer::disk::device::DeviceFile;
use crate::buffer::disk::record::class_of;
use crate::buffer::disk::source::Source;
use crate::clock::Millis;
use crate::event::{DedupeKey, EventId, OrderKey, Turn};

/// Names behind a segment's own numbers: of its destinations, and of its sources.
pub(in crate::buffer) type SegmentNames = (Vec<(u32, Arc<str>)>, Vec<(u32, Source)>);

/// Above so many events of one id their numbers are read in one go.
const FEW: usize = 8;

/// An index, open: its header and table of sections are in memory, nothing else.
#[derive(Debug)]
pub(in crate::buffer) struct Index<F> {
    file: F,
    header: Header,
    sections: Sections,
}

impl<F: DeviceFile> Index<F> {
    /// Reads its header.
    pub fn open(file: F) -> Result<Self, IndexError> {
        let mut head = [0; HEAD];
        if file.read_at(&mut head, 0)? != HEAD {
            return Err(IndexError::Damaged);
        }
        let (header, sections) = layout::decode(&head, file.len()?)?;
        Ok(Self { file, header, sections })
    }

    /// The segment's number.
    pub fn number(&self) -> u32 {
        self.header.number
    }

    /// The segment's nonce.
    pub fn nonce(&self) -> u32 {
        self.header.nonce
    }

    /// The first sequence number of the segment's header.
    pub fn first_seq(&self) -> u64 {
        self.header.first_seq
    }

    /// How many bytes of the segment are valid.
    pub fn end(&self) -> u32 {
        self.header.end
    }

    /// How many events it has.
    pub fn count(&self) -> u32 {
        self.header.count
    }

    /// The highest number of its events; below the first one's where it has none.
    pub fn last_seq(&self) -> Result<u64, IndexError> {
        let since = match self.seqs()? {
            Some(seqs) => seqs.last().map_or(0, |last| u64::from(*last) + 1),
            None => u64::from(self.count()),
        };
        Ok(self.first_seq().saturating_add(since).saturating_sub(1))
    }

    /// How many of its events have a key, of 16 bytes each.
    pub fn keyed(&self) -> u32 {
        self.sections.get(Kind::Keys).len / 16
    }

    /// When the earliest of its events came; the epoch where there is none.
    pub fn first_received(&self) -> Millis {
        Millis(self.header.first_received)
    }

    /// When the latest of its events came; the epoch where there is none.
    pub fn last_received(&self) -> Millis {
        Millis(self.header.last_received)
    }

    /// The names behind its numbers.
    pub fn names(&self) -> Result<SegmentNames, IndexError> {
        let (lanes, sources) = (self.whole(Kind::Lanes)?, self.whole(Kind::Sources)?);
        let lanes = repeat(&lanes, |lanes| Some((lanes.u32()?, Arc::from(lanes.text()?))));
        let sources = repeat(&sources, |sources| Some((sources.u32()?, source(sources)?)));
        lanes.zip(sources).ok_or(IndexError::Damaged)
    }

    /// All events.
    pub fn rows(&self) -> Result<Vec<Row>, IndexError> {
        let columns = Columns {
            places: self.column(Kind::Places, &[8])?,
            received: self.column(Kind::Received, &[4, 8])?,
            source: self.column(Kind::Source, &[1, 2, 4])?,
            numbers: self.whole(Kind::Numbers)?,
            seqs: self.seqs()?,
            keyed: self.whole(Kind::Keyed)?,
            keys: self.whole(Kind::Keys)?,
            classes: self.column_if_any(Kind::Classes, 1)?,
            order_keys: self.column_if_any(Kind::OrderKeys, 8)?,
        };
        let mut rows = columns.rows(&self.header).ok_or(IndexError::Damaged)?;
        let aliases = self.whole(Kind::Aliases)?;
        let aliases = repeat(&aliases, |aliases| Some((aliases.u32()?, id(aliases)?)));
        for (slot, alias) in aliases.ok_or(IndexError::Damaged)? {
            rows.get_mut(slot as usize).ok_or(IndexError::Damaged)?.alias = Some(alias);
        }
        let by_id = self.whole(Kind::ById)?;
        let by_id = repeat(&by_id, |by_id| Some((by_id.u32()?, by_id.u32()?)));
        for (hash, slot) in by_id.ok_or(IndexError::Damaged)? {
            rows.get_mut(slot as usize).ok_or(IndexError::Damaged)?.id_hash = Some(hash);
        }
        Ok(rows)
    }

    /// Where each event's record is.
    pub fn offsets(&self) -> Result<Offsets, IndexError> {
        let places = self.column(Kind::Places, &[8])?.0;
        let places = repeat(&places, |places| Some((places.u32()?, places.u32()?)));
        Ok(Offsets {
            first_seq: self.header.first_seq,
            seqs: self.seqs()?.map(Vec::into_boxed_slice),
            places: places.ok_or(IndexError::Damaged)?.into_boxed_slice(),
            order_keys: repeat(&self.column_if_any(Kind::OrderKeys, 8)?, Fields::u64)
                .ok_or(IndexError::Damaged)?
                .into_boxed_slice(),
        })
    }

    /// Where the record of `seq` begins, and how long it is, read from one page; `None` where the numbers have gaps and
    /// all of them must be read for it.
    pub fn place(&self, seq: u64) -> Result<Option<Option<(u32, u32)>>, IndexError> {
        let Section { len, .. } = self.sections.get(Kind::Places);
        if self.sections.get(Kind::Seqs).len > 0 {
            return Ok(None);
        }
        if u64::from(len) != 8 * u64::from(self.header.count) {
            return Err(IndexError::Damaged);
        }
        let since =
            seq.checked_sub(self.header.first_seq).filter(|slot| *slot < u64::from(self.header.count));
        let Some(slot) = since else { return Ok(Some(None)) };
        let at = slot as usize * 8;
        let place = self.part(Kind::Places, at, at + 8)?;
        let mut place = Fields(&place);
        let place = place.u32().zip(place.u32()).ok_or(IndexError::Damaged)?;
        Ok(Some(Some(place)))
    }

    /// The bits of the order key of `seq`, 0 for none, read from one page; as [`Self::place`].
    pub fn order_key(&self, seq: u64) -> Result<Option<Option<u64>>, IndexError> {
        if self.sections.get(Kind::Seqs).len > 0 {
            return Ok(None);
        }
        let since =
            seq.checked_sub(self.header.first_seq).filter(|slot| *slot < u64::from(self.header.count));
        let Some(slot) = since else { return Ok(Some(None)) };
        let Section { len, .. } = self.sections.get(Kind::OrderKeys);
        if len == 0 {
            return Ok(Some(Some(0)));
        }
        if u64::from(len) != 8 * u64::from(self.header.count) {
            return Err(IndexError::Damaged);
        }
        let at = slot as usize * 8;
        let bits = Fields(&self.part(Kind::OrderKeys, at, at + 8)?).u64().ok_or(IndexError::Damaged)?;
        Ok(Some(Some(bits)))
    }

    /// The events whose provider's id has this hash, ascending.
    pub fn seqs_of_id(&self, id_hash: u32) -> Result<Vec<u64>, IndexError> {
        let slots = self.slots_of_id(id_hash)?;
        let first_seq = self.header.first_seq;
        if self.sections.get(Kind::Seqs).len == 0 {
            return Ok(slots.into_iter().map(|slot| first_seq.saturating_add(u64::from(slot))).collect());
        }
        let all = if slots.len() > FEW { self.seqs()? } else { None };
        let seq = |slot: u32| match &all {
            Some(all) => all.get(slot as usize).copied().ok_or(IndexError::Damaged),
            None => {
                let at = slot as usize * 4;
                Fields(&self.part(Kind::Seqs, at, at + 4)?).u32().ok_or(IndexError::Damaged)
            }
        };
        slots.into_iter().map(|slot| Ok(first_seq.saturating_add(u64::from(seq(slot)?)))).collect()
    }

    /// The slots of the events whose provider's id has this hash: the fence says on which page they begin.
    fn slots_of_id(&self, id_hash: u32) -> Result<Vec<u32>, IndexError> {
        let fence = self.whole(Kind::Fence)?;
        let fence = repeat(&fence, Fields::u32).ok_or(IndexError::Damaged)?;
        let len = self.sections.get(Kind::ById).len as usize;
        let first = fence.partition_point(|hash| *hash < id_hash).saturating_sub(1);
        let mut slots = Vec::new();
        for from in (first * pages::PAGE..len).step_by(pages::PAGE) {
            let page = self.part(Kind::ById, from, (from + pages::PAGE).min(len))?;
            let mut page = Fields(&page);
            while let (Some(hash), Some(slot)) = (page.u32(), page.u32()) {
                if hash > id_hash {
                    return Ok(slots);
                }
                if hash == id_hash {
                    if slot >= self.header.count {
                        return Err(IndexError::Damaged);
                    }
                    slots.push(slot);
                }
            }
        }
        Ok(slots)
    }

    /// Tells the blocks of progress, in order: where the record of each begins, and its payload. Those before a damage are
    /// told.
    pub fn progress(&self, each: &mut dyn FnMut(u32, &[u8])) -> Result<(), IndexError> {
        const PIECE: usize = pages::PAGE * pages::AT_ONCE;
        let len = self.sections.get(Kind::Progress).len as usize;
        let mut bytes = Vec::new();
        for from in (0..len).step_by(PIECE) {
            bytes.extend(self.part(Kind::Progress, from, (from + PIECE).min(len))?);
            let mut rest = Fields(&bytes);
            while let Some((offset, payload)) = block(&mut rest) {
                each(offset, payload);
            }
            let told = bytes.len() - rest.0.len();
            bytes.drain(..told);
        }
        if bytes.is_empty() { Ok(()) } else { Err(IndexError::Damaged) }
    }

    /// Ids without an event.
    pub fn ids(&self) -> Result<Vec<IdRow>, IndexError> {
        let ids = self.whole(Kind::Ids)?;
        let ids = repeat(&ids, |ids| {
            Some(IdRow { key: DedupeKey(ids.u128()?), id: id(ids)?, kept_at: Millis(ids.u64()?) })
        });
        ids.ok_or(IndexError::Damaged)
    }

    /// The segments that this one stands for.
    pub fn replaces(&self) -> Result<Vec<u32>, IndexError> {
        repeat(&self.whole(Kind::Replaces)?, Fields::u32).ok_or(IndexError::Damaged)
    }

    fn part(&self, kind: Kind, from: usize, to: usize) -> Result<Vec<u8>, IndexError> {
        pages::read(&self.file, &self.header, kind, self.sections.get(kind), from..to)
    }

    fn whole(&self, kind: Kind) -> Result<Vec<u8>, IndexError> {
        self.part(kind, 0, self.sections.get(kind).len as usize)
    }

    /// A section that has one item for each event, and how wide these are.
    fn column(&self, kind: Kind, widths: &[u8]) -> Result<(Vec<u8>, u8), IndexError> {
        let Section { len, width, .. } = self.sections.get(kind);
        if u64::from(len) != u64::from(width) * u64::from(self.header.count)
            || !(widths.contains(&width) || self.header.count == 0)
        {
            return Err(IndexError::Damaged);
        }
        Ok((self.whole(kind)?, width))
    }

    /// As [`Self::column`]; nothing where the section is not there.
    fn column_if_any(&self, kind: Kind, width: u8) -> Result<Vec<u8>, IndexError> {
        if self.sections.get(kind).len == 0 { Ok(Vec::new()) } else { Ok(self.column(kind, &[width])?.0) }
    }

    /// The events' numbers since the first; none where they are 0, 1, 2 …
    fn seqs(&self) -> Result<Option<Vec<u32>>, IndexError> {
        if self.sections.get(Kind::Seqs).len == 0 {
            return Ok(None);
        }
        let seqs = repeat(&self.column(Kind::Seqs, &[4])?.0, Fields::u32).ok_or(IndexError::Damaged)?;
        if !seqs.is_sorted_by(|a, b| a < b) {
            return Err(IndexError::Damaged);
        }
        Ok(Some(seqs))
    }
}

struct Columns {
    places: (Vec<u8>, u8),
    received: (Vec<u8>, u8),
    source: (Vec<u8>, u8),
    numbers: Vec<u8>,
    seqs: Option<Vec<u32>>,
    keyed: Vec<u8>,
    keys: Vec<u8>,
    classes: Vec<u8>,
    order_keys: Vec<u8>,
}

impl Columns {
    /// The rows, but for their aliases and the hashes of their ids.
    fn rows(&self, header: &Header) -> Option<Vec<Row>> {
        let numbers = repeat(&self.numbers, Fields::u32)?;
        let (mut places, mut keys) = (Fields(&self.places.0), Fields(&self.keys));
        let (mut received, mut source) = (Fields(&self.received.0), Fields(&self.source.0));
        let (mut classes, mut order_keys) = (Fields(&self.classes), Fields(&self.order_keys));
        let mut turn = || {
            let code = if self.classes.is_empty() { 0 } else { classes.u8()? };
            let key = if self.order_keys.is_empty() { 0 } else { order_keys.u64()? };
            Some(Turn { priority: class_of(code)?, order_key: OrderKey::from_bits(key) })
        };
        let has_key = |slot: u32| match self.keyed.as_slice() {
            [] => Some(!self.keys.is_empty()),
            bits => Some((bits.get(slot as usize / 8)? >> (slot % 8)) & 1 == 1),
        };
        let mut row = |slot: u32| {
            let seq = match &self.seqs {
                Some(seqs) => *seqs.get(slot as usize)?,
                None => slot,
            };
            let place = usize::try_from(source.of_width(self.source.1)?).ok()?;
            Some(Row {
                seq: header.first_seq.checked_add(u64::from(seq))?,
                offset: places.u32()?,
                len: places.u32()?,
                received: Millis(header.first_received.checked_add(received.of_width(self.received.1)?)?),
                source: *numbers.get(place)?,
                key: if has_key(slot)? { Some(DedupeKey(keys.u128()?)) } else { None },
                id_hash: None,
                alias: None,
                turn: turn()?,
            })
        };
        // A table that doubled would be half again as large while it does. It has as many as `places`, which was read.
        let mut rows = Vec::with_capacity(header.count as usize);
        for slot in 0..header.count {
            rows.push(row(slot)?);
        }
        Some(rows)
    }
}

/// All that `next` finds in `bytes`; nothing where it does not take them all.
fn repeat<'a, T>(bytes: &'a [u8], mut next: impl FnMut(&mut Fields<'a>) -> Option<T>) -> Option<Vec<T>> {
    let (mut fields, mut all) = (Fields(bytes), Vec::new());
    while !fields.0.is_empty() {
        all.push(next(&mut fields)?);
    }
    Some(all)
}

/// The next block of progress; nothing, and nothing taken, where it is not whole.
fn block<'a>(fields: &mut Fields<'a>) -> Option<(u32, &'a [u8])> {
    let mut rest = *fields;
    let (offset, len) = (rest.u32()?, rest.u32()?);
    let payload = rest.take(len as usize)?;
    *fields = rest;
    Some((offset, payload))
}

fn id(fields: &mut Fields<'_>) -> Option<EventId> {
    let (seq, at) = (fields.u64()?, fields.u64()?);
    Some(EventId::new(Millis(at), seq))
}

fn source(fields: &mut Fields<'_>) -> Option<Source> {
    let route = Arc::from(fields.text()?);
    let provider = match fields.clone().u32()? {
        u32::MAX => {
            fields.u32()?;
            None
        }
        _ => Some(Arc::from(fields.text()?)),
    };
    let count = fields.u32()? as usize;
    let lanes = repeat(fields.take(count.checked_mul(4)?)?, Fields::u32)?;
    Some(Source { route, provider, lanes: lanes.into_boxed_slice() })
}

/// Where each event's record is.
#[derive(Debug)]
pub(in crate::buffer) struct Offsets {
    first_seq: u64,
    /// Each event's number since the first, where these are not 0, 1, 2 …
    seqs: Option<Box<[u32]>>,
    places: Box<[(u32, u32)]>,
    /// Of each event, 0 where it has none; nothing where none has one.
    order_keys: Box<[u64]>,
}

impl Offsets {
    /// Where the record of `seq` begins, and how long it is.
    pub fn get(&self, seq: u64) -> Option<(u32, u32)> {
        self.places.get(self.slot(seq)?).copied()
    }

    /// The bits of the order key of `seq`, 0 for none; nothing where `seq` is not here.
    pub fn order_key(&self, seq: u64) -> Option<u64> {
        let slot = self.slot(seq).filter(|slot| *slot < self.places.len())?;
        Some(self.order_keys.get(slot).copied().unwrap_or(0))
    }

    fn slot(&self, seq: u64) -> Option<usize> {
        let since = u32::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        match &self.seqs {
            Some(seqs) => seqs.binary_search(&since).ok(),
            None => Some(since as usize),
        }
    }

    /// What it takes in memory.
    pub fn bytes(&self) -> usize {
        let seqs = self.seqs.as_deref().map_or(0, size_of_val);
        size_of::<Self>() + seqs + size_of_val(&*self.places) + size_of_val(&*self.order_keys)
    }
}
