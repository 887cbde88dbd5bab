use std::io::{Read as _, Write as _};
use std::sync::mpsc;

use bytes::Bytes;

use super::*;
use crate::event::{Ack, Event, EventId, Proto, Turn};
use crate::headers::Headers;
use crate::observe::EventLog;

/// An app that answers its first request once it is told to.
fn app(answer: mpsc::Receiver<()>) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = answer.recv();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
    address
}

fn event() -> Event {
    Event {
        id: EventId::default(),
        route: "in".into(),
        provider: None,
        event_id: None,
        event_type: None,
        event_time: None,
        received_at: Clock::system().now(), // an older one than `max_age` is not sent
        method: "POST".into(),
        target: "/in".into(),
        headers: Headers::default(),
        forwarded_for: "192.0.2.1".into(),
        forwarded_proto: Proto::Http,
        body: Bytes::from_static(b"{}"),
        turn: Turn::default(),
    }
}

fn configuration(folder: &Path, app: &str, route: &str) -> String {
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\ndrain_timeout = \"10s\"\n[admin]\nlisten = \"\"\n\
         [buffer]\nstore = \"memory\"\npath = \"{}\"\n\
         [routes.in]\npath = \"/in\"\n{route}\ndedupe = false\ndeliver_to = [\"app\"]\n\
         [destinations.app]\nurl = \"{app}\"\n",
        folder.join("data").display(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_door_that_breaks_down_does_not_take_accepted_events_with_it() {
    let (answer, answered) = mpsc::channel();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hooklatch.toml");
    let text = configuration(folder.path(), &format!("http://{}", app(answered)), "verify = \"none\"");
    let clock = Clock::system();
    let mut secrets = SecretStore::new(clock.clone());
    let environment = crate::config::Environment::of_process();
    let config = Config::parse(&path, &text, &mut secrets, &environment).unwrap();
    let tools = rooms::Tools { clock, metrics: Metrics::new(), log: EventLog::off() };
    let (rooms, reloader, signals) = start(config, &path, text, secrets, tools).await.unwrap();
    let lane = rooms.buffer.lane("app");
    rooms.buffer.keep(event(), std::slice::from_ref(&lane), None, Ack::Memory).await.unwrap();

    rooms.break_door();
    let served = tokio::spawn(serve(Arc::clone(&rooms), reloader, signals));
    let kept = rooms.buffer.clone();
    tokio::time::sleep(Duration::from_millis(50)).await;
    answer.send(()).unwrap();
    let code = tokio::time::timeout(Duration::from_secs(8), served).await.unwrap().unwrap();
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
    assert_eq!((kept.stats().events, kept.stats().history_events), (0, 1), "delivered before the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_changes_while_the_gateway_starts_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (folder.path().join("hooklatch.toml"), folder.path().join("secret"));
    let route = "provider = \"github\"\nsecrets = [{ file = \"secret\" }]";
    let text = configuration(folder.path(), "http://127.0.0.1:9", route);
    std::fs::write(&file, "old").unwrap();
    let clock = Clock::manual(crate::clock::Millis(1000));
    let mut secrets = SecretStore::new(clock.clone());
    let environment = crate::config::Environment::of_process();
    let config = Config::parse(&path, &text, &mut secrets, &environment).unwrap();
    std::fs::write(&file, "rotated").unwrap();
    clock.advance(Duration::from_secs(1));

    let tools = rooms::Tools { clock, metrics: Metrics::new(), log: EventLog::off() };
    let (_rooms, reloader, _signals) = start(config, &path, text, secrets, tools).await.unwrap();
    reloader.look_at_secrets().await;
    let loaded: Vec<_> = reloader.secrets().iter().map(|used| used.loaded_at.0).collect();
    assert_eq!(loaded, [2000]);
}
