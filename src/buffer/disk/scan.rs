//! A segment without an index is read from its start to its end: what is right is taken in, what is damaged is told, a
//! torn tail ends it.

use std::sync::Arc;

use super::index::{IdRow, Row};
use super::record::{self, Broken, Kind, Record, Resync, SegmentHeader};
use super::segment::Rows;
use super::source::Source;

/// What a scan found.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub rows: Rows,
    /// Where the last valid record ends.
    pub end: u32,
    /// Where damage begins and ends.
    pub damaged: Vec<(u32, u32)>,
}

/// Invalid bytes between records.
struct Hole {
    from: usize,
    to: usize,
    /// The commit of the last record before.
    after_commit: u32,
    /// The commit that the bytes claim to be of, as far as that can be believed.
    claims: Option<u32>,
}

/// Reads all of a segment's `bytes`.
pub(super) fn scan(header: &SegmentHeader, bytes: &[u8]) -> Scanned {
    let mut found = Scanned { end: record::HEADER as u32, ..Scanned::default() };
    let mut resync = Resync::new(bytes, header.nonce);
    let (mut at, mut commit) = (record::HEADER, 0);
    // Where the events of the last commit begin among the rows.
    let mut last_commit = 0;
    // Behind this nothing was ever written: no need to look for records there.
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut holes: Vec<Hole> = Vec::new();
    loop {
        let here = bytes.get(at..).unwrap_or_default();
        let valid = record::parse(here, header.nonce);
        let frame_says = match valid {
            Ok(record) => {
                let end = at + record.len_total;
                if record.commit > commit {
                    (commit, last_commit) = (record.commit, found.rows.rows.len());
                }
                if !take_in(&mut found.rows, header, at as u32, &record) {
                    // Its CRC is right, and yet it makes no sense: nothing that this code wrote.
                    found.damaged.push((at as u32, end as u32));
                }
                (at, found.end) = (end, end as u32);
                continue;
            }
            Err(Broken::End) => None,
            Err(Broken::Short | Broken::Crc | Broken::Kind) => here
                .get(13..16)
                .and_then(|bytes| bytes.try_into().ok())
                .map(|[a, b, c]: [u8; 3]| u32::from_le_bytes([a, b, c, 0])),
        };
        if at >= written {
            break;
        }
        let Some(next) = resync.next_valid(at + 1) else { break };
        holes.push(Hole { from: at, to: next, after_commit: commit, claims: frame_says });
        at = next;
    }
    // A hole within the last commit was never promised to anybody. What is of an earlier one was.
    let torn = |hole: &Hole| {
        hole.after_commit == commit
            || (hole.after_commit + 1 == commit && hole.claims != Some(hole.after_commit))
    };
    found
        .damaged
        .extend(holes.iter().filter(|hole| !torn(hole)).map(|hole| (hole.from as u32, hole.to as u32)));
    if found.rows.replaces.is_empty() {
        leave_out_torn(&mut found.rows, last_commit);
    }
    found.rows.rows.sort_by_key(|row| row.seq);
    found.rows.rows.dedup_by_key(|row| row.seq);
    found
}

/// Leaves out the events from `first` on, those of the last commit, that lost the names of their destinations: these stand
/// in the torn part, and nobody was promised anything.
fn leave_out_torn(rows: &mut Rows, first: usize) {
    let Rows { rows, sources, lanes, .. } = rows;
    let lane_is_named = |lane: &u32| lanes.iter().any(|(number, _)| number == lane);
    let is_named = |row: &Row| {
        let source = sources.iter().find(|(number, _)| *number == row.source);
        source.is_some_and(|(_, source)| source.lanes.iter().all(lane_is_named))
    };
    let last = rows.split_off(first.min(rows.len()));
    rows.extend(last.into_iter().filter(is_named));
}

/// Takes in one record; whether it made sense.
fn take_in(rows: &mut Rows, header: &SegmentHeader, offset: u32, record: &Record<'_>) -> bool {
    let payload = record.payload;
    match record.kind {
        Kind::Event => {
            let Ok(head) = record::decode_event_head(payload) else { return false };
            let Some(seq) = header.first_seq.checked_add(u64::from(record.seq)) else { return false };
            rows.rows.push(Row {
                seq,
                offset,
                len: record.len_total as u32,
                received: head.received,
                source: head.source,
                key: head.key,
                id_hash: head.event_id_hash,
                alias: head.alias,
                turn: head.turn,
            });
        }
        Kind::Progress => {
            if record::decode_progress(payload).is_err() {
                return false;
            }
            rows.progress.push((offset, record.len_total as u32));
        }
        Kind::Id => {
            let Ok((key, id, kept_at)) = record::decode_id(payload) else { return false };
            rows.ids.push(IdRow { key, id, kept_at });
        }
        Kind::Source => {
            let Ok((number, route, provider, mut lanes)) = record::decode_source(payload) else {
                return false;
            };
            lanes.sort_unstable();
            lanes.dedup();
            // Each stands twice.
            if !rows.sources.iter().any(|(known, _)| *known == number) {
                let (route, provider) = (Arc::from(route), provider.map(Arc::from));
                rows.sources.push((number, Source { route, provider, lanes: lanes.into() }));
            }
        }
        Kind::Lane => {
            let Ok((number, name)) = record::decode_lane(payload) else { return false };
            if !rows.lanes.iter().any(|(known, _)| *known == number) {
                rows.lanes.push((number, Arc::from(name)));
            }
        }
        Kind::Replaces => {
            let Ok(replaces) = record::decode_replaces(payload) else { return false };
            rows.replaces = replaces;
        }
    }
    true
}
