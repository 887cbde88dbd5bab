//! How events get to an app: HTTP/2 and HTTP/1.1 over TLS with its own authority and a client's certificate, by the
//! real nginx; several regions.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::harness::{App, Authority, Gateway, Nginx, Reply, SOON, Setup, wait_until};

const ROUTES: &str = r#"
[routes.hook]
path = "/hook"
verify = "none"
dedupe = false
deliver_to = ["app"]
[routes.rest]
path = "/*"
proxy_to = "app"
"#;

/// A gateway whose app is behind TLS on `port`, verified as `$DIR/pki` says.
fn gateway(port: u16, setup: &str) -> Gateway {
    let toml = format!("{ROUTES}[destinations.app]\nurl = \"https://127.0.0.1:{port}\"\n{setup}\n");
    Setup::new(&toml).start()
}

fn tls(dir: &std::path::Path) -> String {
    format!(
        "tls = {{ ca = \"{0}/ca.pem\", cert = \"{0}/gateway.pem\", key = \"{0}/gateway.key\", server_name = \"app.internal\" }}",
        dir.display()
    )
}

#[test]
fn many_events_share_an_http2_connection_that_both_sides_verified() {
    let (app, pki) = (App::start(), tempfile::tempdir().unwrap());
    let authority = Authority::new(pki.path());
    authority.issue("app.internal").issue("gateway");
    let asks =
        format!("ssl_client_certificate {};\nssl_verify_client on;", authority.file("ca.pem").display());
    let nginx = Nginx::start(&authority, "app.internal", &app, "ssl http2", &asks);
    let gateway = gateway(nginx.port(), &tls(pki.path()));
    let mut sender = gateway.connect();
    for n in 0..50 {
        let body = format!("{{\"n\":{n}}}");
        sender.send(&crate::harness::request("POST", "/hook?a=1", &[], body.as_bytes())).assert_accepted();
    }
    let mut bodies = HashSet::new();
    for seen in app.wait_for_exactly(50, Duration::from_millis(200)) {
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/hook?a=1"));
        assert_eq!(seen.header("x-protocol"), Some("HTTP/2.0"));
        assert_eq!(seen.header("x-client"), Some("CN=gateway"));
        assert_eq!(seen.header("x-asked-for"), Some("app.internal"));
        assert_eq!(seen.header("x-forwarded-host"), Some("hooks.example.com"));
        assert_eq!(seen.header("host"), Some("127.0.0.1"), "the Host is the destination's own");
        assert!(seen.header("hooklatch-id").is_some());
        bodies.insert(seen.text());
    }
    assert_eq!(bodies.len(), 50, "each of them once");
    let connections: HashSet<_> = nginx.requests().into_iter().map(|(connection, ..)| connection).collect();
    assert_eq!(connections.len(), 1, "{:?}", nginx.requests());

    // A pass-through to the same destination is verified in the same way, on HTTP/1.1.
    let passed = gateway.send("GET", "/page", &[], b"");
    assert_eq!(passed.status, 200, "{}", passed.text());
    let seen = app.seen().pop().unwrap();
    assert_eq!((seen.target.as_str(), seen.header("x-protocol")), ("/page", Some("HTTP/1.1")));
    assert_eq!(
        (seen.header("x-client"), seen.header("x-asked-for")),
        (Some("CN=gateway"), Some("app.internal"))
    );
}

#[test]
fn a_server_without_http2_gets_http1_and_one_that_cannot_be_verified_gets_nothing() {
    let (app, pki) = (App::start(), tempfile::tempdir().unwrap());
    let authority = Authority::new(pki.path());
    authority.issue("app.internal").issue("gateway");
    let nginx = Nginx::start(&authority, "app.internal", &app, "ssl", "");
    let right = gateway(nginx.port(), &tls(pki.path()));
    for _ in 0..3 {
        right.send("POST", "/hook", &[], b"x").assert_accepted();
    }
    let seen = app.wait_for(3);
    assert!(seen.iter().all(|seen| seen.header("x-protocol") == Some("HTTP/1.1")), "{seen:#?}");
    drop(right);

    // Another authority, the system's roots, another name: nothing is sent.
    let other = tempfile::tempdir().unwrap();
    Authority::new(other.path());
    let (ca, foreign) = (pki.path().join("ca.pem"), other.path().join("ca.pem"));
    for setup in [
        format!("tls = {{ ca = \"{}\", server_name = \"app.internal\" }}", foreign.display()),
        "tls = { server_name = \"app.internal\" }".to_owned(),
        format!("tls = {{ ca = \"{}\" }}", ca.display()),
    ] {
        let wrong = gateway(nginx.port(), &setup);
        wrong.send("POST", "/hook", &[], b"x").assert_accepted();
        let line = wrong.wait_for_log("the attempt failed", |json| json["msg"] == "attempt");
        assert_eq!(line["status"], "connect", "{line}");
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.contains("TLS with 127.0.0.1") || reason.contains("root certificates"), "{line}");
        wrong.send("GET", "/page", &[], b"").assert_refused(502, "upstream_error");
    }
    assert_eq!(app.seen().len(), 3, "nothing is sent to whoever cannot prove its name");
}

#[test]
fn certificates_that_change_are_taken_up_without_a_reload() {
    let (app, pki) = (App::start(), tempfile::tempdir().unwrap());
    let old = pki.path().join("old");
    let authority = Authority::new(&old);
    authority.issue("app.internal").issue("gateway");
    let first = Nginx::start(&authority, "app.internal", &app, "ssl http2", "");
    let files = pki.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let install = |from: &Authority| {
        for name in ["ca.pem", "gateway.pem", "gateway.key"] {
            std::fs::copy(from.file(name), files.join(name)).unwrap();
        }
    };
    install(&authority);
    let mut gateway = gateway(first.port(), &tls(&files));
    gateway.send("POST", "/hook", &[], b"1").assert_accepted();
    app.wait_for(1);
    // The app moves to another port with certificates of another authority; first the files change, then the url.
    let next = Authority::new(&pki.path().join("new"));
    next.issue("app.internal").issue("gateway");
    let second = Nginx::start(&next, "app.internal", &app, "ssl http2", "");
    install(&next);
    gateway.wait_for_log("the files were read again", |json| {
        json["msg"].as_str().is_some_and(|msg| msg.contains("a secret's file changed and was read again"))
    });
    let toml = format!("{ROUTES}[destinations.app]\nurl = \"https://127.0.0.1:{}\"\n", second.port());
    gateway.rewrite(&format!("{toml}{}\n", tls(&files)));
    gateway.cli(&["reload"]).ok();
    gateway.send("POST", "/hook", &[], b"2").assert_accepted();
    app.wait_for(2);
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
    // A file that is no certificate any more: the ones in force stay.
    std::fs::write(files.join("ca.pem"), "garbage").unwrap();
    gateway.wait_for_log("it is refused", |json| {
        json["msg"].as_str().is_some_and(|msg| msg.contains("it holds no certificate in PEM"))
    });
    gateway.send("POST", "/hook", &[], b"3").assert_accepted();
    app.wait_for(3);
}

#[test]
fn a_region_that_is_gone_is_passed_over_and_used_again_when_it_is_back() {
    let (near_address, far) = (App::reserve(), App::start());
    let toml = r#"
        [routes.hook]
        path = "/hook"
        verify = "none"
        dedupe = false
        deliver_to = ["app"]
        [routes.rest]
        path = "/*"
        proxy_to = "app"
        [destinations.app]
        regions = [{ name = "far", url = "$FAR" }, { name = "near", url = "http://$NEAR" }]
        connect_timeout = "1s"
    "#;
    let gateway = Setup::new(toml)
        .server("region = \"near\"")
        .set("FAR", far.url())
        .set("NEAR", near_address.to_string())
        .start();
    let send = |body: &str| gateway.send("POST", "/hook", &[], body.as_bytes()).assert_accepted();
    let regions = |id: &str| {
        let event = gateway.admin_get(&format!("/api/v1/events/{id}"));
        let attempts = event["destinations"][0]["attempts"].as_array().cloned().unwrap_or_default();
        attempts.iter().map(|one| one["region"].as_str().unwrap_or("").to_owned()).collect::<Vec<_>>()
    };
    let down = Instant::now();
    for n in 0..5 {
        send(&n.to_string());
    }
    let first = send("last");
    far.wait_for_exactly(6, Duration::from_millis(200));
    assert_eq!(regions(&first), ["far"], "one attempt, and where it went");
    let line = gateway.wait_for_log("an attempt", |json| json["msg"] == "attempt");
    assert_eq!((line["region"].as_str(), line["attempt"].as_u64()), (Some("far"), Some(1)), "{line}");
    gateway.wait_for_log("that a region is gone", |json| {
        json["region"] == "near" && json["msg"].as_str().is_some_and(|msg| msg.contains("cannot be reached"))
    });
    let up = |region: &str| {
        gateway.metric(&format!("hooklatch_region_up{{destination=\"app\",region=\"{region}\"}}"))
    };
    assert_eq!((up("near"), up("far")), (0.0, 1.0));
    assert_eq!(gateway.send("GET", "/page", &[], b"").status, 200, "a pass-through goes there too");
    let shown = &gateway.admin_get("/api/v1/destinations")["destinations"][0]["regions"];
    assert_eq!((shown[0]["name"].as_str(), shown[0]["up"].as_bool()), (Some("near"), Some(false)), "{shown}");

    // The doors know the same: none of them asked the near one again.
    let passed = far.seen().len();
    for _ in 0..5 {
        assert_eq!(gateway.send("GET", "/page", &[], b"").status, 200);
    }
    assert_eq!(far.seen().len(), passed + 5);

    let near = App::start_at(near_address);
    near.always(Reply::status(204));
    wait_until("the near one is used again", Duration::from_secs(15) + SOON, || {
        std::thread::sleep(Duration::from_millis(200));
        send("again");
        !near.seen().is_empty()
    });
    assert!(down.elapsed() >= Duration::from_secs(10), "it was left alone for ten seconds");
    let before = far.seen().len();
    let last = send("home");
    near.wait_for(2);
    wait_until("the attempt is noted", SOON, || regions(&last) == ["near"]);
    assert_eq!((up("near"), far.seen().len()), (1.0, before));
}

#[test]
fn what_a_pass_through_finds_out_of_a_region_is_known_of_the_destination() {
    let far = App::start();
    let toml = r#"
        [routes.rest]
        path = "/*"
        proxy_to = "app"
        [destinations.app]
        regions = [{ name = "near", url = "http://$NEAR" }, { name = "far", url = "$FAR" }]
    "#;
    let near = App::reserve().to_string();
    let gateway = Setup::new(toml).set("FAR", far.url()).set("NEAR", near).start();
    for _ in 0..4 {
        assert_eq!(gateway.send("GET", "/page", &[], b"").status, 200);
    }
    let up = |region: &str| {
        gateway.metric(&format!("hooklatch_region_up{{destination=\"app\",region=\"{region}\"}}"))
    };
    assert_eq!((up("near"), up("far")), (0.0, 1.0));
}
