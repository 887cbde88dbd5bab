use std::collections::BTreeSet;

use super::stored::SECTOR;
use super::*;

fn all(n: u32) -> u32 {
    n - 1
}

fn none(_: u32) -> u32 {
    0
}

/// A different, but repeatable, choice each time.
fn by_seed(seed: u64) -> impl FnMut(u32) -> u32 {
    let mut state = State { seed, ..State::default() };
    move |n| state.any(u64::from(n)) as u32
}

/// A device with a durable file `x` of three sectors of zeros.
fn prepared() -> (FakeDevice, FakeFile) {
    let device = FakeDevice::default();
    let file = device.create("x").unwrap();
    file.fill(3 * SECTOR, &|| true).unwrap();
    device.sync_folder().unwrap();
    (device, file)
}

fn sectors(device: &FakeDevice) -> Vec<u8> {
    device.contents("x").unwrap().chunks(SECTOR as usize).map(|sector| sector[7]).collect()
}

#[test]
fn reads_see_what_was_written_and_a_power_loss_what_was_synced() {
    let (device, file) = prepared();
    file.write_at(&[1; 1536], 0).unwrap();
    file.sync().unwrap();
    file.write_at(&[2; 1536], 0).unwrap();
    let mut buffer = [0; 9];
    assert_eq!(file.read_at(&mut buffer, 1530).unwrap(), 6);
    assert_eq!(buffer, [2, 2, 2, 2, 2, 2, 0, 0, 0]);
    assert_eq!(file.read_at(&mut buffer, 9999).unwrap(), 0);
    device.crash(&mut none);
    assert_eq!(sectors(&device), [1, 1, 1]);
}

#[test]
fn any_set_of_sectors_survives_each_after_any_of_its_writes() {
    let mut seen = BTreeSet::new();
    for seed in 0..2000 {
        let (device, file) = prepared();
        file.write_at(&[1; 1024], 0).unwrap();
        file.write_at(&[2; 1024], 512).unwrap();
        device.crash(&mut by_seed(seed));
        seen.insert(sectors(&device));
    }
    let expected =
        [0, 1].iter().flat_map(|a| [0, 1, 2].iter().flat_map(move |b| [0, 2].map(|c| vec![*a, *b, c])));
    assert_eq!(seen, expected.collect());
}

#[test]
fn a_file_is_as_long_as_what_survives_of_it() {
    for (choice, len) in [(none as fn(u32) -> u32, 1536), (all, 1536 + 100)] {
        let (device, file) = prepared();
        file.write_at(&[1; 100], 1536).unwrap();
        assert_eq!(file.len().unwrap(), 1636);
        device.crash(&mut { choice });
        assert_eq!(device.contents("x").unwrap().len(), len);
    }
}

#[test]
fn the_first_steps_of_a_folder_survive_never_the_last_alone() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let (device, _) = prepared();
        device.create("y").unwrap();
        device.rename("x", "z").unwrap();
        device.remove("y").unwrap();
        device.crash(&mut by_seed(seed));
        seen.insert(device.list().unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>().concat());
    }
    assert_eq!(seen, ["x", "xy", "yz", "z"].map(str::to_owned).into());
}

#[test]
fn a_synced_folder_stays_and_its_files_may_be_empty() {
    let (device, _) = prepared();
    device.create("y").unwrap().write_at(b"abc", 0).unwrap();
    device.rename("y", "x").unwrap();
    device.sync_folder().unwrap();
    device.crash(&mut none);
    assert_eq!(device.list().unwrap(), [("x".to_owned(), 0)]);
}

#[test]
fn a_renamed_file_keeps_what_was_synced_before_and_what_it_replaced_is_gone() {
    let (device, x) = prepared();
    let y = device.create("y").unwrap();
    y.write_at(b"new", 0).unwrap();
    y.sync().unwrap();
    device.rename("y", "x").unwrap();
    // An open file outlives its name.
    x.write_at(b"old", 0).unwrap();
    assert_eq!(device.contents("x").unwrap(), b"new");
    device.crash(&mut none);
    assert_eq!(sectors(&device), [0, 0, 0], "the rename did not last");
}

#[test]
fn the_end_of_a_process_loses_nothing_and_syncs_nothing() {
    let (device, file) = prepared();
    file.write_at(&[1; 1536], 0).unwrap();
    device.create("y").unwrap();
    device.kill();
    assert!(file.write_at(&[2; 1536], 0).is_err(), "a dead process writes");
    assert_eq!(sectors(&device), [1, 1, 1]);
    assert_eq!(device.list().unwrap().len(), 2);
    device.crash(&mut none);
    assert_eq!(sectors(&device), [0, 0, 0]);
    assert_eq!(device.list().unwrap().len(), 1);
}

#[test]
fn the_kernel_writes_back_what_it_likes() {
    let mut seen = BTreeSet::new();
    for seed in 0..500 {
        let (device, file) = prepared();
        file.write_at(&[1; 1536], 0).unwrap();
        file.write_at(&[2; 512], 512).unwrap();
        device.create("y").unwrap();
        device.writeback(2, &mut by_seed(seed));
        assert_eq!(sectors(&device), [1, 2, 1], "as read");
        device.crash(&mut none);
        seen.insert((sectors(&device), device.list().unwrap().len()));
    }
    let two = [([1, 1, 0], 1), ([1, 0, 1], 1), ([0, 1, 1], 1), ([0, 2, 0], 1)];
    let one_and_the_name = [([1, 0, 0], 2), ([0, 1, 0], 2), ([0, 0, 1], 2)];
    let expected = two.into_iter().chain(one_and_the_name).map(|(sectors, names)| (sectors.to_vec(), names));
    assert_eq!(seen, expected.collect());
    // More than there is.
    let (device, file) = prepared();
    file.write_at(&[1; 1536], 0).unwrap();
    device.writeback(99, &mut none);
    device.crash(&mut none);
    assert_eq!(sectors(&device), [1, 1, 1]);
}

#[test]
fn what_a_failed_sync_left_is_read_and_lost() {
    let (device, file) = prepared();
    file.write_at(&[1; 512], 0).unwrap();
    device.fail_next(Op::Sync, 0, ErrorKind::Other);
    assert!(file.sync().is_err());
    file.write_at(&[2; 512], 512).unwrap();
    // It reports success, as kernels do.
    file.sync().unwrap();
    assert_eq!(sectors(&device), [1, 2, 0]);
    device.crash(&mut all);
    assert_eq!(sectors(&device), [0, 2, 0]);
}

#[test]
fn a_failed_write_leaves_any_first_part() {
    let mut lengths = BTreeSet::new();
    for seed in 0..300 {
        let (device, file) = prepared();
        device.seed(seed);
        device.fail_next(Op::Write, 1, ErrorKind::Other);
        file.write_at(&[1; 3], 0).unwrap();
        assert_eq!(file.write_at(&[2; 3], 8).unwrap_err().kind(), ErrorKind::Other);
        file.write_at(&[3; 3], 16).unwrap();
        let contents = device.contents("x").unwrap();
        assert_eq!((&contents[..3], &contents[16..19]), (&[1; 3][..], &[3; 3][..]));
        lengths.insert(contents[8..11].iter().take_while(|byte| **byte == 2).count());
    }
    assert_eq!(lengths, (0..=3).collect());
}

#[test]
fn each_operation_fails_when_it_is_told_to_and_without_effect() {
    let (device, file) = prepared();
    for op in [Op::Create, Op::Rename, Op::Remove, Op::SyncFolder, Op::Read] {
        device.fail_next(op, 0, ErrorKind::PermissionDenied);
    }
    assert_eq!(device.create("y").unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(device.rename("x", "y").unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(device.remove("x").unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(file.read_at(&mut [0], 0).unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(device.list().unwrap(), [("x".to_owned(), 1536)]);
    device.rename("x", "y").unwrap();
    assert!(device.sync_folder().is_err());
    device.crash(&mut none);
    assert_eq!(device.list().unwrap(), [("x".to_owned(), 1536)], "a failed sync made something last");
    device.fail_next(Op::Create, 0, ErrorKind::Other);
    device.heal();
    device.create("y").unwrap();
    assert_eq!(device.calls(Op::Create), 3);
    assert_eq!(device.calls(Op::SyncFolder), 2);
}

#[test]
fn a_full_disk_takes_what_it_has_room_for() {
    let (device, file) = prepared();
    device.set_capacity(Some(1536 + 10));
    let error = file.write_at(&[1; 20], 1530).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 1546);
    file.write_at(&[2; 20], 1500).unwrap();
    let more = device.create("y").unwrap();
    assert!(more.fill(1, &|| true).is_err());
    device.remove("x").unwrap();
    more.fill(1, &|| true).unwrap();
    device.set_capacity(None);
    more.write_at(&[1; 9999], 0).unwrap();
    assert_eq!(device.used(), 9999);
}

#[test]
fn a_forgotten_sync_is_success_and_nothing_else() {
    let (device, file) = prepared();
    device.forget_syncs(Op::Sync);
    file.write_at(&[1; 512], 0).unwrap();
    file.sync().unwrap();
    device.crash(&mut none);
    assert_eq!(sectors(&device), [0, 0, 0]);
    device.forget_syncs(Op::SyncFolder);
    device.rename("x", "y").unwrap();
    device.sync_folder().unwrap();
    device.crash(&mut none);
    assert_eq!(device.list().unwrap()[0].0, "x");
}

#[test]
fn a_filled_file_is_zeros_on_the_disk() {
    let (device, file) = prepared();
    file.write_at(&[1; 1536], 0).unwrap();
    file.fill(1000, &|| true).unwrap();
    device.crash(&mut all);
    assert_eq!(device.contents("x").unwrap(), vec![0; 1000]);
    let file = device.open("x").unwrap();
    file.write_at(&[1; 1536], 0).unwrap();
    file.fill(2000, &|| true).unwrap();
    device.crash(&mut none);
    assert_eq!(device.contents("x").unwrap(), vec![0; 2000]);
}

#[test]
fn names_and_lists_are_as_those_of_a_folder() {
    let (device, _) = prepared();
    assert_eq!(device.create("x").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(device.open("y").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(device.rename("y", "z").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(device.remove("y").unwrap_err().kind(), ErrorKind::NotFound);
    device.create("quarantine/y").unwrap();
    device.set_contents("w", b"foreign");
    assert_eq!(device.list().unwrap(), [("w".to_owned(), 7), ("x".to_owned(), 1536)]);
    device.crash(&mut none);
    assert_eq!(device.contents("w").unwrap(), b"foreign");
    assert_eq!(device.contents("quarantine/y"), None);
}
