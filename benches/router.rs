//! Matching a request's path to its route, with 10,000 routes. To reach: 300 ns.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench: criterion's functions, fixed inputs"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use hooklatch::ingress::{PathPattern, RouteKey, Router};

const ROUTES: usize = 10_000;

/// Half webhooks with an exact path, a quarter of them of one host; half pass-throughs below a prefix, and `/*`.
fn router() -> Router {
    let post = ["POST".to_owned()];
    let hooks: Vec<_> =
        (0..ROUTES / 2).map(|n| PathPattern::Exact(format!("/hooks/tenant-{n}/github"))).collect();
    let hosts: Vec<_> = (0..ROUTES / 2).map(|n| (n % 4 == 0).then(|| format!("h{n}.example"))).collect();
    let apps: Vec<_> =
        (0..ROUTES / 2 - 1).map(|n| PathPattern::Prefix(format!("/apps/app-{n}/v1"))).collect();
    let rest = PathPattern::Prefix(String::new());
    let hooks = hooks.iter().zip(&hosts).map(|(path, host)| RouteKey {
        name: "hook",
        path,
        host: host.as_deref(),
        methods: Some(&post),
        reserved: true,
    });
    let proxies = apps.iter().chain([&rest]).map(|path| RouteKey {
        name: "app",
        path,
        host: None,
        methods: None,
        reserved: false,
    });
    Router::new(hooks.chain(proxies)).expect("routes that do not conflict")
}

fn bench(c: &mut Criterion) {
    let router = router();
    let mut group = c.benchmark_group("route 10,000");
    // Each name with paths that differ, so that no single line of cache answers.
    let cases: [(&str, &str, Vec<String>); 6] = [
        (
            "webhook, any host",
            "POST",
            (0..5000).filter(|n| n % 4 != 0).map(|n| format!("/hooks/tenant-{n}/github")).collect(),
        ),
        (
            "webhook, odd spelling",
            "POST",
            (0..5000).filter(|n| n % 4 != 0).map(|n| format!("/hooks//tenant-{n}/%67ithub/")).collect(),
        ),
        (
            "pass-through below a prefix",
            "GET",
            (0..4999).map(|n| format!("/apps/app-{n}/v1/users/7")).collect(),
        ),
        ("pass-through, /*", "GET", (0..5000).map(|n| format!("/static/{n}/app.js")).collect()),
        ("pass-through, escapes", "GET", (0..5000).map(|n| format!("/static/A%20b/{n}/app.js")).collect()),
        (
            "refused: reserved in disguise",
            "POST",
            (0..5000).map(|n| format!("/hooks/Tenant-{n}%2fgithub;x")).collect(),
        ),
    ];
    for (name, method, paths) in &cases {
        let mut next = 0;
        group.bench_function(*name, |b| {
            b.iter(|| {
                next = (next + 1237) % paths.len();
                router.route(black_box(&paths[next]), Some("gateway.example:8080"), method)
            });
        });
    }
    group.finish();
    let deep = "/a".repeat(4000);
    c.bench_function("route 10,000/8 KB of segments", |b| {
        b.iter(|| router.route(black_box(&deep), None, "GET"))
    });
    let hostile = "/%2f;%3b%00%20".repeat(580);
    c.bench_function("route 10,000/8 KB of every trick", |b| {
        b.iter(|| router.route(black_box(&hostile), None, "GET"))
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
