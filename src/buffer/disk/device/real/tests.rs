use std::os::unix::fs::PermissionsExt;

use super::*;

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn its_folder_and_files_are_their_owners_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b/spool");
    let device = RealDevice::new(path.clone()).unwrap();
    device.create("x.log").unwrap();
    device.create("quarantine/y").unwrap();
    device.sync_folder().unwrap();
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&root.path().join("a")), 0o700);
    assert_eq!(mode(&path.join("x.log")), 0o600);
    assert_eq!(mode(&path.join("quarantine")), 0o700);
    // What is there already is taken as it is.
    RealDevice::new(path).unwrap().open("quarantine/y").unwrap();
}

#[test]
fn reads_and_writes_at_places() {
    let root = tempfile::tempdir().unwrap();
    let device = RealDevice::new(root.path().join("spool")).unwrap();
    let file = device.create("x").unwrap();
    file.write_at(b"abc", 5).unwrap();
    file.sync().unwrap();
    let mut buffer = [1; 10];
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 8);
    assert_eq!(buffer, *b"\0\0\0\0\0abc\x01\x01");
    assert_eq!(file.read_at(&mut buffer, 8).unwrap(), 0);
    assert_eq!(file.read_at(&mut buffer, 99).unwrap(), 0);
    assert_eq!(file.len().unwrap(), 8);
}

#[test]
fn fills_to_the_length_with_zeros() {
    let root = tempfile::tempdir().unwrap();
    let device = RealDevice::new(root.path().join("spool")).unwrap();
    let file = device.create("x").unwrap();
    let len = PIECE as u64 * 2 + 5;
    for (before, len) in [(3, len), (len + 9, len), (len, 7)] {
        file.write_at(&[7; 9], before).unwrap();
        file.fill(len, &|| before == 3).unwrap();
        let mut buffer = vec![1; len as usize];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap() as u64, len);
        assert!(buffer.iter().all(|byte| *byte == 0), "{len}");
        assert_eq!(file.len().unwrap(), len);
    }
    assert_eq!(device.take_written(), 3 * 9, "the zeros are not counted");
    assert_eq!(device.take_written(), 0);
}

#[test]
fn lists_files_alone() {
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    let device = RealDevice::new(root.path().to_path_buf()).unwrap();
    device.create("b").unwrap().write_at(b"12", 0).unwrap();
    device.create("a").unwrap();
    device.create("folder/c").unwrap();
    std::os::unix::fs::symlink("b", root.path().join("link")).unwrap();
    std::fs::write(root.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    let mut files = device.list().unwrap();
    files.sort();
    assert_eq!(files, [("a".to_owned(), 0), ("b".to_owned(), 2)]);
}

#[test]
fn names_are_made_moved_and_removed() {
    let root = tempfile::tempdir().unwrap();
    let device = RealDevice::new(root.path().to_path_buf()).unwrap();
    device.create("a").unwrap().write_at(b"of a", 0).unwrap();
    device.create("b").unwrap();
    assert_eq!(device.create("a").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(device.open("c").unwrap_err().kind(), ErrorKind::NotFound);
    device.rename("a", "b").unwrap();
    assert_eq!(device.list().unwrap(), [("b".to_owned(), 4)]);
    device.rename("b", "quarantine/b").unwrap();
    assert!(device.touched.lock().len() == 1);
    device.sync_folder().unwrap();
    assert!(device.touched.lock().is_empty());
    device.remove("quarantine/b").unwrap();
    assert_eq!(device.remove("quarantine/b").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn goes_on_after_short_and_interrupted_reads_and_not_after_an_error() {
    let mut answers = vec![Ok(2), Err(ErrorKind::Interrupted), Ok(1), Ok(0)].into_iter();
    let mut asked = Vec::new();
    let mut buffer = [0; 9];
    let read = read_whole(&mut buffer, 100, |rest, at| {
        asked.push((rest.len(), at));
        answers.next().unwrap().map_err(Into::into)
    });
    assert_eq!(read.unwrap(), 3);
    assert_eq!(asked, [(9, 100), (7, 102), (7, 102), (6, 103)]);
    assert_eq!(read_whole(&mut buffer, 0, |rest, _| Ok(rest.len())).unwrap(), 9);
    assert!(read_whole(&mut buffer, 0, |_, _| Err(ErrorKind::Other.into())).is_err());
}
