mod budget;
mod payloads;
mod resync;
mod samples;

use super::*;
use proptest::prelude::*;
use samples::sealed;

const OPENED: SegmentHeader =
    SegmentHeader { number: 123, nonce: 0xdead_beef, first_seq: 1 << 40, opened: Millis(1_768_473_000_123) };

#[test]
fn a_header_reads_back_from_either_copy() {
    let header = OPENED.encode();
    assert_eq!(SegmentHeader::decode(&header), Ok(OPENED));
    for copy in [0, SECOND_COPY] {
        for bit in 0..HEADER_BYTES * 8 {
            let mut damaged = header;
            damaged[copy + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&damaged), Ok(OPENED), "bit {bit} of the copy at {copy}");
            damaged[SECOND_COPY - copy + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&damaged), Err(NotAHeader::Invalid), "bit {bit} of both");
        }
    }
}

#[test]
fn what_is_no_header_is_told_from_what_is_newer() {
    for bytes in [&[][..], &[0; HEADER], &[0xff; HEADER], &OPENED.encode()[..HEADER_BYTES - 1]] {
        assert_eq!(SegmentHeader::decode(bytes), Err(NotAHeader::Invalid));
    }
    let mut newer = OPENED.encode();
    newer[8] = VERSION as u8 + 1;
    let crc = crc32c::crc32c(&newer[..HEADER_BYTES - 4]);
    newer[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(SegmentHeader::decode(&newer), Err(NotAHeader::Newer { version: VERSION + 1 }));
    // Its first copy damaged, it is not an older one's either.
    newer[0] ^= 1;
    newer.copy_within(SECOND_COPY.., 0);
    assert_eq!(SegmentHeader::decode(&newer), Ok(OPENED));
}

#[test]
fn the_frame_stands_on_disks_as_it_always_stood() {
    let header = hex::encode(&OPENED.encode()[..HEADER_BYTES]);
    assert_eq!(header, "686c73706f6f6c00030000007b000000efbeadde0000000000010000bb7834c19b0100005c221689");
    let record = hex::encode(sealed(Kind::Lane, b"\x01\x03app", 9, 0x0102_0304, 0x00a0_b0c0));
    assert_eq!(record, "050000007f4787a10403020105c0b0a00103617070");
}

#[test]
fn a_record_says_what_it_was_sealed_with() {
    let mut log = sealed(Kind::Progress, b"steps", 9, 70_000, 0xff_ffff);
    log.extend_from_slice(&sealed(Kind::Event, b"e", 9, 70_001, 0));
    let first = parse(&log, 9).unwrap();
    let expected =
        Record { len_total: 21, seq: 70_000, commit: 0xff_ffff, kind: Kind::Progress, payload: b"steps" };
    assert_eq!(first, expected);
    let second = parse(&log[first.len_total..], 9).unwrap();
    assert_eq!((second.seq, second.commit, second.kind, second.payload), (70_001, 0, Kind::Event, &b"e"[..]));
    assert_eq!(parse(&log[first.len_total + second.len_total..], 9), Err(Broken::End));
}

#[test]
fn what_is_no_record_is_told_apart() {
    let record = sealed(Kind::Id, b"payload", 9, 1, 2);
    for len in 0..record.len() {
        let expected = if len < RECORD_HEADER { Broken::End } else { Broken::Short };
        assert_eq!(parse(&record[..len], 9), Err(expected), "cut to {len}");
    }
    assert_eq!(parse(&[0; 100], 9), Err(Broken::End));
    for nonce in [0, 8, 10, u32::MAX] {
        assert_eq!(parse(&record, nonce), Err(Broken::Crc), "nonce {nonce}");
    }
    let mut unknown = record;
    for kind in [0, 7, 255] {
        unknown[12] = kind;
        seal(&mut unknown, 9, 1, 2);
        assert_eq!(parse(&unknown, 9), Err(Broken::Kind));
    }
}

#[test]
fn every_single_bit_counts() {
    for kind in [Kind::Event, Kind::Progress, Kind::Id, Kind::Source, Kind::Lane, Kind::Replaces] {
        let record = sealed(kind, b"some payload of some length", 9, 0x1234, 0x56);
        // More of the log follows, so that a longer record would find its bytes.
        let log = [&record[..], &sealed(Kind::Event, &[0xa5; 70_000], 9, 0x1235, 0x56)].concat();
        assert!(parse(&log, 9).is_ok());
        for bit in 0..record.len() * 8 {
            let mut flipped = log.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&flipped, 9).is_err(), "bit {bit} of a {kind:?}");
        }
    }
}

proptest! {
    #[test]
    fn a_record_reads_back_and_no_other_does(
        payload in proptest::collection::vec(any::<u8>(), 1..300),
        kind in samples::kind(),
        (nonce, seq, commit) in (any::<u32>(), any::<u32>(), 0u32..1 << 24),
        other in 1u32..,
        flip in any::<prop::sample::Index>(),
    ) {
        let mut record = sealed(kind, &payload, nonce, seq, commit);
        let read = Record { len_total: record.len(), seq, commit, kind, payload: &payload };
        prop_assert_eq!(parse(&record, nonce), Ok(read));
        prop_assert_eq!(parse(&record, nonce ^ other), Err(Broken::Crc));
        let bit = flip.index(record.len() * 8);
        record[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(parse(&record, nonce).is_err());
    }
}
