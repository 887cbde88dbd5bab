//! A set of address ranges, searched in the time of a binary search whatever its size.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Address ranges, v4 and v6; a v4-mapped v6 address counts as the v4 address it holds.
///
/// Held as sorted ranges that neither overlap nor touch, so two sets of the same addresses are equal. A v6 range
/// shorter than `/96` says nothing about v4 addresses: `::/0` is every v6 address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpSet {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// A text that is neither an address nor a CIDR: a sentence with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnAddress(pub String);

impl fmt::Display for NotAnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAnAddress {}

impl IpSet {
    /// Reads addresses and CIDRs (`"10.0.0.0/8"`, `"2001:db8::/32"`, `"192.0.2.7"`).
    ///
    /// # Errors
    /// The first text that is neither, or a CIDR with bits set beyond its prefix, with a hint.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, NotAnAddress> {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for text in texts {
            match parse_range(text)? {
                Range::V4(range) => v4.push(range),
                Range::V6(range) => v6.push(range),
            }
        }
        Ok(Self {
            v4: Ranges::new(v4, |end| end.checked_add(1)),
            v6: Ranges::new(v6, |end| end.checked_add(1)),
        })
    }

    /// Whether `address` is in one of the ranges.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contains(u32::from(address)),
            IpAddr::V6(address) => self.v6.contains(u128::from(address)),
        }
    }

    /// Whether every address of `other` is in the set.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        other.v4.iter().all(|range| self.v4.hold(range)) && other.v6.iter().all(|range| self.v6.hold(range))
    }

    /// Whether an address of `other` is in the set.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        other.v4.iter().any(|range| self.v4.meet(range)) || other.v6.iter().any(|range| self.v6.meet(range))
    }

    /// How many v4 addresses are in the set, and how many v6 ones; all of v6 count as one less.
    #[must_use]
    pub fn addresses(&self) -> (u64, u128) {
        let v4 = self.v4.iter().map(|(start, end)| u64::from(end - start) + 1).sum();
        let v6 = self
            .v6
            .iter()
            .fold(0_u128, |sum, (start, end)| sum.saturating_add((end - start).saturating_add(1)));
        (v4, v6)
    }

    /// Whether no address is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many ranges it holds after merging those that overlap or touch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.starts.len() + self.v6.starts.len()
    }
}

/// Sorted ranges that neither overlap nor touch, both ends included.
///
/// A search goes through every [`BLOCK`]th start first and then through one block: at 100,000 ranges two short
/// stretches of memory instead of 17 places all over 1.6 MB (v6), most of them not in the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges<T> {
    every_block: Box<[T]>,
    starts: Box<[T]>,
    ends: Box<[T]>,
}

const BLOCK: usize = 64;

impl<T: Copy + Ord> Ranges<T> {
    fn new(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Self {
        ranges.sort_unstable();
        let mut starts = Vec::with_capacity(ranges.len());
        let mut ends: Vec<T> = Vec::with_capacity(ranges.len());
        for (start, end) in ranges {
            match ends.last_mut() {
                // Overlaps the last one or begins right behind it; an end without a next address ends them all.
                Some(last) if next(*last).is_none_or(|next| start <= next) => *last = end.max(*last),
                _ => {
                    starts.push(start);
                    ends.push(end);
                }
            }
        }
        let every_block = starts.iter().copied().step_by(BLOCK).collect();
        Self { every_block, starts: starts.into(), ends: ends.into() }
    }

    fn iter(&self) -> impl Iterator<Item = (T, T)> {
        self.starts.iter().copied().zip(self.ends.iter().copied())
    }

    /// The first range that does not end before `start`.
    fn first_from(&self, start: T) -> Option<(T, T)> {
        let at = self.ends.partition_point(|end| *end < start);
        Some((*self.starts.get(at)?, *self.ends.get(at)?))
    }

    fn hold(&self, (start, end): (T, T)) -> bool {
        self.first_from(start).is_some_and(|(first, last)| first <= start && end <= last)
    }

    fn meet(&self, (start, end): (T, T)) -> bool {
        self.first_from(start).is_some_and(|(first, _)| first <= end)
    }

    fn contains(&self, address: T) -> bool {
        let blocks = self.every_block.partition_point(|start| *start <= address);
        let Some(first) = blocks.checked_sub(1).map(|block| block * BLOCK) else { return false };
        let block = self.starts.get(first..(first + BLOCK).min(self.starts.len())).unwrap_or_default();
        // At least the block's own first start is not behind the address.
        let last = first + block.partition_point(|start| *start <= address).saturating_sub(1);
        self.ends.get(last).is_some_and(|end| address <= *end)
    }
}

enum Range {
    V4((u32, u32)),
    V6((u128, u128)),
}

fn parse_range(text: &str) -> Result<Range, NotAnAddress> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| {
        NotAnAddress(format!(
            "{text:?} is neither an address nor a CIDR; write it like \"192.0.2.7\", \"10.0.0.0/8\" or \
             \"2001:db8::/32\""
        ))
    })?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix =
        prefix.map_or(Some(bits), parse_prefix).filter(|prefix| *prefix <= bits).ok_or_else(|| {
            NotAnAddress(format!("{text:?} has no prefix length from 0 to {bits} behind the `/`"))
        })?;
    match address {
        IpAddr::V4(address) => v4_range(address, prefix, text),
        // ::ffff:10.0.0.0/104 is 10.0.0.0/8 in another spelling.
        IpAddr::V6(address) => match (address.to_ipv4_mapped(), prefix.checked_sub(96)) {
            (Some(address), Some(prefix)) => v4_range(address, prefix, text),
            _ => v6_range(address, prefix, text),
        },
    }
}

/// Digits only: `parse` alone would take `+8`.
fn parse_prefix(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn v4_range(address: Ipv4Addr, prefix: u32, text: &str) -> Result<Range, NotAnAddress> {
    let host_bits = u32::MAX.checked_shr(prefix).unwrap_or(0);
    let start = u32::from(address);
    if start & host_bits != 0 {
        return Err(host_bits_set(text, Ipv4Addr::from(start & !host_bits).into(), prefix));
    }
    Ok(Range::V4((start, start | host_bits)))
}

fn v6_range(address: Ipv6Addr, prefix: u32, text: &str) -> Result<Range, NotAnAddress> {
    let host_bits = u128::MAX.checked_shr(prefix).unwrap_or(0);
    let start = u128::from(address);
    if start & host_bits != 0 {
        return Err(host_bits_set(text, Ipv6Addr::from(start & !host_bits).into(), prefix));
    }
    Ok(Range::V6((start, start | host_bits)))
}

fn host_bits_set(text: &str, network: IpAddr, prefix: u32) -> NotAnAddress {
    NotAnAddress(format!(
        "{text:?} has bits set beyond its prefix; write \"{network}/{prefix}\" for the network, or the address \
         without `/{prefix}` for this one host"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(texts: &[&str]) -> IpSet {
        IpSet::parse(texts.iter().copied()).unwrap()
    }

    fn has(set: &IpSet, address: &str) -> bool {
        set.contains(address.parse().unwrap())
    }

    #[test]
    fn addresses_and_ranges_hold_what_they_say_and_no_more() {
        let set = set(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"]);
        for inside in ["10.0.0.0", "10.255.255.255", "192.0.2.7", "2001:db8::", "2001:db8:ffff::1", "::1"] {
            assert!(has(&set, inside), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.8", "2001:db9::", "::2", "::"] {
            assert!(!has(&set, outside), "{outside}");
        }
        assert!(!has(&IpSet::default(), "0.0.0.0"));
    }

    #[test]
    fn a_mapped_address_is_the_v4_address_it_holds() {
        assert!(has(&set(&["10.0.0.0/8"]), "::ffff:10.1.2.3"));
        assert!(has(&set(&["::ffff:10.0.0.0/104"]), "10.1.2.3"));
        assert!(has(&set(&["::ffff:10.1.2.3"]), "10.1.2.3"));
        assert!(!has(&set(&["::/0"]), "10.1.2.3"));
        assert!(!has(&set(&["0.0.0.0/0"]), "2001:db8::1"));
    }

    #[test]
    fn whole_families_and_their_ends_do_not_overflow() {
        let set = set(&["0.0.0.0/0", "255.255.255.255", "::/0", "ffff::/16"]);
        assert_eq!(set.len(), 2);
        assert!(has(&set, "255.255.255.255") && has(&set, "0.0.0.0"));
        assert!(has(&set, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff") && has(&set, "::"));
    }

    #[test]
    fn every_range_of_a_set_of_many_blocks_is_found() {
        let texts: Vec<String> = (0..1000)
            .flat_map(|n| [format!("10.{}.{}.4/30", n / 256, n % 256), format!("2001:db8:{n:x}::/64")])
            .collect();
        let set = IpSet::parse(texts.iter().map(String::as_str)).unwrap();
        assert_eq!(set.len(), 2000);
        for n in 0..1000 {
            let (high, low) = (n / 256, n % 256);
            for (last, inside) in [(3, false), (4, true), (7, true), (8, false)] {
                assert_eq!(has(&set, &format!("10.{high}.{low}.{last}")), inside, "{n} {last}");
            }
            assert!(has(&set, &format!("2001:db8:{n:x}::")) && !has(&set, &format!("2001:db8:{n:x}:1::")));
        }
        assert!(!has(&set, "9.255.255.255") && !has(&set, "2001:db7::") && !has(&set, "2001:db8:3e8::"));
    }

    #[test]
    fn sets_hold_and_meet_each_other() {
        let big = set(&["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]);
        for inside in ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.255", "::ffff:10.0.0.0/104", "2001:db8:1::/48"] {
            assert!(big.holds(&set(&[inside])) && big.meets(&set(&[inside])), "{inside}");
        }
        for across in ["10.0.0.0/7", "192.0.0.0/16", "0.0.0.0/0", "2001:db8::/31", "::/0"] {
            assert!(!big.holds(&set(&[across])) && big.meets(&set(&[across])), "{across}");
        }
        for outside in ["11.0.0.0/8", "9.255.255.255", "192.0.3.0", "2001:db9::/32", "::ffff:11.0.0.0/104"] {
            assert!(!big.holds(&set(&[outside])) && !big.meets(&set(&[outside])), "{outside}");
        }
        assert!(!big.holds(&set(&["10.0.0.1", "11.0.0.1"])) && big.meets(&set(&["11.0.0.1", "10.0.0.1"])));
        assert!(big.holds(&IpSet::default()) && !big.meets(&IpSet::default()));
    }

    #[test]
    fn addresses_are_counted_once() {
        let count = |texts: &[&str]| set(texts).addresses();
        assert_eq!(count(&["10.0.0.0/24", "10.0.0.128/25", "192.0.2.1", "2001:db8::/126"]), (257, 4));
        assert_eq!(count(&["0.0.0.0/0", "::/0"]), (1 << 32, u128::MAX));
        assert_eq!(count(&["::ffff:0:0/96"]), (1 << 32, 0));
        assert_eq!(count(&[]), (0, 0));
    }

    #[test]
    fn equal_sets_are_equal_however_they_are_written() {
        assert_eq!(set(&["10.0.0.0/9", "10.128.0.0/9"]), set(&["10.0.0.0/8", "10.7.0.0/16"]));
        assert_ne!(set(&["10.0.0.0/9"]), set(&["10.0.0.0/8"]));
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_a_hint() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "::/129",
            "10.0.0",
            "010.0.0.1",
            "a",
            "1.2.3.4:80",
        ] {
            assert!(IpSet::parse([text]).is_err(), "{text}");
        }
        let error = IpSet::parse(["10.0.0.0/8", "10.1.2.3/8"]).unwrap_err().to_string();
        assert!(error.contains("\"10.1.2.3/8\"") && error.contains("\"10.0.0.0/8\""), "{error}");
        let error = IpSet::parse(["2001:db8::1/32"]).unwrap_err().to_string();
        assert!(error.contains("\"2001:db8::/32\""), "{error}");
    }

    /// Addresses from a small corner, so that ranges meet and overlap.
    fn v4_cidr() -> impl Strategy<Value = (u32, u32)> {
        (0u32..4096, 18u32..=32).prop_map(|(low, prefix)| {
            let host_bits = u32::MAX.checked_shr(prefix).unwrap_or(0);
            let start = (0x0a00_0000 | low) & !host_bits;
            (start, prefix)
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_scan(
            cidrs in prop::collection::vec(v4_cidr(), 0..40),
            mapped in any::<bool>(),
            probes in prop::collection::vec(0x0a00_0000u32 - 2..0x0a00_5000, 64),
        ) {
            let texts: Vec<String> = cidrs.iter().map(|(start, prefix)| match mapped {
                false => format!("{}/{prefix}", Ipv4Addr::from(*start)),
                true => format!("{}/{}", Ipv4Addr::from(*start).to_ipv6_mapped(), prefix + 96),
            }).collect();
            // The same corner of v6, far from the mapped range.
            let v6 = |low: u32| Ipv6Addr::from((0x2001_0db8u128 << 96) | u128::from(low));
            let texts_v6: Vec<String> =
                cidrs.iter().map(|(start, prefix)| format!("{}/{}", v6(*start), prefix + 96)).collect();
            let set = IpSet::parse(texts.iter().chain(&texts_v6).map(String::as_str)).unwrap();
            let edges = cidrs.iter().flat_map(|(start, _)| [*start, start.wrapping_sub(1)]);
            for probe in probes.into_iter().chain(edges) {
                let naive = cidrs.iter().any(|(start, prefix)| {
                    probe.checked_shr(32 - prefix).unwrap_or(0) == start.checked_shr(32 - prefix).unwrap_or(0)
                });
                prop_assert_eq!(set.contains(Ipv4Addr::from(probe).into()), naive);
                prop_assert_eq!(set.contains(Ipv4Addr::from(probe).to_ipv6_mapped().into()), naive);
                prop_assert_eq!(set.contains(v6(probe).into()), naive);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*|[0-9a-f:./]{0,40}") {
            let _ = IpSet::parse([text.as_str()]);
        }
    }
}
