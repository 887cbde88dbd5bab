//! `hooklatch spool` on the folder that a stopped gateway left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{App, Done, Gateway, Reply, SOON, Setup, Signed, hooklatch, wait_until};

const SECRET: &str = "canary-secret-of-a-route";
const FIRST_RECORD: usize = 1024;

/// A gateway that delivered one event, has one dead and three pending; then SIGKILL.
fn stopped() -> (Gateway, Vec<String>) {
    let app = App::start();
    let mut gateway = Setup::new(&format!(
        r#"
        [routes.github]
        path = "/github"
        provider = "github"
        secrets = [{{ value = "{SECRET}" }}]
        deliver_to = ["app"]
        [destinations.app]
        url = "{}"
        retry = {{ delays = ["1h", "1h"], jitter = 0.0 }}
        "#,
        app.url()
    ))
    .store("disk")
    .start();
    let send = |n: u32| {
        let body = format!("{{\"n\":{n}}}");
        Signed::github("/github?token=canary", SECRET, &n.to_string(), body.as_bytes())
            .send(&gateway)
            .assert_accepted()
    };
    let mut ids = vec![send(0)];
    let pending = "hooklatch_buffer_events{destination=\"app\"}";
    wait_until("it is delivered", SOON, || gateway.metric(pending) < 0.5);
    app.always(Reply::status(410));
    ids.push(send(1));
    wait_until("it is dead", SOON, || gateway.metric(pending) < 0.5);
    app.always(Reply::status(500));
    ids.extend((2..5).map(send));
    for id in &ids[2..] {
        wait_until("it was tried", SOON, || {
            let event = gateway.admin_get(&format!("/api/v1/events/{id}"));
            event["destinations"][0]["attempts"].as_array().is_some_and(|attempts| !attempts.is_empty())
        });
    }
    // By then the progress is on the disk.
    std::thread::sleep(std::time::Duration::from_millis(200));
    gateway.kill();
    (gateway, ids)
}

fn data(gateway: &Gateway) -> PathBuf {
    gateway.dir().join("data")
}

fn spool(verb: &[&str], folder: &Path) -> Done {
    let folder = folder.to_str().unwrap();
    hooklatch(&[&["spool"], verb, &[folder]].concat())
}

/// Every file below, with what is in it.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    all
}

fn first_segment(data: &Path) -> PathBuf {
    let logs = contents(&data.join("spool")).into_keys().filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.ends_with(".log") && !name.starts_with("spare")
    });
    logs.min().unwrap()
}

#[test]
fn a_stopped_folder_is_told_and_left_as_it_was() {
    let (gateway, ids) = stopped();
    let data = data(&gateway);
    let before = contents(&data);

    let sound = spool(&["verify", "--json"], &data).json();
    assert_eq!((&sound["events"], &sound["damaged"]), (&5.into(), &Value::Array(Vec::new())), "{sound}");
    assert_eq!(sound["in_use"], false);

    let told = spool(&["dump"], &data.join("spool")).ok();
    assert!(!told.contains("canary"), "{told}");
    let events: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told_ids: Vec<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(told_ids, ids);
    let status: Vec<_> = events.iter().map(|event| &event["destinations"][0]["status"]).collect();
    assert_eq!(status, ["delivered", "dead", "pending", "pending", "pending"]);
    assert_eq!(events[3]["body"], "{\"n\":3}");
    assert_eq!(events[3]["destinations"][0]["attempts"][0]["status"], 500);
    let pending = spool(&["dump", "--pending"], &data).ok();
    assert_eq!(pending.lines().collect::<Vec<_>>(), told.lines().skip(2).collect::<Vec<_>>());

    let stats = spool(&["stats", "--json"], &data).json();
    assert_eq!((&stats["events"], &stats["dead"]), (&5.into(), &1.into()), "{stats}");
    let place = &stats["destinations"][0];
    assert_eq!((&place["name"], &place["pending"], &place["dead"]), (&"app".into(), &3.into(), &1.into()));
    assert_eq!(place["oldest"], events[2]["received_at"]);
    assert!(spool(&["stats"], &data).ok().contains("dead letters  1\n"));
    assert!(contents(&data) == before, "something was written");
}

#[test]
fn damage_is_told_with_its_place_and_the_rest_is_dumped() {
    let (gateway, ids) = stopped();
    let data = data(&gateway);
    let file = first_segment(&data);
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(7).position(|bytes| bytes == b"{\"n\":2}").unwrap();
    assert!(at > FIRST_RECORD);
    bytes[at + 5] ^= 1;
    std::fs::write(&file, &bytes).unwrap();

    let done = spool(&["verify", "--json"], &data);
    assert_eq!(done.code, Some(1), "{done:?}");
    let found: Value = serde_json::from_str(&done.stdout).unwrap();
    let [damage] = &found["damaged"].as_array().unwrap()[..] else { panic!("{found}") };
    let (from, len) = (damage["offset"].as_u64().unwrap(), damage["length"].as_u64().unwrap());
    assert!((from..from + len).contains(&(at as u64)), "{damage}");
    assert_eq!((&damage["file"], &damage["what"]), (&name(&file).into(), &"an event".into()));

    let dumped = spool(&["dump"], &data);
    assert_eq!(dumped.code, Some(1), "{dumped:?}");
    assert_eq!(dumped.stdout.lines().count(), 4);
    assert!(!dumped.stdout.contains(&ids[2]));
}

#[test]
fn a_damaged_index_is_told() {
    let (mut gateway, _) = stopped();
    let data = data(&gateway);
    // The next start seals what the last one left.
    gateway.start_again();
    let index =
        || contents(&data.join("spool")).into_keys().find(|path| path.extension() == Some("idx".as_ref()));
    wait_until("the index is written", SOON, || index().is_some());
    let running = spool(&["stats"], &data);
    assert!(running.stderr.contains("running on this folder"), "{running:?}");
    gateway.kill();
    assert_eq!(spool(&["verify"], &data).code, Some(0));
    // Without its index this log would look as if its last commits had been torn.
    let file = first_segment(&data);
    let log = std::fs::read(&file).unwrap();
    let at = log.windows(7).position(|bytes| bytes == b"{\"n\":4}").unwrap();
    std::fs::write(&file, &log[..at]).unwrap();
    let done = spool(&["verify"], &data);
    assert!(done.code == Some(1) && done.stdout.contains("an event that its index names"), "{done:?}");
    std::fs::write(&file, &log).unwrap();

    let index = index().unwrap();
    let mut bytes = std::fs::read(&index).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&index, bytes).unwrap();
    let done = spool(&["verify"], &data);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stdout.contains(&name(&index)) && done.stdout.ends_with(": 1 damaged\n"), "{done:?}");
}

#[test]
fn a_folder_that_is_no_spool_is_wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    assert!(spool(&["verify"], dir.path()).failed(2).contains("holds no spool"));
    assert!(spool(&["stats"], &dir.path().join("none")).failed(2).contains("cannot be read"));
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
