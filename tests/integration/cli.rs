//! The commands as a user types them: what they print, and how they end.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use crate::harness::{App, SOON, Setup, hooklatch, hooklatch_with, spawn_hooklatch, wait_for};

const ROUTES: &str = r#"
[routes.github]
path = "/github"
provider = "github"
secrets = [{ value = "s" }]
deliver_to = ["app"]
[destinations.app]
url = "$APP"
"#;

#[test]
fn help_lists_the_commands_there_are_and_no_others() {
    let help = hooklatch(&["--help"]).ok();
    for command in [
        "run",
        "check",
        "providers",
        "sign",
        "verify",
        "send",
        "listen",
        "status",
        "reload",
        "events",
        "dead",
        "explain",
        "destinations",
        "spool",
        "demo",
    ] {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(command)),
            "{command} is not in:\n{help}"
        );
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    hooklatch(&["frobnicate"]).failed(2);
    hooklatch(&["send"]).failed(2);
    hooklatch(&[]).failed(2);
    assert!(hooklatch(&["--version"]).ok().contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn check_prints_what_goes_where_and_ends_with_2_on_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hooklatch.toml");
    let file = path.display().to_string();
    std::fs::write(&path, ROUTES.replace("$APP", "http://127.0.0.1:3000")).unwrap();
    let table = hooklatch(&["check", "-c", &file]).ok();
    assert!(table.contains("/github") && table.contains("app"), "{table}");
    std::fs::write(&path, ROUTES.replace("$APP", "http://127.0.0.1:3000").replace("path =", "paht ="))
        .unwrap();
    let said = hooklatch(&["check", "-c", &file]).failed(2);
    assert!(said.contains("paht") && said.contains("did you mean"), "{said}");
    let missing = hooklatch(&["check", "-c", "/nonexistent/hooklatch.toml"]).failed(2);
    assert!(missing.contains("/nonexistent/hooklatch.toml"), "{missing}");
}

#[test]
fn check_without_secrets_needs_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hooklatch.toml");
    let file = path.display().to_string();
    let toml = ROUTES.replace("$APP", "http://127.0.0.1:3000");
    std::fs::write(&path, toml.replace("value = \"s\"", "env = \"HOOKLATCH_IT_NEVER_SET\"")).unwrap();
    let said = hooklatch(&["check", "-c", &file]).failed(2);
    assert!(said.contains("HOOKLATCH_IT_NEVER_SET"), "{said}");
    hooklatch(&["check", "--no-secrets", "-c", &file]).ok();
}

#[test]
fn providers_are_listed_and_described() {
    let table = hooklatch(&["providers"]).ok();
    for name in [
        "github",
        "stripe",
        "shopify",
        "slack",
        "standard-webhooks",
        "svix",
        "gitlab",
        "bitbucket",
        "linear",
        "twilio",
    ] {
        assert!(table.contains(name), "{name} is not in:\n{table}");
    }
    let list = hooklatch(&["providers", "--json"]).json();
    assert!(list.as_array().is_some_and(|list| list.len() >= 10), "{list}");
    assert!(hooklatch(&["providers", "stripe"]).ok().contains("https://"));
    let told = hooklatch(&["providers", "stripe"]).ok();
    for fact in [
        "the secret's text as it stands",
        "in the signature's item t, as UNIX seconds; it may be 5m off",
        "event id at",
        "body:/id",
        "body:/type",
        "allow_ips = [\"@stripe\"]",
    ] {
        assert!(told.contains(fact), "{fact} is not in:\n{told}");
    }
    let meta = hooklatch(&["providers", "meta"]).ok();
    assert!(meta.contains("GET with query:hub.mode = \"subscribe\""), "{meta}");
    assert!(meta.contains("before the signature is checked") && meta.contains("verify_token = …"), "{meta}");
    let json = hooklatch(&["providers", "stripe", "--json"]).json();
    assert_eq!(json["timestamp"]["tolerance"], "5m");
    assert_eq!(
        (&json["event_id_at"], &json["ip_list"]["name"]),
        (&"body:/id".into(), &"@stripe".into()),
        "{json}"
    );
    let unknown = hooklatch(&["providers", "strpe"]).failed(1);
    assert!(unknown.contains("stripe"), "{unknown}");
}

#[test]
fn sign_prints_headers_that_curl_and_the_gateway_take() {
    let app = App::start();
    let gateway = Setup::new(ROUTES).set("APP", app.url()).start();
    let printed = hooklatch_with(&["sign", "-p", "github", "--secret", "s"], b"{\"a\":1}").ok();
    let headers: Vec<(String, String)> = printed
        .lines()
        .map(|line| {
            let inner = line.trim().strip_prefix("-H '").and_then(|l| l.strip_suffix('\'')).expect(line);
            let (name, value) = inner.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect();
    let mut headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    headers.push(("X-GitHub-Delivery", "1"));
    gateway.send("POST", "/github", &headers, b"{\"a\":1}").assert_accepted();
    // Known answer, from GitHub's own documentation of X-Hub-Signature-256.
    let known =
        hooklatch_with(&["sign", "-p", "github", "--secret", "It's a Secret to Everybody"], b"Hello, World!")
            .ok();
    assert!(
        known.contains("sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),
        "{known}"
    );
    hooklatch_with(&["sign", "-p", "github"], b"").failed(2);
}

#[test]
fn send_reports_statuses_and_latencies_and_fails_on_refusals() {
    let app = App::start();
    let gateway = Setup::new(ROUTES).set("APP", app.url()).start();
    let url = gateway.url("/github");
    let report =
        hooklatch(&["send", &url, "-p", "github", "--secret", "s", "--count", "25", "--concurrency", "4"])
            .ok();
    assert!(report.contains("25") && report.contains("200") && report.contains("p99"), "{report}");
    assert_eq!(app.wait_for(25).len(), 25, "each has an id of its own");
    let refused = hooklatch(&["send", &url, "-p", "github", "--secret", "wrong"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stdout.contains("401"), "{refused:?}");
    let json = hooklatch(&["send", &url, "-p", "github", "--secret", "s", "--json"]).json();
    assert_eq!(json["statuses"]["200"], 1, "{json}");
    let nobody = hooklatch(&["send", "http://127.0.0.1:1/", "-p", "github", "--secret", "s"]).failed(1);
    assert!(nobody.contains("127.0.0.1:1"), "{nobody}");
}

#[test]
fn send_keeps_to_its_rate() {
    let app = App::start();
    let gateway = Setup::new(ROUTES).set("APP", app.url()).start();
    let url = gateway.url("/github");
    let begun = std::time::Instant::now();
    hooklatch(&["send", &url, "-p", "github", "--secret", "s", "--count", "20", "--rate", "40/s"]).ok();
    // 20 events, evenly spaced: the last leaves 19 × 25 ms after the first.
    assert!(begun.elapsed() >= Duration::from_millis(470), "{:?}", begun.elapsed());
}

#[test]
fn listen_prints_what_arrives() {
    let mut bin = spawn_hooklatch(&["listen", "127.0.0.1:0"]);
    let mut lines = BufReader::new(bin.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.split_whitespace().find_map(|word| word.trim_start_matches("http://").parse().ok());
    let response =
        crate::harness::send(address.expect(&first), "POST", "/x?y=1", &[("X-Kind", "a")], b"hello bin");
    assert_eq!(response.status, 200);
    let mut printed = String::new();
    while !printed.contains("hello bin") {
        printed.push_str(&lines.next().unwrap().unwrap());
        printed.push('\n');
    }
    bin.kill().unwrap();
    bin.wait().unwrap();
    assert!(printed.contains("POST /x?y=1") && printed.contains("x-kind: a"), "{printed}");
}

#[test]
fn status_tells_what_is_going_on() {
    let app = App::start();
    let gateway = Setup::new(ROUTES).set("APP", app.url()).start();
    let text = gateway.cli(&["status"]).ok();
    assert!(text.contains("app"), "{text}");
    let json = gateway.cli(&["status", "--json"]).json();
    assert!(json["version"].is_string(), "{json}");
    // With the configuration alone: address and token are found in it.
    let file = gateway.config().display().to_string();
    let said = hooklatch(&["status", "-c", &file]);
    let end = (said.code, said.stderr.contains("--admin"));
    assert!(end.0 == Some(0) || end.1, "port 0 in the file cannot be guessed: {said:?}");
}

#[test]
fn a_gateway_that_does_not_run_is_said_with_what_to_do_next() {
    let said = hooklatch(&["status", "--admin", "http://127.0.0.1:1"]).failed(1);
    assert!(said.contains("127.0.0.1:1") && said.contains("hooklatch run"), "{said}");
}

#[test]
fn a_wrong_token_is_said_with_where_the_right_one_is() {
    let app = App::start();
    let gateway = Setup::new(ROUTES).set("APP", app.url()).start();
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "wrong").unwrap();
    let admin = format!("http://{}", gateway.admin());
    let said =
        hooklatch(&["status", "--admin", &admin, "--token-file", &token.display().to_string()]).failed(1);
    assert!(said.contains("token"), "{said}");
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let mut child = spawn_hooklatch(&["providers", "--json"]);
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn demo_shows_a_valid_a_duplicate_a_forged_and_a_stale_event() {
    let shown = hooklatch(&["demo", "--once"]).ok();
    for word in ["accepted", "duplicate", "invalid_signature", "timestamp_out_of_tolerance"] {
        assert!(shown.contains(word), "{word} is not in:\n{shown}");
    }
}

#[test]
fn demo_stays_up_with_addresses_to_try() {
    let mut demo = spawn_hooklatch(&["demo"]);
    let stdout = demo.stdout.take().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = tell.send(line);
        }
    });
    let mut all = Vec::new();
    wait_for("demo offers something to try", SOON, || {
        all.extend(told.try_iter());
        all.iter().find(|line| line.contains("hooklatch send http://")).cloned()
    });
    assert!(demo.try_wait().unwrap().is_none(), "demo ended by itself");
    let pid = rustix::process::Pid::from_child(&demo);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = demo.wait().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn listen_fails_and_waits_as_it_is_told() {
    let mut bin = spawn_hooklatch(&["listen", "127.0.0.1:0", "--fail", "100%", "--delay", "150ms"]);
    let mut lines = BufReader::new(bin.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.split_whitespace().find_map(|word| word.trim_start_matches("http://").parse().ok());
    let begun = std::time::Instant::now();
    let response = crate::harness::send(address.expect(&first), "POST", "/", &[], b"x");
    let took = begun.elapsed();
    bin.kill().unwrap();
    bin.wait().unwrap();
    assert_eq!(response.status, 500);
    assert!(took >= Duration::from_millis(150), "{took:?}");
}

#[test]
fn send_takes_type_body_and_a_secret_from_a_file_and_lists_are_narrowed() {
    let app = App::start();
    let gateway = Setup::new(ROUTES).set("APP", app.url()).start();
    let path = |name: &str, text: &str| {
        let path = gateway.dir().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    // The newline that editors add belongs to no secret.
    let (secret, body) = (path("secret", "s\n"), path("body", "{\"my\":\"body\"}"));
    let url = gateway.url("/github");
    hooklatch(&["send", &url, "-p", "github", "--secret-file", &secret, "--type", "issues", "--body", &body])
        .ok();
    hooklatch(&["send", &url, "-p", "github", "--secret-file", &secret, "--type", "star"]).ok();
    // They go to the app side by side, so either may be there first.
    let mut seen = app.wait_for(2);
    seen.sort_by_key(|one| one.header("hooklatch-event-type").map(str::to_owned));
    assert_eq!(
        (seen[0].text().as_str(), seen[0].header("hooklatch-event-type")),
        ("{\"my\":\"body\"}", Some("issues"))
    );
    assert_eq!(seen[1].header("hooklatch-event-type"), Some("star"));
    for (args, wanted) in [
        (&["--type", "issues"][..], 1),
        (&["--type", "*"], 2),
        (&["--since", "1h"], 2),
        (&["--until", "1h"], 0),
        (&["--limit", "1"], 1),
        (&["--destination", "app", "--route", "github"], 2),
        (&["--destination", "other"], 0),
    ] {
        let all = [&["events", "list", "--json"], args].concat();
        let listed = gateway.cli(&all).json();
        assert_eq!(listed["events"].as_array().unwrap().len(), wanted, "{args:?}: {listed}");
    }
}

/// The vector of twilio-python's tests/unit/test_request_validator.py.
#[test]
fn sign_signs_the_url_where_the_provider_does() {
    let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
    let form =
        "Digits=1234&To=%2B18005551212&From=%2B14158675309&Caller=%2B14158675309&CallSid=CA1234567890ABCDE";
    let args = ["sign", "-p", "twilio", "--url", url, "--secret", "12345"];
    let signed = hooklatch_with(&args, form.as_bytes()).ok();
    assert!(signed.contains("RSOYDt4T1cUTdK1PDd93/VVr8B8="), "{signed}");
    let said = hooklatch_with(&["sign", "-p", "twilio", "--secret", "12345"], form.as_bytes()).failed(2);
    assert!(said.contains("--url"), "{said}");
}
