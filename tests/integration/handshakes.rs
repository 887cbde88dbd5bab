//! Challenges against the running process, as the files of one's own providers describe them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::{App, Gateway, SOON, Setup, hooklatch, wait_until};

const SECRET: &str = "canary-secret-of-a-route";
const TOP: &str = "display_name = \"Acme\"\ndocs = \"https://example.com/\"\nalgorithm = \"hmac-sha256\"\n\
                   signature = { header = \"X-Sig\" }\n";

const CHALLENGES: &str = r#"
[answer]
status = 202
body = "[accepted]"

[[handshakes]]
method = "GET"
when = { "query:mode" = "subscribe", "query:token" = "{handshake:verify_token}" }
signed = false
text = "{query:challenge}"

[[handshakes]]
method = "GET"
when = { "query:mode" = true }
signed = false
status = 403

[[handshakes]]
method = "GET"
when = { "query:crc_token" = true }
signed = false
json = { response_token = "sha256={base64(hmac-sha256(query:crc_token))}" }

[[handshakes]]
method = "HEAD"
signed = false

[[handshakes]]
method = "OPTIONS"
when = { "header:WebHook-Request-Origin" = true }
signed = false
headers = { WebHook-Allowed-Origin = "{header:WebHook-Request-Origin}" }
"#;

const CAPTURES: &str = r#"
[handshake]
when = { "header:X-Hook-Secret" = true }
signed = false
headers = { X-Hook-Secret = "{header:X-Hook-Secret}" }
capture = "header:X-Hook-Secret"
"#;

/// A folder with the providers `acme`, `cloud` and `keeper`.
fn providers() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.toml"), format!("{TOP}{CHALLENGES}")).unwrap();
    let pinned = format!("{TOP}[pin]\n\"body:/topic\" = \"topic_arn\"\n");
    std::fs::write(folder.path().join("cloud.toml"), pinned).unwrap();
    std::fs::write(folder.path().join("keeper.toml"), format!("{TOP}{CAPTURES}")).unwrap();
    folder
}

fn toml(route: &str) -> String {
    format!(
        "[routes.hook]
path = \"/hook\"
{route}
deliver_to = [\"app\"]
[destinations.app]
url = \"$APP\"
\
         [routes.rest]
path = \"/*\"
proxy_to = \"$APP\"
"
    )
}

fn start(providers: &Path, route: &str, app: &App) -> Gateway {
    // `providers_dir` stands before every table.
    let whole = format!(
        "providers_dir = \"{}\"\n[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         token = {{ value = \"{}\" }}\n[buffer]\nstore = \"memory\"\npath = \"data\"\n{}",
        providers.display(),
        crate::harness::ADMIN_TOKEN,
        toml(route)
    );
    Setup::whole(&whole).set("APP", app.url()).start()
}

fn signed(secret: &str, body: &[u8]) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

#[test]
fn each_method_of_a_challenge_is_answered_and_the_app_sees_none() {
    let (app, folder) = (App::start(), providers());
    let route = format!(
        "provider = \"acme\"\nsecrets = [{{ value = \"{SECRET}\" }}]\n\
         handshake = {{ verify_token = {{ value = \"canary-token\" }} }}"
    );
    let gateway = start(folder.path(), &route, &app);
    let get = |target: &str| gateway.send("GET", target, &[], b"");

    let echo = get("/hook?mode=subscribe&challenge=1158201444&token=canary-token");
    assert_eq!((echo.status, echo.text().as_str()), (200, "1158201444"));
    assert_eq!(echo.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(echo.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(get("/hook?mode=subscribe&challenge=1&token=guess").status, 403);
    let crc = get("/hook?crc_token=abc");
    assert!(crc.json()["response_token"].as_str().unwrap().starts_with("sha256="), "{}", crc.text());
    let head = gateway.send("HEAD", "/hook", &[], b"");
    assert_eq!(head.status, 200);
    let options = gateway.send("OPTIONS", "/hook", &[("WebHook-Request-Origin", "events.example")], b"");
    assert_eq!((options.status, options.header("WebHook-Allowed-Origin")), (200, Some("events.example")));

    for target in ["/hook", "/hook?crc_token=%7B%22a%22%3A1%7D", "/HOOK?crc_token=abc"] {
        let refused = get(target);
        assert!(matches!(refused.status, 404 | 405), "{target}: {}", refused.text());
    }
    let refused = gateway.send("DELETE", "/hook", &[], b"");
    refused.assert_refused(405, "method_not_allowed");
    let body = br#"{"a":1}"#;
    let event = gateway.send("POST", "/hook", &[("X-Sig", &signed(SECRET, body))], body);
    assert_eq!(
        (event.status, event.text().as_str()),
        (202, "[accepted]"),
        "the answer that this provider wants"
    );
    assert_eq!(app.wait_for(1).pop().unwrap().method, "POST");
    // What was signed for a stranger is no event.
    let stolen = signed(SECRET, b"abc");
    gateway.send("POST", "/hook", &[("X-Sig", &stolen)], b"abc").assert_refused(401, "invalid_signature");
    assert!(gateway.metric("hooklatch_requests_total{outcome=\"handshake\",route=\"hook\"}") >= 5.0);
    assert_eq!(app.seen().len(), 1);
}

#[test]
fn a_secret_that_the_provider_hands_over_is_in_force_and_outlives_the_process() {
    let (app, folder) = (App::start(), providers());
    let route = "provider = \"keeper\"\nsecrets = [{ captured = \"1h\" }]";
    let mut gateway = start(folder.path(), route, &app);
    let awaits =
        |gateway: &Gateway| gateway.admin_get("/api/v1/routes")["routes"][0]["awaits_secret_until"].clone();
    assert!(awaits(&gateway).is_string());
    let secret = "canary-b537207f20cbfa02357cf448134da559";
    let body = br#"{"a":1}"#;
    let event = |gateway: &Gateway| gateway.send("POST", "/hook", &[("X-Sig", &signed(secret, body))], body);
    assert_eq!(event(&gateway).status, 401, "nobody's secret is right yet");

    let offered = gateway.send("POST", "/hook", &[("X-Hook-Secret", secret)], b"");
    assert_eq!((offered.status, offered.header("x-hook-secret")), (200, Some(secret)));
    let file = gateway.dir().join("data/captured/hook");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    wait_until("the secret is in force", SOON, || event(&gateway).status == 200);
    assert!(awaits(&gateway).is_null());
    let second = gateway.send("POST", "/hook", &[("X-Hook-Secret", "another-secret-of-a-stranger")], b"");
    assert_eq!(second.status, 401, "the first is the only one");

    assert!(gateway.log_lines().iter().any(|line| line.contains("handed over its secret")));
    gateway.kill();
    gateway.start_again();
    assert_eq!(event(&gateway).status, 200);
    assert!(!gateway.log_lines().iter().any(|line| line.contains(secret)));
}

#[test]
fn check_tells_what_a_challenge_lacks_and_what_cannot_be_captured() {
    let (folder, dir) = (providers(), tempfile::tempdir().unwrap());
    let check = |route: &str| {
        let text = format!(
            "providers_dir = \"{}\"\n{}",
            folder.path().display(),
            toml(route).replace("$APP", "http://127.0.0.1:9")
        );
        let path = dir.path().join("hooklatch.toml");
        std::fs::write(&path, text).unwrap();
        hooklatch(&["check", "-c", &path.display().to_string()])
    };
    let lacks = check("provider = \"acme\"\nsecrets = [{ value = \"canary\" }]");
    assert!(lacks.stderr.contains("answered with `verify_token`"), "{}", lacks.stderr);
    let table = lacks.ok();
    assert!(table.contains("POST,GET,HEAD,OPTIONS"), "{table}");
    let only_post =
        check("provider = \"acme\"\nmethods = [\"POST\"]\nsecrets = [{ value = \"canary\" }]").ok();
    assert!(!only_post.contains("GET"), "{only_post}");
    for (route, part) in [
        ("provider = \"acme\"\nsecrets = [{ captured = \"1h\" }]", "no provider hands over this secret"),
        ("provider = \"keeper\"\nsecrets = [{ captured = \"48h\" }]", "at most \"24h\""),
        ("provider = \"keeper\"\nsecrets = [{ captured = \"1h\", env = \"X\" }]", "is nowhere else"),
        (
            "provider = \"keeper\"\nsecrets = [{ captured = \"1h\" }, { value = \"canary\" }]",
            "this one has others",
        ),
        ("provider = \"keeper\"", "captured = \"1h\""),
        ("provider = \"cloud\"\nsecrets = [{ value = \"canary\" }]", "write handshake = { topic_arn = "),
        (
            "provider = \"acme\"\nsecrets = [{ value = \"canary\" }]\nhandshake = { token = { value = \"canary\" } }",
            "know no `token`",
        ),
    ] {
        let told = check(route).failed(2);
        assert!(told.contains(part) && !told.contains("canary"), "{route}: {told}");
    }
}
