use super::lenient::trim_slash;
use super::*;
use proptest::prelude::*;

#[test]
fn normal_paths_are_borrowed() {
    for path in ["/", "/a", "/a/b.c", "/A/b;x=1", "/a\\b", "/é"] {
        assert!(matches!(normalise(path), Cow::Borrowed(same) if same == path), "{path}");
    }
}

#[test]
fn the_normal_form() {
    for (path, normal) in [
        ("", "/"),
        ("*", "/*"),
        ("//", "/"),
        ("/a/", "/a"),
        ("/a//", "/a"),
        ("//a///b", "/a/b"),
        ("/a/./b/.", "/a/b"),
        ("/a/../b", "/b"),
        ("/../../b", "/b"),
        ("/a/b/..", "/a"),
        ("/a/%2e%2E/b", "/b"),
        ("/%67it%48ub", "/gitHub"),
        ("/%7euser", "/~user"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%252fb", "/a%252fb"),
        ("/a%", "/a%"),
        ("/a%4", "/a%4"),
        ("/a%zz", "/a%zz"),
        ("/a%%41", "/a%A"),
        ("/%c3%a9", "/%C3%A9"),
        ("/.well-known/x", "/.well-known/x"),
        ("/a/...", "/a/..."),
        ("/%é", "/%é"),
    ] {
        assert_eq!(normalise(path), normal, "{path}");
    }
}

fn read_as(path: &str, reserved: &str) -> bool {
    may_be_read_as(path, |reading| reading == reserved)
}

#[test]
fn every_lenient_spelling_is_seen() {
    for path in [
        "/hooks/github",
        "/hooks/github/",
        "/HOOKS/GitHub",
        "//hooks//github//",
        "//x/hooks/github",
        "/\\x/hooks/github",
        "/./hooks/./github/.",
        "/hooks/%67ithub",
        "/hooks%2fgithub",
        "/hooks%2Fgithub",
        "/hooks%252fgithub",
        "/hooks%25252fgithub",
        "/hooks%2%66github",
        "/hooks\\github",
        "/hooks%5cgithub",
        "/hooks%255Cgithub",
        "/hooks/github;x",
        "/hooks;x=1/github;y=2",
        "/hooks;a%2fb/github",
        "/hooks;a%2fb/github%3ba%2fb",
        "/hooks/github%3bx",
        "/hooks/github%3fx=1",
        "/hooks/github%23x",
        "/hooks/github%00",
        "/hooks/github%00.html",
        "/hooks/github%20",
        "/hooks/git%09hub",
        "/hooks/github%0d%0a",
        "/hooks/github.json",
        "/hooks/github.",
        "/hooks/github...",
        "/hooks/github.json.",
        "/x/../hooks/github",
        "/hooks/x/../github",
        "/hooks/x/%2e%2e/github",
        "/hooks/x/%252e%252e/github",
        "/hooks/x%2f..%2fgithub",
        "/hooks/x\\..\\github",
        "/x/..;/hooks/github",
        "/hooks//../github",
        "/hooks%c0%afgithub",
        "/hooks%e0%80%afgithub",
        "/hooks%u002fgithub",
        "/hoo%E2%84%AAs/github",
        "/hook%c5%bf/github",
        "/index.php/hooks/github",
        "/index.php/hooks/github/",
        "/public/INDEX.PHP//hooks/./github",
        "/index%2ephp/hooks/github.json",
        "/index.php;x/hooks/github",
        "/x/../index.php/hooks/github",
        "/a.php/b.cgi/hooks/github",
        "/cgi-bin/app.cgi/hooks/github",
        "/(S(x))/hooks/github",
        "/(A(x)F(y))/hooks/github/",
        "/hooks/(s(x))/git/(s(y))hub",
        "/%28S(x))/hooks/github",
        "/(S(x))/index.php/hooks/github",
    ] {
        assert!(read_as(path, "/hooks/github"), "{path}");
    }
}

#[test]
fn ordinary_paths_of_an_app_stay_what_they_are() {
    for path in [
        "/",
        "/hooks",
        "/hooks/githubx",
        "/hooks/github/x",
        "/x/hooks/github",
        "/api/projects/a%2Fb/hooks",
        "/search%20me;v=1/hooks/github",
        "/img/https%3A%2F%2Fx.example%2Fhooks%2Fgithub%3Fw%3D1",
        "/blog//hooks/2024",
        "/a/../b",
        "/.well-known/acme",
        "/caf%C3%A9/ſ/日本",
        "/100%",
        "/hooks/.github",
        "/hooks/github/.json",
        "/hooks/github/a.json",
        "/v1.0/hooks/github",
        "/index.php",
        "/index.php/hooks",
        "/index.phpx/hooks/github",
        "/(s(x)/hooks/github",
        "/(x(y))/hooks/github",
        "/a(s(x))/hooks/github",
        "/((((((((",
    ] {
        assert!(!read_as(path, "/hooks/github"), "{path}");
    }
}

#[test]
fn an_app_that_resolves_no_dots_is_thought_of_too() {
    let below = |path: &str| may_be_read_as(path, |reading| reading.starts_with("/hooks/"));
    assert!(below("/hooks/../admin"));
    assert!(!below("/x/../admin"));
}

#[test]
fn what_has_several_readings_cannot_be_reserved() {
    for path in ["/a\\b", "/a;b", "/a%2fb", "/a%3fb", "/a%20b", "/a%00", "/a%c0%af", "/a%252fb"] {
        assert_eq!(fold(path), None, "{path}");
    }
    assert_eq!(fold("/Hooks/%67it/../Caf%C3%A9/").as_deref(), Some("/hooks/café"));
    assert_eq!(fold("/").as_deref(), Some("/"));
}

/// What one app after another might do to a path, in any order.
fn lenient_step() -> impl Strategy<Value = fn(String) -> String> {
    fn decode(path: String) -> String {
        String::from_utf8_lossy(&percent_encoding::percent_decode_str(&path).collect::<Vec<_>>()).into_owned()
    }
    fn lower(path: String) -> String {
        path.to_lowercase()
    }
    fn backslash(path: String) -> String {
        path.replace('\\', "/")
    }
    fn cut_params(path: String) -> String {
        path.split('/').map(|s| s.split(';').next().unwrap_or_default()).collect::<Vec<_>>().join("/")
    }
    fn merge(path: String) -> String {
        path.split('/').filter(|s| !s.is_empty()).fold(String::new(), |all, s| all + "/" + s)
    }
    fn resolve(path: String) -> String {
        let mut kept = Vec::new();
        for segment in path.split('/').skip(1) {
            match segment {
                "." => {}
                ".." => drop(kept.pop()),
                _ => kept.push(segment),
            }
        }
        format!("/{}", kept.join("/"))
    }
    fn query(path: String) -> String {
        path.split(['?', '#', '\0']).next().unwrap_or_default().to_owned()
    }
    fn strip(path: String) -> String {
        path.chars().filter(|c| !c.is_ascii_control() && *c != ' ').collect()
    }
    prop::sample::select(vec![
        decode as fn(String) -> String,
        lower,
        backslash,
        cut_params,
        merge,
        resolve,
        query,
        strip,
    ])
}

/// Paths made of the pieces from which walks around a check are made.
fn walked_path() -> impl Strategy<Value = String> {
    let pieces = [
        "h", "H", "%68", "%2568", "/", "/", "//", "\\", "%2f", "%252f", "%5c", "..", ".", "%2e", "%252e",
        ";", "%3b", "x", "k", "K", "%", "2", "5", "e", "f", "%00", "%09", "%3f", "%23", "%25", "é",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..12)
        .prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_chain_of_lenient_steps_leads_to_a_reserved_path_unseen(
        path in walked_path(),
        steps in prop::collection::vec(lenient_step(), 0..8),
    ) {
        let mut read = path.clone();
        for step in &steps {
            read = step(read);
        }
        for reserved in ["/h", "/h/k", "/k"] {
            if trim_slash(&read) == reserved || normalise(&path) == reserved {
                prop_assert!(read_as(&path, reserved), "{} is read as {}", path, reserved);
            }
        }
    }

    #[test]
    fn the_normal_form_is_a_path_without_dots_or_doubled_slashes(path in "\\PC*|(/|\\.|%2[eEfF]|%|a){0,20}") {
        let normal = normalise(&path);
        prop_assert!(normal.starts_with('/') && !normal.contains("//"));
        prop_assert!(normal == "/" || !normal.ends_with('/'));
        prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
        let _ = (fold(&path), may_be_read_as(&path, |_| false));
    }
}
