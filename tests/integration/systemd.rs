//! The shipped units and configurations: what systemd thinks of them, and what the process tells systemd.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{App, SOON, Setup, hooklatch_clean, wait_until};

const UNITS: [&str; 2] = ["hooklatch.service", "hooklatch-sidecar@.service"];
/// The highest exposure that `systemd-analyze security` may find.
const MOST_EXPOSED: f64 = 2.0;

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs `systemd-analyze`; both streams together.
fn systemd_analyze(args: &[&str], unit: &Path) -> (bool, String) {
    let output = Command::new("systemd-analyze").args(args).arg(unit).env("NO_COLOR", "1").output();
    let output = output.unwrap_or_else(|error| {
        panic!("systemd-analyze cannot be run ({error}): install it (Debian: apt-get install systemd)")
    });
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// `→ Overall exposure level for hooklatch.service: 1.2 OK 🙂`
fn exposure(said: &str) -> f64 {
    let last = said.lines().rfind(|line| line.contains("Overall exposure level"));
    let last = last.unwrap_or_else(|| panic!("no exposure level in: {said}"));
    let figure = last.rsplit_once(": ").and_then(|(_, rest)| rest.split(' ').next());
    figure.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no figure in: {last}"))
}

#[test]
fn the_units_are_sandboxed() {
    for unit in UNITS {
        let path = shipped("systemd").join(unit);
        let (_, said) = systemd_analyze(&["security", "--offline=true"], &path);
        let exposure = exposure(&said);
        assert!(exposure <= MOST_EXPOSED, "{unit} is exposed: {exposure} > {MOST_EXPOSED}\n{said}");
    }
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let dir = tempfile::tempdir().unwrap();
    for unit in UNITS {
        // Where the tests run nothing is installed: the binary of this build stands in for the installed one.
        let text = std::fs::read_to_string(shipped("systemd").join(unit)).unwrap();
        let installed = "ExecStart=/usr/local/bin/hooklatch ";
        assert!(text.contains(installed), "{unit}");
        let path = dir.path().join(unit);
        let built = concat!("ExecStart=", env!("CARGO_BIN_EXE_hooklatch"), " ");
        std::fs::write(&path, text.replace(installed, built)).unwrap();
        let (fine, said) = systemd_analyze(&["verify", "--man=no"], &path);
        // A line that systemd does not know is a warning of its, and no failure.
        let about_ours: Vec<_> = said.lines().filter(|line| line.contains("hooklatch")).collect();
        assert!(fine && about_ours.is_empty(), "{unit}: {said}");
    }
}

/// The next words to the service manager, one a line.
fn told(socket: &UnixDatagram) -> Vec<String> {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).expect("nothing was said to NOTIFY_SOCKET");
    String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect()
}

#[test]
fn the_service_manager_is_told_of_start_reload_and_stop() {
    let app = App::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut gateway = Setup::new("[routes.all]\npath = \"/*\"\nproxy_to = \"$APP\"\n")
        .set("APP", app.url())
        .notify(&path)
        .start();
    assert!(told(&socket).contains(&"READY=1".to_owned()));
    // READY means that it serves.
    assert_eq!(gateway.send("GET", "/", &[], b"").status, 200);
    gateway.signal(Signal::HUP);
    let reloading = told(&socket);
    assert!(reloading.contains(&"RELOADING=1".to_owned()), "{reloading:?}");
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    assert!(told(&socket).contains(&"READY=1".to_owned()));
    // A reload that is refused ends, too: the service goes on.
    std::fs::write(gateway.config(), "nonsense").unwrap();
    gateway.signal(Signal::HUP);
    assert!(told(&socket).contains(&"RELOADING=1".to_owned()));
    assert!(told(&socket).contains(&"READY=1".to_owned()));
    gateway.signal(Signal::TERM);
    assert!(told(&socket).contains(&"STOPPING=1".to_owned()));
    assert!(gateway.wait_for_exit(SOON).success());
}

#[test]
fn the_shipped_configurations_are_right_where_no_secret_is_set() {
    for file in ["conf/hooklatch.toml", "systemd/sidecar.toml"] {
        let path = shipped(file);
        let done = hooklatch_clean(&["check", "-c", path.to_str().unwrap()], Path::new("/"));
        assert!(!done.ok().is_empty(), "{file}");
    }
}

/// What `make run` does, on ports of the system's choice and toward a port where an app is.
#[test]
fn the_shipped_configuration_runs_and_passes_requests_through() {
    let app = App::start();
    let text = std::fs::read_to_string(shipped("conf/hooklatch.toml")).unwrap();
    let (listen, admin, to) =
        ("[\"127.0.0.1:8080\"]", "listen = \"127.0.0.1:4665\"", "http://127.0.0.1:3000");
    let live = |wanted: &str| text.lines().any(|line| !line.starts_with('#') && line.contains(wanted));
    assert!(live(listen) && live(admin) && live(to), "the shipped file listens elsewhere");
    let text = text
        .replace(listen, "[\"127.0.0.1:0\"]")
        .replace(admin, "listen = \"127.0.0.1:0\"")
        .replace(&format!("\"{to}\""), &format!("\"{}\"", app.url()));
    let gateway = Setup::whole(&text).start();
    assert_eq!(gateway.send("GET", "/some/page?x=1", &[], b"").status, 200);
    assert_eq!(app.wait_for(1)[0].target, "/some/page?x=1");
    // The state folder stands beside the working directory's files, and holds a token that only its owner reads.
    let token = gateway.dir().join("hooklatch-data/admin-token");
    wait_until("the token is made", Duration::from_secs(5), || token.exists());
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&token.metadata().unwrap().permissions()) & 0o777,
        0o600
    );
    // The command line finds the token by itself.
    let admin = format!("http://{}", gateway.admin());
    let config = gateway.config().display().to_string();
    let status = hooklatch_clean(&["status", "--json", "-c", &config, "--admin", &admin], gateway.dir());
    assert_eq!(status.json()["ready"], true);
}
