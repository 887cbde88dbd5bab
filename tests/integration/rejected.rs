//! Refused requests in the running process: listed, explained, let in after the fix.

use crate::harness::{ADMIN_TOKEN, App, Gateway, Setup, Signed, now};

const SECRET: &str = "canary-secret-of-a-route";

fn toml(secret: &str) -> String {
    format!(
        "[routes.github]\npath = \"/github\"\nprovider = \"github\"\nsecrets = [{{ value = \"{secret}\", name = \"main\" }}]\n\
         deliver_to = [\"app\"]\n\
         [routes.billing]\npath = \"/billing\"\nprovider = \"stripe\"\nsecrets = [{{ value = \"{SECRET}-2\", name = \"live\" }}]\n\
         deliver_to = [\"app\"]\n[destinations.app]\nurl = \"$APP\"\n"
    )
}

#[test]
fn a_refused_event_is_found_explained_and_let_in_after_the_fix() {
    let app = App::start();
    let mut gateway = Setup::new(&toml("canary-wrong")).set("APP", app.url()).start();
    let signed = Signed::github("/github", SECRET, "id-1", br#"{"zen":"x"}"#)
        .with("Authorization", "Bearer canary-token");
    let refused = signed.send(&gateway);
    refused.assert_refused(401, "invalid_signature");
    let id = refused.json()["request_id"].as_str().unwrap().to_owned();

    let listed = gateway.cli(&["events", "list", "--status", "rejected"]).ok();
    assert!(listed.contains(&id) && listed.contains("invalid_signature"), "{listed}");
    let json = gateway.cli(&["events", "list", "--status", "rejected", "--route", "github", "--json"]).json();
    assert_eq!(json["events"][0]["id"], id.as_str());
    assert_eq!(json["events"][0]["status"], "rejected");
    let none = gateway.cli(&["events", "list", "--status", "rejected", "--route", "billing"]).ok();
    assert!(none.contains("no such events"), "{none}");
    let shown = gateway.cli(&["events", "show", &id]).ok();
    assert!(shown.contains("invalid_signature") && shown.contains(r#"{"zen":"x"}"#), "{shown}");
    assert!(shown.contains("Authorization: [redacted]") && !shown.contains("canary"), "{shown}");

    let explained = gateway.cli(&["explain", &id]).ok();
    assert!(explained.contains("None of the usual causes"), "{explained}");
    let release = gateway.cli(&["events", "release", &id]).failed(1);
    assert!(release.contains("Refused again"), "{release}");

    gateway.rewrite(&toml(SECRET).replace("$APP", &app.url()));
    gateway.cli(&["reload"]).ok();
    let explained = gateway.cli(&["explain", &id]).ok();
    assert!(explained.contains(&format!("hooklatch events release {id}")), "{explained}");
    let released = gateway.cli(&["events", "release", &id]).ok();
    assert!(released.contains("accepted as hl_"), "{released}");
    let seen = app.wait_for(1).pop().unwrap();
    assert_eq!((seen.body, seen.target.as_str()), (signed.body.clone(), "/github"));
    assert!(gateway.cli(&["events", "release", &id]).failed(1).contains("no refused request"));
    assert_eq!(signed.send(&gateway).outcome(), "duplicate");
    assert!(!gateway.log_lines().iter().any(|line| line.contains("canary")));
}

#[test]
fn a_request_from_an_address_off_the_list_is_let_in_only_where_that_is_said() {
    let app = App::start();
    let mut gateway = Setup::new(&toml("canary-wrong")).set("APP", app.url()).start();
    let refused = Signed::github("/github", SECRET, "id-1", b"{}").send(&gateway);
    let id = refused.json()["request_id"].as_str().unwrap().to_owned();
    let closed =
        toml(SECRET).replace("path = \"/github\"", "path = \"/github\"\nallow_ips = [\"192.0.2.0/24\"]");
    gateway.rewrite(&closed.replace("$APP", &app.url()));
    gateway.cli(&["reload"]).ok();
    let explained = gateway.cli(&["explain", &id, "--json"]).json();
    assert_eq!(explained["verifies_now"], false, "{explained}");
    assert!(explained["hint"].as_str().unwrap().contains("--any-address"), "{explained}");
    let told = gateway.cli(&["events", "release", &id]).failed(1);
    assert!(told.contains("Refused again"), "{told}");
    gateway.cli(&["events", "release", &id, "--any-time"]).failed(1);
    let released = gateway.cli(&["events", "release", &id, "--any-address"]).ok();
    assert!(released.contains("accepted as hl_"), "{released}");
    app.wait_for(1);
}

#[test]
fn the_usual_causes_are_told_at_the_command_line() {
    let app = App::start();
    let gateway = Setup::new(&toml(SECRET)).set("APP", app.url()).start();
    let explain = |signed: &Signed| {
        let refused = signed.send(&gateway);
        let id = refused.json()["request_id"].as_str().unwrap().to_owned();
        gateway.cli(&["explain", &id, "--json"]).json()
    };
    let github = |secret: &str| Signed::github("/github", secret, "id", br#"{"a": 1}"#);
    let touched = explain(&github(SECRET).with_body(b"{\"a\": 1}\n"));
    assert_eq!(
        (touched["step"].as_str(), touched["causes"][0]["kind"].as_str()),
        (Some("signature"), Some("trailing_newline"))
    );
    let rewritten = explain(&github(SECRET).with_body(b"{\"a\":1}"));
    assert_eq!(rewritten["causes"][0]["kind"], "body_rewritten");
    let other = explain(&github(&format!("{SECRET}-2")));
    assert_eq!(other["causes"][0]["kind"], "other_secret");
    assert!(other["causes"][0]["message"].as_str().unwrap().contains("`live` of route `billing`"), "{other}");
    let stale = Signed::stripe("/billing", &format!("{SECRET}-2"), now() - 7200, b"{}");
    let late = explain(&stale);
    assert_eq!(
        (late["step"].as_str(), late["causes"][0]["kind"].as_str()),
        (Some("timestamp"), Some("clock"))
    );
    assert!(late["causes"][0]["message"].as_str().unwrap().contains("m behind"), "{late}");
    let misdirected = explain(&Signed::stripe("/github", "whatever", now(), b"{}"));
    assert_eq!(misdirected["causes"][0]["kind"], "other_provider");
    assert!(misdirected["causes"][0]["message"].as_str().unwrap().contains("\"stripe\""), "{misdirected}");
    assert!(gateway.cli(&["explain", "hl_00000000000000000000000"]).failed(1).contains("no refused request"));
}

#[test]
fn the_header_of_a_provider_of_ones_own_is_recognised_in_a_refused_request() {
    let app = App::start();
    let providers = tempfile::tempdir().unwrap();
    let acme = "display_name = \"Acme\"\ndocs = \"https://example.com/\"\nalgorithm = \"hmac-sha256\"\n\
                signature = { header = \"X-Acme-Proof\" }\n";
    std::fs::write(providers.path().join("acme.toml"), acme).unwrap();
    // `providers_dir` stands before every table.
    let with = |first: &str| {
        format!(
            "{first}[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             token = {{ value = \"{ADMIN_TOKEN}\" }}\n[buffer]\nstore = \"memory\"\npath = \"data\"\n{}",
            toml(SECRET).replace("$APP", &app.url())
        )
    };
    let mut gateway = Setup::whole(&with("")).start();
    let mut misdirected = Signed::github("/github", SECRET, "id", b"{}");
    misdirected.headers.last_mut().unwrap().0 = "X-Acme-Proof".to_owned();
    let explain = |gateway: &Gateway| {
        let refused = misdirected.send(gateway);
        let id = refused.json()["request_id"].as_str().unwrap().to_owned();
        gateway.cli(&["explain", &id, "--json"]).json()
    };
    assert_eq!(explain(&gateway)["causes"], serde_json::json!([]));
    gateway.rewrite(&with(&format!("providers_dir = \"{}\"\n", providers.path().display())));
    gateway.cli(&["reload"]).ok();
    let told = explain(&gateway);
    assert_eq!(told["causes"][0]["kind"], "other_provider", "{told}");
    assert!(told["causes"][0]["message"].as_str().unwrap().contains("\"acme\""), "{told}");
}
