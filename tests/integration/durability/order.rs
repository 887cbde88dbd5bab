//! No 2xx leaves before the `fdatasync` of its event's segment returned: seen from outside, by strace.

use std::collections::HashSet;

use super::ledger::{Ledger, Mood};
use super::sender::{Book, Load, Plan};
use super::trace::{self, Order};
use super::{Chance, DRAINED, SMALL, ended, in_front_of, tracer};
use crate::harness::wait_until;

const EVENTS: u64 = 1000;

/// Sends events to a gateway on `store` and gives what its senders noted and what strace saw.
fn traced(store: &'static str, events: u64) -> (Book, Order) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    // With -D the gateway is our child and strace its tracer: signals go where they belong. Writes are shown whole.
    let (calls, out) = (format!("trace={}", trace::CALLS), file.display().to_string());
    let strace = ["strace", "-D", "-f", "-y", "-s", "16777216", "-e", &calls, "-o", &out];
    let app = Ledger::start(Mood::Answers(0));
    let mut gateway = in_front_of(&app, SMALL).store(store).under(&strace).start();
    let (_, seed) = Chance::of_this_run();
    let plan = Plan { events, rate: 100_000, body: 100..=400, ..Plan::new(seed) };
    let book = Load::start(plan, gateway.address()).finish();
    let strace = tracer(gateway.pid()).expect("strace watches");
    gateway.kill();
    wait_until("strace has written everything", DRAINED, || ended(strace));
    let bytes = std::fs::read(&file).unwrap();
    let text = String::from_utf8(bytes).expect("strace escapes what is not ASCII");
    let order = trace::check(text.lines(), &book.ids);
    (book, order)
}

#[test]
fn no_2xx_leaves_before_its_event_is_on_stable_storage() {
    let (book, order) = traced("disk", EVENTS);
    assert_eq!(book.acked() as u64, EVENTS, "{:?}", book.answers);
    assert_eq!(order.violations, Vec::<String>::new());
    assert_eq!(order.acknowledged as u64, EVENTS, "strace did not see every 2xx");
}

#[test]
fn a_store_in_memory_acknowledges_before_anything_is_on_stable_storage() {
    // The same reading of a trace of the store that writes nothing: a proof that it can fail.
    let (book, order) = traced("memory", 50);
    assert_eq!((book.acked(), order.acknowledged), (50, 50));
    let told: HashSet<_> = order.violations.iter().collect();
    assert_eq!(told.len(), 50, "{told:#?}");
}
