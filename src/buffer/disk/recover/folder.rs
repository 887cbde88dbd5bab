//! Which of the folder's files are whose.

use std::collections::BTreeSet;

use super::super::device::Device;
use super::super::ports::OpenError;

/// The numbers of what is in the folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub logs: BTreeSet<u32>,
    pub indexes: BTreeSet<u32>,
    pub ids: BTreeSet<u32>,
    pub spares: BTreeSet<u64>,
}

impl Folder {
    /// The highest number of a segment that is or was.
    pub fn highest(&self) -> Option<u32> {
        self.logs.last().max(self.indexes.last()).max(self.ids.last()).copied()
    }
}

/// Lists the folder. What was begun and not finished is removed, what is not ours is left alone.
pub(super) fn list<D: Device>(device: &D) -> Result<Folder, OpenError> {
    let files =
        device.list().map_err(|error| OpenError(format!("the spool's folder cannot be read: {error}")))?;
    let mut folder = Folder::default();
    for (name, _) in files {
        let ours = match name.split_once('.') {
            Some((number, "log")) if number.starts_with("spare-") => {
                let number = number.strip_prefix("spare-").unwrap_or_default();
                number.parse().is_ok_and(|number: u64| {
                    format!("spare-{number}.log") == name && folder.spares.insert(number)
                })
            }
            Some((number, "log")) => numbered(number).is_some_and(|number| folder.logs.insert(number)),
            Some((number, "idx")) => numbered(number).is_some_and(|number| folder.indexes.insert(number)),
            Some((number, "ids")) => numbered(number).is_some_and(|number| folder.ids.insert(number)),
            Some((number, "idx.tmp")) if numbered(number).is_some() => {
                if let Err(error) = device.remove(&name) {
                    tracing::warn!(file = name, "it cannot be removed: {error}");
                }
                true
            }
            _ => false,
        };
        if !ours {
            tracing::warn!(file = name, "a file in the spool's folder is not hooklatch's; it is left alone");
        }
    }
    Ok(folder)
}

/// The number of a segment as it stands in names: ten digits.
fn numbered(text: &str) -> Option<u32> {
    let number = text.parse().ok()?;
    (format!("{number:010}") == text).then_some(number)
}
