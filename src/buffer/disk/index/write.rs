//! How an index is made.

use std::collections::HashMap;
use std::io::{self, ErrorKind};

use super::layout::{self, HEAD, Header, Kind};
use super::pages::{self, Pages};
use super::{Blocks, Contents, IdRow, IndexError, Row};
use crate::buffer::disk::device::{Device, DeviceFile};
use crate::buffer::disk::record::class_code;
use crate::event::{EventId, OrderKey, Priority};

/// Makes the index `name`, in place of another one of that name. What fails, and a power loss, leave no file that is not
/// whole; whether the name stands after one is open: then the segment is scanned.
///
/// `progress` tells the blocks of progress. They may be most of a segment: none is held in memory.
pub(in crate::buffer) fn write<D: Device>(
    device: &D,
    name: &str,
    contents: &Contents,
    progress: Blocks<'_>,
) -> Result<(), IndexError> {
    let temporary = format!("{name}.tmp");
    let file = match device.create(&temporary) {
        // Left by a process that ended within this.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            device.remove(&temporary)?;
            device.create(&temporary)?
        }
        other => other?,
    };
    let stands = fill(&file, contents, progress).and_then(|()| {
        file.sync()?;
        Ok(device.rename(&temporary, name)?)
    });
    if stands.is_err() {
        // The next one of this name removes it otherwise.
        let _ = device.remove(&temporary);
    }
    stands
}

fn fill<F: DeviceFile>(file: &F, contents: &Contents, progress: Blocks<'_>) -> Result<(), IndexError> {
    let mut out = Sections { file, header: header(contents)?, at: HEAD as u64, table: Vec::new() };
    events(&mut out, &contents.rows)?;
    by_id(&mut out, &contents.rows)?;
    ids(&mut out, &contents.ids)?;
    out.blocks(progress)?;
    names(&mut out, contents)?;
    Ok(file.write_at(&layout::encode(&out.header, &out.table), 0)?)
}

fn header(contents: &Contents) -> io::Result<Header> {
    let rows = &contents.rows;
    if !rows.is_sorted_by(|a, b| a.seq < b.seq) {
        return Err(invalid("events out of order"));
    }
    let received = || rows.iter().map(|row| row.received.0);
    Ok(Header {
        number: contents.number,
        nonce: contents.nonce,
        end: contents.end,
        first_seq: contents.first_seq,
        first_received: received().min().unwrap_or(0),
        last_received: received().max().unwrap_or(0),
        count: u32::try_from(rows.len()).map_err(|_| invalid("too many events"))?,
    })
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, why)
}

struct Sections<'a, F> {
    file: &'a F,
    header: Header,
    at: u64,
    table: Vec<(Kind, u8, u32)>,
}

impl<F: DeviceFile> Sections<'_, F> {
    fn add(&mut self, kind: Kind, width: u8, bytes: &[u8]) -> io::Result<()> {
        self.stream(kind, width, |push| push(bytes))
    }

    /// A section, by the bytes that `fill` hands over.
    fn stream<E: From<io::Error>>(
        &mut self,
        kind: Kind,
        width: u8,
        fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (file, at, mut len) = (self.file, &mut self.at, 0_u64);
        let mut pages = Pages::new(&self.header, kind, |piece: &[u8]| {
            file.write_at(piece, *at)?;
            *at += piece.len() as u64;
            Ok::<_, io::Error>(())
        });
        fill(&mut |bytes| {
            len += bytes.len() as u64;
            pages.push(bytes)
        })?;
        pages.finish()?;
        if len > 0 {
            let len = u32::try_from(len).map_err(|_| invalid("too much for one section"))?;
            self.table.push((kind, width, len));
        }
        Ok(())
    }

    /// The blocks of progress, as they are told.
    fn blocks(&mut self, progress: Blocks<'_>) -> Result<(), IndexError> {
        self.stream(Kind::Progress, 0, |push| {
            let mut written = Ok(());
            progress(&mut |offset, payload| {
                if written.is_ok() {
                    written = block(offset, payload, push);
                }
            })?;
            Ok(written?)
        })
    }
}

fn block(offset: u32, payload: &[u8], push: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let len = u32::try_from(payload.len()).map_err(|_| invalid("too long"))?;
    push(&offset.to_le_bytes())?;
    push(&len.to_le_bytes())?;
    push(payload)
}

/// The columns.
fn events<F: DeviceFile>(out: &mut Sections<'_, F>, rows: &[Row]) -> io::Result<()> {
    let Header { first_seq, first_received, last_received, .. } = out.header;
    let places: Vec<u8> = rows.iter().flat_map(|row| pair(row.offset, row.len)).collect();
    out.add(Kind::Places, 8, &places)?;
    let width = if u32::try_from(last_received - first_received).is_ok() { 4 } else { 8 };
    let received = rows.iter().map(|row| row.received.0 - first_received);
    out.add(Kind::Received, width, &column(width, received))?;
    sources(out, rows)?;
    let seqs: Option<Vec<u32>> =
        rows.iter().map(|row| u32::try_from(row.seq.checked_sub(first_seq)?).ok()).collect();
    let seqs = seqs.ok_or_else(|| invalid("an event that is not of this segment"))?;
    if !seqs.iter().zip(0_u32..).all(|(seq, slot)| *seq == slot) {
        out.add(Kind::Seqs, 4, &column(4, seqs.iter().map(|seq| u64::from(*seq))))?;
    }
    keys(out, rows)?;
    turns(out, rows)?;
    let mut aliases = Vec::new();
    for (slot, alias) in (0_u32..).zip(rows).filter_map(|(slot, row)| Some((slot, row.alias?))) {
        aliases.extend(slot.to_le_bytes());
        aliases.extend(id(alias));
    }
    out.add(Kind::Aliases, 20, &aliases)
}

/// The sources are few: an event holds a place in the list of those that are met.
fn sources<F: DeviceFile>(out: &mut Sections<'_, F>, rows: &[Row]) -> io::Result<()> {
    let (mut numbers, mut places) = (Vec::new(), HashMap::new());
    let column_of: Vec<u64> = rows
        .iter()
        .map(|row| {
            *places.entry(row.source).or_insert_with(|| {
                numbers.push(u64::from(row.source));
                numbers.len() as u64 - 1
            })
        })
        .collect();
    let width = match numbers.len() {
        0..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        _ => 4,
    };
    out.add(Kind::Source, width, &column(width, column_of.into_iter()))?;
    out.add(Kind::Numbers, 4, &column(4, numbers.into_iter()))
}

fn keys<F: DeviceFile>(out: &mut Sections<'_, F>, rows: &[Row]) -> io::Result<()> {
    let keys: Vec<u8> = rows.iter().filter_map(|row| row.key).flat_map(|key| key.0.to_le_bytes()).collect();
    if !keys.is_empty() && keys.len() < rows.len() * 16 {
        let bits = rows.chunks(8).map(|eight| {
            eight.iter().zip(0_u8..).fold(0, |bits, (row, bit)| bits | (u8::from(row.key.is_some()) << bit))
        });
        out.add(Kind::Keyed, 0, &bits.collect::<Vec<u8>>())?;
    }
    out.add(Kind::Keys, 16, &keys)
}

/// Most segments have neither classes nor order keys.
fn turns<F: DeviceFile>(out: &mut Sections<'_, F>, rows: &[Row]) -> io::Result<()> {
    if rows.iter().any(|row| row.turn.priority != Priority::default()) {
        let classes: Vec<u8> = rows.iter().map(|row| class_code(row.turn.priority)).collect();
        out.add(Kind::Classes, 1, &classes)?;
    }
    if rows.iter().any(|row| row.turn.order_key.is_some()) {
        let keys = rows.iter().map(|row| row.turn.order_key.map_or(0, OrderKey::to_bits));
        out.add(Kind::OrderKeys, 8, &column(8, keys))?;
    }
    Ok(())
}

/// The way from a provider's id to its event.
fn by_id<F: DeviceFile>(out: &mut Sections<'_, F>, rows: &[Row]) -> io::Result<()> {
    let mut table: Vec<(u32, u32)> =
        (0_u32..).zip(rows).filter_map(|(slot, row)| Some((row.id_hash?, slot))).collect();
    table.sort_unstable();
    let fence = table.chunks(pages::PAGE / 8).filter_map(|page| page.first());
    let fence: Vec<u8> = fence.flat_map(|(hash, _)| hash.to_le_bytes()).collect();
    let table: Vec<u8> = table.into_iter().flat_map(|(hash, slot)| pair(hash, slot)).collect();
    out.add(Kind::ById, 8, &table)?;
    out.add(Kind::Fence, 4, &fence)
}

fn ids<F: DeviceFile>(out: &mut Sections<'_, F>, rows: &[IdRow]) -> io::Result<()> {
    let mut ids = Vec::with_capacity(rows.len() * 40);
    for row in rows {
        ids.extend(row.key.0.to_le_bytes());
        ids.extend(id(row.id));
        ids.extend(row.kept_at.0.to_le_bytes());
    }
    out.add(Kind::Ids, 40, &ids)
}

/// The names behind the segment's numbers, and what it stands for.
fn names<F: DeviceFile>(out: &mut Sections<'_, F>, contents: &Contents) -> io::Result<()> {
    let mut lanes = Vec::new();
    for (number, name) in &contents.lanes {
        lanes.extend(number.to_le_bytes());
        append(&mut lanes, name.as_bytes())?;
    }
    out.add(Kind::Lanes, 0, &lanes)?;
    let mut sources = Vec::new();
    for (number, source) in &contents.sources {
        sources.extend(number.to_le_bytes());
        append(&mut sources, source.route.as_bytes())?;
        match &source.provider {
            Some(provider) => append(&mut sources, provider.as_bytes())?,
            None => sources.extend(u32::MAX.to_le_bytes()),
        }
        let count = u32::try_from(source.lanes.len()).map_err(|_| invalid("too many destinations"))?;
        sources.extend(count.to_le_bytes());
        sources.extend(source.lanes.iter().flat_map(|lane| lane.to_le_bytes()));
    }
    out.add(Kind::Sources, 0, &sources)?;
    out.add(Kind::Replaces, 4, &column(4, contents.replaces.iter().map(|number| u64::from(*number))))
}

fn append(out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    let len = u32::try_from(bytes.len()).map_err(|_| invalid("too long"))?;
    out.extend(len.to_le_bytes());
    out.extend(bytes);
    Ok(())
}

fn column(width: u8, values: impl Iterator<Item = u64>) -> Vec<u8> {
    let width = usize::from(width);
    values.flat_map(|value| value.to_le_bytes().into_iter().take(width)).collect()
}

fn pair(a: u32, b: u32) -> impl Iterator<Item = u8> {
    a.to_le_bytes().into_iter().chain(b.to_le_bytes())
}

/// An id, as its time and number.
fn id(id: EventId) -> impl Iterator<Item = u8> {
    id.seq().to_le_bytes().into_iter().chain(id.at().0.to_le_bytes())
}
