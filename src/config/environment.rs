//! What the defaults take from the machine: the memory limit and the folder systemd gave.

use std::path::{Path, PathBuf};

use crate::buffer::BufferOptions;

/// The machine as the defaults see it; tests make their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The memory limit of this process's control group, in bytes; `None` = none.
    pub memory_limit: Option<u64>,
    /// `$STATE_DIRECTORY`, which systemd sets for `StateDirectory=`.
    pub state_directory: Option<PathBuf>,
    /// On what kind of file system the folder lies that is taken where `buffer.path` is not set, if that is one that
    /// forgets: its name.
    pub default_folder_forgets: Option<&'static str>,
}

impl Environment {
    /// As this process finds it.
    #[must_use]
    pub fn of_process() -> Self {
        let state = std::env::var_os("STATE_DIRECTORY").filter(|value| !value.is_empty());
        // Several are parted by colons (systemd.exec(5)); the first is ours.
        let state = state.map(|value| {
            let text = value.to_string_lossy().into_owned();
            PathBuf::from(text.split(':').next().unwrap_or(&text))
        });
        let default_folder = state.clone().unwrap_or_else(|| BufferOptions::default().path);
        Self {
            memory_limit: memory_limit(Path::new("/")),
            state_directory: state,
            default_folder_forgets: forgetful_file_system(&default_folder),
        }
    }

    /// `wanted` bytes, but at most a quarter of the memory limit, and at least `least`.
    pub(super) fn share(&self, wanted: u64, least: u64) -> u64 {
        self.memory_limit.map_or(wanted, |limit| wanted.min(limit / 4)).max(least)
    }
}

/// The smallest memory limit among this process's control group and those above it, of either version.
///
/// Version 2 says `max` where there is none, version 1 a number close to `i64::MAX` (cgroup-v2.rst, memory.rst of the
/// kernel's documentation). Inside a container the group's own path may lie outside what is mounted: then the mount's
/// root is the container's.
fn memory_limit(root: &Path) -> Option<u64> {
    const NO_LIMIT: u64 = 1 << 60;
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (mount, file) = if controllers.is_empty() {
            ("sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let mount = root.join(mount);
        let folder = mount.join(group.trim_start_matches('/'));
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(&mount)) {
            let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
            if let Some(limit) = text.trim().parse::<u64>().ok().filter(|limit| *limit < NO_LIMIT) {
                least = Some(least.map_or(limit, |least| least.min(limit)));
            }
        }
    }
    least
}

/// On what kind of file system `path` (or what exists of it) lies, where that is one that forgets: its name.
pub(super) fn forgetful_file_system(path: &Path) -> Option<&'static str> {
    // Of statfs(2).
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    const OVERLAY: i64 = 0x794c_7630;
    let absolute = std::path::absolute(path).ok()?;
    let kind = absolute.ancestors().find_map(|folder| rustix::fs::statfs(folder).ok())?.f_type;
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs between platforms")]
    match kind as i64 {
        TMPFS => Some("tmpfs"),
        RAMFS => Some("ramfs"),
        OVERLAY => Some("a container's overlay"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        memory_limit(root.path())
    }

    #[test]
    fn version_2_takes_the_smallest_limit_on_the_way_up() {
        let own = ("proc/self/cgroup", "0::/a/b\n");
        assert_eq!(
            machine(&[
                own,
                ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                ("sys/fs/cgroup/a/memory.max", "1073741824\n")
            ]),
            Some(1 << 30)
        );
        assert_eq!(machine(&[own, ("sys/fs/cgroup/a/b/memory.max", "max\n")]), None);
    }

    #[test]
    fn version_1_and_a_container_whose_group_is_not_mounted() {
        let own = ("proc/self/cgroup", "5:cpu:/\n4:memory:/docker/x\n0::/\n");
        let file = "sys/fs/cgroup/memory/memory.limit_in_bytes";
        assert_eq!(machine(&[own, (file, "536870912\n")]), Some(512 << 20));
        assert_eq!(machine(&[own, (file, "9223372036854771712\n")]), None);
        assert_eq!(machine(&[("proc/self/cgroup", "nonsense"), (file, "1")]), None);
        assert_eq!(machine(&[]), None);
    }

    #[test]
    fn a_share_is_at_most_a_quarter() {
        let machine = |limit| Environment { memory_limit: limit, ..Environment::default() };
        assert_eq!(machine(None).share(256 << 20, 1), 256 << 20);
        assert_eq!(machine(Some(512 << 20)).share(256 << 20, 1), 128 << 20);
        assert_eq!(machine(Some(8 << 20)).share(256 << 20, 4 << 20), 4 << 20);
    }

    #[test]
    fn memory_file_systems_are_recognised() {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        if mounts.lines().any(|line| line.split(' ').skip(1).take(2).eq(["/dev/shm", "tmpfs"])) {
            assert_eq!(forgetful_file_system(Path::new("/dev/shm/hooklatch-none/x")), Some("tmpfs"));
        }
        assert_eq!(forgetful_file_system(Path::new("/proc/none")), None);
    }
}
