//! What the fuzzer runs: every decoder on the same bytes.

use bytes::Bytes;

use super::{
    Kind, RECORD_HEADER, Record, SegmentHeader, begin, decode_event, decode_event_head, decode_id,
    decode_lane, decode_progress, decode_replaces, decode_source, encode_event, encode_progress, finish,
    next_valid, parse, seal,
};
use crate::buffer::disk::source::Source;

/// Takes `bytes` for a segment and for a payload of every kind; panics where what was read and written again reads
/// differently. For the fuzzer only.
#[doc(hidden)]
pub fn fuzz_record(bytes: &[u8]) {
    let _ = SegmentHeader::decode(bytes);
    let found = next_valid(bytes, 0, 0);
    if let Ok(Record { len_total, .. }) = parse(bytes, 0) {
        assert!(len_total > RECORD_HEADER && len_total <= bytes.len());
        assert_eq!(found, Some(0));
    }
    let _ = (decode_id(bytes), decode_source(bytes), decode_lane(bytes), decode_replaces(bytes));
    check_event(bytes);
    check_progress(bytes);
    check_frame(bytes);
}

fn check_event(bytes: &[u8]) {
    let source = Source { route: "r".into(), provider: None, lanes: Box::default() };
    let read = decode_event(Bytes::copy_from_slice(bytes), 7, &source);
    let Ok((event, head)) = read else {
        return;
    };
    assert_eq!(decode_event_head(bytes), Ok(head));
    let mut again = Vec::new();
    encode_event(&mut again, &event, head.source, head.key, head.alias.is_some());
    let again = decode_event(again.into(), 7, &source);
    assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, super::Malformed>((event, head))));
}

fn check_progress(bytes: &[u8]) {
    if let Ok(steps) = decode_progress(bytes) {
        let mut again = Vec::new();
        encode_progress(&mut again, &steps);
        assert_eq!(decode_progress(&again), Ok(steps));
    }
}

fn check_frame(bytes: &[u8]) {
    if !bytes.is_empty() {
        let mut record = Vec::new();
        let start = begin(&mut record);
        record.extend_from_slice(bytes);
        finish(&mut record, start, Kind::Id);
        seal(&mut record, 5, 6, 7);
        assert!(parse(&record, 5).is_ok_and(|record| record.payload == bytes));
    }
}
