//! What an operator sees from outside: the metrics and the admin API of a gateway that has had events of every kind.

use serde_json::Value;

use crate::harness::{
    ADMIN_TOKEN, App, Connection, Gateway, Reply, SOON, Setup, Signed, hooklatch, now, request, wait_until,
};

const SECRET: &str = "canary-secret-of-a-route";

fn gateway(app: &App) -> Gateway {
    Setup::new(
        r#"
        [routes.github]
        path = "/github"
        provider = "github"
        secrets = [{ value = "canary-secret-of-a-route", name = "first" }]
        max_body = "1KiB"
        deliver_to = ["app"]

        [routes.slack]
        path = "/slack"
        provider = "slack"
        secrets = [{ value = "canary-secret-of-a-route" }]
        deliver_to = ["app"]

        [routes.timed]
        path = "/timed"
        verify = "none"
        event_id = "header:x-id"
        event_time = "body:/at"
        deliver_to = ["app"]

        [routes.rest]
        path = "/*"
        proxy_to = "$APP"

        [destinations.app]
        url = "$APP"
        retry = { delays = ["20ms"], jitter = 0.0 }
        "#,
    )
    .set("APP", app.url())
    .start()
}

fn event(id: &str) -> Signed {
    Signed::github("/github", SECRET, id, b"{}")
}

/// One event or request of every outcome that there is without a failing disk.
fn live_through_everything(app: &App, gateway: &Gateway) {
    event("fine").send(gateway).assert_accepted();
    app.wait_for(1);
    assert_eq!(event("fine").send(gateway).outcome(), "duplicate");
    app.script([Reply::status(500), Reply::status(503)]);
    event("dies").send(gateway).assert_accepted();
    wait_until("an event died", SOON, || gateway.metric("hooklatch_dead_events{destination=\"app\"}") == 1.0);
    assert_eq!(event("dies").send(gateway).outcome(), "requeued");
    app.wait_for(4);
    app.script([Reply::status(410)]);
    event("gone").send(gateway).assert_accepted();
    wait_until("another died", SOON, || gateway.metric("hooklatch_dead_events{destination=\"app\"}") == 1.0);
    let challenge = br#"{"token":"x","challenge":"abc","type":"url_verification"}"#;
    assert_eq!(Signed::slack("/slack", SECRET, now(), challenge).send(gateway).status, 200);
    let body = format!("{{\"at\":{}}}", now() - 60);
    gateway.send("POST", "/timed", &[("X-Id", "1")], body.as_bytes()).assert_accepted();
    app.wait_for(6);
    assert_eq!(gateway.send("GET", "/page", &[], b"").status, 200);
    Signed::github("/github", "wrong", "f", b"{}").send(gateway).assert_refused(401, "invalid_signature");
    gateway.send("GET", "/github", &[], b"").assert_refused(405, "method_not_allowed");
    event("large").with_body(&[b'x'; 2000]).send(gateway).assert_refused(413, "payload_too_large");
    gateway
        .connect()
        .send(b"POST /github HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n");
    gateway.cli(&["reload"]).ok();
}

#[test]
fn every_metric_of_the_contract_counts_what_happened() {
    let app = App::start();
    let gateway = gateway(&app);
    live_through_everything(&app, &gateway);
    let expected = [
        (r#"hooklatch_requests_total{outcome="accepted",route="github"}"#, 3.0),
        (r#"hooklatch_requests_total{outcome="duplicate",route="github"}"#, 1.0),
        (r#"hooklatch_requests_total{outcome="requeued",route="github"}"#, 1.0),
        (r#"hooklatch_requests_total{outcome="handshake",route="slack"}"#, 1.0),
        (r#"hooklatch_requests_total{outcome="passed",route="rest"}"#, 1.0),
        (r#"hooklatch_requests_total{outcome="invalid_signature",route="github"}"#, 1.0),
        (r#"hooklatch_requests_total{outcome="method_not_allowed",route="github"}"#, 1.0),
        (r#"hooklatch_requests_total{outcome="payload_too_large",route="github"}"#, 1.0),
        (r#"hooklatch_requests_total{outcome="malformed_request",route=""}"#, 1.0),
        (r#"hooklatch_ack_seconds_count{route="timed"}"#, 1.0),
        (r#"hooklatch_delivery_attempts_total{destination="app",result="delivered",status="2xx"}"#, 3.0),
        (r#"hooklatch_delivery_attempts_total{destination="app",result="retry",status="5xx"}"#, 1.0),
        (r#"hooklatch_delivery_attempts_total{destination="app",result="dead",status="5xx"}"#, 1.0),
        (r#"hooklatch_delivery_attempts_total{destination="app",result="dead",status="4xx"}"#, 1.0),
        (r#"hooklatch_first_attempt_total{destination="app",result="failed"}"#, 2.0),
        (r#"hooklatch_delivery_seconds_count{destination="app"}"#, 3.0),
        (r#"hooklatch_event_age_seconds_count{destination="app"}"#, 1.0),
        (r#"hooklatch_events_total{result="accepted",route="github",type="push"}"#, 3.0),
        (r#"hooklatch_buffer_events{destination="app"}"#, 0.0),
        (r#"hooklatch_buffer_bytes{destination="app"}"#, 0.0),
        (r#"hooklatch_oldest_pending_seconds{destination="app"}"#, 0.0),
        (r#"hooklatch_dead_events{destination="app"}"#, 1.0),
        ("hooklatch_dedupe_ids", 4.0),
        ("hooklatch_dedupe_evicted_total", 0.0),
        (r#"hooklatch_limit_hits_total{limit="max_body"}"#, 1.0),
        (r#"hooklatch_config_reloads_total{result="ok"}"#, 1.0),
        (r#"hooklatch_route_info{ack="memory",route="github"}"#, 1.0),
        ("hooklatch_log_lines_lost_total", 0.0),
        ("hooklatch_panics_total", 0.0),
        ("hooklatch_storage_failures_total", 0.0),
        (concat!("hooklatch_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ];
    // Counted after the app's answer: a moment later.
    let delivered = r#"hooklatch_delivery_seconds_count{destination="app"}"#;
    wait_until("the last delivery is counted", SOON, || gateway.metric(delivered) >= 3.0);
    let text = gateway.admin_request("GET", "/metrics", "").text();
    for (series, value) in expected {
        // A series that is not there is no zero.
        let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == series));
        let line = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
        assert_eq!(line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap(), value, "{line}\n{text}");
    }
    for (series, least) in [
        (r#"hooklatch_event_age_seconds_sum{destination="app"}"#, 59.0),
        ("hooklatch_dead_bytes", 1.0),
        (r#"hooklatch_secret_hits_total{route="github",secret="first"}"#, 4.0),
    ] {
        assert!(gateway.metric(series) >= least, "{series} is {}", gateway.metric(series));
    }
    let kept = gateway.connect();
    wait_until("an open connection is counted", SOON, || gateway.metric("hooklatch_connections") >= 1.0);
    drop(kept);
    wait_until("and a closed one is not", SOON, || gateway.metric("hooklatch_connections") == 0.0);
}

#[test]
fn every_page_of_the_admin_api_answers() {
    let app = App::start();
    let gateway = gateway(&app);
    live_through_everything(&app, &gateway);
    let status = gateway.admin_get("/api/v1/status");
    assert_eq!(
        (&status["ready"], &status["buffer"]["dead_events"]),
        (&Value::from(true), &Value::from(1)),
        "{status}"
    );
    assert_eq!(status["last_reload"]["result"], "ok");

    let routes = gateway.admin_get("/api/v1/routes");
    let github = routes["routes"].as_array().unwrap().iter().find(|route| route["name"] == "github").unwrap();
    assert_eq!(github["secrets"][0]["name"], "first");
    assert!(
        github["secrets"][0]["loaded_at"].is_string() && github["secrets"][0]["last_match_at"].is_string()
    );

    let destinations = gateway.admin_get("/api/v1/destinations");
    assert_eq!(destinations["destinations"][0]["name"], "app");
    assert_eq!(destinations["destinations"][0]["dead_events"], 1);

    let count = |target: &str| gateway.admin_get(target)["events"].as_array().unwrap().len();
    wait_until("all is settled", SOON, || count("/api/v1/events?status=pending") == 0);
    for (query, wanted) in [
        ("", 4),
        ("?route=github", 3),
        ("?route=timed&status=delivered", 1),
        ("?destination=app&status=dead", 1),
        ("?destination=nowhere", 0),
        ("?id=gone", 1),
        ("?type=push", 3),
        ("?type=none.*", 0),
        ("?since=1h", 4),
        ("?until=1h", 0),
        ("?limit=1", 1),
    ] {
        assert_eq!(count(&format!("/api/v1/events{query}")), wanted, "{query}");
    }
    let first = gateway.admin_get("/api/v1/events?limit=3");
    let next = first["next_cursor"].as_str().unwrap();
    assert_eq!(count(&format!("/api/v1/events?limit=3&cursor={next}")), 1);
    let dead = gateway.admin_get("/api/v1/dead");
    let id = dead["events"][0]["id"].as_str().unwrap().to_owned();
    let shown = gateway.admin_get(&format!("/api/v1/events/{id}"));
    let attempt = &shown["destinations"][0]["attempts"][0];
    assert_eq!(attempt["status"], 410, "{shown}");
    assert!(attempt["at"].is_string() && attempt["took_ms"].is_number(), "{shown}");
    assert_eq!(shown["body"], "{}");

    for (target, body) in [
        (format!("/api/v1/events/{id}/replay"), ""),
        ("/api/v1/dead/replay".to_owned(), "{}"),
        ("/api/v1/dead/drop".to_owned(), "{\"all\":true}"),
        ("/api/v1/destinations/app/pause".to_owned(), "{\"for\":\"5ms\"}"),
        ("/api/v1/destinations/app/resume".to_owned(), ""),
        ("/api/v1/destinations/app/drain".to_owned(), ""),
        ("/api/v1/reload".to_owned(), ""),
    ] {
        let answer = gateway.admin_request("POST", &target, body);
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    }
    for later in ["destinations/app/test", "routes/github/test"] {
        gateway
            .admin_request("POST", &format!("/api/v1/{later}"), "")
            .assert_refused(501, "not_yet_supported");
    }
    gateway.admin_request("GET", "/api/v1/nothing", "").assert_refused(404, "not_found");
    let changed = gateway.wait_for_log("who replayed", |json| json.to_string().contains("replay"));
    assert!(changed.to_string().contains("token"), "{changed}");
    assert!(!gateway.log_lines().join("\n").contains(ADMIN_TOKEN));
}

#[test]
fn a_web_page_gets_nothing_out_of_the_admin_listener() {
    let app = App::start();
    let gateway = gateway(&app);
    let token = format!("Bearer {ADMIN_TOKEN}");
    let own = gateway.admin().to_string();
    for headers in [
        vec![("Host", "evil.example.com")],
        vec![("Host", own.as_str()), ("Origin", "https://evil.example.com")],
        vec![("Host", own.as_str()), ("Sec-Fetch-Site", "cross-site")],
    ] {
        let mut headers = headers;
        headers.push(("Authorization", &token));
        for target in ["/api/v1/status", "/metrics"] {
            let answer = Connection::open(gateway.admin()).send(&request("GET", target, &headers, b""));
            assert_eq!(answer.status, 403, "{target} {headers:?}: {}", answer.text());
        }
    }
}

#[test]
fn an_admin_socket_asks_for_no_token_and_the_command_line_speaks_to_it() {
    use std::os::unix::fs::PermissionsExt;
    let app = App::start();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let toml = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"unix:{}\"\n[buffer]\nstore = \"memory\"\n\
         [routes.all]\npath = \"/*\"\nproxy_to = \"{}\"\n",
        socket.display(),
        app.url()
    );
    let gateway = Setup::whole(&toml).without_admin_port().start();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let config = gateway.config().display().to_string();
    let status = crate::harness::hooklatch_clean(&["status", "--json", "-c", &config], gateway.dir());
    assert_eq!(status.json()["ready"], true);
}

#[test]
fn a_read_token_reads_and_changes_nothing() {
    let app = App::start();
    let gateway = gateway_with_read_token(&app);
    let own = gateway.admin().to_string();
    let ask = |method: &str, target: &str| {
        let headers = [("Host", own.as_str()), ("Authorization", "Bearer canary-read-token-0123456789")];
        Connection::open(gateway.admin()).send(&request(method, target, &headers, b"")).status
    };
    assert_eq!(ask("GET", "/api/v1/events"), 200);
    assert_eq!(ask("POST", "/api/v1/dead/replay"), 403);
    assert_eq!(ask("POST", "/api/v1/reload"), 403);
}

fn gateway_with_read_token(app: &App) -> Gateway {
    let toml = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken = {{ value = \"{ADMIN_TOKEN}\" }}\n\
         read_token = {{ value = \"canary-read-token-0123456789\" }}\n[buffer]\nstore = \"memory\"\n\
         [routes.all]\npath = \"/*\"\nproxy_to = \"{}\"\n",
        app.url()
    );
    Setup::whole(&toml).start()
}

#[test]
fn a_route_answers_as_it_is_told_on_its_host_and_methods_and_forgets_the_oldest_ids() {
    let app = App::start();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hook"), "from-systemd\n").unwrap();
    let gateway = Setup::new(
        r#"
        [routes.open]
        path = "/open"
        host = "hooks.example.com"
        methods = ["PUT"]
        verify = "none"
        event_id = "header:x-id"
        ack_status = 202
        ack_body = "kept {id}"
        deliver_to = ["app"]

        [routes.signed]
        path = "/signed"
        provider = "github"
        secrets = [{ credential = "hook" }]
        deliver_to = ["app"]

        [dedupe]
        max_ids = 64

        [log]
        format = "text"

        [destinations.app]
        url = "$APP"
        "#,
    )
    .set("APP", app.url())
    .env("CREDENTIALS_DIRECTORY", &dir.path().display().to_string())
    .start();
    let put = |id: &str, host: &str| gateway.send("PUT", "/open", &[("X-Id", id), ("Host", host)], b"x");
    let kept = put("0", "hooks.example.com");
    assert_eq!((kept.status, kept.text()), (202, format!("kept {}", kept.id())));
    put("0", "other.example.com").assert_refused(404, "unknown_route");
    let other = gateway.send("POST", "/open", &[], b"x");
    assert_eq!((other.status, other.header("allow")), (405, Some("PUT")));
    Signed::github("/signed", "from-systemd", "1", b"{}").send(&gateway).assert_accepted();
    for id in 1..2000 {
        assert_eq!(put(&id.to_string(), "hooks.example.com").outcome(), "accepted");
    }
    assert!(gateway.metric("hooklatch_dedupe_evicted_total") > 0.0);
    assert_eq!(put("1999", "hooks.example.com").outcome(), "duplicate", "the newest is remembered");
    assert_eq!(put("0", "hooks.example.com").outcome(), "accepted", "the oldest is forgotten");
    assert!(gateway.log_lines().iter().any(|line| line.contains(" info request ")), "no text lines");
}

#[test]
fn what_waits_for_its_next_attempt_is_counted_on_both_stores() {
    const WAITING: &str = "hooklatch_retries_waiting";
    for store in ["memory", "disk"] {
        let app = App::start();
        app.always(Reply::status(503));
        let setup = Setup::new(
            r#"
            [routes.github]
            path = "/github"
            provider = "github"
            secrets = [{ value = "canary-secret-of-a-route" }]
            deliver_to = ["app", "other"]
            [destinations.app]
            url = "$APP"
            retry = { delays = ["1h"], jitter = 0.0 }
            [destinations.other]
            url = "$APP"
            retry = { delays = ["1h"], jitter = 0.0 }
            "#,
        );
        let gateway = setup.set("APP", app.url()).store(store).start();
        assert!(gateway.metric(WAITING) < 0.5);
        for n in 0..3 {
            event(&n.to_string()).send(&gateway).assert_accepted();
        }
        wait_until("all wait at both destinations", SOON, || gateway.metric(WAITING) == 6.0);
    }
}

#[test]
fn what_nobody_vouches_for_is_said_at_start_by_check_and_by_the_api() {
    let app = App::start();
    let gateway = Setup::new(
        r#"
        [routes.gitlab]
        path = "/gitlab"
        provider = "gitlab"
        secrets = [{ value = "s" }]
        deliver_to = ["app"]
        [routes.github]
        path = "/github"
        provider = "github"
        secrets = [{ value = "s" }]
        deliver_to = ["app"]
        [routes.open]
        path = "/open"
        verify = "none"
        deliver_to = ["app"]
        [destinations.app]
        url = "$APP"
        "#,
    )
    .set("APP", app.url())
    .start();
    let said = |route: &str| {
        let lines = gateway.log_lines();
        let lines = lines.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let of_route = lines.filter(|line| line["route"] == route && line.get("outcome").is_some());
        of_route.map(|line| (line["level"].clone(), line["outcome"].clone())).collect::<Vec<_>>()
    };
    gateway.wait_for_log("the open route", |line| line["route"] == "open");
    assert_eq!(said("gitlab"), [("info".into(), "authenticated".into())]);
    assert_eq!(said("open"), [("warn".into(), "unchecked".into())]);
    assert_eq!(said("github"), []);
    gateway.cli(&["reload"]).ok();
    wait_until("the reload says it again", SOON, || said("gitlab").len() == 2);

    let routes = gateway.admin_get("/api/v1/routes");
    let of = |name: &str| {
        let route = routes["routes"].as_array().unwrap().iter().find(|route| route["name"] == name).unwrap();
        (route["verified"].as_bool().unwrap(), route["outcome"].as_str().unwrap())
    };
    assert_eq!(of("gitlab"), (true, "authenticated"));
    assert_eq!(of("github"), (true, "verified"));
    assert_eq!(of("open"), (false, "unchecked"));

    let table = hooklatch(&["check", "-c", gateway.config().to_str().unwrap()]).ok();
    let line = |path: &str| table.lines().find(|line| line.contains(path)).unwrap().to_owned();
    assert!(
        line("/gitlab").contains("checks as gitlab (authenticated: the sender, not the body)"),
        "{table}"
    );
    assert!(line("/github").contains("checks as github, ack"), "{table}");
}

#[test]
fn how_much_each_secret_is_used_is_shown_to_whoever_rotates_one() {
    let app = App::start();
    let gateway = gateway(&app);
    let plain = gateway.cli(&["status"]).ok();
    assert!(!plain.contains("SECRET"), "{plain}");
    let before = gateway.cli(&["status", "--secrets"]).ok();
    assert!(before.contains("no request since 20"), "{before}");
    Signed::github("/github", SECRET, "id-1", b"{}").send(&gateway).assert_accepted();
    let told = gateway.cli(&["status", "--secrets"]).ok();
    let line = told.lines().find(|line| line.contains("first")).unwrap();
    assert!(line.starts_with("github") && line.contains("  1  ") && line.ends_with("in use"), "{told}");
    let json = gateway.cli(&["status", "--secrets", "--json"]).json();
    let of_github =
        json["secrets"].as_array().unwrap().iter().find(|secret| secret["route"] == "github").unwrap();
    assert_eq!((&of_github["name"], &of_github["hits"]), (&"first".into(), &1.into()));
    assert!(!told.contains("canary") && !json.to_string().contains("canary"));
}
