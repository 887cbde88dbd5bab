use super::*;

fn exact(path: &str) -> PathPattern {
    PathPattern::Exact(path.to_owned())
}

fn below(path: &str) -> PathPattern {
    PathPattern::Prefix(path.to_owned())
}

/// name, path, host, methods, reserved
type Route = (&'static str, PathPattern, Option<&'static str>, Option<Vec<String>>, bool);

fn post() -> Option<Vec<String>> {
    Some(vec!["POST".to_owned()])
}

fn hook(name: &'static str, path: PathPattern) -> Route {
    (name, path, None, post(), true)
}

fn proxy(name: &'static str, path: PathPattern) -> Route {
    (name, path, None, None, false)
}

fn on(host: &'static str, mut route: Route) -> Route {
    route.2 = Some(host);
    route
}

fn build(routes: &[Route]) -> Result<Router, Vec<RouteConflict>> {
    Router::new(routes.iter().map(|(name, path, host, methods, reserved)| RouteKey {
        name,
        path,
        host: *host,
        methods: methods.as_deref(),
        reserved: *reserved,
    }))
}

/// The name of the route taken, or `404`, or `405 ALLOW`.
fn goes(routes: &[Route], method: &str, host: &str, path: &str) -> String {
    match build(routes).unwrap().route(path, Some(host), method) {
        Match::Route(position) => routes[position].0.to_owned(),
        Match::MethodNotAllowed { allow, .. } => format!("405 {allow}"),
        Match::Unknown => "404".to_owned(),
    }
}

#[test]
fn the_most_specific_route_wins_whatever_the_order() {
    let mut routes = vec![
        proxy("all", below("")),
        on("a.example", proxy("all of a", below(""))),
        proxy("api", below("/api")),
        on("a.example", proxy("api of a", below("/api"))),
        proxy("api v1", below("/api/v1")),
        proxy("exact", exact("/api/v1/x")),
        on("a.example", proxy("exact of a", exact("/api/v1/x"))),
        ("put", exact("/api/v1/x"), None, Some(vec!["PUT".to_owned()]), false),
    ];
    for turn in 0..routes.len() {
        routes.rotate_left(1);
        for (method, host, path, route) in [
            ("GET", "b.example", "/", "all"),
            ("GET", "a.example", "/", "all of a"),
            ("GET", "A.Example.:8080", "/x/y/z", "all of a"),
            ("GET", "b.example", "/api", "api"),
            ("GET", "b.example", "/api/x", "api"),
            ("GET", "b.example", "/apix", "all"),
            ("GET", "a.example", "/api/x", "api of a"),
            ("GET", "a.example", "/api/v1/", "api v1"),
            ("GET", "b.example", "/api/v1/x", "exact"),
            ("GET", "a.example", "/api//v1/./x/", "exact of a"),
            ("PUT", "b.example", "/api/v1/x", "put"),
            ("PUT", "a.example", "/api/v1/x", "exact of a"),
        ] {
            assert_eq!(goes(&routes, method, host, path), route, "{method} {host} {path}, turn {turn}");
        }
    }
}

#[test]
fn a_method_that_no_route_takes_is_told_which_are() {
    let some = |name, path, methods: &[&str]| -> Route {
        (name, path, None, Some(methods.iter().map(|m| m.to_string()).collect()), false)
    };
    let routes = [some("a", exact("/a"), &["GET", "HEAD"]), some("b", exact("/a"), &["POST"])];
    assert_eq!(goes(&routes, "DELETE", "x", "/a"), "405 GET, HEAD, POST");
    assert_eq!(goes(&routes, "HEAD", "x", "/a"), "a");
    assert_eq!(goes(&routes, "head", "x", "/a"), "405 GET, HEAD, POST");
    let with_rest = [some("a", exact("/a"), &["GET"]), proxy("rest", below(""))];
    assert_eq!(goes(&with_rest, "DELETE", "x", "/a"), "rest");
}

#[test]
fn targets_that_are_no_paths_go_nowhere() {
    for path in ["*", "", "x.example:443", "hooks"] {
        assert_eq!(goes(&[proxy("all", below(""))], "OPTIONS", "x", path), "404", "{path:?}");
    }
}

/// The routes of a usual drop-in: two webhooks, one of them of one host only, and everything else to the app.
fn drop_in() -> Vec<Route> {
    vec![
        hook("github", exact("/hooks/github")),
        on("hooks.example", hook("stripe", exact("/hooks/stripe"))),
        hook("many", below("/in")),
        proxy("app", below("")),
        on("app.example", proxy("app of a host", below(""))),
        proxy("near", below("/hooks")),
    ]
}

#[test]
fn no_spelling_of_a_reserved_path_reaches_the_app() {
    let spellings = [
        "/hooks/github",
        "/hooks/github/",
        "//hooks/github",
        "/hooks//github",
        "/hooks/github//",
        "//x/hooks/github",
        "/./hooks/github",
        "/hooks/./github",
        "/hooks/github/.",
        "/x/../hooks/github",
        "/hooks/x/../github",
        "/hooks/github/x/..",
        "/../hooks/github",
        "/hooks//../github",
        "/hooks//x/../github",
        "/hooks/%67ithub",
        "/hooks/%67%69%74hub",
        "/%68ooks/github",
        "/hooks%2fgithub",
        "/hooks%2Fgithub",
        "/hooks%252fgithub",
        "/hooks%25252Fgithub",
        "/%2fhooks/github",
        "/hooks/%2e/github",
        "/hooks/x/%2e%2e/github",
        "/x/.%2e/hooks/github",
        "/hooks/x%2f..%2fgithub",
        "/x%2f../hooks/github",
        "/hooks/%252e%252e/hooks/github",
        "/hooks/x/%252e%252e/github",
        "/hooks\\github",
        "\\hooks\\github",
        "/\\hooks/github",
        "/hooks%5cgithub",
        "/hooks%255cgithub",
        "/x/..\\hooks/github",
        "/Hooks/github",
        "/hooks/GITHUB",
        "/HOOKS/GitHub/",
        "/hooks/%47ithub",
        "/hooks/%2547ithub",
        "/hooks/github;",
        "/hooks/github;x",
        "/hooks/github;jsessionid=1",
        "/hooks;x/github",
        "/;x/hooks/github",
        "/hooks/github%3bx",
        "/hooks/github%253Bx",
        "/x/..;/hooks/github",
        "/hooks/x/..;y/github",
        "/hooks;a%2fb/github",
        "/hooks/github%3f",
        "/hooks/github%3fa=b",
        "/hooks/github%253f",
        "/hooks/github#x",
        "/hooks/github%23x",
        "/hooks/github%00",
        "/hooks/github%00.css",
        "/hooks/github%0a",
        "/hooks/github%0d%0aX:y",
        "/hooks/git%09hub",
        "/hooks/github\t",
        "/hooks\t/github",
        "/hooks/github%20",
        "/hooks/%20github",
        "/hooks/github%20HTTP/1.1",
        "/hooks/github.json",
        "/hooks/github.",
        "/hooks/GitHub.xml/",
        "/hooks%c0%afgithub",
        "/hooks%u002fgithub",
        "/hoo%e2%84%aas/github",
    ];
    let routes = drop_in();
    for method in ["POST", "GET", "PUT", "HEAD", "OPTIONS", "post", "TRACE", "X"] {
        for host in ["x.example", "app.example", "hooks.example", "APP.example:80", ""] {
            for github in spellings {
                let stripe = github
                    .replace("github", "stripe")
                    .replace("%67%69%74hub", "stripe")
                    .replace("%67ithub", "stripe")
                    .replace("GitHub", "Stripe")
                    .replace("GITHUB", "STRIPE");
                let many = format!("/IN/{github}");
                for path in [
                    github,
                    &stripe,
                    &many,
                    "/in",
                    "/in/",
                    "/in/x",
                    "/%69n/x/y",
                    "/In%2fx",
                    "/in;x/y",
                    "/in/../app",
                ] {
                    let taken = goes(&routes, method, host, path);
                    let refused = taken == "404" || taken == "405 POST";
                    let checked = method == "POST" && ["github", "stripe", "many"].contains(&taken.as_str());
                    assert!(refused || checked, "{method} {host} {path} goes to {taken}");
                }
            }
        }
    }
}

#[test]
fn what_a_reserved_path_answers() {
    let routes = drop_in();
    for (method, host, path, answer) in [
        ("POST", "x.example", "/hooks/github", "github"),
        ("POST", "x.example", "/hooks/./%67ithub/", "github"),
        ("GET", "x.example", "/hooks/github", "405 POST"),
        ("GET", "x.example", "//hooks//github", "405 POST"),
        ("POST", "x.example", "/hooks/GitHub", "404"),
        ("GET", "x.example", "/hooks%2fgithub", "404"),
        ("POST", "hooks.example", "/hooks/stripe", "stripe"),
        ("PUT", "hooks.example", "/hooks/stripe", "405 POST"),
        ("POST", "x.example", "/hooks/stripe", "404"),
        ("PUT", "x.example", "/hooks/stripe", "404"),
        ("POST", "x.example", "/in/a/b", "many"),
        ("DELETE", "x.example", "/in/a/b", "405 POST"),
    ] {
        assert_eq!(goes(&routes, method, host, path), answer, "{method} {host} {path}");
    }
}

#[test]
fn everything_else_reaches_the_app() {
    for (path, route) in [
        ("/", "app"),
        ("/hooks", "near"),
        ("/hooks/gitlab", "near"),
        ("/hooks/github/settings", "near"),
        ("/hooks/githubs", "near"),
        ("/inbox", "app"),
        ("/x/in/y", "app"),
        ("/api/projects/a%2Fb", "app"),
        ("/a%20b;c=d", "app"),
        ("/.well-known/acme-challenge/x", "app"),
        ("/static/app.min.js", "app"),
        ("/x/../y", "app"),
        ("/caf%C3%A9", "app"),
    ] {
        assert_eq!(goes(&drop_in(), "GET", "x.example", path), route, "{path}");
        assert_eq!(goes(&[proxy("all", below(""))], "GET", "x.example", &format!("{path}/..;%2f")), "all");
    }
}

#[test]
fn equal_and_unreachable_routes_are_conflicts() {
    let conflicts = |routes: &[Route]| -> Vec<(usize, Option<usize>)> {
        build(routes).err().unwrap_or_default().iter().map(|c| (c.route, c.other)).collect()
    };
    let get = |path| -> Route { ("get", path, None, Some(vec!["GET".to_owned()]), false) };
    // Equal ones.
    assert_eq!(conflicts(&[proxy("a", exact("/a")), proxy("b", exact("/%61/"))]), [(1, Some(0))]);
    assert_eq!(conflicts(&[hook("a", exact("/a")), hook("b", exact("/a"))]), [(1, Some(0))]);
    assert_eq!(conflicts(&[proxy("a", below("")), proxy("b", below("/"))]), [(1, Some(0))]);
    // Told apart.
    assert_eq!(conflicts(&[proxy("a", exact("/a")), proxy("b", below("/a"))]), []);
    assert_eq!(conflicts(&[proxy("a", exact("/a")), on("h", proxy("b", exact("/a")))]), []);
    assert_eq!(conflicts(&[proxy("a", exact("/a")), get(exact("/a"))]), []);
    assert_eq!(conflicts(&[hook("a", exact("/a")), hook("b", exact("/A"))]), []);
    // Never reached.
    assert_eq!(conflicts(&[get(exact("/a")), hook("a", exact("/a"))]), [(0, Some(1))]);
    assert_eq!(conflicts(&[hook("a", below("/in")), on("h", proxy("b", below("/IN/x")))]), [(1, Some(0))]);
    assert_eq!(conflicts(&[hook("a", exact("/a")), proxy("b", exact("/A"))]), [(1, Some(0))]);
    assert_eq!(conflicts(&[hook("a", exact("/a")), proxy("b", below("/a"))]), []);
    // A reserved path has one reading.
    for path in ["/a;b", "/a\\b", "/a%2Fb", "/a b", "/a%3fb"] {
        assert_eq!(conflicts(&[hook("a", exact(path))]), [(0, None)], "{path}");
        assert_eq!(conflicts(&[hook("a", below(path))]), [(0, None)], "{path}");
        assert_eq!(conflicts(&[proxy("a", exact(path))]), [], "{path}");
    }
}

#[test]
fn the_table_says_what_goes_where() {
    let rows: Vec<String> = build(&drop_in())
        .unwrap()
        .table()
        .into_iter()
        .map(|row| format!("{} {} {}", row.path, row.host.unwrap_or_default(), drop_in()[row.route].0))
        .collect();
    assert_eq!(
        rows,
        [
            "/hooks/github  github",
            "/hooks/stripe hooks.example stripe",
            "/hooks/*  near",
            "/in/*  many",
            "/* app.example app of a host",
            "/*  app"
        ]
    );
}

#[test]
fn a_path_of_thousands_of_segments_looks_up_no_more_prefixes_than_there_can_be() {
    let prefixes = |path: &str, lengths: &[usize]| -> Vec<usize> {
        let mut table = Lengths::default();
        lengths.iter().for_each(|length| table.add(*length));
        prefixes_of(path, &table).map(str::len).collect()
    };
    let path = "/a".repeat(4000);
    assert_eq!(prefixes(&path, &[0, 2, 3, 4, 5]), [4, 2, 0]);
    assert!(prefixes(&path, &[5]).is_empty());
    assert_eq!(prefixes("/a", &[0, 2, 9]), [2, 0]);
    assert!(prefixes("/a", &[1, 9]).is_empty());
    assert_eq!(prefixes("/", &[0]), [0]);
}

#[test]
fn host_names() {
    for (host, name) in [
        ("a.example", "a.example"),
        ("A.Example:8080", "a.example"),
        ("a.example.", "a.example"),
        ("a.example.:443", "a.example"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("", ""),
        (":", ""),
    ] {
        assert_eq!(host_name(host), name, "{host}");
    }
}

proptest::proptest! {
    #[test]
    fn any_path_host_and_method_are_routed_without_a_panic(path in "/?\\PC*", host in "\\PC*", method in "\\PC*") {
        let _ = goes(&drop_in(), &method, &host, &path);
    }
}
