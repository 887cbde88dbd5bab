use super::*;

/// The end of the last segment is cut off at every byte of its last commit, which was never promised to stand whole; and
/// what stands behind the cut is once nothing, once what a former life of the file left there.
#[test]
fn a_tail_cut_at_every_byte_costs_what_it_cuts_and_is_no_damage() {
    for former in [None, Some(0xee)] {
        let rig = Rig::new();
        let kept: Vec<u64> = (0..3).map(|n| rig.keep(n, 60)).collect();
        let end_of = |rig: &Rig| rig.spool.all()[0].summary().end as usize;
        let start = end_of(&rig);
        let (third, fourth) = (rig.append(3, 60), rig.append(4, 60));
        rig.settle(kept[0], "a");
        rig.commit();
        let [third_end, fourth_end] = [third, fourth].map(|seq| {
            let (offset, len) = rig.spool.place_in(&rig.spool.all()[0], seq).unwrap().unwrap();
            (offset + len) as usize
        });
        let (end, whole) = (end_of(&rig), rig.disk.contents("0000000001.log").unwrap());
        assert!(start < third_end && third_end < fourth_end && fourth_end < end);
        drop(rig);
        for cut in start..=end {
            let mut bytes = whole[..cut].to_vec();
            if let Some(former) = former {
                bytes.resize(whole.len(), former);
            }
            let disk = FakeDevice::default();
            disk.set_contents("0000000001.log", &bytes);
            let rig = Rig::on(disk, options());
            let mut standing = kept.clone();
            standing.extend(
                [(third, third_end), (fourth, fourth_end)]
                    .iter()
                    .filter(|(_, end)| cut >= *end)
                    .map(|(seq, _)| seq),
            );
            assert_eq!(rig.told.seqs(), standing, "cut at {cut}");
            assert_eq!(rig.told.progress.len(), usize::from(cut == end), "cut at {cut}");
            assert_eq!(rig.spool.stats().corrupt_records, 0, "cut at {cut}");
            for seq in standing {
                rig.reads(seq, seq - kept[0], 60);
            }
            let next = rig.keep(9, 60);
            assert!(next > *rig.told.seqs().last().unwrap());
            rig.killed().reads(next, 9, 60);
        }
    }
}
