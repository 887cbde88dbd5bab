use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use proptest::prelude::*;

use super::layout::HEAD;
use super::*;
use crate::buffer::disk::device::{Device, FakeDevice, FakeFile, Op};
use crate::event::{OrderKey, Priority};

const NAME: &str = "0000000007.idx";

/// Contents, and the blocks of progress.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    contents: Contents,
    progress: Vec<(u32, Bytes)>,
}

impl Deref for Said {
    type Target = Contents;

    fn deref(&self) -> &Contents {
        &self.contents
    }
}

impl DerefMut for Said {
    fn deref_mut(&mut self) -> &mut Contents {
        &mut self.contents
    }
}

fn open(device: &FakeDevice) -> Result<Index<FakeFile>, IndexError> {
    Index::open(device.open(NAME)?)
}

/// All that an index answers but what it says of single ids; nothing where it finds damage anywhere.
fn read(device: &FakeDevice) -> Result<Said, IndexError> {
    let index = open(device)?;
    let (lanes, sources) = index.names()?;
    let mut progress = Vec::new();
    index.progress(&mut |offset, payload| progress.push((offset, Bytes::copy_from_slice(payload))))?;
    let contents = Contents {
        number: index.number(),
        nonce: index.nonce(),
        first_seq: index.first_seq(),
        end: index.end(),
        rows: index.rows()?,
        ids: index.ids()?,
        lanes,
        sources,
        replaces: index.replaces()?,
    };
    Ok(Said { contents, progress })
}

fn write(device: &FakeDevice, said: &Said) -> Result<(), IndexError> {
    super::write(device, NAME, said, &mut |each| {
        said.progress.iter().for_each(|(offset, payload)| each(*offset, payload));
        Ok(())
    })
}

fn written(said: &Said) -> FakeDevice {
    let device = FakeDevice::default();
    write(&device, said).unwrap();
    device
}

fn row(seq: u64) -> Row {
    Row {
        seq,
        offset: 1024 + seq as u32 * 100,
        len: 100,
        received: Millis(1_768_473_000_000 + seq * 3),
        source: 3 + seq as u32 % 2,
        key: Some(DedupeKey(u128::from(seq) << 77 | 5)),
        id_hash: Some((seq as u32).wrapping_mul(2_654_435_761)),
        alias: None,
        turn: Turn::default(),
    }
}

fn dense(count: u64) -> Said {
    let source = |lanes: &[u32], provider: Option<&str>| Source {
        route: "github".into(),
        provider: provider.map(Arc::from),
        lanes: lanes.into(),
    };
    let contents = Contents {
        number: 7,
        nonce: 0xdead_beef,
        first_seq: 1000,
        end: 1 << 20,
        rows: (1000..1000 + count).map(row).collect(),
        ids: vec![IdRow { key: DedupeKey(9), id: EventId::new(Millis(77), 5), kept_at: Millis(78) }],
        lanes: vec![(0, "app".into()), (9, "mirror".into())],
        sources: vec![(3, source(&[0, 9], Some("stripe"))), (4, source(&[], None))],
        replaces: vec![3, 4],
    };
    Said { contents, progress: vec![(1024, Bytes::from_static(b"one block")), (4096, Bytes::new())] }
}

/// More progress than is read in one go, and in blocks of all lengths: also of more than that.
fn long() -> Said {
    let block = |n: u32| (n * 9000, Bytes::from(vec![n as u8; (n as usize * 1777) % 8200]));
    let mut said = dense(10);
    said.progress = (0..300).map(block).collect();
    said.progress.insert(100, (7, Bytes::from(vec![9; 700_000])));
    said
}

/// As after a merge: with holes, some ids of another making, some events without key or id, wide columns.
fn sparse(count: u64) -> Said {
    let mut contents = dense(count * 3);
    contents.rows.retain(|row| row.seq % 3 == 1);
    for row in &mut contents.rows {
        if row.seq % 2 == 0 {
            row.alias = Some(EventId::new(Millis(5), row.seq / 2));
            row.key = None;
        }
        if row.seq % 5 == 0 {
            row.id_hash = None;
        }
        row.source = row.seq as u32;
        row.turn.priority = Priority::ALL[row.seq as usize % 3];
        row.turn.order_key = OrderKey::from_bits(row.seq % 4);
    }
    if let Some(last) = contents.rows.last_mut() {
        last.received = Millis(u64::MAX);
    }
    contents
}

#[test]
fn says_what_was_written() {
    for contents in [dense(0), dense(1), dense(3000), sparse(1), sparse(1500), long(), Said::default()] {
        let device = written(&contents);
        assert_eq!(read(&device).unwrap(), contents);
        let index = open(&device).unwrap();
        assert_eq!(index.count() as usize, contents.rows.len());
        let received: BTreeSet<Millis> = contents.rows.iter().map(|row| row.received).collect();
        assert_eq!(index.first_received(), received.first().copied().unwrap_or_default());
        assert_eq!(index.last_received(), received.last().copied().unwrap_or_default());
        assert_eq!(device.list().unwrap().len(), 1, "the temporary file is gone");
    }
}

#[test]
fn finds_the_place_of_each_event_and_of_no_other() {
    let mut ordered = dense(600);
    ordered.rows.iter_mut().for_each(|row| row.turn.order_key = OrderKey::from_bits(row.seq % 7));
    for contents in [dense(600), sparse(600), ordered] {
        let index = open(&written(&contents)).unwrap();
        let offsets = index.offsets().unwrap();
        for row in &contents.rows {
            assert_eq!(offsets.get(row.seq), Some((row.offset, row.len)));
            let bits = row.turn.order_key.map_or(0, OrderKey::to_bits);
            assert_eq!(offsets.order_key(row.seq), Some(bits));
            let by_page = index.order_key(row.seq).unwrap();
            assert!(by_page == Some(Some(bits)) || (by_page.is_none() && row.seq % 3 == 1), "{by_page:?}");
        }
        let known: BTreeSet<u64> = contents.rows.iter().map(|row| row.seq).collect();
        for seq in (0..4000).chain([u64::MAX]).filter(|seq| !known.contains(seq)) {
            assert_eq!((offsets.get(seq), offsets.order_key(seq)), (None, None), "{seq}");
        }
        assert!(offsets.bytes() <= 20 * contents.rows.len() + 120, "{}", offsets.bytes());
    }
}

#[test]
fn finds_the_events_of_an_id_by_few_reads() {
    let mut contents = sparse(3000);
    let many: Vec<u64> = contents.rows.iter().map(|row| row.seq).filter(|seq| seq % 4 == 0).collect();
    for row in &mut contents.rows {
        if row.seq % 4 == 0 {
            row.id_hash = Some(0x8000_0000);
        }
    }
    let device = written(&contents);
    let index = open(&device).unwrap();
    assert_eq!(index.seqs_of_id(0x8000_0000).unwrap(), many, "over several pages");
    for row in contents.rows.iter().filter(|row| row.seq % 4 != 0) {
        let Some(hash) = row.id_hash else { continue };
        let before = device.calls(Op::Read);
        assert_eq!(index.seqs_of_id(hash).unwrap(), [row.seq]);
        assert!(device.calls(Op::Read) - before <= 4);
    }
    for hash in [0, 12_345, 0x7fff_ffff, 0x8000_0001, u32::MAX] {
        assert_eq!(index.seqs_of_id(hash).unwrap(), [0_u64; 0], "{hash}");
    }
}

#[test]
fn is_small_on_the_disk_and_in_memory() {
    let mut contents = dense(131_072);
    contents.progress.clear();
    let len = written(&contents).used();
    assert!(len <= 38 * 131_072, "{} bytes for an event", len as f64 / 131_072.0);
    // Where no event has an id of its provider, or a key.
    for row in &mut contents.rows {
        (row.key, row.id_hash) = (None, None);
    }
    let len = written(&contents).used();
    assert!(len <= 14 * 131_072, "{} bytes for an event", len as f64 / 131_072.0);
    assert!(size_of::<Index<std::fs::File>>() <= 1024);
}

#[test]
fn an_older_one_gives_way_only_when_the_new_one_stands() {
    for new in [sparse(300), long()] {
        gives_way(&dense(40), &new);
    }
}

fn gives_way(old: &Said, new: &Said) {
    for op in [Op::Create, Op::Write, Op::Sync, Op::Rename] {
        for after in 0..20 {
            let device = written(old);
            device.seed(u64::from(after));
            device.fail_next(op, after, ErrorKind::Other);
            let stands = write(&device, new).is_ok();
            if !stands {
                assert_eq!(device.list().unwrap().len(), 1, "{op:?} {after}: a part of a file is left");
            }
            device.sync_folder().unwrap();
            device.crash(&mut |n| n / 2);
            let expected = if stands { new } else { old };
            assert!(read(&device).unwrap() == *expected, "{op:?} {after}");
        }
    }
}

#[test]
fn what_a_process_left_half_made_is_in_nobodys_way() {
    let device = FakeDevice::default();
    device.set_contents(&format!("{NAME}.tmp"), b"half of something");
    write(&device, &dense(5)).unwrap();
    assert_eq!(read(&device).unwrap(), dense(5));
}

/// Whether a whole index is there after any power loss that follows the making of a second one, with its sync or without.
fn is_whole(synced: bool) -> bool {
    (0..50_u32).all(|seed| {
        let device = written(&dense(40));
        device.sync_folder().unwrap();
        if !synced {
            device.forget_syncs(Op::Sync);
        }
        write(&device, &sparse(300)).unwrap();
        let mut state = seed;
        device.crash(&mut |n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % n
        });
        read(&device).is_ok_and(|contents| contents == sparse(300) || contents == dense(40))
    })
}

#[test]
fn a_power_loss_leaves_a_whole_one_and_would_not_without_its_sync() {
    assert!(is_whole(true));
    assert!(!is_whole(false));
}

#[test]
fn refuses_what_no_segment_can_have() {
    let device = FakeDevice::default();
    let mut contents = dense(2);
    contents.rows.swap(0, 1);
    let refused = |contents: &Said| match write(&device, contents) {
        Err(IndexError::Io(error)) => error.kind() == ErrorKind::InvalidInput,
        _ => false,
    };
    assert!(refused(&contents));
    for seq in [999, 1000 + (1 << 32)] {
        contents.rows = vec![row(seq)];
        assert!(refused(&contents));
    }
    assert_eq!(device.list().unwrap(), []);
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let device = written(&dense(3));
    let mut bytes = device.contents(NAME).unwrap();
    bytes[8..10].copy_from_slice(&2_u16.to_le_bytes());
    device.set_contents(NAME, &bytes);
    assert!(matches!(open(&device), Err(IndexError::Damaged)));
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    device.set_contents(NAME, &bytes);
    assert!(matches!(open(&device), Err(IndexError::Newer { version: 2 })));
}

#[test]
fn pages_that_changed_places_are_damage() {
    let mut contents = dense(2000);
    contents.rows.iter_mut().for_each(|row| row.key = None);
    let device = written(&contents);
    let whole = device.contents(NAME).unwrap();
    // The first two pages of the first column, each with a CRC that is right for its bytes.
    let mut bytes = whole.clone();
    let page = pages::PAGE + 4;
    bytes[HEAD..HEAD + 2 * page].rotate_left(page);
    device.set_contents(NAME, &bytes);
    let index = open(&device).unwrap();
    assert!(matches!(index.offsets(), Err(IndexError::Damaged)));
    assert!(matches!(index.rows(), Err(IndexError::Damaged)));
    // A column of the same segment in its former life.
    contents.nonce += 1;
    let mut bytes = written(&contents).contents(NAME).unwrap();
    bytes[..HEAD].copy_from_slice(&whole[..HEAD]);
    device.set_contents(NAME, &bytes);
    assert!(matches!(open(&device).unwrap().offsets(), Err(IndexError::Damaged)));
}

#[test]
fn a_truncated_file_is_damage_at_every_length() {
    let device = written(&sparse(30));
    let bytes = device.contents(NAME).unwrap();
    for len in 0..bytes.len() {
        device.set_contents(NAME, &bytes[..len]);
        assert!(matches!(open(&device), Err(IndexError::Damaged)), "{len}");
    }
    // And one that grew.
    device.set_contents(NAME, &[bytes, vec![0]].concat());
    assert!(matches!(open(&device), Err(IndexError::Damaged)));
}

/// That `bytes` answer every question as `contents` do, or with "damaged".
fn damaged_or_the_same(bytes: &[u8], contents: &Said) {
    let device = FakeDevice::default();
    device.set_contents(NAME, bytes);
    match read(&device) {
        Ok(found) => assert_eq!(found, *contents),
        Err(IndexError::Damaged) => {}
        Err(other) => panic!("{other}"),
    }
    let Ok(index) = open(&device) else { return };
    if let Ok(offsets) = index.offsets() {
        assert!(contents.rows.iter().all(|row| offsets.get(row.seq) == Some((row.offset, row.len))));
    }
    for row in contents.rows.iter().step_by(7) {
        let Some(hash) = row.id_hash else { continue };
        if let Ok(seqs) = index.seqs_of_id(hash) {
            assert_eq!(seqs, [row.seq]);
        }
    }
}

#[test]
fn any_flipped_bit_is_damage_or_of_no_account() {
    let contents = sparse(20);
    let bytes = written(&contents).contents(NAME).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        damaged_or_the_same(&bytes, &contents);
    }
}

fn any_row() -> impl Strategy<Value = Row> {
    let received = prop_oneof![4 => 1_000_000_u64..2_000_000, 1 => any::<u64>()];
    let source = prop_oneof![4 => 0_u32..4, 1 => any::<u32>()];
    let (key, hash) = (prop::option::of(any::<u128>()), prop::option::of(0_u32..50));
    let alias = prop::option::of((any::<u64>(), any::<u64>()));
    let turn = (prop::sample::select(&Priority::ALL[..]), prop_oneof![Just(0), any::<u64>()]);
    let row = (any::<u32>(), any::<u32>(), received, source, key, hash, alias, turn);
    row.prop_map(|(offset, len, received, source, key, id_hash, alias, (priority, bits))| Row {
        seq: 0,
        offset,
        len,
        received: Millis(received),
        source,
        key: key.map(DedupeKey),
        id_hash,
        alias: alias.map(|(at, seq)| EventId::new(Millis(at), seq)),
        turn: Turn { priority, order_key: OrderKey::from_bits(bits) },
    })
}

fn any_source() -> impl Strategy<Value = Source> {
    ("\\PC{0,9}", prop::option::of("\\PC{0,9}"), prop::collection::vec(any::<u32>(), 0..4)).prop_map(
        |(route, provider, lanes)| Source {
            route: route.into(),
            provider: provider.map(Into::into),
            lanes: lanes.into(),
        },
    )
}

prop_compose! {
    fn any_contents()(
        header in any::<(u32, u32, u32)>(),
        first_seq in 0_u64..1 << 60,
        steps in prop_oneof![prop::collection::vec((Just(1_u64), any_row()), 0..1200),
                             prop::collection::vec((1_u64..4, any_row()), 0..1200)],
        ids in prop::collection::vec(any::<(u128, u64, u64, u64)>(), 0..9),
        progress in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..3000)), 0..9),
        lanes in prop::collection::vec((any::<u32>(), "\\PC{0,9}"), 0..4),
        sources in prop::collection::vec((any::<u32>(), any_source()), 0..4),
        replaces in prop::collection::vec(any::<u32>(), 0..4),
    ) -> Said {
        let mut seq = first_seq;
        let rows = steps.into_iter().map(|(step, row)| {
            let row = Row { seq, ..row };
            seq += step;
            row
        });
        let contents = Contents {
            number: header.0,
            nonce: header.1,
            first_seq,
            end: header.2,
            rows: rows.collect(),
            ids: ids
                .into_iter()
                .map(|(key, at, seq, kept)| IdRow {
                    key: DedupeKey(key),
                    id: EventId::new(Millis(at), seq),
                    kept_at: Millis(kept),
                })
                .collect(),
            lanes: lanes.into_iter().map(|(number, name)| (number, name.into())).collect(),
            sources,
            replaces,
        };
        let progress = progress.into_iter().map(|(offset, bytes)| (offset, bytes.into())).collect();
        Said { contents, progress }
    }
}

const WIDTHS: &[u8] = &[0, 1, 2, 4, 8, 16, 20, 40, 255];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn anything_comes_back_as_it_went(contents in any_contents()) {
        let device = written(&contents);
        prop_assert_eq!(&read(&device).unwrap(), &contents);
        let index = open(&device).unwrap();
        for hash in 0..50 {
            let rows = contents.rows.iter().filter(|row| row.id_hash == Some(hash));
            let seqs: Vec<u64> = rows.map(|row| row.seq).collect();
            prop_assert_eq!(index.seqs_of_id(hash).unwrap(), seqs);
        }
        let offsets = index.offsets().unwrap();
        for row in &contents.rows {
            prop_assert_eq!(offsets.get(row.seq), Some((row.offset, row.len)));
        }
    }

    #[test]
    fn nothing_that_was_overwritten_is_believed(
        at in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 1..600),
    ) {
        let contents = dense(900);
        let mut bytes = written(&contents).contents(NAME).unwrap();
        let at = at.index(bytes.len());
        for (to, from) in bytes[at..].iter_mut().zip(noise) {
            *to = from;
        }
        damaged_or_the_same(&bytes, &contents);
    }

    /// Bytes with every CRC right, as only an enemy makes them.
    #[test]
    fn no_bytes_are_a_panic(
        fields in any::<(u32, u32, u32, u64, u64, u64)>(),
        count in 0_u32..40,
        kinds in prop::collection::vec((0_u8..18, prop::sample::select(WIDTHS)), 0..12),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        small in any::<bool>(),
    ) {
        let header = layout::Header {
            number: fields.0, nonce: fields.1, end: fields.2,
            first_seq: fields.3, first_received: fields.4, last_received: fields.5, count,
        };
        let bytes: Vec<u8> = bytes.into_iter().map(|byte| if small { byte % 3 } else { byte }).collect();
        let (mut table, mut sections) = (Vec::new(), Vec::new());
        let all = [
            layout::Kind::Places, layout::Kind::Received, layout::Kind::Source, layout::Kind::Numbers,
            layout::Kind::Seqs, layout::Kind::Keyed, layout::Kind::Keys, layout::Kind::Aliases,
            layout::Kind::ById, layout::Kind::Fence, layout::Kind::Ids, layout::Kind::Progress,
            layout::Kind::Lanes, layout::Kind::Sources, layout::Kind::Replaces,
            layout::Kind::Classes, layout::Kind::OrderKeys,
        ];
        for (kind, width) in kinds {
            let kind = all[usize::from(kind) % all.len()];
            let len = (usize::from(width) * count as usize).min(bytes.len());
            table.push((kind, width, len as u32));
            let mut pages = pages::Pages::new(&header, kind, |piece: &[u8]| {
                sections.extend(piece);
                Ok::<_, ()>(())
            });
            pages.push(&bytes[..len]).unwrap();
            pages.finish().unwrap();
        }
        let device = FakeDevice::default();
        device.set_contents(NAME, &[layout::encode(&header, &table), sections].concat());
        if let Ok(index) = open(&device) {
            let _ = (index.rows(), index.names(), index.progress(&mut |_, _| {}), index.ids(), index.replaces());
            let _ = (index.order_key(0), index.order_key(header.first_seq), index.place(header.first_seq));
            let _ = (index.seqs_of_id(0), index.seqs_of_id(0x0101_0101), index.seqs_of_id(u32::MAX));
            if let Ok(offsets) = index.offsets() {
                let _ = (offsets.get(0), offsets.get(u64::MAX), offsets.get(header.first_seq));
                let _ = (offsets.order_key(0), offsets.order_key(header.first_seq));
            }
        }
    }
}
