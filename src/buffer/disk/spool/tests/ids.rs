use std::collections::HashMap;

use super::*;

/// After a kill, and after another one of a process that sealed what it found.
fn restarted(mut rig: Rig, options: &SpoolOptions, check: impl Fn(&Rig, &str)) {
    for how in ["not sealed", "sealed"] {
        if how == "sealed" {
            rig.spool.finish();
        }
        drop(rig.spool);
        rig.disk.kill();
        rig = Rig::on(rig.disk, options.clone());
        check(&rig, how);
    }
}

#[test]
fn no_number_is_given_again_where_no_id_is_remembered() {
    let options = SpoolOptions { remembered_ids: 0, ..options() };
    let rig = Rig::on(FakeDevice::default(), options.clone());
    let last = (0..9).map(|n| rig.keep(n, 100)).last().unwrap();
    restarted(rig, &options, |rig, how| {
        assert_eq!(rig.told.ids.len(), 0);
        assert_eq!(rig.append(99, 100), last + 1, "{how}");
    });
}

#[test]
fn events_without_an_id_take_no_id_s_place() {
    let options = SpoolOptions { remembered_ids: 5, ..options() };
    let rig = Rig::on(FakeDevice::default(), options.clone());
    for n in 0..5 {
        rig.keep(n, 100);
    }
    for n in 5..30 {
        rig.spool.append(&event(n, 100), rig.source, None, false);
        rig.commit();
    }
    restarted(rig, &options, |rig, how| assert_eq!(rig.told.ids.len(), 5, "{how}"));
}

#[test]
fn ids_are_told_with_their_age_and_not_when_that_is_over() {
    let rig = Rig::new();
    let (young, old) = (Millis(NOW.0 - 3_600_000), Millis(NOW.0 - 2 * 86_400_000));
    for (n, kept_at) in [(1, young), (2, old)] {
        rig.spool.remember(key(n), EventId::new(kept_at, n), kept_at);
    }
    rig.commit();
    let rig = rig.killed();
    assert_eq!(rig.told.ids, [(key(1), EventId::new(young, 1), young)]);
    rig.spool.finish();
    assert_eq!(rig.killed().told.ids, [(key(1), EventId::new(young, 1), young)]);
}

/// Two ids of one hash.
fn alike() -> [String; 2] {
    let mut known = HashMap::new();
    for n in 1_u64.. {
        let id = format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        if let Some(other) = known.insert(record::id_hash(&id), id.clone()) {
            return [other, id];
        }
    }
    unreachable!()
}

#[test]
fn a_look_up_by_id_finds_none_that_is_only_alike() {
    let rig = Rig::new();
    let ids = alike();
    let seqs = [0, 1].map(|n| {
        let named = Event { event_id: Some(ids[n].as_str().into()), ..event(n as u64, 50) };
        rig.spool.append(&named, rig.source, None, false).0
    });
    rig.commit();
    for _ in 0..2 {
        assert_eq!(ids.clone().map(|id| rig.spool.seqs_of_id(&id)), seqs.map(|seq| vec![seq]));
        rig.spool.finish();
    }
}
