use super::*;

#[test]
fn a_record_in_anothers_place_is_damage_and_not_the_other() {
    let rig = Rig::new();
    let seqs = [rig.append(1, 100), rig.append(2, 100)];
    rig.commit();
    let segment = Arc::clone(&rig.spool.all()[0]);
    let [first, second] = seqs.map(|seq| rig.spool.place_in(&segment, seq).unwrap().unwrap());
    assert_eq!(first.1, second.1);
    let records = [first, second].map(|(offset, len)| offset as usize..(offset + len) as usize);
    let name = log_name(segment.number());
    let mut log = rig.disk.contents(&name).unwrap();
    let [one, other] = records.clone().map(|place| log[place].to_vec());
    log[records[0].clone()].copy_from_slice(&other);
    log[records[1].clone()].copy_from_slice(&one);
    rig.disk.set_contents(&name, &log);
    for seq in seqs {
        assert!(matches!(rig.spool.read(seq), Read::Damaged { .. }), "event {seq}");
    }
    assert_eq!(rig.spool.stats().corrupt_records, 2);
}

#[test]
fn one_event_of_thousands_is_found_without_a_look_at_where_all_are() {
    let options = SpoolOptions { segment_bytes: 8 << 20, max_events_per_segment: 40_000, ..options() };
    let rig = Rig::on(FakeDevice::default(), options);
    let seqs: Vec<u64> = (0..30_000).map(|n| rig.append(n, 10)).collect();
    rig.commit();
    rig.spool.finish();
    let before = rig.disk.bytes_read();
    rig.reads(seqs[20_000], 20_000, 10);
    let read = rig.disk.bytes_read() - before;
    assert!(read < 100_000, "{read} bytes; the places of all are 240,000");
}
