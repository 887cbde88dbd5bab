//! What is read from the disk for a lane, and when.

use super::*;
use crate::buffer::keys::Entry;

/// So much of a backlog is looked at in one go where events may have to step aside.
const SIFTED: usize = 4096;
/// So many are read together with the next ones of keys, before their turn: else a key that many events have would cost a
/// read for each.
pub(super) const FOLLOWERS: usize = 64;

impl Lanes {
    /// Whether it is time to read for this lane: see [`Lanes::wanted`].
    pub fn wants_refill(&self, lane: u32, now: Millis) -> bool {
        self.lanes.get(lane as usize).is_some_and(|lane| self.class_to_refill(lane, now).is_some())
    }

    /// The first class of which a window is below its half while there is more, or the next one of a key is not there, or a
    /// retry is due.
    fn class_to_refill(&self, lane: &Lane, now: Millis) -> Option<Priority> {
        let wants = |track: &Track| self.wants_fresh(lane, track) || self.wants_retries(track, now);
        lane.tracks.iter().find(|(_, track)| wants(track)).map(|(class, _)| class)
    }

    /// Whether the next one of some key is on the disk: before the lane's task asks for more, somebody should read it.
    pub fn has_freed(&self, lane: u32) -> bool {
        self.lanes
            .get(lane as usize)
            .is_some_and(|lane| lane.tracks.iter().any(|(_, track)| !track.next.is_empty()))
    }

    fn wants_fresh(&self, lane: &Lane, track: &Track) -> bool {
        if track.reading > 0 || track.sifting {
            return false;
        }
        let Limits { window_events, window_bytes, windows_bytes } = self.limits;
        let room = track.fresh() == 0 || self.windows < windows_bytes;
        let full = track.fresh() >= window_events || track.fresh_bytes >= window_bytes;
        let low = track.fresh() < window_events / 2 && track.fresh_bytes < window_bytes / 2;
        let blocked = track.keyed && lane.keys.is_full();
        room && ((!full && !track.next.is_empty()) || (low && !blocked && !track.backlog.is_empty()))
    }

    fn wants_retries(&self, track: &Track, now: Millis) -> bool {
        let room = track.due.is_empty()
            || (track.due.len() < self.limits.window_events / 2
                && track.due_bytes < self.limits.window_bytes / 2
                && self.windows < self.limits.windows_bytes);
        room && track.reading_retries == 0 && track.retries.next_due().is_some_and(|due| due <= now)
    }

    /// What to read next for a lane, of one class. All of it is being read from here on, until [`Lanes::bring`]: that must
    /// come, whatever the reading brought.
    pub fn wanted(&mut self, lane: u32, now: Millis) -> Wanted {
        let limits = self.limits;
        let Some(at) = self.lanes.get(lane as usize) else { return Wanted::default() };
        let Some(class) = self.class_to_refill(at, now) else { return Wanted::default() };
        let track = at.tracks.get(class);
        let (wants_fresh, wants_retries) = (self.wants_fresh(at, track), self.wants_retries(track, now));
        let all = limits.windows_bytes.saturating_sub(self.windows);
        let mut wanted = Wanted {
            class,
            max_bytes: limits.window_bytes.saturating_sub(track.fresh_bytes).min(all),
            max_retry_bytes: limits.window_bytes.saturating_sub(track.due_bytes).min(all),
            ..Wanted::default()
        };
        let Some(lane) = self.lanes.get_mut(lane as usize) else { return wanted };
        if wants_fresh {
            let most = limits.most_fresh(lane.tracks.get(class), wanted.max_bytes);
            lane.want_fresh(&mut wanted, most);
        }
        let track = lane.tracks.get_mut(class);
        while wants_retries && track.due.len() + wanted.retries.len() < limits.window_events {
            let Some(Retry { due, seq, attempt, dying, at }) = track.retries.pop_due(now) else { break };
            if !track.waiting.remove(seq) {
                continue; // it was settled since
            }
            let stand = if dying { Stand::Ending } else { Stand::ReadingRetry(due) };
            track.reading_retries += usize::from(!dying);
            lane.near.insert(seq, Near { made: attempt, step: Some(at), ..Near::fresh(stand, class) });
            wanted.retries.push(WantedRetry { seq, at, attempt, dying });
        }
        wanted
    }

    /// The order keys of what was to be sifted, as far as they could be read: what is to be read of it, ascending. All others
    /// of them stay where they are, or step aside. Whether too many keys are held, which is news, comes with it.
    pub fn sift(
        &mut self,
        lane: u32,
        wanted: &Wanted,
        keys: Vec<(u64, Option<OrderKey>)>,
    ) -> (Vec<u64>, bool) {
        let limits = self.limits;
        let Some(lane) = self.lanes.get_mut(lane as usize) else { return Default::default() };
        let most = limits.most_fresh(lane.tracks.get(wanted.class), wanted.max_bytes);
        (lane.sift(wanted.class, keys, most), lane.keys.tell_refused())
    }

    /// What was read of one class, in the order in which it was wanted; a retry with the attempts made. What was wanted and
    /// does not come (it was too much, or the disk failed) goes back to where it was; what is damaged or gone is
    /// [`Lanes::lost`]. Wakes the lane.
    pub fn bring(&mut self, lane: u32, class: Priority, fresh: Vec<Ready>, retries: Vec<(Ready, u16)>) {
        let Some(lane) = self.lanes.get_mut(lane as usize) else { return };
        let bytes = |lane: &Lane| lane.tracks.get(class).fresh_bytes + lane.tracks.get(class).due_bytes;
        let before = bytes(lane);
        let any = !fresh.is_empty() || !retries.is_empty();
        for ready in fresh {
            let stand = lane.near.get(&ready.seq).map(|near| near.stand);
            let stand = match stand {
                Some(Stand::Reading) => Stand::Window,
                Some(Stand::ReadingNext) => Stand::Returned,
                _ => continue,
            };
            lane.tracks.get_mut(class).reading -= 1;
            lane.queue(stand, ready);
        }
        for (ready, made) in retries {
            let Some(near) = lane.near.get_mut(&ready.seq) else { continue };
            let Stand::ReadingRetry(due) = near.stand else { continue };
            let track = lane.tracks.get_mut(class);
            track.reading_retries -= 1;
            track.due_bytes += ready.in_memory();
            track.due.insert((due, ready.seq));
            (near.stand, near.made, near.ready) = (Stand::Ready(due), made, Some(ready));
        }
        self.windows += bytes(lane) - before;
        lane.give_back(|near| {
            let reading = matches!(near.stand, Stand::Reading | Stand::ReadingNext | Stand::ReadingRetry(_));
            reading && near.class == class
        });
        if any {
            lane.wake();
        }
        self.spill();
    }

    /// What of the followers was read: in memory it waits until its key is free. What finds no room is read again then.
    pub fn prefetched(&mut self, lane: u32, class: Priority, read: Vec<Ready>) {
        let Limits { window_bytes, windows_bytes, .. } = self.limits;
        let Some(lane) = self.lanes.get_mut(lane as usize) else { return };
        for ready in read {
            let bytes = ready.in_memory();
            let track = lane.tracks.get_mut(class);
            // A part of what windows may take: those that go first have the rest.
            let room = track.prefetched_bytes + bytes <= window_bytes / 4
                && self.windows + bytes <= windows_bytes / 2;
            if room && lane.keys.is_aside(ready.seq) && !track.prefetched.contains_key(&ready.seq) {
                track.prefetched_bytes += bytes;
                self.windows += bytes;
                track.prefetched.insert(ready.seq, ready);
            }
        }
    }

    /// What this lane has in memory and not in flight goes back to the disk.
    pub(super) fn shed(&mut self, lane: u32) {
        let Some(lane) = self.lanes.get_mut(lane as usize) else { return };
        for (_, track) in lane.tracks.iter_mut() {
            self.windows -= track.fresh_bytes + track.due_bytes + track.prefetched_bytes;
            (track.fresh_bytes, track.due_bytes, track.prefetched_bytes) = (0, 0, 0);
            track.prefetched.clear();
            track.window.clear();
            track.ahead.clear();
            track.returned.clear();
            track.due.clear();
        }
        lane.give_back(|near| {
            matches!(near.stand, Stand::Window | Stand::Ahead | Stand::Returned | Stand::Ready(_))
        });
    }

    /// Damaged, or gone: nothing can be sent, so it is settled everywhere.
    pub fn lost(&mut self, seq: u64, weight: u32, lanes_of: &[u32]) {
        for lane in lanes_of {
            self.release(seq, *lane, weight, lanes_of);
        }
    }
}

impl Limits {
    /// How many fresh events to read, where `max_bytes` may be.
    fn most_fresh(self, track: &Track, max_bytes: u64) -> usize {
        let most = usize::try_from(max_bytes / BESIDE).unwrap_or(usize::MAX).max(1);
        self.window_events.saturating_sub(track.fresh()).min(most)
    }
}

impl Lane {
    /// The next ones of their keys go first: they came before what nobody looked at.
    fn want_fresh(&mut self, wanted: &mut Wanted, most: usize) {
        let track = self.tracks.get_mut(wanted.class);
        let mut stand = Stand::ReadingNext;
        wanted.fresh = std::iter::from_fn(|| track.next.pop_first()).take(most).collect();
        // Where many keys go side by side, their next ones are read together anyway.
        let each = FOLLOWERS / wanted.fresh.len().max(1);
        let followers = wanted.fresh.iter().flat_map(|seq| self.keys.behind(*seq, each));
        wanted.followers = followers.filter(|seq| !track.prefetched.contains_key(seq)).collect();
        wanted.followers.sort_unstable();
        if wanted.fresh.is_empty() && track.keyed {
            wanted.sift = track.backlog.first_few(SIFTED);
            track.sifting = !wanted.sift.is_empty();
            return;
        }
        if wanted.fresh.is_empty() {
            wanted.fresh = track.backlog.take_first(most);
            stand = Stand::Reading;
        }
        track.reading = wanted.fresh.len();
        let read = wanted.fresh.iter().map(|seq| (*seq, Near::fresh(stand, wanted.class)));
        self.near.extend(read);
    }

    fn sift(&mut self, class: Priority, keys: Vec<(u64, Option<OrderKey>)>, most: usize) -> Vec<u64> {
        let track = self.tracks.get_mut(class);
        track.sifting = false;
        let mut fresh = Vec::new();
        for (seq, key) in keys {
            if fresh.len() >= most {
                break;
            }
            if !track.backlog.contains(seq) {
                continue; // settled, or lost, since
            }
            match key.map_or(Entry::Next, |key| self.keys.enter(key, class, seq)) {
                Entry::Full => break,
                Entry::Aside => {}
                Entry::Next => fresh.push(seq),
            }
            track.backlog.remove(seq);
        }
        track.reading += fresh.len();
        self.near.extend(fresh.iter().map(|seq| (*seq, Near::fresh(Stand::Reading, class))));
        fresh
    }

    /// Those near that stand so go back to the disk: to the retries, where a `Deferred` of theirs stands; where one is the
    /// next of its key, to those; else to the backlog.
    fn give_back(&mut self, which: impl Fn(&Near) -> bool) {
        let back: Vec<u64> = self.near.iter().filter(|(_, near)| which(near)).map(|(seq, _)| *seq).collect();
        for seq in back {
            let Some(near) = self.near.remove(&seq) else { continue };
            let track = self.tracks.get_mut(near.class);
            match near.stand {
                Stand::Reading | Stand::ReadingNext => track.reading -= 1,
                Stand::ReadingRetry(_) => track.reading_retries -= 1,
                _ => {}
            }
            let due = match near.stand {
                Stand::ReadingRetry(due) | Stand::Ready(due) => due,
                _ => Millis(0),
            };
            match near.step {
                Some(at) => {
                    self.wait(near.class, &Retry { due, seq, attempt: near.made, dying: false, at });
                }
                None if self.keys.holds(seq) => drop(track.next.insert(seq)),
                None => drop(track.backlog.insert(seq)),
            }
        }
    }
}
