//! The providers' own published libraries sign, the real gateway stands in between, and a real app verifies again
//! with the same libraries: what one side signed the other side must find right, byte for byte, once.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{Gateway, SOON, Setup, Signed, get, now, wait_until};

/// Where `tests/install.sh` put Node's and Python's packages.
fn deps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-deps")
}

const SECRETS: [(&str, &str); 5] = [
    ("GITHUB_SECRET", "canary-github"),
    ("STRIPE_SECRET", "whsec_canary_stripe"),
    ("STANDARD_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="),
    ("SLACK_SECRET", "canary-slack"),
    ("TWILIO_TOKEN", "canary-twilio"),
];

/// A script's process with `secrets` in its environment. Node looks for packages beside the script's own file, so a
/// copy of it is run from where they are.
fn script(file: &str) -> Command {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
    let name = source.file_name().unwrap();
    let mut command = if name.to_str().unwrap().ends_with(".mjs") {
        let copy = deps().join("node").join(name);
        // Two tests may do so at once: the copy takes its place whole.
        let beside = deps().join("node").join(format!(".{}-{}", name.display(), rand_suffix()));
        std::fs::copy(&source, &beside).unwrap_or_else(|error| panic!("{error}; run tests/install.sh first"));
        std::fs::rename(&beside, &copy).unwrap();
        let mut command = Command::new("node");
        command.arg(copy);
        command
    } else {
        let python = deps().join("python/bin/python");
        assert!(python.exists(), "{} is not there; run tests/install.sh first", python.display());
        let mut command = Command::new(python);
        command.arg(source);
        command
    };
    command.envs(SECRETS).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn rand_suffix() -> String {
    format!("{}-{:?}", std::process::id(), std::thread::current().id()).replace(['(', ')'], "")
}

/// A server of `tests/servers`; killed when it is dropped.
struct Server {
    child: Child,
    address: std::net::SocketAddr,
}

impl Server {
    fn start(file: &str) -> Self {
        let mut child = script(file).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let json: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{file} did not start: {line:?}"));
        let address = format!("127.0.0.1:{}", json["port"]).parse().unwrap();
        Self { child, address }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn seen(&self) -> Vec<Value> {
        get(self.address, "/seen").json().as_array().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(file: &str, gateway: &Gateway) -> Vec<Value> {
    let output = script(file).arg(gateway.url("")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{file}: {stderr}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{file}: {stderr}"));
    json.as_array().unwrap().clone()
}

fn gateway(language: &str, app: &Server, routes: &[(&str, &str)]) -> Gateway {
    let mut toml = format!("[destinations.app]\nurl = \"{}\"\nretry = {{ delays = [] }}\n", app.url());
    for (provider, secret) in routes {
        toml.push_str(&format!(
            "[routes.{provider}]\npath = \"/{language}/{provider}\"\nprovider = \"{provider}\"\n\
             secrets = [{{ env = \"{secret}\" }}]\ndeliver_to = [\"app\"]\n"
        ));
    }
    SECRETS.iter().fold(Setup::new(&toml), |setup, (name, value)| setup.env(name, value)).start()
}

/// Sends with `sender` through a gateway to `app`, twice, and holds what was sent against what the app found.
fn round_trip(language: &str, sender: &str, app: &str, routes: &[(&str, &str)]) {
    let app = Server::start(app);
    let gateway = gateway(language, &app, routes);
    let sent = send(sender, &gateway);
    assert_eq!(sent.len(), routes.len());
    for one in &sent {
        assert_eq!((one["status"].as_u64(), one["outcome"].as_str()), (Some(200), Some("accepted")), "{one}");
    }
    wait_until("the app saw every event", SOON, || app.seen().len() >= sent.len());
    let again = send(sender, &gateway);
    // Who signs the time anew sends another body or signature, but the same event.
    for one in &again {
        assert_eq!(
            (one["status"].as_u64(), one["outcome"].as_str()),
            (Some(200), Some("duplicate")),
            "{one}"
        );
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let seen = app.seen();
    assert_eq!(seen.len(), sent.len(), "each event once: {seen:#?}");
    for one in &sent {
        let at_app =
            seen.iter().find(|seen| seen["id"] == one["id"]).unwrap_or_else(|| panic!("{one} is missing"));
        assert_eq!(at_app["verified"], true, "{}'s own library refuses it: {at_app}", one["library"]);
        assert_eq!(at_app["sha256"], one["sha256"], "{one}");
        assert_eq!(at_app["provider"], one["provider"]);
    }
}

#[test]
fn what_the_node_libraries_sign_reaches_a_node_app_that_verifies_it_again() {
    let routes =
        [("github", "GITHUB_SECRET"), ("stripe", "STRIPE_SECRET"), ("standard-webhooks", "STANDARD_SECRET")];
    round_trip("node", "senders/send.mjs", "servers/app.mjs", &routes);
}

#[test]
fn what_the_python_libraries_sign_reaches_a_python_app_that_verifies_it_again() {
    let routes = [
        ("slack", "SLACK_SECRET"),
        ("stripe", "STRIPE_SECRET"),
        ("standard-webhooks", "STANDARD_SECRET"),
        ("twilio", "TWILIO_TOKEN"),
    ];
    round_trip("python", "senders/send.py", "servers/app.py", &routes);
}

/// What a route checks as Stripe and Slack sign, but for the time: what was signed two hours ago is let in, as an event
/// is that waited for two hours. The sender still has the old secret, the app only the new one.
fn late(language: &str, destination: &str) -> String {
    format!(
        r#"
        [routes.stripe]
        path = "/{language}/stripe"
        secrets = [{{ env = "STRIPE_SECRET" }}, {{ value = "the old one" }}]
        deliver_to = ["{destination}"]
        verify = {{ algorithm = "hmac-sha256", signed = "{{timestamp}}.{{body}}", signature = {{ header = "Stripe-Signature", format = "list", keys = ["v1"] }}, timestamp = {{ key = "t", tolerance = "3h" }} }}
        [routes.slack]
        path = "/{language}/slack"
        secrets = [{{ env = "SLACK_SECRET" }}, {{ value = "the old one" }}]
        deliver_to = ["{destination}"]
        verify = {{ algorithm = "hmac-sha256", signed = "v0:{{timestamp}}:{{body}}", signature = {{ header = "X-Slack-Signature", prefix = "v0=" }}, timestamp = {{ header = "X-Slack-Request-Timestamp", tolerance = "3h" }} }}
        "#
    )
}

#[test]
fn what_is_delivered_two_hours_late_passes_the_providers_own_libraries_where_it_is_signed_again() {
    let two_hours_ago = now() - 2 * 3600;
    let body = "{\"id\":\"evt_late\",\"object\":\"event\",\"text\":\"Gr\u{fc}\u{df}e\"}".as_bytes();
    for (language, app, providers) in
        [("python", "servers/app.py", &["stripe", "slack"][..]), ("node", "servers/app.mjs", &["stripe"])]
    {
        for (sign, passes) in [("sign = \"provider\"", true), ("", false)] {
            let app = Server::start(app);
            let destination =
                format!("[destinations.app]\nurl = \"{}\"\nretry = {{ delays = [] }}\n{sign}\n", app.url());
            let setup = Setup::new(&format!("{}{destination}", late(language, "app")));
            let gateway = SECRETS.iter().fold(setup, |setup, (name, value)| setup.env(name, value)).start();
            for provider in providers {
                let target = format!("/{language}/{provider}");
                let signed = match *provider {
                    "stripe" => Signed::stripe(&target, "the old one", two_hours_ago, body),
                    _ => Signed::slack(&target, "the old one", two_hours_ago, body),
                };
                signed.send(&gateway).assert_accepted();
            }
            wait_until("the app saw every event", SOON, || app.seen().len() >= providers.len());
            for seen in app.seen() {
                assert_eq!(seen["verified"], passes, "{language} {sign:?}: {seen}");
            }
        }
    }
}
