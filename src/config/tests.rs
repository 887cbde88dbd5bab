//! Tests of the whole reader.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::buffer::{BufferOptions, Store};
use crate::clock::{Clock, Millis};
use crate::event::Ack;
use crate::ingress::{Action, CorridorSettings};

const UNLIMITED: Environment =
    Environment { memory_limit: None, state_directory: None, default_folder_forgets: None };
const SHIPPED: &str = include_str!("../../conf/hooklatch.toml");
const PASS_THROUGH: &str = "[routes.everything_else]\npath = \"/*\"\nproxy_to = \"http://127.0.0.1:3000\"\n";

fn parse(text: &str) -> Result<Config, Report> {
    Config::parse(Path::new("hooklatch.toml"), text, &mut SecretStore::unread(), &UNLIMITED)
}

fn right(text: &str) -> Config {
    parse(text).unwrap_or_else(|report| panic!("{report}"))
}

/// What is said of a file with one mistake.
fn mistake(text: &str) -> String {
    let report = parse(text).expect_err(text);
    assert_eq!(report.mistakes().len(), 1, "{report}");
    report.mistakes()[0].message.clone()
}

fn corridor(config: &Config) -> &CorridorSettings {
    config
        .routes
        .iter()
        .find_map(|route| match &route.action {
            Action::Deliver(corridor) => Some(&**corridor),
            Action::Proxy(_) => None,
        })
        .unwrap()
}

/// The shipped file with every line `#key = …` and `#[table]` taken in, on the store that knows all of them.
fn uncommented() -> String {
    let is_setting =
        |line: &str| line.starts_with('#') && !matches!(line.as_bytes().get(1), None | Some(b' '));
    SHIPPED
        .lines()
        .map(|line| if is_setting(line) { &line[1..] } else { line })
        .collect::<Vec<_>>()
        .join("\n")
        .replace("store = \"memory\"", "store = \"disk\"")
}

#[test]
fn the_shipped_file_is_right_and_its_values_are_the_defaults() {
    let (shipped, minimal) = (right(SHIPPED), right(PASS_THROUGH));
    assert!(shipped.warnings.is_empty(), "{:?}", shipped.warnings);
    for (shipped, minimal) in [
        (format!("{:#?}", shipped.server), format!("{:#?}", minimal.server)),
        (format!("{:#?}", shipped.routes), format!("{:#?}", minimal.routes)),
        (format!("{:#?}", shipped.destinations), format!("{:#?}", minimal.destinations)),
        (format!("{:#?}", shipped.buffer), format!("{:#?}", minimal.buffer)),
        (format!("{:#?}", shipped.dedupe), format!("{:#?}", minimal.dedupe)),
        (format!("{:#?}", shipped.admin), format!("{:#?}", minimal.admin)),
        (format!("{:#?}", shipped.log), format!("{:#?}", minimal.log)),
        // `listen` is written down there, and is the default all the same.
        (format!("{:#?}", shipped.restart), format!("{:#?}", minimal.restart)),
    ] {
        assert_eq!(shipped, minimal);
    }
}

#[test]
fn what_the_shipped_file_shows_commented_out_is_right_too() {
    let config = right(&uncommented());
    let written = config.destinations.iter().find(|destination| &*destination.name == "app").unwrap();
    let mut own = crate::delivery::DestinationOptions::new(written.name.clone(), written.endpoint.clone());
    // What has no default but none is taken over; all the rest is written as its default.
    own.headers.clone_from(&written.headers);
    own.host = written.host;
    own.sign.clone_from(&written.sign);
    own.max_pending = written.max_pending;
    own.rate = written.rate;
    own.retry_on.clone_from(&written.retry_on);
    own.formerly.clone_from(&written.formerly);
    assert_eq!(format!("{:#?}", **written), format!("{own:#?}"));
    let archive = config.destinations.iter().find(|destination| &*destination.name == "archive").unwrap();
    assert_eq!(archive.batch, Some(crate::delivery::BatchOptions::default()));
    let (written, own) = (&config.buffer, BufferOptions::default());
    assert_eq!(
        (written.store, written.retention, written.dead_retention, written.dead_max_bytes),
        (Store::Disk, own.retention, own.dead_retention, own.dead_max_bytes)
    );
    // "Any number of events" is no number that could be written: the largest one is.
    assert_eq!((written.max_bytes, written.max_events), (own.max_bytes, 1_000_000_000));
    let erp = config.routes.iter().find(|route| &*route.name == "erp").unwrap();
    let Action::Deliver(erp) = &erp.action else { panic!("{erp:?}") };
    assert_eq!(
        (erp.ack, erp.ack_status, erp.answer_from_app, erp.max_body),
        (Ack::Durable, 200, false, 1 << 20)
    );
    let rule = erp.dedupe.as_ref().unwrap();
    assert_eq!((rule.ttl, rule.required), (right(PASS_THROUGH).dedupe.ttl, false));
}

#[test]
fn every_key_stands_in_the_shipped_file() {
    let stands = |key: &str| {
        let written = format!("{key} = ");
        let assigned = SHIPPED.match_indices(&written).any(|(at, _)| {
            !SHIPPED[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.')
        });
        let headed = |line: &str| {
            let head = line.trim_start_matches('#').strip_prefix('[').and_then(|line| line.strip_suffix(']'));
            head.is_some_and(|head| head.split('.').any(|part| part == key))
        };
        assigned || SHIPPED.lines().any(headed)
    };
    for schema in schema::all() {
        for key in schema.keys {
            assert!(stands(key), "`{key}` of {} is not in conf/hooklatch.toml", schema.table);
        }
    }
}

#[test]
fn memory_limits_lower_the_defaults_and_only_those() {
    let small = Environment {
        memory_limit: Some(64 << 20),
        state_directory: Some("/var/lib/x".into()),
        ..Environment::default()
    };
    let parse = |text: &str| Config::parse(Path::new("f"), text, &mut SecretStore::unread(), &small).unwrap();
    let memory = "[buffer]\nstore = \"memory\"\n";
    let config = parse(&format!("{memory}{PASS_THROUGH}"));
    assert_eq!((config.server.max_inflight_bytes, config.buffer.max_bytes), (16 << 20, 16 << 20));
    assert_eq!(config.buffer.path, Path::new("/var/lib/x"));
    let text = format!(
        "[server]\nmax_inflight_bytes = \"1GiB\"\n{memory}path = \"mine\"\nmax_bytes = \"1GiB\"\n{PASS_THROUGH}"
    );
    let config = parse(&text);
    assert_eq!((config.server.max_inflight_bytes, config.buffer.max_bytes), (1 << 30, 1 << 30));
    assert_eq!(config.buffer.path, Path::new("mine"));
    let config = parse(&format!("{DISK}{PASS_THROUGH}"));
    assert_eq!(config.buffer.max_bytes, 4 << 30, "what lies on a disk takes no memory");
    // GitHub's 25 MiB do not fit into the 16.
    let text = "[routes.a]\npath = \"/a\"\nprovider = \"github\"\nsecrets = [{ env = \"X\" }]\ndeliver_to = [\"app\"]\n\
                [destinations.app]\nurl = \"http://app\"\n";
    let config = parse(text);
    assert_eq!(corridor(&config).max_body, 16 << 20);
    assert!(
        config.warnings.iter().any(|warning| warning.message.contains("max_inflight_bytes")),
        "{:?}",
        config.warnings
    );
}

const GITHUB: &str = "[routes.a]\npath = \"/a\"\nprovider = \"github\"\nsecrets = [{ value = \"x\" }]\n\
                      deliver_to = [\"app\"]\n";
const APP: &str = "[destinations.app]\nurl = \"http://app\"\ntimeout = \"7s\"\n";

#[test]
fn a_providers_file_fills_in_what_the_route_leaves_out() {
    let config = right(&format!("{GITHUB}{APP}"));
    let github = Catalog::shipped().get("github").unwrap();
    let read = corridor(&config);
    assert_eq!((&read.event_id, &read.event_type), (&github.event_id, &github.event_type));
    assert_eq!(read.max_body, github.max_body.unwrap());
    assert_eq!(read.deliver_timeout, Duration::from_secs(7));
    let rule = read.dedupe.as_ref().unwrap();
    assert_eq!(Some(&rule.key), github.event_id.as_ref());
    assert_eq!((rule.required, rule.ttl), (github.event_id_required, Duration::from_secs(72 * 3600)));
}

#[test]
fn what_the_route_says_wins() {
    let own = "event_id = \"header:x-mine\"\nmax_body = \"5MiB\"\ndedupe = { ttl = \"1h\" }\n";
    let config = right(&format!("{GITHUB}{own}{APP}"));
    let read = corridor(&config);
    let rule = read.dedupe.as_ref().unwrap();
    assert_eq!((read.max_body, rule.ttl), (5 << 20, Duration::from_secs(3600)));
    assert_eq!(rule.key.header_name(), Some("x-mine"));
    assert!(!rule.required, "nobody promises that every event has this id");
}

#[test]
fn a_provider_that_retries_for_long_raises_the_ttl() {
    let long = Catalog::shipped().names().find_map(|name| {
        let provider = Catalog::shipped().get(name)?;
        (provider.retries_for? > Duration::from_secs(3600) && provider.event_id.is_some()).then_some(provider)
    });
    let provider = long.expect("a provider that retries for more than an hour");
    let text = format!(
        "[dedupe]\nttl = \"1h\"\n[routes.a]\npath = \"/a\"\nprovider = \"{}\"\nsecrets = [{{ env = \"X\" }}]\n\
         deliver_to = [\"app\"]\n{APP}",
        provider.name
    );
    let config = right(&text);
    assert_eq!(Some(corridor(&config).dedupe.as_ref().unwrap().ttl), provider.retries_for);
}

#[test]
fn without_secrets_nothing_is_read_and_nothing_accepted() {
    for (name, secrets) in
        [("github", "[{ env = \"HOOKLATCH_TEST_NEVER_SET\" }]"), ("stripe", "[{ file = \"none\" }]")]
    {
        let text = format!("{}{APP}", GITHUB.replace("github", name).replace("[{ value = \"x\" }]", secrets));
        assert!(corridor(&right(&text)).verifier.is_some());
    }
    let basic = "verify = { algorithm = \"basic\" }\ndedupe = false";
    let text = format!("{}{APP}", GITHUB.replace("provider = \"github\"", basic));
    assert!(corridor(&right(&text)).verifier.is_some());
}

#[test]
fn what_a_challenge_compares_or_hands_over_is_hidden_too() {
    for (name, place) in [("meta", "query:hub.verify_token"), ("asana", "header:x-hook-secret")] {
        let config = right(&format!("{}{APP}", GITHUB.replace("github", name)));
        assert_eq!(corridor(&config).redaction.words(), [place]);
        // Of an event whose route nobody knows any more.
        assert_eq!(Catalog::shipped().get(name).unwrap().redaction().words(), [place]);
    }
}

#[test]
fn a_route_names_the_header_that_the_providers_customer_chose() {
    let with = |name: &str, more: &str| format!("{}{more}\n{APP}", GITHUB.replace("github", name));
    let config = right(&with("datadog", "signature = { header = \"X-Mine\", prefix = \"Bearer \" }"));
    let read = corridor(&config);
    assert_eq!(read.redaction.words(), ["header:x-mine"]);
    assert_eq!(read.verifier.as_ref().unwrap().scheme().signature_headers(), ["x-mine"]);
    let config = right(&with("datadog", "signature = { query = \"key\" }"));
    assert_eq!(corridor(&config).redaction.words(), ["query:key"]);
    let own = "verify = { algorithm = \"token\", signature = { header = \"X-A\" } }";
    for (text, said) in [
        (with("github", "signature = { header = \"X-Mine\" }"), "itself says where its signature stands"),
        (with("datadog", "signature = { header = \"X Mine\" }"), "not a header's name"),
        (with("datadog", "signature = { body = \"/a\" }"), "unknown key `body`"),
        (
            with("github", "signature = { header = \"X-B\" }").replace("provider = \"github\"", own),
            "that a provider's customer names",
        ),
    ] {
        let said_instead = mistake(&text);
        assert!(said_instead.contains(said), "{said_instead}");
    }
}

#[test]
fn every_provider_can_be_named() {
    for name in Catalog::shipped().names() {
        right(&format!("{}{APP}", GITHUB.replace("github", name)));
    }
}

#[test]
fn values_that_are_too_long_are_refused() {
    let long = "x".repeat(200);
    for (text, said) in [
        (format!("[server]\nlisten = [\"unix:/{long}\"]\n{PASS_THROUGH}"), "107 bytes"),
        (format!("[admin]\nlisten = \"unix:/{long}\"\n{PASS_THROUGH}"), "107 bytes"),
        (PASS_THROUGH.replace("http://127.0.0.1:3000", &format!("unix:/{long}")), "107 bytes"),
        (PASS_THROUGH.replace("everything_else", &long), "1 to 64"),
        (format!("{GITHUB}ack_body = \"{}\"\n{APP}", "x".repeat(70_000)), "64KiB"),
        (format!("{GITHUB}{APP}retry = {{ delays = [{}] }}", "\"1s\",".repeat(101)), "at most 100"),
    ] {
        let said_instead = mistake(&text);
        assert!(said_instead.contains(said), "{said_instead}");
    }
}

#[test]
fn a_listener_in_both_forms_is_a_mistake() {
    let long = "[listeners.web]\naddress = \"127.0.0.1:8080\"\n";
    assert!(
        mistake(&format!("server.listen = [\"127.0.0.1:8080\"]\n{long}{PASS_THROUGH}"))
            .contains("another listener")
    );
    // With the long form alone the default does not listen beside it.
    assert_eq!(right(&format!("{long}{PASS_THROUGH}")).server.listeners.len(), 1);
}

#[test]
fn keys_that_need_a_restart_are_named() {
    let old = right(PASS_THROUGH);
    let restarts = |text: &str| Config::needs_restart(&old, &right(&format!("{text}\n{PASS_THROUGH}")));
    assert_eq!(restarts(""), [""; 0]);
    assert_eq!(restarts("[server]\nmax_body = \"2MiB\""), [""; 0]);
    assert_eq!(
        restarts("[buffer]\nmax_events = 7\nmax_bytes = \"64MiB\""),
        ["buffer.max_events", "buffer.max_bytes"]
    );
    assert_eq!(restarts("[log]\nlevel = \"debug\"\nformat = \"text\""), ["log.level", "log.format"]);
    assert_eq!(
        restarts("[server]\nlisten = [\"127.0.0.1:1\"]\nworkers = 2"),
        ["server.listen", "server.workers"]
    );
    assert_eq!(
        restarts("server.listen = [\"127.0.0.1:8080\"]\n[listeners.a]\naddress = \"127.0.0.1:2\""),
        ["listeners"]
    );
    assert_eq!(restarts("[buffer]\npath = \"other\""), ["buffer.path"]);
    assert_eq!(
        restarts("[admin]\nlisten = \"\"\n[metrics]\nlisten = \"127.0.0.1:3\""),
        ["admin.listen", "metrics.listen"]
    );
}

const DISK: &str = "[buffer]\nstore = \"disk\"\n";

#[test]
fn a_store_on_disk_has_defaults_of_its_own_and_knows_what_can_come() {
    let config = right(&format!("{DISK}[dedupe]\nmax_ids = 7\n{GITHUB}dedupe = {{ ttl = \"200h\" }}\n{APP}"));
    let github = Catalog::shipped().get("github").unwrap().max_body.unwrap();
    let expected = BufferOptions {
        max_event: github + (16 << 10),
        remembered_ids: 7,
        remembered_for: Duration::from_secs(200 * 3600),
        ..BufferOptions::default()
    };
    assert_eq!(*config.buffer, expected);
    assert_eq!((expected.max_bytes, expected.max_events), (4 << 30, u64::MAX));
    assert_eq!(corridor(&config).ack, Ack::Durable);
    // Without a route of its own size it is the server's.
    let config = right(&format!("{DISK}{PASS_THROUGH}"));
    assert_eq!(*config.buffer, BufferOptions::default());
    let memory = right(&format!("[buffer]\nstore = \"memory\"\n{GITHUB}{APP}"));
    assert_eq!((memory.buffer.store, corridor(&memory).ack), (Store::Memory, Ack::Memory));
    assert_eq!((memory.buffer.max_bytes, memory.buffer.max_events), (256 << 20, 100_000));
}

#[test]
fn without_a_word_the_store_is_the_default_one() {
    let config = right(&format!("{GITHUB}{APP}"));
    assert_eq!(config.buffer.store, buffer::DEFAULT_STORE);
    let named = match buffer::DEFAULT_STORE {
        Store::Memory => right(&format!("[buffer]\nstore = \"memory\"\n{GITHUB}{APP}")),
        Store::Disk => right(&format!("{DISK}{GITHUB}{APP}")),
    };
    assert_eq!((&*config.buffer, corridor(&config).ack), (&*named.buffer, corridor(&named).ack));
    assert!(Config::needs_restart(&config, &named).is_empty());
}

#[test]
fn each_ack_is_taken_by_a_store_that_can_keep_it() {
    for (store, ack, taken) in [
        ("disk", "durable", Some(Ack::Durable)),
        ("disk", "memory", Some(Ack::Memory)),
        ("disk", "delivered", Some(Ack::Delivered)),
        ("memory", "durable", None),
        ("memory", "memory", Some(Ack::Memory)),
        ("memory", "delivered", Some(Ack::Delivered)),
    ] {
        let text = format!("[buffer]\nstore = \"{store}\"\n{GITHUB}ack = \"{ack}\"\n{APP}");
        match taken {
            Some(taken) => assert_eq!(corridor(&right(&text)).ack, taken, "{store} {ack}"),
            None => assert!(mistake(&text).contains("needs store = \"disk\""), "{store} {ack}"),
        }
    }
    let too_large = format!("{DISK}{GITHUB}max_body = \"900MiB\"\n{APP}");
    assert!(mistake(&too_large).contains("max_inflight_bytes"));
    // One mistake is one mistake: nobody knows what the mistyped store can keep.
    let said = mistake(&format!("[buffer]\nstore = \"disc\"\n{GITHUB}ack = \"durable\"\n{APP}"));
    assert!(said.contains("\"disc\""), "{said}");
}

#[test]
fn on_disk_larger_bodies_than_the_segments_hold_need_a_restart() {
    let disk = |bytes: &str, body: &str| {
        right(&format!("{DISK}max_bytes = \"{bytes}\"\n[server]\nmax_body = \"{body}\"\n{PASS_THROUGH}"))
    };
    let restarts = |old: &Config, new: &Config| Config::needs_restart(old, new).len();
    // 4 GiB are cut into segments of 64 MiB.
    assert_eq!(restarts(&disk("4GiB", "1MiB"), &disk("4GiB", "30MiB")), 0);
    assert_eq!(restarts(&disk("4GiB", "1MiB"), &disk("4GiB", "32MiB")), 1);
    assert_eq!(restarts(&disk("4GiB", "40MiB"), &disk("4GiB", "40MiB")), 0);
    assert_eq!(restarts(&disk("4GiB", "40MiB"), &disk("4GiB", "1MiB")), 0);
    assert_eq!(disk("4GiB", "40MiB").buffer.segment_bytes(), (80 << 20) + (32 << 10));
    assert_eq!(disk("4GiB", "1MiB").buffer.segment_bytes(), 64 << 20);
    assert_eq!(disk("16MiB", "64KiB").buffer.segment_bytes(), 1 << 20);
    let old = right(&format!("{DISK}{PASS_THROUGH}"));
    let new = format!("{DISK}retention = \"1h\"\n[dead]\nretention = \"1d\"\nmax_bytes = \"1MB\"\n");
    let new = right(&format!("{new}[server]\nmax_body = \"64KiB\"\n{PASS_THROUGH}"));
    assert_eq!(Config::needs_restart(&old, &new), ["buffer.retention", "dead.retention", "dead.max_bytes"]);
}

#[test]
fn a_store_on_disk_in_a_default_folder_that_forgets_is_warned_of() {
    let machine = Environment { default_folder_forgets: Some("tmpfs"), ..Environment::default() };
    let warnings = |text: &str| {
        let text = format!("{text}{PASS_THROUGH}");
        let config = Config::parse(Path::new("f"), &text, &mut SecretStore::unread(), &machine).unwrap();
        config.warnings.iter().map(|warning| warning.message.clone()).collect::<Vec<_>>()
    };
    let [said] = &warnings(DISK)[..] else { panic!("no warning, or too many") };
    assert!(said.contains("tmpfs") && said.contains("./hooklatch-data"), "{said}");
    assert_eq!(warnings(&format!("{DISK}path = \"/proc/none\"\n")), [""; 0]);
    assert_eq!(warnings("[buffer]\nstore = \"memory\"\n"), [""; 0]);
}

#[test]
fn a_load_from_disk_finds_files_beside_it_and_keeps_what_vanishes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hooklatch.toml");
    std::fs::write(&path, format!("{}{APP}", GITHUB.replace("value = \"x\"", "file = \"s\", name = \"n\"")))
        .unwrap();
    std::fs::write(dir.path().join("s"), "canary\n").unwrap();
    let mut store = SecretStore::new(Clock::manual(Millis(5)));
    let config = Config::load(&path, &mut store).unwrap();
    assert_eq!(store.stamps_now()[0].0, dir.path().join("s"));
    let [used] = &config.secrets[..] else { panic!("{:?}", config.secrets) };
    assert_eq!((used.key.as_str(), used.name.as_str(), used.loaded_at), ("routes.a.secrets", "n", Millis(5)));
    std::fs::remove_file(dir.path().join("s")).unwrap();
    let again = Config::load(&path, &mut store).unwrap();
    let [warning] = &again.warnings[..] else { panic!("{:?}", again.warnings) };
    assert!(warning.message.contains("stays in force"), "{warning}");
    assert!(
        Config::load(&path, &mut SecretStore::new(Clock::system())).is_err(),
        "a new process has no old value"
    );
    // A load that fails leaves the store as it was.
    std::fs::write(&path, "nonsense").unwrap();
    assert!(Config::load(&path, &mut store).is_err());
    assert_eq!(store.stamps_now()[0].0, dir.path().join("s"));
}

#[test]
fn files_that_are_no_text_are_one_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.toml");
    std::fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
    let report = Config::load(&path, &mut SecretStore::unread()).unwrap_err();
    assert!(report.to_string().contains("line 2 is not UTF-8"), "{report}");
    std::fs::File::create(&path).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
    let report = Config::load(&path, &mut SecretStore::unread()).unwrap_err();
    assert!(report.to_string().contains("larger than 64MiB"), "{report}");
}

#[test]
fn a_folder_that_forgets_is_warned_of() {
    if environment::forgetful_file_system(Path::new("/dev/shm")).is_none() {
        return;
    }
    let config = right(&format!("[buffer]\npath = \"/dev/shm/hooklatch\"\n{PASS_THROUGH}"));
    assert!(config.warnings[0].message.contains("gone after a restart"), "{:?}", config.warnings);
}

#[test]
fn a_flood_of_mistakes_is_printed_in_part_and_counted_whole() {
    let text: String = (0..1000).map(|n| format!("unknown_{n} = 1\n")).collect();
    let report = parse(&format!("{text}{PASS_THROUGH}")).unwrap_err();
    let said = report.to_string();
    assert!(
        said.contains("and 800 more") && said.ends_with("1000 mistakes in hooklatch.toml\n"),
        "{}",
        &said[said.len() - 200..]
    );
}

/// Pieces of configuration, right and broken, with a secret in each that could hold one.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "[routes.a]\n",
            "[destinations.app]\n",
            "[admin]\n",
            "[server]\n",
            "[routes.a.verify]\n",
            "[[routes]]\n",
            "token = { value = \"canary\" }\n",
            "token = \"canary\"\n",
            "tokn = canary\n",
            "secrets = [{ value = \"canary\" }]\n",
            "secrets = [\"canary\",\n",
            "  { value = \"canary\" },\n",
            "]\n",
            "value = '''\ncanary\n'''\n",
            "\"canary\n",
            "headers.authorization = \"canary\"\n",
            "headers = { x = canary }\n",
            "url = \"http://u:canary@h\"\n",
            "url = http://u:canary@h\n",
            "sign = [{ value = \"canary\" } { value = \"canary\" }]\n",
            "read_token = 'canary\n",
            "path = \"/a\"\n",
            "deliver_to = [\"app\"]\n",
            "provider = \"github\"\n",
            "listen = [\"x\"\n",
            "x.y.z = {\n",
            "}\n",
            "= canary\n",
            "value : canary\n",
            "\u{feff}",
            "\r",
            "\t",
            "\u{0}",
            "# comment\n",
            "a = \"\\q\"\n",
            "{{{{",
            "[[[[",
        ])
        .prop_map(str::to_owned),
        "[ -~\\n]{0,20}",
        "\\PC{0,5}",
    ];
    proptest::collection::vec(piece, 0..25).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_loader_panic_or_tell_a_secret(text in pieces()) {
        let mut store = SecretStore::new(Clock::manual(Millis(0)));
        match Config::parse(Path::new("f.toml"), &text, &mut store, &UNLIMITED) {
            Ok(config) => {
                let said = format!("{config:?}{}{}", config.table(), config.warnings.iter().map(ToString::to_string).collect::<String>());
                prop_assert!(!said.contains("canary"), "{said}");
            }
            Err(report) => {
                prop_assert!(!report.mistakes().is_empty());
                prop_assert!(!report.to_string().contains("canary"), "{report}");
            }
        }
    }

    #[test]
    fn any_text_at_all_is_read_without_a_panic(text in any::<String>()) {
        let _ = parse(&text);
        let _ = parse(&format!("{PASS_THROUGH}{text}"));
        let _ = read_provider("x", "x.toml", &text);
    }
}
