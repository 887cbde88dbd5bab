//! Looking an address up in an allowlist of 100,000 CIDRs. To reach: 200 ns.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench: criterion's functions, fixed inputs"
)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use criterion::{Criterion, criterion_group, criterion_main};
use hooklatch::net::IpSet;

const CIDRS: u32 = 100_000;

/// Spreads numbers over all addresses (a multiplication by an odd number permutes them).
fn spread(n: u32) -> u32 {
    n.wrapping_mul(0x9e37_79b1)
}

fn bench(c: &mut Criterion) {
    let v4: Vec<String> = (0..CIDRS).map(|n| format!("{}/28", Ipv4Addr::from(spread(n) & !15))).collect();
    let v6: Vec<String> = (0..CIDRS)
        .map(|n| format!("{}/64", Ipv6Addr::from((0x2001_0db8u128 << 96) | (u128::from(spread(n)) << 64))))
        .collect();
    let addresses_v4: Vec<IpAddr> = (0..65_536).map(|n| Ipv4Addr::from(spread(n * 3)).into()).collect();
    let addresses_v6: Vec<IpAddr> = (0..65_536u32)
        .map(|n| Ipv6Addr::from((0x2001_0db8u128 << 96) | (u128::from(spread(n * 3)) << 64) | 7).into())
        .collect();
    for (name, cidrs, addresses) in [("v4", &v4, &addresses_v4), ("v6", &v6, &addresses_v6)] {
        let set = IpSet::parse(cidrs.iter().map(String::as_str)).expect("CIDRs");
        let mut next = 0;
        c.bench_function(&format!("ip 100,000 CIDRs/{name} ({} ranges)", set.len()), |b| {
            b.iter(|| {
                next = (next + 4099) % addresses.len();
                set.contains(black_box(addresses[next]))
            });
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
