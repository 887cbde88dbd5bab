//! Reads what `strace -f -y` saw of a gateway: was each event on stable storage before its sender read 2xx, and the name of
//! its file in the folder, and that folder's in the one above?

use std::collections::HashMap;
use std::path::Path;

/// The system calls that the question needs, for `-e trace=`.
pub const CALLS: &str =
    "pwrite64,fdatasync,fsync,?rename,?renameat,?renameat2,?mkdir,?mkdirat,write,writev,sendto,sendmsg";

/// How the ids of the senders here begin; eight digits follow.
const ID: &str = "event-";
const ID_LENGTH: usize = ID.len() + 8;

/// What a trace shows.
#[derive(Debug, Default)]
pub struct Order {
    /// How many different events were acknowledged in it.
    pub acknowledged: usize,
    /// A sentence for each 2xx that came too early, and for each line that cannot be trusted.
    pub violations: Vec<String>,
}

/// A call that changes what is on the disk.
enum Call {
    /// These events were written to this file.
    Write { file: String, events: Vec<String> },
    /// A sync of this file that began at this line: it covers what was written before that.
    Sync { file: String, begun: usize },
    /// This file, or folder, got its name.
    Name { path: String },
}

#[derive(Default)]
struct Reader {
    /// By thread: calls that were seen to begin and not yet to end.
    unfinished: HashMap<u32, Call>,
    /// By event: to which files it was written, and at which line that had ended.
    written: HashMap<String, Vec<(String, usize)>>,
    /// By file or folder: at which line the last sync of it began that succeeded.
    synced: HashMap<String, usize>,
    /// By file or folder: at which line it had its name.
    named: HashMap<String, usize>,
}

/// Checks `trace`. `ids` has the provider's id by hooklatch's own, which is what a 2xx shows.
pub fn check<'a>(trace: impl Iterator<Item = &'a str>, ids: &HashMap<String, String>) -> Order {
    let (mut reader, mut order) = (Reader::default(), Order::default());
    let mut seen = std::collections::HashSet::new();
    for (number, line) in trace.enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let (Ok(thread), rest) = (thread.parse::<u32>(), rest.trim_start()) else { continue };
        if let Some(id) = acknowledged(rest) {
            match ids.get(&id) {
                None => order.violations.push(format!("line {number}: {id} was acknowledged to nobody")),
                Some(event) => {
                    seen.insert(event.clone());
                    order.violations.extend(reader.too_early(number, event));
                }
            }
        } else if is_cut(rest) {
            order.violations.push(format!("line {number}: strace cut what was written short"));
        } else {
            reader.read(number, thread, rest);
        }
    }
    order.acknowledged = seen.len();
    order
}

impl Reader {
    fn read(&mut self, number: usize, thread: u32, rest: &str) {
        if rest.starts_with("<... ") {
            if let (Some(call), true) = (self.unfinished.remove(&thread), succeeded(rest)) {
                self.end(number, call);
            }
            return;
        }
        let Some(call) = call(number, rest) else { return };
        if rest.ends_with("<unfinished ...>") {
            self.unfinished.insert(thread, call);
        } else if succeeded(rest) {
            self.end(number, call);
        }
    }

    fn end(&mut self, number: usize, call: Call) {
        match call {
            Call::Write { file, events } => {
                for event in events {
                    self.written.entry(event).or_default().push((file.clone(), number));
                }
            }
            Call::Sync { file, begun } => {
                let last = self.synced.entry(file).or_default();
                *last = begun.max(*last);
            }
            Call::Name { path } => {
                self.named.insert(path, number);
            }
        }
    }

    fn too_early(&self, number: usize, event: &str) -> Option<String> {
        let Some(places) = self.written.get(event) else {
            return Some(format!("line {number}: 2xx for {event}, which was not written"));
        };
        let synced = |(file, at): &(String, usize)| self.synced.get(file).is_some_and(|begun| begun > at);
        if !places.iter().any(synced) {
            return Some(format!("line {number}: 2xx for {event}, whose fdatasync had not returned"));
        }
        (!places.iter().any(|(file, _)| self.name_stands(file)))
            .then(|| format!("line {number}: 2xx for {event}, the name of whose file was not synced"))
    }

    /// Whether the file's name stands, and those of the folders above it that were made.
    fn name_stands(&self, file: &str) -> bool {
        let stands = |path: &Path| {
            let Some(made) = self.named.get(path.to_str().unwrap()) else { return true };
            let folder = path.parent().unwrap().to_str().unwrap();
            self.synced.get(folder).is_some_and(|begun| begun > made)
        };
        self.named.contains_key(file) && Path::new(file).ancestors().all(stands)
    }
}

/// hooklatch's id in an answer that is a 2xx.
fn acknowledged(rest: &str) -> Option<String> {
    let name = rest.split_once('(')?.0;
    if !matches!(name, "write" | "writev" | "sendto" | "sendmsg") {
        return None;
    }
    let text = rest.split_once('"')?.1;
    if !text.starts_with("HTTP/1.1 2") {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let at = lower.find("hooklatch-id: ")? + "hooklatch-id: ".len();
    Some(text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
}

/// Whether a string of this call stands there with an ellipsis.
fn is_cut(rest: &str) -> bool {
    rest.starts_with("pwrite64(") && rest.match_indices("\"...,").any(|(at, _)| !rest[..at].ends_with('\\'))
}

fn call(number: usize, rest: &str) -> Option<Call> {
    let (name, arguments) = rest.split_once('(')?;
    if name.starts_with("rename") || name.starts_with("mkdir") {
        // The new name is the last one.
        let path = arguments.split('"').skip(1).step_by(2).last()?;
        return Some(Call::Name { path: path.to_owned() });
    }
    let file = arguments.split_once('<')?.1.split_once('>')?.0.to_owned();
    match (name, file.ends_with(".log")) {
        ("pwrite64", true) => Some(Call::Write { file, events: events(arguments) }),
        ("fdatasync", true) | ("fsync", false) => Some(Call::Sync { file, begun: number }),
        _ => None,
    }
}

fn events(text: &str) -> Vec<String> {
    let found = text.match_indices(ID).filter_map(|(at, _)| text.get(at..at + ID_LENGTH));
    found.map(str::to_owned).collect()
}

fn succeeded(rest: &str) -> bool {
    let value = rest.rsplit_once(" = ").and_then(|(_, value)| value.split(' ').next());
    value.and_then(|value| value.parse::<i64>().ok()).is_some_and(|value| value >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: &str = r#"7 pwrite64(5</d/spool/1.log>, "\3\0event-00000001\0 \"...,\"", 99, 1024) = 99"#;
    const SYNC: &str = "7 fdatasync(5</d/spool/1.log>)          = 0";
    const ACK: &str =
        r#"8 sendto(9<socket:[1]>, "HTTP/1.1 200 OK\r\nHooklatch-Id: hl_0a\r\n\r\n{}", 50, 0, NULL, 0) = 50"#;

    const MADE: &str = "7 mkdir(\"/d/spool\", 0700) = 0";
    const MADE_STANDS: &str = "7 fsync(4</d>) = 0";
    const NAMED: &str = "7 rename(\"/d/spool/spare-0.log\", \"/d/spool/1.log\") = 0";
    const NAME_STANDS: &str = "7 fsync(4</d/spool>) = 0";

    fn violations(lines: &[&str]) -> usize {
        violations_after(&[MADE, MADE_STANDS, NAMED, NAME_STANDS], lines)
    }

    fn violations_after(before: &[&str], lines: &[&str]) -> usize {
        let ids = HashMap::from([("hl_0a".to_owned(), "event-00000001".to_owned())]);
        let order = check(before.iter().chain(lines).copied(), &ids);
        assert_eq!(order.acknowledged, 1, "{lines:#?}");
        order.violations.len()
    }

    #[test]
    fn written_synced_acknowledged_is_the_order() {
        assert_eq!(violations(&[WRITE, SYNC, ACK]), 0);
        let vectored = ACK.replace("sendto(9<socket:[1]>, ", "writev(9<socket:[1]>, [{iov_base=");
        assert_eq!(violations(&[WRITE, SYNC, &vectored]), 0);
        assert_eq!(violations(&[WRITE, SYNC, ACK, ACK]), 0, "a duplicate is acknowledged, too");
    }

    #[test]
    fn an_acknowledgement_before_the_sync_is_seen() {
        assert_eq!(violations(&[WRITE, ACK, SYNC]), 1);
        assert_eq!(violations(&[SYNC, WRITE, ACK]), 1, "the sync was of what came before");
        assert_eq!(violations(&[SYNC, ACK]), 1, "not written at all");
        assert_eq!(violations(&[WRITE, ACK]), 1);
    }

    #[test]
    fn a_name_that_is_not_synced_is_seen() {
        let after = |before: &[&str]| violations_after(before, &[WRITE, SYNC, ACK]);
        assert_eq!(after(&[NAMED, NAME_STANDS]), 0, "a folder that was there stands");
        assert_eq!(after(&[NAME_STANDS, NAMED]), 1, "the sync was of what came before");
        assert_eq!(after(&[NAMED]), 1);
        assert_eq!(after(&[NAMED, &NAME_STANDS.replace("spool>", "else>")]), 1);
        assert_eq!(after(&[NAMED, &NAME_STANDS.replace("= 0", "= -1 EIO (Input/output error)")]), 1);
        assert_eq!(after(&[MADE, NAMED, NAME_STANDS]), 1, "nor is that of its folder");
        assert_eq!(after(&[MADE, NAMED, NAME_STANDS, MADE_STANDS]), 0);
        assert_eq!(after(&[]), 1, "a file of no name");
    }

    #[test]
    fn a_sync_of_another_file_or_one_that_failed_does_not_count() {
        assert_eq!(violations(&[WRITE, &SYNC.replace("1.log", "2.log"), ACK]), 1);
        assert_eq!(
            violations(&[WRITE, &SYNC.replace("= 0", "= -1 EIO (Input/output error) (INJECTED)"), ACK]),
            1
        );
        assert_eq!(violations(&[&WRITE.replace("= 99", "= -1 EIO (Input/output error)"), SYNC, ACK]), 1);
        assert_eq!(
            violations(&[&WRITE.replace("1.log", "1.idx"), &SYNC.replace("1.log", "1.idx"), ACK]),
            1,
            "an index is no segment"
        );
    }

    #[test]
    fn calls_that_other_threads_interrupt_are_put_together() {
        let begun = "7 fdatasync(5</d/spool/1.log> <unfinished ...>";
        let ended = "7 <... fdatasync resumed>)              = 0";
        assert_eq!(violations(&[WRITE, begun, ended, ACK]), 0);
        assert_eq!(violations(&[WRITE, begun, ACK, ended]), 1, "it had begun, not returned");
        assert_eq!(violations(&[WRITE, begun, "6 <... fdatasync resumed>) = 0", ACK]), 1, "another thread's");
        assert_eq!(violations(&[begun, WRITE, ended, ACK]), 1, "it began before the write");
        let failed = ended.replace("= 0", "= -1 EIO (Input/output error)");
        assert_eq!(violations(&[WRITE, begun, &failed, ACK]), 1);
        let writes = WRITE.replace(" = 99", "").replace("1024)", "1024 <unfinished ...>");
        assert_eq!(violations(&[&writes, "7 <... pwrite64 resumed>) = 99", SYNC, ACK]), 0);
        assert_eq!(violations(&[&writes, SYNC, "7 <... pwrite64 resumed>) = 99", ACK]), 1);
    }

    #[test]
    fn what_cannot_be_read_is_a_violation() {
        let cut = WRITE.replace("\", 99", "\"..., 99");
        assert_eq!(violations(&[&cut, WRITE, SYNC, ACK]), 1);
        let order = check([NAMED, NAME_STANDS, WRITE, SYNC, ACK].into_iter(), &HashMap::new());
        assert_eq!((order.acknowledged, order.violations.len()), (0, 1), "nobody knows of hl_0a");
    }
}
