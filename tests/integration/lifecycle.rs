//! Starting, reloading and stopping without losing a request.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{App, Gateway, Reply, SOON, Setup, Signed, hooklatch, wait_for, wait_until};

const ROUTES: &str = r#"
[routes.github]
path = "/github"
provider = "github"
secrets = [{ value = "$SECRET" }]
deliver_to = ["app"]
[destinations.app]
url = "$APP"
retry = { delays = ["50ms", "50ms"], jitter = 0.0 }
"#;

fn routes(app: &App, secret: &str) -> String {
    ROUTES.replace("$APP", &app.url()).replace("$SECRET", secret)
}

fn event(secret: &str, id: &str) -> Signed {
    Signed::github("/github", secret, id, b"{}")
}

fn is_ready(gateway: &Gateway) -> bool {
    gateway.admin_request("GET", "/readyz", "").status == 200
}

#[test]
fn healthz_and_readyz_need_no_token_and_the_api_does() {
    let app = App::start();
    let gateway = Setup::new(&routes(&app, "s")).start();
    for target in ["/healthz", "/readyz", "/metrics"] {
        let host = gateway.admin().to_string();
        let response = crate::harness::send(gateway.admin(), "GET", target, &[("Host", &host)], b"");
        assert_eq!(response.status, 200, "{target}: {}", response.text());
    }
    let host = gateway.admin().to_string();
    for headers in [vec![], vec![("Authorization", "Bearer wrong")], vec![("Authorization", "Basic eA==")]] {
        let mut headers = headers;
        headers.push(("Host", host.as_str()));
        let response = crate::harness::send(gateway.admin(), "GET", "/api/v1/status", &headers, b"");
        assert_eq!(response.status, 401, "{headers:?}");
    }
}

#[test]
fn sigterm_delivers_what_is_buffered_and_ends_with_0() {
    let app = App::start();
    app.always(Reply::ok().after(Duration::from_millis(100)));
    let mut gateway = Setup::new(&routes(&app, "s")).server("drain_timeout = \"10s\"").start();
    let mut connection = gateway.connect();
    for n in 0..40 {
        event("s", &format!("{n}")).send_on(&mut connection).assert_accepted();
    }
    gateway.signal(Signal::TERM);
    let status = gateway.wait_for_exit(SOON);
    assert!(status.success(), "{status}");
    assert_eq!(app.seen().len(), 40);
}

#[test]
fn sigterm_gives_up_after_drain_timeout_and_says_what_is_left() {
    let app = App::start();
    app.always(Reply::Hang);
    let mut gateway = Setup::new(&routes(&app, "s")).server("drain_timeout = \"300ms\"").start();
    for n in 0..5 {
        event("s", &format!("{n}")).send(&gateway).assert_accepted();
    }
    gateway.signal(Signal::TERM);
    gateway.wait_for_exit(Duration::from_secs(5));
    let log = gateway.log_lines().join("\n");
    assert!(log.contains("undelivered") || log.contains("not delivered"), "{log}");
    assert!(log.contains('5'), "{log}");
}

#[test]
fn sigterm_answers_what_is_in_flight_and_says_first_that_it_is_not_ready() {
    let app = App::start();
    let mut gateway =
        Setup::new(&routes(&app, "s")).server("shutdown_delay = \"700ms\"\ndrain_timeout = \"5s\"").start();
    wait_until("it is ready", SOON, || is_ready(&gateway));
    let slow = event("s", "slow").bytes();
    let mut connection = gateway.connect();
    connection.write(&slow[..slow.len() - 1]);
    gateway.signal(Signal::TERM);
    wait_until("it says that it is not ready", SOON, || !is_ready(&gateway));
    // Within `shutdown_delay` new connections are still served: a balancer needs a moment to notice.
    event("s", "meanwhile").send(&gateway).assert_accepted();
    connection.write(&slow[slow.len() - 1..]);
    connection.read().assert_accepted();
    assert!(gateway.wait_for_exit(SOON).success());
    assert_eq!(app.seen().len(), 2);
}

#[test]
fn a_stop_on_disk_waits_for_the_attempts_in_flight_and_not_for_the_backlog() {
    const EVENTS: usize = 10_000;
    const SLOW: Duration = Duration::from_secs(1);
    const BACKLOG: &str = "hooklatch_buffer_events{destination=\"app\"}";
    let app = App::start();
    app.always(Reply::ok().after(SLOW));
    let toml = routes(&app, "s").replace("deliver_to", "ack = \"memory\"\ndeliver_to");
    let mut gateway = Setup::new(&toml).server("drain_timeout = \"60s\"").store("disk").start();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = gateway.connect();
                while let Some(n) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < EVENTS) {
                    event("s", &n.to_string()).send_on(&mut connection).assert_accepted();
                }
            });
        }
    });
    assert!(gateway.metric(BACKLOG) > 9_000.0, "the app was not slow");
    let began = Instant::now();
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_for_exit(SOON).success());
    let took = began.elapsed();
    println!("stopped after {took:?}");
    assert!(took < 3 * SLOW, "{took:?}");
    let log = gateway.log_lines().join("\n");
    assert!(log.contains("wait on disk and go on at the next start"), "{log}");
    // Each attempt had its answer, and no event is lost or came twice.
    let seen = app.seen().len();
    app.always(Reply::ok());
    gateway.start_again();
    wait_until("all are delivered", 3 * SOON, || gateway.metric(BACKLOG) < 0.5);
    assert!(seen < 1000 && app.seen().len() == EVENTS, "{seen}, then {}", app.seen().len());
}

/// A gateway that is at this moment reading its secret, in vain: a pipe stands for a file system that does not answer.
/// What is written to the pipe is the secret, once the pipe is closed.
fn with_a_reload_that_hangs(app: &App, path: &std::path::Path) -> (Gateway, String, std::fs::File) {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::write(path, "s").unwrap();
    let toml = routes(app, "s").replace("{ value = \"s\" }", &format!("{{ file = {path:?} }}"));
    let gateway = Setup::new(&toml).start();
    std::fs::remove_file(path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let mut pipe = std::fs::OpenOptions::new();
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    pipe.write(true).custom_flags(nonblocking);
    // Nobody but a reader lets a writer in that does not wait.
    let held = wait_for("the secret is being read", SOON, || pipe.open(path).ok());
    (gateway, toml, held)
}

#[test]
fn a_stop_does_not_wait_for_a_reload_that_hangs() {
    let app = App::start();
    let dir = tempfile::tempdir().unwrap();
    let (mut gateway, _, held) = with_a_reload_that_hangs(&app, &dir.path().join("secret"));
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_for_exit(SOON).success());
    drop(held);
}

#[test]
fn a_sighup_during_a_reload_is_heard_when_that_has_ended() {
    use std::io::Write;
    let app = App::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let (mut gateway, toml, mut held) = with_a_reload_that_hangs(&app, &path);
    let second =
        "[routes.second]\npath = \"/second\"\nverify = \"none\"\ndedupe = false\ndeliver_to = [\"app\"]\n";
    gateway.rewrite(&(toml + second));
    gateway.signal(Signal::HUP);
    // The signal is there by the time that an answer is.
    assert_eq!(gateway.send("POST", "/second", &[], b"x").status, 404);
    // The next reader finds a file again; the one that hangs gets its secret.
    let file = dir.path().join("new");
    std::fs::write(&file, "s").unwrap();
    std::fs::rename(&file, &path).unwrap();
    held.write_all(b"s").unwrap();
    drop(held);
    wait_until("the new route answers", SOON, || gateway.send("POST", "/second", &[], b"x").status == 200);
}

#[test]
fn the_service_manager_hears_how_long_a_stop_may_take() {
    let app = App::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let next = || {
        let mut told = [0; 512];
        let bytes = manager.recv(&mut told).unwrap();
        String::from_utf8_lossy(&told[..bytes]).into_owned()
    };
    let mut gateway = Setup::new(&routes(&app, "s"))
        .server("drain_timeout = \"90s\"\nshutdown_delay = \"10ms\"")
        .env("NOTIFY_SOCKET", &path.display().to_string())
        .start();
    assert!(next().contains("READY=1"));
    gateway.signal(Signal::TERM);
    let stopping = next();
    let bound = stopping.lines().find_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC="));
    assert!(
        stopping.contains("STOPPING=1") && bound.unwrap().parse::<u32>().unwrap() > 90_010_000,
        "{stopping}"
    );
    assert!(gateway.wait_for_exit(SOON).success());
}

#[test]
fn a_reloaded_drain_timeout_holds_for_the_front_door_too() {
    let app = App::start();
    app.always(Reply::ok().after(Duration::from_millis(800)));
    let waiting = routes(&app, "s").replace("deliver_to", "ack = \"delivered\"\ndeliver_to");
    let mut gateway = Setup::new(&waiting).server("drain_timeout = \"50ms\"").start();
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    std::fs::write(gateway.config(), text.replace("\"50ms\"\n\n[admin]", "\"9s\"\n\n[admin]")).unwrap();
    gateway.cli(&["reload"]).ok();
    let mut connection = gateway.connect();
    connection.write(&event("s", "1").bytes());
    app.wait_for(1);
    gateway.signal(Signal::TERM);
    connection.read().assert_accepted();
    assert!(gateway.wait_for_exit(SOON).success());
}

#[test]
fn sighup_takes_up_new_routes_and_secrets() {
    let app = App::start();
    let mut gateway = Setup::new(&routes(&app, "old")).start();
    event("old", "1").send(&gateway).assert_accepted();
    let more = routes(&app, "new")
        + "[routes.second]\npath = \"/second\"\nverify = \"none\"\ndedupe = false\ndeliver_to = [\"app\"]\n";
    gateway.rewrite(&more);
    gateway.signal(Signal::HUP);
    wait_until("the new route answers", SOON, || gateway.send("POST", "/second", &[], b"x").status == 200);
    event("old", "2").send(&gateway).assert_refused(401, "invalid_signature");
    event("new", "2").send(&gateway).assert_accepted();
    // What was remembered stays remembered.
    assert_eq!(event("new", "1").send(&gateway).outcome(), "duplicate");
}

#[test]
fn a_reload_of_a_bad_file_keeps_the_old_configuration_and_says_why() {
    let app = App::start();
    let mut gateway = Setup::new(&routes(&app, "s")).start();
    gateway.rewrite(&routes(&app, "s").replace("provider = \"github\"", "provider = \"githab\""));
    let said = gateway.cli(&["reload"]).failed(1);
    assert!(said.contains("githab"), "{said}");
    event("s", "1").send(&gateway).assert_accepted();
    assert!(gateway.metric("hooklatch_config_reloads_total{result=\"failed\"}") >= 1.0);
    gateway.rewrite(&routes(&app, "t"));
    gateway.cli(&["reload"]).ok();
    event("t", "2").send(&gateway).assert_accepted();
}

#[test]
fn keys_that_need_a_restart_are_refused_by_name() {
    let app = App::start();
    let gateway = Setup::new(&routes(&app, "s")).start();
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    std::fs::write(gateway.config(), text.replacen("[server]", "[server]\nworkers = 1", 1)).unwrap();
    let said = gateway.cli(&["reload"]).failed(1);
    assert!(said.contains("server.workers") && said.contains("restart"), "{said}");
}

#[test]
fn no_request_fails_because_of_a_reload() {
    let app = App::start();
    let gateway = Setup::new(&routes(&app, "s")).start();
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for sender in 0..4 {
            let (gateway, stop, sent) = (&gateway, &stop, &sent);
            scope.spawn(move || {
                let mut connection = gateway.connect();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    if n % 10 == 9 {
                        connection = gateway.connect();
                    }
                    event("s", &format!("{sender}-{n}")).send_on(&mut connection).assert_accepted();
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..10 {
            let before = sent.load(Ordering::Relaxed);
            gateway.cli(&["reload"]).ok();
            wait_until(&format!("events came after reload {round}"), SOON, || {
                sent.load(Ordering::Relaxed) > before + 20
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    app.wait_for(sent.load(Ordering::Relaxed));
}

#[test]
fn a_secret_file_that_changes_is_read_again_without_a_reload() {
    let app = App::start();
    let toml = routes(&app, "x").replace("{ value = \"x\" }", "{ file = \"$DIR/secret\" }");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "first\n").unwrap();
    let gateway = Setup::new(&toml.replace("$DIR", &dir.path().display().to_string())).start();
    event("first", "1").send(&gateway).assert_accepted();
    // As Kubernetes and editors do it: a new file takes the place of the old one.
    let beside = dir.path().join("new");
    std::fs::write(&beside, "second\n").unwrap();
    std::fs::rename(&beside, &path).unwrap();
    wait_until("the new secret is taken up", SOON, || event("second", "2").send(&gateway).status == 200);
    event("first", "3").send(&gateway).assert_refused(401, "invalid_signature");
    // An emptied file is a slip: the old secret stays.
    std::fs::write(&path, "").unwrap();
    gateway.wait_for_log("a warning", |json| {
        json["level"].as_str().is_some_and(|l| l.eq_ignore_ascii_case("warn"))
    });
    event("second", "4").send(&gateway).assert_accepted();
}

#[test]
fn a_bad_configuration_ends_run_with_2_and_every_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.toml");
    std::fs::write(&path, "[routes.a]\npath = \"/a\"\nprovder = \"github\"\ndeliver_to = [\"nowhere\"]\n")
        .unwrap();
    let said = hooklatch(&["run", "-c", &path.display().to_string()]).failed(2);
    assert!(said.contains("provder") && said.contains("provider"), "{said}");
    assert!(said.contains("nowhere"), "{said}");
}

#[test]
fn a_port_in_use_is_said_in_a_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hooklatch.toml");
    let toml = format!(
        "[server]\nlisten = [\"{address}\"]\n[admin]\nlisten = \"\"\n[buffer]\nstore = \"memory\"\npath = \"{}\"\n\
         [routes.a]\npath = \"/*\"\nproxy_to = \"http://127.0.0.1:1\"\n",
        dir.path().join("data").display()
    );
    std::fs::write(&path, toml).unwrap();
    let said = hooklatch(&["run", "-c", &path.display().to_string()]).failed(1);
    assert!(said.contains(&address.to_string()) && !said.contains("panicked"), "{said}");
}
