//! The table of a run: medians over the rounds, and ratios to the references.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// What accepts are compared with, and what whole ways are.
const BARE: &str = "pingora, bare";
const PASS: &str = "pingora, pass-through";

type Lines = BTreeMap<String, Vec<Value>>;

pub fn print(file: &Path) {
    let text = std::fs::read_to_string(file).expect("the file of results");
    let mut throughput = Lines::new();
    let (mut latency, mut idle) = (Lines::new(), Lines::new());
    let mut order: Vec<String> = Vec::new();
    let (mut probes, mut at_rest, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let name = line["name"].as_str().unwrap().to_owned();
        if let Some(resident) = line["idle_resident_kib"].as_u64() {
            println!("idle, {name}: {:.1} MiB resident\n", resident as f64 / 1024.0);
            continue;
        }
        if let Some(p50) = line.pointer("/fdatasync_us/p50").and_then(Value::as_f64) {
            if name == "fdatasync" {
                probes.push(p50);
                alone.extend(line.pointer("/disk_alone_us/p99").and_then(Value::as_f64));
            } else {
                at_rest.push(p50);
            }
            continue;
        }
        if line["mode"] == "idle" {
            idle.entry(name).or_default().push(line);
            continue;
        }
        if !order.contains(&name) {
            order.push(name.clone());
        }
        let group = if line["mode"] == "open" { &mut latency } else { &mut throughput };
        group.entry(name).or_default().push(line);
    }
    print_throughput(&order, &throughput);
    let middle = |mut probes: Vec<f64>| {
        probes.sort_unstable_by(f64::total_cmp);
        probes.get(probes.len() / 2).copied()
    };
    let (probe, at_rest, alone) = (middle(probes), middle(at_rest), middle(alone));
    if let Some(probe) = probe {
        let at_rest =
            at_rest.map_or_else(String::new, |rest| format!(", {rest:.0} µs with 5 ms before each"));
        println!(
            "fdatasync of 4 KiB into blocks that were written before: {probe:.0} µs (median){at_rest}\n"
        );
    }
    if let Some((probe, alone)) = probe.zip(alone) {
        println!(
            "whoever waits for such a sync that is under way, and for the next one, waits {alone:.0} µs at the p99: {:.1} × as long as for one\n",
            alone / probe
        );
    }
    print_storage(&order, &throughput);
    print_idle(&idle, at_rest);
    print_latency(&order, &latency, probe);
}

/// What the disk was asked for, and how a backlog went.
fn print_storage(order: &[String], lines: &Lines) {
    for name in order {
        let Some(group) = lines.get(name) else { continue };
        let figure = |pointer| median(group, pointer);
        if let (Some(syncs), Some(company)) =
            (figure("/storage/fsyncs_per_second"), figure("/storage/events_per_fsync"))
            && let (Some(bytes), Some(sent)) =
                (figure("/storage/bytes_per_event"), figure("/storage/bytes_sent"))
        {
            println!(
                "{name}: {syncs:.0} fsyncs/s of {company:.1} events; {bytes:.0} bytes written an event, of {sent:.0} sent\n"
            );
        }
        if let (Some(gone), Some(came)) = (figure("/per_second"), figure("/arrived_per_second")) {
            println!("{name}: {gone:.0}/s went while {came:.0}/s came: {:.1} ×\n", gone / came);
        }
    }
}

/// From the gateway's receipt to the app: asked are 300 µs, and one fdatasync of a machine at rest more where it is waited
/// for. Measured is from the sender's write, so the hop from there to a process at rest is taken off.
fn print_idle(lines: &Lines, probe: Option<f64>) {
    const ASKED: f64 = 300.0;
    const HOP: &str = "one hop";
    let hop = lines.get(HOP).and_then(|group| median(group, "/delivery_us/p50"));
    if let Some(hop) = hop {
        println!("{HOP}, from the sender to a process at rest: {hop:.0} µs\n");
    }
    for (name, group) in lines.iter().filter(|(name, _)| *name != HOP) {
        let figure = |pointer| median(group, pointer).unwrap_or(f64::NAN);
        let asked = if name.contains("durable") { probe.map(|probe| ASKED + probe) } else { Some(ASKED) };
        let within = match (hop, asked) {
            (Some(hop), Some(most)) => {
                format!(
                    "{:.0} without the first hop, asked: at most {most:.0}",
                    figure("/delivery_us/p50") - hop
                )
            }
            _ => "one hop, or fdatasync, was not measured".to_owned(),
        };
        println!(
            "{name}: an event was at the app {:.0} µs after it was sent ({within}; p99 {:.0}), its 2xx after {:.0} µs\n",
            figure("/delivery_us/p50"),
            figure("/delivery_us/p99"),
            figure("/ack_us/p50")
        );
    }
}

/// Half of the median rate of `name`: where latencies are measured.
pub fn half(file: &Path, name: &str) {
    let text = std::fs::read_to_string(file).expect("the file of results");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    let lines: Vec<_> = lines.filter(|line| line["name"] == name && line["mode"] == "closed").collect();
    println!("{:.0}", median(&lines, "/per_second").expect("no such line") / 2.0);
}

fn median(lines: &[Value], pointer: &str) -> Option<f64> {
    let mut figures: Vec<f64> = lines.iter().filter_map(|line| line.pointer(pointer)?.as_f64()).collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

fn print_throughput(order: &[String], lines: &Lines) {
    let of = |name: &str| lines.get(name).and_then(|lines| median(lines, "/per_second"));
    println!(
        "| what | requests/s (median) | lowest–highest | × bare | × pass-through | server busy | load busy | not 2xx |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for name in order {
        let Some(group) = lines.get(name) else { continue };
        let Some(rate) = of(name) else { continue };
        let figures = || group.iter().filter_map(|line| line["per_second"].as_f64());
        let (low, high) = (figures().fold(f64::MAX, f64::min), figures().fold(0.0, f64::max));
        let ratio =
            |reference| of(reference).map_or_else(|| "–".to_owned(), |whole| format!("{:.2}", rate / whole));
        let share = |pointer| {
            median(group, pointer).map_or_else(|| "–".to_owned(), |busy| format!("{:.0} %", busy * 1e2))
        };
        let (server, load) = (share("/server_busy"), share("/load_busy"));
        let refused: u64 = group.iter().filter_map(|line| line["non_2xx"].as_u64()).sum();
        println!(
            "| {name} | {rate:.0} | {low:.0}–{high:.0} | {} | {} | {server} | {load} | {refused} |",
            ratio(BARE),
            ratio(PASS)
        );
        if let Some(refusal) = group.iter().find_map(|line| line["first_refusal"].as_str()) {
            eprintln!("{name} was refused: {refusal}");
        }
    }
    println!();
}

fn print_latency(order: &[String], lines: &Lines, probe: Option<f64>) {
    if lines.is_empty() {
        return;
    }
    let p99 = |name: &str| lines.get(name).and_then(|lines| median(lines, "/latency_us/p99"));
    println!(
        "| at a given rate | requests/s | p50 µs | p99 µs | p99.9 µs | p99 × bare | p99 × fdatasync | not 2xx |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for name in order {
        let Some(group) = lines.get(name) else { continue };
        let figure =
            |pointer| median(group, pointer).map_or_else(|| "–".to_owned(), |figure| format!("{figure:.0}"));
        let ratio = p99(name).zip(p99(BARE)).map_or_else(|| "–".to_owned(), |(a, b)| format!("{:.2}", a / b));
        let synced = name.contains("durable").then(|| p99(name).zip(probe)).flatten();
        let synced = synced.map_or_else(|| "–".to_owned(), |(p99, probe)| format!("{:.1}", p99 / probe));
        let refused: u64 = group.iter().filter_map(|line| line["non_2xx"].as_u64()).sum();
        println!(
            "| {name} | {} | {} | {} | {} | {ratio} | {synced} | {refused} |",
            figure("/per_second"),
            figure("/latency_us/p50"),
            figure("/latency_us/p99"),
            figure("/latency_us/p999"),
        );
    }
}
