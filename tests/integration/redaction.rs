//! A secret that a request carries is shown by nobody, wherever it stands and however long ago it came.

use crate::harness::{App, Gateway, Reply, SOON, Setup, Signed, hooklatch, wait_until};

const SECRET: &str = "canary-token-0123456789";

/// A route whose requests carry the secret itself, at `signature`.
fn route(signature: &str) -> String {
    format!(
        "[routes.erp]\npath = \"/erp\"\nsecrets = [{{ value = \"{SECRET}\" }}]\ndeliver_to = [\"app\"]\n\
         [routes.erp.verify]\nalgorithm = \"token\"\nsignature = {{ {signature} }}\n"
    )
}

/// Another route, and a destination that takes nothing.
const REST: &str = "[routes.other]\npath = \"/other\"\nverify = \"none\"\ndeliver_to = [\"app\"]\n\
                    [destinations.app]\nurl = \"$APP\"\nretry = { delays = [\"1h\"], jitter = 0.0 }\n";

fn toml(first: &str, app: &App) -> String {
    format!("{first}{REST}").replace("$APP", &app.url())
}

/// Requests with the secret at each place: the place, the target, the content type, the body.
fn requests() -> [(&'static str, String, &'static str, String); 4] {
    let json = "application/json";
    [
        ("header = \"X-Odd\"", "/erp".to_owned(), json, "{\"n\":1}".to_owned()),
        ("query = \"code\"", format!("/erp?n=1&code={SECRET}"), json, "{\"n\":1}".to_owned()),
        (
            "form = \"key\"",
            "/erp".to_owned(),
            "application/x-www-form-urlencoded",
            format!("n=1&key={SECRET}"),
        ),
        (
            "body = \"/hook/key\"",
            "/erp".to_owned(),
            json,
            format!("{{\"n\":1,\"hook\":{{\"key\":\"{SECRET}\"}}}}"),
        ),
    ]
}

#[track_caller]
fn assert_hidden(shown: &str, place: &str) {
    assert!(!shown.contains("canary"), "{place}: {shown}");
    assert!(shown.contains("[redacted]"), "{place}: {shown}");
}

/// What a running gateway shows of an event.
fn shown(gateway: &Gateway, id: &str) -> String {
    let lists = gateway.admin_get("/api/v1/events?limit=100").to_string();
    assert!(!lists.contains("canary"), "{lists}");
    gateway.admin_get(&format!("/api/v1/events/{id}")).to_string()
}

fn last_answer(gateway: &Gateway, id: &str) -> String {
    let event = gateway.admin_get(&format!("/api/v1/events/{id}"));
    event["destinations"][0]["last_answer"].as_str().unwrap().to_owned()
}

#[test]
fn what_an_app_repeats_of_its_own_secret_is_hidden() {
    let app = App::start();
    app.always(Reply::status(500).with_body("wrong key: canary-of-the-app, x%2Fcanary-route"));
    let toml = r#"
        [routes.github]
        path = "/github"
        provider = "github"
        secrets = [{ value = "x/canary-route" }]
        deliver_to = ["app"]
        [destinations.app]
        url = "$APP"
        retry = { delays = ["1h"] }
        headers = { x-key = { value = "canary-of-the-app" } }
        "#;
    let gateway = Setup::new(toml).set("APP", app.url()).start();
    let id = Signed::github("/github", "x/canary-route", "id-1", b"{}").send(&gateway).assert_accepted();
    wait_until("the answer is kept", SOON, || !last_answer(&gateway, &id).is_empty());
    assert_eq!(last_answer(&gateway, &id), "wrong key: [redacted], [redacted]");
}

#[test]
fn a_secret_is_hidden_at_its_place_also_when_the_route_is_another_or_gone() {
    for (place, target, content_type, body) in requests() {
        let app = App::start();
        // It tells in its error what it was sent.
        app.always(Reply::status(500).with_body(format!("{{\"sent\":\"{SECRET}\"}}")));
        let mut gateway = Setup::new(&toml(&route(place), &app)).store("disk").start();
        let headers = [("Content-Type", content_type), ("X-Odd", SECRET)];
        let headers = if place.starts_with("header") { &headers[..] } else { &headers[..1] };
        let id = gateway.send("POST", &target, headers, body.as_bytes()).assert_accepted();
        let seen = app.wait_for(1).pop().unwrap();
        assert_eq!((seen.target.as_str(), &seen.body[..]), (target.as_str(), body.as_bytes()), "{place}");
        wait_until("the answer is kept", SOON, || !last_answer(&gateway, &id).is_empty());
        assert_eq!(last_answer(&gateway, &id), "{\"sent\":\"[redacted]\"}", "{place}");
        assert_hidden(&shown(&gateway, &id), place);
        assert_hidden(&gateway.cli(&["events", "show", &id]).ok(), place);

        gateway.rewrite(&toml(&route("header = \"X-Another\""), &app));
        gateway.cli(&["reload"]).ok();
        assert_hidden(&shown(&gateway, &id), place);
        gateway.rewrite(&toml("", &app));
        gateway.cli(&["reload"]).ok();
        assert_hidden(&shown(&gateway, &id), place);
        gateway.kill();
        gateway.start_again();
        assert_hidden(&shown(&gateway, &id), place);
        gateway.kill();
        let data = gateway.dir().join("data");
        assert_hidden(&hooklatch(&["spool", "dump", data.to_str().unwrap()]).ok(), place);
        // A folder that came without its file of places: nobody knows them.
        std::fs::remove_file(data.join("redactions.json")).unwrap();
        let dumped = hooklatch(&["spool", "dump", data.to_str().unwrap()]).ok();
        assert_hidden(&dumped, place);
        assert!(dumped.contains("\"body\":\"[redacted]\""), "{dumped}");
    }
}

#[test]
fn a_refused_request_does_not_show_the_secret_that_it_holds() {
    for (place, target, content_type, body) in requests() {
        let app = App::start();
        let gateway = Setup::new(&toml(&route(place), &app)).start();
        // A right secret with something behind it, as a mistaken console sends it.
        let spoilt = |text: &str| text.replace(SECRET, &format!("{SECRET}x"));
        let value = spoilt(SECRET);
        let headers = [("Content-Type", content_type), ("X-Odd", value.as_str())];
        let headers = if place.starts_with("header") { &headers[..] } else { &headers[..1] };
        let refused = gateway.send("POST", &spoilt(&target), headers, spoilt(&body).as_bytes());
        refused.assert_refused(401, "invalid_signature");
        let id = refused.json()["request_id"].as_str().unwrap().to_owned();
        let shown = gateway.admin_get(&format!("/api/v1/events/{id}")).to_string();
        assert_hidden(&shown, place);
        let explained = gateway.admin_get(&format!("/api/v1/events/{id}/explain")).to_string();
        assert!(!explained.contains("canary"), "{explained}");
        let listed = gateway.admin_get("/api/v1/events?status=rejected").to_string();
        assert!(listed.contains(&id) && !listed.contains("canary"), "{listed}");
        wait_until("the line is logged", SOON, || !gateway.log_lines().is_empty());
        assert!(!gateway.log_lines().iter().any(|line| line.contains("canary")), "{place}");
    }
}

#[test]
fn what_would_be_logged_and_listed_is_no_secret() {
    let check = |more: &str| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hooklatch.toml");
        let text = route("query = \"code\"").replace("deliver_to", &format!("{more}\ndeliver_to"));
        std::fs::write(&path, format!("{text}{REST}").replace("$APP", "http://127.0.0.1:9")).unwrap();
        hooklatch(&["check", "-c", path.to_str().unwrap()])
    };
    check("event_id = \"query:id\"").ok();
    for key in ["event_id", "event_type"] {
        let told = check(&format!("{key} = \"query:code\"")).failed(2);
        assert!(told.contains("the secret itself stands at \"query:code\""), "{told}");
    }
}

#[test]
fn a_start_goes_on_where_the_places_cannot_be_written_or_read() {
    let app = App::start();
    let mut gateway = Setup::new(&toml(&route("query = \"code\""), &app)).store("disk").start();
    gateway.kill();
    let data = gateway.dir().join("data");
    let error = |what: &'static str| {
        move |line: &serde_json::Value| line["level"] == "error" && line.to_string().contains(what)
    };
    // As on a full disk: the file cannot be replaced.
    std::fs::create_dir_all(data.join("redactions.new").join("x")).unwrap();
    gateway.rewrite(&toml(&route("header = \"X-Odd\""), &app));
    gateway.start_again();
    gateway.wait_for_log("what cannot be written", error("redactions.json"));
    let id = gateway.send("POST", "/erp", &[("X-Odd", SECRET)], b"{}").assert_accepted();
    app.wait_for(1);
    assert_hidden(&shown(&gateway, &id), "in memory");
    gateway.rewrite(&toml(&route("header = \"X-New\""), &app));
    let refused = gateway.cli(&["reload"]).failed(1);
    assert!(refused.contains("cannot write"), "{refused}");
    std::fs::remove_dir_all(data.join("redactions.new")).unwrap();
    let known = || std::fs::read_to_string(data.join("redactions.json")).unwrap();
    wait_until("it is written", SOON, || known().contains("x-odd"));
    gateway.cli(&["reload"]).ok();
    assert!(known().contains("query:code") && known().contains("x-new"), "{}", known());

    gateway.kill();
    std::fs::write(data.join("redactions.json"), "{").unwrap();
    gateway.start_again();
    gateway.wait_for_log("what cannot be read", error("is damaged"));
    let id = gateway.send("POST", "/erp", &[("X-New", SECRET)], b"{\"n\":1}").assert_accepted();
    app.wait_for(2);
    let shown = shown(&gateway, &id);
    assert!(shown.contains("\"body\":\"[redacted]\"") && !shown.contains("canary"), "{shown}");
    assert_eq!(known(), "{");
}
