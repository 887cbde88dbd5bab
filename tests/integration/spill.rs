//! What a memory buffer could not deliver before a stop is delivered after the next start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::harness::{ADMIN_TOKEN, App, Gateway, Reply, SOON, Setup, Signed, wait_until};

const SECRET: &str = "canary-secret-of-a-route";

/// A gateway on the folder `data`, which several use one after the other.
fn start(data: &Path, app: SocketAddr, drain_timeout: &str) -> Gateway {
    Setup::whole(&format!(
        r#"
        [server]
        listen = ["127.0.0.1:0"]
        drain_timeout = "{drain_timeout}"
        [admin]
        listen = "127.0.0.1:0"
        token = {{ value = "{ADMIN_TOKEN}" }}
        [buffer]
        store = "memory"
        path = "{}"
        [routes.github]
        path = "/github"
        provider = "github"
        secrets = [{{ value = "{SECRET}" }}]
        deliver_to = ["app"]
        [destinations.app]
        url = "http://{app}"
        retry = {{ delays = ["300ms", "1s", "1s", "1s"], jitter = 0.0 }}
        "#,
        data.display()
    ))
    .start()
}

fn event(id: &str) -> Signed {
    Signed::github("/github", SECRET, id, format!("{{\"n\":\"{id}\"}}").as_bytes())
}

fn stop(mut gateway: Gateway) -> Vec<String> {
    gateway.signal(Signal::TERM);
    let status = gateway.wait_for_exit(SOON);
    assert!(status.success(), "{status}");
    // What it said last may still be in the pipe.
    wait_until("its last line is there", SOON, || {
        gateway.log_lines().iter().any(|l| l.contains("\"stopped\""))
    });
    gateway.log_lines()
}

fn files(data: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(data.join("spill")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_restart_while_the_app_is_down_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let address = App::reserve();
    let app = App::start_at(address);
    app.always(Reply::status(410));
    let gateway = start(&data, address, "100ms");
    let dead = event("dead").send(&gateway).assert_accepted();
    let is_dead = |gateway: &Gateway| gateway.admin_get("/api/v1/dead")["events"][0]["id"] == dead.as_str();
    wait_until("the first is dead", SOON, || is_dead(&gateway));
    drop(app);
    let accepted: Vec<String> =
        (0..20).map(|n| event(&n.to_string()).send(&gateway).assert_accepted()).collect();
    let first = format!("/api/v1/events/{}", accepted[0]);
    let tried = |gateway: &Gateway| gateway.admin_get(&first).to_string().contains("\"attempts\":[{");
    wait_until("the first of them was tried", SOON, || tried(&gateway));
    let log = stop(gateway).join("\n");
    assert!(log.contains("in the spill file") && !log.contains("lost"), "{log}");
    assert_eq!(files(&data).len(), 1);

    let app = App::start_at(address);
    let gateway = start(&data, address, "5s");
    let seen = app.wait_for(20);
    assert!(files(&data).is_empty(), "{:?}", files(&data));
    for (n, id) in accepted.iter().enumerate() {
        let arrived: Vec<_> =
            seen.iter().filter(|seen| seen.header("hooklatch-id") == Some(id.as_str())).collect();
        let [arrived] = arrived[..] else { panic!("{id} arrived {} times", arrived.len()) };
        assert_eq!(arrived.text(), format!("{{\"n\":\"{n}\"}}"));
        assert_eq!(arrived.header("x-github-delivery"), Some(n.to_string().as_str()));
    }
    let again = seen.iter().find(|seen| seen.header("hooklatch-id") == Some(accepted[0].as_str())).unwrap();
    assert_ne!(again.header("hooklatch-attempt"), Some("1"), "its attempts before the stop count");
    for (n, id) in accepted.iter().enumerate() {
        let answer = event(&n.to_string()).send(&gateway);
        assert_eq!((answer.outcome(), answer.id()), ("duplicate", id.clone()));
    }
    assert!(is_dead(&gateway));
    let resent = event("dead").send(&gateway);
    assert_eq!((resent.outcome(), resent.id()), ("requeued", dead.clone()));
    let seen = app.wait_for_exactly(21, std::time::Duration::from_millis(100));
    assert_eq!(seen[20].header("hooklatch-id"), Some(dead.as_str()));
    stop(gateway);
    assert!(files(&data).is_empty(), "nothing was left");
}

#[test]
fn a_second_signal_cuts_the_wait_short_and_keeps_the_events() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let app = App::start();
    app.always(Reply::Hang);
    let mut gateway = start(&data, app.address(), "60s");
    let accepted: Vec<String> =
        (0..12).map(|n| event(&n.to_string()).send(&gateway).assert_accepted()).collect();
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("stopping", |line| line["msg"] == "stopping");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_for_exit(SOON).code(), Some(1));
    let app = App::start();
    let _gateway = start(&data, app.address(), "5s");
    let mut seen: Vec<_> =
        app.wait_for(12).iter().map(|seen| seen.header("hooklatch-id").unwrap().to_owned()).collect();
    seen.sort();
    assert_eq!(seen, accepted);
}

#[test]
fn a_damaged_spill_is_said_counted_and_kept_and_the_rest_of_it_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let address = App::reserve();
    let gateway = start(&data, address, "100ms");
    for n in ["one", "hurt", "three"] {
        event(n).send(&gateway).assert_accepted();
    }
    stop(gateway);
    let [file] = &files(&data)[..] else { panic!("{:?}", files(&data)) };
    let mut bytes = std::fs::read(file).unwrap();
    let at = bytes.windows(6).position(|bytes| bytes == b"\"hurt\"").unwrap();
    bytes[at + 1] ^= 1;
    std::fs::write(file, &bytes).unwrap();

    let app = App::start_at(address);
    let gateway = start(&data, address, "5s");
    let mut seen: Vec<_> = app.wait_for(2).iter().map(|seen| seen.text()).collect();
    seen.sort();
    assert_eq!(seen, ["{\"n\":\"one\"}", "{\"n\":\"three\"}"]);
    let said = gateway.wait_for_log("the damage", |line| line["records"] == 1);
    assert!(said["level"] == "error" && said["files"].to_string().contains(".damaged"), "{said}");
    assert_eq!(gateway.metric("hooklatch_spool_corrupt_records_total"), 1.0);
    let [kept] = &files(&data)[..] else { panic!("{:?}", files(&data)) };
    assert_eq!(std::fs::read(kept).unwrap(), bytes);
    // Its id is not remembered for longer than the event was safe: a "Resend" is welcome.
    event("hurt").send(&gateway).assert_accepted();
    app.wait_for(3);
}
