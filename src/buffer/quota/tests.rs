use proptest::prelude::*;

use super::*;

/// An event that was let in: its holding and where it is charged.
struct Kept {
    holding: Holding,
    charges: Vec<(u32, Charge)>,
}

fn keep(quota: &mut Quota, weight: u64, to: &[u32]) -> Result<Kept, Full> {
    let mut holding = Holding::new(weight);
    quota.check(&holding, to.iter().copied())?;
    let charges = to.iter().map(|d| (*d, quota.charge(&mut holding, *d))).collect();
    Ok(Kept { holding, charges })
}

fn settle(quota: &mut Quota, kept: &mut Kept, which: usize) {
    let (destination, charge) = kept.charges.remove(which);
    quota.release(&mut kept.holding, destination, charge);
}

fn quota_of(events: u64, bytes: u64, destinations: u32) -> Quota {
    let mut quota = Quota::new(Amount::new(events, bytes));
    (0..destinations).for_each(|_| quota.add_destination());
    configure(&mut quota, 0..destinations);
    quota
}

fn configure(quota: &mut Quota, destinations: impl IntoIterator<Item = u32>) {
    let all: Vec<_> = destinations.into_iter().map(|d| (d, MaxPending::default())).collect();
    quota.configure(&all);
}

#[test]
fn a_destination_that_is_down_fills_its_own_part_and_the_first_come_part_and_no_more() {
    let mut quota = quota_of(100, 1 << 20, 2);
    let down: Vec<_> = (0..200).map_while(|_| keep(&mut quota, 1, &[0]).ok()).collect();
    assert_eq!(down.len(), 75, "25 reserved, 50 first come");
    assert_eq!(keep(&mut quota, 1, &[0]).err(), Some(Full::Destination(0)));
    let other: Vec<_> = (0..200).map_while(|_| keep(&mut quota, 1, &[1]).ok()).collect();
    assert_eq!(other.len(), 25);
    assert_eq!(keep(&mut quota, 1, &[1]).err(), Some(Full::Buffer));
}

#[test]
fn bytes_are_shared_as_events_are() {
    let mut quota = quota_of(u64::MAX, 1000, 2);
    let down: Vec<_> = (0..200).map_while(|_| keep(&mut quota, 10, &[0]).ok()).collect();
    assert_eq!(down.len(), 75);
    assert!(keep(&mut quota, 250, &[1]).is_ok());
    assert!(keep(&mut quota, 1, &[1]).is_err());
}

#[test]
fn an_event_for_many_counts_once_and_a_stuck_one_among_them_never_closes_the_others() {
    let mut quota = quota_of(100, 1 << 20, 2);
    let mut both: Vec<_> = (0..200).map_while(|_| keep(&mut quota, 1, &[0, 1]).ok()).collect();
    assert_eq!((both.len(), quota.total().events), (75, 75));
    for kept in &mut both {
        settle(&mut quota, kept, 1); // destination 1 took them all, 0 is down
    }
    assert_eq!(quota.total().events, 75);
    let other: Vec<_> = (0..200).map_while(|_| keep(&mut quota, 1, &[1]).ok()).collect();
    assert_eq!(other.len(), 25, "its whole reservation");
}

#[test]
fn max_pending_is_a_harder_bound() {
    let mut quota = quota_of(100, 1000, 1);
    quota.configure(&[(0, MaxPending { events: Some(3), bytes: None })]);
    let kept: Vec<_> = (0..200).map_while(|_| keep(&mut quota, 1, &[0]).ok()).collect();
    assert_eq!(kept.len(), 3);
    let mut quota = quota_of(100, 1000, 1);
    quota.configure(&[(0, MaxPending { events: None, bytes: Some(50) })]);
    assert!(keep(&mut quota, 50, &[0]).is_ok());
    assert_eq!(keep(&mut quota, 1, &[0]).err(), Some(Full::Destination(0)));
}

#[test]
fn a_destination_out_of_the_configuration_presses_on_the_first_come_part() {
    let mut quota = quota_of(100, 1 << 20, 2);
    let mut old: Vec<_> = (0..200).map_while(|_| keep(&mut quota, 1, &[0]).ok()).collect();
    configure(&mut quota, [1]);
    assert!(
        keep(&mut quota, 1, &[0]).is_err(),
        "nothing is reserved for it, and the first-come part is full"
    );
    let new: Vec<_> = (0..200).map_while(|_| keep(&mut quota, 1, &[1]).ok()).collect();
    assert_eq!(new.len(), 25, "up to the bound");
    for kept in &mut old {
        settle(&mut quota, kept, 0);
    }
    let more: Vec<_> = (0..200).map_while(|_| keep(&mut quota, 1, &[1]).ok()).collect();
    assert_eq!((more.len(), quota.total().events), (75, 100));
}

#[test]
fn what_lies_in_a_reservation_that_went_leaves_the_new_reservations_alone() {
    let mut quota = quota_of(100, 1 << 20, 2);
    let old: Vec<_> = (0..25).map_while(|_| keep(&mut quota, 1, &[0]).ok()).collect();
    assert_eq!(quota.shared, Amount::default(), "all in the reservation of 0");
    configure(&mut quota, [1]);
    let more: Vec<_> = (0..200).map_while(|_| keep(&mut quota, 1, &[0]).ok()).collect();
    let new: Vec<_> = (0..200).map_while(|_| keep(&mut quota, 1, &[1]).ok()).collect();
    assert_eq!((old.len(), more.len(), new.len()), (25, 25, 50), "half is reserved for 1, whatever 0 holds");
}

#[derive(Clone, Debug)]
enum Op {
    Keep { weight: u64, to: u8 },
    Settle { event: usize, place: usize },
    Configure { which: u8 },
}

fn ops(reconfigure: u32) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (1_u64..400, 1_u8..16).prop_map(|(weight, to)| Op::Keep { weight, to }),
        3 => (any::<usize>(), any::<usize>()).prop_map(|(event, place)| Op::Settle { event, place }),
        reconfigure => (0_u8..16).prop_map(|which| Op::Configure { which }),
    ];
    prop::collection::vec(op, 1..200)
}

fn bits(mask: u8) -> Vec<u32> {
    (0..4).filter(|d| mask >> d & 1 == 1).collect()
}

/// Plays `ops` on a quota of 40 events and 4,000 bytes for 4 destinations, and checks what must hold after each.
fn play(ops: Vec<Op>, check_reserved: bool) -> Result<(), TestCaseError> {
    const BOUND: Amount = Amount { events: 40, bytes: 4000 };
    let mut quota = quota_of(BOUND.events, BOUND.bytes, 4);
    let mut kept: Vec<Kept> = Vec::new();
    for op in ops {
        match op {
            Op::Keep { weight, to } => {
                let to = bits(to);
                let below = to.iter().all(|d| {
                    let held = kept.iter().filter(|k| k.charges.iter().any(|(at, _)| at == d));
                    let held = held.fold(Amount::default(), |sum, k| sum + k.holding.size);
                    (held + Amount::one(weight)).fits(Amount::new(5, 500))
                });
                match keep(&mut quota, weight, &to) {
                    Ok(new) => kept.push(new),
                    Err(full) => prop_assert!(!(check_reserved && below), "{full:?} of {to:?}, {weight}"),
                }
            }
            Op::Settle { event, place } if !kept.is_empty() => {
                let event = event % kept.len();
                let place = place % kept[event].charges.len();
                settle(&mut quota, &mut kept[event], place);
                kept.retain(|k| !k.charges.is_empty());
            }
            Op::Settle { .. } => {}
            Op::Configure { which } => configure(&mut quota, bits(which)),
        }
        let total = kept.iter().fold(Amount::default(), |sum, k| sum + k.holding.size);
        prop_assert_eq!(quota.total(), total, "each event counts once");
        prop_assert!(total.fits(BOUND), "{:?}", total);
    }
    for mut event in kept {
        while !event.charges.is_empty() {
            settle(&mut quota, &mut event, 0);
        }
    }
    let zero = Amount::default();
    prop_assert_eq!((quota.total, quota.shared, quota.excess), (zero, zero, zero));
    prop_assert!(quota.shares.iter().all(|share| share.held == zero && share.reserved == zero));
    Ok(())
}

proptest! {
    #[test]
    fn never_over_the_bound_and_nobody_below_its_reservation_is_refused(ops in ops(0)) {
        play(ops, true)?;
    }

    #[test]
    fn never_over_the_bound_whatever_is_reconfigured(ops in ops(1)) {
        play(ops, false)?;
    }
}
