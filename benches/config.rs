//! How long a configuration of 1,000 routes takes to read: what a reload costs, off the hot path.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hooklatch::clock::Clock;
use hooklatch::config::{Config, Environment, SecretStore};

/// So many signed routes, each with a secret, an allowlist and a destination of a hundred.
fn file(routes: usize) -> String {
    let mut text = String::from("[server]\nlisten = [\"127.0.0.1:8080\"]\n");
    for n in 0..routes {
        write!(
            text,
            "[routes.r{n}]\npath = \"/webhooks/{n}\"\nprovider = \"github\"\nsecrets = [{{ value = \"secret-{n}\" }}]\n\
             allow_ips = [\"192.30.252.0/22\", \"185.199.108.0/22\"]\ndeliver_to = [\"d{}\"]\ndedupe = {{ ttl = \"24h\" }}\n",
            n % 100
        )
        .unwrap();
    }
    for n in 0..routes.min(100) {
        write!(text, "[destinations.d{n}]\nurl = \"http://127.0.0.1:{}\"\n", 3000 + n).unwrap();
    }
    text
}

fn parse(text: &str) -> Config {
    let machine = Environment::default();
    Config::parse(Path::new("bench.toml"), text, &mut SecretStore::new(Clock::system()), &machine)
        .expect("right")
}

fn config(criterion: &mut Criterion) {
    let text = file(1000);
    let _ = parse(&text);
    let mut group = criterion.benchmark_group("config");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("parse 1000 routes", |bench| bench.iter(|| parse(black_box(&text))));
    group.finish();
}

criterion_group!(benches, config);
criterion_main!(benches);
