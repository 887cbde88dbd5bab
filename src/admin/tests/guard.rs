use super::*;

fn with(house: &House, method: &str, path: &str, headers: &str) -> Reply {
    let request =
        format!("{method} {path} HTTP/1.1\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n");
    talk(house.connect(), &request)
}

fn bearer(token: &str) -> String {
    format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n")
}

#[test]
fn the_token_matrix() {
    let house = house();
    let full = bearer(TOKEN);
    let read = bearer(READ_TOKEN);
    let wrong = bearer("the-admin-token-of-these-tesst");
    let none = "Host: localhost\r\n".to_owned();
    let basic = format!("Host: localhost\r\nAuthorization: Basic {TOKEN}\r\n");
    let twice = format!("{full}Authorization: Bearer {TOKEN}\r\n");
    let prefix = bearer(&TOKEN[..TOKEN.len() - 1]);
    let empty = bearer("");
    let lower = full.replace("Bearer", "bearer");
    for (headers, get, post) in [
        (&full, 200, 200),
        (&lower, 200, 200),
        (&read, 200, 403),
        (&wrong, 401, 401),
        (&none, 401, 401),
        (&basic, 401, 401),
        (&twice, 401, 401),
        (&prefix, 401, 401),
        (&empty, 401, 401),
    ] {
        assert_eq!(with(&house, "GET", "/api/v1/status", headers).status, get, "{headers}");
        assert_eq!(with(&house, "POST", "/api/v1/reload", headers).status, post, "{headers}");
    }
    let refused = with(&house, "GET", "/api/v1/status", &none);
    assert!(refused.head.contains("www-authenticate: Bearer"), "{refused:?}");
    assert_eq!(refused.is_refused(401, "unauthorized")["field"], "Authorization");
    with(&house, "POST", "/api/v1/reload", &read).is_refused(403, "forbidden");
}

#[test]
fn without_a_token_nothing_under_api_can_be_told_apart() {
    let house = house();
    for path in ["/api", "/api/", "/api/v1/nothing", "/api/v2/status", "/api/v1/events/x/replay"] {
        with(&house, "GET", path, "Host: localhost\r\n").is_refused(401, "unauthorized");
    }
}

#[test]
fn other_tokens_hold_from_the_next_request_on() {
    let house = house();
    house.server.set_tokens(Tokens { full: Secret::new("another-admin-token"), read: None });
    assert_eq!(with(&house, "GET", "/api/v1/status", &bearer(TOKEN)).status, 401);
    assert_eq!(with(&house, "GET", "/api/v1/status", &bearer(READ_TOKEN)).status, 401);
    assert_eq!(with(&house, "GET", "/api/v1/status", &bearer("another-admin-token")).status, 200);
}

#[test]
fn the_host_matrix() {
    let house = house();
    house.readiness.set_loaded();
    house.readiness.set_bound();
    for (host, allowed) in [
        ("localhost", true),
        ("LOCALHOST:4665", true),
        ("localhost.", true),
        ("127.0.0.1:4665", true),
        ("127.1.2.3", true),
        ("[::1]:4665", true),
        ("[::ffff:127.0.0.1]", true),
        ("evil.example", false),
        ("localhost.evil.example", false),
        ("127.0.0.1.evil.example", false),
        ("192.0.2.1", false),
        ("[2001:db8::1]", false),
        ("user@localhost", false),
        ("localhost@evil.example", false),
        ("", false),
        ("a b", false),
    ] {
        for path in ["/metrics", "/readyz", "/api/v1/status"] {
            let headers = format!("Host: {host}\r\nAuthorization: Bearer {TOKEN}\r\n");
            let reply = with(&house, "GET", path, &headers);
            assert_eq!(reply.status, if allowed { 200 } else { 403 }, "{host} {path} {reply:?}");
        }
    }
    let missing = talk(house.connect(), "GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(missing.is_refused(403, "forbidden")["field"], "Host");
    let twice = with(&house, "GET", "/healthz", "Host: localhost\r\nHost: evil.example\r\n");
    assert_eq!(twice.status, 403);
    let absolute = with(&house, "GET", "http://evil.example/healthz", "Host: localhost\r\n");
    assert_eq!(absolute.status, 403);
    assert_eq!(with(&house, "GET", "http://localhost/healthz", "Host: localhost\r\n").status, 200);
}

#[test]
fn the_configured_host_is_one_of_ours() {
    let options = AdminOptions { listen: AdminListen::parse("localhost:0"), ..AdminOptions::default() };
    assert_eq!(with(&house_at(options), "GET", "/healthz", "Host: localhost:1\r\n").status, 200);
    let uri = "/".parse().unwrap();
    let entrance = super::super::guard::Entrance::Tcp { local: [192, 0, 2, 1].into() };
    for (host, allowed) in [("Hooks.internal:1", true), ("192.0.2.1", true), ("other.internal", false)] {
        let mut headers = http::HeaderMap::new();
        headers.insert("host", host.parse().unwrap());
        let checked = super::super::guard::check_site(&entrance, "hooks.internal", &uri, &headers);
        assert_eq!(checked.is_ok(), allowed, "{host}");
    }
}

#[test]
fn the_origin_matrix() {
    let house = house();
    for (headers, allowed) in [
        ("Origin: http://localhost:4665\r\n", true),
        ("Origin: https://LOCALHOST:4665\r\n", true),
        ("Sec-Fetch-Site: same-origin\r\n", true),
        ("Sec-Fetch-Site: none\r\n", true),
        ("Origin: http://localhost\r\n", false),
        ("Origin: http://localhost:4666\r\n", false),
        ("Origin: http://evil.example\r\n", false),
        ("Origin: null\r\n", false),
        ("Origin: \r\n", false),
        ("Origin: http://localhost:4665\r\nOrigin: http://evil.example\r\n", false),
        ("Sec-Fetch-Site: cross-site\r\n", false),
        ("Sec-Fetch-Site: same-site\r\n", false),
    ] {
        let headers = format!("Host: localhost:4665\r\nAuthorization: Bearer {TOKEN}\r\n{headers}");
        for (method, path) in [("GET", "/metrics"), ("GET", "/api/v1/status"), ("POST", "/api/v1/reload")] {
            let reply = with(&house, method, path, &headers);
            assert_eq!(reply.status, if allowed { 200 } else { 403 }, "{path} {headers}");
        }
    }
}

#[test]
fn on_a_unix_socket_the_files_mode_is_the_guard() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let options = || AdminOptions { listen: AdminListen::Unix(path.clone()), ..AdminOptions::default() };
    let house = house_at(options());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let request =
        "POST /api/v1/reload HTTP/1.1\r\nHost: whatever\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(over_unix(&path, request).status, 200);
    assert_eq!(house.server.address(), Some(&*format!("unix:{}", path.display())));
    let second = AdminSettings::new(options()).unwrap();
    let taken = super::super::listener::Bound::unix(&path).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse, "{second:?}");
    drop(house);
    assert!(!path.exists(), "the file goes with its listener");
    // What a killed process leaves behind does not stop the next one.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    assert_eq!(over_unix_of(&house_at(options()), &path, request), 200);
    std::fs::write(&path, "a file").unwrap();
    assert!(super::super::listener::Bound::unix(&path).is_err(), "what is no socket is left alone");
    assert!(path.exists());
}

fn over_unix_of(_house: &House, path: &std::path::Path, request: &str) -> u16 {
    over_unix(path, request).status
}
